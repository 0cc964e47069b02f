"""How much do people who look into a file delay the calls of the app that owns it?"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from actors import App
from actors.journal.entries import Kind
from actors.storage import Batch, InvocationRow, JournalRow, Mode, SqliteStore, Status
from actors.transport.http.streams import Stream, Streams
from benchmarks import machine
from benchmarks.measure import Progress, in_new_process, percentile, run
from benchmarks.objects import Counter
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

AT_ONCE = 20_000
LOOKS_EVERY_S = 0.5
TICK_S = 0.001
PAUSED_OF = 2000  # every so many of the open ones is paused, the others are blocked
KEYS = 1000
VIEWERS = (1, 8)
TURN_S = 2.0
TOPICS = ("overview", "trouble")
AT_MS = 1_700_000_000_000


class Observed:
    """A file with `count` ended and `count` open invocations. `callers` call Counters without a pause, for `seconds` unobserved and
    for as long with a person who looks twice a second: lists of paused ones, of open ones and of a service that does not exist,
    awakeables, what does not move. `slowest_ms` is the slowest call, which waits for the disk, `loop_late_ms` by how much the loop was
    late at most, `longest_look_ms` the slowest look.

    Then pairs of turns of two seconds, with and without pages of the console that watch the overview: `viewers_8` is the share of the
    calls that is left with eight of them, the median of all pairs."""

    name = "observed"
    summary = "How much lists and the doctor delay the calls of the app, in a file with many invocations"
    asks = ("count", "callers", "seconds")
    quick = (Options(count=10_000, callers=16, seconds=2),)

    def steps(self, options: Options) -> int:
        return 2

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "observed.db")
            in_new_process(_fill, path, options.count)
            progress(f"{options.count:,} open, {options.count:,} ended")
            found = in_new_process(_observe, path, options.callers, options.seconds)
            progress("observed")
        return {"scenario": self.name, "callers": options.callers, "open": options.count} | found | machine.facts()


def _fill(path: str, count: int) -> Result:
    return run(lambda: fill(path, count))


def _observe(path: str, callers: int, seconds: int) -> Result:
    return run(lambda: observe(path, callers, seconds))


async def fill(path: str, count: int) -> Result:
    """`count` ended invocations, and as many open ones, which wait for awakeables or are paused, each on a key of its own."""
    store = SqliteStore(path)
    opened = await store.open()
    first = opened.next_number
    for begun in range(0, count, AT_ONCE):
        rows: list[tuple[Any, ...]] = []
        journal: list[tuple[Any, ...]] = []
        for number in range(begun, min(begun + AT_ONCE, count)):
            ended = _row(first + 2 * number, f"ended-{number}", Status.SUCCEEDED)
            rows.append(ended._replace(ended_ms=AT_MS, outcome="1"))
            paused = number % PAUSED_OF == 0
            blocked = _row(first + 2 * number + 1, f"open-{number}", Status.PAUSED if paused else Status.BLOCKED)
            rows.append(blocked._replace(reason="Paused after 1 failed attempt." if paused else None))
            if not paused:
                journal.append(JournalRow(blocked.seq, 1, Kind.AWAKEABLE, "int", None, None, None, AT_MS))
        await store.commit(Batch(begun, invocations=rows, journal=journal, reserve_to=first + 2 * count + 1_000_000))
    await store.close()
    return {}


def _row(seq: int, key: str, status: int) -> InvocationRow:
    return InvocationRow(
        seq=seq,
        service="Counter",
        key=key,
        handler="add",
        shared=Mode.EXCLUSIVE,
        status=status,
        position=seq,
        args="[1]",
        headers=None,
        parent=None,
        parent_index=None,
        attempts=0,
        accepted_ms=AT_MS,
        ended_ms=None,
        outcome=None,
        reason=None,
    )


async def observe(path: str, callers: int, seconds: int) -> Result:
    """Measure calls unobserved, then observed."""
    async with App(Counter, storage=f"sqlite:///{path}") as app:
        await asyncio.gather(*(app.object(Counter, f"hot-{number}").add(1) for number in range(KEYS)))
        operators = app._gateway.operators
        looks: list[Callable[[], Awaitable[object]]] = [
            lambda: app.invocations(status="paused"),
            lambda: app.invocations(status="open"),
            lambda: app.invocations(service="Unknown"),
            lambda: app.awakeables(100),
            lambda: operators.trouble(60_000),
        ]
        took: list[float] = []

        async def look() -> None:
            while True:
                for one in looks:
                    began = time.perf_counter()
                    await one()
                    took.append(time.perf_counter() - began)
                    await asyncio.sleep(LOOKS_EVERY_S / len(looks))

        alone, alone_late = await _calls(app, callers, seconds)
        looking = asyncio.create_task(look())
        observed, observed_late = await _calls(app, callers, seconds)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        viewed = {
            f"viewers_{count}": rounded(await _share_left(app, callers, max(1, seconds // 2), count))
            for count in VIEWERS
        }
    alone.sort()
    observed.sort()
    return {
        "ops_per_s": rounded(len(alone) / seconds),
        "observed_ops_per_s": rounded(len(observed) / seconds),
        "p99_ms": rounded(1e3 * percentile(alone, 0.99)),
        "observed_p99_ms": rounded(1e3 * percentile(observed, 0.99)),
        "p9999_ms": rounded(1e3 * percentile(alone, 0.9999)),
        "observed_p9999_ms": rounded(1e3 * percentile(observed, 0.9999)),
        "slowest_ms": rounded(1e3 * alone[-1]),
        "observed_slowest_ms": rounded(1e3 * observed[-1]),
        "loop_late_ms": rounded(1e3 * alone_late),
        "observed_loop_late_ms": rounded(1e3 * observed_late),
        "looks": len(took),
        "longest_look_ms": rounded(1e3 * max(took)),
        **viewed,
    }


async def _share_left(app: App, callers: int, pairs: int, viewers: int) -> float:
    """The calls while so many pages watch, as a share of those while none does: the median of the pairs."""
    shares: list[float] = []
    for pair in range(pairs):
        counts = {}
        for watched in (True, False) if pair % 2 else (False, True):
            pages = [asyncio.create_task(_page(app)) for _ in range(viewers if watched else 0)]
            latencies, _ = await _calls(app, callers, TURN_S)
            counts[watched] = len(latencies)
            for page in pages:
                page.cancel()
            await asyncio.gather(*pages, return_exceptions=True)
        shares.append(counts[True] / counts[False])
    return statistics.median(shares)


async def _page(app: App) -> None:
    stream = Stream(Streams(), app._gateway.operators.watched(TOPICS))
    async for _ in stream.events():
        pass


async def _calls(app: App, callers: int, seconds: float) -> tuple[list[float], float]:
    """The latencies of calls without a pause, and by how much the loop was late at most, in seconds."""
    gc.collect()
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    late = 0.0

    async def call(number: int) -> None:
        draw = Random(number)
        while (began := time.perf_counter()) < end:
            await app.object(Counter, f"hot-{draw.randrange(KEYS)}").add(1)
            latencies.append(time.perf_counter() - began)

    async def watch() -> None:
        nonlocal late
        while (began := time.perf_counter()) < end:
            await asyncio.sleep(TICK_S)
            late = max(late, time.perf_counter() - began - TICK_S)

    await asyncio.gather(watch(), *(call(number) for number in range(callers)))
    return latencies, late
