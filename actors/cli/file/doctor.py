"""`actors doctor`: why a key does not move, and what frees it.

Exit codes: 0 everything moves, 1 something needs a person, 2 wrong usage.
"""

from __future__ import annotations

import json
import shlex
import time

import click

from actors.cli.file.database import Database, moment_text, visiting
from actors.cli.file.options import database_option, json_option, reporting, seconds
from actors.cli.file.repeated import Look, Repeated
from actors.cli.show.layout import Page, count, safe
from actors.cli.show.records import console, now, print_json
from actors.doctor.causes import Cause, Way, length
from actors.doctor.diagnosis import Diagnosis, Doctor, name
from actors.doctor.facts import facts
from actors.doctor.trouble import LASTED_MS, Examiner, Trouble, names
from actors.journal.ids import IdMint

STUCK = 1
NO_APP = "No app runs on this file. What follows is its last commit."


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
@database_option
@json_option
@reporting
async def doctor(subject: str | None, older: float, watch: bool, db: str, as_json: bool) -> int:
    """Say why an object (Order/o1) or an invocation does not go on, and what frees it; without one, look through the file.

    Each way out says what it loses; the way that loses least comes first.
    """
    screen = console()

    async def look() -> Look:
        now_ms = int(time.time() * 1000)
        async with visiting(db) as database:
            running = database.visitor.owned()
            found = await _found(database, subject, now_ms, older, running)
            ids = database.ids
        known = {"running": running, **facts(found, ids)}
        told = _Telling(Page(screen), ids, now_ms, db)

        def tell() -> None:
            if not as_json:
                told.tell(found, running)
            elif watch:
                click.echo(json.dumps({"at": moment_text(now_ms), **known}, ensure_ascii=False))  # a line for each look
            else:
                print_json(known)

        return Look(apart_from_times(known), tell, STUCK if found.needs_a_person() else 0)

    if watch:
        return await Repeated(look, screen, now, bare=as_json).until_interrupted()
    once = await look()
    once.show()
    return once.code


async def _found(
    database: Database, subject: str | None, now_ms: int, older: float, running: bool
) -> Diagnosis | Trouble:
    doctor = Doctor(database.visitor, database.ids, now_ms, running)
    async with database.visitor.at_once():
        if subject is None:
            return await Examiner(database.visitor, doctor, now_ms, int(older * 1000)).trouble()
        return await _diagnosed(database, doctor, subject)
    raise AssertionError("unreachable")


def apart_from_times(known: object) -> object:
    """These facts without the texts, which say how long ago something was."""
    if isinstance(known, dict):
        return {name: apart_from_times(value) for name, value in known.items() if name != "text"}
    return [apart_from_times(value) for value in known] if isinstance(known, list) else known


async def _diagnosed(database: Database, doctor: Doctor, subject: str) -> Diagnosis:
    service, slash, key = subject.partition("/")
    if slash and service and key:
        return await doctor.of_object(service, key)
    if slash:
        raise click.BadParameter(f"{subject!r} is not a valid object. Use Counter/a, or the id of an invocation.")
    return await doctor.of_invocation(await database.find(subject))


class _Telling:
    """Diagnoses in a terminal. The commands it shows are for the file `db`."""

    def __init__(self, page: Page, ids: IdMint, now_ms: int, db: str) -> None:
        self._page = page
        self._ids = ids
        self._now_ms = now_ms
        self._db = db

    def tell(self, found: Diagnosis | Trouble, running: bool) -> None:
        if not running:
            self._page.text(NO_APP)
        if isinstance(found, Trouble):
            self._trouble(found)
        else:
            self._diagnosis(found)

    def _diagnosis(self, found: Diagnosis) -> None:
        page, cause, root = self._page, found.cause, found.root
        if root is None:
            page.text(safe(f"{found.subject}: {cause.text}"))
            return
        following = [*(link.row for link in found.chain[1:]), root][: len(found.chain)]
        for link, next_row in zip(found.chain, following, strict=True):
            page.text(safe(f"{name(link.row)} {link.text} {name(next_row)}."))
            page.line(f"  {self._ids.invocation(link.row.seq)}", style="dim")
        page.text(safe(f"{name(root)} {cause.text}"), style="bold")
        page.line(f"  {self._ids.invocation(root.seq)}", style="dim")
        if cause.detail:
            page.text(safe(cause.detail), indent=2)
        if found.others:
            page.text(f"Beside this, {count(found.others, 'other wait')} would have to end.")
        self._behind(found)
        self._ways(cause)

    def _trouble(self, found: Trouble) -> None:
        page = self._page
        page.text(found.headline(), style="bold")
        for group in found.groups:
            page.line()
            page.text(safe(f"{names(group)} {group.cause.text}"))
            page.line(f"  {self._ids.invocation(group.root.seq)}", style="dim")
            if group.cause.detail:
                page.text(safe(group.cause.detail), indent=2)
            said = [f"{count(group.behind, 'message')} behind"] if group.behind else []
            if group.keys:
                said.append(f"it holds {count(len(group.keys), 'other key')} too")
            if said:
                page.text(", ".join(said), indent=2)
            self._ways(group.cause, most=1)
        if found.cut:
            page.line()
            page.text("There is more than was looked at. `actors invocations list --status paused` lists all.")

    def _behind(self, found: Diagnosis) -> None:
        if found.behind and found.behind_since_ms is not None:
            waits = length(self._now_ms - found.behind_since_ms)
            self._page.text(f"Behind it: {count(found.behind, 'message')}, the oldest for {waits}.")
        if found.callers:
            more = f" and {found.more_callers:,} more" if found.more_callers else ""
            many = found.more_callers or len(found.callers) > 1
            self._page.text(safe(f"{', '.join(found.callers)}{more} {'wait' if many else 'waits'} for its result."))

    def _ways(self, cause: Cause, most: int | None = None) -> None:
        if not cause.ways:
            return
        page = self._page
        if most is None:
            page.line("What frees it:")
        for way in cause.ways[:most]:
            if way.command:
                page.line(f"  {self._command(way)}")
                page.text(way.effect, indent=4)
            else:
                page.text(safe(way.effect), indent=2)

    def _command(self, way: Way) -> str:
        file = () if self._db == "actors.db" else ("--db", self._db)
        return shlex.join(("actors", *way.command, *file))
