"""A connection whose requests all get the same refusal.

Promise: each answer names its length, and says that the connection is closed after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from actors.transport.http.replies import Header, Reply

CLOSE = (b"connection", b"close")


class Refused:
    """The ASGI application of a connection whose requests all get the same answer."""

    def __init__(self, reply: Reply, added: Callable[[Any], Iterable[Header]] | None) -> None:
        self._reply = reply
        self._added = added

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        reply = self._reply
        length = (b"content-length", str(len(reply.body)).encode())
        headers = [*reply.headers, *(self._added(scope) if self._added is not None else ()), length, CLOSE]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
