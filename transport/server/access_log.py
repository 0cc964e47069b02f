"""A line for each answered request: the client, the request, the status, and the time in milliseconds.

Records of the logger `actors.access`, level INFO. A client that hung up before its answer is logged with 499, as nginx does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from actors.transport.http.replies import Reply
from actors.transport.http.requests import Receive, Scope, Send
from actors.transport.server.protocol import Begin

log = logging.getLogger("actors.access")

HUNG_UP = 499


class AccessLog:
    """A layer between a server and an app, on both paths that requests take."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], begin: Begin | None) -> None:
        self._app = app
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        status, headers = HUNG_UP, ()

        async def sent(message: Any) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message.get("headers", ())
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            _log(scope, status, headers, perf_counter() - began)

    def begin(self, scope: Scope, body: bytes, answer: Callable[[Reply], None]) -> Callable[[], object] | None:
        """See `Ingress.begin`."""
        if self._begin is None:
            return None
        began = perf_counter()

        def answered(reply: Reply) -> None:
            answer(reply)
            _log(scope, reply.status, reply.headers, perf_counter() - began)

        forget = self._begin(scope, body, answered)
        if forget is None:
            return None

        def gone() -> None:
            forget()
            _log(scope, HUNG_UP, (), perf_counter() - began)

        return gone

    @staticmethod
    def refused(client: tuple[str, int] | None, reply: Reply) -> None:
        """Log the refusal of bytes that are not a complete request."""
        _log({"client": client}, reply.status, (), 0.0)


def _log(scope: Any, status: int, headers: Any, seconds: float) -> None:
    client = scope.get("client")
    who = f"{client[0]}:{client[1]}" if client else "-"
    method = scope.get("method", "-")
    path = (scope.get("raw_path") or b"-").decode("ascii", "backslashreplace")
    query = scope.get("query_string") or b""
    if query:
        path += "?" + query.decode("ascii", "backslashreplace")
    id = next((value.decode("latin-1") for name, value in headers if name == b"x-restate-id"), None)
    ms = round(seconds * 1000, 1)
    log.info(
        '%s "%s %s" %d %.1f ms%s',
        who,
        method,
        path,
        status,
        ms,
        f" {id}" if id else "",
        extra={
            "request": {"client": who, "method": method, "path": path, "status": status, "ms": ms},
            "invocation_id": id,
        },
    )
