"""What an answer of a server means: done, an error, or a refusal for now. Pure: no socket, no clock, no library."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from actors.errors import (
    ActorsError,
    AppNotRunning,
    BadId,
    InvocationKilled,
    NotReady,
    OutcomePending,
    ServerUnreachable,
    StorageError,
    TerminalError,
    UnexpectedAnswer,
    UnknownHandler,
    UnknownInvocation,
    UnknownService,
)
from actors.serde.failures import failure_error

FOR_NOW = (429, 502, 503, 504)  # refused, or not reached, for now: repeatable requests are repeated
LONGEST_PAUSE_S = 60.0  # a longer Retry-After is not waited for


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def done(answer: Answer) -> None:
    if not 200 <= answer.status < 300:
        raise failure(answer)


class _Told(msgspec.Struct):
    code: int
    message: str
    error: str | None = None
    metadata: dict[str, str] | None = None
    source: str = "ingress"


_told = msgspec.json.Decoder(_Told)
_encode = msgspec.json.Encoder().encode

NAMED_IN = (
    "actors.error"  # the entry of the metadata that names the class of a failure which came through a restate-server
)

# How a restate-server says what our server says with a stable code: status, beginning of the message, class.
_OF_RESTATE: tuple[tuple[int, str, type[TerminalError]], ...] = (
    (400, "bad invocation id", BadId),
    (400, "bad awakeable id", BadId),
    (404, "service '", UnknownService),
    (404, "the service '", UnknownHandler),
    (404, "invocation not found", UnknownInvocation),
    (409, "killed", InvocationKilled),
    (470, "", NotReady),
)

# Errors of the server that do not end an invocation: a later repetition may get an answer.
_PASSING: dict[str, type[ActorsError]] = {AppNotRunning.error: AppNotRunning, StorageError.error: StorageError}


def failure(answer: Answer) -> ActorsError:
    """The error in an answer, of the class that its stable code names; UnexpectedAnswer if there is none."""
    try:
        told = _told.decode(answer.body) if answer.status >= 400 else None
    except msgspec.MsgspecError:
        told = None
    if told is None:
        return _unexpected(answer)
    if told.error is None:
        told.error = _code_of(told, answer.status)
    if told.source == "invocation":
        return failure_error(_encode(told).decode())
    if answer.status == 503:
        if told.error == OutcomePending.error:
            return OutcomePending(told.message, answer.headers.get("x-restate-id"))
        known = _PASSING.get(told.error, ServerUnreachable)
        return known(told.message)
    if told.error == "internal_error":
        return UnexpectedAnswer(f"The server failed: {told.message}", answer.status)
    return failure_error(_encode(told).decode())


def _code_of(told: _Told, status: int) -> str:
    """The stable code of an error that a restate-server has made or passed on. Takes it out of the metadata."""
    metadata = dict(told.metadata or {})
    named = metadata.pop(NAMED_IN, None)
    if named is not None:
        told.metadata = metadata or None
        return named
    for at, beginning, cls in _OF_RESTATE:
        if status == at and told.message.startswith(beginning):
            return cls.error
    return TerminalError.error


def _unexpected(answer: Answer) -> UnexpectedAnswer:
    shown = answer.body[:200].decode("utf-8", "backslashreplace").strip() or "without a body"
    kind = kind_of(answer) or "no content type"
    return UnexpectedAnswer(
        f"The answer ({answer.status}, {kind}) did not come from a server of actors: {shown!r}. Check the URL and "
        "its prefix.",
        answer.status,
    )


def refused_for_now(answer: Answer) -> bool:
    """Whether the server, or a proxy in front of it, refuses requests for now. An outcome never counts, whatever its code."""
    if answer.status not in FOR_NOW:
        return False
    try:
        return _told.decode(answer.body).source != "invocation"
    except msgspec.MsgspecError:
        return True


def retry_after_s(answer: Answer, now: datetime.datetime) -> float | None:
    """How long the server asks to wait, in seconds; None if it does not say."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or datetime.UTC) - now).total_seconds())


def kind_of(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()
