"""What an attempt spends."""

from __future__ import annotations

from typing import Any

from actors import Context, VirtualObject, handler
from actors.errors import InvocationCancelled
from tests.restate.fake_machine import Command, FakeMachine
from tests.restate.machine_world import Invocation, World


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


async def test_a_cancellation_is_not_lost_among_other_input() -> None:
    """The id of the called invocation comes in the same moment, before and after it."""

    def answer(invocation: Invocation, command: Command) -> Any:
        world.cancel(invocation)
        return b"4", 1000

    async with World(Spender, answer=answer) as world:
        assert await world.call("Spender", "a", "gives_up") == "cancelled"
