"""HTTP to the process that is up, without a socket.

Promise: a request to a process that dies ends as a broken connection does; while no process is up, connections are refused.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, MutableMapping
from random import Random
from typing import Any

import httpx

from actors.testing.machine import Machine
from actors.testing.process import Killed
from actors.transport.client import Client

Message = MutableMapping[str, Any]


def client_of(machine: Machine, options: dict[str, Any]) -> Client:
    """A client whose pauses and random numbers are the world's."""

    async def application(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        process = machine.process
        if process is None or process.app is None:
            raise httpx.ConnectError("No process is up.")
        try:
            await process.until_killed(process.begin(functools.partial(process.app, scope, receive, send)))
        except Killed:
            raise httpx.ReadError("The process was killed during the request.") from None

    return Client(**{"app": application, "random": Random(0), **options})
