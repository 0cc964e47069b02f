"""What a running handler can ask for. Each request is a journal command: done once, repeated from the record."""

from __future__ import annotations

import datetime
import functools
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Never, ParamSpec, TypeVar, overload

from actors.errors import (
    BadArguments,
    DefinitionError,
    TerminalError,
    WrongKind,
    failure_error,
    failure_text,
)
from actors.journal.entries import Entry, Kind
from actors.model.bound_handler import BoundHandler, refuse_ambiguous
from actors.model.calls import Call, InvocationHandle
from actors.model.combinators import Combinators, with_timeout
from actors.model.definitions import HandlerDefinition, key_for
from actors.model.durations import remaining
from actors.model.futures import Awakeable, DurableFuture, JournaledFuture, Sleep
from actors.model.handler_log import HandlerLogger
from actors.model.kinds import Keyed, Keyless
from actors.model.message import Message
from actors.model.named_state import NamedState
from actors.model.names import address, check_name, checked_key
from actors.model.options import DEFAULT_OPTIONS, Options
from actors.model.promise import DurablePromise
from actors.model.references import keyed, keyless
from actors.model.result_types import result_codec, step_name
from actors.model.retry import RetryPolicy
from actors.model.sent_messages import PlacedMessage, SentMessage
from actors.model.spelling import refuse_unknown
from actors.serde import ANY, Codec, codec_for, value_codec
from actors.serde.type_names import type_name

if TYPE_CHECKING:
    from actors.attempt import Attempt


T = TypeVar("T")
K = TypeVar("K", bound=Keyed)
S = TypeVar("S", bound=Keyless)
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
P = ParamSpec("P")


