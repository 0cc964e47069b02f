"""`actors history`: every change of an object's state."""

from __future__ import annotations

import click

from actors.check.past import Past, Unknown
from actors.cli.file.database import moment_text, visiting
from actors.cli.file.options import json_option, reporting
from actors.cli.past.objects import TIME, app_argument, file_option, loaded, object_argument, past_in, path_of
from actors.cli.past.values import author, change_facts, shown, when
from actors.cli.show.layout import safe
from actors.cli.show.records import page, print_json
from actors.model.names import address

MOST_STRETCHES = 3  # of moments that are not known, named one by one


@click.command()
@object_argument
@app_argument
@click.option("--field", metavar="NAME", help="Only changes of this name.")
@click.option("--since", type=TIME, metavar="TIME", help="Only changes from this time on: 2026-11-01T10:00, or with Z.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many changes to list: the newest."
)
@file_option
@json_option
@reporting
async def history(
    object: tuple[str, str],
    app: str | None,
    field: str | None,
    since: int | None,
    limit: int,
    db: str | None,
    as_json: bool,
) -> int:
    """List the changes of an object's state: when, by which invocation, from what and to what.

    OBJECT is Counter/a. Without MODULE:APP, the records of the file tell; with it, invocations that left no record are
    executed again, without any effect. The app may run.
    """
    code = loaded(app)
    async with visiting(path_of(db, code)) as database:
        past = await past_in(database, object, code)
    changes = [
        change
        for change in past.changes()
        if field in (None, change.name) and (since is None or change.at_ms is None or change.at_ms >= since)
    ]
    unknown = [gap for gap in past.unknown() if since is None or gap.until_ms is None or gap.until_ms >= since]
    if as_json:
        print_json(
            {
                "object": address(*object),
                "changes": [change_facts(past, change) for change in changes[-limit:]],
                "not_known": [_facts(gap) for gap in unknown],
            }
        )
        return 0
    if changes:
        rows = [
            [
                (when(change), ""),
                (author(past, change), ""),
                (safe(change.name), ""),
                (f"{shown(change.before)} -> {shown(change.after)}", ""),
            ]
            for change in changes[-limit:]
        ]
        page().columns(("at", "by", "field", "from -> to"), rows)
        if len(changes) > limit:
            click.echo(f"These are the newest {limit} of {len(changes):,} changes; --limit shows more.")
    else:
        of_name = "of" if field is None else f"of {safe(repr(field))} in"
        click.echo(f"No change {of_name} {safe(address(*object))} is known{'' if since is None else ' since then'}.")
        names = sorted({change.name for change in past.changes()})
        if field is not None and field not in names and names:
            click.echo(f"Changes are known of: {safe(', '.join(names))}.")
    _tell_unknown(past, unknown, code is not None)
    return 0


def _facts(gap: Unknown) -> dict[str, str | None]:
    return {"since": moment_text(gap.since_ms), "until": moment_text(gap.until_ms), "why": gap.why}


def _tell_unknown(past: Past, unknown: list[Unknown], has_code: bool) -> None:
    """What the table lacks goes to stderr: each stretch in a line."""
    for gap in unknown[-MOST_STRETCHES:]:
        click.echo(f"Not known {stretch(gap)}: {safe(gap.why.removesuffix('.'))}.", err=True)
    if len(unknown) > MOST_STRETCHES:
        click.echo(
            f"{len(unknown) - MOST_STRETCHES:,} earlier stretches are not known either; --json lists them.", err=True
        )
    if unknown and not has_code:
        click.echo("Pass MODULE:APP to execute the invocations in between again; no step runs.", err=True)


def stretch(gap: Unknown) -> str:
    """When a stretch was."""
    until = moment_text(gap.until_ms) or "now"
    return f"before {until}" if gap.since_ms is None else f"from {moment_text(gap.since_ms)} to {until}"
