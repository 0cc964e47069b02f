"""`actors doctor`: why a key does not move, and what frees it.

Exit codes: 0 everything moves, 1 something needs a person, 2 wrong usage.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import click
from click.core import ParameterSource

from actors.cli.file.database import Database, moment_text, visiting
from actors.cli.file.options import database_option, json_option, reporting, seconds
from actors.cli.file.repeated import Look, Repeated
from actors.cli.show.diagnosis import DiagnosisText
from actors.cli.show.layout import Page
from actors.cli.show.records import Facts, console, now, print_json
from actors.doctor.diagnosis import Diagnosis, Doctor
from actors.doctor.facts import facts
from actors.doctor.trouble import LASTED_MS, Examiner, Trouble
from actors.errors import BadArguments

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
@click.option("--watch", is_flag=True, help="Look every 2 s, until Ctrl-C. In a pipe, print what has changed.")
@click.option("--url", help="Ask the app that is served there, which knows more than its file.")
@click.option(
    "--token", envvar="ACTORS_TOKEN", show_envvar=True, help="With --url: the admin token, if it requires one."
)
@database_option
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    subject: str | None,
    older: float,
    watch: bool,
    url: str | None,
    token: str | None,
    db: str,
    as_json: bool,
) -> None:
    """Say why an object (Order/o1) or an invocation does not go on, and what frees it; without one, look through the file.

    Each way out says what it loses; the way that loses least comes first.
    """
    if url is not None and context.get_parameter_source("db") is ParameterSource.COMMANDLINE:
        raise click.UsageError("Use --db for a file, or --url for the app that is served there, not both.")
    _doctor(subject=subject, older=older, watch=watch, url=url, token=token, db=db, as_json=as_json)


@reporting
async def _doctor(
    subject: str | None, older: float, watch: bool, url: str | None, token: str | None, db: str, as_json: bool
) -> int:
    screen = console()
    as_object = _object(subject) if subject is not None else None

    async def look() -> Look:
        moment = now()
        if url is not None:
            found = await _asked(url, token, as_object, subject, older)
        else:
            found = await _read(db, as_object, subject, int(moment.timestamp() * 1000), older)
        text = DiagnosisText(Page(screen), moment, _typed_at(url) if url is not None else _typed_for(db))

        def show() -> None:
            if not as_json:
                text.show(found)
            elif watch:  # a line for each look
                click.echo(json.dumps({"at": moment_text(int(moment.timestamp() * 1000)), **found}, ensure_ascii=False))
            else:
                print_json(found)

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


def _object(subject: str) -> tuple[str, str] | None:
    """The class and the key; None if the subject is the id of an invocation."""
    service, slash, key = subject.partition("/")
    if slash and not (service and key):
        raise click.BadParameter(f"{subject!r} is not a valid object. Use Counter/a, or the id of an invocation.")
    return (service, key) if slash else None


# --- the file -----------------------------------------------------------------------------------------------------------------


async def _read(db: str, as_object: tuple[str, str] | None, subject: str | None, now_ms: int, older: float) -> Facts:
    async with visiting(db) as database:
        running = database.visitor.owned()
        doctor = Doctor(database.visitor, database.ids, now_ms, running)
        found: Diagnosis | Trouble | None = None
        async with database.visitor.at_once():
            if subject is None:
                found = await Examiner(database.visitor, doctor, now_ms, int(older * 1000)).trouble()
            else:
                found = await _diagnosed(database, doctor, as_object, subject)
        assert found is not None
        return {"running": running, **facts(found, database.ids)}


async def _diagnosed(database: Database, doctor: Doctor, as_object: tuple[str, str] | None, subject: str) -> Diagnosis:
    if as_object is not None:
        return await doctor.of_object(*as_object)
    return await doctor.of_invocation(await database.find(subject))


def _typed_for(db: str) -> Callable[[Sequence[str]], str]:
    file = () if db == "actors.db" else ("--db", db)
    return lambda words: shlex.join(("actors", *words, *file))


# --- the app that is served ---------------------------------------------------------------------------------------------------


async def _asked(
    url: str, token: str | None, as_object: tuple[str, str] | None, subject: str | None, older: float
) -> Facts:
    """Raises ServerUnreachable, or the error of the answer."""
    from actors.model.retry import RetryPolicy
    from actors.transport.client import Client
    from actors.transport.client.answers import Answer, failure
    from actors.transport.client.calls import Ask

    if subject is None:
        path = "trouble?" + urlencode({"older": math.ceil(older)})
    elif as_object is not None:
        path = "doctor?" + urlencode({"service": as_object[0], "key": as_object[1]})
    else:
        path = "doctor?" + urlencode({"id": subject})

    def read(answer: Answer) -> Facts:
        if answer.status != 200:
            raise failure(answer)
        try:
            return {"running": True, **json.loads(answer.body)}
        except (ValueError, TypeError):
            raise BadArguments(f"{url} does not answer as an app of this package does.") from None

    async with Client(url, token=token, retry=RetryPolicy(max_attempts=1)) as client:
        return await client.ask(Ask("GET", "/restate/admin/" + path, read, repeatable=True))


def _typed_at(url: str) -> Callable[[Sequence[str]], str]:
    def typed(words: Sequence[str]) -> str:
        what, operation, *rest = words
        if what == "awakeables":
            return shlex.join(("actors", operation, *rest, "--url", url))
        return shlex.join(("curl", "-X", "POST", f"{url.rstrip('/')}/restate/admin/{what}/{rest[0]}/{operation}"))

    return typed
