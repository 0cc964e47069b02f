"""`actors invocations …`, `actors awakeables …`, `actors requests …`: for operators of an app, running or not.

Exit codes: 0 done, or left for the next start; 1 refused, or not answered; 2 wrong usage.
"""

from __future__ import annotations

import datetime
import functools
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console

from actors import run
from actors.app.listing import statuses_of
from actors.cli.file.database import Database, database_file, moment_text, visiting
from actors.cli.file.requests import Request, Verdict, ask
from actors.cli.file.tables import show_awakeables, show_invocation, show_invocations, show_requests
from actors.cli.file.waits import waits_of
from actors.cli.show.layout import Page
from actors.cli.show.streams import typed
from actors.errors import BadArguments
from actors.storage.errors import ActorsError
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
DONE = {"cancel": "cancellation requested", "pause": "paused", "resume": "resumed", "purge": "purged", "kill": "killed"}
DONE |= {"restart": "restarted as", "resolve": "resolved", "reject": "rejected"}

STALE = "No app is running on this file; this is its last commit."

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
    callback=lambda ctx, param, value: _seconds(value),
    metavar="SECONDS",
    help="How long the app may take to answer before the request is withdrawn.",
)


def _seconds(value: float) -> float:
    if value != value:  # nan is neither inside nor outside of a range
        raise click.BadParameter("nan is not a valid number of seconds.")
    return value


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--status",
            "statuses",
            multiple=True,
            metavar="STATUS",
            help=f"{', '.join(Status.NAMES)}, open or ended; may be repeated.",
        ),
        click.option("--handler", metavar="NAME"),
        click.option("--key", metavar="KEY"),
        click.option("--service", metavar="NAME", help="Only of this class."),
    ):
        command = option(command)
    return command


def reporting(command: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., None]:
    """A command that ends with the exit code it returns; an error is one line on stderr, and exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = run(command(*args, **_texts(kwargs)))
        except ActorsError as error:
            click.echo(f"Error: {error}", err=True)
            code = 1
        sys.exit(code)

    return wrapped


def _texts(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with texts decoded as typed, except for paths. Raises click.UsageError."""
    return {
        name: tuple(_text(name, one) for one in value) if isinstance(value, tuple) else _text(name, value)
        for name, value in values.items()
    }


