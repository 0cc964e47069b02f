"""What the commands about the past have in common: the object, the app, the file, and moments on the command line."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable
from typing import Any

import click

from actors import App
from actors.check.checking import file_of
from actors.check.past import Past
from actors.check.reading import TIMEOUT_S, read_past
from actors.cli.file.database import Database, database_file
from actors.cli.past.watchdog import guarded
from actors.cli.target import BadTarget, load_app
from actors.journal.ids import IdMint
from actors.storage.records import InvocationRow

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class ObjectName(click.ParamType[tuple[str, str]]):
    """`Class/key`. Class names cannot hold a slash, so the key may."""

    name = "object"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        service, slash, key = value.partition("/")
        if not slash or not service or not key:
            self.fail(f"{value!r} is not a valid object. Use Counter/a.", param, ctx)
        return service, key


class Time(click.ParamType[int]):
    """ISO 8601, in local time unless it names its offset: milliseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.datetime.fromisoformat(value)
            return int(moment.astimezone(datetime.UTC).timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is not a valid time. Use 2026-11-01T10:00 for local time, or 2026-11-01T10:00Z for UTC.",
                param,
                ctx,
            )


TIME = Time()

object_argument = click.argument("object", type=ObjectName(), metavar="OBJECT")
app_argument = click.argument("app", required=False, metavar="[MODULE:APP]")
file_option = click.option(
    "--db",
    callback=lambda ctx, param, value: value and database_file(ctx, param, value),
    envvar="ACTORS_DB",
    show_envvar=True,
    metavar="FILE",
    help="The database. Default: the file that the app names, or actors.db.",
)


def loaded(target: str | None) -> App | None:
    """The app of the command line. To be called while a loop runs. Raises click.BadParameter."""
    if target is None:
        return None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return load_app(target)
    except BadTarget as error:
        raise click.BadParameter(str(error), param_hint="MODULE:APP") from None


def path_of(db: str | None, app: App | None) -> str:
    """The file to read. Raises DefinitionError for an app in memory."""
    return db or (file_of(app, None) if app is not None else "actors.db")


async def past_in(database: Database, object: tuple[str, str], app: App | None) -> Past:
    """The past of an object. Raises click.ClickException if the file has nothing of it, or StorageError."""
    service, key = object
    served = app.engine_options().catalog.services if app is not None else {}
    definition = served.get(service)
    if app is not None and definition is None:
        known = ", ".join(sorted(served)) or "none"
        raise click.ClickException(f"The app does not serve a class {service!r}. Its classes: {known}.")
    if definition is not None and definition.kind == "service":
        raise click.ClickException(f"{service} is a Service: it keeps no state between its invocations.")
    with guarded(TIMEOUT_S, lambda row: named(row, database.ids), 1) as watch:
        past = await read_past(database.visitor, service, key, app, watch=watch)
    if not past.kept.rows and not past.now.texts:
        raise click.ClickException(
            f"The file has neither state nor invocations of {service}/{key}. See its objects with: actors sql "
            "'SELECT DISTINCT service, key FROM invocations'"
        )
    return past


def named(row: InvocationRow, ids: IdMint) -> str:
    return f"{row.service}/{row.shown_key}/{row.handler} ({ids.invocation(row.seq)})"


def not_known(past: Past, when: str, why: str, app: App | None) -> click.ClickException:
    """The error for a state that is not known, with what to do."""
    advice = "" if app is not None else " Name the app, as MODULE:APP, to execute its invocations again."
    return click.ClickException(f"{past.service}/{past.key} {when} is not known: {why.removesuffix('.')}.{advice}")
