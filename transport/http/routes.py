"""What a path means. Pure: no request, no app, only texts.

Every segment is decoded once, after the path was split: a key may hold any character, even a slash.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

Kind = Literal["object", "service", "workflow"]


class BadRoute(Exception):
    """A path that is not valid, with the status, the stable code and headers of the answer."""

    def __init__(self, status: int, error: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call a handler, or send to a handler. The key of a Service is empty."""

    service: str
    key: str
    handler: str
    send: bool


@dataclass(frozen=True, slots=True)
class Attach:
    """Wait for the outcome of an invocation, or, without `wait`, read the outcome if there is one."""

    id: str
    wait: bool


@dataclass(frozen=True, slots=True)
class AttachByKey:
    """Attach to an invocation by its idempotency key; to a workflow's run if there is no handler and no idempotency key."""

    service: str
    key: str
    handler: str | None
    idempotency_key: str | None
    wait: bool


@dataclass(frozen=True, slots=True)
class Complete:
    """Resolve or reject an awakeable."""

    id: str
    resolve: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is the same for all clients: `health`, `openapi.json`, `docs`, `metrics`."""

    name: str


@dataclass(frozen=True, slots=True)
class Admin:
    """The segments of a path below /restate/admin."""

    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """A file of the console by its name below the page; empty for the page itself."""

    name: str


@dataclass(frozen=True, slots=True)
class Moved:
    """An address that leads to another, which is relative to it."""

    to: bytes


Route = Invoke | Attach | AttachByKey | Complete | Page | Admin | ConsoleFile | Moved

PAGES = ("openapi.json", "docs", "metrics")
_ENDS = {"attach": True, "output": False}
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def segments(raw: bytes) -> list[str]:
    """The segments of a raw path. Raises BadRoute."""
    if not raw.startswith(b"/"):
        raise BadRoute(400, "bad_path", "A path must begin with a slash.")
    try:
        if b"%" not in raw:
            return raw[1:].decode().split("/")
        if _BROKEN.search(raw):
            raise BadRoute(
                400,
                "bad_path",
                "A percent sign in a path must be followed by two hexadecimal digits. Write %25 for a percent sign.",
            )
        return [unquote_to_bytes(part).decode() for part in raw[1:].split(b"/")]
    except UnicodeDecodeError:
        raise BadRoute(400, "bad_path", "The percent-encoded path is not valid UTF-8.") from None


def route(raw: bytes, kind_of: Callable[[str], Kind | None]) -> Route:
    """The route of a path. `kind_of` gives the kind of a service. Raises BadRoute."""
    parts = segments(raw)
    if parts[0] == "restate" and len(parts) > 1:
        return _reserved(parts[1], parts[2:], kind_of)
    if len(parts) == 1:
        if parts[0] in PAGES:
            return Page(parts[0])
        if parts[0] == "console":
            return Moved(b"restate/console/")
        raise _nothing_here()
    return _invocation(parts, kind_of, send=None)


def _reserved(what: str, rest: list[str], kind_of: Callable[[str], Kind | None]) -> Route:
    if what == "health" and not rest:
        return Page("health")
    if what == "admin":
        return Admin(tuple(rest))
    if what == "console":
        return ConsoleFile("/".join(rest)) if rest else Moved(b"console/")
    if what in ("call", "send") and len(rest) >= 2:
        return _invocation(rest, kind_of, send=what == "send")
    if what in ("awakeables", "a") and len(rest) == 2:
        if rest[1] in ("resolve", "reject"):
            return Complete(rest[0], rest[1] == "resolve")
        raise BadRoute(404, "unknown_path", "Complete an awakeable with POST .../resolve or .../reject.")
    if what in _ENDS and len(rest) == 1:
        return Attach(rest[0], _ENDS[what])
    if what == "invocation" and len(rest) >= 2 and rest[-1] in _ENDS:
        return _attach(rest[:-1], _ENDS[rest[-1]], kind_of)
    if what == "workflow" and len(rest) == 3 and rest[2] in _ENDS:
        return AttachByKey(rest[0], rest[1], None, None, _ENDS[rest[2]])
    raise _nothing_here()


def _attach(rest: list[str], wait: bool, kind_of: Callable[[str], Kind | None]) -> Route:
    if len(rest) == 1:
        return Attach(rest[0], wait)
    kind = _known(rest[0], kind_of)
    if kind == "service" and len(rest) == 3:
        return AttachByKey(rest[0], "", rest[1], rest[2], wait)
    if kind != "service" and len(rest) == 4:
        return AttachByKey(rest[0], rest[1], rest[2], rest[3], wait)
    raise _nothing_here()


def _invocation(parts: list[str], kind_of: Callable[[str], Kind | None], send: bool | None) -> Invoke:
    """A call or send. `send` is None if the path itself may end with /send."""
    kind = _known(parts[0], kind_of)
    named = 2 if kind == "service" else 3
    if len(parts) == named + 1 and parts[-1] == "send" and send is not False:
        parts, send = parts[:-1], True
    if len(parts) != named:
        shape = f"/{parts[0]}/{{handler}}" if kind == "service" else f"/{parts[0]}/{{key}}/{{handler}}"
        raise BadRoute(404, "unknown_path", f"Call {parts[0]} at {shape}, or send one way at {shape}/send.")
    key = "" if kind == "service" else parts[1]
    if kind != "service" and not key:
        raise BadRoute(400, "bad_key", f"The key is missing in the path: /{parts[0]}/{{key}}/{{handler}}.")
    return Invoke(parts[0], key, parts[named - 1], bool(send))


def _known(service: str, kind_of: Callable[[str], Kind | None]) -> Kind:
    kind = kind_of(service)
    if kind is None:
        raise BadRoute(
            404, "unknown_service", f"No service {service[:100]!r} is served here. /restate/health lists the services."
        )
    return kind


def _nothing_here() -> BadRoute:
    return BadRoute(
        404, "unknown_path", "Not found. Handlers are at /{service}/{key}/{handler}; /openapi.json lists them."
    )
