"""The functions given to `ctx.run`, between the gate that lets them start and the journal entry that ends them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors import failures, packing
from actors.context import inside_step
from actors.errors import (
    PayloadTooLarge,
    RetriesExhausted,
    SerializationError,
    TerminalError,
    failure_text,
    short_reason,
)
from actors.journal import Kind
from actors.logs import step_of
from actors.retry import RetryPolicy
from actors.serde import Codec

if TYPE_CHECKING:
    from actors.invocation import Invocation
    from actors.partition import Partition


class Step:
    """One execution of one step. It belongs to the invocation, not to an attempt.

    When an attempt ends while its step still runs, the next attempt waits for that same execution: a second one beside
    it could do the same side effect twice at the same time.
    """

    __slots__ = (
        "_codec",
        "_failures",
        "_first_failure_ms",
        "_function",
        "_invocation",
        "_partition",
        "_policy",
        "_running",
        "_variables",
        "index",
    )

    def __init__(
        self,
        partition: Partition,
        invocation: Invocation,
        index: int,
        function: Callable[[], Any],
        codec: Codec | None,
        policy: RetryPolicy | None,
        variables: contextvars.Context,
    ) -> None:
        self._partition = partition
        self._invocation = invocation
        self.index = index
        self._function = function
        self._codec = codec
        self._policy = policy
        self._variables = variables
        self._running: asyncio.Future[Any] | None = None
        self._failures = 0
        self._first_failure_ms = 0

    def start(self) -> None:
        """Run the function. Called once all it depends on is durable."""
        if self._over():
            return
        loop = self._partition.loop
        try:
            function = self._function
            if self._partition.watcher is not None:
                function = self._partition.watcher.step(self._invocation, self._name(), function)
            variables = self._variables.copy()  # one context cannot be entered by two threads at once
            variables.run(step_of.set, (self._partition, self._invocation))
            if is_async(function):
                self._running = loop.create_task(_no_stop_async(function), context=variables)
            else:
                call: Callable[[], Any] = functools.partial(_no_stop, function)
                self._running = loop.run_in_executor(self._partition.executor, variables.run, call)
        except Exception as error:  # arguments that do not fit, for example
            loop.call_soon(self._failed, error)  # the handler that asked for it may still be running
            return
        self._running.add_done_callback(self._done)

    def cancel(self) -> None:
        """The invocation has ended or the app stops. A function in a thread runs on; its result is ignored."""
        if self._running is not None:
            self._running.cancel()

    def _name(self) -> str:
        command = self._invocation.journal.command(self.index) if self._invocation.journal is not None else None
        return (command.name or "") if command is not None else ""

    def _over(self) -> bool:
        return self._invocation.ended or self._partition.stopped

    def _done(self, running: asyncio.Future[Any]) -> None:
        if self._over():
            if not running.cancelled():
                running.exception()  # mark it as seen
            return
        if running.cancelled():
            self._failed(asyncio.CancelledError("the step was cancelled from inside"))
            return
        error = running.exception()
        if error is not None:
            self._failed(error)
            return
        try:
            value = running.result()
            if inspect.iscoroutine(value):
                value.close()
                raise SerializationError(
                    "The step returned a coroutine. Pass ctx.run the async function itself, not a wrapper of it."
                )
            text = packing.pack(value) if self._codec is None else self._codec.encode(value)
            if len(text) > self._partition.limits.max_payload:
                raise PayloadTooLarge(
                    f"The step's result takes {len(text):,} characters; max_payload of the app allows "
                    f"{self._partition.limits.max_payload:,}. Let the step store it elsewhere and return where."
                )
        except TerminalError as refused:
            self._partition.complete(self._invocation, self.index, Kind.FAILED, failure_text(refused))
            return
        except Exception as broken:  # a method of the value's own class, for example
            self._failed(broken)
            return
        self._partition.complete(self._invocation, self.index, Kind.COMPLETED, text)

    def _failed(self, error: BaseException) -> None:
        partition = self._partition
        terminal = failures.terminal(error)
        if terminal is not None:
            partition.complete(
                self._invocation, self.index, Kind.FAILED, failure_text(terminal, partition.limits.max_failure)
            )
            return
        policy = self._policy
        if policy is None:
            note = f"Raised by the step {self._name()!r}. Only a TerminalError of a step reaches the handler's except."
            with contextlib.suppress(Exception):  # of a class that lets nobody set its attributes
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
            failures.step_failed(partition, self._invocation, self.index, error)
            return
        now = partition.clock.now_ms()
        if self._failures == 0:
            self._first_failure_ms = now
        self._failures += 1
        if policy.exhausted(self._failures, now - self._first_failure_ms):
            exhausted = RetriesExhausted(
                f"The step failed {self._failures} times; the last error was {short_reason(failures.principal(error))}."
            )
            partition.complete(self._invocation, self.index, Kind.FAILED, failure_text(exhausted))
            return
        partition.wake_at(now + policy.delay_ms(self._failures, partition.rng), self.start)


def _no_stop(function: Callable[[], Any]) -> Any:
    """A future cannot carry StopIteration: asyncio would drop it, and the step would never end."""
    inside_step.set(True)
    try:
        return function()
    except StopIteration as stop:
        raise RuntimeError("the step raised StopIteration") from stop


async def _no_stop_async(function: Callable[[], Any]) -> Any:
    """Calls it too: a coroutine made before its task runs would be left over if that is cancelled first."""
    inside_step.set(True)
    try:
        return await function()
    except StopIteration as stop:
        raise RuntimeError("the step raised StopIteration") from stop
    except (SystemExit, KeyboardInterrupt) as stop:  # asyncio would end the loop, and so the server
        raise failures.contained(stop, "The step") from stop


def is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
