"""A stored invocation in the terms of a test: its arguments, the state before it, its journal, and how it ended.

Promise: no number, id or time of the file is left in it, except in values of the user, and the times that the handler read.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.check.retrace import Retraced
from actors.cli.replay.anonymous import Anonymous
from actors.cli.replay.redaction import Redaction
from actors.cli.replay.subject import Subject
from actors.errors import ActorsError
from actors.journal.entries import Entry, Kind, unpacked_state
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition
from actors.serde import packing
from actors.serde.failures import failure_of
from actors.storage.records import Flag, JournalRow, Status
from actors.testing import entries as e
from actors.testing.replay import SECRET, failure_value

MOST_BYTES = 1_000_000
# The fields of entries that hold no value of the user.
_OF_CODE = frozenset(("type", "position", "number", "placed", "seconds", "timeout", "time"))


class TooLarge(ActorsError):
    """A value is too large for a test that people read."""


class Collecting:
    """Listens to a replay: the whole texts of the writes, by position, and whether random numbers were drawn."""

    def __init__(self) -> None:
        self.texts: dict[int, str | None] = {}
        self.has_drawn = False

    def begins(self, handler: HandlerDefinition) -> None: ...

    def requested(self, command: Entry, text: str | None, place: str | None) -> None:
        self.texts[command.idx] = text

    def shown(self, completion: Entry, command: Entry | None) -> None: ...

    def ends(self, reached: dict[str, str] | None) -> None: ...

    def drawn(self) -> None:
        self.has_drawn = True


@dataclass(frozen=True, slots=True)
class Captured:
    """What a test holds. `services` are the names of the classes that its journal addresses."""

    subject: Subject
    key: str
    arguments: list[Any]
    before: dict[str, Any]
    version: int | None  # of the state before it, if that is not the version of the class
    journal: list[e.JournalEntry]
    headers: dict[str, str]
    seed: str | None
    ended: bool
    imposed: bool
    outcome: Any
    failure: dict[str, Any] | None
    waits_for: str | None
    state: dict[str, Any]
    services: list[str]

    def mapped(self, change: Callable[[Any], Any]) -> Captured:
        """The same with each value of the user changed."""
        return dataclasses.replace(
            self,
            key=change(self.key),
            arguments=change(self.arguments),
            before=_values(self.before, change),
            journal=[changed_entry(one, change) for one in self.journal],
            headers=_values(self.headers, change),
            outcome=change(self.outcome),
            failure=change(self.failure),
            waits_for=change(self.waits_for),
            state=_values(self.state, change),
        )

    def collect(self, redaction: Redaction, catalog: Catalog) -> None:
        """Show everything that has a name."""
        handler = self.subject.handler
        _collect_arguments(redaction, handler, self.arguments)
        for named in (self.before, self.state, self.headers):
            for name, value in named.items():
                redaction.collect(name, value)
        for entry in self.journal:
            match entry:
                case e.SetState(name, value) | e.ResolvePromise(name, value):
                    redaction.collect(name, value)
                case e.Call() | e.Send() if entry.arguments is not None:
                    _collect_arguments(redaction, _target(catalog, entry.target), list(entry.arguments))
                case _:
                    pass
            for field in dataclasses.fields(entry):
                redaction.search(getattr(entry, field.name))
        redaction.search([self.outcome, self.failure])


def _values(values: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: change(value) for name, value in values.items()}


def changed_entry(entry: e.JournalEntry, change: Callable[[Any], Any]) -> e.JournalEntry:
    """An entry with its values changed. The name of a state is code, and stays; that of a step or a promise may hold a value."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        of_code = field.name in _OF_CODE or (field.name == "name" and isinstance(entry, e.SetState | e.ClearState))
        if value is not e.UNANSWERED and not of_code:
            changed[field.name] = change(value)
    return dataclasses.replace(entry, **changed)


def _collect_arguments(redaction: Redaction, handler: HandlerDefinition | None, arguments: list[Any]) -> None:
    if handler is not None and len(handler.names) == len(arguments):
        for name, value in zip(handler.names, arguments, strict=True):
            redaction.collect(name, value)
    redaction.search(arguments)


