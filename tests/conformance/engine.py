"""The engine under test: a server process that can be stopped and killed. The one place that knows how it is started."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

import httpx

ROOT = Path(__file__).resolve().parents[2]
ON_PURPOSE = (
    "failed, next in",
    "the app starts again. Paused after",
    "failed for good",
    "next try in",
    "held the event loop for",
    "NonDeterministic/",
)


class Engine:
    """Our server. `RestateEngine` has the same attributes and methods."""

    name = "sqlite"

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.mode = mode
        # Below the ports that outgoing connections take: nobody may have it while the server is down.
        self.port = random.SystemRandom().randrange(20_000, 32_000)
        self.ingress = self.admin = f"http://127.0.0.1:{self.port}"
        self.kills = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = threading.RLock()

    def start(self) -> None:
        """Begin, or go on with what the files hold. Returns once it answers."""
        with self._changing:
            command = [sys.executable, "-m", "actors", "serve", "tests.conformance.server:app"]
            options = ["--host", "127.0.0.1", "--port", str(self.port), "--grace", "2"]
            environment = {
                **os.environ,
                "CONFORMANCE_STORAGE": f"sqlite:///{self.folder / 'app.db'}",
                "CONFORMANCE_MODE": self.mode,
            }
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*command, *options], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log
                )
            deadline = time.monotonic() + 60
            while not self._answers():
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, "the server did not start\n" + self.log()
                time.sleep(0.02)  # waits for a real process

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.ingress}/restate/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)
        self.kills += 1

    def _end(self, how: signal.Signals) -> None:
        with self._changing:
            process = self._process
            if process is None:
                return
            process.send_signal(how)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the server did not end after {how.name}\n{self.log()}") from None
            finally:
                self._process = None

    def warnings(self) -> str:
        """What its processes have logged, but for what the services of the suite do on purpose."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if not any(text in line for text in ON_PURPOSE))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]


class AnyEngine(Protocol):
    """What the tests know of an engine."""

    name: str
    mode: str
    ingress: str
    admin: str
    kills: int

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def log(self) -> str: ...

    def warnings(self) -> str: ...


class Killer:
    """Kills an engine at random moments, and starts it again on its files, until it is left."""

    def __init__(self, engine: AnyEngine, seed: int) -> None:
        self._engine = engine
        self._rng = random.Random(seed)
        self._enough = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            longest_s = 0.15  # the first one soon: short tests are to meet one too
            while not self._enough.wait(self._rng.uniform(0, longest_s)):
                self._engine.kill()
                self._engine.start()
                # Longer each time: some tests need several attempts in one life, on a slow machine too.
                longest_s = max(1.0, longest_s * 1.5)
        except BaseException as error:
            self._failed = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        self._thread.join(90)
        assert self._failed is None, self._failed
