"""The handle of a message whose invocation is found out beside its handler."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from actors.errors import MisusedFuture
from actors.model.futures import JournaledFuture
from actors.model.sent_messages import SentMessage

T = TypeVar("T")


class PlacedMessage(SentMessage[T]):
    """The handle of a message sent under an idempotency key: await it to learn which invocation it has become."""

    __slots__ = ("_id_of", "_placed")

    def __init__(self, id_of: Callable[[int], str], placed: JournaledFuture[Any]) -> None:
        self._id_of = id_of
        self._placed = placed

    @property
    def id(self) -> str:
        if not self._placed.done():
            raise MisusedFuture(
                "This message has an idempotency key, so it may stand for an earlier message. Await the handle "
                "first; then its id is known."
            )
        return self._id_of(self._placed._value)

    def __await__(self) -> Generator[Any, None, PlacedMessage[T]]:
        yield from self._placed.__await__()
        return self
