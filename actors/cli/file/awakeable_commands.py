"""`actors awakeables …`: list, resolve and reject the awakeables of a file, whether its app runs or not."""

from __future__ import annotations

import json

import click
import msgspec

from actors.cli.file.answers import report
from actors.cli.file.database import visiting
from actors.cli.file.options import database_option, json_option, misplaced_option, reporting, wait_option
from actors.cli.file.requests import Request, ask
from actors.cli.file.tables import show_awakeables
from actors.cli.show.records import now, page, print_json
from actors.errors import BadArguments


@click.group()
@misplaced_option
def awakeables() -> None:
    """List, resolve or reject awakeables."""


@awakeables.command("list")
@click.option("--service", metavar="NAME", help="Only of this class.")
@click.option("--key", metavar="KEY", help="Only of this key.")
@click.option("--handler", metavar="NAME", help="Only of this handler.")
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
        print_json(found[:limit])
    elif not found:
        click.echo("No awakeables are open.")
    else:
        show_awakeables(page(), found[:limit], now())
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
    return report(verdicts, as_json)


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
        return report(await ask(database, [Request("reject", id, json.dumps(reason))], wait), as_json)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
