"""`actors requests …`: list and withdraw what waits for the next start of the app."""

from __future__ import annotations

import click

from actors.cli.file.database import moment_text, visiting
from actors.cli.file.options import database_option, json_option, misplaced_option, reporting
from actors.cli.file.tables import show_requests
from actors.cli.show.records import now, page, print_json


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
        print_json(found)
    elif not found:
        click.echo("No requests are waiting.")
    else:
        show_requests(page(), found, now())
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
