"""The two byte streams of one request, between an ASGI server and a machine.

Promise: what the machine writes is sent in order; what the server sends reaches the machine in order, and the end of it when the
attempt says so; a server that hangs up raises Disconnected at the next wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from actors.errors import short_reason
from actors.transport.restate.machine import Machine, MachineError

log = logging.getLogger("actors")

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
        self._reader: asyncio.Task[None] | None = None  # from the first wait on
        self._called: asyncio.Future[None] | None = None  # completed by `wake`
        self._woken = False
        self._headed = False
        self._ended = False  # the request's body has ended
        self._gone = False
        self._feeds = True  # until the attempt is over, or the machine refuses input
        self.end_passed = False  # the machine knows it

    async def begin(self) -> None:
        """Read until the machine has the journal of all earlier attempts."""
        while not self._ended and not self._machine.ready():
            self._take(await self._receive())
            if self._gone:
                raise Disconnected

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
        """Wait for input, or for `wake`, also if either has come since the last wait. Raises Disconnected."""
        if not self._woken and not self._gone:
            if self._reader is None and not self._ended:
                self._reader = asyncio.get_running_loop().create_task(self._read())
            self._called = asyncio.get_running_loop().create_future()
            await self._called
            self._called = None
        self._woken = False
        if self._gone:
            raise Disconnected

    def pass_end(self) -> None:
        """If the input has ended, let the machine know: from now on it suspends an attempt that waits."""
        if self._ended:
            self.end_passed = True
            self._machine.end_input()

    async def end(self, streams: bool) -> None:
        """Send the rest, and end the response.

        A server that streams forgets a request whose response ends before the request does: with `streams` the end of the
        request is waited for. Raises Disconnected.
        """
        self._feeds = False
        if streams and not self._ended:
            await self.flush()
            while not self._ended:
                if self._reader is not None:
                    await self.wait()
                    continue
                self._take(await self._receive())  # most handlers have not waited: no task is needed
                if self._gone:
                    raise Disconnected
        output = self._machine.take_output()
        await self._head()
        await self._send({"type": "http.response.body", "body": output, "more_body": False})

    def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        """Take input as it comes: a task of its own for each message would cost more than the message."""
        while not self._ended and not self._gone:
            try:
                self._take(await self._receive())
            except MachineError:  # the attempt meets it with its next request
                self._feeds = False
            except Exception as error:  # of the ASGI server
                log.warning("The connection of a restate-server has failed: %s", short_reason(error))
                self._gone = True
            self.wake()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.disconnect":
            self._gone = True
            return
        self._ended = not message.get("more_body", False)
        body = message.get("body", b"")
        if body and self._feeds:
            self._machine.add_input(body)

    async def _head(self) -> None:
        if self._headed:
            return
        self._headed = True
        status, head = self._machine.response_head()
        headers = [(name.encode(), value.encode()) for name, value in head]
        headers.append((b"x-restate-server", self._server.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
