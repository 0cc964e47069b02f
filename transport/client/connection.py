"""What a client is connected by: its address, its token, and requests that several waiters share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from typing import Any, TypeVar

from actors.errors import BadArguments, ClientClosed
from actors.model.calls import AwaitedOutside, Call
from actors.model.futures import is_cancelled
from actors.transport.client import calls

try:
    import httpx
except ModuleNotFoundError as missing:
    if missing.name != "httpx":
        raise
    raise ModuleNotFoundError(
        "The client requires httpx. Install it: pip install 'virtual-actors[client]'", name="httpx"
    ) from None

R = TypeVar("R", covariant=True)

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 2.0  # less than servers keep an idle connection, so that no connection is closed under a request


class RemoteCall(AwaitedOutside, Call[R]):
    """A call under way, sent when it was created. Awaiting it twice gives the same value."""

    __slots__ = ("_shared",)

    def __init__(self, task: asyncio.Task[R]) -> None:
        self._shared = Shared(task)

    def __await__(self) -> Generator[Any, None, R]:
        value: R = yield from self._shared.wait().__await__()
        return value


class Shared:
    """A request that any number of awaits share. When the last of these awaits is cancelled, so is the request."""

    __slots__ = ("_task", "_waiting")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self._waiting = 0

    async def wait(self) -> Any:
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if self._task.cancelled() and not is_cancelled():
                raise ClientClosed(
                    "The request was given up: its last await was cancelled, or the client was closed. A call "
                    "that the server has accepted goes on."
                ) from None
            if self._waiting == 1:
                self._task.cancel()
            raise
        finally:
            self._waiting -= 1


NO_TIMEOUT = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)  # `Client.ask` limits the whole request
_CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEPALIVE_S)

# A server that vanished silently is noticed within a minute, however long the call would take.
_SOCKET = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


def sockets(uds: str | None) -> httpx.AsyncBaseTransport:
    if uds is not None:
        return httpx.AsyncHTTPTransport(uds=uds, limits=_CONNECTIONS)
    return httpx.AsyncHTTPTransport(limits=_CONNECTIONS, socket_options=_SOCKET)


def checked_url(url: str) -> str:
    """`url` without a trailing slash. Raises BadArguments."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise BadArguments(f"url={url!r} is not a valid URL: {error}. Use http://localhost:8080.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadArguments(f"url={url!r} is not the URL of a web server. Use http://localhost:8080.")
    if parsed.query or parsed.fragment:
        raise BadArguments(f"url={url!r}: remove the query and the fragment.")
    if parsed.userinfo:
        raise BadArguments("url= must not hold a user name or a password. Pass a token as token=.")
    return str(parsed).rstrip("/")


def headers_with(token: str | None) -> list[calls.Header]:
    headers: list[calls.Header] = [(b"user-agent", b"virtual-actors")]
    if token is not None:
        if not token or not all("!" <= c <= "~" for c in token):
            raise BadArguments("token= requires a str of visible ASCII characters without spaces.")
        headers.append((b"authorization", f"Bearer {token}".encode()))
    return headers


def said(error: Exception) -> str:
    return str(error) or type(error).__name__
