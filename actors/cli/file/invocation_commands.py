"""`actors invocations …`: list, show and operate on the invocations of a file, whether its app runs or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import click

from actors.cli.file.answers import STALE, is_stale, report
from actors.cli.file.database import visiting
from actors.cli.file.options import (
    database_option,
    json_option,
    misplaced_option,
    reporting,
    wait_option,
)
from actors.cli.file.requests import Request, ask
from actors.cli.file.tables import show_invocation
from actors.cli.file.waits import waits_of
from actors.cli.selecting import HELP, confirm, filter_options, numbers_of, selected
from actors.cli.show.records import now, page, print_json, show_invocations

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@click.group()
@misplaced_option
def invocations() -> None:
    """List, show, cancel, kill, pause, resume, restart or purge invocations."""


@invocations.command("list")
@filter_options
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many to list, the newest first."
)
@database_option
@json_option
@reporting
async def list_invocations(
    service: str | None,
    key: str | None,
    handler: str | None,
    statuses: tuple[str, ...],
    limit: int,
    db: str,
    as_json: bool,
) -> int:
    """List invocations, the newest first."""
    numbers = numbers_of(statuses)
    async with visiting(db) as database:
        rows = await database.matching(service, key, handler, numbers, limit + 1)
        found = [database.facts(row) for row in rows[:limit]]
        stale = is_stale(database, rows)
    if as_json:
        print_json(found)
    elif not found:
        click.echo("No invocation matches.")
    else:
        show_invocations(page(), found, now())
        if len(rows) > limit:
            click.echo(f"These are the newest {limit}; --limit shows more.")
        if stale:
            click.echo(STALE)
    return 0


@invocations.command("show")
@click.argument("id")
@database_option
@json_option
@reporting
async def show(id: str, db: str, as_json: bool) -> int:
    """Show one invocation, its journal, and what it waits for."""
    async with visiting(db) as database:
        row = await database.find(id)
        facts = database.facts(row)
        story = await database.story(row)
        awakeables = await database.awakeables(-1, invocation=row.seq)
        waits = await waits_of(database, row)
        stale = is_stale(database, [row])
    if as_json:
        entries = [
            {
                "position": line.position,
                "at": line.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "entry": line.entry,
                "name": line.name,
                "completes": line.completes,
                "called": database.ids.invocation(line.called) if line.called is not None else None,
                "value": line.value,
            }
            for line in story
        ]
        print_json({**facts, "journal": entries, "awakeables": awakeables, "waits_for": waits})
    else:
        show_invocation(page(), facts, story, waits, now())
        if stale:
            click.echo(f"\n{STALE}")
    return 0


def _operation(name: str, *more: Decorator) -> None:
    """Add the command `name`, for ids or for the invocations that match filters."""

    async def operate(
        ids: tuple[str, ...],
        service: str | None,
        key: str | None,
        handler: str | None,
        statuses: tuple[str, ...],
        db: str,
        wait: float,
        yes: bool,
        as_json: bool,
        keep: int | None = None,
    ) -> int:
        numbers = selected(name, ids, (service, key, handler), statuses)
        argument = None if keep is None else str(keep)
        async with visiting(db, asks=True) as database:
            if not ids:
                rows = await database.matching(service, key, handler, numbers, -1)
                if not rows:
                    click.echo("[]" if as_json else "No invocation matches.")
                    return 0
                confirm(name, [row.service for row in rows], yes)
                ids = tuple(database.ids.invocation(row.seq) for row in rows)
            requests = [Request(name, id, argument) for id in dict.fromkeys(map(database.named, ids))]
            return report(await ask(database, requests, wait), as_json)

    command: Callable[..., Any] = reporting(operate)
    decorators: list[Decorator] = [json_option, wait_option, click.option("--yes", is_flag=True, help="Do not ask.")]
    decorators += [database_option, *more, filter_options, click.argument("ids", nargs=-1, metavar="[ID]...")]
    for decorate in decorators:
        command = decorate(command)
    invocations.command(name, help=HELP[name])(command)


class Position(click.ParamType[int]):
    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not isinstance(value, int) and not (value.isascii() and value.isdecimal()):
            self._refuse(value, param, ctx)
        return int(value)

    def _refuse(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        self.fail(
            f"{value!r} is not a valid position. Use a whole number from 0, as `actors invocations show` prints them.",
            param,
            ctx,
        )


_keep = click.option(
    "--keep",
    type=Position(),
    metavar="N",
    help="Keep the journal up to position N: commands up to N are not executed again.",
)
for _name in HELP:
    _operation(_name, *([_keep] if _name == "restart" else []))
