"""`actors audit`: is everything in a file explained by the code of its app?"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import click
from rich.console import Console

from actors import run
from actors.check.auditing import Auditing
from actors.check.checking import TIMEOUT_S
from actors.check.explanation import Explanation
from actors.cli.check.report import progress_on
from actors.cli.file.database import visiting
from actors.cli.past.objects import file_option, loaded, named, path_of
from actors.cli.past.watchdog import guarded
from actors.cli.show.layout import Page, count, safe
from actors.cli.show.records import Facts, print_json
from actors.cli.words import texts
from actors.errors import ActorsError, with_code
from actors.model.names import address

Progress = Callable[[int, int], None]

_INVOCATION = re.compile(r"\S+ \(inv_1[\w-]+\)")


@click.command()
@click.argument("target", metavar="MODULE:APP")
@file_option
@click.option("--service", metavar="NAME", help="Only objects of this class.")
@click.option("--key", metavar="KEY", help="Only objects with this key.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.01),
    default=TIMEOUT_S,
    show_default=True,
    help="Time limit for one invocation, in seconds.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many findings to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(
    target: str,
    db: str | None,
    service: str | None,
    key: str | None,
    timeout: float,
    limit: int,
    as_json: bool,
) -> None:
    """Execute all kept invocations again, and compare what they answer and leave with what is stored.

    Each invocation gets the state that the invocation before has left and the answers that its journal holds. No step runs, no message
    is sent, and nothing is written; the app may run. Exit code: 0 if the code explains everything that can be judged, 1 if something is
    not explained, 2 if there is nothing to judge, or a handler blocks the event loop.
    """
    words = texts({"target": target, "service": service, "key": key})
    try:
        with progress_on(Console(stderr=True), "Auditing") as progress:
            report, total = run(_audited(words["target"], db, words["service"], words["key"], timeout, progress))
    except ActorsError as error:
        click.echo(f"Error: {with_code(error)}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    if not total and not report.findings and not report.unjudged:
        click.echo("Error: No invocation matches. See what is kept: actors invocations list.", err=True)
        sys.exit(2)
    if as_json:
        print_json(_facts(report, limit))
    else:
        _show(report, limit, Page(Console(highlight=False)))
    sys.exit(0 if report.ok else 1)


async def _audited(
    target: str, db: str | None, service: str | None, key: str | None, timeout_s: float, progress: Progress
) -> tuple[Explanation, int]:
    """The report, and how many invocations were looked at. Raises ActorsError or click.BadParameter."""
    app = loaded(target)
    assert app is not None
    seen = 0

    def advance(done: int, total: int) -> None:
        nonlocal seen
        seen = total
        progress(done, total)

    async with visiting(path_of(db, app)) as database:
        with guarded(timeout_s, lambda row: named(row, database.ids), 2) as watch:
            auditing = Auditing(database.visitor, app, service, key, timeout_s=timeout_s, watch=watch, progress=advance)
            report = await auditing.run()
    return report, seen


def _facts(report: Explanation, limit: int) -> Facts:
    return {
        "ok": report.ok,
        "invocations": report.invocations,
        "findings_count": len(report.findings),
        "findings": [asdict(finding) for finding in report.findings[:limit]],
        "not_judged": [{"service": service, "reason": reason, "count": n} for (service, reason), n in _grouped(report)],
    }


def _grouped(report: Explanation) -> list[tuple[tuple[str, str], int]]:
    """What was not judged, by class and reason, the most frequent first."""
    return Counter(
        (item.service, _INVOCATION.sub("an invocation", item.reason)) for item in report.unjudged
    ).most_common()


def _show(report: Explanation, limit: int, page: Page) -> None:
    for finding in report.findings[:limit]:
        page.line(safe(address(finding.service, finding.key, finding.handler or "")), style="bold")
        if finding.invocation is not None:
            page.line(f"  {finding.invocation}")
        page.text(safe(finding.message, lines=True), indent=2)
        page.line()
    if len(report.findings) > limit:
        page.line(f"... and {len(report.findings) - limit:,} more. --limit shows more.")
    groups = _grouped(report)
    if groups:
        page.line("Not judged", style="bold")
        page.columns(
            ("times", "class and reason"),
            [[(f"{n:,}", ""), (safe(f"{service}: {reason}"), "")] for (service, reason), n in groups],
            right=("times",),
            indent=2,
        )
    page.text(f"{count(report.invocations, 'invocation')} executed again.")
    if report.ok:
        page.line("Everything that was judged is explained.", style="bold green")
    else:
        page.line(f"{count(len(report.findings), 'finding')}.", style="bold red")
