"""`actors blame`: who wrote each field of an object last."""

from __future__ import annotations

import click

from actors.check.effects import ABSENT
from actors.check.past import Change, Past
from actors.cli.file.database import visiting
from actors.cli.file.options import json_option, reporting
from actors.cli.past.objects import app_argument, file_option, loaded, object_argument, past_in, path_of
from actors.cli.past.values import author, fact, place, shown, when, written
from actors.cli.show.layout import safe
from actors.cli.show.records import Facts, page, print_json


@click.command()
@object_argument
@app_argument
@file_option
@json_option
@reporting
async def blame(object: tuple[str, str], app: str | None, db: str | None, as_json: bool) -> int:
    """Show who wrote each field of an object last, when, and the value before.

    OBJECT is Counter/a. The position is that of the journal entry, as in `actors invocations show`. Without MODULE:APP, the
    records of the file tell; with it, invocations that left no record are executed again, without any effect. The app may run.
    """
    code = loaded(app)
    async with visiting(path_of(db, code)) as database:
        past = await past_in(database, object, code)
    last = {change.name: change for change in past.changes()}
    names = sorted({*past.now.texts, *last})
    if as_json:
        print_json({name: _facts(past, name, last.get(name)) for name in names})
        return 0
    if not names:
        click.echo(f"{safe('/'.join(object))} has no stored state, and no change of it is known.")
        return 0
    rows = []
    for name in names:
        change = last.get(name)
        told = [shown(past.now.texts.get(name, ABSENT))]
        if change is None or doubt(past, change) is not None:
            told += ["not known", "", "", "not known"]
        else:
            told += [author(past, change), when(change), place(change), shown(change.before)]
        rows.append([(safe(name), ""), *((text, "") for text in told)])
    page().columns(("field", "value", "written by", "at", "position", "before"), rows)
    for name in names:
        why = _why(past, last.get(name))
        if why is not None:
            click.echo(f"{safe(name)}: {safe(why.removesuffix('.'))}.", err=True)
    if code is None and any(_why(past, last.get(name)) for name in names):
        click.echo("Pass MODULE:APP to execute the invocations in between again; no step runs.", err=True)
    return 0


def _facts(past: Past, name: str, change: Change | None) -> Facts:
    facts = fact("value", past.now.texts.get(name, ABSENT))
    why = _why(past, change)
    if change is None or why is not None:
        return {**facts, "by": None, "why": why}
    return {**facts, **written(past, change), **fact("before", change.before)}


def _why(past: Past, change: Change | None) -> str | None:
    """Why the last author of a name is not known."""
    if change is not None:
        return doubt(past, change)
    gaps = list(past.unknown())
    if gaps:
        return gaps[-1].why
    return "it was written before the oldest invocation that is kept"


def doubt(past: Past, change: Change) -> str | None:
    """Why a later author is possible: the text after the change is not known at some moment."""
    for gap in past.unknown():
        for later in range(max(gap.first, change.place + 1), gap.last + 1):
            if not past.is_known(later, change.name):
                return gap.why
    return None
