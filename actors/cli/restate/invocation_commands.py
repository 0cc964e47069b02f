"""`actors restate invocations …`: list, show and operate on the invocations of a restate-server."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from actors.cli.restate.options import asking, json_option, reporting, restate_option
from actors.cli.selecting import DONE, HELP, POSSIBLE, SENSIBLE, confirm, filter_options, numbers_of, selected
from actors.cli.show.layout import Page, safe
from actors.cli.show.records import Facts, now, page, print_json, show_facts, show_invocations
from actors.errors import ActorsError, UnknownInvocation
from actors.storage.records import Status
from actors.transport.restate import records
from actors.transport.restate.admin import Admin, Operated
from actors.transport.restate.schedules import NAME

AT_ONCE = 16  # operations
# The server refuses to pause an invocation that has not begun, and has no effect on one that is suspended.
PAUSES = ("running", "backing-off")
DIFFERENT = {
    "pause": "Stop invocations that are running or backing off at their current position until they are resumed.",
    "restart": "Repeat ended invocations as new ones, from the input.",
}

LEFT_OUT = f"Invocations of {NAME}, which runs schedules, are left out unless --service names it."


@click.group()
def invocations() -> None:
    """List, show, cancel, kill, pause, resume, restart or purge invocations."""


@invocations.command("list")
@filter_options
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="How many to list, the newest first."
)
@restate_option
@json_option
@reporting
async def list_invocations(
    service: str | None,
    key: str | None,
    handler: str | None,
    statuses: tuple[str, ...],
    limit: int,
    restate: str,
    as_json: bool,
) -> int:
    """List invocations, the newest first.

    An invocation that waits is running until the server suspends it, after `suspend_after` of the app's limits. Invocations of
    actors-schedule, which runs schedules, are left out unless --service names it.
    """
    query = records.matching(service, key, handler, _words(numbers_of(statuses)), limit + 1, NAME)
    async with asking(restate) as admin:
        found = [records.facts(row) for row in await admin.query(query)]
    if as_json:
        print_json(found[:limit])
    elif not found:
        click.echo("No invocation matches.")
    else:
        show_invocations(page(), found[:limit], now())
        if len(found) > limit:
            click.echo(f"These are the newest {limit}; --limit shows more.")
    return 0


@invocations.command("show")
@click.argument("id")
@restate_option
@json_option
@reporting
async def show(id: str, restate: str, as_json: bool) -> int:
    """Show one invocation, its journal, and what it waits for."""
    id = records.checked_id(id)
    async with asking(restate) as admin:
        rows = await admin.query(records.one(id))
        if not rows:
            raise UnknownInvocation()
        stored = await admin.query(records.journal_of(id))
        journal = records.entries(stored)
        paused = rows[0]["status"] == "paused"
        facts = records.facts(rows[0], journal, await admin.query(records.pauses_of(id)) if paused else ())
    waits = records.waits(rows[0], stored)
    if as_json:
        print_json({**facts, "journal": journal, "waits_for": waits})
    else:
        _show(page(), facts, journal, waits)
    return 0


def _show(page: Page, facts: Facts, journal: Sequence[Facts], waits: Sequence[Facts]) -> None:
    show_facts(page, facts, now())
    if journal:
        page.line()
        page.line("journal", style="bold")
        start = _moment(journal[0]["at"] or facts["accepted_at"])
        rows = [
            [
                (str(line["position"]), ""),
                (f"{(_moment(line['at']) - start).total_seconds():.3f}" if line["at"] else "", ""),
                (safe(_told(line)), ""),
            ]
            for line in journal
        ]
        page.columns(("position", "seconds", "entry"), rows, right=("position", "seconds"), indent=2)
    if waits:
        page.line()
        page.line("waits for", style="bold")
        for wait in waits:
            page.text(safe(_told_wait(wait)), indent=2)


def _told(line: Facts) -> str:
    words = [line["entry"], *([line["name"]] if line["name"] else [])]
    if line["completes"] is not None:
        words.append(f"of {line['completes']}")
    if line["value"] is not None:
        words.append(f"= {json.dumps(line['value'], ensure_ascii=False)}")
    return " ".join(words)


def _told_wait(wait: Facts) -> str:
    words = [wait["for"], wait.get("name"), wait.get("id"), f"until {wait['until']}" if wait.get("until") else None]
    return " ".join(word for word in words if word)


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _operation(name: str) -> None:
    """Add the command `name`, for ids or for the invocations that match filters."""

    async def operate(
        ids: tuple[str, ...],
        service: str | None,
        key: str | None,
        handler: str | None,
        statuses: tuple[str, ...],
        restate: str,
        yes: bool,
        as_json: bool,
    ) -> int:
        effective = ({**SENSIBLE, "pause": PAUSES}, {**POSSIBLE, "pause": PAUSES})
        numbers = selected(name, ids, (service, key, handler), statuses, *effective)
        async with asking(restate) as admin:
            if not ids:
                rows = await admin.query(records.matching(service, key, handler, _words(numbers), None, NAME))
                if not rows:
                    click.echo("[]" if as_json else "No invocation matches.")
                    return 0
                confirm(name, [row["target_service_name"] for row in rows], yes)
                ids = tuple(row["id"] for row in rows)
            ids = tuple(dict.fromkeys(ids))
            return _report(name, ids, await _operated(admin, name, ids), as_json)

    command: Callable[..., Any] = reporting(operate)
    for decorate in (
        json_option,
        click.option("--yes", is_flag=True, help="Do not ask."),
        restate_option,
        filter_options,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = decorate(command)
    invocations.command(name, help=f"{DIFFERENT.get(name, HELP[name])}\n\n{LEFT_OUT}")(command)


for _name in HELP:
    _operation(_name)


async def _operated(admin: Admin, name: str, ids: Sequence[str]) -> list[Operated]:
    """The answers, in the order of the ids: each id gets one, also if the server ends meanwhile."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def answer(id: str) -> Operated:
        try:
            records.checked_id(id)
            async with turns:
                operated = await admin.operate(name, id)
                if name == "pause" and operated.status == "done" and not await _is_paused(admin, id):
                    return Operated("refused", f"The invocation {id!r} is blocked: only running ones can be paused.")
                return operated
        except ActorsError as error:
            return Operated("refused", str(error))

    return await asyncio.gather(*map(answer, ids))