class Context(NamedState, Combinators):
    """Handed to a handler that declares it. Valid until that handler ends; its futures belong to it alone."""

    __actors_context__ = True
    __slots__ = ("_random", "slept")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self.slept = False  # whether the handler has asked for a sleep
        self._random: random.Random | None = None

    # --- who and when ---------------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key of this object; of a Service it is empty."""
        return self._attempt.invocation.shown_key

    @property
    def invocation_id(self) -> str:
        """The id of this invocation, `inv_1…`: the same in each attempt."""
        return self._attempt.partition.ids.invocation(self._attempt.invocation.seq)

    @property
    def logger(self) -> HandlerLogger:
        """A logger, named after the handler's module. Its records name the invocation, and a replay does not repeat them."""
        return HandlerLogger(self._attempt)

    @property
    def headers(self) -> dict[str, str]:
        """The headers given with this message; an empty dict without any."""
        extras = self._attempt.invocation.extras
        text = extras.headers if extras is not None else None
        return json.loads(text) if text is not None else {}

    @property
    def random(self) -> random.Random:
        """A generator seeded for this invocation: each attempt draws the same numbers."""
        if self._random is None:
            self._random = self._attempt.partition.ids.random(self._attempt.invocation.seed)
        return self._random

    def uuid(self) -> uuid.UUID:
        """A version 4 UUID, the same in each attempt."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def now(self) -> datetime.datetime:
        """The current time, UTC, in whole milliseconds; recorded, so each attempt reads the same time here."""
        attempt = self._attempt
        entry = attempt.command(Kind.NOW)
        if entry is None:
            entry = attempt.record(Kind.NOW, ref=attempt.partition.clock.now_ms())
        assert entry.ref is not None
        return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(milliseconds=entry.ref)

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

        An `async def` runs on the loop, any other function in a thread. It starts when everything before it is on disk.
        A TerminalError it raises is recorded and raised at the await; any other error ends this attempt, and the handler
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
        attempt = self._attempt
        codec = result_codec(function) if declared is None else codec_for(declared, f"ctx.step(type=...) of {name!r}")
        entry = attempt.command(Kind.RUN, name)
        if entry is None:
            entry = attempt.record(Kind.RUN, name)
        future: JournaledFuture[Any] = JournaledFuture(attempt, entry.idx, codec)
        attempt.expect(future)
        if not attempt.invocation.begun(entry.idx):
            bound = functools.partial(function, *args, **kwargs)
            attempt.guard_state()
            attempt.partition.start_step(attempt.invocation, entry.idx, bound, codec, retry)
        return future

    # --- time -----------------------------------------------------------------------------------------------------------

    def sleep(self, duration: float | datetime.timedelta) -> DurableFuture[None]:
        """Wait for seconds or a timedelta, for moments or months. A restart does not prolong the sleep.

        It never ends early by the machine's clock. A negative duration ends at once: `ctx.sleep(until - ctx.now())`.
        """
        return self._sleep(remaining(duration, "ctx.sleep"))

    def _sleep(self, duration_ms: int) -> Sleep:
        attempt = self._attempt
        entry = attempt.command(Kind.SLEEP, str(duration_ms))
        if entry is None:
            due = attempt.partition.clock.due_ms(duration_ms)
            entry = attempt.record(Kind.SLEEP, str(duration_ms), ref=due)
            attempt.partition.alarms.add(due, attempt.invocation, entry.idx)
        future = Sleep(attempt, entry.idx)
        attempt.expect(future)
        self.slept = True
        return future

    # --- awakeables -----------------------------------------------------------------------------------------------------

    @overload
    def awakeable(self, type: type[T], *, timeout: float | datetime.timedelta | None = None) -> Awakeable[T]: ...

    @overload
    def awakeable(self, type: Any = None, *, timeout: float | datetime.timedelta | None = None) -> Awakeable[Any]: ...

    def awakeable(self, type: Any = None, *, timeout: float | datetime.timedelta | None = None) -> Awakeable[Any]:
        """An id to pass on and a promise to await: `id, promise = ctx.awakeable(str)`, or one object with `.id`.

        The await returns what resolve was given, raises AwakeableRejected with reject's reason, or DurableTimeout when
        `timeout` (seconds or timedelta) passes first.
        """
        attempt = self._attempt
        codec = ANY if type is None else codec_for(type, "ctx.awakeable")
        timeout_ms = None if timeout is None else remaining(timeout, "timeout")
        asked = None if timeout_ms is None else str(timeout_ms)
        entry = attempt.command(Kind.AWAKEABLE, codec.name, asked)
        if entry is None:
            deadline = None if timeout_ms is None else attempt.partition.clock.due_ms(timeout_ms)
            entry = attempt.record(Kind.AWAKEABLE, codec.name, asked, deadline)
            if deadline is not None:
                attempt.partition.alarms.add(deadline, attempt.invocation, entry.idx)
        future: Awakeable[Any] = Awakeable(attempt, entry.idx, codec)
        attempt.expect(future)
        return future

    def resolve_awakeable(self, id: str, value: Any = None, *, type: Any = None) -> DurableFuture[None]:
        """Complete an awakeable of this app, exactly once, even if this future is not awaited.

        `type` is what the handler waits for where the value alone does not tell, for example `list[datetime]`. Raises
        SerializationError at once for a value that cannot be stored. Awaiting it raises UnknownAwakeable,
        AwakeableCompleted, or BadArguments if the waiting type refuses the value.
        """
        codec = value_codec(value) if type is None else codec_for(type, "ctx.resolve_awakeable(type=...)")
        return self._complete_awakeable(Kind.RESOLVE, id, codec.encode(value), codec)

    def reject_awakeable(self, id: str, reason: str) -> DurableFuture[None]:
        """Make an awakeable of this app fail with `reason`, exactly once, even if this future is not awaited."""
        if not isinstance(reason, str):
            raise BadArguments(f"reject_awakeable requires the reason as a str, got {type_name(type(reason))}.")
        return self._complete_awakeable(Kind.REJECT, id, ANY.encode(reason), ANY)

    def _complete_awakeable(self, kind: int, id: str, text: str, codec: Codec) -> DurableFuture[None]:
        attempt = self._attempt
        seq, index = attempt.partition.ids.read_awakeable(id)
        entry = attempt.command(kind, id, text, codec)
        if entry is None:
            entry = attempt.record(kind, id, text)
        future: JournaledFuture[None] = JournaledFuture(attempt, entry.idx, None)
        attempt.expect(future)
        attempt.must_finish(future)
        if not attempt.invocation.begun(entry.idx):
            attempt.partition.awakeables.complete_for(attempt.invocation, entry.idx, seq, index, kind, text)
        return future

    # --- durable promises -------------------------------------------------------------------------------------------------

    @overload
    def promise(self, name: str, type: type[T]) -> DurablePromise[T]: ...

    @overload
    def promise(self, name: str, type: Any = None) -> DurablePromise[Any]: ...

    def promise(self, name: str, type: Any = None) -> DurablePromise[Any]:
        """The promise `name` of this workflow, which all its handlers share: await, `resolve`, `reject` or `peek` at it.

        `type` is that of its value where the value alone does not tell. Raises WrongKind outside of a Workflow.
        """
        handler = self._attempt.invocation.handler
        if handler is None or handler.service.kind != "workflow":
            raise WrongKind(
                "ctx.promise belongs to a Workflow: there the handlers of one key share promises. In an object or a service use "
                "ctx.awakeable and pass its id on."
            )
        check_name(name, "ctx.promise")
        return DurablePromise(self._attempt, name, None if type is None else codec_for(type, "ctx.promise"))

    # --- other objects --------------------------------------------------------------------------------------------------

    def cancel(self, id: str) -> DurableFuture[None]:
        """Cancel another invocation, exactly once, even if this future is not awaited.

        Has no effect on an invocation that has ended. Awaiting it raises UnknownInvocation.
        """
        attempt = self._attempt
        seq = attempt.partition.ids.read_invocation(id)
        entry = attempt.command(Kind.CANCEL, id)
        if entry is None:
            entry = attempt.record(Kind.CANCEL, id)
        future: JournaledFuture[None] = JournaledFuture(attempt, entry.idx, None)
        attempt.expect(future)
        attempt.must_finish(future)
        invocation, partition = attempt.invocation, attempt.partition
        if not invocation.begun(entry.idx):
            cancelling = partition.operations.cancel_for(invocation, entry.idx, seq)
            partition.add_work(invocation, entry.idx, partition.spawn(cancelling))
        return future

    @overload
    def attach(self, id: str, type: type[T]) -> DurableFuture[T]: ...

    @overload
    def attach(self, id: str, type: Any = None) -> DurableFuture[Any]: ...

    def attach(self, id: str, type: Any = None) -> DurableFuture[Any]:
        """The outcome of an invocation that another caller has called or sent. `type` is what its handler returns.

        Awaiting it raises what that handler failed with, UnknownInvocation, or DeadlockError if that invocation waits
        for this one.
        """
        attempt = self._attempt
        codec = ANY if type is None else codec_for(type, "ctx.attach")
        seq = attempt.partition.ids.read_invocation(id)
        entry = attempt.command(Kind.ATTACH, id)
        if entry is None:
            entry = attempt.record(Kind.ATTACH, id, ref=seq)
        future: JournaledFuture[Any] = JournaledFuture(attempt, entry.idx, codec)
        attempt.expect(future)
        if not attempt.invocation.begun(entry.idx):
            attempt.partition.attachments.begin(attempt.invocation, entry.idx, seq)
        return future

    def object(self, cls: type[K], key: str) -> K:
        """A typed reference: `await ctx.object(Stock, "main").reserve(3)` calls, `.reserve.send(3)` sends one way.

        For objects and workflows. Raises WrongKind for a Service.
        """
        return keyed(self._attempt.partition.definition(cls), self, checked_key(key))  # type: ignore[no-any-return]

    def service(self, cls: type[S]) -> S:
        """The same for a Service, which has no key: `await ctx.service(Mailer).deliver("a@b")`. Raises WrongKind for others."""
        return keyless(self._attempt.partition.definition(cls), self)  # type: ignore[no-any-return]

    def handler(self, service: str, key: str, name: str) -> BoundHandler[..., Any]:
        """A handler by name, to call, to send to, or to set options of: the same as from a reference to its class.

        The key of a Service is "". Raises UnknownService or UnknownHandler.
        """
        target = self._attempt.partition.handler(service, name)
        return BoundHandler(self, target, key_for(target, key))

    def call(self, service: str, key: str, handler: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call by name; the key of a Service is "". Raises UnknownService or UnknownHandler at once."""
        target = self._attempt.partition.handler(service, handler)
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
        target = self._attempt.partition.handler(service, handler)
        if delay is not None:
            refuse_ambiguous(target, "delay")
        options = DEFAULT_OPTIONS if delay is None else Options(remaining(delay, "delay"))
        return self.dispatch_send(target, key_for(target, key), args, kwargs, options)

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Call[Any]:
        if options.delay_ms:
            raise BadArguments(
                "delay= goes with send: a call waits for its answer. Use ctx.sleep before the call, or .send(...)."
            )
        attempt = self._attempt
        text, values = target.encode(args, kwargs)
        name = f"{target.service.name}/{key}/{target.name}" if key else address(target.service.name, target.name)
        if options.idempotency_key is not None or target.once:
            return self._keyed(Kind.CALL, Message(target, key, text, values, options), name)
        entry = attempt.matches_call(Kind.CALL, target, name, text)
        if entry is None:
            partition, caller = attempt.partition, attempt.invocation
            try:
                partition.check_room(target, key, text, options.headers)
            except TerminalError as error:
                attempt.check_final(error, target, key, options)
                entry = attempt.record(Kind.CALL, name)
                partition.complete(caller, entry.idx, Kind.FAILED, failure_text(error))
            else:
                if partition.placements.lanes and partition.placements.under_way(caller, target, key):
                    entry = attempt.record(Kind.CALL, name, text)
                    return self._placed(entry, Message(target, key, text, values, options))
                seq = partition.next_number()
                entry = attempt.record(Kind.CALL, name, text, seq)
                headers = partition.headers_for(options.headers, caller)
                child = partition.accept(target, key, text, values, headers, seq, caller.seq, entry.idx)
                if caller.extras is not None:
                    partition.operations.called(caller, child, attempt.told)
        elif entry.ref is None and entry.value is not None:  # it waited for what was sent before it
            return self._placed(entry, Message(target, key, text, values, options))
        future: JournaledFuture[Any] = JournaledFuture(attempt, entry.idx, target.returns)
        attempt.expect(future)
        return future

    def _keyed(self, kind: int, message: Message, name: str) -> JournaledFuture[Any]:
        """A call or send under an idempotency key: which invocation it becomes is found out outside the handler.

        The future of the call's answer, or for a send that of the invocation's number.
        """
        attempt = self._attempt
        name += " once" if message.target.once else f" once as {message.idempotency_key!r}"
        entry = attempt.matches_call(kind, message.target, name, message.args_text)
        if entry is None:
            entry = attempt.record(kind, name, message.args_text)
        return self._placed(entry, message)

    def _placed(self, entry: Entry, message: Message) -> JournaledFuture[Any]:
        """The future of the answer to a recorded call that is placed beside the handler, or for a send that of its number."""
        attempt = self._attempt
        placed: JournaledFuture[Any] = JournaledFuture(attempt, entry.idx, ANY)
        attempt.expect_placement(placed)
        journal = attempt.invocation.journal
        if not attempt.invocation.begun(entry.idx) and journal is not None and journal.placed(entry.idx) is None:
            number = int(entry.before) if entry.before is not None else None
            attempt.partition.placements.begin(attempt.invocation, entry.idx, entry.kind, message, attempt.told, number)
        if entry.kind == Kind.SEND:
            return placed
        future: JournaledFuture[Any] = JournaledFuture(attempt, entry.idx, message.target.returns)
        attempt.expect(future)
        return future

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        attempt = self._attempt
        text, values = target.encode(args, kwargs)
        name = f"{target.service.name}/{key}/{target.name}" if key else address(target.service.name, target.name)
        if options.delay_ms:
            name += f" after {options.delay_ms} ms"
        if options.idempotency_key is not None or target.once:
            return PlacedMessage(attempt, self._keyed(Kind.SEND, Message(target, key, text, values, options), name))
        entry = attempt.matches_call(Kind.SEND, target, name, text)
        if entry is None:
            try:
                attempt.partition.check_room(target, key, text, options.headers)
            except TerminalError as error:  # recorded, so that a replay takes the same way
                attempt.check_final(error, target, key, options)
                attempt.record(Kind.SEND, name, before=failure_text(error))
                raise
            seq = attempt.partition.next_number()
            if attempt.partition.placements.under_way(attempt.invocation, target, key):
                entry = attempt.record(Kind.SEND, name, text, before=str(seq))
            else:
                entry = attempt.record(Kind.SEND, name, text, seq)
                headers = attempt.partition.headers_for(options.headers, attempt.invocation)
                attempt.partition.accept(target, key, text, values, headers, seq, None, None, options.delay_ms)
        number = entry.ref
        if number is None:
            if entry.value is None:
                raise failure_error(entry.before or "{}")
            self._placed(entry, Message(target, key, text, values, options))
            number = int(entry.before or 0)
        return SentMessage(attempt.partition.ids.invocation(number))

    def timeout(self, call: Call[T], duration: float | datetime.timedelta) -> DurableFuture[T]:
        """`call`, or DurableTimeout after `duration`. The deadline survives restarts; the call itself goes on."""
        duration_ms = remaining(duration, "ctx.timeout")
        return with_timeout(self._attempt, call, self._sleep(duration_ms), duration_ms / 1000)


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
