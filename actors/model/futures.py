"""Durable futures: the objects that a handler awaits.

Only a journal entry completes a durable future, so a replay repeats every decision that a handler makes by awaiting or
combining futures, or by asking `done()`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from actors.errors import AttemptEnded, MisusedFuture, SerializationError, TerminalError
from actors.journal.entries import Entry, Kind
from actors.model.calls import Call
from actors.model.future_host import FutureHost
from actors.serde import Codec, packing
from actors.serde.failures import failure_error

T = TypeVar("T")


def mark_seen(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting the exception of a future that may have no waiter."""
    if not future.cancelled():
        future.exception()


def is_cancelled() -> bool:
    """Whether the current task is to be cancelled: then a CancelledError is meant for the task, whatever else was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class DurableFuture(Call[T]):
    """A value that arrives through the journal. Await it in the handler that made it."""

    __slots__ = ("_attempt", "_error", "_state", "_value", "_watchers")

    def __init__(self, attempt: FutureHost) -> None:
        self._attempt = attempt
        self._state = 0  # 0 open, 1 value, 2 error
        self._value: Any = None
        self._error: TerminalError | AttemptEnded | None = None
        self._watchers: list[Callable[[DurableFuture[Any]], None]] | None = None

    def done(self) -> bool:
        """Whether awaiting would return at once."""
        return self._state != 0

    __actors_advice__ = "It is a future: was await forgotten?"

    _what = "a future of the context"

    def __await__(self) -> Generator[Any, None, T]:
        if self._state == 0:
            attempt = self._attempt
            while attempt.gave_up and not attempt.stepping:
                yield self
            if attempt.stepping and attempt.on_main_line():
                yield self
            else:
                # Awaited by a task the handler started (as asyncio.gather does): bridge to asyncio.
                yield from self._bridge().__await__()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def _bridge(self) -> asyncio.Future[None]:
        if self._attempt.refuses:
            if self._attempt.runs():
                raise AttemptEnded
            raise MisusedFuture("This future belongs to an attempt that is over. Await it in the handler that made it.")
        bridge = Bridge(self._attempt)
        self._watch(lambda _: None if bridge.done() else bridge.set_result(None))
        return bridge

    def _watch(self, watcher: Callable[[DurableFuture[Any]], None]) -> None:
        """Call `watcher` at completion, or now."""
        if self._state != 0:
            watcher(self)
        elif self._watchers is None:
            self._watchers = [watcher]
        else:
            self._watchers.append(watcher)

    def _succeed(self, value: Any) -> None:
        if self._state == 0:
            self._state, self._value = 1, value
            self._notify()

    def _fail(self, error: TerminalError | AttemptEnded) -> None:
        if self._state == 0:
            self._state, self._error = 2, error
            self._notify()

    def _notify(self) -> None:
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher(self)


class Bridge(asyncio.Future[None]):
    """The asyncio future that a task waits for while it awaits a durable future."""

    def __init__(self, attempt: FutureHost) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._attempt = attempt

    def cancel(self, msg: Any = None) -> bool:
        if not self.done() and not self._attempt.cancels_itself():
            self._attempt.refuse_to_cancel()
            return True
        return super().cancel(msg)


class JournaledFuture(DurableFuture[T]):
    """The future of a command, completed by the journal entry with its answer."""

    __slots__ = ("codec", "command")

    def __init__(self, attempt: FutureHost, command: int, codec: Codec | None) -> None:
        # The body of DurableFuture.__init__, without a second call: every command creates such a future.
        self._attempt = attempt
        self._state = 0
        self._value = self._error = self._watchers = None
        self.command = command
        self.codec = codec

    def _complete(self, entry: Entry) -> None:
        if entry.kind == Kind.FAILED:
            self._fail(self._failure(entry.value))  # type: ignore[arg-type]
            return
        try:
            self._value = self._decoded(entry.value)
        except SerializationError as error:
            self._fail(AttemptEnded() if self._attempt.unreadable(self.command, self.codec, error) else error)
            return
        self._state = 1
        if self._watchers is not None:
            self._notify()

    def _failure(self, text: str) -> TerminalError:
        error = failure_error(text)
        if self._attempt.answered_elsewhere(self.command):
            with contextlib.suppress(Exception):  # the class may not allow attributes to be set
                error._elsewhere = True
        return error

    def _decoded(self, value: str | bytes | None) -> Any:
        if value is None:
            return None
        if isinstance(value, bytes):
            return packing.unpack(value)
        assert self.codec is not None
        return self.codec.decode(value)


class Sleep(JournaledFuture[None]):
    """The future of `ctx.sleep`. `used` is True once any code has used it: a sleep that nothing awaits lets no time pass."""

    __slots__ = ("used",)

    def __init__(self, attempt: FutureHost, command: int) -> None:
        self._attempt = attempt  # as in JournaledFuture
        self._state = 0
        self._value = self._error = self._watchers = self.codec = None
        self.command = command
        self.used = False

    def done(self) -> bool:
        self.used = True
        return super().done()

    def __await__(self) -> Generator[Any, None, None]:
        self.used = True
        return super().__await__()

    def _watch(self, watcher: Callable[[DurableFuture[Any]], None]) -> None:
        self.used = True
        super()._watch(watcher)


if TYPE_CHECKING:

    class _Pair(JournaledFuture[T], tuple[str, JournaledFuture[T]]):  # type: ignore[misc]
        """Lets checkers know the types in `id, promise = ctx.awakeable(str)`."""

        def __new__(cls, *args: Any) -> Self: ...

else:
    _Pair = JournaledFuture


class Awakeable(_Pair[T]):
    """A promise that is completed from outside the handler, by its `id`. `id, promise = ctx.awakeable(str)` works too.

    Pass the id on through `ctx.run`, a send, a call or a return value: these leave only once the awakeable is on disk, so no
    one else can hold an id that a crash would forget.
    """

    __slots__ = ("_id",)

    def __init__(self, attempt: FutureHost, command: int, codec: Codec) -> None:
        super().__init__(attempt, command, codec)
        self._id: str | None = None

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = self._attempt.id_of_awakeable(self.command)
        return self._id

    def __iter__(self) -> Iterator[Any]:
        return iter((self.id, self))
