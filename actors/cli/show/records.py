"""How the records of either engine look in a terminal of 80 columns. Ids are never truncated, because users copy them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from actors.cli.show.layout import Page, safe
from actors.model.names import address

Facts = dict[str, Any]

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


def show_facts(page: Page, facts: Facts, now: datetime.datetime) -> None:
    """One invocation, without its journal."""
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


def _details(facts: Facts, now: datetime.datetime) -> list[tuple[str, str]]:
    status = facts["status"]
    if facts.get("held"):
        status += " by an operator"
    if facts.get("cancel_requested"):
        status += ", cancellation requested"
    details = [("id", facts["id"]), ("status", status)]
    details.append(("accepted", f"{facts['accepted_at']}, {age(facts['accepted_at'], now)} ago"))
    if facts["ended_at"]:
        details.append(("ended", f"{facts['ended_at']}, {age(facts['ended_at'], now)} ago"))
    if facts["failed_attempts"]:
        details.append(("failed attempts", str(facts["failed_attempts"])))
    if facts.get("mode", "exclusive") != "exclusive":
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
        error = failure.get("error", "terminal_error")
        details.append(("failure", f"{failure['message']} ({f'{error}, ' if error else ''}{failure['code']})"))
        if failure.get("metadata"):
            details.append(("metadata", _json(failure["metadata"])))
    return details


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


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def console() -> Console:
    return Console(highlight=False)


def page() -> Page:
    return Page(console())


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
