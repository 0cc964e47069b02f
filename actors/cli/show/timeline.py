"""The history in a database, from its journal: read through the public views, in order of cause and time."""

from __future__ import annotations

import datetime
import heapq
import itertools
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.serde import packing


@dataclass(frozen=True, order=True)
class Line:
    """One row of the view `journal`, and its object."""

    at: datetime.datetime
    invocation: int
    position: int
    target: str
    entry: str
    name: str | None
    completes: int | None
    called: int | None
    value: Any


_QUERY = """
SELECT j.at, j.invocation, j.position, i.service || CASE i.mode WHEN 'keyless' THEN '' ELSE '/' || i.key END, j.entry, j.name, j.completes, j.called, j.value
FROM journal j JOIN invocations i USING (invocation)
WHERE i.handler <> ?
"""


def read_journal(database: Path, *, without: str = "") -> list[Line]:
    """The entries in order of time; within one millisecond, a cause comes before its effect.

    Invocations of handlers named `without` are left out.
    """
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(_QUERY, (without,)).fetchall()
    lines = [
        Line(
            datetime.datetime.fromisoformat(at),
            invocation,
            position,
            target,
            entry,
            name,
            completes,
            called,
            decoded(value),
        )
        for at, invocation, position, target, entry, name, completes, called, value in rows
    ]
    return list(_in_order_of_cause(lines))


def decoded(value: str | None) -> Any:
    """A value of the journal view: JSON text, or `msgpack:` and hex for the result of a step that declares no type."""
    if value is not None and value.startswith("msgpack:"):
        return packing.unpack(bytes.fromhex(value.removeprefix("msgpack:")))
    return None if value is None else json.loads(value)


def told(line: Line, lines: Iterable[Line]) -> str:
    """The entry as a sentence."""
    match line.entry:
        case "input":
            return f"accepts {line.name}({_arguments(line.value)})"
        case "set state":
            return f"{line.name} = {_shown(line.value)}"
        case "clear state":
            return f"{line.name} is cleared"
        case "call" | "send":
            verb = "calls" if line.entry == "call" else "sends"
            return f"{verb} {line.name}({_arguments(line.value)})"
        case "completed" | "failed":
            command = next(c for c in lines if c.invocation == line.invocation and c.position == line.completes)
            if command.entry == "sleep":
                return "the sleep is over"
            failed = line.entry == "failed"
            return f"{_answered(command, failed=failed)} {_failure(line.value) if failed else _shown(line.value)}"
        case "output":
            return f"returns {_shown(line.value)}"
        case "failure":
            return f"fails: {_failure(line.value)}"
        case "awakeable":
            return f"awakeable({line.name}) is created"
        case "run":
            return f"run {line.name} starts"
        case "sleep":
            return f"sleeps {int(line.name or 0) / 1000:g} s"
        case "now":
            return f"reads the time: {line.value}"
        case "snapshot":
            return f"reads the state {_shown(line.value)}"
        case "cancelled":
            return "is notified of its cancellation"
        case "placed":
            return "the message under the key is accepted"
        case other:
            return f"{other} {line.name or ''}".rstrip()


def _answered(command: Line, *, failed: bool) -> str:
    if command.entry == "awakeable":
        return "awakeable is rejected:" if failed else "awakeable is resolved:"
    return f"{command.entry} {command.name} {'failed:' if failed else 'gave'}"


def _failure(value: Any) -> str:
    if not isinstance(value, dict):
        return _shown(value)
    text = str(value.get("message", ""))
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({value.get('error', 'terminal_error')})"


def _arguments(values: Any) -> str:
    return ", ".join(_shown(value) for value in values) if isinstance(values, list) else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _in_order_of_cause(lines: list[Line]) -> Iterator[Line]:
    """Kahn's algorithm, the earliest entry first."""
    by_invocation: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_invocation[line.invocation].append(line)
    effects: dict[tuple[int, int], list[Line]] = defaultdict(list)
    causes: dict[tuple[int, int], int] = defaultdict(int)

    def follows(cause: Line, effect: Line) -> None:
        effects[cause.invocation, cause.position].append(effect)
        causes[effect.invocation, effect.position] += 1

    for own in by_invocation.values():
        own.sort(key=lambda line: line.position)
        called = {line.position: line.called for line in own if line.called is not None}
        for earlier, later in itertools.pairwise(own):
            follows(earlier, later)
        for line in own:
            if line.called in by_invocation:
                follows(line, by_invocation[line.called][0])
            callee = by_invocation.get(called.get(line.completes or 0, 0))
            if line.completes is not None and callee is not None:
                follows(callee[-1], line)
    ready = [line for line in lines if not causes[line.invocation, line.position]]
    heapq.heapify(ready)
    while ready:
        line = heapq.heappop(ready)
        yield line
        for effect in effects[line.invocation, line.position]:
            causes[effect.invocation, effect.position] -= 1
            if not causes[effect.invocation, effect.position]:
                heapq.heappush(ready, effect)
