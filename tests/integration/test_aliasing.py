"""What two names share in memory, two texts do not: state behaves the same hot, cold and on replay."""

from __future__ import annotations

import asyncio

import pytest

from actors import Context, VirtualObject, handler
from tests.world import World

EMPTY: list[int] = []  # what a module might use as a constant
KEPT: list[list[int]] = []


class Notes(VirtualObject):
    items: list[int] = []
    a: list[int] = []
    b: list[int] = []
    by_name: dict[str, list[int]] = {}

    @handler
    async def reset(self) -> None:
        self.items = EMPTY

    @handler
    async def add(self, x: int) -> list[int]:
        self.items.append(x)
        return self.items

    @handler
    async def fill(self, xs: list[int]) -> None:
        self.a = self.b = xs

    @handler
    async def add_to_a(self, ctx: Context, x: int) -> list[list[int]]:
        self.a.append(x)
        await ctx.sleep(1)
        return [self.a, self.b]

    @handler
    async def one_list_twice(self) -> None:
        one: list[int] = []
        self.by_name = {"x": one, "y": one}

    @handler
    async def add_to_x(self, ctx: Context, x: int) -> dict[str, list[int]]:
        self.by_name["x"].append(x)
        await ctx.sleep(1)
        return self.by_name

    @handler
    async def copy_again(self) -> None:
        """No change of state, if the two are equal already. And yet they are one object then."""
        self.by_name["a"] = self.a

    @handler
    async def read_a(self, ctx: Context, x: int) -> dict[str, list[int]]:
        self.a.append(x)
        await ctx.sleep(1)
        return self.by_name

    @handler
    async def keep(self) -> None:
        KEPT.append(self.items)

    @handler
    async def change_later(self, ctx: Context) -> list[int]:
        mine: list[int] = []
        self.items = mine
        await ctx.sleep(1)
        mine.append(1)
        await ctx.sleep(1)
        mine.append(2)
        return self.items

    @handler
    async def both(self, ctx: Context) -> list[list[int]]:
        self.a = self.b = [0]
        await ctx.sleep(1)
        self.a.append(1)
        await ctx.sleep(1)
        self.b.append(2)
        return [self.a, self.b]


async def test_keys_do_not_share_what_both_were_assigned() -> None:
    EMPTY.clear()
    async with World(Notes) as world:
        one, other = world.app.object(Notes, "one"), world.app.object(Notes, "other")
        await one.reset()
        await other.reset()
        assert await one.add(1) == [1]
        assert await other.add(2) == [2]
        assert EMPTY == []
        await one.reset()
        assert await one.add(3) == [3]


async def test_what_a_handler_handed_out_is_no_longer_state() -> None:
    KEPT.clear()
    async with World(Notes) as world:
        one = world.app.object(Notes, "one")
        await one.add(1)
        await one.keep()
        KEPT[0].append(5)
        assert await one.add(2) == [1, 2]


MODES = pytest.mark.parametrize("mode", ["hot", "cold", "replayed"])


async def outcome(world: World, mode: str, name: str, *args: object) -> object:
    """The result of a handler of "k" that sleeps: its object in memory, or loaded, or with a restart at each sleep."""
    if mode == "cold":
        await world.restart()
    handle = await world.app.send("Notes", "k", name, *args)
    await world.settle()
    for _ in range(3):
        if mode == "replayed":
            await world.restart()
        await world.pass_time(1)
    info = await world.app.describe(handle.id)
    assert info.status == "succeeded", info
    return await asyncio.wait_for(world.app.invocation(handle.id).result(), 5)


@MODES
async def test_two_fields_assigned_one_object_are_two_in_the_next_invocation(mode: str) -> None:
    async with World(Notes) as world:
        await world.app.object(Notes, "k").fill([0])
        assert await outcome(world, mode, "add_to_a", 1) == [[0, 1], [0]]


@MODES
async def test_one_object_twice_inside_a_field_is_two_in_the_next_invocation(mode: str) -> None:
    async with World(Notes) as world:
        await world.app.object(Notes, "k").one_list_twice()
        assert await outcome(world, mode, "add_to_x", 1) == {"x": [1], "y": []}


@MODES
async def test_an_object_shared_without_any_change_is_two_in_the_next_invocation(mode: str) -> None:
    async with World(Notes) as world:
        await world.app.object(Notes, "k").copy_again()
        await world.app.object(Notes, "k").copy_again()
        assert await outcome(world, mode, "read_a", 1) == {"a": []}


@MODES
async def test_within_an_invocation_a_handler_keeps_the_object_it_assigned(mode: str) -> None:
    async with World(Notes) as world:
        await world.app.object(Notes, "k").add(7)
        assert await outcome(world, mode, "change_later") == [1, 2]
        assert await world.app.object(Notes, "k").add(3) == [1, 2, 3]
        await world.restart()
        assert await world.app.object(Notes, "k").add(4) == [1, 2, 3, 4]


@MODES
async def test_within_an_invocation_two_fields_assigned_one_object_stay_one(mode: str) -> None:
    async with World(Notes) as world:
        await world.app.object(Notes, "k").add(7)
        assert await outcome(world, mode, "both") == [[0, 1, 2], [0, 1, 2]]
        assert await outcome(world, mode, "add_to_a", 3) == [[0, 1, 2, 3], [0, 1, 2]]
