"""What the callers of a world have received: it must be what is stored, in an order that real time allows.

Promise: a finding names the callers. An answer is kept in its stored form from the moment at which its caller has it, so the caller may
change the value afterwards. Nothing is said of what may have been forgotten.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from actors.check.placing import OutsideReader
from actors.check.retrace import same_failure
from actors.errors import (
    IdempotencyMismatch,
    MailboxFull,
    Overloaded,
    SerializationError,
    TerminalError,
    UnknownInvocation,
)
from actors.model.definitions import HandlerDefinition
from actors.model.names import address
from actors.model.options import Options
from actors.serde.failures import failure_text
from actors.storage.records import RUN, InvocationRow, Mode, Status

# What refuses a request, and is not the outcome of an invocation.
_REFUSALS = (IdempotencyMismatch, MailboxFull, Overloaded, UnknownInvocation)

Query = Callable[..., list[tuple[Any, ...]]]


@dataclass(slots=True)
class Told:
    """One request, and what its caller has received. Moments are numbered; None stands for a moment that has not come.

    `seq` is the number of the invocation, unless the request is `keyed`: then the key says which invocation it is.
    """

    caller: str
    target: HandlerDefinition
    key: str
    keyed: str | None
    called: int
    seq: int | None = None
    accepted: int | None = None
    answered: int | None = None
    outcome: tuple[int, str] | None = None
    args: str | None = None  # of a reader without headers

    @property
    def name(self) -> str:
        return address(self.target.service.name, self.key, self.target.name)

    def known_at(self) -> int | None:
        """When its caller knew that it was in the mailbox."""
        known = [moment for moment in (self.accepted, self.answered) if moment is not None]
        return min(known, default=None)


class Clients:
    """Takes down requests and answers; `findings` compares them with the disk, at the end."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._moments = itertools.count(1)
        self._told: list[Told] = []

    def calls(self, target: HandlerDefinition, key: str, options: Options, args: Any = (), kwargs: Any = None) -> Told:
        """A request is made. It is said to be answered to `accepted` and `answered`."""
        task = asyncio.current_task()
        name = task.get_name() if task is not None else "Task-"
        keyed = RUN if target.once else options.idempotency_key
        told = Told("the test" if name.startswith("Task-") else name, target, key, keyed, next(self._moments))
        if target.shared and not options.headers:
            told.args, _ = target.encode(args, kwargs or {})
        self._told.append(told)
        return told

    def accepted(self, told: Told, seq: int, delayed: bool) -> None:
        """A caller knows that its message is durable; a delayed one has no place in the mailbox yet."""
        told.seq = seq
        if not delayed:
            told.accepted = told.accepted or next(self._moments)

    def answered(self, told: Told, seq: int | None, value: Any = None, error: TerminalError | None = None) -> None:
        """A caller has the outcome."""
        if isinstance(error, _REFUSALS):
            return
        told.seq = seq
        told.answered = told.answered or next(self._moments)
        try:
            told.outcome = (
                (Status.FAILED, failure_text(error))
                if error is not None
                else (Status.SUCCEEDED, told.target.returns.encode(value))
            )
        except SerializationError:
            told.outcome = None  # of a class that has another type now

    def findings(self, complete: bool) -> Iterator[str]:
        """One line for each answer that is not stored, and for each two requests in the wrong order. `complete`: none was forgotten."""
        placed: dict[tuple[str, str], list[tuple[Told, int]]] = defaultdict(list)
        for told in self._told:
            if told.known_at() is None:
                continue
            row = self._row(told)
            if row is None:
                if complete and self._is_lost(told):
                    yield f"{told.caller} received: {told.name} {_said(told.outcome)}. Nothing of it is stored."
                continue
            if told.outcome is not None and not self._same(told, row) and (complete or told.keyed is None):
                stored = (
                    _said((row.status, row.outcome)) if row.outcome is not None else f"is {Status.NAMES[row.status]}"
                )
                yield f"{told.caller} received: {told.name} {_said(told.outcome)}. Stored: it {stored}."
            if row.shared == Mode.EXCLUSIVE and row.status != Status.SCHEDULED and told.keyed is None:
                placed[row.service, row.key].append((told, row.position))
        for requests in placed.values():
            yield from _misplaced(requests)

    def readers(self) -> dict[tuple[str, str], list[OutsideReader]]:
        """The readers of which nothing is stored, by their objects, with what bounds them in the mailbox."""
        found: dict[tuple[str, str], list[Told]] = defaultdict(list)
        writers: dict[tuple[str, str], list[tuple[Told, int]]] = defaultdict(list)
        for told in self._told:
            address = told.target.service.name, told.key
            if told.seq is None or told.keyed is not None:
                continue
            if told.target.mode == Mode.EXCLUSIVE:
                if (row := self._row(told)) is not None and row.status != Status.SCHEDULED:
                    writers[address].append((told, row.position))
            elif _is_answered_reader(told) and self._row(told) is None:
                found[address].append(told)
        return {address: _bounded(readers, writers[address]) for address, readers in found.items()}

    def _row(self, told: Told) -> InvocationRow | None:
        columns = ", ".join(InvocationRow._fields)
        if told.keyed is None:
            rows = self._query(f"SELECT {columns} FROM invocation WHERE seq = ?", told.seq)
        else:
            keyless = told.target.mode == Mode.KEYLESS
            rows = self._query(
                f"SELECT {columns} FROM invocation WHERE service = ? AND handler = ? AND idempotency_key = ? AND (? OR key = ?)",
                told.target.service.name,
                told.target.name,
                told.keyed,
                keyless,
                told.key,
            )
        return InvocationRow._make(rows[0]) if len(rows) == 1 else None

    def _is_lost(self, told: Told) -> bool:
        """Whether it should be stored. A reader that ends at once is not, and a request may have been refused."""
        if told.seq is None or (told.target.shared and told.accepted is None):
            return False
        return told.outcome is None or told.outcome[0] == Status.SUCCEEDED

    def _same(self, told: Told, row: InvocationRow) -> bool:
        assert told.outcome is not None
        status, text = told.outcome
        if row.outcome is None or row.status != status:
            return False
        if status == Status.FAILED:
            return same_failure(told.outcome, row)
        return told.target.returns.equal(text, row.outcome)


