"""How large does the write-ahead log get under full load, also beside a long reader, and how much does it slow a start?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from actors import App, VirtualObject, handler
from actors.storage import Batch, SqliteStore
from benchmarks import machine
from benchmarks.measure import Progress, in_new_process, run
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

TEXT_BYTES = 4000  # written by each call
SHORT_MB = 64.0  # a smaller log counts as short again
PATIENCE_S = 30.0
LOOK_EVERY_S = 0.1
STARTS = 3


class Note(VirtualObject):
    text: str = ""

    @handler
    async def write(self, text: str) -> None:
        self.text = text


class Load:
    """Callers that write until `end`. `calls` counts the answered calls."""

    def __init__(self, app: App, callers: int) -> None:
        self.calls = 0
        self._tasks = [asyncio.create_task(self._call(app, f"k{number}")) for number in range(callers)]

    async def _call(self, app: App, key: str) -> None:
        while True:
            self.calls += 1
            await app.object(Note, key).write(f"{self.calls:09}" + "x" * TEXT_BYTES)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def under_load(path: str, callers: int, seconds: int, held: int) -> Result:
    """Write for `seconds`; a reader keeps a snapshot for `held` seconds, and then the log is watched until it is short."""

    def log_mb() -> float:
        return os.path.getsize(path + "-wal") / 1e6

    async with App(Note, storage=f"sqlite:///{path}") as app:
        load, found = Load(app, callers), Result()
        alone = max(seconds - held, 0) / 2

        async def measured(name: str, length: float) -> None:
            calls, largest, began = load.calls, 0.0, time.perf_counter()
            while time.perf_counter() - began < length:
                await asyncio.sleep(LOOK_EVERY_S)
                largest = max(largest, log_mb())
            found[f"calls_per_s_{name}"] = rounded((load.calls - calls) / (time.perf_counter() - began))
            found[f"largest_log_mb_{name}"] = rounded(largest)

        await measured("before_the_reader", alone)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM invocations").fetchone()
            await measured("beside_the_reader", held)
        gone = time.perf_counter()
        found["log_mb_when_the_reader_left"] = rounded(log_mb())
        for _ in range(int(PATIENCE_S / LOOK_EVERY_S * 10)):
            if log_mb() < SHORT_MB:
                break
            await asyncio.sleep(LOOK_EVERY_S / 10)
        found["log_mb_then"] = rounded(log_mb())
        found[f"s_until_below_{SHORT_MB:.0f}_mb"] = rounded(time.perf_counter() - gone)
        await measured("after_the_reader", alone)
        await load.end()
    return found


async def leave_log(path: str, megabytes: int) -> None:
    """Leave a log of that size, as a killed process does."""
    store = SqliteStore(path, copy_every=1 << 62, synchronous="OFF")
    await store.open()
    number = 0
    while os.path.getsize(path + "-wal") < megabytes * 1e6:
        number += 1
        rows = [
            ("Note", f"k{number * 7919 % 100_000}.{row}", "text", f'"{number:09}{"x" * 800}"') for row in range(500)
        ]
        await store.commit(Batch(number, state=rows))
    os.kill(os.getpid(), signal.SIGKILL)


async def start(path: str) -> Result:
    """From App(...) until the app has started, and until it has answered its first call."""
    began = time.perf_counter()
    app = App(Note, storage=f"sqlite:///{path}")
    await app.start()
    started = time.perf_counter()
    await app.object(Note, "first").write("")
    answered = time.perf_counter()
    await app.close()
    return {"start_ms": (started - began) * 1000, "first_answer_ms": (answered - began) * 1000}


def flush(path: str) -> None:
    """The log of a killed process is on the disk: each of its commits was flushed. The start must not pay for a copy."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def starts(folder: Path, megabytes: int) -> Result:
    code = "import sys\nfrom benchmarks import log, measure\nmeasure.run(lambda: log.leave_log(sys.argv[1], int(sys.argv[2])))"
    path = folder / "killed.db"
    subprocess.run([sys.executable, "-c", code, str(path), str(megabytes)], check=False)
    found = []
    for number in range(STARTS):
        copy = folder / f"copy{number}.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            flush(f"{copy}{suffix}")
        found.append(in_new_process(_start, str(copy)))
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{copy}{suffix}")
    return {
        "log_mb_at_the_start": rounded(os.path.getsize(f"{path}-wal") / 1e6),
        **{name: rounded(statistics.median(one[name] for one in found)) for name in found[0]},
    }


def _start(path: str) -> Result:
    return run(lambda: start(path))


class Log:
    """The two halves use separate files; each start happens in a new process."""

    name = "log"
    summary = "The log under full load, beside a reader that stays, and at a start after a kill"
    asks = ("callers", "seconds", "held", "megabytes")
    quick = (Options(seconds=9, held=3, megabytes=50),)

    def steps(self, options: Options) -> int:
        return 2

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "load.db")
            loaded = run(lambda: under_load(path, options.callers, options.seconds, options.held))
            progress("load")
            started = starts(Path(folder), options.megabytes)
            progress("starts")
        return {"scenario": self.name, "callers": options.callers, **loaded, **started, **machine.facts()}
