"""The stored form of a journal that a test has written: rows in order, each answer at its position.

Promise: every list of entries makes a journal. An answer whose position does not fit comes as soon as it can, so a wrong list is met
by the replay, with its own message.
"""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from actors.errors import BadArguments, BadId
from actors.journal.entries import Kind, packed_state
from actors.journal.ids import IdMint
from actors.serde.pydantic_models import encode_model
from actors.storage.records import JournalRow
from actors.testing import entries as e

_encoder = msgspec.json.Encoder(enc_hook=encode_model)
_AT_MS = 0


def text_of(value: Any) -> str:
    """A value as JSON text. Raises BadArguments."""
    try:
        return _encoder.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise BadArguments(f"{value!r} cannot be written as JSON: {error}.") from None


def texts_of(state: Mapping[str, Any]) -> dict[str, str]:
    """A state as JSON texts by name."""
    return {name: text_of(value) for name, value in state.items()}


class _Answer(NamedTuple):
    position: int
    order: int
    kind: int
    value: str | None
    command: int
    raw: Any


@dataclass(slots=True)
class GivenJournal:
    """Rows, and by index of a command the value of its answer, for a step whose function declares no type."""

    rows: list[JournalRow] = field(default_factory=list)
    raw: dict[int, Any] = field(default_factory=dict)


