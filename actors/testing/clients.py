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
from actors.storage.records import RUN, Batch, InvocationRow, Mode, Status

# What refuses a request, and is not the outcome of an invocation.
_REFUSALS = (IdempotencyMismatch, MailboxFull, Overloaded, UnknownInvocation)

_STATUS = InvocationRow._fields.index("status")  # also of a PlainRow

Query = Callable[..., list[tuple[Any, ...]]]


@dataclass(slots=True)
class Receipt:
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
    """Takes down requests and answers; `findings` compares them with the disk, at the end.

    `receipts` are those of all requests; `ended` is when the outcome of an invocation became durable, by its number.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._moments = itertools.count(1)
        self.receipts: list[Receipt] = []
        self.ended: dict[int, int] = {}

    def calls(
        self, target: HandlerDefinition, key: str, options: Options, args: Any = (), kwargs: Any = None
    ) -> Receipt:
        """A request is made. It is said to be answered to `accepted` and `answered`."""
        task = asyncio.current_task()
        name = task.get_name() if task is not None else "Task-"
        keyed = RUN if target.once else options.idempotency_key
        receipt = Receipt("the test" if name.startswith("Task-") else name, target, key, keyed, next(self._moments))
        if target.shared and not options.headers:
            receipt.args, _ = target.encode(args, kwargs or {})
        self.receipts.append(receipt)
        return receipt

    def accepted(self, receipt: Receipt, seq: int, delayed: bool) -> None:
        """A caller knows that its message is durable; a delayed one has no place in the mailbox yet."""
        receipt.seq = seq
        if not delayed:
            receipt.accepted = receipt.accepted or next(self._moments)

    def answered(
        self, receipt: Receipt, seq: int | None, value: Any = None, error: TerminalError | None = None
    ) -> None:
        """A caller has the outcome."""
        if isinstance(error, _REFUSALS):
            return
        receipt.seq = seq
        receipt.answered = receipt.answered or next(self._moments)
        try:
            receipt.outcome = (
                (Status.FAILED, failure_text(error))
                if error is not None
                else (Status.SUCCEEDED, receipt.target.returns.encode(value))
            )
        except SerializationError:
            receipt.outcome = None  # of a class that has another type now

    def committed(self, batch: Batch) -> None:
        """A batch is durable."""
        moment = next(self._moments)
        for row in (*batch.plain, *batch.invocations):
            if row[_STATUS] >= Status.SUCCEEDED:
                self.ended.setdefault(row[0], moment)
        for row in batch.ended:
            self.ended.setdefault(row[0], moment)

    def findings(self, complete: bool) -> Iterator[str]:
        """One line for each answer that is not stored, and for each two requests in the wrong order. `complete`: none was forgotten."""
        placed: dict[tuple[str, str], list[tuple[Receipt, int]]] = defaultdict(list)
        for receipt in self.receipts:
            if receipt.known_at() is None:
                continue
            row = self.row_of(receipt)
            if row is None:
                if complete and self._is_lost(receipt):
                    yield f"{receipt.caller} received: {receipt.name} {_said(receipt.outcome)}. Nothing of it is stored."
                continue
            if receipt.outcome is not None and not self._same(receipt, row) and (complete or receipt.keyed is None):
                stored = (
                    _said((row.status, row.outcome)) if row.outcome is not None else f"is {Status.NAMES[row.status]}"
                )
                yield f"{receipt.caller} received: {receipt.name} {_said(receipt.outcome)}. Stored: it {stored}."
            if row.shared == Mode.EXCLUSIVE and row.status != Status.SCHEDULED and receipt.keyed is None:
                placed[row.service, row.key].append((receipt, row.position))
        for requests in placed.values():
            yield from _misplaced(requests)

    def readers(self) -> dict[tuple[str, str], list[OutsideReader]]:
        """The readers of which nothing is stored, by their objects, with what bounds them in the mailbox."""
        found: dict[tuple[str, str], list[Receipt]] = defaultdict(list)
        writers: dict[tuple[str, str], list[tuple[Receipt, int]]] = defaultdict(list)
        for receipt in self.receipts:
            address = receipt.target.service.name, receipt.key
            if receipt.seq is None or receipt.keyed is not None:
                continue
            if receipt.target.mode == Mode.EXCLUSIVE:
                if (row := self.row_of(receipt)) is not None and row.status != Status.SCHEDULED:
                    writers[address].append((receipt, row.position))
            elif _is_answered_reader(receipt) and self.row_of(receipt) is None:
                found[address].append(receipt)
        return {address: _bounded(readers, writers[address]) for address, readers in found.items()}

    def row_of(self, receipt: Receipt) -> InvocationRow | None:
        """What is stored of a request."""
        columns = ", ".join(InvocationRow._fields)
        if receipt.keyed is None:
            rows = self._query(f"SELECT {columns} FROM invocation WHERE seq = ?", receipt.seq)
        else:
            keyless = receipt.target.mode == Mode.KEYLESS
            rows = self._query(
                f"SELECT {columns} FROM invocation WHERE service = ? AND handler = ? AND idempotency_key = ? AND (? OR key = ?)",
                receipt.target.service.name,
                receipt.target.name,
                receipt.keyed,
                keyless,
                receipt.key,
            )
        return InvocationRow._make(rows[0]) if len(rows) == 1 else None

    def _is_lost(self, receipt: Receipt) -> bool:
        """Whether it should be stored. A reader that ends at once is not, and a request may have been refused."""
        if receipt.seq is None or (receipt.target.shared and receipt.accepted is None):
            return False
        return receipt.outcome is None or receipt.outcome[0] == Status.SUCCEEDED

    def _same(self, receipt: Receipt, row: InvocationRow) -> bool:
        assert receipt.outcome is not None
        status, text = receipt.outcome
        if row.outcome is None or row.status != status:
            return False
        if status == Status.FAILED:
            return same_failure(receipt.outcome, row)
        return receipt.target.returns.equal(text, row.outcome)


def _misplaced(requests: list[tuple[Receipt, int]]) -> Iterator[str]:
    """Requests of one object by their places: what was known before another was made must stand before that."""
    before = sorted(requests, key=lambda one: one[0].known_at() or 0)
    last: tuple[Receipt, int] | None = None  # in the mailbox, of those that were known when `later` was made
    number = 0
    for later, place in sorted(requests, key=lambda one: one[0].called):
        while number < len(before) and (before[number][0].known_at() or 0) < later.called:
            if last is None or before[number][1] > last[1]:
                last = before[number]
            number += 1
        if last is not None and last[1] > place:
            first = last[0]
            yield (
                f"{later.caller} called {later.name} after {first.caller} knew that {first.name} was accepted, but {later.name} "
                "comes first in the mailbox."
            )


def _said(outcome: tuple[int, str | None] | None) -> str:
    if outcome is None:
        return "is accepted"
    status, text = outcome
    return f"{'answers' if status == Status.SUCCEEDED else 'fails with'} {text if text is None or len(text) <= 200 else text[:197] + '...'}"


def _bounded(readers: list[Receipt], writers: list[tuple[Receipt, int]]) -> list[OutsideReader]:
    """Readers of one object, each with what its caller knows of the mailbox."""
    ended = sorted((receipt.answered, position) for receipt, position in writers if receipt.answered is not None)
    ends = [moment for moment, _ in ended]
    after = list(itertools.accumulate((position for _, position in ended), max))
    began = sorted((receipt.called, position) for receipt, position in writers)
    calls = [moment for moment, _ in began]
    before = list(itertools.accumulate((position for _, position in reversed(began)), min))[::-1]
    found = []
    for receipt in readers:
        assert (
            receipt.seq is not None
            and receipt.answered is not None
            and receipt.outcome is not None
            and receipt.args is not None
        )
        status, text = receipt.outcome
        row = InvocationRow(
            *(
                receipt.seq,
                receipt.target.service.name,
                receipt.key,
                receipt.target.name,
                Mode.SHARED,
                status,
                0,
                receipt.args,
            ),
            *(None, None, None, 0, 0, None, text, None),
        )
        last = bisect.bisect_left(ends, receipt.called) - 1
        next_one = bisect.bisect_right(calls, receipt.answered)
        found.append(
            OutsideReader(
                receipt.caller,
                receipt.name,
                row,
                receipt.called,
                receipt.answered,
                after[last] if last >= 0 else None,
                before[next_one] if next_one < len(before) else None,
            )
        )
    return found


def _is_answered_reader(receipt: Receipt) -> bool:
    return receipt.args is not None and receipt.outcome is not None and receipt.outcome[0] == Status.SUCCEEDED
