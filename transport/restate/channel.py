"""The two byte streams of one request, between an ASGI server and a machine.

Promise: what the machine writes is sent in order; input is taken only while someone waits for it, or for something of this process;
a server that hangs up raises Disconnected at the next wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from actors.transport.restate.machine import Machine

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Disconnected(Exception):
    """The server has hung up."""


class Channel:
    """Life: `begin` reads the journal, then any number of `flush` and `wait`, then `end`; `close` in any case."""

    def __init__(self, receive: Receive, send: Send, machine: Machine, server: str) -> None:
        self._receive = receive
        self._send = send
        self._machine = machine
        self._server = server
        self._reading: asyncio.Future[dict[str, Any]] | None = None
        self._called: asyncio.Future[None] | None = None  # completed by `wake`
        self._woken = False
        self._headed = False
        self._ended = False  # the request's body has ended

    async def begin(self) -> None:
        """Read until the machine has the journal of all earlier attempts."""
        while not self._ended and not self._machine.ready():
            self._take(await self._receive())

    async def flush(self) -> None:
        """Send what the machine has written."""
        output = self._machine.take_output()
        if output:
            await self._head()
            await self._send({"type": "http.response.body", "body": output, "more_body": True})

    def wake(self) -> None:
        """Something of this process has happened that `wait` waits for."""
        self._woken = True
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    async def wait(self) -> None:
        """Wait for input, or for `wake`, also if that was called since the last wait."""
        if self._woken:
            self._woken = False
            return
        if self._reading is None and not self._ended:
            self._reading = asyncio.ensure_future(self._receive())
        self._called = asyncio.get_running_loop().create_future()
        waiting: set[asyncio.Future[Any]] = {self._called}
        if self._reading is not None:
            waiting.add(self._reading)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        self._called = None
        self._woken = False
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._take(reading.result())

    async def end(self, streams: bool) -> None:
        """Send the rest, and end the response.

        A server that streams forgets a request whose response ends before the request does: with `streams` the end of the
        request is waited for.
        """
        if streams and not self._ended:
            await self.flush()
            while not self._ended:
                message = await (self._reading if self._reading is not None else self._receive())
                self._reading = None
                if message["type"] == "http.disconnect":
                    return
                self._ended = not message.get("more_body", False)
        output = self._machine.take_output()
        await self._head()
        await self._send({"type": "http.response.body", "body": output, "more_body": False})

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.disconnect":
            self._ended = True
            raise Disconnected
        body = message.get("body", b"")
        if body:
            self._machine.add_input(body)
        if not message.get("more_body", False):
            self._ended = True
            self._machine.end_input()

    async def _head(self) -> None:
        if self._headed:
            return
        self._headed = True
        status, head = self._machine.response_head()
        headers = [(name.encode(), value.encode()) for name, value in head]
        headers.append((b"x-restate-server", self._server.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
