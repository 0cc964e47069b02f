"""The options and the exit codes that all commands on a database file share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click

from actors import run
from actors.cli.file.database import database_file
from actors.cli.show.layout import safe
from actors.cli.words import texts
from actors.errors import ActorsError, with_code

database_option = click.option(
    "--db",
    callback=database_file,
    default="actors.db",
    envvar="ACTORS_DB",
    show_default=True,
    show_envvar=True,
    metavar="FILE",
    help="The database of the app: a path, or sqlite:///... as in App(storage=...).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
wait_option = click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    default=5.0,
    show_default=True,
    callback=lambda ctx, param, value: seconds(value),
    metavar="SECONDS",
    help="How long the app may take to answer before the request is withdrawn.",
)


def seconds(value: float) -> float:
    if value != value:  # nan is neither inside nor outside of a range
        raise click.BadParameter("nan is not a valid number of seconds.")
    return value


def reporting(command: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., None]:
    """A command that ends with the exit code it returns; an error is one line on stderr, and exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = run(command(*args, **texts(kwargs, paths=("db",))))
        except ActorsError as error:
            click.echo(safe(f"Error: {with_code(error)}", lines=True), err=True)
            code = 1
        sys.exit(code)

    return wrapped


def misplaced_db(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        group = ctx.command_path
        command = f"{group} invocations list" if ctx.parent is None else f"{group} list"
        raise click.UsageError(f"--db goes after the command, for example: {command} --db {value}")


misplaced_option = click.option("--db", hidden=True, expose_value=False, callback=misplaced_db)