class Writing:
    """Writes the journal of the invocation with the number 1. `version` is that of its class, `snapshot` the state a reader reads."""

    def __init__(self, ids: IdMint, version: int, snapshot: dict[str, str] | None) -> None:
        self._ids = ids
        self._version = version if version > 1 else None
        self._snapshot = snapshot
        self._journal = GivenJournal()
        self._late: list[_Answer] = []
        self._number = 1

    def journal(self, given: Sequence[e.JournalEntry]) -> GivenJournal:
        """The whole journal. Raises BadArguments for what is not an entry, or holds what is not JSON."""
        for entry in given:
            self._answers_due()
            match entry:
                case e.Cancelled(position):
                    self._answer(_Answer(position or 0, 0, Kind.CANCELLED, None, 0, e.UNANSWERED), position)
                case e.Unseen(position):
                    self._append(Kind.UNSEEN, ref=position)
                case e.Migrated(state, version):
                    self._append(Kind.MIGRATED, value=packed_state(texts_of(state)), ref=version)
                case _:
                    if self._snapshot is not None:
                        self._append(Kind.SNAPSHOT, value=packed_state(self._snapshot), ref=self._version)
                        self._snapshot = None
                    self._command(entry)
        while self._late:
            self._complete(heapq.heappop(self._late))
        return self._journal

    def _append(
        self,
        kind: int,
        name: str | None = None,
        value: str | None = None,
        ref: int | None = None,
        before: str | None = None,
    ) -> int:
        rows = self._journal.rows
        rows.append(JournalRow(1, len(rows) + 1, kind, name, ref, value, before, _AT_MS))
        return len(rows)

    # --- commands ---------------------------------------------------------------------------------------------------------

    def _command(self, entry: e.JournalEntry) -> None:
        answer: Any = e.UNANSWERED
        nothing = object()  # the answer of a command that answers with nothing
        match entry:
            case e.SetState(name, value):
                self._append(Kind.SET, name, text_of(value), self._version)
                return
            case e.ClearState(name):
                self._append(Kind.CLEAR, name, None, self._version)
                return
            case e.Now(time):
                self._append(Kind.NOW, ref=_ms(time))
                return
            case e.Run(name, answer):
                index = self._append(Kind.RUN, name)
            case e.Sleep(seconds, over):
                index = self._append(Kind.SLEEP, str(round(seconds * 1000)), ref=0)
                answer = nothing if over else answer
            case e.Awakeable(type, timeout, answer):
                waits = None if timeout is None else str(round(timeout * 1000))
                index = self._append(Kind.AWAKEABLE, type, waits, None if timeout is None else 0)
            case e.Call() | e.Send():
                self._message(entry)
                return
            case e.Attach(id, answer):
                index = self._append(Kind.ATTACH, id, ref=self._attached(id))
            case e.Cancel(id, done):
                index = self._append(Kind.CANCEL, id)
                answer = nothing if done else answer
            case e.Resolve(name, value, done):
                index, answer = self._append(Kind.RESOLVE, name, text_of(value)), nothing if done else answer
            case e.Reject(name, value, done):
                index, answer = self._append(Kind.REJECT, name, text_of(value)), nothing if done else answer
            case e.Promise(name, type, answer):
                index = self._append(Kind.PROMISE, name, text_of(type))
            case e.Peek(name, answer):
                index = self._append(Kind.PEEK, name)
                answer = nothing if answer is None else answer
            case e.ResolvePromise(name, value, done):
                index, answer = self._append(Kind.RESOLVE_PROMISE, name, text_of(value)), nothing if done else answer
            case e.RejectPromise(name, value, done):
                index, answer = self._append(Kind.REJECT_PROMISE, name, text_of(value)), nothing if done else answer
            case _:
                raise BadArguments(f"{entry!r} is not an entry of a journal: see actors.testing.entries.")
        self._answered(
            index, answer, nothing, entry.failure if not isinstance(entry, e.Sleep) else None, entry.position
        )

    def _attached(self, id: str) -> int:
        try:
            return self._ids.read_invocation(id)
        except BadId as error:
            raise BadArguments(f"Attach({id!r}) is not valid: {error}") from None

    def _message(self, entry: e.Call | e.Send) -> None:
        kind = Kind.CALL if isinstance(entry, e.Call) else Kind.SEND
        if entry.arguments is None:
            refusal = text_of(entry.failure) if kind == Kind.SEND else None
            index = self._append(kind, entry.target, before=refusal)
        else:
            number = entry.number
            if number is None:
                self._number += 1
                number = self._number
            placed = entry.placed is not False
            later = str(number) if placed and kind == Kind.SEND else None
            index = self._append(kind, entry.target, text_of(list(entry.arguments)), None if placed else number, later)
            if placed:
                position = None if entry.placed is True else int(entry.placed)
                self._answer(_Answer(position or 0, index, Kind.PLACED, str(number), index, e.UNANSWERED), position)
        if isinstance(entry, e.Call):
            self._answered(index, entry.result, None, entry.failure, entry.position)
        elif entry.arguments is not None:
            self._answered(index, e.UNANSWERED, None, entry.failure, entry.position)

    # --- answers ----------------------------------------------------------------------------------------------------------

    def _answered(self, index: int, answer: Any, nothing: Any, failure: e.Failure | None, position: int | None) -> None:
        if failure is not None:
            self._answer(_Answer(position or 0, index, Kind.FAILED, text_of(failure), index, e.UNANSWERED), position)
        elif answer is nothing and nothing is not None:
            self._answer(_Answer(position or 0, index, Kind.COMPLETED, None, index, e.UNANSWERED), position)
        elif answer is not e.UNANSWERED:
            self._answer(_Answer(position or 0, index, Kind.COMPLETED, None, index, answer), position)

    def _answer(self, answer: _Answer, position: int | None) -> None:
        if position is None:
            self._complete(answer)
        else:
            heapq.heappush(self._late, answer)

    def _answers_due(self) -> None:
        while self._late and self._late[0].position <= len(self._journal.rows) + 1:
            self._complete(heapq.heappop(self._late))

    def _complete(self, answer: _Answer) -> None:
        value = answer.value
        if answer.raw is not e.UNANSWERED:
            self._journal.raw[answer.command] = answer.raw
            value = _text_or_nothing(answer.raw)
        self._append(answer.kind, value=value, ref=answer.command or None)


def _text_or_nothing(value: Any) -> str:
    """The JSON text of an answer; of one that only a step without a declared type can give, any text."""
    try:
        return text_of(value)
    except BadArguments:
        return "null"


def _ms(time: str | datetime.datetime) -> int:
    try:
        moment = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
        if moment.tzinfo is None:
            raise ValueError("it has no time zone")
    except ValueError as error:
        raise BadArguments(
            f"Now({time!r}) is not a time: {error}. Use a datetime with a time zone, or its isoformat()."
        ) from None
    return round((moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) / datetime.timedelta(milliseconds=1))
