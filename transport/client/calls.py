"""Requests of a client as data, and the meaning of their answers. Pure: no socket, no clock, no library.

Promise: every name and key arrives unchanged, whatever characters it holds; an answer becomes the value, or the same
error that a caller in the server's process would get.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from actors.errors import (
    BadArguments,
)
from actors.model.definitions import HandlerDefinition
from actors.model.options import Options, checked_idempotency_key
from actors.serde import ANY, Codec, value_codec
from actors.transport.client.answers import Answer, done, failure, kind_of
from actors.transport.http.arguments import ARGUMENTS
from actors.transport.http.requests import is_passed_on

T = TypeVar("T")

Header = tuple[bytes, bytes]

_JSON: Header = (b"content-type", b"application/json")
_BYTES: Header = (b"content-type", b"application/octet-stream")
_ARGUMENTS: Header = (b"content-type", ARGUMENTS.encode())


Operation = Literal["cancel", "kill", "pause", "resume", "purge"]


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """One request, and `read`, which turns the answer into a value or raises the error in it.

    `path` is percent-encoded, with its query. `repeatable`: sending the request twice has the effect of sending it once,
    so it may be repeated when the answer is lost. `waits`: the answer comes with the outcome of an invocation, which may
    take any time.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    repeatable: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a send: `new` unless the idempotency key was used before; `due` for a delayed message."""

    id: str
    new: bool
    due: datetime.datetime | None


# --- calls and sends ----------------------------------------------------------------------------------------------------------


def call(target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Ask[Any]:
    """Call a handler whose class is available. Raises BadArguments or SerializationError."""
    if options.delay_ms:
        raise BadArguments("delay= goes with send: a call waits for its answer. Use .options(delay=...).send(...).")
    body, kind = _body(target, args, kwargs)
    path = handler_path("call", target.service.name, key, target.name)
    again = target.once or options.idempotency_key is not None
    return Ask("POST", path, reader(target.returns), body, kind + _headers(options), again, True)


def send(target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Ask[Accepted]:
    """Send to a handler whose class is available. Raises BadArguments or SerializationError."""
    body, kind = _body(target, args, kwargs)
    path = handler_path("send", target.service.name, key, target.name) + _delay(options)
    again = target.once or options.idempotency_key is not None
    return Ask("POST", path, accepted, body, kind + _headers(options), again)


def call_by_name(
    service: str, key: str, handler: str, body: bytes, kind: tuple[Header, ...], options: Options
) -> Ask[Any]:
    """Call a handler of a class that is not available, with a body of `arguments` or of any other kind."""
    path = handler_path("call", service, key, handler)
    return Ask("POST", path, reader(ANY), body, kind + _headers(options), options.idempotency_key is not None, True)


def send_by_name(
    service: str, key: str, handler: str, body: bytes, kind: tuple[Header, ...], options: Options
) -> Ask[Accepted]:
    """Send to a handler of a class that is not available, with such a body."""
    path = handler_path("send", service, key, handler) + _delay(options)
    return Ask("POST", path, accepted, body, kind + _headers(options), options.idempotency_key is not None)


def arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, tuple[Header, ...]]:
    """A body of arguments for a handler whose signature is unknown here: the server matches them to its parameters."""
    if not args and not kwargs:
        return b"", ()
    positional = ",".join(value_codec(value).encode(value) for value in args)
    named = ",".join(f"{ANY.encode(name)}:{value_codec(value).encode(value)}" for name, value in kwargs.items())
    return f'{{"positional":[{positional}],"named":{{{named}}}}}'.encode(), (_ARGUMENTS,)


def _body(target: HandlerDefinition, args: Any, kwargs: Any) -> tuple[bytes, tuple[Header, ...]]:
    text, _ = target.encode(args, kwargs)
    if target.arity == 0:
        return b"", ()
    if target.arity == 1:
        if target.codecs[0].type is bytes:
            (data,) = target.decode(text)
            return data, (_BYTES,)
        text = text[1:-1]  # the value, without the brackets of the array
    return text.encode(), (_JSON,)


def _headers(options: Options) -> tuple[Header, ...]:
    found: list[Header] = []
    if options.idempotency_key is not None:
        key = checked_idempotency_key(options.idempotency_key)
        found.append((b"idempotency-key", _header_value(key, "idempotency_key=")))
    for name, value in (options.headers or {}).items():
        if not name or not name.isascii() or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name):
            raise BadArguments(f"headers=: {name[:40]!r} is not a valid header name. Use letters, digits and hyphens.")
        if not is_passed_on(name):
            raise BadArguments(
                f"headers=: {name!r} is a header of HTTP itself and does not reach handlers. Use another name."
            )
        found.append((name.lower().encode(), _header_value(value, f"headers= {name!r}")))
    return tuple(found)


def _header_value(value: str, what: str) -> bytes:
    if value != value.strip(" \t") or any((c < " " and c != "\t") or c == "\x7f" for c in value):
        raise BadArguments(
            f"{what}: {value[:40]!r} is not a valid header value: it begins or ends with a space, or holds a control character."
        )
    return value.encode()


def _delay(options: Options) -> str:
    return f"?delay={options.delay_ms}ms" if options.delay_ms else ""  # a restate-server refuses a bare number


# --- outcomes -----------------------------------------------------------------------------------------------------------------


def outcome(path: str, codec: Codec, wait: bool) -> Ask[Any]:
    """Wait for an outcome, or read it now, or raise NotReady. `path` comes from one of the next three functions."""
    return Ask("GET", path + ("/attach" if wait else "/output"), reader(codec), repeatable=True, waits=wait)


def invocation_path(id: str) -> str:
    return f"/restate/invocation/{segment(id, 'An invocation id')}"


def keyed_path(service: str, key: str, handler: str, idempotency_key: str) -> str:
    """The path of an invocation by its idempotency key."""
    target = handler_path("invocation", service, key, handler)
    return f"{target}/{segment(checked_idempotency_key(idempotency_key), 'An idempotency key')}"


def run_path(workflow: str, key: str) -> str:
    """The path of a workflow's run."""
    return f"/restate/workflow/{segment(workflow, 'The name of a workflow')}/{segment(key, 'A key')}"


