"""Steps between their executions: what stops them, what is known of them, what waits for them."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import App, Context, Limits, RetryPolicy, Service, VirtualObject, handler, shared
from actors.errors import DefinitionError, InvocationCancelled, InvocationKilled, ObjectBusy, RetriesExhausted
from actors.journal.tries import Tries
from tests.held_executor import HeldExecutor
from tests.world import World, limits, outcome

calls: list[Any] = []
fails = True  # whether the bank is down
POLICY = RetryPolicy(initial_interval=1, factor=1, max_attempts=5)


def charge() -> str:
    calls.append("charge")
    if fails:
        raise RuntimeError("the bank is down")
    return "charged"


async def charge_async() -> str:
    return charge()


class Order(VirtualObject):
    @handler
    async def pay(self, ctx: Context) -> str:
        return await ctx.step(name="charge", retry=POLICY).run(charge)

    @handler
    async def pay_async(self, ctx: Context) -> str:
        return await ctx.step(name="charge", retry=POLICY).run(charge_async)

    @handler
    async def pay_carefully(self, ctx: Context) -> str:
        paid = ctx.step(name="charge", retry=POLICY).run(charge)
        try:
            return await paid
        except InvocationCancelled:
            await ctx.sleep(30)  # it cleans up; meanwhile nobody may be charged
            try:
                return await paid
            except InvocationCancelled as error:
                return error.message

    @handler
    async def pay_after_cancellation(self, ctx: Context) -> str:
        try:
            return await ctx.awakeable(str)
        except InvocationCancelled:
            return await ctx.step(name="refund", retry=POLICY).run(charge)

    @handler
    async def pay_beside_a_call(self, ctx: Context) -> str:
        call = ctx.object(Order, "callee").linger()
        paid = ctx.step(name="charge", retry=POLICY).run(charge)
        return str(await ctx.all(call, paid))

    @handler
    async def linger(self, ctx: Context) -> None:
        try:
            await ctx.awakeable(str)
        except InvocationCancelled:
            await ctx.sleep(30)

    @handler
    async def pay_beside_a_failure(self, ctx: Context) -> str:
        paid = ctx.step(name="charge", retry=POLICY).run(charge)
        await ctx.run(broken)
        return await paid

    @handler
    async def next(self) -> str:
        calls.append("next")
        return "next"


def broken() -> None:
    raise ValueError("not a TerminalError")


@pytest.fixture(autouse=True)
def _the_bank_is_down() -> None:
    global fails
    fails = True
    calls.clear()


def _bank_is_up() -> None:
    global fails
    fails = False


retried = pytest.mark.may_log("next try in", "failed, next in", "is paused. It is tried again")


async def _seconds(world: World, count: int) -> None:
    for _ in range(count * 4):
        await world.pass_time(0.25)


# --- pause, cancel, kill --------------------------------------------------------------------------------------------------


@retried
@pytest.mark.parametrize("restart", [False, True], ids=["live", "restart"])
@pytest.mark.parametrize("way", ["pay", "pay_async", "pay_carefully"])
@pytest.mark.parametrize("operation", ["pause", "cancel", "kill"])
async def test_an_operation_stops_the_retries_of_a_step(operation: str, way: str, restart: bool) -> None:
    async with World(Order) as world:
        sent = await world.app.send("Order", "o", way)
        await world.settle()
        await _seconds(world, 1)
        before = len(calls)
        assert before >= 1
        await getattr(world.app, operation)(sent.id)
        await world.settle()
        if restart:
            await world.restart()
        await _seconds(world, 20)
        assert len(calls) == before
        if operation == "pause":
            _bank_is_up()
            await world.app.resume(sent.id)
            await _seconds(world, 2)
            assert await world.outcome(sent) == "charged"
            assert len(calls) == before + 1
        elif (operation, way) == ("cancel", "pay_carefully"):
            await _seconds(world, 20)
            assert await world.outcome(sent) == "The step charge is not tried again: its invocation was cancelled."
        else:
            assert await world.outcome(sent) is {"cancel": InvocationCancelled, "kill": InvocationKilled}[operation]
        assert len(calls) <= before + 1


@retried
async def test_a_step_that_cleans_up_after_a_cancellation_is_retried() -> None:
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").pay_after_cancellation.send()
        await world.settle()
        await world.app.cancel(sent.id)
        await world.settle()
        await _seconds(world, 1)
        _bank_is_up()
        await world.restart()
        await _seconds(world, 2)
        assert await world.outcome(sent) == "charged"


@retried
async def test_a_step_is_not_retried_while_a_cancellation_waits_for_calls() -> None:
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").pay_beside_a_call.send()
        await world.settle()
        await _seconds(world, 1)
        before = len(calls)
        await world.app.cancel(sent.id)
        await _seconds(world, 20)
        assert (await world.status(sent), len(calls)) == ("running", before)
        await _seconds(world, 20)
        assert await world.outcome(sent) is InvocationCancelled
        assert len(calls) == before


@retried
async def test_an_invocation_that_its_policy_pauses_executes_no_step() -> None:
    async with World(Order, retry=RetryPolicy(max_attempts=1)) as world:
        sent = await world.app.object(Order, "o").pay_beside_a_failure.send()
        await world.settle()
        assert await world.status(sent) == "paused"
        before = len(calls)
        await _seconds(world, 20)
        assert len(calls) == before


@retried
@pytest.mark.parametrize("operation", ["pause", "kill"])
async def test_a_step_that_waits_for_a_thread_does_not_get_one_any_more(operation: str) -> None:
    executor = HeldExecutor(threads=1)
    _bank_is_up()
    async with World(Order, executor=executor) as world:
        await world.app.object(Order, "first").pay.send()
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        await getattr(world.app, operation)(sent.id)
        executor.end()
        await world.settle()
        assert (calls, executor.taken) == (["charge"], [])
        if operation == "pause":
            await world.app.resume(sent.id)
            await world.settle()
            executor.end()
            assert await outcome(sent) == "charged"
        assert len(calls) == (2 if operation == "pause" else 1)


@retried
@pytest.mark.parametrize("resume", ["while it runs", "after it has failed"])
async def test_a_step_that_runs_when_its_invocation_is_paused_counts(resume: str) -> None:
    executor = HeldExecutor()
    async with World(Order, executor=executor) as world:
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        await world.app.pause(sent.id)
        (step,) = (await world.app.describe(sent.id)).steps
        assert (step.name, step.status, step.failed) == ("charge", "running", 0)
        if resume == "while it runs":
            await world.app.resume(sent.id)
            await world.settle()
            assert len(executor.taken) == 1, "no second one beside it"
        executor.end()
        await world.settle()
        await _seconds(world, 5)
        assert len(executor.taken) == (1 if resume == "while it runs" else 0)
        if resume != "while it runs":
            (step,) = (await world.app.describe(sent.id)).steps
            assert (step.status, step.failed) == ("stopped", 1)
            await world.app.resume(sent.id)
            await world.settle()
        _bank_is_up()
        await _seconds(world, 2)
        executor.end()
        assert await outcome(sent) == "charged"


# --- what is remembered ---------------------------------------------------------------------------------------------------


@pytest.mark.may_log("next try in", "failed for good")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=14))
async def test_a_policy_of_a_step_holds_across_restarts(script: list[tuple[int, bool]]) -> None:
    """Whenever the process dies: as many executions as the policy says, and as far apart."""
    calls.clear()
    times: list[int] = []
    async with World(Order) as world:

        def noted() -> None:
            times.append(world.clock.now_ms())
            raise RuntimeError("again")

        class Timed(VirtualObject):
            @handler
            async def go(self, ctx: Context) -> str:
                try:
                    await ctx.step(name="noted", retry=POLICY).run(noted)
                except RetriesExhausted as error:
                    return error.message
                return ""

        world.classes = (Timed,)
        await world.restart()
        sent = await world.app.send("Timed", "t", "go")
        await world.settle()
        for tenths, dies in script:
            if dies:
                await world.restart()
            for _ in range(tenths):
                await world.pass_time(0.1)
        await _seconds(world, 8)
        assert await world.outcome(sent) == "The step failed 5 times; the last error was RuntimeError('again')."
        assert len(times) == 5
        assert all(later - earlier >= 800 for earlier, later in itertools.pairwise(times))


@retried
@pytest.mark.may_log("failed for good")
async def test_the_total_time_of_a_step_holds_across_restarts() -> None:
    class Hurried(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            policy = RetryPolicy(initial_interval=1, factor=1, max_attempts=None, max_duration=10)
            return await ctx.step(name="charge", retry=policy).run(charge)

    async with World(Hurried) as world:
        sent = await world.app.object(Hurried, "h").go.send()
        await world.settle()
        await world.crash()
        world.clock.advance(9)
        await world.start()
        await _seconds(world, 1)
        assert await world.status(sent) == "running"
        await _seconds(world, 3)
        assert await world.outcome(sent) is RetriesExhausted


@retried
async def test_what_is_remembered_of_a_step_is_described_and_stays_out_of_sight() -> None:
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        began = world.clock.now_ms()
        await _seconds(world, 1)
        await _seconds(world, 1)
        for again in (False, True):
            if again:
                await world.restart()
            (step,) = (await world.app.describe(sent.id)).steps
            assert (step.position, step.name, step.status, step.failed) == (1, "charge", "backing-off", len(calls))
            assert step.failing_since is not None and round(step.failing_since.timestamp() * 1000) == began
            assert step.next_try_at is not None and step.next_try_at.timestamp() * 1000 >= world.clock.now_ms()
            assert step.error is not None and "RuntimeError: the bank is down" in step.error
            assert (await world.app.invocations())[0].steps == ()
        assert world.disk.query(
            "SELECT entry, name, completes, called, value, due FROM journal WHERE position = 1"
        ) == [("run", "charge", None, None, None, None)]
        assert world.disk.query("SELECT count(*) FROM journal_entry") == [(1,)]
        _bank_is_up()
        await _seconds(world, 2)
        assert await world.outcome(sent) == "charged"
        assert (await world.app.describe(sent.id)).steps == ()


@retried
async def test_a_restart_that_keeps_a_step_begins_its_policy_anew() -> None:
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        await _seconds(world, 2)
        await world.app.kill(sent.id)
        again = await world.app.restart(sent.id, keep=1)
        await world.settle()
        (step,) = (await world.app.describe(again.id)).steps
        assert step.failed == 1


@retried
@pytest.mark.may_log("failed for good")
async def test_a_paused_step_that_left_memory_goes_on_where_it_was() -> None:
    async with World(Order, limits=limits(max_objects=1)) as world:
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        await world.app.pause(sent.id)
        for number in range(10):
            await world.app.object(Order, f"other{number}").next()
        await world.settle()
        assert world.app._running().residents.known("Order", "o") is None
        await world.app.resume(sent.id)
        await _seconds(world, 10)
        assert await world.outcome(sent) is RetriesExhausted
        assert calls.count("charge") == 5


@pytest.mark.may_log("next try in", "failed for good")
async def test_a_policy_of_new_code_counts_what_old_code_has_tried() -> None:
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        await _seconds(world, 3)
        tried = len(calls)
        assert tried >= 3

        class Stricter(VirtualObject, name="Order"):
            @handler
            async def pay(self, ctx: Context) -> str:
                return await ctx.step(name="charge", retry=RetryPolicy(max_attempts=2)).run(charge)

        world.classes = (Stricter,)
        await world.restart()
        await _seconds(world, 1)
        assert await world.outcome(sent) is RetriesExhausted
        assert len(calls) == tried


@retried
@pytest.mark.parametrize("details", ["", "{}", "[1]", '["x", null, "e"]', "not json", None])
async def test_a_record_of_tries_that_cannot_be_read_stops_nothing(details: str | None) -> None:
    assert Tries.of(3, details).failed == (0 if details is None else 3)
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").pay.send()
        await world.settle()
        await world.crash()
        world.disk.query("UPDATE journal_entry SET before = ? WHERE kind = 3", details)
        await world.start()
        _bank_is_up()
        await world.settle()
        await _seconds(world, 1)
        assert await world.outcome(sent) == "charged"


@given(st.integers(1, 10**9), st.integers(0, 2**53), st.one_of(st.none(), st.integers(0, 2**53)), st.text())
def test_what_is_written_of_tries_is_read_again(failed: int, since_ms: int, next_ms: int | None, error: str) -> None:
    class Entry:
        ref: int
        before: str

    entry, tries = Entry(), Tries(failed, since_ms, next_ms, error)
    tries.write(entry)  # type: ignore[arg-type]
    assert Tries.of(entry.ref, entry.before) == tries
    assert json.loads(entry.before) == [since_ms, next_ms, error]


# --- what comes after a step that cannot be stopped -----------------------------------------------------------------------


class Ledger(VirtualObject):
    @handler
    async def post(self, ctx: Context, who: str) -> str:
        return await ctx.run(lambda: who)

    @handler
    async def forget_a_step(self, ctx: Context) -> str:
        ctx.run(lambda: "nobody awaits it")
        await ctx.sleep(1)
        return "returned"

    @handler
    async def post_async(self, ctx: Context) -> None:
        async def slow() -> None:
            calls.append("begins")
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(20):
                    await asyncio.sleep(0)
                calls.append("is over")

        await ctx.run(slow)

    @handler
    async def after(self) -> None:
        calls.append("after")


End = Callable[[World, Any], Awaitable[None]]
ENDS: dict[str, End] = {
    "cancel": lambda world, sent: world.app.cancel(sent.id),
    "kill": lambda world, sent: world.app.kill(sent.id),
}


@pytest.mark.parametrize("end", ENDS)
async def test_the_next_invocation_waits_for_a_step_that_still_runs(end: str) -> None:
    executor = HeldExecutor()
    async with World(Ledger, executor=executor) as world:
        first = await world.app.object(Ledger, "l").post.send("first")
        second = await world.app.object(Ledger, "l").post.send("second")
        await world.settle()
        await ENDS[end](world, first)
        await world.settle()
        assert await outcome(first) in (InvocationCancelled, InvocationKilled)
        assert len(executor.taken) == 1
        (step,) = (await world.app.describe(first.id)).steps
        assert step.status == "running" and step.name.endswith("<lambda>")
        with pytest.raises(ObjectBusy, match="is still being executed"):
            await world.app.patch_state(Ledger, "l", set={"x": 1}, undeclared=True)
        third = await world.app.object(Ledger, "l").after.send()
        executor.end()
        await world.settle()
        assert (await world.app.describe(first.id)).steps == ()
        assert len(executor.taken) == 1
        executor.end()
        assert await outcome(second) == "second"
        assert await outcome(third) is None


@pytest.mark.expects_log("returned before its step")
async def test_a_step_nobody_awaited_holds_the_key_until_it_is_over() -> None:
    executor = HeldExecutor()
    async with World(Ledger, executor=executor) as world:
        first = await world.app.object(Ledger, "l").forget_a_step.send()
        await world.app.object(Ledger, "l").after.send()
        await world.settle()
        await world.pass_time(1)
        assert (await outcome(first), calls) == ("returned", [])
        executor.end()
        await world.settle()
        assert calls == ["after"]


@pytest.mark.parametrize("end", ENDS)
async def test_an_async_step_that_is_cancelled_is_over_before_the_next_begins(end: str) -> None:
    async with World(Ledger) as world:
        first = await world.app.object(Ledger, "l").post_async.send()
        await world.app.object(Ledger, "l").after.send()
        await world.settle()
        await ENDS[end](world, first)
        await world.settle()
        assert calls == ["begins", "is over", "after"]


@pytest.mark.expects_log("is still being executed 5 s after its invocation ended")
async def test_a_step_that_never_ends_holds_its_key_for_step_grace_only() -> None:
    executor = HeldExecutor()
    async with World(Ledger, executor=executor, limits=limits(step_grace=5)) as world:
        first = await world.app.object(Ledger, "l").post.send("first")
        await world.app.object(Ledger, "l").after.send()
        await world.settle()
        await world.app.kill(first.id)
        await world.pass_time(4.9)
        assert calls == []
        await world.pass_time(0.2)
        assert calls == ["after"]
        executor.end()
        await world.settle()
        await world.app.object(Ledger, "l").after()


async def test_a_key_that_is_held_by_a_step_does_not_keep_the_app_from_closing() -> None:
    executor = HeldExecutor()
    async with World(Ledger, executor=executor) as world:
        first = await world.app.object(Ledger, "l").post.send("first")
        await world.app.object(Ledger, "l").after.send()
        await world.settle()
        await world.app.kill(first.id)
        await world.restart()
        assert calls == ["after"], "the step has died with its process"


async def test_a_step_of_a_shared_handler_or_a_service_holds_no_key() -> None:
    class Reader(VirtualObject):
        @handler
        async def after(self) -> None:
            calls.append("after")

        @shared
        async def look(self, ctx: Context) -> None:
            await ctx.run(lambda: None)

    executor = HeldExecutor()
    async with World(Reader, executor=executor) as world:
        reading = await world.app.object(Reader, "r").look.send()
        await world.settle()
        await world.app.kill(reading.id)
        await world.app.object(Reader, "r").after()
        assert calls == ["after"]


@pytest.mark.parametrize("wrong", [-1, "60", None, True, float("nan")], ids=repr)
def test_step_grace_is_a_duration(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="step_grace"):
        Limits(step_grace=wrong)


# --- steps that wait for a thread -----------------------------------------------------------------------------------------


async def _figures(world: World) -> dict[str, float]:
    return {name: value for name, (_, _, value) in world.app._gateway.figures().items() if "steps" in name}


@pytest.mark.expects_log("2 steps have waited for a thread for more than a second, step <lambda> of Ledger/k2/post")
async def test_steps_that_wait_long_for_a_thread_are_warned_about_and_counted() -> None:
    executor = HeldExecutor(threads=2)
    async with World(Ledger, executor=executor) as world:
        sent = [await world.app.object(Ledger, f"k{number}").post.send("x") for number in range(4)]
        await world.settle()
        await world.pass_time(0.9)
        assert await _figures(world) == {
            "actors_steps_failed": 0,
            "actors_steps_waited_long": 0,
            "actors_steps_queued": 2,
            "actors_steps_running": 4,
        }
        assert [(await world.app.describe(one.id)).steps[0].status for one in sent] == ["running"] * 2 + ["queued"] * 2
        await world.pass_time(0.1)
        assert (await _figures(world))["actors_steps_waited_long"] == 2
        await _seconds(world, 30)  # nothing is said twice within a minute
        executor.end(4)
        assert [await outcome(one) for one in sent] == ["x"] * 4
        assert await _figures(world) == {
            "actors_steps_failed": 0,
            "actors_steps_waited_long": 2,
            "actors_steps_queued": 0,
            "actors_steps_running": 0,
        }


async def test_steps_that_find_a_thread_at_once_are_not_warned_about() -> None:
    executor = HeldExecutor(threads=1)
    async with World(Ledger, executor=executor) as world:
        for _ in range(20):
            sent = await world.app.object(Ledger, "k").post.send("x")
            await world.settle()
            await world.pass_time(5)  # long steps are no reason
            executor.end()
            assert await outcome(sent) == "x"
        assert (await _figures(world))["actors_steps_waited_long"] == 0


async def test_a_step_that_is_withdrawn_from_the_queue_waits_no_more() -> None:
    executor = HeldExecutor(threads=1)
    async with World(Ledger, executor=executor) as world:
        await world.app.object(Ledger, "k0").post.send("x")
        sent = await world.app.object(Ledger, "k1").post.send("x")
        await world.settle()
        await world.app.kill(sent.id)
        await world.pass_time(10)
        assert (await _figures(world))["actors_steps_waited_long"] == 0


async def test_real_threads_report_what_they_do(storage: str) -> None:
    async with App(Ledger, storage=storage) as app:
        assert await app.object(Ledger, "l").post("x") == "x"
        assert not app._running().steps.executing and not app._running().step_threads.running


@pytest.mark.may_log("have waited for a thread for more than a second")
async def test_no_more_than_32_steps_run_in_threads_at_the_same_time(storage: str) -> None:
    begun, release = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        begun.release()
        assert release.wait(60)

    class Many(Service):
        @handler
        async def work(self, ctx: Context) -> None:
            await ctx.run(hold)

    async with App(Many, storage=storage) as app:
        sent = [await app.service(Many).work.send() for _ in range(33)]
        for _ in range(32):
            assert await asyncio.to_thread(begun.acquire, timeout=60)
        while len(steps := [step for one in sent for step in (await app.describe(one.id)).steps]) < 33:
            pass
        assert sorted(step.status for step in steps) == ["queued"] + ["running"] * 32
        release.set()
        for one in sent:
            await one.result()
