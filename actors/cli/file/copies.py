"""`actors backup`, `actors restore`: a copy of a database while its app runs, and the way back.

Exit codes: 0 done; 1 refused, and nothing was changed; 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from actors.cli.file.database import database_file
from actors.cli.interrupts import end_on_sigterm
from actors.errors import ActorsError, with_code
from actors.storage.sqlite.backup import Progress as Tell
from actors.storage.sqlite.backup import backup as back_up
from actors.storage.sqlite.backup import restore as put_back

T = TypeVar("T")


@click.command()
@click.argument("file", callback=database_file)
@click.argument("destination", callback=database_file)
def backup(file: str, destination: str) -> None:
    """Copy the database FILE to the new file DESTINATION. The app may run meanwhile.

    The copy is verified, and is either complete or not created at all.
    """
    _done(lambda tell: back_up(file, destination, tell))
    click.echo(
        f"{destination}: {os.path.getsize(destination):,} bytes. To go back: actors restore {destination} {file}"
    )


@click.command()
@click.argument("backup", callback=database_file)
@click.argument("file", callback=database_file)
def restore(backup: str, file: str) -> None:
    """Replace the database FILE with a copy of BACKUP. No app may run on FILE.

    The old file is kept beside it. Ids from before the backup stay valid; invocations accepted after the backup are unknown.
    """
    kept = _done(lambda tell: put_back(backup, file, tell))
    click.echo(f"{file} is now a copy of {backup}." + (f" The old file is kept as {kept}." if kept else ""))


def _done(copy: Callable[[Tell], T]) -> T:
    columns = (TextColumn("  "), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    end_on_sigterm()
    try:
        # In a pipe or a log, the bar would be an empty line.
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            return copy(lambda copied, total: bar.update(task, completed=copied * 1024, total=total * 1024))
    except ActorsError as error:
        click.echo(f"Error: {with_code(error)}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("Interrupted: nothing was changed.", err=True)
        sys.exit(130)
