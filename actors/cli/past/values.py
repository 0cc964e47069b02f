"""How the past looks: stored texts as JSON values, or short in a terminal; who made a change, and when."""

from __future__ import annotations

import json
from typing import Any

from actors.check.effects import ABSENT, Text
from actors.check.past import Change, Past
from actors.check.retrace import State
from actors.cli.file.database import moment_text
from actors.cli.show.layout import safe
from actors.cli.show.records import Facts

LONGEST = 60  # characters of a value in a terminal; --json prints all of it

CAUSES = {
    "outside": "from outside",
    "unrecorded": "without a record",
    "restart": "set back by a restart",
    "migration": "migrated",
    "run": "forgotten by a new run",
}


def value(text: str) -> Any:
    """The value of a stored text; the text itself if it is not JSON, as in a damaged file."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def values(state: State) -> dict[str, Any]:
    return {name: value(text) for name, text in sorted(state.texts.items())}


def shown(text: Text) -> str:
    """A text in a terminal."""
    if text is None:
        return "not known"
    if text is ABSENT:
        return "not set"
    return safe(short(str(text)))


def short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def fact(name: str, text: Text) -> Facts:
    """{name: value}; {} for a value that is not known, and for none."""
    return {name: value(text)} if isinstance(text, str) else {}


def change_facts(past: Past, change: Change) -> Facts:
    """A change as JSON types. Without a value there is no `from`, or no `to`."""
    facts: Facts = {"field": change.name, **fact("from", change.before), **fact("to", change.after)}
    if change.before is None or change.after is None:
        facts["known"] = False
    return {**facts, **written(past, change)}


def written(past: Past, change: Change) -> Facts:
    """Who made a change, and when."""
    row = change.by
    facts: Facts = {
        "by": past.ids.invocation(row.seq) if row is not None else None,
        "handler": row.handler if row is not None else None,
        "position": change.position,
        "at": moment_text(change.at_ms),
    }
    if change.cause == "migration":
        facts["cause"] = change.cause
    if row is None:
        facts |= {"cause": change.cause, "since": moment_text(change.since_ms)}
    return facts


def author(past: Past, change: Change) -> str:
    """Who made a change, in a terminal."""
    return safe(past.named(change.by)) if change.by is not None else CAUSES[change.cause]


def when(change: Change) -> str:
    """When a change was made, in a terminal. What no invocation made has an earliest and a latest moment."""
    at = moment_text(change.at_ms)
    if change.by is not None:
        return str(at)
    since = moment_text(change.since_ms)
    if since is None:
        return f"before {at}" if at is not None else "at any time"
    return f"{since} to {at}" if at is not None else f"after {since}"


def place(change: Change) -> str:
    if change.by is None or change.cause == "migration":
        return CAUSES["migration"] if change.by is not None else ""
    return f"position {change.position}" if change.position is not None else "outcome"
