"""The functions of steps: one result for each, whatever the function does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from actors import RetryPolicy, TerminalError
from actors.serde import codec_for
from actors.transport.restate.failed_attempts import FailedAttempts
from actors.transport.restate.failures import ERROR
from actors.transport.restate.machine import Failure, MachineError, Retry
from actors.transport.restate.payloads import of_step
from actors.transport.restate.steps import Steps


class Proposals:
    """The part of a machine that steps use; `closed` once the attempt has ended there."""

    def __init__(self) -> None:
        self.made: list[tuple[int, Any]] = []
        self.retries: list[tuple[int, Failure, int, Retry | None]] = []
        self.closed = False

    def propose(self, handle: int, result: bytes | Failure) -> None:
        if self.closed:
            raise MachineError("the attempt is over")
        self.made.append((handle, result))

    def propose_retry(self, handle: int, failure: Failure, took_ms: int, retry: Retry | None) -> None:
        if self.closed:
            raise MachineError("the attempt is over")
        self.retries.append((handle, failure, took_ms, retry))


class Held(Executor):
    """Functions wait until they are let go."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def go(self) -> None:
        for future, function in self.waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(function())
        self.waiting.clear()


class Made:
    def __init__(self, executor: Executor | None = None) -> None:
        self.proposals = Proposals()
        self.woken = asyncio.Event()
        machine: Any = self.proposals
        failed = FailedAttempts()

        def warn(name: str, error: BaseException) -> None:
            failed.warn("inv_1", "Order/a/add (inv_1)", f"the step {name}", error, {})

        self.steps = Steps(machine, executor, 100, self.woken.set, warn, 50)

    def begin(self, function: Callable[[], Any], type: Any = None, retry: RetryPolicy | None = None) -> None:
        codec = None if type is None else codec_for(type, "a test")
        self.steps.request(17, "charge", function, codec, retry)
        self.steps.execute(17)

    async def result(self, function: Callable[[], Any], type: Any = None) -> Any:
        """What is proposed."""
        self.begin(function, type)
        await self.woken.wait()
        assert not self.proposals.retries
        ((handle, result),) = self.proposals.made
        assert handle == 17
        return result

    async def failure(self, function: Callable[[], Any], retry: RetryPolicy | None = None) -> Failure:
        """What another attempt is requested for."""
        self.begin(function, None, retry)
        await self.woken.wait()
        assert not self.proposals.made
        return self.proposals.retries[0][1]


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    with ThreadPoolExecutor(1) as threads:
        yield Made(threads)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_asynchronous_function_runs_on_the_loop(made: Made) -> None:
    async def function() -> Any:
        return threading.get_ident(), {1, 2}

    assert of_step(None, await made.result(function)) == (threading.get_ident(), {1, 2})


async def test_any_other_function_runs_in_a_thread(made: Made) -> None:
    assert of_step(None, await made.result(threading.get_ident)) != threading.get_ident()


async def test_a_function_is_executed_when_the_machine_says_so(made: Made) -> None:
    calls: list[str] = []
    made.steps.request(17, "charge", lambda: calls.append("charged"), None, None)
    await turns()
    assert not calls and not made.steps.running
    made.steps.execute(17)
    assert made.steps.running
    await made.woken.wait()
    await turns()
    assert calls == ["charged"] and not made.steps.running


async def test_a_terminal_error_is_the_result(made: Made) -> None:
    def function() -> None:
        raise TerminalError("declined", code=402, metadata={"card": "1"})

    failure = await made.result(function)
    assert failure == Failure(402, "declined", (("card", "1"), (ERROR, "terminal_error")))


async def test_a_group_of_terminal_errors_is_terminal(made: Made) -> None:
    async def function() -> None:
        raise ExceptionGroup("both", [TerminalError("a"), TerminalError("b")])

    assert (await made.result(function)).message == "a"


async def test_the_message_of_a_terminal_error_is_cut(made: Made) -> None:
    def function() -> None:
        raise TerminalError("a" * 500)

    assert len((await made.result(function)).message) < 300


