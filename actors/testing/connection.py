"""HTTP to the process that is up, without a socket.

Promise: a request to a process that dies ends as a broken connection does; while no process is up, connections are refused. With
`travels`, requests and answers take time, and connections break by choice.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, MutableMapping
from random import Random
from typing import Any

import httpx

from actors.testing.machine import Machine
from actors.testing.process import Killed
from actors.transport.client import Client

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BEFORE_REQUEST, BEFORE_ANSWER, MEANWHILE = 1, 2, 3  # when a connection breaks


def client_of(machine: Machine, options: dict[str, Any], *, travels: bool = False) -> Client:
    """A client whose pauses and random numbers are the world's."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        process = machine.process
        if process is None or process.app is None:
            raise httpx.ConnectError("No process is up.")
        try:
            await process.until_killed(process.begin(functools.partial(process.app, scope, receive, send)))
        except Killed:
            raise httpx.ReadError("The process was killed during the request.") from None

    return Client(**{"app": Wire(machine) if travels else application, "random": Random(0), **options})


class Wire:
    """An ASGI application: what is between the clients and the process that is up.

    Who makes a request is known by the name of its task.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._chances = machine.chances

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        name = task.get_name() if task is not None else "a client"
        if takes_s := self._chances.request_takes_s():
            await asyncio.sleep(takes_s)
        process = self._machine.process
        if process is None or process.app is None:
            raise httpx.ConnectError("No process is up.")
        breaks = self._chances.connection_breaks(name)
        if breaks == BEFORE_REQUEST:
            self._machine.story.tell(name, "its connection breaks", "before the request has arrived")
            raise httpx.ReadError("The connection broke.")
        hangs_up = asyncio.Event()
        exchange = _Exchange(receive, hangs_up) if breaks else None
        if exchange is None:
            serving = process.begin(functools.partial(process.app, scope, receive, send))
        else:
            serving = process.begin(functools.partial(process.app, scope, exchange.receive, exchange.send))
        try:
            if breaks == MEANWHILE:
                await asyncio.wait([serving], timeout=self._chances.connection_lasts_s())
            else:
                await process.until_killed(serving)
        except Killed:
            raise httpx.ReadError("The process was killed during the request.") from None
        if exchange is not None:
            self._machine.story.tell(name, "its connection breaks", "before the answer has arrived")
            hangs_up.set()
            raise httpx.ReadError("The connection broke.")
        await self._chances.answer_takes()


class _Exchange:
    """One request whose answer gets lost: the process learns that its client has left when `hangs_up` is set."""

    def __init__(self, receive: Receive, hangs_up: asyncio.Event) -> None:
        self._receive = receive
        self._hangs_up = hangs_up
        self._arrived = False

    async def receive(self) -> Message:
        if not self._arrived:
            message = await self._receive()
            self._arrived = not message.get("more_body")
            return message
        await self._hangs_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """It does not arrive."""