def _text(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name == "db":
        return value
    text = typed(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"{name.upper()} is not valid Unicode text: {text!r}.") from None
    return text


def misplaced_db(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        group = ctx.command_path
        command = f"{group} invocations list" if ctx.parent is None else f"{group} list"
        raise click.UsageError(f"--db goes after the command, for example: {command} --db {value}")


misplaced_option = click.option("--db", hidden=True, expose_value=False, callback=misplaced_db)


# --- invocations ------------------------------------------------------------------------------------------------------------


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
        stale = _is_stale(database, rows)
    if as_json:
        _print_json(found)
    elif not found:
        click.echo("No invocation matches.")
    else:
        show_invocations(_page(), found, _now())
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
        stale = _is_stale(database, [row])
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
        _print_json({**facts, "journal": entries, "awakeables": awakeables, "waits_for": waits})
    else:
        show_invocation(_page(), facts, story, waits, _now())
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
            return _report(await ask(database, requests, wait), as_json)

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


# --- awakeables -------------------------------------------------------------------------------------------------------------


@click.group()
@misplaced_option
def awakeables() -> None:
    """List, resolve or reject awakeables."""


@awakeables.command("list")
@click.option("--service", metavar="NAME", help="Only of this class.")
@click.option("--key", metavar="KEY")
@click.option("--handler", metavar="NAME")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many to list, the oldest first."
)
@database_option
@json_option
@reporting
async def list_awakeables(
    service: str | None, key: str | None, handler: str | None, limit: int, db: str, as_json: bool
) -> int:
    """List the awakeables that are not completed, the oldest first."""
    async with visiting(db) as database:
        found = await database.awakeables(limit + 1, service=service, key=key, handler=handler)
    if as_json:
        _print_json(found[:limit])
    elif not found:
        click.echo("No awakeables are open.")
    else:
        show_awakeables(_page(), found[:limit], _now())
        if len(found) > limit:
            click.echo(f"These are the oldest {limit}; --limit shows more.")
    return 0


@awakeables.command("resolve")
@click.argument("id")
@click.argument("value", default="null")
@click.option("--text", is_flag=True, help="Treat VALUE as text, even if it looks like JSON.")
@database_option
@wait_option
@json_option
@reporting
async def resolve(id: str, value: str, text: bool, db: str, wait: float, as_json: bool) -> int:
    """Complete an awakeable with VALUE: JSON, or text if it is not JSON. Default: null."""
    argument = value
    if text or not _is_json(value):
        argument = json.dumps(value)
    async with visiting(db, asks=True) as database:
        verdicts = await ask(database, [Request("resolve", id, argument)], wait)
    for verdict in verdicts:
        if verdict.error == BadArguments.error and argument == value:
            verdict.message += " VALUE was read as JSON; --text treats it as text."
    return _report(verdicts, as_json)


@awakeables.command("reject")
@click.argument("id")
@click.argument("reason")
@database_option
@wait_option
@json_option
@reporting
async def reject(id: str, reason: str, db: str, wait: float, as_json: bool) -> int:
    """Reject an awakeable: the handler that awaits it fails with REASON."""
    async with visiting(db, asks=True) as database:
        return _report(await ask(database, [Request("reject", id, json.dumps(reason))], wait), as_json)


# --- requests ----------------------------------------------------------------------------------------------------------------


@click.group()
@misplaced_option
def requests() -> None:
    """List or withdraw requests that wait for the next start of the app."""


@requests.command("list")
@database_option
@json_option
@reporting
async def list_requests(db: str, as_json: bool) -> int:
    """List the requests that no app has answered, in the order in which they will be executed."""
    async with visiting(db) as database:
        found = [
            {
                "number": number,
                "operation": str(operation),
                "id": str(target),
                "argument": None if argument is None else str(argument),
                "asked_at": moment_text(asked_ms),
                "taken": taken is not None,
            }
            for number, operation, target, argument, asked_ms, taken in await database.visitor.requests()
        ]
    if as_json:
        _print_json(found)
    elif not found:
        click.echo("No requests are waiting.")
    else:
        show_requests(_page(), found, _now())
    return 0


@requests.command("withdraw")
@click.argument("numbers", nargs=-1, type=click.IntRange(1, 2**63 - 1), metavar="[NUMBER]...")
@click.option("--all", "all_", is_flag=True, help="Withdraw all requests in the list.")
@database_option
@reporting
async def withdraw(numbers: tuple[int, ...], all_: bool, db: str) -> int:
    """Withdraw requests by their numbers in the list."""
    if bool(numbers) == all_:
        raise click.UsageError("Give the numbers to withdraw, or --all.")
    async with visiting(db, asks=True) as database:
        if all_:
            numbers = tuple(number for number, *_ in await database.visitor.requests())
            if not numbers:
                click.echo("No requests are waiting.")
        withdrawn = await database.visitor.withdraw(numbers)
    for number in dict.fromkeys(numbers):
        if number in withdrawn:
            click.echo(f"{number} withdrawn")
        else:
            click.echo(
                f"{number} is not waiting: the request was done, refused or withdrawn, or an app has begun it",
                err=True,
            )
    return 0 if withdrawn == set(numbers) else 1


# --- shared by the commands --------------------------------------------------------------------------------------------------


def _report(verdicts: Sequence[Verdict], as_json: bool) -> int:
    """Print one line for each verdict, failures on stderr; returns the exit code."""
    if as_json:
        _print_json([verdict.facts() for verdict in verdicts])
    else:
        for verdict in verdicts:
            request = verdict.request
            if verdict.what == "done":
                click.echo(f"{request.target} {DONE[request.operation]} {verdict.invocation or ''}".rstrip())
            else:
                named = verdict.message.startswith(repr(request.target))
                click.echo(verdict.message if named else f"{request.target}: {verdict.message}", err=not verdict.fine)
    return 0 if all(verdict.fine for verdict in verdicts) else 1


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


def _is_stale(database: Database, rows: Sequence[InvocationRow]) -> bool:
    """Whether some of the invocations are open although no app runs."""
    return not database.visitor.owned() and any(row.status < Status.SUCCEEDED for row in rows)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def _page() -> Page:
    return Page(Console(highlight=False))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
