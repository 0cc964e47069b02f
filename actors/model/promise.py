"""The durable promise of a workflow as its handlers see it: `ctx.promise(name, type)`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from actors.errors import BadArguments
from actors.journal.entries import Kind
from actors.model.futures import DurableFuture, JournaledFuture
from actors.serde import ANY, Codec, value_codec
from actors.serde.type_names import type_name

if TYPE_CHECKING:
    from actors.attempt import Attempt

T = TypeVar("T")


class DurablePromise(JournaledFuture[T]):
    """A value that the handlers of one workflow share by its name. Await it, complete it, or look whether it is there.

    It waits from the moment it is first awaited or combined; until then it is only a name. The await returns the value,
    or raises PromiseRejected with the reason.
    """

    __slots__ = ("_declared", "_name", "_type")

    def __init__(self, attempt: Attempt, name: str, declared: Codec | None) -> None:
        self._type: Codec = declared or ANY
        super().__init__(attempt, 0, self._type)
        self._name = name
        self._declared = declared

    def resolve(self, value: T) -> DurableFuture[None]:
        """Complete it with a value, exactly once, even if this future is not awaited.

        Raises SerializationError at once for a value its type does not allow. Awaiting it raises PromiseCompleted if it has
        another completion, or BadArguments if a handler that waits for it declared a type that refuses the value: then it
        stays open. The same completion again has no effect.
        """
        codec = self._declared or value_codec(value)
        return self._complete_as(Kind.RESOLVE_PROMISE, codec.encode(value), codec)

    def reject(self, reason: str) -> DurableFuture[None]:
        """Make every waiter fail with PromiseRejected(reason). Awaiting this raises as that of `resolve`."""
        if not isinstance(reason, str):
            raise BadArguments(f"reject requires the reason as a str, got {type_name(type(reason))}.")
        return self._complete_as(Kind.REJECT_PROMISE, ANY.encode(reason), ANY)

    def peek(self) -> DurableFuture[T | None]:
        """Its value, None while it is open. Awaiting it raises PromiseRejected if it is rejected."""
        attempt = self._attempt
        index = self._ask(Kind.PEEK, None, None)
        future: JournaledFuture[T | None] = JournaledFuture(attempt, index, self._type)
        attempt.expect(future)
        attempt.partition.promises.peek(attempt.invocation, index, self._name)
        return future

    def _complete_as(self, kind: int, text: str, codec: Codec) -> DurableFuture[None]:
        attempt = self._attempt
        index = self._ask(kind, text, codec)
        future: JournaledFuture[None] = JournaledFuture(attempt, index, None)
        attempt.expect(future)
        attempt.must_finish(future)
        attempt.partition.promises.complete_for(attempt.invocation, index, self._name, kind, text, codec)
        return future

    def _wait(self) -> None:
        if self._state != 0 or self.command:
            return
        attempt = self._attempt
        self.command = self._ask(Kind.PROMISE, ANY.encode(self._type.name), None)
        attempt.expect(self)
        attempt.partition.promises.wait(attempt.invocation, self.command, self._name)

    def _ask(self, kind: int, value: str | None, codec: Codec | None) -> int:
        """The index of the command: the recorded one of a replay, or a new one."""
        entry = self._attempt.command(kind, self._name, value, codec)
        return (entry if entry is not None else self._attempt.record(kind, self._name, value)).idx

    def __await__(self) -> Generator[Any, None, T]:
        self._wait()
        return (yield from super().__await__())

    def _watch(self, watcher: Callable[[DurableFuture[Any]], None]) -> None:
        self._wait()
        super()._watch(watcher)
