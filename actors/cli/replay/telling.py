"""What a replay tells on a terminal: commands and answers as they come, and how it ended."""

from __future__ import annotations

import datetime
import json

from actors.check.retrace import Retraced, State, same_outcome
from actors.cli.file.database import moment_text
from actors.cli.replay.subject import Subject
from actors.cli.show.layout import Page, safe
from actors.errors import StateDecodeError
from actors.journal.entries import Entry, Kind
from actors.serde import packing
from actors.serde.failures import failure_of
from actors.storage.records import Status

_MOST = 300  # characters of one value


def header(page: Page, subject: Subject) -> None:
    """Which invocation it is, and what it begins with."""
    row = subject.row
    page.line(safe(f"{subject.name} ({subject.id}), accepted {moment_text(row.accepted_ms)}"), style="bold")
    facts = [("arguments", shown(row.args), "")]
    if subject.definition.kind != "service":
        facts.append(("state", state_text(subject.began_with().texts), ""))
    if subject.continues is not None:
        facts.append(("journal", f"begins with that of {subject.continues}, which this invocation continues", ""))
    page.facts(facts)


def command_line(command: Entry, text: str | None) -> str:
    """A command as a phrase: `run 'send_mail'`."""
    name = "" if command.name is None else f" {command.name!r}"
    match command.kind:
        case Kind.SET | Kind.CHANGE:
            return f"set state {command.name} = {shown(text)}"
        case Kind.CLEAR:
            return f"clear state {command.name}"
        case Kind.SLEEP:
            return f"sleep {int(command.name or 0) / 1000:g} s"
        case Kind.AWAKEABLE:
            timeout = "" if command.value is None else f", for {int(command.value) / 1000:g} s"
            return f"awakeable {command.name}{timeout}"
        case Kind.NOW:
            moment = datetime.datetime.fromtimestamp((command.ref or 0) / 1000, datetime.UTC)
            return f"now: {moment.isoformat(timespec='milliseconds')}"
        case Kind.CALL | Kind.SEND if command.value is not None:
            return f"{Kind.NAMES[command.kind]} {command.name}({shown(command.value)[1:-1]})"
        case Kind.SNAPSHOT:
            return "reads the state"
        case Kind.RESOLVE | Kind.REJECT | Kind.RESOLVE_PROMISE | Kind.REJECT_PROMISE:
            return f"{Kind.NAMES[command.kind]}{name}: {shown(command.value)}"
        case _:
            return f"{Kind.NAMES[command.kind]}{name}"


def completion_line(completion: Entry, command: Entry | None) -> str:
    """A completion as a phrase: `3 answers "boss"`."""
    of = completion.ref
    match completion.kind:
        case Kind.CANCELLED:
            return "is notified of its cancellation"
        case Kind.PLACED:
            return f"{of} is accepted"
        case Kind.FAILED:
            return f"{of} fails: {_failure(str(completion.value))}"
        case _ if command is not None and command.kind == Kind.SLEEP:
            return f"{of} is over"
        case _:
            return f"{of} answers {shown(completion.value)}"


def outcome_lines(subject: Subject, retraced: Retraced) -> tuple[list[str], bool]:
    """How the replay ended, in sentences, and whether that is what is stored."""
    row = subject.row
    if retraced.misfit is not None:
        return [retraced.misfit.message, f"Stored: it {_stored(subject)}."], False
    if retraced.imposed:
        lines = [f"The runtime ended it: it {_stored(subject)}. That is not an answer of its code."]
        if retraced.waits_for is not None:
            lines.append(f"Its code waited for {safe(retraced.waits_for)}.")
        return lines, True
    if row.status < Status.SUCCEEDED:
        if retraced.outcome is not None:
            return [f"It is {Status.NAMES[row.status]}; the code now {outcome(*retraced.outcome)}."], True
        now = f"waits for {retraced.waits_for}" if retraced.waits_for is not None else "goes on from here"
        if retraced.asks is not None:
            now = f"asks for {retraced.asks} next, which is not recorded yet"
        return [safe(f"It is {Status.NAMES[row.status]}: its code {now}.")], True
    if retraced.outcome is None:
        return ["The code does not come to an end.", f"Stored: it {_stored(subject)}."], False
    handler = subject.handler
    told = f"It {outcome(*retraced.outcome)}"
    if same_outcome(retraced.outcome, row, handler.returns if handler is not None else None):
        return [f"{told}, as stored."], True
    return [f"{told}.", f"Stored: it {_stored(subject)}."], False


def write_lines(subject: Subject, before: State, retraced: Retraced) -> list[str]:
    """What the state of the object has become: a line for each name that differs."""
    try:
        texts = before.migrated(subject.definition, subject.row.key).texts
    except StateDecodeError:
        texts = before.texts
    after = retraced.left.texts
    names = [name for name in {**texts, **after} if texts.get(name) != after.get(name)]
    return [f"{name}: {shown(texts.get(name))} -> {shown(after.get(name))}" for name in names]


def _stored(subject: Subject) -> str:
    row = subject.row
    return outcome(row.status, row.outcome) if row.outcome is not None else f"is {Status.NAMES[row.status]}"


def outcome(status: int, text: str) -> str:
    """`returns 4`, or `fails: ...`."""
    return f"returns {shown(text)}" if status == Status.SUCCEEDED else f"fails: {_failure(text)}"


def _failure(text: str) -> str:
    failure = failure_of(text)
    return safe(_short(f"{failure.message} ({failure.code} {failure.error})"))


def shown(value: str | bytes | None) -> str:
    """A stored value on one line: JSON text as it is, an untyped value as Python."""
    if value is None:
        return "not set"
    return safe(_short(repr(packing.unpack(value)) if isinstance(value, bytes) else value))


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}... ({len(text):,} characters)"


def state_text(texts: dict[str, str]) -> str:
    """A state as one JSON object."""
    return safe(_short("{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"))
