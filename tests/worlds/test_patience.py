"""A test that would hang fails at once, at the line where it waits, and says who waits for what."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from actors.testing import Stuck, World
from tests.worlds.shop import Clock, Order, Signup


async def waits_for_an_awakeable(world: World) -> None:
    await world.object(Order, "o1").checkout(1.0)


async def waits_for_its_own_future(world: World) -> None:
    await asyncio.get_running_loop().create_future()


async def waits_for_a_paused_order(world: World) -> None:
    await world.object(Order, "o1").breaks()


async def waits_for_a_promise(world: World) -> None:
    await world.object(Signup, "ada").run("a@b")


async def waits_in_the_mailbox(world: World) -> None:
    world.object(Order, "o1").checkout.send(1.0)
    await world.object(Order, "o1").add("book")


async def waits_for_a_call_of_its_order(world: World) -> None:
    await world.object(Order, "o1").asks("o2")


async def waits_for_another_awakeable(world: World) -> None:
    await world.awakeable()


async def waits_for_a_predicate(world: World) -> None:
    await world.until(lambda: False)


async def polls(world: World) -> None:
    while not world.look(Order, "o1").items:  # noqa: ASYNC110  # that is what it is about
        await asyncio.sleep(0.05)


@pytest.mark.may_log("not today")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (waits_for_an_awakeable, r"Order/o1/checkout waits for an awakeable \(str\), at shop\.py:\d+\."),
        (waits_for_its_own_future, r"No invocation is open: it waits for something of its own\."),
        (waits_for_a_paused_order, r"Order/o1/breaks is paused: OSError: not today"),
        (waits_for_a_promise, r"Signup/ada/run waits for the promise 'confirmed', at shop\.py:\d+\."),
        (
            waits_in_the_mailbox,
            r"Order/o1/checkout waits for an awakeable.*\n.*Order/o1/add waits in the mailbox of Order/o1\.",
        ),
        (
            waits_for_a_call_of_its_order,
            r"Order/o1/asks waits for Order/o2/checkout.*\n.*Order/o2/checkout waits for an awakeable",
        ),
        (waits_for_another_awakeable, r"No invocation is open"),
        (waits_for_a_predicate, r"No invocation is open"),
        (polls, r"something polls\. The test waits at test_patience\.py:\d+\. Wait for what happens instead"),
    ],
)
def test_a_test_that_would_hang_fails_and_says_who_waits(body: Callable[[World], Any], said: str) -> None:
    world = World()
    try:
        world.run(world.serve(Order, Signup))
        with pytest.raises(Stuck, match=said) as stuck:
            world.run(body(world))
        line = body.__code__.co_firstlineno
        where = re.findall(r"test_patience\.py:(\d+)", str(stuck.value))[0]
        assert line < int(where) <= line + 2
    finally:
        world.close()


def test_a_test_that_waits_beside_a_schedule_fails_too() -> None:
    world = World()
    try:
        world.run(world.serve(Clock, Order))
        with pytest.raises(Stuck, match="Nothing but ticks of schedules"):
            world.run(waits_for_an_awakeable(world))
    finally:
        world.close()


@pytest.mark.parametrize("swallows", [asyncio.CancelledError, BaseException])
def test_a_body_that_swallows_everything_still_ends(swallows: type[BaseException]) -> None:
    world = World()

    async def body() -> None:
        for _ in range(200_000):
            with suppress(swallows):
                await asyncio.sleep(1)

    try:
        with pytest.raises(Stuck, match="polls"):
            world.run(body())
    finally:
        world.close()
