"""The floor: how fast durable keyed objects could be, written by hand for one class at a time.

A dict of state for each key, direct execution, and the same rows in the same `SqliteStore`, group-committed with
synchronous=FULL: one commit in flight, the next batch fills meanwhile, a reply leaves when its batch is on disk. No
journal, no replay, no retries, no types, no attempts, no loading of what an earlier process left. What the runtime takes
beyond this is the price of what the floor cannot do. tests/benchmarks/test_floor.py pins that both leave the same rows.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, TypeVar

from actors.storage import Batch, SqliteStore, Status

O = TypeVar("O", bound="OnFloor")  # noqa: E741

NUMBERS_RESERVED = 1_000_000  # the runtime's promise too: no number is given out twice, not even after a crash


class Floor:
    """`async with Floor(store) as floor: await floor.object(CounterOnFloor, "a").add(1)`. It wants a new file."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._objects: defaultdict[type[OnFloor], dict[str, Any]] = defaultdict(dict)
        self._writing: asyncio.Task[None] | None = None
        self._failed: Exception | None = None
        self._number = 0
        self._reserve_to: int | None = None
        self._begin_batch()

    async def __aenter__(self) -> Floor:
        opened = await self._store.open()
        self._next = opened.next_number
        self._reserve_at = opened.next_number + NUMBERS_RESERVED // 2
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writing is not None:
            await self._writing
        await self._store.close()

    def object(self, cls: type[O], key: str) -> O:
        return cls(self, self._objects[cls], key)

    def record(
        self,
        service: str,
        key: str,
        handler: str,
        args: str,
        state: tuple[tuple[str, str], ...],
        outcome: str,
        value: Any,
    ) -> asyncio.Future[Any]:
        """Append what a handler did to the open batch. The future has `value` once that is durable."""
        if self._failed is not None:
            raise self._failed
        seq = self._next
        self._next = seq + 1
        if seq >= self._reserve_at:
            self._reserve_at = seq + NUMBERS_RESERVED // 2
            self._reserve_to = seq + NUMBERS_RESERVED
        now = time.time_ns() // 1_000_000
        self._invocations.append(
            (seq, service, key, handler, 0, Status.SUCCEEDED, seq, args, None, None, now, now, outcome)
        )
        for name, text in state:
            self._state[service, key, name] = text
        future = self._loop.create_future()
        self._replies.append((future, value))
        if self._writing is None:  # the task starts when all who call in this turn of the loop are in its first batch
            self._writing = self._loop.create_task(self._write())
        return future

    def _begin_batch(self) -> None:
        self._number += 1
        self._invocations: list[tuple[Any, ...]] = []
        self._state: dict[tuple[str, str, str], str] = {}  # a field assigned ten times in a batch is written once
        self._replies: list[tuple[asyncio.Future[Any], Any]] = []
        self._reserve_to = None

    async def _write(self) -> None:
        while self._invocations:
            state: list[tuple[Any, ...]] = [(*name, text) for name, text in self._state.items()]
            batch = Batch(self._number, plain=self._invocations, state=state, reserve_to=self._reserve_to)
            replies = self._replies
            self._begin_batch()
            try:
                await self._store.commit(batch)
            except Exception as error:
                self._failed = error
                for future, _ in (*replies, *self._replies):
                    if not future.done():
                        future.set_exception(error)
                break
            for future, value in replies:  # they wake in the next turn: the next batch is handed over before
                if not future.done():
                    future.set_result(value)
        self._writing = None


class OnFloor:
    """A reference to one object: the methods of a subclass are its handlers, each written out by hand."""

    __slots__ = ("_floor", "_key", "_objects")

    def __init__(self, floor: Floor, objects: dict[str, Any], key: str) -> None:
        self._floor = floor
        self._objects = objects
        self._key = key


class CounterOnFloor(OnFloor):
    """objects.Counter"""

    __slots__ = ()

    def add(self, n: int) -> asyncio.Future[int]:
        key = self._key
        count = self._objects[key] = self._objects.get(key, 0) + n
        text = str(count)  # both the state and the outcome
        return self._floor.record("Counter", key, "add", f"[{n}]", (("count", text),), text, count)


class AircraftOnFloor(OnFloor):
    """objects.Aircraft"""

    __slots__ = ()

    def fly(self, miles: int) -> asyncio.Future[int]:
        key = self._key
        flights, total = self._objects.get(key, (0, 0))
        flights += 1
        total += miles
        self._objects[key] = flights, total
        text = str(flights)
        state = (("flights", text), ("miles", str(total)))
        return self._floor.record("Aircraft", key, "fly", f"[{miles}]", state, text, flights)


class AirportOnFloor(OnFloor):
    """objects.Airport"""

    __slots__ = ()

    def depart(self, delay_minutes: int) -> asyncio.Future[int]:
        key = self._key
        departures, total = self._objects.get(key, (0, 0))
        departures += 1
        total += delay_minutes
        self._objects[key] = departures, total
        text = str(departures)
        state = (("departures", text), ("delay_minutes", str(total)))
        return self._floor.record("Airport", key, "depart", f"[{delay_minutes}]", state, text, departures)
