"""Steps that run while their app stops: in one process none is ever executed beside itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.engine import left_steps
from actors.errors import OutcomePending
from actors.testing import Disk, ManualClock
from tests.integration.test_recovery import locked
from tests.world import World

T = TypeVar("T")

pytestmark = [
    pytest.mark.may_log("The app has stopped"),
    pytest.mark.may_log("starts again in"),
    pytest.mark.may_log("runs again"),
]


class HeldExecutor(Executor):
    """Threads that a test moves on: a function is begun at once, and ends when the test says so."""

    def __init__(self, *, begins: bool = True) -> None:
        self.begins = begins
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.begins:
            future.set_running_or_notify_cancel()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def end(self, number: int = 0) -> None:
        future, function = self.jobs[number]
        if not future.cancelled():
            future.set_result(function())


calls: list[str] = []
releases: list[asyncio.Event] = []
stubborn: list[str] = []  # how a step ends that goes on after it was cancelled


def work(name: str) -> str:
    calls.append(name)
    return f"{name} {len(calls)}"


async def work_async(name: str) -> str:
    calls.append(name)
    event = asyncio.Event()
    releases.append(event)
    try:
        await event.wait()
    except asyncio.CancelledError:
        if not stubborn:
            raise
        await event.wait()
        if stubborn == ["with a result"]:
            return name
        raise
    return name


class Worker(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> str:
        return await ctx.run(work, "a")

    @handler
    async def two(self, ctx: Context) -> list[str]:
        return [await ctx.run(work, "a"), await ctx.run(work, "b")]

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.run(work_async, "async")


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()
    releases.clear()
    stubborn.clear()
    left_steps._left.clear()  # what other tests have left


class Machine:
    """Apps of one process, one after the other, on one disk and one executor."""

    def __init__(self) -> None:
        self.disk, self.clock, self.executor = Disk(), ManualClock(), HeldExecutor()

    async def start(self) -> App:
        self.store = self.disk.store()
        app = App(
            Worker,
            store=self.store,
            clock=self.clock,
            executor=self.executor,
            retry=RetryPolicy(initial_interval=1, factor=1.0),
        )
        await app.start()
        return app


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.disk.close()


async def settle() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.mark.parametrize("ends", ["before the next start", "after it"])
async def test_a_step_that_runs_over_a_close_and_a_start_is_not_doubled(machine: Machine, ends: str) -> None:
    app = await machine.start()
    sent = await app.object(Worker, "k").go.send()
    await settle()
    await app.close()
    assert len(left_steps.running()) == 1
    if ends == "before the next start":
        machine.executor.end()  # nobody waits for it: it is executed again, after itself
        assert not left_steps.running()
    app = await machine.start()
    await settle()
    assert len(machine.executor.jobs) == (2 if ends == "before the next start" else 1)
    machine.executor.end(-1)
    await settle()
    assert await app.invocation(sent.id).result() == ("a 2" if ends == "before the next start" else "a 1")
    await app.close()
    assert not left_steps.running()


async def test_a_step_that_waited_for_a_thread_is_not_left(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Its function has not begun, and never will: the next app begins it anew instead of waiting for it."""
    caplog.set_level("INFO", "actors")
    machine.executor.begins = False
    app = await machine.start()
    sent = await app.object(Worker, "k").go.send()
    await settle()
    await app.close()
    assert not left_steps.running()
    assert "was closed while" not in caplog.text
    machine.executor.begins = True
    app = await machine.start()
    await settle()
    assert len(machine.executor.jobs) == 2
    machine.executor.end(0)
    machine.executor.end(1)
    await settle()
    assert await app.invocation(sent.id).result() == "a 1" and calls == ["a"]
    await app.close()


@pytest.mark.parametrize("ends", ["while it waits to start again", "after that"])
async def test_a_step_that_runs_over_an_outage_is_executed_once(machine: Machine, ends: str) -> None:
    app = await machine.start()
    sent = await app.object(Worker, "k").two.send()
    await settle()
    machine.store.break_down(locked())
    with pytest.raises(OutcomePending):
        await app.object(Worker, "noticed").go()
    recovering = asyncio.create_task(app.recover())
    await settle()
    if ends == "while it waits to start again":
        machine.executor.end()
    machine.store.repair()
    machine.clock.advance(1)
    await recovering
    await settle()
    if ends == "after that":
        machine.executor.end()
        await settle()
    assert calls == ["a"] and len(machine.executor.jobs) == 2
    machine.executor.end(1)
    await settle()
    assert await app.invocation(sent.id).result() == ["a 1", "b 2"]
    await app.close()


