"""The two byte streams of one request, between an ASGI server and a machine.

Promise: what the machine writes is sent in order; what the server sends reaches the machine in order, and the end of it when the
attempt says so; a server that hangs up raises Disconnected at the next wait.
"""

from __future__ import annotations

import asyncio
import functools
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
        self._look: Callable[[], bool] | None = None  # of the wait that goes on
        self._fault: Exception | None = None  # raised by it
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

    def heed(self) -> None:
        """The attempt is about to look at all that has happened until now, which therefore ends no wait."""
        self._woken = False

    async def wait(self, look: Callable[[], bool] | None = None) -> None:
        """Wait for input, or for `wake`, also if either has come since the last wait. Raises Disconnected.

        `look` is called with input that comes during the wait, as soon as the machine has it; the wait goes on if it returns
        False. What it raises is raised here.
        """
        if not self._woken and not self._gone:
            loop = asyncio.get_running_loop()
            if self._reader is None and not self._ended:
                self._reader = asyncio.Task(
                    self._read(), loop=loop
                )  # none of a handler's: the factory has no part in it
            self._called, self._look = loop.create_future(), look
            try:
                await self._called
            finally:
                self._called = self._look = None
        self._woken = False
        if self._fault is not None:
            raise self._fault
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
            self.heed()
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
                fed = self._take(await self._receive())
            except MachineError:  # the attempt meets it with its next request
                self._feeds, fed = False, True
            except Exception as error:  # of the ASGI server
                log.warning("The connection of a restate-server has failed: %s", short_reason(error))
                self._gone = True
            if self._ended or self._gone or (fed and self._is_news()):
                self.wake()

    def _is_news(self) -> bool:
        """Whether a wait ends with this input."""
        if self._look is None or not self._feeds:
            return True
        try:
            return self._look()
        except Exception as error:  # raised where the attempt waits, as if it had looked itself
            self._fault = error
            return True

    def _take(self, message: dict[str, Any]) -> bool:
        """Whether the machine has got input."""
        if message["type"] == "http.disconnect":
            self._gone = True
            return False
        self._ended = not message.get("more_body", False)
        body = message.get("body", b"")
        if not body or not self._feeds:
            return False
        self._machine.add_input(body)
        return True

    async def _head(self) -> None:
        if self._headed:
            return
        self._headed = True
        status, head = self._machine.response_head()
        headers = _head_of(tuple(head), self._server)
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})


@functools.lru_cache(16)
def _head_of(headers: tuple[tuple[str, str], ...], server: str) -> tuple[tuple[bytes, bytes], ...]:
    """They are the same in each response, but for the version of the protocol."""
    return (*((name.encode(), value.encode()) for name, value in headers), (b"x-restate-server", server.encode()))
