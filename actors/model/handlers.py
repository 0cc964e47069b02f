"""`@handler` and `@shared`: the objects they leave in a class body, and the types that callers see."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, Never, ParamSpec, Protocol, TypeVar, cast, final, overload

from actors.errors import DefinitionError
from actors.model.bound_handler import BoundHandler
from actors.model.context import Context
from actors.model.cron import CronLine
from actors.model.retry import RetryPolicy
from actors.model.spelling import refuse_unknown

S = TypeVar("S")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)  # so that for type checkers, too, a handler may be overridden in a subclass
F = TypeVar("F", covariant=True)


class Declared:
    """One `@schedule(...)` above a handler."""

    __slots__ = ("key", "line", "misfire")

    def __init__(self, line: CronLine, key: Any, misfire: str) -> None:
        self.line = line
        self.key = key
        self.misfire = misfire


@final
class _Anything:
    """No parameter is declared with this type, so a parameter that accepts it is declared as Any, as object, or not at all."""


class Handler(Generic[Q, R, F]):
    """The object that `@handler` leaves in the class body. It takes its name, docstring and abstract mark from its function."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None,
        shared: bool,
        retry: RetryPolicy | None = None,
        atomic: bool = False,
        private: bool = False,
    ) -> None:
        functools.update_wrapper(cast(Any, self), function, updated=())
        self.function = function
        self.owner: type | None = None  # the class in whose body it stands
        self.name: str = name if name is not None else str(getattr(function, "__name__", ""))
        self.shared = shared
        self.retry = retry
        self.atomic = atomic
        self.private = private
        self.hints: dict[str, Any] | None = None  # resolved where the handler was written, for subclasses elsewhere
        self.schedules: tuple[Declared, ...] = ()  # see @schedule
        self.__isabstractmethod__ = bool(getattr(function, "__isabstractmethod__", False))

    def __set_name__(self, owner: type, name: str) -> None:
        if self.owner is None:
            self.owner = owner

    def __call__(self, *args: Never, **kwargs: Never) -> Never:
        owner = self.function.__qualname__.rpartition(".")[0].rpartition(".")[2]
        raise TypeError(
            f"{self.function.__qualname__} is a handler and belongs to an object. Call it through a reference: "
            f"app.object({owner}, key).{self.name}(...), of a Service app.service({owner}).{self.name}(...)."
        )

    # Q are the parameters of the function, P the parameters after a context, which callers do not pass. F is the function
    # again, as a callable: only from F can checkers see whether the first parameter takes a Context, and not just anything.
    @overload
    def __get__(self, instance: None, owner: Any) -> Handler[Q, R, F]: ...

    @overload
    def __get__(
        self: Handler[Q, R, Callable[Concatenate[_Anything, P], None]], instance: object, owner: Any
    ) -> BoundHandler[Q, R]: ...

    @overload
    def __get__(
        self: Handler[Q, R, Callable[Concatenate[Context, P], None]], instance: object, owner: Any
    ) -> BoundHandler[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: Any) -> BoundHandler[Q, R]: ...

    def __get__(self, instance: object | None, owner: Any) -> Any:
        if instance is None:
            return self
        # On a real object (inside one of its own handlers) a handler is a plain method: no message, no mailbox.
        return instance._bind_inline(self)  # type: ignore[attr-defined]


class HandlerDecorator(Protocol):
    """The typed shape of @handler(...) and @shared(...)."""

    def __call__(
        self, function: Callable[Concatenate[S, Q], Coroutine[Any, Any, R]], /
    ) -> Handler[Q, R, Callable[Q, None]]: ...


@overload
def handler(function: Callable[Concatenate[S, Q], Coroutine[Any, Any, R]], /) -> Handler[Q, R, Callable[Q, None]]: ...


@overload
def handler(
    *, name: str | None = None, retry: RetryPolicy | None = None, atomic: bool = False, private: bool = False
) -> HandlerDecorator: ...


def handler(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    atomic: bool = False,
    private: bool = False,
    **unknown: Any,
) -> Any:
    """An exclusive handler: one invocation at a time for each key, from its first line to its outcome.

    `retry` is the policy for failing attempts, instead of the policies of the class and the app. With `atomic`, an invocation
    that ends as a failure rolls its state changes back; messages and steps are not taken back. A `private` handler cannot be
    called over HTTP.
    """
    refuse_unknown("@handler(...)", unknown, ("name", "retry", "atomic", "private"))
    return _decorate(function, name, retry, atomic, private, shared=False)


@overload
def shared(function: Callable[Concatenate[S, Q], Coroutine[Any, Any, R]], /) -> Handler[Q, R, Callable[Q, None]]: ...


@overload
def shared(*, name: str | None = None, retry: RetryPolicy | None = None, private: bool = False) -> HandlerDecorator: ...


def shared(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    private: bool = False,
    **unknown: Any,
) -> Any:
    """A read-only handler: runs beside exclusive handlers, on a snapshot of the state, and never waits for them."""
    refuse_unknown("@shared(...)", unknown, ("name", "retry", "private"))
    return _decorate(function, name, retry, False, private, shared=True)


def _decorate(
    function: Any, name: str | None, retry: RetryPolicy | None, atomic: bool, private: bool, *, shared: bool
) -> Any:
    if function is None:
        return lambda function: _decorate(function, name, retry, atomic, private, shared=shared)
    decorator = "@shared" if shared else "@handler"
    if not inspect.iscoroutinefunction(function):
        shown = getattr(function, "__qualname__", repr(function))
        if isinstance(function, Handler):
            raise DefinitionError(f"{decorator} {shown}: it is decorated twice. Keep one of @handler and @shared.")
        if inspect.isasyncgenfunction(function):
            raise DefinitionError(
                f"{decorator} {shown}: a handler returns one value. Return a list instead of 'yield'."
            )
        raise DefinitionError(f"{decorator} {shown}: a handler is a coroutine function. Write 'async def'.")
    if name is not None and not isinstance(name, str):
        raise DefinitionError(f"{decorator} {function.__qualname__}: name= requires a str, got {name!r}.")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise DefinitionError(f"{decorator} {function.__qualname__}: retry= requires a RetryPolicy, got {retry!r}.")
    return Handler(function, name, shared, retry, bool(atomic), bool(private))
