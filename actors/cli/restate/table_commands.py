"""`actors restate state` and `actors restate sql`: what the tables of a restate-server hold.

State is not written here. The server applies a change of state after its answer, and compares the version that a change names with a
hash of its own, which is not documented: whether a change was applied, or dropped because a handler was faster, cannot be known.
"""

from __future__ import annotations

import json
from typing import Any

import click

from actors.cli.restate.options import asking, json_option, reporting, restate_option
from actors.cli.show.layout import safe
from actors.cli.show.records import page
from actors.transport.restate import records


@click.command("state")
@click.argument("target", metavar="OBJECT")
@restate_option
@json_option
@reporting
async def state(target: str, restate: str, as_json: bool) -> int:
    """Show the state of an object: Counter/a."""
    service, slash, key = target.partition("/")
    if not slash or not service or not key:
        raise click.BadParameter(f"{target!r} is not a valid object. Use Counter/a.", param_hint="OBJECT")
    async with asking(restate) as admin:
        values = records.state(await admin.query(records.state_of(service, key)))
    if as_json:
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    elif not values:
        click.echo(f"{safe(target)} has no stored state.")
    else:
        rows = [[(safe(name), ""), (safe(_json(values[name])), "")] for name in sorted(values)]
        page().columns(("name", "value"), rows)
    return 0


@click.command("sql")
@click.argument("query", metavar="QUERY")
@click.option("--limit", type=click.IntRange(1, 2**31), default=1000, show_default=True, help="How many rows to print.")
@restate_option
@json_option
@reporting
async def sql(query: str, limit: int, restate: str, as_json: bool) -> int:
    """Query the tables of a restate-server: sys_invocation, sys_journal, state, sys_promise and others.

    The query can only read. A column that is NULL in all rows is left out. --limit does not spare the server work: use LIMIT in the
    query for that.
    """
    async with asking(restate) as admin:
        rows = await admin.query(query)
    shown = rows[:limit]
    columns = list(dict.fromkeys(name for row in shown for name in row))
    if as_json:
        whole = [{name: row.get(name) for name in columns} for row in shown]
        click.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    elif not columns:
        click.echo("No row matches." if not rows else "All columns are NULL.")
    else:
        page().table(columns, [[safe(_cell(row.get(name))) for name in columns] for row in shown])
    if len(rows) > limit:
        click.echo(f"These are the first {limit}; --limit shows more.", err=True)
    return 0


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
