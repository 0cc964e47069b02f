"""What a command on a database file prints: rows as tables or JSON, and a line for each verdict."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from actors.cli.file.database import Database
from actors.cli.file.requests import Verdict
from actors.cli.show.layout import Page
from actors.storage.records import InvocationRow, Status

DONE = {"cancel": "cancellation requested", "pause": "paused", "resume": "resumed", "purge": "purged", "kill": "killed"}
DONE |= {"restart": "restarted as", "resolve": "resolved", "reject": "rejected"}

STALE = "No app is running on this file; this is its last commit."


def report(verdicts: Sequence[Verdict], as_json: bool) -> int:
    """Print one line for each verdict, failures on stderr; returns the exit code."""
    if as_json:
        print_json([verdict.facts() for verdict in verdicts])
    else:
        for verdict in verdicts:
            request = verdict.request
            if verdict.what == "done":
                click.echo(f"{request.target} {DONE[request.operation]} {verdict.invocation or ''}".rstrip())
            else:
                named = verdict.message.startswith(repr(request.target))
                click.echo(verdict.message if named else f"{request.target}: {verdict.message}", err=not verdict.fine)
    return 0 if all(verdict.fine for verdict in verdicts) else 1


def is_stale(database: Database, rows: Sequence[InvocationRow]) -> bool:
    """Whether some of the invocations are open although no app runs."""
    return not database.visitor.owned() and any(row.status < Status.SUCCEEDED for row in rows)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def page() -> Page:
    return Page(Console(highlight=False))


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
