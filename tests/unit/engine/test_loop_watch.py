"""The thread that names what holds the event loop."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable

import pytest

from actors import App, VirtualObject, handler
from actors.engine.loop_watch import FIRST_S, LoopWatch
from actors.engine.turns import Turns
from actors.testing import ManualClock
from tests.unit.engine.parts import Attempt, invocation
from tests.world import World

names = pytest.mark.expects_log("has held the event loop for", "and still does")


class Desk:
    """Turns on the running loop, and a watch that looks when a test lets it. `later` is added to the watch's time."""

    def __init__(self) -> None:
        self.later = 0.0
        self.turns = Turns(
            asyncio.get_running_loop(), ManualClock(), lambda about: about.address, lambda: None, self._failed
        )
        self.watch = LoopWatch(
            self.turns, threading.get_ident(), lambda about: about.address, lambda: time.perf_counter() + self.later
        )

    def _failed(self, error: BaseException) -> None:
        raise error

    async def within(self, look: Callable[[], None], *, now: bool = False) -> None:
        """Look from inside an attempt, in an ordinary turn or in `run_now`."""
        attempt = Attempt(invocation(1), [], "a")
        attempt.then = look
        if now:
            self.turns.run_now(attempt, look)
        else:
            attempt.scheduled = True
            self.turns.make_ready(attempt)
            for _ in range(3):
                await asyncio.sleep(0)

    def looks(self, *later: float) -> None:
        for self.later in later:
            self.watch.look()


@names
@pytest.mark.parametrize("now", [False, True])
async def test_what_holds_the_loop_is_named_with_its_line(now: bool, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    await desk.within(lambda: desk.looks(0, FIRST_S - 1, FIRST_S + 0.2), now=now)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = record.getMessage()
    assert f"{invocation(1).address} has held the event loop for 5 s, and still does, at test_loop_watch.py:" in said


@names
async def test_what_goes_on_holding_it_is_named_again_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    await desk.within(lambda: desk.looks(*range(100)))
    named = [record.getMessage().split(" for ")[1].split(" s,")[0] for record in caplog.records]
    assert named == ["5", "10", "20", "40", "80"]


async def test_handlers_that_share_a_long_turn_are_not_blamed_for_it(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    attempts = [Attempt(invocation(number), [], str(number)) for number in range(1, 10)]
    for number, attempt in enumerate(attempts):
        attempt.then = functools.partial(desk.looks, number * 4, number * 4 + 3)
        attempt.scheduled = True
        desk.turns.make_ready(attempt)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not caplog.records


@names
async def test_each_turn_that_is_too_long_is_named(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for _ in range(2):
        await desk.within(lambda: desk.looks(0, FIRST_S + 1))
    assert len(caplog.records) == 2


async def test_a_loop_that_waits_is_not_held(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    await desk.within(lambda: None)
    desk.looks(1000)
    await desk.within(lambda: None, now=True)
    desk.looks(1000)
    assert not caplog.records


class Busy(VirtualObject):
    @handler
    async def hold(self) -> None:
        assert named.wait(60)


named = threading.Event()


class Noticed(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "and still does" in record.getMessage():
            self.said = record.getMessage()
            named.set()


@names
async def test_a_handler_is_named_by_a_thread_while_it_holds_the_loop() -> None:
    noticed = Noticed()
    logging.getLogger("actors").addHandler(noticed)
    try:
        async with App(Busy, storage="sqlite://") as app:
            partition = app._running()
            times = itertools.count(0, FIRST_S)
            watch = LoopWatch(partition.turns, partition.thread, partition.env.label, lambda: next(times))
            watch.start()
            await app.object(Busy, "b").hold()
            watch.stop()
    finally:
        logging.getLogger("actors").removeHandler(noticed)
    assert noticed.said.startswith("Busy/b/hold") and "at test_loop_watch.py:" in noticed.said


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "actors-loop-watch"}


async def test_an_app_is_watched_while_it_runs() -> None:
    before = watchers()
    async with App(Busy, storage="sqlite://"):
        (thread,) = watchers() - before
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive()


async def test_a_world_whose_clock_stands_still_is_not_watched() -> None:
    before = watchers()
    async with World(Busy):
        assert watchers() == before