async def _is_paused(admin: Admin, id: str) -> bool:
    """The server says the same of an invocation that it has suspended, and leaves it as it is."""
    return any(row["status"] == "paused" for row in await admin.query(records.one(id)))


def _report(name: str, ids: Sequence[str], answers: Sequence[Operated], as_json: bool) -> int:
    """Print one line for each id, refusals on stderr; returns the exit code."""
    if as_json:
        print_json([_facts(name, id, answer) for id, answer in zip(ids, answers, strict=True)])
    else:
        for id, answer in zip(ids, answers, strict=True):
            if answer.status == "refused":
                text = answer.text if id in answer.text else f"{id}: {answer.text}"
                click.echo(safe(text), err=True)
            else:
                words = "pause requested" if (name, answer.status) == ("pause", "requested") else DONE[name]
                click.echo(f"{id} {words} {answer.restarted or ''}".rstrip())
    return 1 if any(answer.status == "refused" for answer in answers) else 0


def _facts(name: str, id: str, answer: Operated) -> Facts:
    facts: Facts = {"operation": name, "id": id, "outcome": answer.status}
    if answer.restarted:
        facts["invocation"] = answer.restarted
    if answer.status == "refused":
        facts["message"] = answer.text
    return facts


def _words(numbers: Sequence[int]) -> list[str]:
    return [Status.NAMES[number] for number in numbers]
