"""Answers over HTTP, and the one place where errors become statuses and bodies."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from actors.app.outcomes import Acceptance, Outcome
from actors.errors import ActorsError, AppNotRunning, LookRefused, OutcomePending, StorageError, TerminalError
from actors.transport.http.routes import BadRoute

Header = tuple[bytes, bytes]
Source = Literal["ingress", "invocation"]

encode_json = msgspec.json.Encoder().encode

JSON: Header = (b"content-type", b"application/json")
BYTES: Header = (b"content-type", b"application/octet-stream")
NOT_READY = 470  # the output of an invocation that has no outcome yet
RETRY_AFTER_S = b"1"
_PENDING = (
    "The app stopped before the outcome of this request was stored. Attach to the id in x-restate-id when the app runs again, "
    "instead of repeating the request. If the id is unknown then, the request was not accepted."
)
_UNKNOWN = (
    "The app stopped before this request was stored: it may or may not have been done. Check when the app runs again, before you "
    "repeat it."
)


@dataclass(slots=True)
class Reply:
    """A complete answer. A value is one JSON text, never streamed: see `streams` for the answers that are."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()


def json_reply(status: int, value: Any, *headers: Header) -> Reply:
    return Reply(status, encode_json(value), (JSON, *headers))


def instant(ms: int) -> str:
    """Milliseconds since the epoch in ISO 8601."""
    return (
        datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def outcome_reply(outcome: Outcome) -> Reply:
    """The value with 200, or the failure with its code as the status."""
    headers: tuple[Header, ...] = ((b"x-restate-id", outcome.id.encode()),)
    if outcome.expires_ms is not None:
        headers += ((b"idempotency-expires", instant(outcome.expires_ms).encode()),)
    if outcome.failure is not None:
        return error_reply(outcome.failure, "invocation", *headers)
    codec = outcome.codec
    if codec is not None and codec.type in (None, type(None)):
        return Reply(200, b"", headers)
    if codec is not None and codec.type is bytes:
        return Reply(200, codec.decode(outcome.text), (BYTES, *headers))
    return Reply(200, outcome.text.encode(), (JSON, *headers))


def acceptance_reply(accepted: Acceptance) -> Reply:
    told = {"invocationId": accepted.id, "status": "Accepted" if accepted.new else "PreviouslyAccepted"}
    if accepted.due_ms is not None:
        told["executionTime"] = instant(accepted.due_ms)
    return json_reply(202, told, (b"x-restate-id", accepted.id.encode()))


def error_reply(error: BaseException, source: Source, *headers: Header) -> Reply:
    """The answer to an error, without a traceback, a path or other internals."""
    if isinstance(error, TerminalError):
        status = error.code if isinstance(error.code, int) and 400 <= error.code <= 599 else 500
        return refusal(status, error.error, str(error), *headers, metadata=error.metadata, source=source)
    if isinstance(error, BadRoute):
        return refusal(error.status, error.error, str(error), *error.headers, *headers)
    if isinstance(error, OutcomePending):  # without Retry-After: a repeated request would be another call
        told = {
            "code": 503,
            "message": _PENDING if error.invocation_id is not None else _UNKNOWN,
            "source": "ingress",
            "error": error.error,
        }
        named = ((b"x-restate-id", error.invocation_id.encode()),) if error.invocation_id is not None else ()
        return json_reply(503, told, *named, *headers)
    if isinstance(error, AppNotRunning):
        return refusal(503, error.error, "The app is not running, or is about to stop. Try again.", *headers)
    if isinstance(error, LookRefused):
        return refusal(503, error.error, str(error), *headers)
    if isinstance(error, StorageError):
        return refusal(
            503, error.error, "The database is not available at present; see the server's log. Try again.", *headers
        )
    stable = error.error if isinstance(error, ActorsError) else "internal_error"
    return refusal(500, stable, "Internal error; see the server's log.", *headers)


def wrong_method(method: str, *allowed: str) -> Reply | None:
    """The refusal of a method that is not allowed; None for an allowed method."""
    if method in allowed:
        return None
    named = ", ".join(allowed)
    return refusal(
        405, "wrong_method", f"The method {method[:20]} is not allowed here. Use {named}.", (b"allow", named.encode())
    )


def refusal(
    status: int,
    error: str,
    message: str,
    *headers: Header,
    metadata: dict[str, str] | None = None,
    source: Source = "ingress",
) -> Reply:
    told: dict[str, Any] = {"code": status, "message": message, "source": source, "error": error}
    if metadata:
        told["metadata"] = metadata
    if status in (429, 503):
        headers += ((b"retry-after", RETRY_AFTER_S),)
    return Reply(status, encode_json(told), (JSON, *headers))
