"""HTTP/1.1 on one connection: uvicorn's httptools protocol, with the limits it lacks.

Promise: a client can hold a connection, and as much memory as the head of one request, for a limited time only, and every
refusal has the form of all errors. The ingress limits bodies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from actors.transport.http.replies import Header, Reply, refusal
from actors.transport.http.requests import STREAMED
from actors.transport.server.refused import CLOSE, Refused

_OFFERS = (b"upgrade", b"http2-settings")
_HOST = re.compile(rb"[^\s/?#@,\\]*")
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9_.~/:@!$&'()*+,;=-]*")  # without a query, escapes, or a host name


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`head_bytes`: size of the request line and headers of one request; `head_s`: seconds they may take to arrive.

    `stall_s`: how many seconds a client may read nothing of an answer that is larger than the system's buffers.
    `half_open_s`: how many seconds a client that has closed its side is assumed to wait for its answers. A client that has
    hung up looks the same. The client of a stream waits for no end of it: its connection is closed at once.
    """

    connections: int
    head_bytes: int
    head_s: float = 30.0
    stall_s: float = 60.0
    half_open_s: float = 5.0


OnRefused = Callable[[tuple[str, int] | None, Reply], None]  # receives refusals that do not reach the ASGI application
Begin = Callable[[Any, bytes, Callable[[Reply], None]], Callable[[], object] | None]


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A connection beyond the limit is refused at its first request, and closed.

    A complete request is offered to `begin`, with its ASGI scope and its body. If `begin` accepts the request, it calls back
    with the answer, and returns a function to call if the client hangs up. All other requests are handled in a task.
    """

    cycle: Any
    parser: Any  # None once the connection is lost

    def __init__(
        self,
        limits: ConnectionLimits,
        begin: Begin | None,
        on_refused: OnRefused | None = None,
        added: Callable[[Any], Iterable[Header]] | None = None,
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._on_refused = on_refused
        self._added = added
        self._limits = limits
        self._begin = begin
        self._served = self.app
        self._offered: bytes | None = None  # the body so far of a request that is not passed on yet
        self._stall_timer: asyncio.TimerHandle | None = None
        self._in_head = self._in_message = False
        self._began = False  # whether the last data began or ended a request
        self._ending = False  # no more requests are read; the client still gets the answers that are due
        self._upgrade = False  # the head asks for another protocol, which is ignored
        self._head_size = self._piece_size = 0
        self._no_body_size = 0  # bytes since the last piece of a body: chunk headers, or trailers
        self._late_timer: asyncio.TimerHandle | None = None
        self._hidden: list[Any] = []  # requests in progress before the last: uvicorn knows the last one only

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse_all(refusal(503, "too_many_connections", "Too many connections are open. Try again later."))
        # Silence at the beginning counts like silence between two requests.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()  # uvicorn leaves it running, and it holds the connection
        self._head_ended()
        self._stall_ended()
        for cycle in self._hidden:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_for_stall()

    def resume_writing(self) -> None:
        self._stall_ended()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._piece_size = len(data)
        self._head_size += len(data)
        self._no_body_size += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._offered is not None and not self.transport.is_closing():
            self._pass_on()  # the rest of the body has not arrived yet
        if self.transport.is_closing() or self._ending:
            return
        if (
            self._in_message
            and max(self._head_size if self._in_head else 0, self._no_body_size) > self._limits.head_bytes
        ):
            self._refuse(self._too_large())
        elif self._in_head or (not self._owed() and (self._in_message or not self._began)):
            # More data does not reset the timer: a head, the rest of an answered request, or bytes that begin no request.
            if self._late_timer is None:
                self._late_timer = self.loop.call_later(self._limits.head_s, self._is_late)
        elif not self._owed() and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _parse(self, data: bytes) -> None:
        self._began = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its upgrade; httptools would treat the body as data of the other protocol."""
        self._upgrade = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(refusal(501, "no_tunnel", "CONNECT is not supported."))
            return
        head = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                asked = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in asked if token.lower() not in _OFFERS)
            if name not in _OFFERS and (value or name != b"connection"):
                head += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"".join((*head, b"\r\n", rest)))

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open: a client that has sent everything may still expect the answer."""
        self._ending = True
        if not self._owed() or self._in_message or self._streams():
            return False
        self._head_ended()
        self._late_timer = self.loop.call_later(self._limits.half_open_s, self.transport.close)
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._ending and not self._owed():
            self.transport.close()

    def _owed(self) -> bool:
        """Whether this connection still owes a response."""
        return (self.cycle is not None and not self.cycle.response_complete) or bool(self.pipeline)

    def _streams(self) -> bool:
        """Whether an answer in progress is a stream. The answer of a plain request is not, and has no scope."""
        return any(
            STREAMED in getattr(cycle, "scope", ()) and not cycle.response_complete
            for cycle in (*self._hidden, self.cycle)
        )

    # --- what the parser calls ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = self._in_message = self._began = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # not a trailer, which would override the head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrade = True  # see _parse_without_upgrade
            return
        self._no_body_size = 0
        # Bytes are counted as they arrive: they may include a part of the last body, and miss a whole pipelined head.
        if (
            max(self._head_size, self._piece_size) > self._limits.head_bytes
            and self._exact_size() > self._limits.head_bytes
        ):
            self._refuse_all(self._too_large())
        elif self.app is self._served and (malformed := self._malformed()) is not None:
            self._refuse_all(malformed)
        self._head_ended()
        if self._begin is not None and self._is_plain():
            self._offered = b""
        else:
            self._hand_on()

    def on_body(self, body: bytes) -> None:
        self._no_body_size = 0
        if self._offered is not None:
            self._offered = self._offered + body if self._offered else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._head_size = self._no_body_size = 0
        self._in_message = False
        self._began = True
        self._head_ended()
        body, self._offered = self._offered, None
        if body is None:
            super().on_message_complete()
            return
        assert self._begin is not None
        scope: Any = self.scope
        scope["path"], scope["raw_path"], scope["query_string"] = self.url.decode(), self.url, b""
        answer = Answer(self, self.parser.should_keep_alive())
        before, self.cycle = self.cycle, answer
        answer.gone = self._begin(scope, body, answer)
        if answer.gone is None:
            self.cycle, self._offered = before, body
            self._pass_on()
            super().on_message_complete()

    def _unasked(self) -> bool:
        """Whether the only response due is to an incomplete request: it cannot come before that request is refused."""
        return self._in_message and not self._in_head and not self.pipeline and not self.cycle.response_started

    # --- plain requests -------------------------------------------------------------------------------------------------

    def _is_plain(self) -> bool:
        """Whether `begin` may accept this request, and this connection owes no response."""
        self.scope["method"] = method = self.parser.get_method().decode("ascii")
        return (
            method == "POST"
            and (self.cycle is None or self.cycle.response_complete)
            and self.app is self._served
            and _PLAIN_PATH.fullmatch(self.url) is not None
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self.parser.should_upgrade()
            and self.parser.get_http_version() == "1.1"
        )

    def _pass_on(self) -> None:
        """Handle the request in a task, like all others."""
        body, self._offered = self._offered, None
        self._hand_on()
        if body:
            super().on_body(body)

    def _hand_on(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if before is not None and before is not self.cycle and not before.response_complete:
            self._hidden = [*(cycle for cycle in self._hidden if not cycle.response_complete), before]

    def _exact_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_ended(self) -> None:
        self._in_head = False
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None

    # --- clients that do not read ---------------------------------------------------------------------------------------

    def _watch_for_stall(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self._limits.stall_s, self._look_for_stall, left)

    def _look_for_stall(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch_for_stall()  # the client is slow, but it reads
        else:
            self._stall_timer = None
            self.transport.abort()

    def _stall_ended(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    # --- refusals -------------------------------------------------------------------------------------------------------

    def _refuse_all(self, reply: Reply) -> None:
        """Answer every request of this connection with `reply`, and close it after the first."""
        self.app = Refused(reply, self._added)

    def _malformed(self) -> Reply | None:
        """The refusal of what RFC 9112 forbids but the parser accepts: a proxy might read such bytes as another request."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return refusal(505, "bad_version", f"HTTP/{version} is not supported. Use HTTP/1.1.")
        hosts, codings = [], []
        for name, value in self.headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        if len(hosts) != 1 and (hosts or version == "1.1"):
            return refusal(400, "bad_http", f"The request has {len(hosts) or 'no'} Host headers. Send exactly one.")
        if hosts and not _HOST.fullmatch(hosts[0]):
            return refusal(400, "bad_http", "The Host header does not name a host.")
        if codings and version == "1.0":
            return refusal(400, "bad_http", "HTTP/1.0 does not allow Transfer-Encoding. Send Content-Length.")
        if codings not in ([], [b"chunked"]):
            return refusal(501, "unsupported_coding", "The only Transfer-Encoding supported is a single chunked.")
        return None

    def _too_large(self) -> Reply:
        told = f"Path and headers are larger than {self._limits.head_bytes:,} bytes."
        return refusal(431, "head_too_large", told)

    def _is_late(self) -> None:
        self._late_timer = None
        if self._in_message and not self._in_head:  # the request is answered
            self.transport.close()
            return
        self._refuse(refusal(408, "slow_request", f"The headers did not arrive within {self._limits.head_s:g} s."))

    def send_400_response(self, msg: str) -> None:
        self._refuse(refusal(400, "bad_http", "The request is not valid HTTP/1.1 (RFC 9112)."))

    def _refuse(self, reply: Reply) -> None:
        """Answer an incomplete request, and close the connection. If other responses are due, close it after them."""
        if self.transport.is_closing() or self._ending:
            return
        self._ending = True
        others = self._owed() and not self._unasked()
        self._head_ended()
        if others:
            return
        length = (b"content-length", str(len(reply.body)).encode())
        headers = b"".join(name + b": " + value + b"\r\n" for name, value in (*reply.headers, length, CLOSE))
        self.transport.write(STATUS_LINE[reply.status] + headers + b"\r\n" + reply.body)
        self.transport.close()
        if self._on_refused is not None:
            self._on_refused(self.client, reply)


class Answer:
    """Sends the response to a plain request when called with it. It takes the place of uvicorn's request cycle."""

    __slots__ = ("_protocol", "disconnected", "gone", "keep_alive", "message_event", "response_complete")

    def __init__(self, protocol: BoundedProtocol, keep_alive: bool) -> None:
        self._protocol = protocol
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False
        self.gone: Callable[[], object] | None = None
        self.message_event = self  # uvicorn sets this event when the client is gone

    def set(self) -> None:
        if not self.response_complete and self.gone is not None:
            self.gone()

    def __call__(self, reply: Reply) -> None:
        self.response_complete = True
        protocol = self._protocol
        if protocol.transport.is_closing():  # or lost
            return
        head = [STATUS_LINE[reply.status]]
        for name, value in (*protocol.server_state.default_headers, *reply.headers):
            head += (name, b": ", value, b"\r\n")
            if (name, value) == CLOSE:
                self.keep_alive = False
        head.append(b"content-length: %d\r\n" % len(reply.body))
        if not self.keep_alive and CLOSE not in protocol.server_state.default_headers:
            head.append(b"connection: close\r\n")
        protocol.transport.write(b"".join((*head, b"\r\n", reply.body)))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
