"""Whether a partition runs, what stopped it, and what becomes of its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.engine.background import Background
from actors.errors import AppNotRunning
from actors.storage.errors import StorageError


class Desk:
    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.events: list[str] = []
        self.background = Background(self._spawn, self.failures.append)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    async def work(self, name: str, error: BaseException | None = None, waits: asyncio.Event | None = None) -> None:
        self.events.append(f"{name} begins")
        try:
            if waits is not None:
                await waits.wait()
            if error is not None:
                raise error
        finally:
            self.events.append(f"{name} ends")


async def _settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_it_runs_until_it_is_stopped() -> None:
    background = Desk().background
    background.check_running()
    background.stopped = True
    with pytest.raises(AppNotRunning, match="async with app"):
        background.check_running()


@pytest.mark.expects_log("The app has stopped: disk full")
async def test_every_caller_gets_the_first_failure() -> None:
    desk = Desk()
    first = StorageError("disk full")
    desk.background.fail(first)
    desk.background.fail(StorageError("and another one"))
    assert desk.failures == [first, first], "it is called with each failure"
    desk.background.stopped = True
    for _ in range(2):
        with pytest.raises(StorageError, match="disk full") as caught:
            desk.background.check_running()
        assert caught.value is first


@pytest.mark.expects_log("internal error: ValueError('bug')")
async def test_an_internal_error_is_named_and_kept_as_the_cause() -> None:
    desk = Desk()
    cause = ValueError("bug")
    desk.background.fail(cause)
    (failure,) = desk.failures
    assert isinstance(failure, AppNotRunning) and failure.__cause__ is cause and desk.background.failure is failure


@pytest.mark.expects_log("ValueError('bug')")
@pytest.mark.parametrize("verb", ["spawn", "run"])
async def test_what_fails_inside_a_task_stops_the_partition(verb: str) -> None:
    desk = Desk()
    getattr(desk.background, verb)(desk.work("a", ValueError("bug")))
    await _settle()
    assert len(desk.failures) == 1 and desk.events == ["a begins", "a ends"]


async def test_what_fails_after_the_end_is_a_consequence() -> None:
    desk = Desk()
    desk.background.stopped = True
    desk.background.run(desk.work("a", ValueError("bug")))
    await _settle()
    assert desk.events == ["a begins", "a ends"] and not desk.failures and desk.background.failure is None


@pytest.mark.parametrize("begun", [True, False])
async def test_a_cancelled_task_is_not_a_failure_and_leaves_nothing_open(begun: bool) -> None:
    desk = Desk()
    task = desk.background.spawn(desk.work("a", waits=asyncio.Event()))
    if begun:
        await _settle()
    task.cancel()
    await _settle()
    assert task.cancelled() and not desk.failures
    assert desk.events == (["a begins", "a ends"] if begun else [])


async def test_the_end_cancels_what_runs_and_waits_for_it() -> None:
    desk = Desk()
    for name in ("a", "b"):
        desk.background.run(desk.work(name, waits=asyncio.Event()))
    await _settle()
    await desk.background.stop()
    assert sorted(desk.events) == ["a begins", "a ends", "b begins", "b ends"] and not desk.failures


async def test_a_task_that_ends_the_partition_is_not_cancelled_by_that() -> None:
    desk = Desk()

    async def end() -> None:
        await desk.background.stop()
        desk.events.append("all stopped")

    desk.background.run(desk.work("a", waits=asyncio.Event()))
    desk.background.run(end())
    await _settle()
    assert desk.events == ["a begins", "a ends", "all stopped"]


async def test_the_end_of_nothing_returns_at_once_and_may_come_twice() -> None:
    desk = Desk()
    desk.background.run(desk.work("a"))
    await _settle()
    await desk.background.stop()
    await desk.background.stop()
    assert desk.events == ["a begins", "a ends"]
