"""An invocation on a server: its id once it is known, its outcome, its cancellation."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

from actors.errors import MisusedFuture
from actors.model.calls import InvocationHandle
from actors.serde import Codec
from actors.transport.client import calls
from actors.transport.client.calls import Accepted, Ask
from actors.transport.client.connection import Shared

R = TypeVar("R", covariant=True)
T = TypeVar("T")


class Asking(Protocol):
    """Sends one request; returns its value or raises its error. See `Client.ask`."""

    async def __call__(self, ask: Ask[T], /) -> T: ...


class RemoteHandle(InvocationHandle[R]):
    """An invocation on a server. Await the handle of a send: then the message is accepted, and the id is known."""

    __slots__ = ("_accepted", "_ask", "_codec", "_id", "_path", "_told")

    def __init__(
        self,
        ask: Asking,
        path: str | None,
        codec: Codec,
        id: str | None = None,
        accepted: asyncio.Task[Accepted] | None = None,
    ) -> None:
        self._ask = ask
        self._path = path
        self._codec = codec
        self._id = id
        self._accepted = Shared(accepted) if accepted is not None else None
        self._told: Accepted | None = None

    @property
    def id(self) -> str:
        if self._id is None:
            raise MisusedFuture("The id is not known yet. Await the handle first.")
        return self._id

    @property
    def previously_accepted(self) -> bool:
        """Whether an earlier request with the same idempotency key was accepted."""
        return self._told is not None and not self._told.new

    @property
    def due(self) -> datetime.datetime | None:
        """When a delayed message is due, by the server's clock."""
        return self._told.due if self._told is not None else None

    def __await__(self) -> Generator[Any, None, RemoteHandle[R]]:
        yield from self._known().__await__()
        return self

    async def _known(self) -> str:
        """The path of the invocation, once it is accepted and its id is known."""
        if self._id is None:
            if self._accepted is not None:
                self._told = await self._accepted.wait()
                self._id = self._told.id
            elif self._path is not None:
                self._id = await self._ask(calls.id_of(self._path))
        return calls.invocation_path(self.id)

    async def result(self) -> R:
        """Wait for the outcome: the value, or the error the invocation failed with."""
        return await self._outcome(wait=True)

    async def output(self) -> R:
        """The outcome, without waiting. Raises NotReady if there is none yet."""
        return await self._outcome(wait=False)

    async def _outcome(self, wait: bool) -> R:
        path = self._path if self._path is not None else await self._known()
        value: R = await self._ask(calls.outcome(path, self._codec, wait))
        return value

    async def cancel(self) -> None:
        """Request cancellation of the invocation: `Client.cancel` with its id."""
        await self._known()
        await self._ask(calls.operate("cancel", self.id))
