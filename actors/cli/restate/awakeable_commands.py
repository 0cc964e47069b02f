"""`actors restate awakeables list`: the awakeables that suspended invocations of a restate-server wait for."""

from __future__ import annotations

import click

from actors.cli.restate.options import asking, json_option, reporting, restate_option
from actors.cli.show.layout import safe
from actors.cli.show.records import age, now, page, print_json, target
from actors.errors import ActorsError
from actors.transport.restate import records
from actors.transport.restate.admin import Admin


@click.group()
def awakeables() -> None:
    """List awakeables. To complete one, use actors resolve or actors reject with --url of the server's ingress."""


@awakeables.command("list")
@click.option("--service", metavar="NAME", help="Only of this class.")
@click.option("--key", metavar="KEY", help="Only of this key.")
@click.option("--handler", metavar="NAME", help="Only of this handler.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many to list, the oldest first."
)
@restate_option
@json_option
@reporting
async def list_awakeables(
    service: str | None, key: str | None, handler: str | None, limit: int, restate: str, as_json: bool
) -> int:
    """List the awakeables that suspended invocations wait for, the oldest first.

    The server knows an awakeable only while its invocation is suspended: a handler that has waited for less than `suspend_after`
    of the app's limits is still running, and its awakeables are not listed.
    """
    async with asking(restate) as admin:
        found = await open_awakeables(admin, service, key, handler)
    if as_json:
        print_json(found[:limit])
    elif not found:
        click.echo("No suspended invocation waits for an awakeable.")
    else:
        moment = now()
        rows = [[(one["id"], ""), (age(one["since"], moment), ""), (safe(target(one)), "")] for one in found[:limit]]
        page().columns(("id", "age", "object and handler"), rows, right=("age",))
        if len(found) > limit:
            click.echo(f"These are the oldest {limit}; --limit shows more.")
    return 0


async def open_awakeables(
    admin: Admin, service: str | None, key: str | None, handler: str | None
) -> list[records.Facts]:
    """The awakeables that suspended invocations wait for. Raises ActorsError if the server does not list them."""
    if not await admin.query(records.HAS_AWAKEABLES):
        raise ActorsError(
            f"The restate-server at {admin.url} does not say which awakeables its invocations wait for. Upgrade it to 1.7."
        )
    return records.awakeables(await admin.query(records.waiting(service, key, handler)))
