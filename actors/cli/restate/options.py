"""What the commands for a restate-server share: options, and how an error is shown.

Exit codes: 0 done, 1 refused or not reached, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import click

from actors import run
from actors.cli.show.layout import safe
from actors.cli.target import BadTarget
from actors.cli.words import texts
from actors.errors import ActorsError, BadArguments, DefinitionError, with_code
from actors.transport.client.connection import checked_url
from actors.transport.restate.admin import Admin

T = TypeVar("T")


def web_address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The value of an option that is a URL, without a trailing slash."""
    try:
        return checked_url(value)
    except BadArguments:
        known = parameter.get_default(context)
        example = known if isinstance(known, str) else "http://localhost:9080"
        raise click.BadParameter(
            f"{value!r} is not a valid URL. Use {example}, for example.", context, parameter
        ) from None


restate_option = click.option(
    "--restate",
    default="http://localhost:9070",
    envvar="ACTORS_RESTATE",
    show_default=True,
    show_envvar=True,
    callback=web_address,
    metavar="URL",
    help="The admin API of the restate-server.",
)
ingress_option = click.option(
    "--ingress",
    default="http://localhost:8080",
    show_default=True,
    callback=web_address,
    metavar="URL",
    help="Where callers reach the restate-server. Schedules are placed there.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")


def result_of(work: Coroutine[Any, Any, T], as_json: bool) -> T:
    """The result of a command's work; an error is printed, and ends the process."""
    try:
        return run(work)
    except BadTarget as error:
        _end(error, "bad_target", 2, as_json)
    except DefinitionError as error:
        _end(error, error.error, 2, as_json)
    except ActorsError as error:
        _end(error, error.error, 1, as_json)
    except KeyboardInterrupt:
        sys.exit(130)


def reporting(command: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., None]:
    """A command that ends with the exit code it returns."""

    @functools.wraps(command)
    def wrapped(as_json: bool, **options: Any) -> None:
        sys.exit(result_of(command(as_json=as_json, **texts(options)), as_json))

    return wrapped


@contextlib.asynccontextmanager
async def asking(url: str) -> AsyncIterator[Admin]:
    """The admin API there. Raises ActorsError if no supported restate-server answers."""
    async with Admin(url) as admin:
        await admin.check()
        yield admin


def _end(error: Exception, stable: str, code: int, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(json.dumps({"error": stable, "message": str(error)}), err=True)
    else:
        click.echo(safe(f"Error: {with_code(error)}", lines=True), err=True)
    sys.exit(code)
