"""The order of what one handler sends to one object, where some of it is placed beside the handler."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Context, RetryPolicy, Service, VirtualObject, Workflow, handler, shared
from tests.world import World

taken: list[int] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    taken.clear()


class Log(VirtualObject):
    seen: list[int] = []

    @handler
    async def push(self, n: int) -> int:
        self.seen.append(n)
        return n

    @shared
    async def look(self) -> list[int]:
        return self.seen


class Sink(Service):
    @handler
    async def take(self, n: int) -> None:
        taken.append(n)


class Once(Workflow):
    @handler
    async def run(self, n: int) -> None:
        taken.append(n)

    @shared
    async def note(self, n: int) -> None:
        taken.append(n)


class Sender(VirtualObject):
    ids: list[str] = []

    @handler
    async def to_log(self, ctx: Context) -> None:
        for n in range(6):
            bound: Any = ctx.object(Log, "a").push
            bound.options(idempotency_key=f"k{n}" if n % 2 == 0 else None).send(n)

    @handler
    async def to_sink(self, ctx: Context) -> None:
        for n in range(6):
            bound: Any = ctx.service(Sink).take
            bound.options(idempotency_key=f"k{n}" if n % 2 == 0 else None).send(n)

    @handler
    async def to_workflow(self, ctx: Context) -> None:
        ctx.object(Once, "w").run.send(0)
        for n in range(1, 6):
            ctx.object(Once, "w").note.send(n)

    @handler
    async def mixed(self, ctx: Context) -> list[int]:
        log = ctx.object(Log, "a")
        log.push.options(idempotency_key="k").send(0)
        first = log.push(1)
        log.push.options(idempotency_key="l").send(2)
        log.push.send(3)
        return [await first, await log.push(4)]

    @handler
    async def later(self, ctx: Context) -> None:
        for n in range(6):
            bound: Any = ctx.object(Log, "a").push
            bound.options(idempotency_key=f"k{n}" if n % 2 == 0 else None, delay=1).send(n)

    @handler
    async def waits(self, ctx: Context) -> None:
        ctx.object(Log, "a").push.options(idempotency_key="k").send(0)
        self.ids.append(ctx.object(Log, "a").push.send(1).id)
        await ctx.sleep(60)

    @handler(retry=RetryPolicy(max_attempts=1, on_exhausted="fail"))
    async def fails(self, ctx: Context) -> None:
        ctx.object(Log, "a").push.options(idempotency_key="k").send(0)
        ctx.object(Log, "a").push.send(1)
        raise OSError("broken")


@pytest.mark.parametrize(("how", "time"), [("to_log", 0), ("mixed", 0), ("later", 1)])
async def test_messages_to_an_object_arrive_in_the_order_sent(how: str, time: int) -> None:
    async with World(Log, Sender) as world:
        await getattr(world.app.object(Sender, "s"), how).send()
        await world.settle(3)
        await world.pass_time(time)
        seen = await world.app.object(Log, "a").look()
        assert seen == sorted(seen) and len(seen) == (5 if how == "mixed" else 6)


@pytest.mark.parametrize("how", ["to_sink", "to_workflow"])
async def test_messages_to_a_service_or_workflow_start_in_the_order_sent(how: str) -> None:
    async with World(Sink, Once, Sender) as world:
        await getattr(world.app.object(Sender, "s"), how)()
        await world.settle(3)
        assert taken == list(range(6))


async def test_the_id_of_a_message_that_waits_for_another_is_its_id() -> None:
    async with World(Log, Sender) as world:
        await world.app.object(Sender, "s").waits.send()
        await world.settle(2)
        (id,) = (await world.app.state(Sender, "s")).values["ids"]
        assert await world.app.invocation(id).result() == 1


@pytest.mark.parametrize("turns", range(12))
async def test_what_is_killed_has_sent_all_it_has_asked_for(turns: int) -> None:
    async with World(Log, Sender) as world:
        sent = world.app.object(Sender, "s").waits.send()
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.app.kill(sent.id)
        assert await world.status(sent) == "failed"
        commands = world.disk.query("SELECT count(*) FROM journal_entry WHERE kind = 7")[0][0]
        await world.settle(5)
        assert await world.app.object(Log, "a").look() == [0, 1][:commands]


@pytest.mark.expects_log("failed for good after")
async def test_what_fails_for_good_has_sent_all_it_has_asked_for() -> None:
    async with World(Log, Sender) as world:
        await world.app.object(Sender, "s").fails.send()
        await world.settle(5)
        assert await world.app.object(Log, "a").look() == [0, 1]
        assert world.statuses()[0] == "failed"


class Changed(VirtualObject, name="Sender"):
    @handler
    async def other(self) -> None: ...


@pytest.mark.may_log("is paused")
@pytest.mark.expects_log("had sent a message that cannot be delivered: No service 'Log' in this app")
async def test_each_restart_of_what_was_not_placed_places_its_own() -> None:
    """A process died between the command and its placement, and the next one had neither class."""
    for commit in range(1, 5):
        world = World(Log, Sender)
        async with world:
            sent = await world.app.object(Sender, "s").waits.send()
            world.store.crash_at_commit(commit, written=True)
            await world.settle(3)
            await world.crash()
            kinds = [kind for (kind,) in world.disk.query("SELECT kind FROM journal_entry ORDER BY idx")]
            world.classes = (Changed,)
            await world.start()
            await world.settle(3)
            if 23 in kinds or 7 not in kinds:
                continue
            await world.app.kill(sent.id)
            world.classes = (Log, Sender)
            await world.restart()
            for _ in range(2):
                again = await world.app.restart(sent.id, keep=2)
                await world.settle(3)
                await world.app.kill(again.id)
            await world.settle(3)
            assert await world.app.object(Log, "a").look() == [0, 1, 1]
            assert len(world.disk.query("SELECT 1 FROM invocations WHERE service = 'Log' AND handler = 'push'")) == 3
            return
    raise AssertionError("no commit lies between the command and its placement")
