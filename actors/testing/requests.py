"""The requests from outside that a run of a world has made, each with all that it has called and sent.

Promise: requests that stand for one invocation are one request, and those that were refused are none. A moment is numbered as the
clients number theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from actors.journal.entries import Kind
from actors.model.definitions import HandlerDefinition
from actors.model.names import address
from actors.storage.records import InvocationRow, Status
from actors.testing.clients import Clients, Query, Receipt
from actors.testing.races import Order, order_of


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `outcome` is status and text, None if it has not ended. `own` are the invocations it has become, itself first, and `order`
    is how they came.

    Times are in milliseconds since 1970. `times` are those that `ctx.now()` has returned in each of `own`, by number. `answered` is when a
    caller had the outcome; if none has received it, when the last of its invocations had ended. None if that has not come.
    """

    target: HandlerDefinition
    key: str
    args: str
    outcome: tuple[int, str] | None
    own: tuple[int, ...]
    called: int
    answered: int | None
    began_ms: int
    ended_ms: int
    order: Order
    times: tuple[tuple[int, ...], ...] = ()

    @property
    def name(self) -> str:
        """`Order/o1/add`, of a service `Mailer/deliver`."""
        return address(self.target.service.name, self.key, self.target.name)


class Requests:
    """Reads what a run has left, at its end. `rows` are all invocations, by number, `called` what each has called and sent, in order."""

    def __init__(self, query: Query, clients: Clients, handlers: dict[tuple[str, str], HandlerDefinition]) -> None:
        self._query = query
        self._clients = clients
        self._handlers = handlers
        rows = map(
            InvocationRow._make, query(f"SELECT {', '.join(InvocationRow._fields)} FROM invocation ORDER BY seq")
        )
        self.rows = {row.seq: row for row in rows}
        self.called: dict[int, list[int]] = defaultdict(list)
        # The number of a message that is placed later is in an entry of its own.
        for caller, seq in query(
            "SELECT e.invocation, CASE WHEN e.ref IS NOT NULL THEN e.ref ELSE p.value END FROM journal_entry e "
            "LEFT JOIN journal_entry p ON p.invocation = e.invocation AND p.kind = ? AND p.ref = e.idx "
            "WHERE e.kind IN (?, ?) ORDER BY e.invocation, e.idx",
            *(Kind.PLACED, Kind.CALL, Kind.SEND),
        ):
            if seq is not None:
                self.called[caller].append(int(seq))
        self._times: dict[int, list[int]] = defaultdict(list)
        for seq, ms in query(
            "SELECT invocation, ref FROM journal_entry WHERE kind = ? ORDER BY invocation, idx", Kind.NOW
        ):
            self._times[seq].append(ms)

    def all(self) -> list[Request]:
        """All requests that may have had an effect."""
        receipts: dict[int, list[Receipt]] = defaultdict(list)
        found = []
        for receipt in self._clients.receipts:
            row = self._clients.row_of(receipt)
            if row is not None:
                receipts[row.seq].append(receipt)
            elif receipt.args is not None and receipt.answered is not None and receipt.outcome is not None:
                # A reader that has ended at once.
                found.append(
                    Request(
                        receipt.target,
                        receipt.key,
                        receipt.args,
                        receipt.outcome,
                        () if receipt.seq is None else (receipt.seq,),
                        receipt.called,
                        receipt.answered,
                        *(0, 0),
                        order_of(self._query, ()),
                    )
                )
        inner = {seq for called in self.called.values() for seq in called}
        for seq, row in self.rows.items():
            if seq not in inner and row.status != Status.SCHEDULED:
                own = tuple(self._with_called(seq))
                if not self._is_waiting(own):
                    found.append(self._request(row, own, receipts[seq]))
        return found

    def obstacle(self) -> str | None:
        """Why open invocations are in the way of a judgement, if they are."""
        timers = {seq for (seq,) in self._query("SELECT invocation FROM timer WHERE idx >= 0")}
        inner = {seq for called in self.called.values() for seq in called}
        for seq, row in self.rows.items():
            if row.status >= Status.SUCCEEDED or row.status == Status.SCHEDULED:
                continue
            if seq in timers:
                return "an invocation waits for a time that has not come"
            if row.status == Status.PENDING and seq in inner:
                return "a call waits for an object that an open invocation holds"
        return None

    def _request(self, row: InvocationRow, own: tuple[int, ...], receipts: list[Receipt]) -> Request:
        ends = [self._clients.ended.get(seq) for seq in own]
        answers = [receipt.answered for receipt in receipts if receipt.answered is not None]
        last = max([moment for moment in ends if moment is not None], default=None) if None not in ends else None
        return Request(
            self._handlers[row.service, row.handler],
            row.shown_key,
            row.args,
            (row.status, row.outcome) if row.outcome is not None else None,
            own,
            min((receipt.called for receipt in receipts), default=0),
            min(answers, default=last),
            row.accepted_ms,
            row.ended_ms or row.accepted_ms,
            order_of(self._query, own),
            tuple(tuple(self._times.get(one, ())) for one in sorted(own)),
        )

    def _is_waiting(self, own: tuple[int, ...]) -> bool:
        """Whether nothing of it has begun."""
        return len(own) == 1 and self.rows[own[0]].status == Status.PENDING

    def _with_called(self, seq: int) -> Iterator[int]:
        if seq in self.rows:
            yield seq
            for called in self.called.get(seq, ()):
                yield from self._with_called(called)
