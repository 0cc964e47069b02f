"""The durable promise of a workflow as its handlers see it: `ctx.promise(name, type)`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from actors.errors import BadArguments
from actors.journal.entries import Kind
from actors.model.futures import DurableFuture, JournaledFuture
from actors.model.journaling import Journaling
from actors.serde import ANY, Codec, value_codec
from actors.serde.type_names import type_name

T = TypeVar("T")


class DurablePromise(JournaledFuture[T]):
    """A value that the handlers of one workflow share by its name. Await it, complete it, or peek at it.

    Waiting begins when the promise is first awaited or combined; until then it is only a name. The await returns the value, or
    raises PromiseRejected with the reason.
    """

    __slots__ = ("_declared", "_name", "_type")
    _attempt: Journaling

    def __init__(self, attempt: Journaling, name: str, declared: Codec | None) -> None:
        self._type: Codec = declared or ANY
        super().__init__(attempt, 0, self._type)
        self._name = name
        self._declared = declared

    def resolve(self, value: T) -> DurableFuture[None]:
        """Complete the promise with a value, exactly once, even if the returned future is not awaited.

        Raises SerializationError at once for a value that the promise's type does not allow. Awaiting the future raises
        PromiseCompleted if the promise has another completion, or BadArguments if a waiting handler declared a type that
        refuses the value: then the promise stays open. Repeating the same completion has no effect.
        """
        codec = self._declared or value_codec(value)
        return self._attempt.complete_promise(Kind.RESOLVE_PROMISE, self._name, codec.encode(value), codec)

    def reject(self, reason: str) -> DurableFuture[None]:
        """Make every waiter fail with PromiseRejected(reason). The returned future raises like the future of `resolve`."""
        if not isinstance(reason, str):
            raise BadArguments(f"reject requires the reason as a str, got {type_name(type(reason))}.")
        return self._attempt.complete_promise(Kind.REJECT_PROMISE, self._name, ANY.encode(reason), ANY)

    def peek(self) -> DurableFuture[T | None]:
        """The value, or None while the promise is open. Awaiting the future raises PromiseRejected if the promise was rejected."""
        return self._attempt.peek_promise(self._name, self._type)

    def _wait(self) -> None:
        if self._state == 0 and not self.command:
            self._attempt.wait_promise(self, self._name, self._type)

    def __await__(self) -> Generator[Any, None, T]:
        self._wait()
        return (yield from super().__await__())

    def _watch(self, watcher: Callable[[DurableFuture[Any]], None]) -> None:
        self._wait()
        super()._watch(watcher)
