"""Steps in a world: replaced, failing, counted, and cut off by a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from actors import (
    Context,
    RetryPolicy,
    VirtualObject,
    handler,
)
from actors.errors import BadArguments
from actors.testing import MisusedWorld, NoNetwork, World
from tests.worlds.shop import HOUR, Mailer, Order, charge, counted, mail


@pytest.mark.expects_log("bank down")
@pytest.mark.parametrize("step", [charge, "charge"])
async def test_a_charge_that_fails_twice(world: World, step: Any) -> None:
    await world.serve(Order)
    charged: list[int] = []

    def fake(who: str, cents: int) -> str:
        charged.append(cents)
        return "receipt"

    world.replace(charge, fake)
    world.replace("mail", lambda to: "sent")
    world.fail(step, times=2, error=OSError("bank down"))
    assert await world.object(Order, "i1").pay(500) == "receipt"
    assert charged == [500] and world.executions(charge) == world.executions("charge") == 3
    assert world.executions(mail) == 1


@pytest.mark.expects_log("charge failed, as world.fail says")
async def test_a_step_that_fails_after_its_effect_has_it_twice(world: World) -> None:
    await world.serve(Order)
    charged: list[int] = []
    world.replace(charge, lambda who, cents: counted(charged, cents))
    world.replace(mail, lambda to: "sent")
    world.fail(charge, when="after")
    await world.object(Order, "i1").pay(500)
    assert charged == [500, 500]


@pytest.mark.may_log("Write the replacement")
async def test_a_replacement_may_be_async_only_if_the_step_is(world: World) -> None:
    async def fake(who: str, cents: int) -> str:
        return "receipt"

    await world.serve(Order, retry=RetryPolicy(max_attempts=1))
    world.replace(charge, fake)
    world.expect_paused()
    world.unchecked("steps")
    await world.object(Order, "o").pay.send(1)
    await world.settle()
    assert "Write the replacement without async" in world.query("SELECT reason FROM invocations")[0][0]


async def test_a_replacement_of_another_signature_is_named(world: World) -> None:
    await world.serve(Order)
    world.replace(charge, lambda: "receipt")
    with pytest.raises(BadArguments, match="The replacement of the step charge does not take its arguments"):
        await world.object(Order, "o").pay(1)


async def test_a_step_that_has_run_cannot_be_replaced(world: World) -> None:
    await world.serve(Mailer)
    world.replace(mail, lambda to: "sent")
    await world.service(Mailer).deliver("ada")
    with pytest.raises(MisusedWorld, match="has run already"):
        world.replace(mail, lambda to: "again")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda world: world.replace(None, print),
        lambda world: world.replace(charge, "fake"),
        lambda world: world.fail(charge, times=0),
        lambda world: world.fail(charge, times=True),
        lambda world: world.fail(charge, when="during"),
        lambda world: world.executions(""),
        lambda world: world.unchecked("everything"),
        lambda world: world.choose("a;b"),
        lambda world: world.choose("a", []),
    ],
)
async def test_arguments_that_are_not_valid_are_refused(world: World, mistake: Callable[[World], Any]) -> None:
    with pytest.raises(BadArguments):
        mistake(world)


async def slow_mail(to: str) -> str:
    await asyncio.sleep(HOUR)
    return "sent"


class Slow(VirtualObject):
    @handler
    async def work(self, ctx: Context) -> str:
        return await ctx.run(slow_mail, ctx.key)


@pytest.mark.parametrize("end", [World.crash, World.restart])
async def test_the_next_process_executes_the_step_that_was_cut_off(world: World, end: Callable[[World], Any]) -> None:
    await world.serve(Slow)
    sent = await world.object(Slow, "s").work.send()
    await world.until(lambda: world.executions(slow_mail) == 1)
    await end(world)
    assert await sent.result() == "sent" and world.executions(slow_mail) == 2


def test_worlds_share_nothing_not_even_a_step_that_was_cut_off() -> None:
    for _ in range(3):
        world = World()

        async def body(world: World = world) -> None:
            await world.serve(Slow)
            sent = await world.object(Slow, "s").work.send()
            await world.until(lambda: world.executions(slow_mail) == 1)
            await world.restart()
            assert await sent.result() == "sent"
            assert world.executions(slow_mail) == 2

        try:
            world.run(body())
            world.finish()
        finally:
            world.close()


@pytest.mark.may_log("no network")
async def test_a_step_that_needs_the_network_says_what_to_do(world: World) -> None:
    await world.serve(Order, retry=RetryPolicy(max_attempts=1))
    world.expect_paused()
    await world.object(Order, "o").connects.send()
    await world.settle()
    assert NoNetwork.__name__ in world.query("SELECT reason FROM invocations")[0][0]


async def stubborn_mail(to: str) -> str:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(HOUR)
    await asyncio.sleep(HOUR)
    return "sent"


class Stubborn(VirtualObject):
    @handler
    async def work(self, ctx: Context) -> str:
        return await ctx.run(stubborn_mail, ctx.key)


async def test_a_step_that_does_not_stop_ends_with_its_process(world: World) -> None:
    await world.serve(Stubborn)
    sent = await world.object(Stubborn, "s").work.send()
    await world.until(lambda: world.executions(stubborn_mail) == 1)
    await world.restart()
    assert await sent.result() == "sent" and world.executions(stubborn_mail) == 2
