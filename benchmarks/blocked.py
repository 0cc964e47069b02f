"""What does it cost to keep many invocations blocked on awakeables, to open their file, and to resume some of them?"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import ClassVar

from actors import App, Context, VirtualObject, handler
from actors.model.calls import InvocationHandle
from actors.storage import Batch, SqliteStore, Status
from benchmarks import machine
from benchmarks.measure import Progress, closed_loop, in_new_process, percentile, run
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

AT_ONCE = 1000
RESOLVERS = 2000

Handed = tuple[int, str, str]  # number of the key, invocation id, awakeable id


class Waiter(VirtualObject):
    answer: int = 0

    # Stands in for the outside world, which receives the ids: number of the key, invocation id, awakeable id.
    hand_out: ClassVar[Callable[[int, str, str], object] | None] = None

    @handler
    async def wait(self, ctx: Context, number: int) -> int:
        awaited = ctx.awakeable(int)
        if Waiter.hand_out is not None:
            Waiter.hand_out(number, ctx.invocation_id, awaited.id)
        self.answer = await awaited
        return self.answer

    @handler
    async def ping(self) -> str:
        return "pong"


class Blocked:
    """One process leaves `count` invocations waiting and ends. A second process opens the file, answers a new call, and then
    resolves `resume` of the awakeables, drawn at random, as fast as it can, until their outcomes are durable."""

    name = "blocked"
    summary = "Block many invocations on awakeables; open their file anew, answer a call, resume some of them"
    asks = ("count", "resume")
    quick = (Options(count=10_000, resume=500),)

    def steps(self, options: Options) -> int:
        return 2

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "blocked.db")
            left = in_new_process(_leave, path, options.count, min(options.resume, options.count))
            progress(f"{options.count:,} invocations blocked")
            left["file_mb"] = rounded(os.path.getsize(path) / 1e6)
            found = in_new_process(_reopen, path, time.time())
            progress(f"{found['resumed']:,} resumed")
        return {"scenario": self.name, "blocked": options.count} | left | found | machine.facts()


def _leave(path: str, count: int, resume: int) -> Result:
    return run(lambda: leave_blocked(path, count, resume))


def _reopen(path: str, created: float) -> Result:
    return run(lambda: reopen(path, created))


async def leave_blocked(path: str, count: int, resume: int) -> Result:
    """Block `count` invocations on one awakeable each. The ids of `resume` random invocations go to a file beside `path`."""
    drawn = set(Random(1).sample(range(count), resume))
    with handed_out(path).open("w") as file:

        def hand_out(number: int, invocation: str, awakeable: str) -> None:
            if number in drawn:
                file.write(f"{number} {invocation} {awakeable}\n")

        Waiter.hand_out = hand_out
        try:
            async with App(Waiter, storage=f"sqlite:///{path}") as app:
                growth = await Growth.begin(app)
                start = time.perf_counter()
                await send_paced(app, count, lambda number: app.object(Waiter, f"key-{number}").wait.send(number))
                seconds = time.perf_counter() - start
                grown = growth.figures()
        finally:
            Waiter.hand_out = None
    handed = len(read_handed_out(path))
    assert handed == resume, f"{handed} of {resume} awakeables were handed out"
    return {"block_seconds": rounded(seconds), "blocked_per_s": rounded(count / seconds)} | grown


class Growth:
    """How much more memory this process holds than with an empty app, now and at its peak."""

    def __init__(self) -> None:
        gc.collect()
        self._empty = machine.rss_bytes()

    @classmethod
    async def begin(cls, app: App) -> Growth:
        """Begin after a first call, so that the app has loaded everything it needs."""
        assert await app.object(Waiter, "first").ping() == "pong"
        return cls()

    def figures(self) -> Result:
        rss, peak = machine.rss_bytes(), peak_rss_bytes()
        return {
            "empty_rss_mb": rounded(self._empty / 1e6),
            "rss_growth_mb": rounded((rss - self._empty) / 1e6),
            "peak_rss_growth_mb": rounded((peak - self._empty) / 1e6) if peak is not None else None,
            "peak_rss_mb": rounded(peak / 1e6) if peak is not None else None,
        }


def peak_rss_bytes() -> int | None:
    """The peak memory of this process; Linux only, because `getrusage` would include the parent process."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


