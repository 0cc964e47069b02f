"""What a command on a database file prints: rows as tables or JSON, and a line for each verdict."""

from __future__ import annotations

from collections.abc import Sequence

import click

from actors.cli.file.database import Database
from actors.cli.file.requests import Verdict
from actors.cli.selecting import DONE
from actors.cli.show.records import print_json
from actors.storage.records import InvocationRow, Status

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
                message = verdict.message if named else f"{request.target}: {verdict.message}"
                click.echo(f"{message} [{verdict.error}]" if verdict.error else message, err=not verdict.fine)
    return 0 if all(verdict.fine for verdict in verdicts) else 1


def is_stale(database: Database, rows: Sequence[InvocationRow]) -> bool:
    """Whether some of the invocations are open although no app runs."""
    return not database.visitor.owned() and any(row.status < Status.SUCCEEDED for row in rows)
