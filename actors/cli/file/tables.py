"""How records of a file look in a terminal of 80 columns, where the engines differ."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from actors.cli.file.waits import told_wait
from actors.cli.show.layout import Page, safe
from actors.cli.show.records import Facts, age, show_facts, target
from actors.cli.show.timeline import Line, told


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
    show_facts(page, facts, now)
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


def _timeline(story: Sequence[Line]) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = []
    for line in story:
        seconds = (line.at - story[0].at).total_seconds()
        # Entries that a restart kept are older than its acceptance. The outcome has no position for --keep.
        position = "" if line.entry in ("output", "failure") else str(line.position)
        at = f"{seconds:.3f}" if seconds >= 0 else "kept"
        rows.append([(position, ""), (at, ""), (safe(told(line, story)), "")])
    return rows