async def test_a_step_that_runs_over_two_outages_is_executed_once(machine: Machine) -> None:
    app = await machine.start()
    sent = await app.object(Worker, "k").go.send()
    await settle()
    for _ in range(2):
        machine.store.break_down(locked())
        with pytest.raises(OutcomePending):
            await app.object(Worker, "noticed").go()
        recovering = asyncio.create_task(app.recover())
        await settle()
        machine.store.repair()
        machine.clock.advance(10)
        await recovering
        await settle()
    await app.close()
    app = await machine.start()
    await settle()
    machine.executor.end()
    await settle()
    assert await app.invocation(sent.id).result() == "a 1"
    await app.close()


async def test_an_async_step_goes_on_over_an_outage(machine: Machine) -> None:
    app = await machine.start()
    sent = await app.object(Worker, "k").wait.send()
    await settle()
    machine.store.break_down(locked())
    with pytest.raises(OutcomePending):
        await app.object(Worker, "noticed").go()
    recovering = asyncio.create_task(app.recover())
    await settle()
    machine.store.repair()
    machine.clock.advance(1)
    await recovering
    await settle()
    releases[0].set()
    await settle()
    assert (calls, await app.invocation(sent.id).result()) == (["async"], "async")
    await app.close()


async def test_an_async_step_that_ends_late_is_begun_anew_after_it_has_ended(machine: Machine) -> None:
    stubborn.append("by its cancellation")
    app = await machine.start()
    sent = await app.object(Worker, "k").wait.send()
    await settle()
    await app.close()
    assert len(left_steps.running()) == 1
    app = await machine.start()
    await settle()
    assert calls == ["async"], "it was begun beside itself"
    releases[0].set()
    await settle()
    assert calls == ["async", "async"]
    releases[1].set()
    await settle()
    assert await app.invocation(sent.id).result() == "async"
    await app.close()


async def until(happened: Callable[[], bool]) -> None:
    while True:
        if happened():
            return
        await asyncio.sleep(0)


