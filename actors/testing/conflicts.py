"""Which two requests have met, when no order of whole requests explains a run.

Promise: what is said has happened: one request has come between two things that another one has done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from actors.storage.records import InvocationRow, Mode, Status
from actors.testing.outside import Asking
from actors.testing.requests import Request

LONGEST = 60  # characters of arguments and results


@dataclass(frozen=True, slots=True)
class _Visit:
    """An invocation at an object, for a request. Between `began` and `ended` it was the only one there, or, of a reader, has looked at it."""

    row: InvocationRow
    began: int
    ended: int
    by: Request

    @property
    def place(self) -> str:
        return f"{self.row.service}/{self.row.key}"

    @property
    def writes(self) -> bool:
        return self.row.shared == Mode.EXCLUSIVE

    def is_before(self, other: _Visit) -> bool:
        return self.ended < other.began

    def __str__(self) -> str:
        return f"{self.row.handler}({_short(self.row.args[1:-1])})"

    def told(self) -> str:
        return f"{self} -> {_short(self.row.outcome or '')}"


def meeting(
    requests: Sequence[Request], blamed: Request | None, rows: Mapping[int, InvocationRow], asking: Asking
) -> str | None:
    """Two sentences about a request that has come between two visits of another one, that of the `blamed` one if there is one."""
    visits = {id(request): list(_visits(request, rows, asking)) for request in requests}
    for one in sorted(requests, key=lambda request: request is not blamed):
        for other in requests:
            if other is not one and (text := _between(visits[id(one)], visits[id(other)])) is not None:
                return text
    return None


def _visits(request: Request, rows: Mapping[int, InvocationRow], asking: Asking) -> Iterator[_Visit]:
    for seq in request.own:
        row, began, ended = rows.get(seq), asking.began.get(seq), asking.ended_at.get(seq)
        if (
            row is None
            or row.shared == Mode.KEYLESS
            or row.status != Status.SUCCEEDED
            or began is None
            or ended is None
        ):
            continue
        yield _Visit(row, began, ended if row.shared == Mode.EXCLUSIVE else began, request)


def _between(visits: list[_Visit], others: list[_Visit]) -> str | None:
    pairs = [(one, two) for one in visits for two in visits if one.is_before(two)]
    # That it was twice at the same object is understood at once.
    for first, last in sorted(pairs, key=lambda pair: pair[0].place != pair[1].place):
        for middle in others:
            for later in others:
                if (
                    middle.place == first.place
                    and later.place == last.place
                    and first.is_before(middle)
                    and later.is_before(last)
                    and (first.writes or middle.writes)
                    and (later.writes or last.writes)
                ):
                    return _told(first, middle, later, last)
    return None


def _told(first: _Visit, middle: _Visit, later: _Visit, last: _Visit) -> str:
    one = first.by.name
    other = middle.by.name if middle.by.name != one else f"another {one}"
    if first.place == last.place:
        met = middle if middle.writes else later
        return f"{one} asked {first.place} twice: {first.told()}, then {last.told()}. Between the two, {met} for {other} ran there."
    return (
        f"{one} asked {first.place}: {first.told()}, then {last.place}: {last.told()}. After the first, {middle} for {other} ran at "
        f"{first.place}; before the second, {later} at {last.place}."
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
