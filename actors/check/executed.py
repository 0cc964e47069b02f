"""The states of an object that its records do not have: its invocations executed again, from one known state to the next.

Promise: a state is taken over only if every invocation in between gives its stored outcome again, and the last of them leaves
the state that is known there. No step is started and nothing is written; what handlers do beside their context happens again.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.check.explanation import Explaining, Explanation, Known, Stored
from actors.check.past import EXECUTED, Moment, Past
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraces, State
from actors.journal.entries import Kind
from actors.model.definitions import ServiceDefinition
from actors.storage.records import InvocationRow, Status

_ADVICE = "Check out the release that ran then, or set history=True on the class."


def callees_of(past: Past) -> list[int]:
    """The numbers of the invocations that those of an object have called: `Executing` compares their outcomes."""
    journals = past.kept.journal.values()
    return [entry.ref for journal in journals for entry in journal if entry.kind == Kind.CALL and entry.ref is not None]


class Executing:
    """Fills in the past of one object. `called` are the invocations of `callees_of` that are kept, by number."""

    def __init__(
        self,
        stage: Stage,
        definition: ServiceDefinition,
        past: Past,
        called: Mapping[int, InvocationRow],
        retraces: Retraces,
    ) -> None:
        self._stage = stage
        self._definition = definition
        self._past = past
        self._called = {**called, **{row.seq: row for row in past.rows}}
        self._retraces = retraces

    async def run(self) -> None:
        moments = self._past.moments
        known: int | None = None
        for place in range(len(moments)):
            if moments[place].state is None:
                continue
            if known is not None and (place > known + 1 or self._is_left_without_record(place)):
                if self._past.is_set_back(place):
                    continue  # the invocation before has left another state than this
                await self._between(known, place)
            if moments[place].state is not None:
                known = place

    def _is_left_without_record(self, place: int) -> bool:
        """Whether a state is known from what came later alone, so that it need not be what the invocation before it has left."""
        return place % 2 == 1 and not self._past.is_recorded(self._past.rows[place // 2])

    async def _between(self, first: int, last: int) -> None:
        """Execute the invocations between two places again, and take over their states if they lead from one to the other."""
        past, address = self._past, (self._past.service, self._past.key)
        start, end = past.moments[first].state, past.moments[last].state
        assert start is not None and end is not None
        rows = past.rows[(first + 1) // 2 : last // 2 + last % 2]
        if all(past.is_recorded(row) for row in rows):
            return  # then state was changed outside of invocations: their code does not tell when
        found: dict[int, tuple[State, State]] = {}

        def passed(row: InvocationRow, before: State, after: State) -> None:
            found[row.seq] = before, after

        known = {address: Known(rows[0].position - 1, start.rows())}
        explaining = Explaining(self._stage, self._retraces, self._called, known, True, True, passed=passed)
        await explaining.explain(self._definition, address, Stored(rows, past.kept.journal, end.rows()))
        report = explaining.report
        if (
            report.ok
            and not report.unjudged
            and all(row.seq in found for row in rows if row.status >= Status.SUCCEEDED)
        ):
            for index, row in enumerate(rows, (first + 1) // 2):
                if row.seq in found:
                    self._take(2 * index, found[row.seq][0])
                    self._take(2 * index + 1, found[row.seq][1])
            return
        why = f"{_said(report)} {_ADVICE}"
        for place in range(first + 1, max(last, first + 2)):
            if place == last or past.moments[place].state is None:
                past.moments[place] = Moment(None, None, why)

    def _take(self, place: int, state: State) -> None:
        if self._past.moments[place].state is None:
            self._past.moments[place] = Moment(state, EXECUTED)


def _said(report: Explanation) -> str:
    if report.findings:
        finding = report.findings[0]
        if finding.invocation is None:
            return finding.message
        return f"{finding.handler} ({finding.invocation}) gives another answer with the current code. {finding.message}"
    reason = report.unjudged[0].reason if report.unjudged else "an invocation has no place in the order"
    return reason if reason.endswith(".") else f"{reason}."
