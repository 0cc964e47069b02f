"""`actors check module:app`: whether stored state and open invocations work with this code."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from actors import run
from actors.check.checking import TIMEOUT_S
from actors.cli.check.checking import BadUsage, CheckFailed, Checking
from actors.cli.check.report import as_json, progress_on, show
from actors.cli.interrupts import end_on_sigterm


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "--db", type=click.Path(dir_okay=False), metavar="FILE", help="The database. Default: the file that the app names."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.01),
    default=TIMEOUT_S,
    show_default=True,
    help="Time limit for the replay of one invocation, in seconds.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many findings of each kind to list."
)
@click.option("--json", "json_", is_flag=True, help="Print the report as JSON.")
def check(target: str, db: str | None, timeout: float, limit: int, json_: bool) -> None:
    """Check whether stored state and open invocations work with this code.

    Decodes all state, with migrations, and replays all open invocations against their journals. No step runs, no message
    is sent, and the file is only copied; no app may have the file open. Exit code: 0 if nothing would break, 1 if
    something would break, 2 if there is nothing to check.
    """
    end_on_sigterm()
    with progress_on(Console(stderr=True)) as progress:
        try:
            report = run(Checking(target, db, timeout, limit, progress).run())
        except (BadUsage, CheckFailed) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)
    if json_:
        click.echo(as_json(report))
    else:
        show(report, Console(highlight=False))
    sys.exit(0 if report.ok else 1)
