"""The handles of the messages that a handler has sent."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from actors.errors import MisusedFuture
from actors.model.calls import InvocationHandle

T = TypeVar("T")


class SentMessage(InvocationHandle[T]):
    """The handle of a message a handler sent."""

    __slots__ = ("_id",)
    _instead = (
        "Get its value with await ctx.attach(handle.id, type); for the value alone, call the handler and await the call"
    )

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
            "A message sent one way has no result inside a handler. Call the handler and await the call, or attach to the message: "
            "await ctx.attach(handle.id, type)."
        )
