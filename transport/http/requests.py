"""One HTTP request, parsed once."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from actors.errors import BadArguments
from actors.model.spelling import hint
from actors.transport.http.routes import BadRoute

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Headers about the connection, the body or the client: handlers do not see them, and they are not stored.
_NOT_PASSED_ON = frozenset(
    b"accept accept-charset accept-encoding accept-language authorization cache-control connection content-encoding "
    b"content-length content-type cookie date expect forwarded host idempotency-key keep-alive origin pragma "
    b"proxy-authorization proxy-connection referer te trailer transfer-encoding upgrade user-agent via".split()
)


def is_passed_on(header: str) -> bool:
    """Whether handlers see a header of this name."""
    name = header.lower()
    return name.encode() not in _NOT_PASSED_ON and not name.startswith(("sec-", "x-forwarded-"))


STREAMED = "actors.streamed"  # in the scope of a request whose answer goes on until its client leaves


class Disconnected(Exception):
    """The client hung up before its request was complete."""


class Request:
    """Headers by lower-case name. A repeated header is joined if handlers see it; see `refused` for other repeated headers."""

    __slots__ = (
        "_receive",
        "_scope",
        "accepted",
        "body_timeout_s",
        "content_coding",
        "content_length",
        "content_type",
        "cross_site",
        "handler",
        "idempotency_key",
        "method",
        "once_only",
        "passed_on",
        "refused",
    )

    def __init__(self, scope: Scope, receive: Receive, body_timeout_s: float) -> None:
        self._scope = scope
        self._receive = receive
        self.body_timeout_s = body_timeout_s
        self.method: str = scope["method"]
        self.content_type = ""
        self.content_coding = ""
        self.content_length: int | None = None
        self.idempotency_key: str | None = None
        self.cross_site = False  # whether a browser sends it for a page of another site
        self.once_only = False  # whether repeating the request could do it twice
        self.accepted: str | None = None  # the id of a call that goes on even if its client hangs up
        self.handler = "", ""  # service and handler, once they are known to exist
        self.passed_on: dict[str, str] | None = None  # the headers that the handler sees
        self.refused: BadRoute | None = None  # of a repeated header either value could be the wrong one
        typed = False
        for name, value in scope["headers"]:
            if name == b"content-type":
                if typed:
                    self.refused = _repeated("content-type")
                typed = True
                self.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() and len(value) < 19 else None
            elif name == b"content-encoding":
                coding = value.decode("latin-1").strip().lower()
                if coding not in ("", "identity"):
                    self.content_coding = coding
            elif name == b"idempotency-key":
                if self.idempotency_key is not None:
                    self.refused = _repeated("idempotency-key")
                self.idempotency_key = _text(value)
            elif name == b"sec-fetch-site":
                self.cross_site = value == b"cross-site"
            elif name not in _NOT_PASSED_ON and not name.startswith((b"sec-", b"x-forwarded-")):
                passed_on = self.passed_on = self.passed_on if self.passed_on is not None else {}
                key = name.decode("latin-1")
                passed_on[key] = f"{passed_on[key]}, {_text(value)}" if key in passed_on else _text(value)

    @property
    def path(self) -> bytes:
        """See `path_of`."""
        return path_of(self._scope)

    @property
    def local(self) -> bool:
        """Whether the client is on this machine: a loopback address, or a Unix socket, where the server has no port."""
        client = self.client
        if client is not None:
            return is_loopback(client[0])
        server = self._scope.get("server")
        return server is not None and server[1] is None

    @property
    def prefix(self) -> str:
        """Where the app is mounted, percent-decoded; empty if it is not mounted."""
        return self._scope.get("root_path") or ""

    @property
    def scheme(self) -> str:
        """http or https."""
        return self._scope.get("scheme") or "http"

    @property
    def client(self) -> tuple[str, int] | None:
        """The address of the client; None for a Unix socket."""
        found = self._scope.get("client")
        return (found[0], found[1]) if found else None

    def header(self, name: bytes) -> str | None:
        return header_of(self._scope, name)

    def headers(self, name: bytes) -> list[str]:
        """All values under one name."""
        return [_text(value) for known, value in self._scope["headers"] if known == name]

    def query(self, *known: str, several: Collection[str] = ()) -> dict[str, list[str]]:
        """The values by name. A name may occur once, or more often if it is in `several`.

        Raises BadArguments for a name that is not `known`: a misspelt name would have no effect.
        """
        text: bytes = self._scope.get("query_string") or b""
        if not text:
            return {}
        try:
            pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError as error:
            raise BadArguments(f"The query is not valid: {error}.") from None
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name not in known:
                takes = f"Known parameters: {', '.join(known)}." if known else "This route takes no parameters."
                raise BadArguments(f"Unknown query parameter {name[:40]!r}.{hint(name, known)} {takes}")
            if name in values and name not in several:
                raise BadArguments(f"The query parameter {name!r} is given twice.")
            values.setdefault(name, []).append(value)
        return values

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises Disconnected, or BadRoute: 413 beyond `limit` bytes, 408 if late, 415 if encoded."""
        if self.content_coding:
            raise BadRoute(
                415,
                "unsupported_coding",
                f"content-encoding: {self.content_coding[:100]} is not supported. Send the body without an encoding.",
                (b"accept-encoding", b"identity"),
            )
        if self.content_length is not None and self.content_length > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self.body_timeout_s):
                message = await self._receive()
                if message["type"] == "http.request" and not message.get("more_body", False):
                    body: bytes = message.get("body", b"")
                    if len(body) > limit:
                        raise _too_large(limit)
                    return body
                parts, size = [], 0
                while True:
                    if message["type"] != "http.request":
                        raise Disconnected()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise _too_large(limit)
                    if not message.get("more_body", False):
                        return b"".join(parts)
                    message = await self._receive()
        except TimeoutError:
            raise BadRoute(408, "slow_request", f"The body did not arrive within {self.body_timeout_s:g} s.") from None

    def set_accepted(self, id: str) -> None:
        self.accepted = id

    def set_streamed(self) -> None:
        """The answer goes on until its client leaves: no client waits for its end."""
        self._scope[STREAMED] = True

    async def gone(self) -> None:
        """Return when the client has hung up. The body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def path_of(scope: Scope) -> bytes:
    """The raw path, without the prefix that the app is mounted under."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = quote(scope["path"], safe="/%~:@!$&'()*+,;=").encode()
    root = (scope.get("root_path") or "").rstrip("/")
    if root:
        # Servers and hosts differ in whether the raw path and the decoded path include the prefix. So: as many segments
        # of the raw path as decode to the part below the prefix.
        path: str = scope["path"]
        below = path[len(root) :] if path.startswith(root + "/") else path
        parts = raw.split(b"/")
        for depth in range(root.count("/"), -1, -1):
            rest = b"/" + b"/".join(parts[depth + 1 :])
            if unquote(rest.decode("latin-1")) == below:
                return rest
    return raw


def header_of(scope: Scope, name: bytes) -> str | None:
    """The value of a header; the last value of a repeated header."""
    for known, value in reversed(list(scope["headers"])):
        if known == name:
            return _text(value)
    return None


def is_loopback(address: str) -> bool:
    """Whether an IP address is a loopback address, also an IPv4 address written as IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _repeated(header: str) -> BadRoute:
    return BadRoute(400, "repeated_header", f"The header {header} is given twice. Send it once.")


def _too_large(limit: int) -> BadRoute:
    return BadRoute(
        413, "payload_too_large", f"The body is larger than {limit:,} bytes, the maximum (max_payload of the app)."
    )
