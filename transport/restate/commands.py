"""What a handler on Restate requests, as commands of the machine: `model.journaling.Journaling`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar, cast

from actors.errors import (
    AttemptEnded,
    AwakeableRejected,
    BadId,
    DeadlockError,
    PromiseCompleted,
    PromiseRejected,
    RetriesExhausted,
    TerminalError,
    UnknownInvocation,
)
from actors.journal.entries import Kind
from actors.model.calls import Call, InvocationHandle
from actors.model.combinators import with_timeout
from actors.model.context import Context
from actors.model.definitions import HandlerDefinition
from actors.model.futures import Awakeable, DurableFuture, JournaledFuture, Sleep
from actors.model.names import address
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.model.sent_messages import SentMessage
from actors.serde import ANY, Codec
from actors.serde.type_names import shortened
from actors.storage.records import Mode
from actors.transport.restate.failures import from_failure, names_its_class, to_failure
from actors.transport.restate.line import nothing
from actors.transport.restate.machine import (
    Failure,
    Headers,
    Value,
)
from actors.transport.restate.payloads import body_of, completed, decoded, of_step, of_text
from actors.transport.restate.state_commands import StateCommands
from actors.transport.restate.waiters import CHAIN, chain_text

T = TypeVar("T")
R = TypeVar("R", bound=Callable[..., Any])

APART_MS = 2  # between two delayed messages to one key, since Restate has no order among timers of one millisecond


class MachineMessage(SentMessage[T]):
    """The handle of a message. Its id is known after an await of the handle; without one it may cost another attempt."""

    __slots__ = ("_commands", "_placed")

    def __init__(self, commands: Commands, placed: JournaledFuture[str]) -> None:
        self._commands = commands
        self._placed = placed

    @property
    def id(self) -> str:
        if not self._placed.done():
            self._placed._succeed(_unless_failed(self._commands.value_now(self._placed.command)))
        return self._placed._value  # type: ignore[no-any-return]

    def __await__(self) -> Generator[Any, None, MachineMessage[T]]:
        yield from self._placed.__await__()
        return self


def _unless_given_up(request: R) -> R:
    """A handler that swallows each AttemptEnded gets a future that nothing completes: at its await the handler is left."""

    @functools.wraps(request)
    def answered(self: Commands, *arguments: Any) -> Any:
        return self.never() if self.gave_up else request(self, *arguments)

    return cast(R, answered)


class Commands(StateCommands):
    """`model.journaling.Journaling`, on a machine."""

    _context: Context | None = None

    @property
    def context(self) -> Context:
        if self._context is None:
            self._context = Context(self)
        return self._context

    def leave(self) -> None:
        super().leave()
        self._context = None

    def never(self) -> Awakeable[Any]:
        self._awakeables[0] = ""
        return Awakeable(self, 0, ANY)

    # --- steps and time -------------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        self.flush()
        run = self._do(self._machine.run, "now")
        if run.replayed:
            return int(self.value_now(run.handle))
        now_ms = round(self._served.now() * 1000)
        self._do(self._machine.propose, run.handle, str(now_ms).encode())
        self._future(run.handle, nothing)
        return now_ms

    @_unless_given_up
    def step(
        self,
        name: str,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        codec: Codec | None,
        retry: RetryPolicy | None,
    ) -> DurableFuture[Any]:
        self.flush()
        self._guard(function, args, kwargs)
        run = self._do(self._machine.run, name)
        self._elsewhere.add(run.handle)
        if not run.replayed:
            self.steps.request(run.handle, name, functools.partial(function, *args, **kwargs), codec, retry)
        return self._future(run.handle, functools.partial(self._of_step, codec))

    def _of_step(self, codec: Codec | None, value: Value) -> Any:
        if not isinstance(value, Failure):
            return of_step(codec, value)  # type: ignore[arg-type]
        if names_its_class(value) or value.code == 409:  # raised by the function; or a cancellation, by the machine
            raise self._passed_on(from_failure(value))
        raise RetriesExhausted(f"The step failed; its last error was {value.message}.")

    def _guard(self, function: Any, args: Any, kwargs: Any) -> None:
        """A step is about to run. Assignments inside it are refused, and what it may read of the object is read now."""
        instance: Any = self.state.instance
        if self._handler.mode == Mode.KEYLESS:
            return
        if _reaches(function, args, kwargs, instance):
            self.state.hand_out_all(instance)
        if not self._handler.shared:
            instance.__class__ = self._guarded

    @_unless_given_up
    def sleep(self, duration_ms: int) -> Sleep:
        self.flush()
        handle = self._do(self._machine.sleep, duration_ms, str(duration_ms))  # by its name another duration is noticed
        future = Sleep(self, handle)
        self._sleeps.append(future)
        self._expect(future, handle, nothing)
        return future

    # --- awakeables, promises, other invocations ------------------------------------------------------------------------------

    @_unless_given_up
    def awakeable(self, codec: Codec, timeout_ms: int | None) -> Awakeable[Any]:
        self.flush()
        id, handle = self._do(self._machine.awakeable)
        self._awakeables[handle] = id
        future: Awakeable[Any] = Awakeable(self, handle, codec)
        self._expect(future, handle, functools.partial(self._completed, codec, AwakeableRejected))
        if timeout_ms is None:
            return future
        timed: Awakeable[Any] = Awakeable(self, handle, codec)  # the awakeable or the sleep, whichever is first
        limited = with_timeout(self, future, self.sleep(timeout_ms), timeout_ms / 1000)
        limited._watch(functools.partial(_pass_on, timed))
        return timed

    def _completed(self, codec: Codec, rejected: type[TerminalError], value: Value) -> Any:
        if isinstance(value, Failure):
            raise from_failure(value, rejected)
        return completed(codec, value)  # type: ignore[arg-type]

    @_unless_given_up
    def complete_awakeable(self, kind: int, id: str, text: str, codec: Codec) -> DurableFuture[None]:
        if not isinstance(id, str) or not id.startswith(("sign_1", "prom_1")) or len(id) < 20:
            raise BadId(f"{shortened(id)} is not a valid awakeable id.")
        self.flush()
        result = of_text(codec, text) if kind == Kind.RESOLVE else to_failure(AwakeableRejected(ANY.decode(text)))
        self._do(self._machine.complete_awakeable, id, result)
        return self._done()

    def _done(self) -> DurableFuture[None]:
        """Of a command without an answer."""
        future: DurableFuture[None] = DurableFuture(self)
        future._succeed(None)
        return future

    @_unless_given_up
    def cancel_invocation(self, id: str) -> DurableFuture[None]:
        _check_invocation_id(id)
        self.flush()
        self._do(self._machine.cancel, id)
        return self._done()

    @_unless_given_up
    def attach(self, id: str, codec: Codec) -> DurableFuture[Any]:
        _check_invocation_id(id)
        self.flush()
        return self._attached(id, codec)

    def _attached(self, id: str, codec: Codec) -> JournaledFuture[Any]:
        handle = self._do(self._machine.attach, id)
        self._elsewhere.add(handle)
        return self._future(handle, functools.partial(self._outcome, codec, True))

    def _outcome(self, codec: Codec, attached: bool, value: Value) -> Any:
        if not isinstance(value, Failure):
            return decoded(codec, value)  # type: ignore[arg-type]
        if attached and value.code == 404 and not value.metadata:
            raise UnknownInvocation(value.message)
        raise self._passed_on(from_failure(value))

    def _passed_on(self, error: TerminalError) -> TerminalError:
        """An error that other code has raised: it is not a mistake of this handler."""
        error._elsewhere = True
        return error

    def wait_promise(self, promise: JournaledFuture[Any], name: str, codec: Codec) -> None:
        self.flush()
        promise.command = self._do(self._machine.get_promise, name)
        self._expect(promise, promise.command, functools.partial(self._completed, codec, PromiseRejected))

    @_unless_given_up
    def peek_promise(self, name: str, codec: Codec) -> DurableFuture[Any]:
        self.flush()
        handle = self._do(self._machine.peek_promise, name)
        return self._future(handle, functools.partial(self._peeked, codec))

    def _peeked(self, codec: Codec, value: Value) -> Any:
        return None if value is None else self._completed(codec, PromiseRejected, value)

    @_unless_given_up
    def complete_promise(self, kind: int, name: str, text: str, codec: Codec) -> DurableFuture[None]:
        """Restate refuses a second completion. The same completion again is allowed: look which completion is there."""
        self.flush()
        resolves = kind == Kind.RESOLVE_PROMISE
        result = of_text(codec, text) if resolves else to_failure(PromiseRejected(ANY.decode(text)))
        handle = self._do(self._machine.complete_promise, name, result)
        done: DurableFuture[None] = DurableFuture(self)
        self.musts.append(done)

        def on_answer(answer: DurableFuture[Any]) -> None:
            if answer._error is None:
                done._succeed(None)
                return
            try:
                there = self._future(
                    self._do(self._machine.peek_promise, name),
                    functools.partial(self._peeked, codec if resolves else ANY),
                )
            except AttemptEnded as ended:
                done._fail(ended)
                return
            there._watch(on_peek)

        def on_peek(there: DurableFuture[Any]) -> None:
            if resolves:
                same = there._error is None and codec.equal(codec.encode(there._value), text)
            else:
                same = isinstance(there._error, TerminalError) and there._error.message == ANY.decode(text)
            if same:
                done._succeed(None)
            else:
                done._fail(
                    PromiseCompleted(
                        f"The promise {name!r} was completed before, in another way. The first completion stands."
                    )
                )

        self._future(handle, _unless_failed)._watch(on_answer)
        return done

    # --- messages -------------------------------------------------------------------------------------------------------------

    @_unless_given_up
    def call(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> Call[Any]:
        body = self._body(target, text)
        self.flush()
        place = address(target.service.name, key)
        if target.mode == Mode.EXCLUSIVE and place in self.chain:  # the same in each attempt: it came with the input
            cycle = [*self.chain[self.chain.index(place) :], place]
            refused: DurableFuture[Any] = DurableFuture(self)
            refused._fail(
                DeadlockError(
                    f"This call would wait for itself: {' -> '.join(cycle)}. Send instead, or call another key."
                )
            )
            return refused
        headers = self._headers_for(options.headers, waits=True)
        service, name = target.service.name, target.name
        if not target.once:
            handle = self._do(self._machine.call, service, name, key, body, options.idempotency_key, headers)
            self._elsewhere.add(handle)
            return self._future(handle, functools.partial(self._outcome, target.returns, False))
        # The run of a workflow: Restate refuses a second call, and answers a second send with the id of the first.
        sent = self._do(self._machine.send, service, name, key, body, 0, options.idempotency_key, headers)
        combined: DurableFuture[Any] = DurableFuture(self)

        def on_placed(placed: DurableFuture[Any]) -> None:
            if placed._error is not None:
                combined._fail(placed._error)
                return
            try:
                self._attached(placed._value, target.returns)._watch(functools.partial(_pass_on, combined))
            except AttemptEnded as ended:
                combined._fail(ended)

        self._future(sent, _unless_failed)._watch(on_placed)
        return combined

    @_unless_given_up
    def send(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> InvocationHandle[Any]:
        body = self._body(target, text)
        self.flush()
        return self.send_body(target.service.name, target.name, key, body, options)

    def send_body(self, service: str, handler: str, key: str, body: bytes, options: Options) -> MachineMessage[Any]:
        delay_ms = self._in_order(service, key, options.delay_ms)
        headers = self._headers_for(options.headers, waits=False)
        handle = self._do(self._machine.send, service, handler, key, body, delay_ms, options.idempotency_key, headers)
        placed: JournaledFuture[str] = self._future(handle, _unless_failed)
        return MachineMessage(self, placed)

    def _in_order(self, service: str, key: str, delay_ms: int) -> int:
        """The delay of a message that must be due after the one sent before it."""
        if not delay_ms:
            return 0
        now_ms = round(self._served.now() * 1000)
        due_ms = max(now_ms + delay_ms, self._last_due.get((service, key), 0) + APART_MS)
        self._last_due[service, key] = due_ms
        return due_ms - now_ms

    def _body(self, target: HandlerDefinition, text: str) -> bytes:
        self.check_size(text, f"The arguments of {target.target}")
        return body_of(target, text)

    def _headers_for(self, given: dict[str, str] | None, waits: bool) -> Headers:
        headers = dict(given or {})
        for name in ("traceparent", "tracestate", "baggage"):
            if name in self._headers:
                headers.setdefault(name, self._headers[name])
        if waits and self.chain:
            headers[CHAIN] = chain_text(self.chain)
        return list(headers.items())


def _unless_failed(value: Value) -> Any:
    if isinstance(value, Failure):
        raise from_failure(value)
    return value


def _pass_on(to: DurableFuture[Any], outcome: DurableFuture[Any]) -> None:
    if outcome._error is not None:
        to._fail(outcome._error)
    else:
        to._succeed(outcome._value)


def _check_invocation_id(id: Any) -> None:
    if not isinstance(id, str) or not id.startswith("inv_1") or len(id) < 10:
        raise BadId(f"{shortened(id)} is not a valid invocation id.")


def _reaches(function: Any, args: Sequence[Any], kwargs: dict[str, Any], instance: Any) -> bool:
    """Whether a step may read the object: it is a method of it, has closed over it, or gets it as an argument."""
    while isinstance(function, functools.partial):
        args, kwargs, function = [*args, *function.args], {**kwargs, **function.keywords}, function.func
    if getattr(function, "__self__", None) is instance:
        return True
    cells = getattr(function, "__closure__", None) or ()
    if any(cell.cell_contents is instance for cell in cells if _filled(cell)):
        return True
    return any(one is instance for one in (*args, *kwargs.values()))


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
