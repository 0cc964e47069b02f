"""What an open invocation waits for: the commands of its journal that have no answer yet.

Pure: from rows to values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from actors.journal.entries import Kind
from actors.journal.tries import Tries
from actors.storage.records import JournalRow

Waiting = Literal["call", "attach", "awakeable", "promise", "sleep", "step"]

_WAITING: dict[int, Waiting] = {
    Kind.RUN: "step",
    Kind.SLEEP: "sleep",
    Kind.AWAKEABLE: "awakeable",
    Kind.CALL: "call",
    Kind.ATTACH: "attach",
    Kind.PROMISE: "promise",
}
_ANSWERS = (Kind.COMPLETED, Kind.FAILED)
NO_TRIES = Tries()


@dataclass(frozen=True, slots=True)
class Pending:
    """A command without an answer. `name` is that of the step or promise, the target of a call, the type of an awakeable.

    `seq` is the number of the invocation that a call or an attachment waits for, None if it has no place yet. `until_ms` is the
    end of a sleep, or the deadline of an awakeable. `tries` are those of a step with its own retry policy.
    """

    waiting: Waiting
    position: int
    name: str
    since_ms: int
    seq: int | None = None
    until_ms: int | None = None
    tries: Tries = NO_TRIES


def pending(journal: Iterable[JournalRow]) -> list[Pending]:
    """The commands that have no answer, in the order of the journal."""
    rows = list(journal)
    answered = {row.ref for row in rows if row.kind in _ANSWERS}
    placed = {row.ref: row.value for row in rows if row.kind == Kind.PLACED}
    found = []
    for row in rows:
        waiting = _WAITING.get(row.kind)
        if waiting is None or row.idx in answered:
            continue
        seq = until_ms = None
        tries = NO_TRIES
        if waiting in ("call", "attach"):
            seq = row.ref if row.ref is not None else _number(placed.get(row.idx))
        elif waiting in ("sleep", "awakeable"):
            until_ms = row.ref
        elif waiting == "step":
            tries = Tries.of(row.ref, row.before)
        found.append(Pending(waiting, row.idx, row.name or "", row.at_ms, seq, until_ms, tries))
    return found


def _number(value: str | bytes | None) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else None
