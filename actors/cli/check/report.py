"""The output of `actors check`: a progress bar, then the findings by kind and a summary, or JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actors.check.checking import KINDS, Finding, Report
from actors.cli.show.layout import Page, count, safe
from actors.model.names import address


@contextlib.contextmanager
def progress_on(console: Console, what: str = "Checking") -> Iterator[Callable[[int, int], None]]:
    """A function of the number of items done and the number of all items. It shows a bar, on terminals only."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
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
    page = Page(console)
    for kind, title in KINDS.items():
        found = [finding for finding in report.findings if finding.kind == kind]
        if found:
            page.line(f"{title} ({report.problems[kind]:,})", style="bold")
            for finding in found:
                page.line()
                _finding(page, finding)
            if len(found) < report.problems[kind]:
                page.line()
                page.line(f"  ... and {report.problems[kind] - len(found):,} more. --limit shows more.")
            page.line()
    counts = report.counts
    page.text(
        f"{count(counts.objects, 'object')}, {count(counts.invocations, 'open invocation')}, "
        f"{counts.replayed:,} of them replayed."
    )
    if counts.outdated:
        s = "s" if counts.outdated == 1 else ""
        page.text(f"{count(counts.outdated, 'object')} hold{s} state of an older version and would be migrated.")
    if counts.unserved:
        has = "has" if counts.unserved == 1 else "have"
        page.text(
            f"{count(counts.unserved, 'object')} {has} state of a class this app does not serve; it was not checked."
        )
    if report.ok:
        page.line("Nothing would break.", style="bold green")
    else:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(report.problems.items()))
        page.text(f"{count(sum(report.problems.values()), 'problem')}: {kinds}.", style="bold red")


def _finding(page: Page, finding: Finding) -> None:
    page.line("  " + safe(address(finding.service, finding.key, finding.handler or "")), style="bold")
    facts = [
        ("invocation", finding.invocation),
        ("entry", None if finding.index is None else str(finding.index)),
        ("recorded", finding.recorded),
        ("asked now", finding.asked),
    ]
    page.facts([(name, safe(value), "") for name, value in facts if value is not None], indent=4)
    if finding.kind != "journal":  # its message says the same in a sentence
        page.text(safe(finding.message, lines=True), indent=4)
