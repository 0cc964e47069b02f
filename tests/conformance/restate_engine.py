"""The same services on restate-servers, which call an endpoint of ours: processes that can be stopped and killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.conformance.engine import ROOT
from tests.restate_servers.servers import (
    NODES,
    READY_S,
    RestateCluster,
    RestateServer,
    end,
    free_port,
    register,
    wait_for,
)


class EndpointProcess:
    """`actors restate serve` with the services of the suite."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.http1 = mode == "always-replay"  # each await of a handler ends its attempt: the endpoint does not stream
        self._folder = folder
        self._mode = mode if mode == "short-retention" else "default"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "actors", "restate", "serve", "tests.conformance.server:app"]
        options = ["--port", self.url.rpartition(":")[2], "--grace", "2"]
        if self.http1:
            options.append("--http1")
        environment = {**os.environ, "CONFORMANCE_STORAGE": "sqlite://", "CONFORMANCE_MODE": self._mode}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )
        wait_for(f"{self.url}/health")

    def end(self, how: signal.Signals) -> None:
        end(self._process, how)
        self._process = None

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def faults(self) -> str:
        """What its log says of faults of the framework. Failed attempts are on purpose, or come from a server that was killed."""
        return "\n".join(line for line in self.log().splitlines() if "inside the framework" in line)


class RestateEngine:
    """One server and one endpoint."""

    name = "restate"

    def __init__(self, folder: Path, mode: str) -> None:
        self.mode = mode
        more = {"RESTATE_WORKER__CLEANUP_INTERVAL": "1s"} if mode == "short-retention" else {}
        self.server = RestateServer(folder / "server", more)
        self.ingress, self.admin = self.server.ingress, self.server.admin
        self.endpoint = EndpointProcess(folder, mode)
        self.kills = 0
        self._registered = False
        self._changing = threading.RLock()

    def start(self) -> None:
        """Begin, or go on with what the folder holds. Returns once calls are answered."""
        with self._changing:
            self.server.start()
            self.endpoint.start()
            if not self._registered:
                self.server.register(self.endpoint.url, http1=self.endpoint.http1)
                self._registered = True
            wait_for_services(self.ingress, self.log)

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        with self._changing:
            self.endpoint.end(signal.SIGTERM)
            self.server.stop()

    def kill(self) -> None:
        """SIGKILL, of both."""
        with self._changing:
            self.server.kill()
            self.endpoint.end(signal.SIGKILL)
            self.kills += 1

    def warnings(self) -> str:
        return self.endpoint.faults()

    def log(self) -> str:
        return self.endpoint.log()[-4000:] + self.server.log()


class ClusterEngine:
    """Three servers and one endpoint. A death is that of one node, and now and then of the endpoint too."""

    name = "restate"

    def __init__(self, folder: Path, mode: str) -> None:
        self.mode = mode
        self.cluster = RestateCluster(folder / "cluster")
        self.ingress, self.admin = self.cluster.ingresses[0], self.cluster.admins[0]
        self.endpoint = EndpointProcess(folder, mode)
        self.kills = 0
        self._registered = False
        self._endpoint_runs = False
        self._rng = random.Random(folder.name)
        self._changing = threading.RLock()

    def start(self) -> None:
        with self._changing:
            self.cluster.start()
            if not self._endpoint_runs:
                self.endpoint.start()
                self._endpoint_runs = True
            if not self._registered:
                register(self.admin, self.endpoint.url, http1=self.endpoint.http1)
                self._registered = True
            wait_for_services(self.ingress, self.log)

    def stop(self) -> None:
        with self._changing:
            self.endpoint.end(signal.SIGTERM)
            self._endpoint_runs = False
            self.cluster.stop()

    def kill(self) -> None:
        with self._changing:
            self.cluster.kill_node(self._rng.randrange(NODES))
            if self._rng.random() < 0.25:
                self.endpoint.end(signal.SIGKILL)
                self._endpoint_runs = False
            self.kills += 1

    def warnings(self) -> str:
        return self.endpoint.faults()

    def log(self) -> str:
        return self.endpoint.log()[-4000:] + self.cluster.log()


def wait_for_services(ingress: str, log: Callable[[], str]) -> None:
    """For a moment a server that has started does not know its services, and a cluster answers later than it is healthy."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if httpx.post(f"{ingress}/Counter/is-it-there/get", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the services are not served\n" + log()
        time.sleep(0.05)  # waits for real processes