def _target(catalog: Catalog, name: str) -> HandlerDefinition | None:
    """The handler that a recorded call names: `Stock/books/reserve`, with options behind it."""
    service, _, rest = name.partition("/")
    definition = catalog.services.get(service)
    if definition is None:
        return None
    handler = rest.rpartition("/")[2]
    return next((one for known, one in definition.handlers.items() if handler.split(" ")[0] == known), None)


def captured(subject: Subject, retraced: Retraced, heard: Collecting, large: bool) -> Captured:
    """A stored invocation, executed again with the outcome `retraced`, as a test holds it. Raises TooLarge."""
    row = subject.row
    if not large:
        _check_size(subject)
    anonymous = Anonymous(IdMint(subject.secret), IdMint(SECRET), row.seq)
    journal = _Reading(subject, heard, anonymous).entries()
    before = subject.began_with()
    ended = row.status >= Status.SUCCEEDED and not retraced.imposed
    state = {name: msgspec.json.decode(text) for name, text in retraced.left.texts.items()}
    failed = ended and row.status == Status.FAILED
    seed = None
    if heard.has_drawn:
        seq = row.restart_of if row.flags & Flag.CONTINUES and row.restart_of is not None else row.seq
        seed = IdMint(subject.secret).seed(seq).hex()
    found = Captured(
        subject,
        row.shown_key,
        msgspec.json.decode(row.args),
        {name: msgspec.json.decode(text) for name, text in before.texts.items()},
        before.version if before.version != subject.definition.version and before.texts else None,
        journal,
        msgspec.json.decode(row.headers) if row.headers is not None else {},
        seed,
        ended,
        retraced.imposed,
        msgspec.json.decode(row.outcome) if ended and not failed and row.outcome is not None else None,
        failure_value(row.outcome) if failed and row.outcome is not None else None,
        None if ended else retraced.waits_for or retraced.asks,
        state,
        _services(subject.journal),
    )
    return found.mapped(anonymous.value)


def _check_size(subject: Subject) -> None:
    texts = [subject.row.args, subject.row.outcome, *subject.began_with().texts.values()]
    texts += [entry.value for entry in subject.journal if isinstance(entry.value, str)]
    sizes = [len(text) for text in texts if text is not None]
    sizes += [len(entry.value) for entry in subject.journal if isinstance(entry.value, bytes)]
    if max(sizes) > MOST_BYTES:
        raise TooLarge(
            f"{subject.name} ({subject.id}) holds a value of {max(sizes):,} characters; the limit is {MOST_BYTES:,}. "
            "Use --large to write it all the same."
        )


def _services(journal: list[JournalRow]) -> list[str]:
    names = [entry.name.partition("/")[0] for entry in journal if entry.kind in (Kind.CALL, Kind.SEND) and entry.name]
    return list(dict.fromkeys(names))


