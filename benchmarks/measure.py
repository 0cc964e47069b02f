"""How one round is measured, and how rounds of several sides alternate. Independent of runtime and floor."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import actors
from actors.storage import Batch, SqliteStore

T = TypeVar("T")
Operation = Callable[[Any], Awaitable[object]]
Progress = Callable[[str], None]  # called once for each round, with a description

ROUND_LIMIT_S = 30.0


class MeasuredStore(SqliteStore):
    """The real store, which also remembers its commits. Runtime and floor each get such a store, so the cost is equal.

    During a round it only keeps a reference to each batch; rows and bytes are counted after the round.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.committed: list[Batch] = []

    async def commit(self, batch: Batch) -> None:
        await super().commit(batch)
        self.committed.append(batch)

    def account(self) -> tuple[int, int, int]:
        """(commits, rows, bytes of all text and blob values) since the last call."""
        committed, self.committed = self.committed, []
        rows = payload = 0
        for batch in committed:
            tables: tuple[Sequence[tuple[object, ...]], ...] = (
                batch.invocations,
                batch.plain,
                batch.ended,
                batch.state,
                batch.journal,
                batch.timers,
                batch.fired,
                batch.stopped,
                batch.cleared,
                batch.attached,
                batch.detached,
                batch.purged,
            )
            for table in tables:
                rows += len(table)
                payload += sum(_size(value) for row in table for value in row)
        return len(committed), rows, payload


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else 0


@dataclass(frozen=True, slots=True)
class Figures:
    """One round, or the medians of several."""

    ops_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_op: float
    rows_per_op: float
    bytes_per_op: float
    fsyncs_per_s: float


@dataclass(slots=True)
class Side:
    """One side of a comparison: an operation, and the store it writes to."""

    name: str
    store: MeasuredStore
    operation: Operation
    rounds: list[Figures] = field(default_factory=list)

    def medians(self) -> Figures:
        return medians(self.rounds)


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure on its own."""
    return Figures(*(statistics.median(getattr(one, f.name) for one in rounds) for f in fields(Figures)))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed. `ordered` is sorted and not empty."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


async def closed_loop(operation: Operation, items: Sequence[Any], callers: int) -> list[float]:
    """Each caller takes the next item when its last item is answered. Returns the latencies in seconds, unordered.

    Ends early, with fewer latencies, after ROUND_LIMIT_S; raises TimeoutError if an operation is not answered at all.
    """
    left = iter(items)
    latencies: list[float] = []
    clock = time.perf_counter
    deadline = clock() + ROUND_LIMIT_S

    async def call() -> None:
        for item in left:
            start = clock()
            await operation(item)
            end = clock()
            latencies.append(end - start)
            if end > deadline:
                return

    async with asyncio.timeout(2 * ROUND_LIMIT_S):
        await asyncio.gather(*(call() for _ in range(callers)))
    return latencies


async def measured(side: Side, items: Sequence[Any], callers: int) -> Figures:
    """One round. CPU time includes all threads of this process, also SQLite's."""
    gc.collect()  # garbage of an earlier round is not charged to this round
    side.store.account()
    cpu, start = time.process_time(), time.perf_counter()
    latencies = await closed_loop(side.operation, items, callers)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    commits, rows, payload = side.store.account()
    latencies.sort()
    ops = len(latencies)
    return Figures(
        ops_per_s=ops / seconds,
        p50_ms=percentile(latencies, 0.50) * 1e3,
        p99_ms=percentile(latencies, 0.99) * 1e3,
        cpu_us_per_op=cpu / ops * 1e6,
        rows_per_op=rows / ops,
        bytes_per_op=payload / ops,
        fsyncs_per_s=commits / seconds,
    )


async def alternate(
    sides: Sequence[Side],
    warm_up: Sequence[Any],
    draw: Callable[[], Sequence[Any]],
    callers: int,
    rounds: int,
    progress: Progress,
) -> None:
    """Measure the sides in turn, `rounds` times, each time on the same items, so that disturbances affect all sides."""
    for side in sides:
        await closed_loop(side.operation, warm_up, callers)
        progress(f"{side.name} warm")
    for number in range(1, rounds + 1):
        items = draw()
        for side in sides:
            side.rounds.append(await measured(side, items, callers))
            progress(f"{side.name} {number}/{rounds}")


def in_new_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call the function in a new process, free of remains of earlier scenarios."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` under the launcher that users start their apps with; the floor uses it too."""
    return actors.run(main())
