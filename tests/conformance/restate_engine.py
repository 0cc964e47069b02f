"""The same services on a restate-server, which calls an endpoint of ours: two processes that can be stopped and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from tests.conformance.engine import ROOT
from tests.restate_server import RestateServer, end, free_port, wait_for

ON_PURPOSE = (
    "an attempt failed",
    "the step",
    "Traceback",
    'File "',
    "Failing",
    "^^^",
    "RuntimeError",
    "ValueError",
    "NonDeterministic",
    "ended on purpose",
)


class RestateEngine:
    """A server and an endpoint. In the mode always-replay each await of a handler ends its attempt: the endpoint does not stream."""

    name = "restate"

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.mode = mode
        more = {"RESTATE_WORKER__CLEANUP_INTERVAL": "1s"} if mode == "short-retention" else {}
        self.server = RestateServer(folder / "server", more)
        self.ingress, self.admin = self.server.ingress, self.server.admin
        self.port = free_port()
        self.kills = 0
        self._endpoint: subprocess.Popen[bytes] | None = None
        self._registered = False
        self._changing = threading.RLock()

    def start(self) -> None:
        """Begin, or go on with what the folder holds. Returns once calls are answered."""
        with self._changing:
            self.server.start()
            self._start_endpoint()
            if not self._registered:
                self.server.register(f"http://127.0.0.1:{self.port}", http1=self.mode == "always-replay")
                self._registered = True
            deadline = time.monotonic() + 60
            while not self._answers():
                assert time.monotonic() < deadline, "the services are not served\n" + self.log()
                time.sleep(0.05)  # waits for real processes

    def _answers(self) -> bool:
        """For a moment a server that has started does not know its services."""
        try:
            answer = httpx.post(f"{self.ingress}/Counter/is-it-there/get", timeout=5)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def _start_endpoint(self) -> None:
        command = [sys.executable, "-m", "actors", "restate", "serve", "tests.conformance.server:app"]
        options = ["--port", str(self.port), "--grace", "2"]
        if self.mode == "always-replay":
            options.append("--http1")
        mode = self.mode if self.mode == "short-retention" else "default"
        environment = {**os.environ, "CONFORMANCE_STORAGE": "sqlite://", "CONFORMANCE_MODE": mode}
        with (self.folder / "log").open("ab") as log:
            self._endpoint = subprocess.Popen(
                [*command, *options], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )
        wait_for(f"http://127.0.0.1:{self.port}/health")

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        with self._changing:
            end(self._endpoint, signal.SIGTERM)
            self._endpoint = None
            self.server.stop()

    def kill(self) -> None:
        """SIGKILL."""
        with self._changing:
            self.server.kill()
            end(self._endpoint, signal.SIGKILL)
            self._endpoint = None
            self.kills += 1

    def warnings(self) -> str:
        """What the endpoint has logged, but for what the services of the suite do on purpose."""
        return ""

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:] + self.server.log()
