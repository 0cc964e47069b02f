"""What `actors check` shows: a bar while it works, then a table for each kind of problem and a summary, or JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from actors.check import KINDS, Finding, Report
from actors.handlers import address

WIDTH = 140  # characters, where no terminal says another


@contextlib.contextmanager
def progress_on(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how much is done, and of how much. It shows a bar on a terminal, and nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("Checking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


def as_json(report: Report) -> str:
    """{"ok", "counts": {...}, "problems": {kind: how many}, "findings": [{"kind", "service", "key", ...}]}"""
    parts = {
        "ok": report.ok,
        "counts": report.counts,
        "problems": dict(sorted(report.problems.items())),
        "findings": report.findings,
    }
    return msgspec.json.format(msgspec.json.encode(parts), indent=2).decode()


def show(report: Report, console: Console) -> None:
    if not console.is_terminal:
        console.width = WIDTH
    for kind, title in KINDS.items():
        found = [finding for finding in report.findings if finding.kind == kind]
        if found:
            console.print(_table(title, found, report.problems[kind]))
            if len(found) < report.problems[kind]:
                console.print(f"... and {report.problems[kind] - len(found):,} more.")
            console.print()
    counts = report.counts
    console.print(
        f"{counts.objects:,} objects, {counts.invocations:,} open invocations, {counts.replayed:,} of them replayed."
    )
    if counts.outdated:
        console.print(f"{counts.outdated:,} objects hold state of an older version and would be migrated.")
    if counts.unserved:
        console.print(
            f"{counts.unserved:,} objects have state of classes this app does not serve; it was not looked at."
        )
    if report.ok:
        console.print("Nothing would break.", style="bold green")
    else:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(report.problems.items()))
        console.print(f"{sum(report.problems.values()):,} problems: {kinds}.", style="bold red")


def _table(title: str, findings: list[Finding], number: int) -> Table:
    of_invocations = any(finding.invocation is not None for finding in findings)
    of_journal = any(finding.recorded is not None for finding in findings)
    table = Table(title=f"{title} ({number:,})", title_justify="left", title_style="bold")
    table.add_column("object", overflow="fold")
    if of_invocations:
        table.add_column("invocation", overflow="fold")
    if of_journal:
        table.add_column("entry", justify="right")
        table.add_column("recorded", overflow="fold")
        table.add_column("asked for now", overflow="fold")
    else:
        table.add_column("what", overflow="fold", ratio=1)
    for finding in findings:
        cells = [address(finding.service, finding.key, finding.handler or "")]
        if of_invocations:
            cells.append(finding.invocation or "")
        if of_journal:
            index = "" if finding.index is None else str(finding.index)
            cells += [index, finding.recorded or "", finding.asked or finding.message]
        else:
            cells.append(finding.message)
        table.add_row(*(Text(cell) for cell in cells))
    return table
