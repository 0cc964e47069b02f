"""A coroutine that takes its first step when it is begun, and the others when it is awaited."""

from __future__ import annotations

import asyncio

import pytest

from actors.engine.begun import Begun


async def noted(steps: list[str], waits_for: asyncio.Future[None] | None = None, error: str | None = None) -> None:
    steps.append("begun")
    if waits_for is not None:
        try:
            await waits_for
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise
    if error is not None:
        raise ValueError(error)
    steps.append("ended")


async def test_the_first_step_is_taken_at_once_and_the_others_when_awaited() -> None:
    steps: list[str] = []
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    begun = Begun(noted(steps, future))
    assert steps == ["begun"]
    future.set_result(None)
    await asyncio.sleep(0)
    assert steps == ["begun"]
    await begun
    assert steps == ["begun", "ended"]


async def test_a_coroutine_that_never_waits_is_over_at_once() -> None:
    steps: list[str] = []
    begun = Begun(noted(steps))
    assert steps == ["begun", "ended"]
    await begun


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_raised_where_it_is_awaited(waits: bool) -> None:
    future: asyncio.Future[None] | None = asyncio.get_running_loop().create_future() if waits else None
    begun = Begun(noted([], future, "bad"))
    if future is not None:
        future.set_result(None)
    with pytest.raises(ValueError, match="bad"):
        await begun


async def test_a_cancelled_waiter_cancels_what_it_waits_for() -> None:
    steps: list[str] = []
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(begun: Begun) -> None:
        await begun

    waiter = asyncio.create_task(wait(Begun(noted(steps, future))))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert steps == ["begun", "cancelled"] and future.cancelled()
