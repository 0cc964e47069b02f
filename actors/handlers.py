"""`@handler`, `@shared`, and the typed things one gets by naming a handler on a reference or an object."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Never,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    final,
    overload,
)

from actors.cron import TICK
from actors.errors import BadArguments, DefinitionError, SerializationError
from actors.futures import AwaitedOutside, Call
from actors.retry import RetryPolicy
from actors.serde import Codec, codec_for, join, split
from actors.serde.type_names import shortened
from actors.spelling import refuse_unknown
from actors.storage import Mode

if TYPE_CHECKING:
    from actors.context import Context
    from actors.schedules import Declared
    from actors.virtual_object import ServiceDefinition

S = TypeVar("S")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)  # so that for type checkers, too, a handler may be overridden in a subclass
F = TypeVar("F", covariant=True)


class InvocationHandle(AwaitedOutside, Generic[R]):
    """An accepted invocation. `await handle` returns once the acceptance is durable, `handle.result()` its outcome.

    A handle from a context needs no await: the message is part of the sender's own journal.
    """

    __slots__ = ()
    _what = "the handle of a message"
    _instead = "Its value is what await handle.result() gives; for the value alone, call the handler and await that"

    if not TYPE_CHECKING:  # a handle may be shown, and tested for being there

        def __bool__(self):
            return True

        __format__ = object.__format__

    @property
    def id(self) -> str:
        """The invocation id, `inv_1…`."""
        raise NotImplementedError  # pragma: no cover - every concrete handle has one

    @property
    def previously_accepted(self) -> bool:
        """Whether an earlier request with the same idempotency key had been accepted: then this is that one."""
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


class Dispatcher(Protocol):
    """Where a reference sends its messages: an app, or the context of a running handler."""

    def dispatch_call(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> Call[Any]: ...

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]: ...


class Options:
    """What travels with a message beside its arguments."""

    __slots__ = ("delay_ms", "fail_when_full", "headers", "idempotency_key")

    def __init__(
        self,
        delay_ms: int = 0,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        fail_when_full: bool = False,
    ) -> None:
        self.delay_ms = delay_ms
        self.headers = headers
        self.idempotency_key = idempotency_key
        self.fail_when_full = fail_when_full


DEFAULT_OPTIONS = Options()


class BoundHandler(Generic[P, R]):
    """A handler of one object: call it, send to it, or set options first."""

    __slots__ = ("_definition", "_dispatcher", "_key", "_options")

    def __init__(
        self, dispatcher: Dispatcher, definition: HandlerDefinition, key: str, options: Options = DEFAULT_OPTIONS
    ) -> None:
        self._dispatcher = dispatcher
        self._definition = definition
        self._key = key
        self._options = options

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Invoke the handler now; await the result for its value.

        Raises BadArguments or SerializationError at once if the arguments do not fit. The await raises the
        TerminalError the handler failed with.
        """
        return self._dispatcher.dispatch_call(self._definition, self._key, args, kwargs, self._options)

    def send(self, /, *args: P.args, **kwargs: P.kwargs) -> InvocationHandle[R]:
        """One way: the message is delivered exactly once, in the order sent, and survives crashes."""
        return self._dispatcher.dispatch_send(self._definition, self._key, args, kwargs, self._options)

    def options(
        self,
        *,
        delay: float | timedelta | None = None,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        fail_when_full: bool | None = None,
        **unknown: Never,
    ) -> BoundHandler[P, R]:
        """The same handler with options.

        `delay`: seconds, for sends only; a negative delay means at once. `headers`: what the handler finds in `ctx.headers`.
        `idempotency_key`: all calls and sends of this handler and object under one key are one invocation, as long as it is
        kept; other arguments with the same key are refused with IdempotencyMismatch. `fail_when_full`: in a handler, a
        message to an object with `Limits.max_pending` messages waiting raises MailboxFull; without this option the
        invocation backs off until there is room. Outside of handlers such a message always raises MailboxFull.
        """
        if unknown:
            refuse_unknown(".options(...)", unknown, ("delay", "headers", "idempotency_key", "fail_when_full"))
        set_already = self._options
        options = Options(
            set_already.delay_ms, set_already.headers, set_already.idempotency_key, set_already.fail_when_full
        )
        if fail_when_full is not None:
            if type(fail_when_full) is not bool:
                raise BadArguments(f"fail_when_full= requires True or False, got {shortened(fail_when_full)}.")
            options.fail_when_full = fail_when_full
        if idempotency_key is not None:
            options.idempotency_key = checked_idempotency_key(idempotency_key)
        if delay is not None:
            options.delay_ms = remaining(delay, "delay")
        if headers is not None:
            options.headers = checked_headers(headers)
        return BoundHandler(self._dispatcher, self._definition, self._key, options)

    def __repr__(self) -> str:
        return f"<handler {self._definition.name} of {address(self._definition.service.name, self._key)}>"


