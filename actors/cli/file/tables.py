"""How records look in a terminal of 80 columns. Ids are never truncated, because users copy them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

from actors.cli.file.database import Facts
from actors.cli.file.waits import told_wait
from actors.cli.show.layout import Page, safe
from actors.cli.show.timeline import Line, told
from actors.model.names import address

STYLES = {
    "running": "cyan",
    "blocked": "cyan",
    "backing-off": "yellow",
    "paused": "bold yellow",
    "succeeded": "green",
    "failed": "red",
}


def show_invocations(page: Page, found: Sequence[Facts], now: datetime.datetime) -> None:
    rows = [
        [
            (one["id"], ""),
            (one["status"], STYLES.get(one["status"], "")),
            (age(one["accepted_at"], now), ""),
            (safe(target(one)), ""),
        ]
        for one in found
    ]
    page.columns(("id", "status", "age", "object and handler"), rows, right=("age",))


def show_awakeables(page: Page, found: Sequence[Facts], now: datetime.datetime) -> None:
    rows = [
        [(one["id"], ""), (age(one["since"], now), ""), (safe(f"{target(one)} ({one['type'] or 'any type'})"), "")]
        for one in found
    ]
    page.columns(("id", "age", "object, handler and type"), rows, right=("age",))


def show_requests(page: Page, found: Sequence[Facts], now: datetime.datetime) -> None:
    rows = [
        [
            (str(one["number"]), ""),
            (age(one["asked_at"], now), ""),
            (safe(" ".join([one["operation"], one["id"], one["argument"] or ""])).rstrip(), ""),
        ]
        for one in found
    ]
    page.columns(("number", "age", "request"), rows, right=("number", "age"))


def show_invocation(
    page: Page, facts: Facts, story: Sequence[Line], waits: Sequence[Facts], now: datetime.datetime
) -> None:
    page.line(safe(target(facts)), style="bold")
    page.facts(
        [
            (name, safe(value), STYLES.get(facts["status"], "") if name == "status" else "")
            for name, value in _details(facts, now)
        ]
    )
    if facts["reason"]:
        page.line()
        page.line("reason", style="bold")
        page.text(safe(facts["reason"].rstrip(), lines=True), indent=2)
    page.line()
    page.line("journal", style="bold")
    page.columns(("position", "seconds", "entry"), _timeline(story), right=("position", "seconds"), indent=2)
    if waits:
        page.line()
        page.line("waits for", style="bold")
        for wait in waits:
            first, *more = told_wait(wait)
            page.text(safe(first), indent=2)
            for line in more:
                page.line("    " + safe(line))


def _details(facts: Facts, now: datetime.datetime) -> list[tuple[str, str]]:
    status = facts["status"]
    if facts["held"]:
        status += " by an operator"
    if facts["cancel_requested"]:
        status += ", cancellation requested"
    details = [("id", facts["id"]), ("status", status)]
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


def _timeline(story: Sequence[Line]) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = []
    for line in story:
        seconds = (line.at - story[0].at).total_seconds()
        # Entries that a restart kept are older than its acceptance. The outcome has no position for --keep.
        position = "" if line.entry in ("output", "failure") else str(line.position)
        at = f"{seconds:.3f}" if seconds >= 0 else "kept"
        rows.append([(position, ""), (at, ""), (safe(told(line, story)), "")])
    return rows


def target(facts: Facts) -> str:
    return address(facts["service"], facts["key"], facts["handler"])


def age(since: str, now: datetime.datetime) -> str:
    """How long ago a moment was, in the largest unit that fits."""
    seconds = max(0, int((now - datetime.datetime.fromisoformat(since)).total_seconds()))
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