async def test_a_result_that_its_type_refuses_is_terminal(made: Made) -> None:
    failure = await made.result(lambda: "x", int)
    assert dict(failure.metadata)[ERROR] == "not_serializable"
    assert "The result of charge cannot be recorded" in failure.message


async def test_a_result_that_cannot_be_stored_is_terminal(made: Made) -> None:
    assert dict((await made.result(object)).metadata)[ERROR] == "not_serializable"


async def test_a_result_that_is_too_large_is_terminal(made: Made) -> None:
    failure = await made.result(lambda: "x" * 101)
    assert failure.code == 413 and "The result of charge" in failure.message


@pytest.mark.expects_log("Order/a/add (inv_1): the step charge failed: KeyError('no')")
async def test_any_other_error_requests_another_attempt(made: Made) -> None:
    def function() -> None:
        raise KeyError("no")

    failure = await made.failure(function)
    assert (failure.code, failure.message) == (500, "KeyError('no')")
    assert failure.stacktrace is not None and "in function" in failure.stacktrace
    assert made.proposals.retries[0][3] is None


@pytest.mark.expects_log("the step charge failed")
async def test_a_policy_of_the_step_goes_to_the_machine(made: Made) -> None:
    policy = RetryPolicy(initial_interval=0.5, factor=3, max_interval=9, max_attempts=4, max_duration=60)
    await made.failure(lambda: 1 / 0, policy)
    assert made.proposals.retries[0][3] == Retry(500, 3, 9000, 4, 60_000)


@pytest.mark.expects_log("the step charge failed")
async def test_a_policy_without_limits_has_none_at_the_machine(made: Made) -> None:
    await made.failure(lambda: 1 / 0, RetryPolicy(max_attempts=None))
    assert made.proposals.retries[0][3] == Retry(100, 2.0, 60_000, None, None)


@pytest.mark.expects_log("the step charge failed")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_an_exit_ends_the_step_and_not_the_process(made: Made, error: BaseException) -> None:
    def function() -> None:
        raise error

    async def on_the_loop() -> None:
        raise error

    assert "The step charge raised" in (await made.failure(function)).message
    other = Made()
    assert "The step charge raised" in (await other.failure(on_the_loop)).message


@pytest.mark.expects_log("the step charge failed")
async def test_a_stop_iteration_does_not_get_lost(made: Made) -> None:
    def function() -> None:
        next(iter(()))

    assert "raised StopIteration" in (await made.failure(function)).message


@pytest.mark.expects_log("the step charge failed")
async def test_a_function_that_cancels_itself_is_tried_again(made: Made) -> None:
    async def function() -> None:
        raise asyncio.CancelledError

    assert "The step charge was cancelled" in (await made.failure(function)).message


async def test_an_asynchronous_function_is_cancelled_with_the_attempt(made: Made) -> None:
    seen: list[str] = []

    async def function() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    made.begin(function)
    await turns()
    made.steps.stop()
    await turns()
    assert seen == ["cancelled"] and not made.steps.running
    assert not made.proposals.made and not made.proposals.retries


async def test_what_swallows_the_cancellation_has_no_effect(made: Made) -> None:
    async def function() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "late"
        return "done"

    made.begin(function)
    await turns()
    made.steps.stop()
    await turns()
    assert not made.proposals.made and not made.steps.running


async def test_a_failure_after_the_attempt_has_no_effect(made: Made) -> None:
    async def function() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("late")

    made.begin(function)
    await turns()
    made.steps.stop()
    await turns()
    assert not made.proposals.retries


async def test_a_thread_ends_by_itself_after_the_attempt() -> None:
    held = Held()
    made = Made(held)
    made.begin(lambda: 5)
    await turns()
    made.steps.stop()
    await turns()
    held.go()
    await turns()
    assert not made.proposals.made and not made.steps.running


async def test_a_machine_that_has_ended_takes_no_result() -> None:
    held = Held()
    made = Made(held)
    made.begin(lambda: 5)
    await turns()
    made.proposals.closed = True
    held.go()
    await made.woken.wait()
    await turns()
    assert not made.proposals.made and not made.steps.running