def id_of(path: str) -> Ask[str]:
    """The id of the invocation at a path, whether it has ended or not."""

    def read(answer: Answer) -> str:
        id = answer.headers.get("x-restate-id")
        if id is None:
            raise failure(answer)
        return id

    return Ask("GET", path + "/output", read, repeatable=True)


def reader(codec: Codec) -> Callable[[Answer], Any]:
    """A function that reads a value. The content type tells JSON from bytes; without a content type there is no value."""

    def read(answer: Answer) -> Any:
        if answer.status != 200:
            raise failure(answer)
        kind = kind_of(answer)
        if kind == "application/octet-stream":
            return answer.body
        if kind == "application/json":
            try:
                text = answer.body.decode()
            except UnicodeDecodeError:
                raise failure(answer) from None
            return codec.decode(text)
        if not answer.body and not kind:
            return None
        raise failure(answer)

    return read


class _Acceptance(msgspec.Struct):
    invocationId: str  # noqa: N815 - as it is on the wire
    status: Literal["Accepted", "PreviouslyAccepted"]
    executionTime: datetime.datetime | None = None  # noqa: N815


_acceptance = msgspec.json.Decoder(_Acceptance)


def accepted(answer: Answer) -> Accepted:
    if answer.status == 202 and kind_of(answer) == "application/json":
        try:
            told = _acceptance.decode(answer.body)
        except msgspec.MsgspecError:
            raise failure(answer) from None
        return Accepted(told.invocationId, told.status == "Accepted", told.executionTime)
    raise failure(answer)


# --- awakeables and the admin routes ------------------------------------------------------------------------------------------


def resolve(id: str, value: Any) -> Ask[None]:
    """Complete an awakeable with a value. Raises SerializationError."""
    if value is None:
        return _completion(id, "resolve", b"", ())
    if type(value) is bytes:
        return _completion(id, "resolve", value or b'""', (_BYTES,) if value else (_JSON,))
    return resolve_json(id, value_codec(value).encode(value))


def resolve_json(id: str, text: str) -> Ask[None]:
    """Complete an awakeable with a value given as JSON text."""
    return _completion(id, "resolve", text.encode(), (_JSON,))


def reject(id: str, reason: str) -> Ask[None]:
    if not isinstance(reason, str):
        raise BadArguments(f"reject_awakeable requires the reason as a str, got {type(reason).__name__}.")
    try:
        return _completion(id, "reject", reason.encode(), ((b"content-type", b"text/plain; charset=utf-8"),))
    except UnicodeEncodeError as error:
        raise BadArguments(f"The reason is not valid Unicode text: {error}.") from None


