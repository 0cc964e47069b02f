"""The floor: how fast durable keyed objects could be, written by hand for one class at a time.

A dict of state for each key, direct execution, and the same rows in the same `SqliteStore`, group-committed with
synchronous=FULL: one commit in flight, the next batch fills meanwhile, a reply is sent when its batch is on disk. No reading of
the journal, no replay, no retries, no types, no attempts, no loading of records from an earlier process. The runtime's additional
time is the price of these features. tests/benchmarks/test_floor.py pins that both leave the same rows.

The floor writes everything that steps and awakeables require on disk: before a step starts, the acceptance of the call and the
start of the step, because otherwise a crash would forget a side effect; before a reply, the step's result and the outcome. An
awakeable is on disk before its id is handed out, and its completion before the acknowledgement. So a step takes two commits and
four rows, and an awakeable handed out by a step two more. Ids are those of the runtime, which cannot be guessed.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, TypeVar

from actors.journal.entries import Kind
from actors.journal.ids import IdMint
from actors.storage import Batch, SqliteStore, Status
from benchmarks.objects import double, hand_out

O = TypeVar("O", bound="OnFloor")  # noqa: E741

NUMBERS_RESERVED = 1_000_000  # as in the runtime, a number is never given out twice, not even after a crash


class Floor:
    """`async with Floor(store) as floor: await floor.object(CounterOnFloor, "a").add(1)`. It requires a new file."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._objects: defaultdict[type[OnFloor], dict[str, Any]] = defaultdict(dict)
        self._writing: asyncio.Task[None] | None = None
        self._failed: Exception | None = None
        self._number = 0
        self._reserve_to: int | None = None
        self._waiting: dict[tuple[int, int], tuple[Accepted, asyncio.Future[Any]]] = {}  # open awakeables
        self._begin_batch()

    async def __aenter__(self) -> Floor:
        opened = await self._store.open()
        self._next = opened.next_number
        self._reserve_at = opened.next_number + NUMBERS_RESERVED // 2
        self.ids = IdMint(opened.secret)
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
        """Append the rows of a handler to the open batch. The future gets `value` once the batch is durable."""
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
        if self._writing is None:  # the task starts when all callers of this turn of the loop are in the batch
            self._writing = self._loop.create_task(self._write())
        return future

    def accept(self, service: str, key: str, handler: str, args: str) -> Accepted:
        """Append a call that outlasts the next commit to the open batch. Its `entry` calls append there too."""
        if self._failed is not None:
            raise self._failed
        seq = self._next
        self._next = seq + 1
        if seq >= self._reserve_at:
            self._reserve_at = seq + NUMBERS_RESERVED // 2
            self._reserve_to = seq + NUMBERS_RESERVED
        accepted = Accepted(seq, service, key, handler, args, time.time_ns() // 1_000_000)
        self._write_row(accepted, Status.RUNNING, None, None)
        return accepted

    def entry(self, accepted: Accepted, kind: int, name: str | None, ref: int | None, value: str | None) -> int:
        """Record a command of the call, or a completion; returns the position."""
        accepted.entries = idx = accepted.entries + 1
        self._journal.append((accepted.seq, idx, kind, name, ref, value, None, time.time_ns() // 1_000_000))
        return idx

    def waits(self, accepted: Accepted, promise: int) -> asyncio.Future[Any]:
        """A future that `resolve` completes."""
        future = self._loop.create_future()
        self._waiting[accepted.seq, promise] = accepted, future
        return future

    def resolve(self, id: str, value: int) -> asyncio.Future[Any]:
        """Complete an awakeable. The future is done once the completion is durable. Raises BadId, or KeyError if not open."""
        address = self.ids.read_awakeable(id)
        accepted, future = self._waiting.pop(address)
        self.entry(accepted, Kind.COMPLETED, None, address[1], str(value))
        future.set_result(value)
        return self.durable()

    def future(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def durable(self, value: Any = None) -> asyncio.Future[Any]:
        """The future gets `value` once everything appended so far is durable."""
        if self._failed is not None:
            raise self._failed
        future = self._loop.create_future()
        self._replies.append((future, value))
        if self._writing is None:
            self._writing = self._loop.create_task(self._write())
        return future

    def ended(self, accepted: Accepted, outcome: str, value: Any) -> asyncio.Future[Any]:
        """Append the outcome of a call. The future gets `value` once the outcome is durable."""
        ended_ms = time.time_ns() // 1_000_000
        if accepted.written_in == self._number:  # what changes twice in a batch is written once, in its final form
            self._write_row(accepted, Status.SUCCEEDED, ended_ms, outcome)
        else:
            self._ended.append((accepted.seq, Status.SUCCEEDED, ended_ms, outcome))
        return self.durable(value)

    def _write_row(self, of: Accepted, status: int, ended_ms: int | None, outcome: str | None) -> None:
        if of.written_in != self._number:
            of.written_in, of.place = self._number, len(self._invocations)
            self._invocations.append(())
        self._invocations[of.place] = (
            of.seq,
            of.service,
            of.key,
            of.handler,
            0,
            status,
            of.seq,
            of.args,
            None,
            None,
            of.accepted_ms,
            ended_ms,
            outcome,
        )

    def _begin_batch(self) -> None:
        self._number += 1
        self._invocations: list[tuple[Any, ...]] = []
        self._ended: list[tuple[Any, ...]] = []
        self._journal: list[tuple[Any, ...]] = []
        self._state: dict[tuple[str, str, str], str] = {}  # a field assigned ten times in a batch is written once
        self._replies: list[tuple[asyncio.Future[Any], Any]] = []
        self._reserve_to = None

    async def _write(self) -> None:
        while self._replies:
            state: list[tuple[Any, ...]] = [(*name, text) for name, text in self._state.items()]
            batch = Batch(
                self._number,
                plain=self._invocations,
                journal=self._journal,
                state=state,
                reserve_to=self._reserve_to,
                ended=self._ended,
            )
            replies = self._replies
            self._begin_batch()
            try:
                await self._store.commit(batch)
                self._store.verify()
            except Exception as error:
                self._failed = error
                for future, _ in (*replies, *self._replies):
                    if not future.done():
                        future.set_exception(error)
                break
            for future, value in replies:  # callers wake in the next turn, after the next batch is handed over
                if not future.done():
                    future.set_result(value)
        self._writing = None


class Accepted:
    """A call under way: the values of its row, and the number of its journal entries."""

    __slots__ = ("accepted_ms", "args", "entries", "handler", "key", "place", "seq", "service", "written_in")

    def __init__(self, seq: int, service: str, key: str, handler: str, args: str, accepted_ms: int) -> None:
        self.seq = seq
        self.service = service
        self.key = key
        self.handler = handler
        self.args = args
        self.accepted_ms = accepted_ms
        self.entries = self.written_in = self.place = 0


class OnFloor:
    """A reference to one object: the methods of a subclass are its handlers, written by hand."""

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
        text = str(count)  # used as the state and as the outcome
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


class Turns(OnFloor):
    """Queues the calls of one key that wait: `objects` holds the future that the next call waits for."""

    __slots__ = ()

    async def turn(self) -> asyncio.Future[None]:
        """Return when all earlier calls of this key are over. The call sets the returned future when it is over."""
        before = self._objects.get(self._key)
        mine = self._objects[self._key] = self._floor.future()
        if before is not None and not before.done():
            await before
        return mine


class StepperOnFloor(Turns):
    """objects.Stepper"""

    __slots__ = ()

    async def work(self, n: int) -> int:
        floor = self._floor
        call = floor.accept("Stepper", self._key, "work", f"[{n}]")
        mine = await self.turn()
        step = floor.entry(call, Kind.RUN, "double", None, None)
        await floor.durable()
        result = await double(n)
        text = str(result)
        floor.entry(call, Kind.COMPLETED, None, step, text)
        mine.set_result(None)
        return await floor.ended(call, text, result)  # type: ignore[no-any-return]


class ApprovalOnFloor(Turns):
    """objects.Approval"""

    __slots__ = ()

    async def ask(self, ticket: int) -> int:
        floor = self._floor
        call = floor.accept("Approval", self._key, "ask", f"[{ticket}]")
        mine = await self.turn()
        promise = floor.entry(call, Kind.AWAKEABLE, "int", None, None)
        answer = floor.waits(call, promise)
        step = floor.entry(call, Kind.RUN, "hand_out", None, None)
        await floor.durable()
        await hand_out(ticket, floor.ids.awakeable(call.seq, promise))
        floor.entry(call, Kind.COMPLETED, None, step, "null")
        value: int = await answer
        mine.set_result(None)
        return await floor.ended(call, str(value), value)  # type: ignore[no-any-return]
