"""A short measurement: many callers, many counters; each answer is on disk before its caller gets it."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from actors import App, VirtualObject, handler

CALLERS = 256
KEYS = 1000


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count


@dataclass(frozen=True)
class Measurement:
    """The result of `measure`."""

    calls: int
    seconds: float
    p50_ms: float

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds


async def measure(database: Path, seconds: float, console: Console) -> Measurement:
    """Call counters for `seconds`, with a progress bar."""
    async with App(Counter, storage=f"sqlite:///{database}") as app:
        latencies: list[float] = []
        began = time.perf_counter()
        until = began + seconds
        columns = (TextColumn("  "), BarColumn(), TextColumn("{task.fields[calls]:,} calls"))
        async with asyncio.TaskGroup() as group:
            waiting = {group.create_task(_call(app, number, until, latencies)) for number in range(CALLERS)}
            with Progress(*columns, console=console) as progress:
                bar = progress.add_task("", total=seconds, calls=0)
                while waiting:
                    _, waiting = await asyncio.wait(waiting, timeout=0.1)
                    elapsed = time.perf_counter() - began
                    progress.update(bar, completed=min(elapsed, seconds), calls=len(latencies))
        elapsed = time.perf_counter() - began
    return Measurement(len(latencies), elapsed, statistics.median(latencies) * 1000)


async def _call(app: App, number: int, until: float, latencies: list[float]) -> None:
    key = number
    now = time.perf_counter()
    while now < until:
        began = now
        await app.object(Counter, f"c{key % KEYS}").add(1)
        now = time.perf_counter()
        latencies.append(now - began)
        key += CALLERS + 1
