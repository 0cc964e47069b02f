"""The functions of `ctx.run` on Restate: executed when the machine says so; their results are proposed to it.

Promise: a result is proposed once; a function that an attempt leaves behind has no effect on the journal.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

from actors.errors import SerializationError, short_reason
from actors.model import raised
from actors.model.inside import inside_step
from actors.model.refusals import too_large
from actors.model.result_types import is_async
from actors.model.retry import RetryPolicy
from actors.serde import Codec
from actors.transport.restate.failures import to_failure
from actors.transport.restate.machine import Failure, Machine, MachineError, Retry
from actors.transport.restate.payloads import step_result

log = logging.getLogger("actors")


class _Step(NamedTuple):
    name: str
    function: Callable[[], Any]
    codec: Codec | None
    retry: RetryPolicy | None
    variables: contextvars.Context


class Steps:
    """Steps of one attempt. `wake` is called when a result was proposed, `failed` with the name of a step that failed."""

    def __init__(
        self,
        machine: Machine,
        executor: Executor | None,
        max_payload: int,
        wake: Callable[[], None],
        failed: Callable[[str, BaseException], object],
        max_failure: int,
    ) -> None:
        self._machine = machine
        self._executor = executor
        self._max_payload = max_payload
        self._max_failure = max_failure
        self._wake = wake
        self._failed = failed
        self._requested: dict[int, _Step] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._over = False

    def request(
        self, handle: int, name: str, function: Callable[[], Any], codec: Codec | None, retry: RetryPolicy | None
    ) -> None:
        """The function is to be executed when the machine asks for it."""
        self._requested[handle] = _Step(name, function, codec, retry, contextvars.copy_context())

    def execute(self, handle: int) -> None:
        step = self._requested.pop(handle)
        step.variables.run(inside_step.set, True)
        task = asyncio.get_running_loop().create_task(self._execute(handle, step), context=step.variables)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @property
    def running(self) -> bool:
        """Whether a function is being executed."""
        return bool(self._running)

    def stop(self) -> None:
        """The attempt is over: asynchronous functions are cancelled, those in threads end by themselves."""
        self._over = True
        self._failed = _ignored
        self._requested.clear()
        for task in self._running:
            task.cancel()

    async def _execute(self, handle: int, step: _Step) -> None:
        began = time.monotonic()
        result: bytes | Failure
        try:
            value = await self._call(step)
            result = step_result(step.codec, value)
            if len(result) > self._max_payload:
                raise too_large(result, f"The result of {step.name}", self._max_payload)
        except asyncio.CancelledError:
            if self._over:
                raise
            failed: BaseException = RuntimeError(f"The step {step.name} was cancelled.")
            self._again(handle, step, failed, began)
            return
        except SerializationError as error:
            refused = SerializationError(f"The result of {step.name} cannot be recorded: {error}")
            result = to_failure(refused, self._max_failure, marked=True)
        except BaseException as error:
            error = raised.contained(error, f"The step {step.name}") if not isinstance(error, Exception) else error
            terminal = raised.terminal(error)
            if terminal is None:
                self._again(handle, step, error, began)
                return
            result = to_failure(terminal, self._max_failure, marked=True)
        if not self._over:
            try:
                self._machine.propose(handle, result)
            except MachineError as error:  # the attempt has ended meanwhile
                log.debug("The result of the step %s came too late: %s", step.name, error)
        self._wake()

    async def _call(self, step: _Step) -> Any:
        if is_async(step.function):
            return await step.function()
        variables = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._executor, variables.run, _called, step.function)

    def _again(self, handle: int, step: _Step, error: BaseException, began: float) -> None:
        """The step has failed: the server decides when another attempt executes it again, or that there is none."""
        if self._over:
            return
        self._failed(step.name, error)
        stacktrace = "".join(traceback.format_exception(error))
        failure = Failure(500, short_reason(error), stacktrace=stacktrace)
        took_ms = round((time.monotonic() - began) * 1000)
        try:
            self._machine.propose_retry(handle, failure, took_ms, _retry(step.retry))
        except MachineError as ended:
            log.debug("The failure of the step %s came too late: %s", step.name, ended)
        self._wake()


def _ignored(name: str, error: BaseException) -> None: ...


def _called(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except StopIteration as stop:
        raise RuntimeError("The step raised StopIteration.") from stop  # a future cannot hold StopIteration


def _retry(policy: RetryPolicy | None) -> Retry | None:
    if policy is None:
        return None
    return Retry(
        round(policy.initial_interval * 1000),
        policy.factor,
        round(policy.max_interval * 1000),
        policy.max_attempts,
        None if policy.max_duration is None else round(policy.max_duration * 1000),
    )
