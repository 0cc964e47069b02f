"""Waiting for several futures at once. Their order of completion is in the journal, so a replay takes the same branch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar, overload

from actors.errors import DurableTimeout, MisusedFuture, TerminalError
from actors.model.calls import Call
from actors.model.future_host import FutureHost
from actors.model.futures import DurableFuture
from actors.model.journaling import Journaling

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")


class Combinators:
    """A part of `Context`, which sets `_attempt`."""

    __slots__ = ()
    _attempt: Journaling

    @overload
    def all(self, one: Call[T], two: Call[U], /) -> DurableFuture[tuple[T, U]]: ...

    @overload
    def all(self, one: Call[T], two: Call[U], three: Call[V], /) -> DurableFuture[tuple[T, U, V]]: ...

    @overload
    def all(self, one: Call[T], two: Call[U], three: Call[V], four: Call[W], /) -> DurableFuture[tuple[T, U, V, W]]: ...

    @overload
    def all(self, *calls: Call[T]) -> DurableFuture[tuple[T, ...]]: ...

    def all(self, *calls: Call[Any]) -> DurableFuture[Any]:
        """The values of all calls, in the order given. Fails as soon as one call fails."""
        return all_of(self._attempt, calls)

    @overload
    def settle(self, one: Call[T], two: Call[U], /) -> DurableFuture[list[T | U | TerminalError]]: ...

    @overload
    def settle(
        self, one: Call[T], two: Call[U], three: Call[V], /
    ) -> DurableFuture[list[T | U | V | TerminalError]]: ...

    @overload
    def settle(self, *calls: Call[T]) -> DurableFuture[list[T | TerminalError]]: ...

    def settle(self, *calls: Call[Any]) -> DurableFuture[Any]:
        """Waits for all calls, whatever their outcome: a list of values and TerminalErrors in the order given."""
        return settled(self._attempt, calls)

    @overload
    def first(self, one: Call[T], two: Call[U], /) -> DurableFuture[T | U]: ...

    @overload
    def first(self, one: Call[T], two: Call[U], three: Call[V], /) -> DurableFuture[T | U | V]: ...

    @overload
    def first(self, *calls: Call[T]) -> DurableFuture[T]: ...

    def first(self, *calls: Call[Any]) -> DurableFuture[Any]:
        """The outcome of the first call to complete, a value or a failure. `done()` of the calls shows which call it was."""
        return first_of(self._attempt, calls)

    @overload
    def any(self, one: Call[T], two: Call[U], /) -> DurableFuture[T | U]: ...

    @overload
    def any(self, one: Call[T], two: Call[U], three: Call[V], /) -> DurableFuture[T | U | V]: ...

    @overload
    def any(self, *calls: Call[T]) -> DurableFuture[T]: ...

    def any(self, *calls: Call[Any]) -> DurableFuture[Any]:
        """The value of the first call to succeed. Fails only if all calls fail."""
        return any_of(self._attempt, calls)

    def as_completed(self, *calls: Call[T]) -> AsyncIterator[DurableFuture[T]]:
        """`async for done in ctx.as_completed(a, b): value = await done`, in order of completion."""
        return as_completed(self._attempt, calls)


def _checked(attempt: FutureHost, futures: tuple[Call[Any], ...], name: str) -> list[DurableFuture[Any]]:
    for future in futures:
        if not isinstance(future, DurableFuture):
            raise MisusedFuture(
                f"ctx.{name} takes futures of this context (ctx.run, ctx.sleep, ctx.awakeable, calls made through ctx); "
                f"got {type(future).__name__}. Pass them without awaiting them."
            )
        if future._attempt is not attempt:
            raise MisusedFuture(
                f"ctx.{name} got a future of another invocation. Futures cannot be shared between handlers."
            )
    return list(futures)  # type: ignore[arg-type]


def all_of(attempt: FutureHost, futures: tuple[Call[T], ...]) -> DurableFuture[tuple[T, ...]]:
    """All values in the order given; fails with the first failure, without waiting for the rest."""
    parts = _checked(attempt, futures, "all")
    combined: DurableFuture[tuple[T, ...]] = DurableFuture(attempt)
    left = len(parts)

    def on_done(part: DurableFuture[Any]) -> None:
        nonlocal left
        left -= 1
        if part._error is not None:
            combined._fail(part._error)
        elif left == 0:
            combined._succeed(tuple([p._value for p in parts]))

    if not parts:
        combined._succeed(())
    for part in parts:
        part._watch(on_done)
    return combined


def settled(attempt: FutureHost, futures: tuple[Call[T], ...]) -> DurableFuture[list[T | TerminalError]]:
    """The value or the TerminalError of each future, in the order given. Waits for all futures, and never fails itself."""
    parts = _checked(attempt, futures, "settle")
    combined: DurableFuture[list[T | TerminalError]] = DurableFuture(attempt)
    left = len(parts)

    def on_done(_: DurableFuture[Any]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            combined._succeed([p._value if p._error is None else p._error for p in parts])

    if not parts:
        combined._succeed([])
    for part in parts:
        part._watch(on_done)
    return combined


def first_of(attempt: FutureHost, futures: tuple[Call[T], ...]) -> DurableFuture[T]:
    """The outcome of the first future to complete, a value or a failure. `done()` of the futures shows which future it was."""
    parts = _checked(attempt, futures, "first")
    if not parts:
        raise MisusedFuture("ctx.first requires at least one future: without futures it would wait for ever.")
    combined: DurableFuture[T] = DurableFuture(attempt)

    def on_done(part: DurableFuture[Any]) -> None:
        if part._error is not None:
            combined._fail(part._error)
        else:
            combined._succeed(part._value)

    for part in parts:
        part._watch(on_done)
    return combined


def any_of(attempt: FutureHost, futures: tuple[Call[T], ...]) -> DurableFuture[T]:
    """The value of the first future to succeed; fails only when all have failed, with the last failure."""
    parts = _checked(attempt, futures, "any")
    if not parts:
        raise MisusedFuture("ctx.any requires at least one future: without futures it would wait for ever.")
    combined: DurableFuture[T] = DurableFuture(attempt)
    left = len(parts)

    def on_done(part: DurableFuture[Any]) -> None:
        nonlocal left
        left -= 1
        if part._error is None:
            combined._succeed(part._value)
        elif left == 0:
            combined._fail(part._error)

    for part in parts:
        part._watch(on_done)
    return combined


async def as_completed(attempt: FutureHost, futures: tuple[Call[T], ...]) -> AsyncIterator[DurableFuture[T]]:
    """The futures themselves, each when it is done, in order of completion."""
    finished: list[DurableFuture[T]] = []
    waiting: list[DurableFuture[None]] = []

    def on_done(part: DurableFuture[Any]) -> None:
        finished.append(part)
        if waiting:
            waiting.pop()._succeed(None)

    parts = _checked(attempt, futures, "as_completed")
    for part in parts:
        part._watch(on_done)
    for position in range(len(parts)):
        if position == len(finished):
            waiting.append(DurableFuture(attempt))
            await waiting[0]
        yield finished[position]


def with_timeout(attempt: FutureHost, future: Call[T], timer: DurableFuture[None], seconds: float) -> DurableFuture[T]:
    """`future`, unless `timer` is done first: then DurableTimeout."""
    (part,) = _checked(attempt, (future,), "timeout")
    combined: DurableFuture[T] = DurableFuture(attempt)

    def on_done(done: DurableFuture[Any]) -> None:
        if done is timer:
            combined._fail(DurableTimeout(f"Nothing arrived within {seconds:g} s."))
        elif done._error is not None:
            combined._fail(done._error)
        else:
            combined._succeed(done._value)

    part._watch(on_done)
    timer._watch(on_done)
    return combined
