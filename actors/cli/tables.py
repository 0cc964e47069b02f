"""How records look in a terminal of 80 columns. Ids are never cut: they are what people copy."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actors.cli.database import Facts
from actors.cli.timeline import Line, told
from actors.handlers import address

STYLES = {
    "running": "cyan",
    "blocked": "cyan",
    "backing-off": "yellow",
    "paused": "bold yellow",
    "succeeded": "green",
    "failed": "red",
}


def show_invocations(console: Console, found: Sequence[Facts], now: datetime.datetime) -> None:
    table = _table()
    table.add_column("id", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("object and handler", overflow="fold")
    table.add_column("age", justify="right", no_wrap=True)
    for one in found:
        table.add_row(one["id"], _status(one["status"]), shown(target(one)), age(one["accepted_at"], now))
    console.print(table)


def show_awakeables(console: Console, found: Sequence[Facts], now: datetime.datetime) -> None:
    table = _table()
    table.add_column("id", no_wrap=True)
    table.add_column("type", overflow="fold", max_width=12)
    table.add_column("object and handler", overflow="fold")
    table.add_column("age", justify="right", no_wrap=True)
    for one in found:
        table.add_row(one["id"], shown(one["type"] or ""), shown(target(one)), age(one["since"], now))
    console.print(table)


def show_invocation(
    console: Console, facts: Facts, story: Sequence[Line], awakeables: Sequence[Facts], now: datetime.datetime
) -> None:
    console.print(Text(_safe(target(facts)), style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _details(facts, now):
        table.add_row(name, value if isinstance(value, Text) else shown(value))
    console.print(Padding(table, (0, 0, 0, 2)))
    if facts["reason"]:
        console.print("\nreason", style="bold")
        console.print(Padding(shown(facts["reason"].rstrip()), (0, 0, 0, 2)))
    console.print("\njournal", style="bold")
    console.print(Padding(_timeline(story), (0, 0, 0, 2)))
    if awakeables:
        console.print("\nwaits for", style="bold")
        for one in awakeables:
            until = f", until {one['deadline']}" if one["deadline"] else ""
            console.print(Padding(shown(f"{one['id']}\n  {one['type']}, since {one['since']}{until}"), (0, 0, 0, 2)))


def _details(facts: Facts, now: datetime.datetime) -> list[tuple[str, str | Text]]:
    status = _status(facts["status"])
    if facts["held"]:
        status.append(" by an operator", style="default")
    if facts["cancel_requested"]:
        status.append(", cancellation requested", style="default")
    details: list[tuple[str, str | Text]] = [("id", facts["id"]), ("status", status)]
    details.append(("accepted", f"{facts['accepted_at']}, {age(facts['accepted_at'], now)} ago"))
    if facts["ended_at"]:
        details.append(("ended", f"{facts['ended_at']}, {age(facts['ended_at'], now)} ago"))
    if facts["failed_attempts"]:
        details.append(("failed attempts", str(facts["failed_attempts"])))
    if facts["mode"] != "exclusive":
        details.append(("mode", facts["mode"]))
    details.append(("arguments", ", ".join(_json(one) for one in facts["arguments"]) or "none"))
    for name in ("headers", "called_by", "idempotency_key", "restarted_from"):
        if facts[name]:
            value = facts[name]
            details.append((name.replace("_", " "), value if isinstance(value, str) else _json(value)))
    if facts["status"] == "succeeded":
        details.append(("result", _json(facts["result"])))
    if facts["failure"]:
        failure = facts["failure"]
        details.append(
            ("failure", f"{failure['message']} ({failure.get('error', 'terminal_error')}, {failure['code']})")
        )
        if failure.get("metadata"):
            details.append(("metadata", _json(failure["metadata"])))
    return details


def _timeline(story: Sequence[Line]) -> Table:
    table = _table()
    table.add_column("position", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("entry", overflow="fold")
    for line in story:
        seconds = (line.at - story[0].at).total_seconds()
        # What a restart has kept was recorded before it was accepted.
        table.add_row(str(line.position), f"{seconds:.3f}" if seconds >= 0 else "kept", shown(told(line, story)))
    return table


def target(facts: Facts) -> str:
    return address(facts["service"], facts["key"], facts["handler"])


def age(since: str, now: datetime.datetime) -> str:
    """How long ago a moment was, in its largest unit."""
    seconds = max(0, int((now - datetime.datetime.fromisoformat(since)).total_seconds()))
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def shown(text: str) -> Text:
    """`text` as it is, whatever it looks like, but for what a terminal would obey."""
    return Text(_safe(text), overflow="fold")


def _safe(text: str) -> str:
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _status(name: str) -> Text:
    return Text(name, style=STYLES.get(name, ""))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
