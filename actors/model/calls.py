"""Placeholders for values that are not available yet: a call under way, and the handle of a message."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from actors.errors import MisusedFuture

T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R", covariant=True)


class ForgottenAwait(MisusedFuture, AttributeError):
    """Raised where an awaitable is used like its value. `hasattr` is False for a name that only the value has."""


class Awaited:
    """Base of the placeholders for values that must be awaited first. Using one like its value raises an error at that line.

    Reading an attribute that only the value has raises a plain AttributeError; `forgotten` explains it when the handler fails.
    """

    __slots__ = ()
    _what = "a call under way"
    _instead = "Write await before it"

    def _forgotten(self) -> ForgottenAwait:
        return ForgottenAwait(
            f"This is {self._what} ({type(self).__name__}), which was used like its value. {self._instead}."
        )

    if not TYPE_CHECKING:  # checkers refuse all of these operations, and should keep doing so

        def _misused(self, *_):
            raise self._forgotten()

        __bool__ = __int__ = __float__ = __complex__ = __index__ = __bytes__ = __format__ = __round__ = _misused
        __len__ = __iter__ = __next__ = __reversed__ = __getitem__ = __setitem__ = __delitem__ = __contains__ = _misused
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _misused
        __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = __divmod__ = __rdivmod__ = _misused
        __matmul__ = __rmatmul__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _misused
        __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _misused
        __neg__ = __pos__ = __invert__ = __abs__ = __trunc__ = __floor__ = __ceil__ = _misused
        __lt__ = __le__ = __gt__ = __ge__ = _misused
        __enter__ = __exit__ = __aenter__ = __aexit__ = __aiter__ = __anext__ = _misused

        def __eq__(self, other):
            return self._misused() if type(other) in _VALUES else NotImplemented

        __hash__ = object.__hash__


# An awaitable never equals a value of these types, though the awaited value may.
_VALUES = frozenset({bool, int, float, complex, str, bytes, list, dict, set, frozenset, tuple})


class AwaitedOutside(Awaited):
    """Base of the placeholders outside of handlers, where `forgotten` cannot explain an AttributeError.

    Not for futures of handlers: a `__getattr__` makes every use of their own attributes three times as slow.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            if name.startswith("_"):
                return object.__getattribute__(self, name)  # raises AttributeError as for any object
            raise self._forgotten()


def forgotten(error: BaseException) -> ForgottenAwait | None:
    """The explanation of an AttributeError that a future of the context has raised; None for any other AttributeError."""
    if type(error) is AttributeError and isinstance(error.obj, Awaited) and not (error.name or "_").startswith("_"):
        told: ForgottenAwait = error.obj._forgotten().with_traceback(error.__traceback__)
        return told
    return None


class Call(Awaited, Generic[T_co]):
    """An operation under way. Await it for its value; awaiting it twice gives the same value."""

    __slots__ = ()
    __actors_advice__ = "It is a call under way: was await forgotten?"

    def __await__(self) -> Generator[Any, None, T_co]:
        raise TypeError(f"{type(self).__name__} cannot be awaited")


class InvocationHandle(AwaitedOutside, Generic[R]):
    """An accepted invocation. `await handle` returns once the acceptance is durable, `handle.result()` gives the outcome.

    A handle from a context needs no await: the message is part of the sender's own journal.
    """

    __slots__ = ()
    _what = "the handle of a message"
    _instead = "Get its value with await handle.result(); for the value alone, call the handler and await the call"

    if not TYPE_CHECKING:  # a handle may be printed, and tested for truth

        def __bool__(self):
            return True

        __format__ = object.__format__

    @property
    def id(self) -> str:
        """The invocation id, `inv_1…`."""
        raise NotImplementedError  # pragma: no cover - every concrete handle has one

    @property
    def previously_accepted(self) -> bool:
        """Whether an earlier request with the same idempotency key was accepted: then the handle is of that invocation."""
        return False

    async def cancel(self) -> None:
        """Ask the invocation to end: `App.cancel` with its id. In a handler, use `ctx.cancel(handle.id)`."""
        raise TypeError(f"{type(self).__name__} cannot be cancelled here: use ctx.cancel(handle.id).")

    def __await__(self) -> Generator[Any, None, InvocationHandle[R]]:
        raise TypeError(f"{type(self).__name__} cannot be awaited")

    async def result(self) -> R:
        """Wait for the outcome: the value, or the TerminalError the invocation failed with."""
        raise TypeError(f"{type(self).__name__} has no result")

    async def output(self) -> R:
        """The outcome, without waiting for it. Raises NotReady if there is none yet."""
        raise TypeError(f"{type(self).__name__} has no output")
