"""The commands of `actors`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from actors import run
from actors.check.checking import TIMEOUT_S
from actors.cli.check.checking import BadUsage, CheckFailed, Checking
from actors.cli.check.report import as_json, progress_on, show
from actors.cli.client_commands import add_people
from actors.cli.demo.demo import Demo, DemoFailed
from actors.cli.file.awakeable_commands import awakeables
from actors.cli.file.copies import backup, restore
from actors.cli.file.invocation_commands import invocations
from actors.cli.file.options import misplaced_option
from actors.cli.file.request_commands import requests
from actors.cli.interrupts import end_on_sigterm
from actors.cli.manual import explain, prompt
from actors.cli.restate.commands import restate
from actors.cli.restate.deploying import deploy
from actors.cli.serving import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="virtual-actors")
@misplaced_option
def cli() -> None:
    """Durable virtual objects on asyncio and SQLite."""


cli.add_command(invocations)
cli.add_command(awakeables)
cli.add_command(requests)
cli.add_command(serve)
cli.add_command(explain)
cli.add_command(prompt)
cli.add_command(restate)
cli.add_command(deploy)
cli.add_command(backup)
cli.add_command(restore)
add_people(cli)


@cli.command()
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="Length of the throughput run."
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the databases in this new folder, to inspect them afterwards.",
)
def demo(seconds: float, keep: Path | None) -> None:
    """Kill a process that waits, start another, and watch the order complete."""
    console = Console(highlight=False)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.UsageError(f"{keep} is not empty. The demo requires a new folder.")
    end_on_sigterm()
    try:
        run(Demo(console, seconds, keep).play())
    except DemoFailed as error:
        console.print(f"\nThe demo failed: {error}", style="bold red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@cli.command()
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
