"""`actors state`: the state of an object now, from a server or a file, and as it was, from a file."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

import click
from rich.console import Console

from actors import run
from actors.check.past import RECORDED, Moment, Past
from actors.cli.client_commands import json_option, report_errors, token_option, url_option
from actors.cli.file.database import Database, database_file, moment_text, visiting
from actors.cli.past.objects import TIME, app_argument, loaded, not_known, object_argument, past_in, path_of
from actors.cli.past.values import value, values
from actors.cli.show.layout import Page, safe
from actors.cli.words import texts
from actors.errors import UnknownInvocation
from actors.model.names import address
from actors.model.retry import RetryPolicy
from actors.transport.client import Client

_ONCE = RetryPolicy(max_attempts=1)  # a user sees at once that no server answers


@click.command()
@object_argument
@app_argument
@click.option("--at", type=TIME, metavar="TIME", help="The state at a time: 2026-11-01T10:00, local, or with Z.")
@click.option("--before", metavar="ID", help="The state with which an invocation began.")
@click.option("--after", metavar="ID", help="The state that an invocation left.")
@click.option(
    "--db",
    callback=lambda ctx, param, value: value and database_file(ctx, param, value),
    metavar="FILE",
    help="The database of the app. For --at, --before and --after, $ACTORS_DB, the app's file or actors.db is the default.",
)
@url_option
@token_option
@json_option
def state(**options: Any) -> None:
    """Show the state of an object: Counter/a. With --db, read the app's database, whether the app runs or not.

    --at, --before and --after show the state as it was, from the database alone. With MODULE:APP, invocations that left no
    record are executed again, without any effect. What is printed is the same; how it is known goes to stderr.
    """
    _state(**texts(options, paths=("db",)))


def _state(
    object: tuple[str, str],
    app: str | None,
    at: int | None,
    before: str | None,
    after: str | None,
    db: str | None,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    asked = [name for name, value in (("--at", at), ("--before", before), ("--after", after)) if value is not None]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} name two moments. Use one of them.")
    if app is not None and not asked:
        raise click.UsageError("MODULE:APP is for --at, --before and --after.")

    async def now() -> dict[str, Any]:
        if db is None:
            async with Client(url, token=token, retry=_ONCE) as client:
                return await client.state(*object)
        async with visiting(db) as database:
            return {name: value(text) for name, text in await database.visitor.state_of(*object)}

    async def then() -> dict[str, Any]:
        code = loaded(app)
        async with visiting(path_of(db or _environment(), code)) as database:
            seq = database.seq(before or after or "") if at is None else None
            past = await past_in(database, object, code)
            if at is not None:
                moment, when, told = _at(past, at)
            else:
                assert seq is not None
                moment, when = await _beside(past, database, seq, before is not None)
                told = "As recorded." if moment.how == RECORDED else _EXECUTED
        if moment.state is None:
            raise not_known(past, when, moment.why or "", code)
        click.echo(safe(told), err=True)
        return values(moment.state)

    def show() -> None:
        found = run(then() if asked else now())
        if as_json:
            click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        elif not found:
            click.echo(f"{safe('/'.join(object))} {'had' if asked else 'has'} no stored state.")
        else:
            rows = [
                [(safe(name), ""), (safe(json.dumps(found[name], ensure_ascii=False)), "")] for name in sorted(found)
            ]
            Page(Console(highlight=False)).columns(("name", "value"), rows)

    report_errors(show, as_json)


_EXECUTED = "Computed: the invocations were executed again with the current code."


def _environment() -> str | None:
    path = os.environ.get("ACTORS_DB")
    return path and database_file(click.get_current_context(), None, path)


def _at(past: Past, at: int) -> tuple[Moment, str, str]:
    """The moment, its name, and what is said of it."""
    when = f"at {moment_text(at)}"
    if at > datetime.datetime.now(datetime.UTC).timestamp() * 1000:
        return Moment(past.now, RECORDED), when, f"{moment_text(at)} is in the future. This is the state now."
    moment, index = past.at(at), past.last_until(at)
    how = "As recorded" if moment.how == RECORDED else _EXECUTED.removesuffix(".")
    if index is None:
        if moment.state is not None and not moment.state.texts:
            return moment, when, f"{'/'.join((past.service, past.key))} had no state yet, {when}."
        return moment, when, f"{how}, before the oldest invocation that is kept."
    row = past.rows[index]
    ended = row.ended_ms is not None and row.ended_ms <= at
    return (
        moment,
        when,
        f"{how}, {f'after {past.named(row)} of {moment_text(row.ended_ms)}' if ended else f'while {past.named(row)} was under way'}.",
    )


async def _beside(past: Past, database: Database, seq: int, before: bool) -> tuple[Moment, str]:
    """The moment before or after an invocation, and its name."""
    id = database.ids.invocation(seq)
    passage = past.passage(seq)
    if passage is None:
        row = await database.visitor.invocation(seq)
        if row is None:
            raise UnknownInvocation()
        target = address(row.service, row.shown_key)
        if (row.service, row.key) != (past.service, past.key):
            raise click.ClickException(f"{id} is an invocation of {target}, not of {past.service}/{past.key}.")
        raise click.ClickException(f"{id} only reads {target}: it has no place among the invocations that change it.")
    return (
        (passage.before, f"before {past.named(passage.row)}")
        if before
        else (passage.after, f"after {past.named(passage.row)}")
    )
