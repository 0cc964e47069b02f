"""Do the journal and the time of a handler grow with the size of its changes, or with the size of its object?"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

from actors import App
from benchmarks import machine
from benchmarks.measure import Progress, in_new_process, run
from benchmarks.objects import Collector
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

APPENDS = 2000
BIG_ITEMS = 100_000  # of 100 bytes each: 10 MB
STEPS = 20


class Growth:
    """One handler appends a text of 100 bytes to a list and executes a step, `--ops` times; the object holds only the list.

    `journal_mb` is the size of the journal of that invocation, `growth_of_time` how much longer twice as many take (2: linear),
    in CPU time. Then 20 steps beside a list of 10 MB that the handler does not read, or reads once, against the same steps of an
    object without the list: `untouched_ratio` and `read_ratio`, medians of `--rounds`.
    """

    name = "growth"
    summary = "Journal and time of a handler that appends to a list, and of steps beside a large value"
    asks = ("ops", "rounds")
    quick = (Options(ops=400, rounds=3),)

    def steps(self, options: Options) -> int:
        return 2

    def run(self, options: Options, progress: Progress) -> Result:
        appends = options.ops or APPENDS
        found = in_new_process(append_in_new_file, appends)
        progress(f"{appends:,} appends")
        found |= in_new_process(steps_in_new_file, options.rounds)
        progress("steps beside 10 MB")
        return {"scenario": self.name, "appends": appends} | found | machine.facts()


def append_in_new_file(appends: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        return run(lambda: append(os.path.join(folder, "growth.db"), appends))


async def append(path: str, appends: int) -> Result:
    async with App(Collector, storage=f"sqlite:///{path}") as app:
        await app.object(Collector, "warm").collect(50)
        seconds, half = await _cpu_s(lambda: app.object(Collector, "half").collect(appends // 2))
        all_seconds, cpu = await _cpu_s(lambda: app.object(Collector, "all").collect(appends))
    with sqlite3.connect(path) as connection:
        query = (
            "SELECT sum(coalesce(length(e.name), 0) + coalesce(length(e.value), 0) + coalesce(length(e.before), 0)) "
            "FROM journal_entry e JOIN invocation i ON i.seq = e.invocation WHERE i.key = 'all'"
        )
        ((journal,),) = connection.execute(query)
        ((state,),) = connection.execute("SELECT length(value) FROM object_state WHERE key = 'all'")
    connection.close()
    return {
        "state_mb": rounded(state / 1e6),
        "journal_mb": rounded(journal / 1e6),
        "file_mb": rounded(os.path.getsize(path) / 1e6),
        "cpu_ms_per_append": rounded(cpu / appends * 1e3),
        "growth_of_time": rounded(cpu / half),
        "seconds": rounded(all_seconds),
        "half_seconds": rounded(seconds),
    }


def steps_in_new_file(rounds: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        return run(lambda: steps(os.path.join(folder, "steps.db"), rounds))


async def steps(path: str, rounds: int) -> Result:
    async with App(Collector, storage=f"sqlite:///{path}") as app:
        with_it, without = app.object(Collector, "with"), app.object(Collector, "without")
        await with_it.fill(BIG_ITEMS)
        await with_it.steps(STEPS, False)
        await without.steps(STEPS, False)
        found: dict[str, list[float]] = {"without": [], "untouched": [], "read": []}
        for _ in range(rounds):
            found["without"].append((await _cpu_s(lambda: without.steps(STEPS, False)))[0])
            found["untouched"].append((await _cpu_s(lambda: with_it.steps(STEPS, False)))[0])
            found["read"].append((await _cpu_s(lambda: with_it.steps(STEPS, True)))[0])
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    return {
        "steps_ms": rounded(medians["without"] * 1e3),
        "untouched_ratio": rounded(medians["untouched"] / medians["without"]),
        "read_ratio": rounded(medians["read"] / medians["without"]),
    }


async def _cpu_s(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds, and seconds of CPU time of all threads."""
    cpu, start = time.process_time(), time.perf_counter()
    await call()
    return time.perf_counter() - start, time.process_time() - cpu
