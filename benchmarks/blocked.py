"""How long does it take to open a file in which many invocations wait, and to resume any of them?"""

from __future__ import annotations

import os
import tempfile
import time
from random import Random

from actors import App, Context, VirtualObject, handler
from benchmarks import machine
from benchmarks.measure import Progress, closed_loop, in_new_process, percentile, run
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

AT_ONCE = 1000
RESUMERS = 64

Waiting = tuple[str, str]  # invocation id, awakeable id


class Waiter(VirtualObject):
    answer: int = 0

    @handler
    async def wait(self, ctx: Context) -> int:
        self.answer = await ctx.awakeable(int)
        return self.answer

    @handler
    async def ping(self) -> str:
        return "pong"


class Blocked:
    """One process leaves `count` invocations waiting and ends. A second opens the file, answers a new call, and then
    resumes `resume` of the waiting ones, drawn at random, each by its awakeable until its result is there."""

    name = "blocked"
    summary = "Open a file with many invocations blocked on awakeables, answer a new call, resume some of them"
    asks = ("count", "resume")
    quick = (Options(count=10_000, resume=500),)

    def steps(self, options: Options) -> int:
        return 2

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "blocked.db")
            sample, left = in_new_process(_leave, path, options.count, options.resume)
            progress(f"{options.count:,} invocations blocked")
            size = os.path.getsize(path)
            found = in_new_process(_reopen, path, sample)
            progress(f"{len(sample):,} resumed")
        left["file_mb"] = rounded(size / 1e6)
        return {"scenario": self.name, "blocked": options.count} | found | left | machine.facts()


def _leave(path: str, count: int, resume: int) -> tuple[list[Waiting], Result]:
    return run(lambda: leave_blocked(path, count, resume))


def _reopen(path: str, sample: list[Waiting]) -> Result:
    return run(lambda: reopen(path, sample))


async def leave_blocked(path: str, count: int, resume: int) -> tuple[list[Waiting], Result]:
    """Block `count` invocations on one awakeable each. `resume` of them, at random, and what it took."""
    async with App(Waiter, storage=f"sqlite:///{path}") as app:
        before, start = machine.rss_bytes(), time.perf_counter()
        ids = {}
        for first in range(0, count, AT_ONCE):
            keys = [f"key-{number}" for number in range(first, min(first + AT_ONCE, count))]
            handles = [app.object(Waiter, key).wait.send() for key in keys]
            for key, handle in zip(keys, handles, strict=True):
                await handle
                ids[key] = handle.id
            # Acknowledged is not yet executed: cold objects load first, in the order in which they were asked for.
            await app.object(Waiter, f"after-{first}").ping()
        seconds = time.perf_counter() - start
        open_ones = await app.awakeables(limit=count)
        assert len(open_ones) == count, f"{len(open_ones)} of {count} wait"
        grown = machine.rss_bytes() - before
    sample = Random(1).sample(open_ones, min(resume, count))
    return [(ids[info.key], info.id) for info in sample], {
        "blocked_per_s": rounded(count / seconds),
        "rss_bytes_per_blocked": rounded(grown / count),
    }


async def reopen(path: str, sample: list[Waiting]) -> Result:
    start = time.perf_counter()
    async with App(Waiter, storage=f"sqlite:///{path}") as app:
        opened = time.perf_counter()
        assert await app.object(Waiter, "new").ping() == "pong"
        answered = time.perf_counter()

        async def resume(item: tuple[int, Waiting]) -> None:
            number, (invocation, awakeable) = item
            await app.resolve_awakeable(awakeable, number)
            assert await app.invocation(invocation).result() == number

        numbered = list(enumerate(sample))
        await resume(numbered[0])
        first = time.perf_counter()
        latencies = await closed_loop(resume, numbered[1:], RESUMERS)
        end = time.perf_counter()
        rss = machine.rss_bytes()
    latencies.sort()
    return {
        "open_ms": rounded((opened - start) * 1e3),
        "first_new_call_ms": rounded((answered - start) * 1e3),
        "first_resume_ms": rounded((first - answered) * 1e3),
        "resumed": len(sample),
        "resumed_per_s": rounded(len(latencies) / (end - first)) if latencies else None,
        "resume_p50_ms": rounded(percentile(latencies, 0.50) * 1e3) if latencies else None,
        "resume_p99_ms": rounded(percentile(latencies, 0.99) * 1e3) if latencies else None,
        "rss_mb": rounded(rss / 1e6),
    }
