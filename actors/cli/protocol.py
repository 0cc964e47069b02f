"""HTTP/1.1 on one connection: uvicorn's httptools protocol, with the bounds it lacks.

Promise: a client can hold a connection, and as much memory as the head of one request, for a limited time only, and
everything that is refused is answered in the shape of all errors. Bodies are the ingress's to bound.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from actors.transport.replies import Reply, refusal

CLOSE = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`head_bytes`: request line and headers of one request; `head_s`: seconds they may take to arrive."""

    connections: int
    head_bytes: int
    head_s: float = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection. One beyond the limit is told so when it asks something, and closed."""

    def __init__(self, limits: ConnectionLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._in_head = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self.app = Refused(refusal(503, "too_many_connections", "Too many connections are open. Ask again."))
        # Silence from the beginning is the same as silence between two requests.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()  # uvicorn leaves it where the client broke off, and it holds the connection
        self._head_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_size += len(data)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            if self._head_size > self._limits.head_bytes:
                self._refuse(self._too_large())
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self._limits.head_s, self._head_is_late)

    # --- what the parser calls ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # The bytes are counted as they come, so a piece of the last body may be among them: then count exactly.
        if self._head_size > self._limits.head_bytes and self._exact_size() > self._limits.head_bytes:
            self.app = Refused(self._too_large())
        self._head_ended()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_size = 0
        super().on_message_complete()

    def _exact_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_ended(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # --- refusals -------------------------------------------------------------------------------------------------------

    def _too_large(self) -> Reply:
        told = f"Path and headers are larger than {self._limits.head_bytes:,} bytes."
        return refusal(431, "head_too_large", told)

    def _head_is_late(self) -> None:
        self._head_timer = None
        self._refuse(refusal(408, "slow_request", f"The headers did not arrive within {self._limits.head_s:g} s."))

    def send_400_response(self, msg: str) -> None:
        self._refuse(refusal(400, "bad_http", "This is not HTTP/1.1 as RFC 9112 has it."))

    def _refuse(self, reply: Reply) -> None:
        """Answer what is no whole request, and close. Between the pieces of another answer, only close."""
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            length = (b"content-length", str(len(reply.body)).encode())
            headers = b"".join(name + b": " + value + b"\r\n" for name, value in (*reply.headers, length, CLOSE))
            self.transport.write(STATUS_LINE[reply.status] + headers + b"\r\n" + reply.body)
        self.transport.close()


class Refused:
    """The ASGI application of a connection whose requests all get one answer."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        reply = self._reply
        length = (b"content-length", str(len(reply.body)).encode())
        await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length, CLOSE]})
        await send({"type": "http.response.body", "body": reply.body})