class _Reading:
    """Reads the rows of a journal as entries. The answer of a command is part of it."""

    def __init__(self, subject: Subject, heard: Collecting, anonymous: Anonymous) -> None:
        self._rows = subject.journal
        self._heard = heard
        self._anonymous = anonymous
        self._answers = {row.ref: row for row in self._rows if row.kind in (Kind.COMPLETED, Kind.FAILED)}
        self._placed = {row.ref: row for row in self._rows if row.kind == Kind.PLACED}
        self._count = 1  # the number that a message got last, if it got the next one
        for row in self._rows:
            seq = self._seq(row)
            if seq is not None:
                anonymous.number(seq)

    def entries(self) -> list[e.JournalEntry]:
        return [entry for row in self._rows if (entry := self._entry(row)) is not None]

    def _seq(self, row: JournalRow) -> int | None:
        if row.kind not in (Kind.CALL, Kind.SEND):
            return None
        placed = self._placed.get(row.idx)
        return int(placed.value or 0) if placed is not None else row.ref

    def _entry(self, row: JournalRow) -> e.JournalEntry | None:
        name = row.name or ""
        position, value, failure = self._answer(row)
        done = value is not e.UNANSWERED
        match row.kind:
            case Kind.SET | Kind.CHANGE:
                return e.SetState(name, msgspec.json.decode(self._heard.texts.get(row.idx) or _text(row)))
            case Kind.CLEAR:
                return e.ClearState(name)
            case Kind.RUN:
                return e.Run(name, value, failure, position)
            case Kind.SLEEP:
                return e.Sleep(_seconds(name), done, position)
            case Kind.NOW:
                moment = datetime.datetime.fromtimestamp((row.ref or 0) / 1000, datetime.UTC)
                return e.Now(moment.isoformat(timespec="milliseconds"))
            case Kind.AWAKEABLE:
                return e.Awakeable(
                    name, _seconds(_text(row)) if row.value is not None else None, value, failure, position
                )
            case Kind.CALL | Kind.SEND:
                return self._message(row, position, value, failure)
            case Kind.ATTACH:
                return e.Attach(self._anonymous.value(name), value, failure, position)
            case Kind.CANCEL:
                return e.Cancel(name, done, failure, position)
            case Kind.RESOLVE:
                return e.Resolve(name, msgspec.json.decode(_text(row)), done, failure, position)
            case Kind.REJECT:
                return e.Reject(name, msgspec.json.decode(_text(row)), done, failure, position)
            case Kind.PROMISE:
                return e.Promise(name, msgspec.json.decode(_text(row)), value, failure, position)
            case Kind.PEEK:
                return e.Peek(name, value, failure, position)
            case Kind.RESOLVE_PROMISE:
                return e.ResolvePromise(name, msgspec.json.decode(_text(row)), done, failure, position)
            case Kind.REJECT_PROMISE:
                return e.RejectPromise(name, msgspec.json.decode(_text(row)), done, failure, position)
            case Kind.CANCELLED:
                return e.Cancelled()
            case Kind.UNSEEN:
                return e.Unseen(row.ref or 0)
            case Kind.MIGRATED:
                texts = unpacked_state(row.value)
                return e.Migrated({name: msgspec.json.decode(text) for name, text in texts.items()}, row.ref or 1)
            case _:
                return None  # a completion, or the snapshot, which is the state before a reader

    def _answer(self, row: JournalRow) -> tuple[int | None, Any, dict[str, Any] | None]:
        """The position of the answer, if it is not the next one, its value, and its failure."""
        answer = self._answers.get(row.idx)
        if answer is None:
            return None, e.UNANSWERED, None
        placed = self._placed.get(row.idx)
        following = row.idx + 1 + (placed is not None and placed.idx == row.idx + 1)
        position = None if answer.idx == following else answer.idx
        if answer.kind == Kind.FAILED:
            return position, e.UNANSWERED, _failure(_text(answer))
        if isinstance(answer.value, bytes):
            return position, packing.unpack(answer.value), None
        return position, None if answer.value is None else msgspec.json.decode(answer.value), None

    def _message(
        self, row: JournalRow, position: int | None, value: Any, failure: dict[str, Any] | None
    ) -> e.JournalEntry:
        name, seq, placed = row.name or "", self._seq(row), self._placed.get(row.idx)
        if row.value is None:  # refused
            if row.kind == Kind.CALL:
                return e.Call(name, None, value, failure, position)
            return e.Send(name, None, _failure(row.before or "{}"))
        number = self._anonymous.number(seq) if seq is not None else None
        if number is None or number == self._count + 1:
            self._count, number = self._count + 1, None
        at = placed is not None and (True if placed.idx == row.idx + 1 else placed.idx)
        arguments = msgspec.json.decode(_text(row))
        if row.kind == Kind.CALL:
            return e.Call(name, arguments, value, failure, position, at, number)
        return e.Send(name, arguments, failure, position, at, number)


def _text(row: JournalRow) -> str:
    return row.value if isinstance(row.value, str) else "null"


def _failure(text: str) -> dict[str, Any]:
    """A recorded failure. All of it counts: the handler may look at its metadata."""
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(failure_of(text)))
    return {**value, "error": failure_of(text).error}


def _seconds(ms: str) -> float | int:
    seconds = int(ms) / 1000
    return int(seconds) if seconds == int(seconds) else seconds
