"""`actors invocations …`: list, show and operate on the invocations of a file, whether its app runs or not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from actors.app.listing import statuses_of
from actors.cli.file.answers import STALE, is_stale, now, page, print_json, report
from actors.cli.file.database import visiting
from actors.cli.file.options import (
    database_option,
    filter_options,
    json_option,
    misplaced_option,
    reporting,
    wait_option,
)
from actors.cli.file.requests import Request, ask
from actors.cli.file.tables import show_invocation, show_invocations
from actors.cli.file.waits import waits_of
from actors.errors import BadArguments
from actors.storage.records import InvocationRow, Status

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# The statuses that an operation selects by default: those in which it has an effect.
SENSIBLE = {
    "cancel": ("open",),
    "kill": ("open",),
    "pause": ("pending", "running", "blocked", "backing-off"),
    "resume": ("paused", "backing-off"),
    "restart": ("ended",),
    "purge": ("ended",),
}
# The statuses in which an operation may have an effect: no others may be requested.
POSSIBLE = {**SENSIBLE, "pause": (*SENSIBLE["pause"], "paused")}


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
    numbers = _numbers(statuses)
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
        waits = await waits_of(database, row, story)
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


def _operation(name: str, help: str, *more: Decorator) -> None:
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
        filtered = bool(service or key or handler or statuses)
        if bool(ids) == filtered:
            raise click.UsageError(f"Give {name} either ids, or filters: --service, --key, --handler, --status.")
        numbers = _numbers(statuses or SENSIBLE[name])
        if statuses:
            numbers = _possible(name, numbers)
        argument = None if keep is None else str(keep)
        async with visiting(db, asks=True) as database:
            if filtered:
                rows = await database.matching(service, key, handler, numbers, -1)
                if not rows:
                    click.echo("[]" if as_json else "No invocation matches.")
                    return 0
                _confirm(name, rows, yes)
                ids = tuple(database.ids.invocation(row.seq) for row in rows)
            requests = [Request(name, id, argument) for id in dict.fromkeys(map(database.named, ids))]
            return report(await ask(database, requests, wait), as_json)

    command: Callable[..., Any] = reporting(operate)
    decorators: list[Decorator] = [json_option, wait_option, click.option("--yes", is_flag=True, help="Do not ask.")]
    decorators += [database_option, *more, filter_options, click.argument("ids", nargs=-1, metavar="[ID]...")]
    for decorate in decorators:
        command = decorate(command)
    invocations.command(name, help=help)(command)


def _confirm(name: str, rows: Sequence[InvocationRow], yes: bool) -> None:
    """Say how many invocations there are, and ask for confirmation. Raises click.Abort."""
    count = f"{len(rows):,} invocation{'s' if len(rows) > 1 else ''}"
    services = sorted({row.service for row in rows})
    question = f"{name.capitalize()} {count} of {', '.join(services)}?"
    if yes:
        click.echo(f"{name.capitalize()}: {count} of {', '.join(services)}.", err=True)
        return
    try:
        sure = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        click.echo("\nNothing was done: confirmation requires a terminal. Add --yes.", err=True)
        sys.exit(1)
    if not sure:
        raise click.Abort


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


_operation("cancel", "Cancel invocations: first the invocations they call, then their own handlers, at the next await.")
_operation("kill", "End invocations, and the invocations they call, without running their code.")
_operation("pause", "Stop invocations at their current position until they are resumed.")
_operation("resume", "Start the next attempt of paused invocations now.")
_operation(
    "restart",
    "Repeat ended invocations as new ones: from the input, or with part of the journal kept.",
    click.option(
        "--keep",
        type=Position(),
        metavar="N",
        help="Keep the journal up to position N: commands up to N are not executed again.",
    ),
)
_operation("purge", "Delete ended invocations and their journals.")


def _numbers(statuses: tuple[str, ...]) -> list[int]:
    try:
        return statuses_of(statuses)
    except BadArguments as error:
        raise click.BadParameter(error.message.removeprefix("status="), param_hint="--status") from None


def _possible(name: str, numbers: list[int]) -> list[int]:
    """The statuses in which the operation may have an effect. Raises click.BadParameter if there are none."""
    possible = statuses_of(POSSIBLE[name])
    found = [number for number in numbers if number in possible]
    if not found:
        words = ", ".join(Status.NAMES[number] for number in possible)
        raise click.BadParameter(f"{name} has an effect only on invocations that are: {words}.", param_hint="--status")
    return found