def refuse_ambiguous(target: HandlerDefinition, name: str) -> None:
    """Raise BadArguments if an option of a send by name has the name of a parameter of the handler."""
    if name in target.names:
        raise BadArguments(
            f"{target.target} has a parameter {name!r}, and so has send by name. Use .handler(service, key, "
            f"handler).options({name}=...).send({name}=...)."
        )


def address(*parts: str) -> str:
    """What names an object or a handler in a text: `Order/o1/add`, of a service `Mailer/deliver`."""
    return "/".join(part for part in parts if part)


def checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """A copy of `headers`. Raises BadArguments unless they are a dict of str to str that UTF-8 can encode."""
    if not isinstance(headers, dict) or not all(type(k) is str and type(v) is str for k, v in headers.items()):
        raise BadArguments("headers= requires a dict of str to str.")
    try:
        "".join([*headers, *headers.values()]).encode()
    except UnicodeEncodeError as error:
        raise BadArguments(f"headers= holds text that is not valid Unicode: {error}.") from None
    return dict(headers)


def checked_idempotency_key(key: str) -> str:
    """`key`, if it can be one. Raises BadArguments."""
    if type(key) is str and 0 < len(key) <= 1000:
        if key.startswith(TICK):  # one that is there already would keep a schedule from placing its tick
            raise BadArguments(f"idempotency_key={shortened(key)}: keys that begin with {TICK!r} belong to schedules.")
        try:
            key.encode()
            return key
        except UnicodeEncodeError:
            pass
    raise BadArguments(
        f"idempotency_key= requires a str of 1 to 1,000 characters of Unicode text, got {shortened(key)}."
    )


def milliseconds(duration: float | timedelta, what: str) -> int:
    """A duration in whole milliseconds, rounded up. Raises BadArguments if it is negative, endless or not a duration."""
    if isinstance(duration, timedelta):
        whole, rest = divmod(duration, timedelta(milliseconds=1))
        ms = -1 if duration < timedelta(0) else whole + bool(rest)
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        # Rounded to microseconds first: 0.07 s are 70 ms, not 71, although 0.07 * 1000 is a little more than 70.
        ms = math.ceil(round(duration * 1000, 3)) if 0 <= duration < _LONGEST_S else -1  # NaN too fails the comparison
    else:
        raise BadArguments(f"{what} requires seconds or a timedelta, got {shortened(duration)}.")
    if not 0 <= ms < _LONGEST_S * 1000:
        raise BadArguments(f"{what} must lie between 0 and 3,000 years, got {shortened(duration)}.")
    return ms


def remaining(duration: float | timedelta, what: str) -> int:
    """`milliseconds` of what is left to wait: a negative duration is a deadline that has passed, which is due now.

    `until - now` becomes negative by itself, so a sleep or a delay must not fail for it. Raises BadArguments as that does.
    """
    if isinstance(duration, (int, float)):
        passed = -math.inf < duration < 0
    else:
        passed = isinstance(duration, timedelta) and duration < timedelta(0)
    return 0 if passed else milliseconds(duration, what)


_LONGEST_S = 10**11


@final
class _Anything:
    """No parameter is declared with this type, so one that takes it is declared as Any, as object, or not at all."""


class Handler(Generic[Q, R, F]):
    """What `@handler` leaves in the class body. Named, documented and marked as abstract like its function."""

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
        self.name: str = name if name is not None else str(getattr(function, "__name__", ""))
        self.shared = shared
        self.retry = retry
        self.atomic = atomic
        self.private = private
        self.hints: dict[str, Any] | None = None  # resolved where it was written, for subclasses elsewhere
        self.schedules: tuple[Declared, ...] = ()  # see @schedule
        self.__isabstractmethod__ = bool(getattr(function, "__isabstractmethod__", False))

    def __call__(self, *args: Never, **kwargs: Never) -> Never:
        owner = self.function.__qualname__.rpartition(".")[0].rpartition(".")[2]
        raise TypeError(
            f"{self.function.__qualname__} is a handler and belongs to an object. Call it through a reference: "
            f"app.object({owner}, key).{self.name}(...), of a Service app.service({owner}).{self.name}(...)."
        )

    # Q is what the function takes, P what is left of it after a context: callers pass no context. F is the function once
    # more, as a callable: only there do checkers see whether its first parameter takes a Context, and not just anything.
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

    `retry` is the policy for its failing attempts, before the class's and the app's. With `atomic` the state goes back to
    what it was when the invocation ends as a failure; messages and steps are not taken back. A `private` one is refused to
    requests over HTTP.
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
    """A read-only handler: runs beside the exclusive one, on a snapshot of the state, and never waits for it."""
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


