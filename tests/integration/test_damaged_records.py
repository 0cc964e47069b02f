"""One damaged row stops one invocation, not the app; and a clock that was ahead stops no retry."""

from __future__ import annotations

import pytest

from actors import Context, RetryPolicy, TerminalError, VirtualObject, handler
from actors.errors import SerializationError
from tests.world import World

tried: list[str] = []


class Waits(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> str:
        await ctx.run(str, "done")
        try:
            return await ctx.awakeable(str)
        except TerminalError as error:
            return error.error

    @handler
    async def fail(self, ctx: Context) -> None:
        tried.append("handler")
        raise OSError("no")

    @handler
    async def step(self, ctx: Context) -> None:
        def attempt() -> None:
            tried.append("step")
            raise OSError("no")

        await ctx.step(retry=RetryPolicy(max_attempts=1000)).run(attempt)


DAMAGE = {
    "an unknown kind": "UPDATE journal_entry SET kind = 99 WHERE idx = 1",
    "a gap": "UPDATE journal_entry SET idx = 7 WHERE idx = 3",
    "no reference": "UPDATE journal_entry SET ref = NULL WHERE kind = 20",
}


@pytest.mark.expects_log("is paused. It is tried again")
@pytest.mark.parametrize("damage", DAMAGE)
async def test_an_invocation_whose_journal_cannot_be_read_is_paused_and_named(damage: str) -> None:
    async with World(Waits) as world:
        damaged = await world.app.object(Waits, "a").go.send()
        await world.settle()
        await world.crash()
        world.disk.query(DAMAGE[damage])
        world.disk.query("UPDATE invocation SET status = 2")
        await world.start()
        await world.settle()
        info = await world.app.describe(damaged.id)
        assert info.status == "paused" and info.reason is not None, info
        other = await world.app.object(Waits, "b").go.send()
        await world.settle()
        assert (await world.app.describe(other.id)).status == "blocked", "the others go on"
        await world.app.kill(damaged.id)
        await world.app.object(Waits, "a").go.send()


@pytest.mark.parametrize("text", ["{", "[1]", ""])
async def test_a_stored_failure_that_cannot_be_read_is_a_failure_all_the_same(text: str) -> None:
    async with World(Waits) as world:
        handle = await world.app.object(Waits, "a").go.send()
        await world.settle()
        (info,) = await world.app.awakeables()
        await world.app.reject_awakeable(info.id, "no")
        assert await handle.result() == "awakeable_rejected"
        world.disk.query("UPDATE invocation SET status = 7, outcome = ?", text)
        with pytest.raises(SerializationError, match="cannot be read"):
            await world.app.invocation(handle.id).result()


@pytest.mark.may_log("failed, next in", "next try in")
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("name", ["fail", "step"])
async def test_a_clock_that_is_set_back_stops_no_retry(name: str, restarted: bool) -> None:
    tried.clear()
    async with World(Waits, retry=RetryPolicy(max_attempts=1000)) as world:
        await world.app.send("Waits", "k", name)
        await world.settle()
        before = len(tried)
        world.clock.set_to(world.clock.now_ms() - 365 * 86_400_000, noticed=not restarted)
        if restarted:
            await world.restart()
        for _ in range(20):
            await world.pass_time(60)
        assert len(tried) >= before + 10