@contextlib.contextmanager
def another_loop() -> Iterator[Callable[[Coroutine[Any, Any, T]], asyncio.Future[T]]]:
    """Runs coroutines on the loop of a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("ends", ["by its cancellation", "with a result"])
async def test_an_async_step_of_another_loop_is_waited_for(ends: str, storage: str) -> None:
    class OnAnotherLoop:
        async def start(self) -> None:
            self.app = App(Worker, storage=storage)
            await self.app.start()
            await until(lambda: bool(self.app._executing()))

        async def result(self, id: str) -> str:
            if ends == "by its cancellation":
                await until(lambda: len(releases) == 2)
                releases[1].set()
            result: str = await self.app.invocation(id).result()
            await self.app.close()
            return result

    stubborn.append(ends)
    async with App(Worker, storage=storage) as app:
        sent = await app.object(Worker, "k").wait.send()
        await until(lambda: bool(releases))
    other = OnAnotherLoop()
    with another_loop() as run:
        await run(other.start())
        assert calls == ["async"], "it was begun beside itself"
        releases[0].set()
        assert await run(other.result(sent.id)) == "async"
    assert calls == (["async"] * 2 if ends == "by its cancellation" else ["async"])


@pytest.mark.may_log("Task was destroyed but it is pending")
def test_an_async_step_of_a_closed_loop_is_begun_anew(storage: str) -> None:
    stubborn.append("by its cancellation")

    async def first() -> str:
        async with App(Worker, storage=storage) as app:
            sent = await app.object(Worker, "k").wait.send()
            await until(lambda: bool(releases))
        return sent.id

    async def second() -> str:
        async with App(Worker, storage=storage) as app:
            await until(lambda: len(releases) == 2)
            releases[1].set()
            result: str = await app.invocation(invocation).result()
            return result

    loop = asyncio.new_event_loop()
    invocation = loop.run_until_complete(first())
    loop.close()
    assert asyncio.run(second()) == "async"
    releases.clear()  # which keep the task
    gc.collect()


async def test_a_step_that_waits_for_a_thread_is_not_left(machine: Machine) -> None:
    machine.executor.begins = False
    app = await machine.start()
    await app.object(Worker, "k").go.send()
    await settle()
    await app.close()
    assert not left_steps.running() and machine.executor.jobs[0][0].cancelled()


@pytest.mark.may_log("can't start new thread")
async def test_a_function_that_its_executor_refused_is_not_called_later(machine: Machine) -> None:
    class Refusing(HeldExecutor):
        """Keeps a function that it refuses, as a ThreadPoolExecutor does if it cannot start a thread."""

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            if len(self.jobs) == 1:
                raise RuntimeError("can't start new thread")
            return future

    machine.executor = Refusing()
    app = await machine.start()
    sent = await app.object(Worker, "k").go.send()
    await settle()
    machine.clock.advance(2)
    await settle()
    machine.executor.end(0)
    assert calls == []
    machine.executor.end(1)
    await settle()
    assert await app.invocation(sent.id).result() == "a 1"
    await app.close()


async def test_a_step_of_another_file_is_not_joined(machine: Machine) -> None:
    first, second = machine, Machine()
    second.executor = first.executor
    app = await first.start()
    await app.object(Worker, "k").go.send()
    await settle()
    await app.close()
    other = await second.start()
    await other.object(Worker, "k").go.send()
    await settle()
    assert len(first.executor.jobs) == 2
    await other.close()
    first.executor.end(0)
    first.executor.end(1)
    assert not left_steps.running()
    second.disk.close()


async def test_an_app_that_drains_begins_no_step_and_records_those_that_end(machine: Machine) -> None:
    app = await machine.start()
    sent = await app.object(Worker, "k").two.send()
    await settle()
    assert [text.startswith("step work of Worker/k/two (inv_1") for text in app._executing()] == [True]
    draining = asyncio.create_task(app._drain(60))
    await settle()
    assert not draining.done()
    machine.executor.end()
    await draining
    await settle()
    assert len(machine.executor.jobs) == 1, "the next step was begun"
    await app.close()
    app = await machine.start()
    await settle()
    machine.executor.end(-1)
    await settle()
    assert await app.invocation(sent.id).result() == ["a 1", "b 2"]
    await app.close()


async def test_closing_names_the_steps_that_it_leaves(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "actors")
    app = await machine.start()
    await app.object(Worker, "k").go.send()
    await settle()
    await app.close()
    machine.executor.end()
    assert "was closed while 1 step was running: step work of Worker/k/go (inv_1" in caplog.text


async def test_a_caller_whose_handler_was_evicted_learns_that_its_call_goes_on() -> None:
    for stop in ("close", "failure"):
        async with World(Sleeper) as world:
            call = asyncio.ensure_future(_value(world.app))
            await world.settle()
            await world.pass_time(120)
            await world.settle()
            assert not world.app._running().residents.open, "it is out of memory"
            if stop == "close":
                await world.app.close()
            else:
                world.app._running().fail(locked())
            with pytest.raises(OutcomePending) as caught:
                await call
            assert caught.value.invocation_id is not None
            if stop == "close":
                await world.app.start()


class Sleeper(VirtualObject):
    @handler
    async def sleep(self, ctx: Context) -> None:
        await ctx.sleep(3600)


async def _value(app: App) -> None:
    await app.object(Sleeper, "a").sleep()


async def test_results_of_steps_that_nobody_joins_are_forgotten(machine: Machine) -> None:
    app = await machine.start()
    await app.object(Worker, "k").go.send()
    await settle()
    app._running().fail(locked())
    machine.executor.end()
    await app.close()
    gc.collect()
    assert not left_steps._left


def test_the_threads_of_an_app_do_not_keep_the_process() -> None:
    before = set(threading.enumerate())
    go = threading.Event()

    async def main() -> None:
        app = App(Blocked, storage="sqlite://")
        async with app:
            await app.object(Blocked, "a").block.send()
            for _ in range(10_000):
                if app._executing():
                    break
                await asyncio.sleep(0)

    class Blocked(VirtualObject):
        @handler
        async def block(self, ctx: Context) -> None:
            await ctx.run(go.wait)

    steps: list[threading.Thread] = []
    try:
        asyncio.run(main())
        steps = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("actors-step")]
        assert all(thread.daemon for thread in steps)
    finally:
        go.set()
        for thread in steps:
            thread.join()
