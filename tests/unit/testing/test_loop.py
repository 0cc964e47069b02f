"""The virtual loop: time jumps, callbacks keep their order, and a killed process runs nothing."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from actors.testing.failures import NoNetwork
from actors.testing.loop import MOST_TURNS, PROCESS, LoopClock, VirtualLoop, close_quietly

YEAR_S = 365 * 86_400.0


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.end()
    made.close()


def variables(process: int) -> contextvars.Context:
    made = contextvars.Context()
    made.run(PROCESS.set, process)
    return made


def test_a_long_sleep_takes_one_turn_of_the_loop(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(YEAR_S))
    assert loop.time() == YEAR_S and loop.turns < 10


@pytest.mark.parametrize("begin", [0.0, 97 * 86_400.0, 100 * YEAR_S])
def test_timers_ring_at_their_time_however_late_it_is(loop: VirtualLoop, begin: float) -> None:
    async def ring() -> list[float]:
        await asyncio.sleep(begin)
        rung: list[float] = []
        for ms in (3, 1, 2, 1):
            loop.call_later(ms / 1000, rung.append, ms)
        await asyncio.sleep(0.01)
        return rung

    assert loop.run_until_complete(ring()) == [1, 1, 2, 3]


def test_callbacks_run_in_the_order_in_which_they_were_asked_for(loop: VirtualLoop) -> None:
    async def run() -> list[int]:
        order: list[int] = []
        for number in range(100):
            loop.call_soon(order.append, number)
        await asyncio.sleep(0)
        return order

    assert loop.run_until_complete(run()) == list(range(100))


def test_a_wall_clock_is_never_before_the_time_of_its_alarm(loop: VirtualLoop) -> None:
    clock = LoopClock(loop, 1_700_000_000_000)

    async def run() -> None:
        for after_ms in range(1, 300):
            await asyncio.sleep(after_ms / 7000)
            due_ms = clock.due_ms(after_ms)
            rung: asyncio.Future[int] = loop.create_future()
            clock.call_at(due_ms, functools.partial(_read, clock, rung))
            assert await rung == due_ms

    loop.run_until_complete(run())


def test_a_killed_process_runs_no_finally_block(loop: VirtualLoop) -> None:
    events: list[str] = []

    async def handler() -> None:
        try:
            events.append("begins")
            await asyncio.sleep(1)
            events.append("goes on")
        finally:
            events.append("finally")

    async def run() -> None:
        asyncio.Task(handler(), loop=loop, context=variables(1))
        await asyncio.sleep(0.5)
        loop.kill(1)
        await asyncio.sleep(10)
        assert events == ["begins"]

    loop.run_until_complete(run())


@pytest.mark.parametrize("how", ["soon", "later", "future", "task"])
def test_nothing_that_a_killed_process_begins_runs(loop: VirtualLoop, how: str) -> None:
    ran: list[str] = []

    async def run() -> None:
        future: asyncio.Future[None] = loop.create_future()
        dead = variables(1)
        if how == "future":
            future.add_done_callback(lambda _: ran.append(how), context=dead)
        loop.kill(1)
        if how == "soon":
            loop.call_soon(ran.append, how, context=dead)
        elif how == "later":
            loop.call_later(1, ran.append, how, context=dead)
        elif how == "task":
            asyncio.Task(_append(ran, how), loop=loop, context=dead)
        future.set_result(None)
        await asyncio.sleep(10)

    loop.run_until_complete(run())
    assert ran == []


def _read(clock: LoopClock, into: asyncio.Future[int]) -> None:
    into.set_result(clock.now_ms())


async def _append(ran: list[str], what: str) -> None:
    ran.append(what)


def test_the_living_go_on_when_a_process_is_killed(loop: VirtualLoop) -> None:
    ran: list[int] = []

    async def run() -> None:
        for process in (0, 1, 2):
            loop.call_later(1, ran.append, process, context=variables(process))
        loop.kill(1)
        await asyncio.sleep(2)

    loop.run_until_complete(run())
    assert ran == [0, 2]


def test_at_rest_may_let_something_go_on_before_time_jumps(loop: VirtualLoop) -> None:
    async def run() -> float:
        waits: asyncio.Future[float] = loop.create_future()
        asyncio.get_running_loop().call_later(5, lambda: None)

        def at_rest(when: float | None) -> bool:
            if waits.done():
                return False
            waits.set_result(when or 0)
            return True

        loop.at_rest = at_rest
        return await waits

    assert loop.run_until_complete(run()) == 5 and loop.time() == 0


def test_a_loop_that_polls_is_reported(loop: VirtualLoop) -> None:
    class Polls(Exception):
        pass

    def polls() -> None:
        raise Polls()

    loop.polls = polls

    async def run() -> None:
        for _ in range(10 * MOST_TURNS):
            await asyncio.sleep(0.05)

    with pytest.raises(Polls):
        loop.run_until_complete(run())
    assert loop.time() < 0.05 * MOST_TURNS


def test_threads_of_asyncio_run_on_the_loop_at_a_moment_of_their_own(loop: VirtualLoop) -> None:
    async def run() -> list[Any]:
        events: list[Any] = []
        thread = asyncio.ensure_future(asyncio.to_thread(lambda: events.append(threading.get_ident())))
        events.append("asked")
        await thread
        return events

    assert loop.run_until_complete(run()) == ["asked", threading.get_ident()]


def test_a_function_of_a_thread_may_run_a_loop_of_its_own(loop: VirtualLoop) -> None:
    async def run() -> str:
        return await asyncio.to_thread(lambda: asyncio.run(asyncio.sleep(0, "its own")))

    assert loop.run_until_complete(run()) == "its own"


def test_the_error_of_a_thread_arrives(loop: VirtualLoop) -> None:
    async def run() -> None:
        await asyncio.to_thread(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(run())


def test_a_callback_from_another_thread_is_noticed(loop: VirtualLoop) -> None:
    async def run() -> None:
        arrived: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(arrived.set_result, None))
        thread.start()
        thread.join()
        await arrived

    assert not loop.touched_by_thread
    loop.run_until_complete(run())
    assert loop.touched_by_thread


@pytest.mark.parametrize(
    "reach",
    [
        lambda loop: asyncio.open_connection("127.0.0.1", 9),
        lambda loop: asyncio.start_server(lambda r, w: None, "127.0.0.1", 0),
        lambda loop: asyncio.create_subprocess_exec("true"),
        lambda loop: loop.getaddrinfo("localhost", 80),
        lambda loop: asyncio.to_thread(loop.add_signal_handler, 10, print),
    ],
)
def test_sockets_processes_and_signals_are_refused(loop: VirtualLoop, reach: Any) -> None:
    async def run() -> None:
        await reach(loop)

    with pytest.raises(NoNetwork, match=r"world\.replace"):
        loop.run_until_complete(run())


@pytest.mark.filterwarnings("error")
def test_closing_a_coroutine_that_never_began_warns_of_nothing() -> None:
    async def inner() -> None: ...

    async def outer(work: Any) -> None:
        await work

    close_quietly(outer(inner()))