class HandlerDefinition:
    """One handler, ready to use: its codecs, and whether it takes the context."""

    __slots__ = (
        "_signature",
        "arity",
        "atomic",
        "codecs",
        "function",
        "mode",
        "name",
        "names",
        "once",
        "private",
        "retry",
        "returns",
        "service",
        "shared",
        "target",
        "wants_context",
    )

    def __init__(self, service: ServiceDefinition, declared: Handler[Any, Any, Any], hints: dict[str, Any]) -> None:
        self.service = service
        self.name = declared.name
        self.function = declared.function
        self.shared = declared.shared
        self.mode = Mode.KEYLESS if service.kind == "service" else Mode.SHARED if self.shared else Mode.EXCLUSIVE
        self.once = service.kind == "workflow" and not self.shared  # invoked once for each key: the workflow itself
        self.atomic = declared.atomic
        self.private = declared.private or service.private
        self.retry = declared.retry if declared.retry is not None else service.retry
        where = f"{service.name}.{self.name}"
        self.target = where
        parameters = list(inspect.signature(declared.function).parameters.values())
        if not parameters or parameters[0].kind not in (_POSITIONAL_ONLY, _POSITIONAL):
            raise DefinitionError(f"{where}: a handler is a method. Its first parameter is 'self'.")
        parameters = parameters[1:]
        self.wants_context = bool(parameters) and _is_context(parameters[0], hints)
        if self.wants_context:
            parameters = parameters[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise DefinitionError(
                    f"{where}: *{parameter.name} cannot be stored by name and type. Declare each parameter, or take one list or dict."
                )
            if parameter.kind is parameter.KEYWORD_ONLY:
                raise DefinitionError(
                    f"{where}: the parameter {parameter.name!r} is keyword-only. Arguments are stored in order, "
                    "so keyword-only parameters are not possible: remove the '*'."
                )
            if _means_context(hints.get(parameter.name)):
                raise DefinitionError(f"{where}: the context comes first. Move {parameter.name!r} right behind 'self'.")
        self._signature = inspect.Signature(parameters)
        self.names = [parameter.name for parameter in parameters]
        self.arity = len(parameters)
        self.codecs: list[Codec] = [
            codec_for(hints.get(name, Any), f"{where}, parameter {name!r}") for name in self.names
        ]
        for parameter, codec in zip(parameters, self.codecs, strict=True):
            if parameter.default is not parameter.empty:
                try:
                    codec.encode(parameter.default)
                except SerializationError as error:
                    raise DefinitionError(f"{where}: the default of {parameter.name!r} does not fit: {error}") from None
        returned = hints.get("return", Any)
        # A handler that only ever raises returns nothing.
        self.returns: Codec = codec_for(None if returned in (NoReturn, Never) else returned, f"{where}, return type")

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, tuple[Any, ...] | None]:
        """The arguments as a JSON array, and the values themselves if they are what decoding would give.

        Raises BadArguments or SerializationError.
        """
        if kwargs or len(args) != self.arity:
            args = self._bound(args, kwargs)
        codecs = self.codecs
        if self.arity == 1:
            (value,) = args
            try:
                codec = codecs[0]
                return f"[{codec.encode(value)}]", args if type(value) in codec.atoms else None
            except SerializationError as error:
                raise self._bad_argument(0, error) from None
        texts, unchangeable = [], True
        for position, value in enumerate(args):
            codec = codecs[position]
            try:
                texts.append(codec.encode(value))
            except SerializationError as error:
                raise self._bad_argument(position, error) from None
            if type(value) not in codec.atoms:
                unchangeable = False
        return join(texts), args if unchangeable else None

    def _bad_argument(self, position: int, error: SerializationError) -> BadArguments:
        return BadArguments(f"{self.target}: argument {self.names[position]!r}: {error}")

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadArguments(f"{self.target}{self._signature}: {error}.") from None
        bound.apply_defaults()  # stored with the call, so that a later attempt sees the same ones
        return tuple(bound.arguments.values())

    def decode(self, array: str) -> tuple[Any, ...]:
        """The arguments in a stored JSON array. Raises SerializationError if they no longer fit the signature."""
        texts = split(array)
        if len(texts) != self.arity:
            raise SerializationError(
                f"{self.target} takes {self.arity} arguments ({', '.join(self.names) or 'none'}); stored are {len(texts)}"
            )
        return tuple([codec.decode(text) for codec, text in zip(self.codecs, texts, strict=True)])

    def same_arguments(self, one: str, other: str) -> bool:
        """Whether two stored argument lists are equal; the order inside a set does not count."""
        if one == other:
            return True
        ones, others = split(one), split(other)
        return len(ones) == len(others) == self.arity and all(
            codec.equal(a, b) for codec, a, b in zip(self.codecs, ones, others, strict=True)
        )


_POSITIONAL_ONLY, _POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return parameter.name in ("ctx", "context") if hint is None else _means_context(hint)


def _means_context(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "__actors_context__", False)
