"""The operations of a running handler. Each request is a journal command: executed once, then repeated from the record."""

from __future__ import annotations

import datetime
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Never, ParamSpec, TypeVar, overload

from actors.errors import BadArguments, DefinitionError, WrongKind
from actors.journal.entries import Kind
from actors.model.bound_handler import BoundHandler, refuse_ambiguous
from actors.model.calls import Call, InvocationHandle
from actors.model.combinators import Combinators, with_timeout
from actors.model.definitions import HandlerDefinition, key_for
from actors.model.durations import remaining
from actors.model.futures import Awakeable, DurableFuture
from actors.model.handler_log import HandlerLogger
from actors.model.inside import inside_step
from actors.model.journaling import Journaling
from actors.model.kinds import Keyed, Keyless
from actors.model.named_state import NamedState
from actors.model.names import check_name, checked_key
from actors.model.options import DEFAULT_OPTIONS, Options
from actors.model.promise import DurablePromise
from actors.model.references import keyed, keyless
from actors.model.refusals import context_in_step
from actors.model.result_types import result_codec, step_name
from actors.model.retry import RetryPolicy
from actors.model.spelling import refuse_unknown
from actors.serde import ANY, codec_for, value_codec
from actors.serde.type_names import type_name

T = TypeVar("T")
K = TypeVar("K", bound=Keyed)
S = TypeVar("S", bound=Keyless)
P = ParamSpec("P")


