"""What does it cost to keep many pending timers and to open their file, and how late do due timers fire?"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from random import Random
from typing import ClassVar

from actors import App, Context, VirtualObject, handler
from actors.model.calls import InvocationHandle
from benchmarks import machine
from benchmarks.blocked import Growth, Waiter, peak_rss_bytes, send_paced
from benchmarks.measure import Progress, in_new_process, percentile, run
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

FAR_MS = 30 * 86_400_000
FAR_SPREAD_MS = 86_400_000
SPREAD_MS = 1000  # all due timers are due within this time
LEAD_S = 10.0  # for the first process to close the file and for the second process to open it
LEAD_S_PER_TIMER = 0.0005  # to write the due timers
PATIENCE_S = 60.0

SLEEPS, SENDS = "sleeps", "sends"
KINDS = (SLEEPS, SENDS)


class Lateness:
    """The lateness of each timer that has fired in this process, in milliseconds."""

    def __init__(self) -> None:
        self.found: list[float] = []
        self._expected = 0
        self._all = asyncio.Event()

    def add(self, due_ms: int) -> None:
        self.found.append(time.time() * 1000 - due_ms)
        if len(self.found) == self._expected:
            self._all.set()

    async def of(self, count: int) -> None:
        """Return once `count` timers have fired."""
        self._expected = count
        if len(self.found) < count:
            await self._all.wait()


class Sleeper(VirtualObject):
    lateness: ClassVar[Lateness] = Lateness()

    @handler
    async def sleep_until(self, ctx: Context, due_ms: int) -> None:
        """The timer is due at exactly `due_ms`: the sleep itself reads the clock again, in the same turn."""
        now_ms = round(ctx.now().timestamp() * 1000)
        await ctx.sleep(max(due_ms - now_ms, 0) / 1000)
        Sleeper.lateness.add(due_ms)

    @handler
    async def note(self, due_ms: int) -> None:
        """To be sent with a delay."""
        Sleeper.lateness.add(due_ms)


class Timers:
    """One process leaves `count` timers in a file, each with its own key, and ends. `due` timers are due within one second,
    soon after a second process has opened the file; the others are due a month later. Lateness is the time at which the
    handler went on minus the time at which its timer was due."""

    name = "timers"
    summary = "Leave many timers pending; open their file anew, answer a call, measure how late the due timers fire"
    asks = ("count", "due", "kind")
    quick = (Options(count=10_000, due=1000),)

    def steps(self, options: Options) -> int:
        return 2

    def run(self, options: Options, progress: Progress) -> Result:
        due = min(options.due, options.count)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "timers.db")
            first_due_ms, left = in_new_process(_leave, path, options.count, due, options.kind)
            progress(f"{options.count:,} timers pending")
            left["file_mb"] = rounded(os.path.getsize(path) / 1e6)
            found = in_new_process(_reopen, path, due, first_due_ms, time.time())
            progress(f"{due:,} fired")
        return {"scenario": self.name, "kind": options.kind, "pending": options.count} | left | found | machine.facts()


def _leave(path: str, count: int, due: int, kind: str) -> tuple[int, Result]:
    return run(lambda: leave_pending(path, count, due, kind))


def _reopen(path: str, due: int, first_due_ms: int, created: float) -> Result:
    return run(lambda: reopen(path, due, first_due_ms, created))


async def leave_pending(
    path: str, count: int, due: int, kind: str = SLEEPS, lead_s: float = LEAD_S
) -> tuple[int, Result]:
    """Leave `count` timers, `due` of them due soon; returns when the first of these is due."""
    random = Random(1)
    async with App(Sleeper, Waiter, storage=f"sqlite:///{path}") as app:

        def send(key: str, due_ms: int) -> InvocationHandle[None]:
            sleeper = app.object(Sleeper, key)
            if kind == SLEEPS:
                return sleeper.sleep_until.send(due_ms)
            delay = max(due_ms - _now_ms(), 0) / 1000
            return sleeper.note.options(delay=delay).send(due_ms)

        growth = await Growth.begin(app)
        start = time.perf_counter()
        far_ms = _now_ms() + FAR_MS
        await send_paced(app, count - due, lambda n: send(f"far-{n}", far_ms + random.randrange(FAR_SPREAD_MS)))
        first_due_ms = _now_ms() + round((lead_s + due * LEAD_S_PER_TIMER) * 1000)
        await send_paced(app, due, lambda n: send(f"due-{n}", first_due_ms + random.randrange(SPREAD_MS)))
        seconds = time.perf_counter() - start
        grown = growth.figures()
    return first_due_ms, {"leave_seconds": rounded(seconds), "left_per_s": rounded(count / seconds)} | grown


async def reopen(path: str, due: int, first_due_ms: int, created: float) -> Result:
    """`created` is when the parent started this process, by the wall clock."""
    lateness = Sleeper.lateness = Lateness()
    start = time.perf_counter()
    async with App(Sleeper, Waiter, storage=f"sqlite:///{path}") as app:
        opened = time.perf_counter()
        assert await app.object(Waiter, "new").ping() == "pong"
        answered, of_process = time.perf_counter(), time.time() - created
        rss_then = machine.rss_bytes()
        if _now_ms() >= first_due_ms:
            raise RuntimeError("The first timers were due before their file was open again: this machine is too slow.")
        await asyncio.sleep((first_due_ms + SPREAD_MS - _now_ms()) / 1000)
        async with asyncio.timeout(PATIENCE_S):
            await lateness.of(due)
        await asyncio.sleep(0.1)  # timers that fire twice, or too early, get a chance to do so
        rss, peak = machine.rss_bytes(), peak_rss_bytes()
        assert len(lateness.found) == due, f"{len(lateness.found):,} timers fired, {due:,} were due"
    ordered = sorted(lateness.found)
    return {
        "open_ms": rounded((opened - start) * 1e3),
        "first_new_call_ms": rounded((answered - start) * 1e3),
        "first_new_call_of_process_ms": rounded(of_process * 1e3),
        "reopened_rss_mb": rounded(rss_then / 1e6),
        "due_within_a_second": due,
        "earliest_ms": rounded(ordered[0]),
        "lateness_p50_ms": rounded(percentile(ordered, 0.50)),
        "lateness_p99_ms": rounded(percentile(ordered, 0.99)),
        "lateness_max_ms": rounded(ordered[-1]),
        "fired_rss_mb": rounded(rss / 1e6),
        "fired_peak_rss_mb": rounded(peak / 1e6) if peak is not None else None,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
