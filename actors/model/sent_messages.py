"""The handles of the messages that a handler has sent."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from actors.errors import MisusedFuture
from actors.model.calls import InvocationHandle
from actors.model.future_host import FutureHost
from actors.model.futures import JournaledFuture

T = TypeVar("T")


class SentMessage(InvocationHandle[T]):
    """The handle of a message a handler sent."""

    __slots__ = ("_id",)

    def __init__(self, id: str) -> None:
        self._id = id

    @property
    def id(self) -> str:
        return self._id

    def __await__(self) -> Generator[Any, None, SentMessage[T]]:
        return self
        yield

    async def result(self) -> T:
        raise MisusedFuture(
            "A message sent one way has no result inside a handler. Call the handler and await it instead."
        )


class PlacedMessage(SentMessage[T]):
    """The handle of a message sent under an idempotency key: await it to learn which invocation it has become."""

    __slots__ = ("_attempt", "_placed")

    def __init__(self, attempt: FutureHost, placed: JournaledFuture[Any]) -> None:
        self._attempt = attempt
        self._placed = placed

    @property
    def id(self) -> str:
        if not self._placed.done():
            raise MisusedFuture(
                "This message has an idempotency key, so it may stand for an earlier message. Await the handle "
                "first; then its id is known."
            )
        return self._attempt.id_of(self._placed._value)

    def __await__(self) -> Generator[Any, None, PlacedMessage[T]]:
        yield from self._placed.__await__()
        return self
