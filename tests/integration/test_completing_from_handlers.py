"""Handlers that complete the awakeables of others: exactly once, whatever crashes when."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest

from actors import Context, TerminalError, VirtualObject, handler
from actors.errors import OutcomePending
from tests.unit.example_types import Point
from tests.world import World


class Waiter(VirtualObject):
    answers: list[str] = []

    @handler
    async def wait(self, ctx: Context) -> str:
        self.answers.append(await ctx.awakeable(str))
        return self.answers[-1]

    @handler
    async def wait_for_moment(self, ctx: Context) -> datetime:
        return await ctx.awakeable(datetime)

    @handler
    async def wait_for_points(self, ctx: Context) -> list[Point]:
        return await ctx.awakeable(list[Point])


class Completer(VirtualObject):
    @handler
    async def awaited(self, ctx: Context, id: str) -> str:
        await ctx.resolve_awakeable(id, "yes")
        return "done"

    @handler
    async def not_awaited(self, ctx: Context, id: str) -> str:
        ctx.resolve_awakeable(id, "yes")
        await ctx.sleep(3600)
        return "done"

    @handler
    async def with_a_moment(self, ctx: Context, id: str) -> None:
        await ctx.resolve_awakeable(id, datetime(2030, 1, 1, tzinfo=UTC))

    @handler
    async def with_points(self, ctx: Context, id: str) -> None:
        await ctx.resolve_awakeable(id, [Point(1, 2)], type=list[Point])

    @handler
    async def with_anything(self, ctx: Context, id: str) -> str:
        try:
            await ctx.resolve_awakeable(id, object())
        except TerminalError as error:
            return error.error
        return "accepted"


async def _waiting(world: World, method: str = "wait") -> tuple[Any, str]:
    handle = await world.app.send("Waiter", "w", method)
    await world.settle()
    (info,) = await world.app.awakeables()
    return handle, info.id


@pytest.mark.parametrize("method", ["awaited", "not_awaited"])
@pytest.mark.parametrize("commits", range(1, 6))
async def test_a_crash_at_any_commit_loses_no_completion(commits: int, method: str) -> None:
    async with World(Waiter, Completer) as world:
        handle, id = await _waiting(world)
        await world.restart()  # now the waiting object is cold: completing its awakeable has to load it first
        world.store.crash_at_commit(commits, written=True)
        with contextlib.suppress(OutcomePending):
            await world.app.send("Completer", "c", method, id)
        await world.settle()
        await world.restart()
        assert await world.outcome(handle) == "yes"
        await world.pass_time(3600)
        assert set(world.statuses()) == {"succeeded"}


@pytest.mark.parametrize(
    ("waiting", "completing"), [("wait_for_moment", "with_a_moment"), ("wait_for_points", "with_points")]
)
async def test_a_value_may_be_of_any_type_that_can_be_stored(waiting: str, completing: str) -> None:
    async with World(Waiter, Completer) as world:
        handle, id = await _waiting(world, waiting)
        await world.app.call("Completer", "c", completing, id)
        expected: dict[str, Any] = {
            "wait_for_moment": datetime(2030, 1, 1, tzinfo=UTC),
            "wait_for_points": [Point(1, 2)],
        }
        assert await handle.result() == expected[waiting]


async def test_a_value_that_cannot_be_stored_is_refused_at_once_and_the_awakeable_stays_open() -> None:
    async with World(Waiter, Completer) as world:
        handle, id = await _waiting(world)
        assert await world.app.call("Completer", "c", "with_anything", id) == "not_serializable"
        await world.app.resolve_awakeable(id, "yes")
        assert await handle.result() == "yes"
