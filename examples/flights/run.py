"""One run of the trace in separate processes, with or without a kill in the middle."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


class RunFailed(Exception):
    """The worker process ended before its work was done."""


class Run:
    """Sends the flights to the objects in `database`; progress is the number of flights taken by the feed."""

    def __init__(self, database: Path, limit: int | None, total: int) -> None:
        self._command = [sys.executable, "-m", "examples.flights.worker", str(database)]
        if limit is not None:
            self._command.append(str(limit))
        self._database = database
        self._total = total

    def straight(self, on_progress: Callable[[int], None]) -> None:
        """Run without a kill. Raises RunFailed if the process ends too early."""
        with self._worker() as worker:
            for taken in self._progress(worker):
                on_progress(taken)

    def with_kill(self, on_progress: Callable[[int], None], on_kill: Callable[[int, int, int], None]) -> None:
        """Kill the process with SIGKILL at the first report from beyond the middle, then let another process go on.

        `on_kill` gets the pid, the number of flights that were acknowledged, and how many are on disk: never fewer.
        """
        taken = 0
        with self._worker() as worker:
            for taken in self._progress(worker):
                on_progress(taken)
                if taken >= self._total // 2:
                    break
            worker.kill()
            worker.wait()
        durable = self._durable()
        if durable < taken:
            raise RunFailed(f"{taken:,} flights were acknowledged, but only {durable:,} are in the database.")
        on_kill(worker.pid, taken, durable)
        self.straight(on_progress)

    def _durable(self) -> int:
        """The feed's cursor, as any SQLite tool sees the cursor."""
        with contextlib.closing(
            sqlite3.connect(f"{self._database.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            found = connection.execute("SELECT value FROM state WHERE service = 'Feed' AND name = 'cursor'").fetchone()
        return int(found[0]) if found else 0

    @contextlib.contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[str]]:
        worker = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        try:
            yield worker
        finally:
            worker.kill()  # has no effect if the process has ended
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()

    def _progress(self, worker: subprocess.Popen[str]) -> Iterator[int]:
        assert worker.stdout is not None
        done = False
        for line in worker.stdout:
            news = json.loads(line)
            done = news["event"] == "done"
            yield news["taken"]
        if worker.wait() != 0 or not done:
            raise RunFailed(f"The worker process ended with code {worker.returncode}; its output is above.")
