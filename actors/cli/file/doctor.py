"""`actors doctor`: why a key does not move, and what frees it.

Exit codes: 0 everything moves, 1 something needs a person, or nothing could be read, 2 wrong usage.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import click
from click.core import ParameterSource

from actors.cli.file.database import moment_text, visiting
from actors.cli.file.options import database_option, json_option, reporting, seconds
from actors.cli.file.repeated import Look, Repeated
from actors.cli.show.diagnosis import DiagnosisText
from actors.cli.show.layout import Page
from actors.cli.show.records import Facts, console, now, print_json
from actors.doctor.diagnosis import Diagnosis, Doctor
from actors.doctor.facts import facts
from actors.doctor.trouble import LASTED_MS, Examiner, Trouble
from actors.model.retry import RetryPolicy

STUCK = 1


@click.command()
@click.argument("subject", required=False, metavar="[OBJECT|ID]")
@click.option(
    "--older",
    type=click.FloatRange(0, 10**9),
    default=LASTED_MS / 1000,
    show_default=True,
    callback=lambda ctx, param, value: seconds(value),
    metavar="SECONDS",
    help="Without a subject: what has lasted so long.",
)
@click.option(
    "--watch", is_flag=True, help="Look every 2 s, until Ctrl-C. In a pipe, print a report only if it differs."
)
@click.option("--url", help="Ask the app served at this URL. It knows more than its file.")
@click.option(
    "--token",
    envvar="ACTORS_TOKEN",
    show_envvar=True,
    help="The admin token of the app at --url, if it requires one.",
)
@database_option
@json_option
@reporting
async def doctor(
    subject: str | None, older: float, watch: bool, url: str | None, token: str | None, db: str, as_json: bool
) -> int:
    """Say why an object (Order/o1) or an invocation does not go on, and what frees it; without one, look through the whole app.

    Each way out says what it loses; the way that loses least comes first.
    """
    source = click.get_current_context().get_parameter_source
    if url is not None and source("db") is ParameterSource.COMMANDLINE:
        raise click.UsageError("Use --db for a file, or --url for the app served at that URL, not both.")
    asked = _subject(subject) if subject is not None else None
    screen = console()

    async def look() -> Look:
        moment = now()
        if url is not None:
            found = await _asked(url, token, asked, older)
            command = _typed_at(url, token is not None)
        else:
            found = await _read(db, asked, int(moment.timestamp() * 1000), older)
            command = _typed_for(db)
        text = DiagnosisText(Page(screen), moment, command)

        def show() -> None:
            if as_json and watch:  # a line for each look
                click.echo(json.dumps({"at": moment_text(int(moment.timestamp() * 1000)), **found}))
            elif as_json:
                print_json(found)
            else:
                text.show(found)
                if token is not None and source("token") is ParameterSource.COMMANDLINE:
                    click.echo("The commands above read the token from ACTORS_TOKEN.")

        return Look(apart_from_times(found), show, STUCK if needs_a_person(found) else 0)

    if watch:
        return await Repeated(look, screen, now, bare=as_json).until_interrupted()
    once = await look()
    once.show()
    return once.code


def needs_a_person(found: Facts) -> bool:
    """Whether something does not go on until a person acts."""
    return any(cause["needs_a_person"] for cause in found.get("causes", [found]))


def apart_from_times(found: Any) -> Any:
    """These facts without the texts, which say how long ago something was."""
    if isinstance(found, dict):
        return {name: apart_from_times(value) for name, value in found.items() if name != "text"}
    return [apart_from_times(value) for value in found] if isinstance(found, list) else found


def _subject(text: str) -> str | tuple[str, str]:
    """The class and the key of an object, or the id of an invocation."""
    service, slash, key = text.partition("/")
    if slash and not (service and key):
        raise click.BadParameter(f"{text!r} is not a valid object. Use Counter/a, or the id of an invocation.")
    return (service, key) if slash else text


# --- the file -----------------------------------------------------------------------------------------------------------------


async def _read(db: str, subject: str | tuple[str, str] | None, now_ms: int, older: float) -> Facts:
    async with visiting(db) as database:
        running = database.visitor.owned()
        doctor = Doctor(database.visitor, database.ids, now_ms, running)
        found: Diagnosis | Trouble | None = None
        async with database.visitor.at_once():
            if subject is None:
                found = await Examiner(database.visitor, doctor, now_ms, int(older * 1000)).trouble()
            elif isinstance(subject, tuple):
                found = await doctor.of_object(*subject)
            else:
                found = await doctor.of_invocation(await database.find(subject))
        assert found is not None
        return {"running": running, **facts(found, database.ids)}


def _typed_for(db: str) -> Callable[[Sequence[str]], str]:
    file = () if db == "actors.db" else ("--db", db)
    return lambda words: shlex.join(("actors", *words, *file))


# --- the app at a URL ---------------------------------------------------------------------------------------------------------


async def _asked(url: str, token: str | None, subject: str | tuple[str, str] | None, older: float) -> Facts:
    """Raises ServerUnreachable, or the error of the answer."""
    from actors.transport.client import Client, calls  # it loads httpx, which an app on a file does not need

    async with Client(url, token=token, retry=RetryPolicy(max_attempts=1)) as client:
        ask = calls.trouble(math.ceil(older)) if subject is None else calls.doctor(subject)
        found: Facts = await client.ask(ask)
        return {"running": True, **found}


def _typed_at(url: str, with_token: bool) -> Callable[[Sequence[str]], str]:
    def typed(words: Sequence[str]) -> str:
        what, operation, *rest = words
        if what == "awakeables":
            return shlex.join(("actors", operation, *rest, "--url", url))
        token = ' -H "Authorization: Bearer $ACTORS_TOKEN"' if with_token else ""
        path = f"/restate/admin/{quote(what)}/{quote(rest[0])}/{quote(operation)}"
        return f"curl -X POST{token} {shlex.quote(url.rstrip('/') + path)}"

    return typed