class Context(NamedState, Combinators):
    """The `ctx` of a handler. Valid until that handler ends; its futures can be awaited only in that handler."""

    __actors_context__ = True
    __slots__ = ("_random", "slept")

    def __init__(self, attempt: Journaling) -> None:
        self._attempt = attempt
        self.slept = False  # whether the handler has requested a sleep
        self._random: random.Random | None = None

    # --- who and when ---------------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key of this object; empty for a Service."""
        return self._attempt.key

    @property
    def invocation_id(self) -> str:
        """The id of this invocation, `inv_1…`: the same in each attempt."""
        return self._attempt.invocation_id

    @property
    def logger(self) -> HandlerLogger:
        """A logger, named after the handler's module. Its records name the invocation, and a replay does not repeat them."""
        return HandlerLogger(self._attempt)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of this message; an empty dict if there are none."""
        return self._attempt.headers

    @property
    def random(self) -> random.Random:
        """A generator seeded for this invocation: each attempt draws the same numbers."""
        if inside_step.get():  # a replay would not draw what a step has drawn, and the handler would draw other numbers
            raise context_in_step()
        if self._random is None:
            self._random = self._attempt.generator()
        return self._random

    def uuid(self) -> uuid.UUID:
        """A version 4 UUID, the same in each attempt."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def now(self) -> datetime.datetime:
        """The current time, UTC, in whole milliseconds; recorded, so each attempt reads the same time here."""
        recorded = datetime.timedelta(milliseconds=self._attempt.now_ms())
        return datetime.datetime.fromtimestamp(0, datetime.UTC) + recorded

    # --- side effects ---------------------------------------------------------------------------------------------------

    @overload
    def run(
        self,
        function: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DurableFuture[T]: ...

    @overload
    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> DurableFuture[T]: ...

    def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> DurableFuture[Any]:
        """Execute a side effect and record its result: at least once until recorded, never again after.

        An `async def` runs on the loop, any other function in a thread. The function starts when everything before it is on
        disk. A TerminalError that it raises is recorded and raised at the await; any other error ends this attempt, and the handler
        is retried by the app's policy. `ctx.step(...)` sets a name, a type and a retry policy for the step itself.
        """
        return self._run(step_name(function), None, None, function, args, kwargs)

    def step(
        self,
        *misplaced: Never,
        name: str | None = None,
        type: Any = None,
        retry: RetryPolicy | None = None,
        **unknown: Never,
    ) -> StepOptions:
        """`ctx.step(name="charge", retry=RetryPolicy(max_attempts=3)).run(charge, amount)`: run with options.

        With `retry` the step is tried again in place; when the policy is used up, the await raises TerminalError.
        `type` declares the result's type where the function's own annotation does not.
        """
        if unknown:
            refuse_unknown("ctx.step(...)", unknown, ("name", "type", "retry"))
        if misplaced:
            raise DefinitionError(
                "ctx.step(...) takes its options by name: ctx.step(name='charge').run(function, ...)."
            )
        if name is not None:
            check_name(name, "ctx.step")
        return StepOptions(self, name, type, retry)

    def _run(
        self,
        name: str,
        declared: Any,
        retry: RetryPolicy | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> DurableFuture[Any]:
        if not callable(function):
            raise BadArguments(
                f"ctx.run requires a function, got {function!r}. Pass the function itself, not the result of calling it."
            )
        codec = result_codec(function) if declared is None else codec_for(declared, f"ctx.step(type=...) of {name!r}")
        return self._attempt.step(name, function, args, kwargs, codec, retry)

    # --- time -----------------------------------------------------------------------------------------------------------

    def sleep(self, duration: float | datetime.timedelta) -> DurableFuture[None]:
        """Wait for seconds or a timedelta, for moments or months. A restart does not prolong the sleep.

        The sleep never ends early by the machine's clock. A negative duration ends at once: `ctx.sleep(until - ctx.now())`.
        """
        self.slept = True
        return self._attempt.sleep(remaining(duration, "ctx.sleep"))

    # --- awakeables -----------------------------------------------------------------------------------------------------

    @overload
    def awakeable(self, type: type[T], *, timeout: float | datetime.timedelta | None = None) -> Awakeable[T]: ...

    @overload
    def awakeable(self, type: Any = None, *, timeout: float | datetime.timedelta | None = None) -> Awakeable[Any]: ...

    def awakeable(self, type: Any = None, *, timeout: float | datetime.timedelta | None = None) -> Awakeable[Any]:
        """An id to pass on and a promise to await: `id, promise = ctx.awakeable(str)`, or one object with `.id`.

        The await returns the value passed to resolve, raises AwakeableRejected with the reason passed to reject, or raises
        DurableTimeout when `timeout` (seconds or timedelta) passes first.
        """
        codec = ANY if type is None else codec_for(type, "ctx.awakeable")
        return self._attempt.awakeable(codec, None if timeout is None else remaining(timeout, "timeout"))

    def resolve_awakeable(self, id: str, value: Any = None, *, type: Any = None) -> DurableFuture[None]:
        """Complete an awakeable of this app, exactly once, even if this future is not awaited.

        `type` is the type that the handler waits for, needed where the value alone does not show it, for example
        `list[datetime]`. Raises SerializationError at once for a value that cannot be stored. Awaiting the future raises
        UnknownAwakeable, AwakeableCompleted, or BadArguments if the waiting type refuses the value.
        """
        codec = value_codec(value) if type is None else codec_for(type, "ctx.resolve_awakeable(type=...)")
        return self._attempt.complete_awakeable(Kind.RESOLVE, id, codec.encode(value), codec)

    def reject_awakeable(self, id: str, reason: str) -> DurableFuture[None]:
        """Make an awakeable of this app fail with `reason`, exactly once, even if this future is not awaited."""
        if not isinstance(reason, str):
            raise BadArguments(f"reject_awakeable requires the reason as a str, got {type_name(type(reason))}.")
        return self._attempt.complete_awakeable(Kind.REJECT, id, ANY.encode(reason), ANY)

    # --- durable promises -------------------------------------------------------------------------------------------------

    @overload
    def promise(self, name: str, type: type[T]) -> DurablePromise[T]: ...

    @overload
    def promise(self, name: str, type: Any = None) -> DurablePromise[Any]: ...

    def promise(self, name: str, type: Any = None) -> DurablePromise[Any]:
        """The promise `name` of this workflow, which all its handlers share: await, `resolve`, `reject` or `peek` at it.

        `type` is the type of the value, needed where the value alone does not show it. Raises WrongKind outside of a Workflow.
        """
        if self._attempt.handler.service.kind != "workflow":
            raise WrongKind(
                "ctx.promise belongs to a Workflow: there the handlers of one key share promises. In an object or a service use "
                "ctx.awakeable and pass its id on."
            )
        check_name(name, "ctx.promise")
        return DurablePromise(self._attempt, name, None if type is None else codec_for(type, "ctx.promise"))

    # --- other objects --------------------------------------------------------------------------------------------------

    def cancel(self, id: str) -> DurableFuture[None]:
        """Cancel another invocation, exactly once, even if this future is not awaited.

        Has no effect on an invocation that has ended. Awaiting the future raises UnknownInvocation for an unknown id.
        """
        return self._attempt.cancel_invocation(id)

    @overload
    def attach(self, id: str, type: type[T]) -> DurableFuture[T]: ...

    @overload
    def attach(self, id: str, type: Any = None) -> DurableFuture[Any]: ...

    def attach(self, id: str, type: Any = None) -> DurableFuture[Any]:
        """The outcome of an invocation that another caller has called or sent. `type` is the return type of its handler.

        Awaiting the future raises the failure of that invocation, UnknownInvocation, or DeadlockError if that invocation waits
        for this one.
        """
        return self._attempt.attach(id, ANY if type is None else codec_for(type, "ctx.attach"))

    def object(self, cls: type[K], key: str) -> K:
        """A typed reference: `await ctx.object(Stock, "main").reserve(3)` calls, `.reserve.send(3)` sends one way.

        For objects and workflows. Raises WrongKind for a Service.
        """
        return keyed(self._attempt.definition(cls), self, checked_key(key))  # type: ignore[no-any-return]

    def service(self, cls: type[S]) -> S:
        """A typed reference to a Service, which has no key: `await ctx.service(Mailer).deliver("a@b")`.

        Raises WrongKind for any other class.
        """
        return keyless(self._attempt.definition(cls), self)  # type: ignore[no-any-return]

    def handler(self, service: str, key: str, name: str) -> BoundHandler[..., Any]:
        """A handler by name: call it, send to it, or set options first, as with a handler of a typed reference.

        The key of a Service is "". Raises UnknownService or UnknownHandler.
        """
        target = self._attempt.target(service, name)
        return BoundHandler(self, target, key_for(target, key))

    def call(self, service: str, key: str, handler: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call by name; the key of a Service is "". Raises UnknownService or UnknownHandler at once."""
        target = self._attempt.target(service, handler)
        return self.dispatch_call(target, key_for(target, key), args, kwargs, DEFAULT_OPTIONS)

    def send(
        self,
        service: str,
        key: str,
        handler: str,
        /,
        *args: Any,
        delay: float | datetime.timedelta | None = None,
        **kwargs: Any,
    ) -> InvocationHandle[Any]:
        """Send one way by name, after `delay` if given. If the handler has a parameter `delay`, use `ctx.handler(...).send(...)`."""
        target = self._attempt.target(service, handler)
        if delay is not None:
            refuse_ambiguous(target, "delay")
        options = DEFAULT_OPTIONS if delay is None else Options(remaining(delay, "delay"))
        return self.dispatch_send(target, key_for(target, key), args, kwargs, options)

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Call[Any]:
        if options.delay_ms:
            raise BadArguments(
                "delay= goes with send: a call waits for its answer. Use ctx.sleep before the call, or .send(...)."
            )
        text, values = target.encode(args, kwargs)
        return self._attempt.call(target, key, text, values, options)

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        text, values = target.encode(args, kwargs)
        return self._attempt.send(target, key, text, values, options)

    def timeout(self, call: Call[T], duration: float | datetime.timedelta) -> DurableFuture[T]:
        """`call`, or DurableTimeout after `duration`. The deadline survives restarts; the call itself goes on."""
        duration_ms = remaining(duration, "ctx.timeout")
        self.slept = True
        return with_timeout(self._attempt, call, self._attempt.sleep(duration_ms), duration_ms / 1000)


class StepOptions:
    """`ctx.step(...)`: a `run` with a name, a result type, a retry policy."""

    __slots__ = ("_context", "_name", "_retry", "_type")

    def __init__(self, context: Context, name: str | None, type: Any, retry: RetryPolicy | None) -> None:
        self._context = context
        self._name = name
        self._type = type
        self._retry = retry

    @overload
    def run(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> DurableFuture[T]: ...

    @overload
    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> DurableFuture[T]: ...

    def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> DurableFuture[Any]:
        """Like `ctx.run`, with these options."""
        name = self._name if self._name is not None else step_name(function)
        return self._context._run(name, self._type, self._retry, function, args, kwargs)
