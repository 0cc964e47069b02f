"""Requests to the app that owns a file: left in the file, awaited, and withdrawn if no app answers.

Whatever happens, a request was done, refused or withdrawn, or will be done; and the verdict says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.cli.file.database import Database
from actors.engine.cancellation import ended_already, not_ended
from actors.errors import TerminalError, UnknownAwakeable
from actors.journal.entries import Kind
from actors.storage.records import Status

LOOK_EVERY = 0.03  # seconds between two polls for answers

LEFT = "left for the next app that starts on this file; the app may refuse the request: see its log"
TAKEN = "the app has accepted the request but not answered yet; it will be done, at the next start at the latest"
WITHDRAWN = "{}; the request is withdrawn, and nothing was done"
UNANSWERED = "the app did not answer within {:g} s"
INTERRUPTED = "interrupted before the app answered"


@dataclass(frozen=True, slots=True)
class Request:
    operation: str
    target: str
    argument: str | None = None  # JSON text


@dataclass(slots=True)
class Verdict:
    """What became of a request: `done`, `refused`, `left` for the next start, `withdrawn`, or `taken` but not answered."""

    request: Request
    what: str
    message: str = ""
    error: str | None = None
    code: int | None = None
    invocation: str | None = None  # the new invocation, for a restart

    @property
    def fine(self) -> bool:
        return self.what in ("done", "left")

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"id": self.request.target, "operation": self.request.operation, "outcome": self.what}
        for name in ("message", "error", "code", "invocation"):
            if getattr(self, name):
                facts[name] = getattr(self, name)
        return facts


async def ask(database: Database, requests: Sequence[Request], wait: float) -> list[Verdict]:
    """A verdict for each request, in order. Gives up after `wait` seconds without an answer, or when cancelled."""
    verdicts: dict[Request, Verdict] = {}
    owned = database.visitor.owned()
    queued = set() if owned else {target for _, _, target, *_ in await database.visitor.requests()}
    for request in requests:
        try:
            if request.operation in ("resolve", "reject"):
                database.awakeable(request.target)
            else:
                database.seq(request.target)
            if not owned:
                await _check(database, request, queued)
        except TerminalError as error:
            verdicts[request] = Verdict(request, "refused", str(error), error.error, error.code)
    asking = [request for request in requests if request not in verdicts]
    if asking:
        enough = asyncio.Event()
        # Cut off, it would lose the number of a request that is in the file, or an answer that it has removed from the file.
        asked = asyncio.ensure_future(_asked(database, asking, wait, enough))
        try:
            verdicts |= await asyncio.shield(asked)
        except asyncio.CancelledError:  # Ctrl-C: it comes to its end now
            enough.set()
            verdicts |= await asked
    return [verdicts[request] for request in requests]


async def _asked(
    database: Database, requests: Sequence[Request], wait: float, enough: asyncio.Event
) -> dict[Request, Verdict]:
    """Leave the requests in the file, and wait for their verdicts until it is `enough`."""
    rows = [(one.operation, one.target, one.argument) for one in requests]
    numbers = await database.visitor.ask(rows, time.time_ns() // 1_000_000)
    waiting = dict(zip(numbers, requests, strict=True))
    verdicts: dict[Request, Verdict] = {}
    owned = await _answered(database, waiting, verdicts, wait, enough)
    if owned and waiting:
        why = INTERRUPTED if enough.is_set() else UNANSWERED.format(wait)
        for number in await database.visitor.withdraw(list(waiting)):
            request = waiting.pop(number)
            verdicts[request] = Verdict(request, "withdrawn", WITHDRAWN.format(why))
        # The app has accepted the others: their answers are likely to come.
        if enough.is_set():
            owned = await _answered(database, waiting, verdicts, 1.0, asyncio.Event())
        else:
            owned = await _answered(database, waiting, verdicts, max(wait, 1.0), enough)
    for request in waiting.values():
        verdicts[request] = Verdict(request, "taken", TAKEN) if owned else Verdict(request, "left", LEFT)
    return verdicts


async def _check(database: Database, request: Request, queued: set[str]) -> None:
    """Check what is certain while no app runs: raise the app's refusal instead of leaving a request in vain.

    `queued` are the ids for which requests already wait: their effect is not known yet.
    """
    if request.operation in ("resolve", "reject"):
        seq, index = database.awakeable(request.target)
        rows = await database.visitor.journal(seq)
        if not any(row.idx == index and row.kind == Kind.AWAKEABLE for row in rows):
            raise UnknownAwakeable("No open awakeable has this id.")
        return
    row = await database.find(request.target)
    if request.operation in ("restart", "purge"):
        if row.status < Status.SUCCEEDED and request.target not in queued:  # a queued request may end the invocation
            raise not_ended()
    elif row.status >= Status.SUCCEEDED:
        raise ended_already(row.status)


async def _answered(
    database: Database,
    waiting: dict[int, Request],
    verdicts: dict[Request, Verdict],
    wait: float,
    enough: asyncio.Event,
) -> bool:
    """Take answers until all have arrived, none has arrived for `wait` seconds, it is `enough`, or no app owns the file;
    only then returns False.
    """
    until = time.monotonic() + wait
    while waiting:
        owned = database.visitor.owned()  # checked first: an app that ends may have answered
        answers = await database.visitor.answers(list(waiting))
        for number, answer in answers.items():
            request = waiting.pop(number)
            verdicts[request] = _verdict(request, answer)
        if answers:
            until = time.monotonic() + wait
        elif not owned:
            return False
        elif enough.is_set() or time.monotonic() >= until:
            return True
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), LOOK_EVERY)
    return True


def _verdict(request: Request, answer: str) -> Verdict:
    facts = msgspec.json.decode(answer)
    if facts.get("ok"):
        return Verdict(request, "done", invocation=facts.get("invocation"))
    return Verdict(request, "refused", facts["message"], facts.get("error", TerminalError.error), facts["code"])