def _completion(id: str, verb: str, body: bytes, kind: tuple[Header, ...]) -> Ask[None]:
    # Repeating the same completion has no effect, so the request may be repeated when the answer is lost.
    return Ask("POST", f"/restate/awakeables/{segment(id, 'An awakeable id')}/{verb}", done, body, kind, True)


def operate(operation: Operation, id: str) -> Ask[None]:
    """Ask the admin routes for an operation on an invocation."""
    return Ask("POST", _operation_path(operation, id), done)


def restart(id: str, keep: int) -> Ask[str]:
    """Repeat an ended invocation; the value is the id of the new invocation."""
    return Ask("POST", f"{_operation_path('restart', id)}?keep={keep}", lambda answer: _of(_restarted, answer).id)


def _operation_path(operation: str, id: str) -> str:
    return f"/restate/admin/invocations/{segment(id, 'An invocation id')}/{operation}"


def state(service: str, key: str) -> Ask[dict[str, Any]]:
    """The state of an object, by name, as JSON types."""
    path = f"/restate/admin/state/{segment(service, 'The name of a class')}/{segment(key, 'A key')}"
    return Ask("GET", path, lambda answer: _of(_state, answer).state, repeatable=True)


def doctor(subject: str | tuple[str, str]) -> Ask[dict[str, Any]]:
    """Why an object (class, key), or the invocation with this id, does not go on: as `actors.doctor.facts` has it."""
    asked = {"id": subject} if isinstance(subject, str) else {"service": subject[0], "key": subject[1]}
    path = f"/restate/admin/doctor?{urlencode(asked)}"
    return Ask("GET", path, lambda answer: _facts(_diagnosis, answer), repeatable=True)


def trouble(older_s: int) -> Ask[dict[str, Any]]:
    """What has not moved for so many seconds, by root cause: as `actors.doctor.facts` has it."""
    path = f"/restate/admin/trouble?older={older_s}"
    return Ask("GET", path, lambda answer: _facts(_trouble, answer), repeatable=True)


def _facts(decoder: msgspec.json.Decoder[Any], answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(_of(decoder, answer))
    return found


class _Way(msgspec.Struct):
    command: list[str]
    effect: str


class _Cause(msgspec.Struct):
    cause: str
    needs_a_person: bool
    text: str
    detail: str
    since: str | None
    id: str | None
    name: str | None
    status: str | None
    ways: list[_Way]


class _Link(msgspec.Struct):
    id: str
    name: str
    text: str


class _Diagnosis(_Cause):
    subject: str
    chain: list[_Link]
    other_causes: int
    behind: int
    behind_since: str | None
    callers: list[str]
    more_callers: int


class _Group(_Cause):
    alike: int
    behind: int
    other_keys: list[str]


class _Trouble(msgspec.Struct):
    headline: str
    cut: bool
    causes: list[_Group]


_diagnosis = msgspec.json.Decoder(_Diagnosis)
_trouble = msgspec.json.Decoder(_Trouble)


class _Restarted(msgspec.Struct):
    id: str


class _State(msgspec.Struct):
    state: dict[str, Any]


_restarted = msgspec.json.Decoder(_Restarted)
_state = msgspec.json.Decoder(_State)


def _of(decoder: msgspec.json.Decoder[T], answer: Answer) -> T:
    """The content of a 200 answer of the admin routes."""
    if answer.status != 200:
        raise failure(answer)
    try:
        return decoder.decode(answer.body)
    except msgspec.MsgspecError:
        raise failure(answer) from None


# --- paths ----------------------------------------------------------------------------------------------------------------------


def handler_path(what: str, service: str, key: str, handler: str) -> str:
    """`/restate/{what}/{service}/{key}/{handler}`; without the key for a Service, whose key is empty."""
    named = [segment(service, "The name of a class")]
    if key != "":
        named.append(segment(key, "A key"))
    return "/".join(["/restate", what, *named, segment(handler, "The name of a handler")])


def segment(text: str, what: str) -> str:
    """One segment of a path, percent-encoded. Raises BadArguments.

    `.` and `..` are encoded too: code that joins a base and a path would resolve them as relative segments.
    """
    if not isinstance(text, str) or not text:
        raise BadArguments(f"{what} requires a non-empty str, got {text!r}.")
    try:
        return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
    except UnicodeEncodeError as error:
        raise BadArguments(f"{what} is not valid Unicode text: {error}.") from None


# --- what went wrong ------------------------------------------------------------------------------------------------------------