def _misplaced(requests: list[tuple[Told, int]]) -> Iterator[str]:
    """Requests of one object by their places: what was known before another was made must stand before that."""
    before = sorted(requests, key=lambda one: one[0].known_at() or 0)
    last: tuple[Told, int] | None = None  # in the mailbox, of those that were known when `later` was made
    number = 0
    for later, place in sorted(requests, key=lambda one: one[0].called):
        while number < len(before) and (before[number][0].known_at() or 0) < later.called:
            if last is None or before[number][1] > last[1]:
                last = before[number]
            number += 1
        if last is not None and last[1] > place:
            first = last[0]
            yield (
                f"{first.caller} knew that {first.name} was in the mailbox before {later.caller} called {later.name}, which stands before "
                "it in the mailbox."
            )


def _said(outcome: tuple[int, str | None] | None) -> str:
    if outcome is None:
        return "is accepted"
    status, text = outcome
    return f"{'answers' if status == Status.SUCCEEDED else 'fails with'} {text if text is None or len(text) <= 200 else text[:197] + '...'}"


def _bounded(readers: list[Told], writers: list[tuple[Told, int]]) -> list[OutsideReader]:
    """Readers of one object, each with what its caller knows of the mailbox."""
    ended = sorted((told.answered, position) for told, position in writers if told.answered is not None)
    ends = [moment for moment, _ in ended]
    after = list(itertools.accumulate((position for _, position in ended), max))
    began = sorted((told.called, position) for told, position in writers)
    calls = [moment for moment, _ in began]
    before = list(itertools.accumulate((position for _, position in reversed(began)), min))[::-1]
    found = []
    for told in readers:
        assert told.seq is not None and told.answered is not None and told.outcome is not None and told.args is not None
        status, text = told.outcome
        row = InvocationRow(
            *(told.seq, told.target.service.name, told.key, told.target.name, Mode.SHARED, status, 0, told.args),
            *(None, None, None, 0, 0, None, text, None),
        )
        last = bisect.bisect_left(ends, told.called) - 1
        next_one = bisect.bisect_right(calls, told.answered)
        found.append(
            OutsideReader(
                told.caller,
                told.name,
                row,
                told.called,
                told.answered,
                after[last] if last >= 0 else None,
                before[next_one] if next_one < len(before) else None,
            )
        )
    return found


def _is_answered_reader(told: Told) -> bool:
    return told.args is not None and told.outcome is not None and told.outcome[0] == Status.SUCCEEDED
