"""What an attempt spends: messages, looks at the machine, and objects that only the collector could free."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from actors import Context, VirtualObject, handler
from actors.errors import ActorsError, InvocationCancelled
from actors.transport.restate.commands import Commands
from tests.restate.fake_machine import Command, FakeMachine
from tests.restate.machine_world import Answer, Invocation, World


async def double(n: int) -> int:
    return 2 * n


class Spender(VirtualObject):
    n: int = 0
    items: list[int] = []

    @handler
    async def steps(self, ctx: Context) -> int:
        self.n = await ctx.run(double, 2)
        self.items.append(self.n)
        await ctx.sleep(1)
        return self.n

    @handler
    async def calls(self, ctx: Context) -> Any:
        return await ctx.call("Spender", "b", "steps")

    @handler
    async def gives_up(self, ctx: Context) -> str:
        try:
            await ctx.call("Spender", "b", "steps")
        except InvocationCancelled:
            return "cancelled"
        return "done"

    @handler
    async def keeps(self) -> None:
        kept.append(self)


kept: list[Spender] = []


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def answered(body: bytes) -> Answer:
    return lambda invocation, command: body


async def attempts() -> list[Commands]:
    """Those in memory, once their tasks have had some turns to end."""
    for _ in range(10):
        await asyncio.sleep(0)
    return [one for one in gc.get_objects() if isinstance(one, Commands)]


async def outputs(world: World, invocation: Invocation) -> list[bytes]:
    """The bodies of the response of one attempt that are not empty."""
    sent: list[bytes] = []
    take = FakeMachine.take_output

    class Watched(FakeMachine):
        def take_output(self) -> bytes:
            output = take(self)
            sent.extend([output] if output else [])
            return output

    made = world.endpoint._machine
    world.endpoint._machine = lambda headers: _noted(invocation, Watched())
    await world.attempt(invocation)
    world.endpoint._machine = made
    return sent


def _noted(invocation: Invocation, machine: FakeMachine) -> FakeMachine:
    invocation.machines.append(machine)
    return machine


async def test_the_result_of_a_short_step_leaves_with_its_command() -> None:
    async with World(Spender) as world:
        sent = await outputs(world, world.invocation("Spender", "a", "steps"))
    assert len(sent) == 3, "the step and its result; the state and the sleep; the outcome"


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("name", ["steps", "calls"])
async def test_an_attempt_leaves_nothing_to_the_collector(name: str) -> None:
    async with World(Spender, answer=answered(b"4")) as world:
        assert await world.call("Spender", "a", name) == 4
        assert await attempts() == []


async def test_an_object_that_outlives_its_attempt_cannot_be_read() -> None:
    async with World(Spender) as world:
        await world.call("Spender", "a", "keeps")
        with pytest.raises(ActorsError, match="is over"):
            _ = kept.pop().n


async def test_a_cancellation_is_not_lost_among_other_input() -> None:
    """The id of the called invocation comes in the same moment, before and after it."""

    def answer(invocation: Invocation, command: Command) -> Any:
        world.cancel(invocation)
        return b"4", 1000

    async with World(Spender, answer=answer) as world:
        assert await world.call("Spender", "a", "gives_up") == "cancelled"
