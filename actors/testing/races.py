"""In which order the parts of one request have come, where that is not decided by its code.

Promise: two executions of a request with equal answers in which nothing raced, or whose parts came in the same order, have done the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from actors.journal.entries import Kind
from actors.storage.records import Mode

_AWAITED = frozenset((Kind.RUN, Kind.SLEEP, Kind.AWAKEABLE, Kind.CALL))


@dataclass(frozen=True, slots=True)
class Order:
    """`raced`: a handler waited for several things at once, or messages of one request could meet at an object.

    `parts` are the invocations in the order in which they were accepted, each with the commands in the order of their answers, and
    after them the invocations of each object in the order of its mailbox.
    """

    raced: bool
    parts: tuple[Any, ...]


def order_of(query: Callable[..., list[tuple[Any, ...]]], own: Collection[int] | None = None) -> Order:
    """The order of these invocations, or of all."""
    journals: defaultdict[int, list[tuple[int, int, int | None]]] = defaultdict(list)
    for seq, index, kind, ref in query("SELECT invocation, idx, kind, ref FROM journal_entry ORDER BY 1, 2"):
        journals[seq].append((index, kind, ref))
    rows = query(
        "SELECT seq, service, CASE shared WHEN ? THEN '' ELSE key END, handler, position, shared FROM invocation ORDER BY 1",
        Mode.KEYLESS,
    )
    rows = [row for row in rows if own is None or row[0] in own]
    parts = tuple((*row[1:4], _answers(journals[row[0]])) for row in rows)
    visits: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for number, (_, service, key, _, position, mode) in enumerate(rows):
        if mode != Mode.KEYLESS:
            visits[service, key].append((position, number))
    sends = any(kind == Kind.SEND for row in rows for _, kind, _ in journals[row[0]])
    meets = sends and any(len(visit) > 1 for visit in visits.values())
    raced = meets or any(_waits_for_several(journals[row[0]]) for row in rows)
    by_object = tuple((place, tuple(number for _, number in sorted(visit))) for place, visit in sorted(visits.items()))
    return Order(raced, (parts, by_object))


def _answers(journal: list[tuple[int, int, int | None]]) -> tuple[int | None, ...]:
    return tuple(ref for _, kind, ref in journal if kind in (Kind.COMPLETED, Kind.FAILED))


def _waits_for_several(journal: list[tuple[int, int, int | None]]) -> bool:
    waiting: set[int] = set()
    for index, kind, ref in journal:
        if kind in _AWAITED:
            waiting.add(index)
            if len(waiting) > 1:
                return True
        elif kind in (Kind.COMPLETED, Kind.FAILED) and ref is not None:
            waiting.discard(ref)
    return False