_new_keys = itertools.count()


async def send_paced(
    app: App, count: int, send: Callable[[int], InvocationHandle[None] | InvocationHandle[int]]
) -> None:
    """Send `count` messages, no faster than they are executed. When this returns, all of them are executed."""
    for first in range(0, count, AT_ONCE):
        handles = [send(number) for number in range(first, min(first + AT_ONCE, count))]
        for handle in handles:
            await handle
        # An acknowledged message is not executed yet: cold objects load first, in the order of their messages.
        await app.object(Waiter, f"after-{next(_new_keys)}").ping()


def handed_out(path: str) -> Path:
    return Path(path).with_suffix(".ids")


def read_handed_out(path: str) -> list[Handed]:
    lines = (line.split() for line in handed_out(path).read_text().splitlines())
    return [(int(number), invocation, awakeable) for number, invocation, awakeable in lines]


class OutcomeStore(SqliteStore):
    """The real store, which also counts the durable outcomes and tells when there are enough."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._missing = 0
        self._enough: asyncio.Future[float] | None = None

    def outcomes(self, count: int) -> asyncio.Future[float]:
        """The time of the commit with the `count`-th outcome from now on."""
        self._missing = count
        self._enough = asyncio.get_running_loop().create_future()
        return self._enough

    async def commit(self, batch: Batch) -> None:
        await super().commit(batch)
        if self._enough is not None:
            self._missing -= sum(row[5] >= Status.SUCCEEDED for row in batch.plain) + len(batch.ended)
            if self._missing <= 0:
                self._enough.set_result(time.perf_counter())
                self._enough = None


async def reopen(path: str, created: float) -> Result:
    """`created` is when the parent started this process, by the wall clock."""
    start = time.perf_counter()
    store = OutcomeStore(path)
    async with App(Waiter, store=store) as app:
        opened = time.perf_counter()
        assert await app.object(Waiter, "new").ping() == "pong"
        answered, of_process = time.perf_counter(), time.time() - created
        rss_then = machine.rss_bytes()

        async def resolve(item: Handed) -> None:
            number, _, awakeable = item
            await app.resolve_awakeable(awakeable, number)

        items = read_handed_out(path)
        Random(2).shuffle(items)
        began = time.perf_counter()
        await resolve(items[0])
        assert await app.invocation(items[0][1]).result() == items[0][0]
        first = time.perf_counter()
        rest = items[1:]
        latencies: list[float] = []
        seconds = None
        if rest:
            begin, enough = time.perf_counter(), store.outcomes(len(rest))
            latencies = sorted(await closed_loop(resolve, rest, RESOLVERS))
            assert len(latencies) == len(rest), f"only {len(latencies):,} of {len(rest):,} were resolved in time"
            async with asyncio.timeout(60):
                seconds = await enough - begin
        rss, peak = machine.rss_bytes(), peak_rss_bytes()
        for number, invocation, _ in items[-100:]:
            assert await app.invocation(invocation).result() == number
    return {
        "open_ms": rounded((opened - start) * 1e3),
        "first_new_call_ms": rounded((answered - start) * 1e3),
        "first_new_call_of_process_ms": rounded(of_process * 1e3),
        "reopened_rss_mb": rounded(rss_then / 1e6),
        "first_resume_ms": rounded((first - began) * 1e3),
        "resumed": len(items),
        "resumed_per_s": rounded(len(rest) / seconds) if seconds is not None else None,
        "resolve_p50_ms": rounded(percentile(latencies, 0.50) * 1e3) if latencies else None,
        "resolve_p99_ms": rounded(percentile(latencies, 0.99) * 1e3) if latencies else None,
        "resumed_rss_mb": rounded(rss / 1e6),
        "resumed_peak_rss_mb": rounded(peak / 1e6) if peak is not None else None,
    }
