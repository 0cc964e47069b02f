"""Code that no longer fits the journal, state as of the start, asyncio inside handlers, order, sharing."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from actors import Context, Limits, TerminalError, VirtualObject, handler, shared
from actors.errors import MisusedFuture
from tests.world import World


def _flow(body: Any, *, field: bool = True) -> type[VirtualObject]:
    """A class named Flow whose handler `go` is `body`: another version of the same code."""

    class Flow(VirtualObject):
        step: str = ""
        other: str = ""

        @handler
        async def go(self, ctx: Context) -> str:
            return str(await body(self, ctx))

        @shared
        async def where(self) -> str:
            return self.step

    return Flow


async def _original(self: Any, ctx: Context) -> str:
    self.step = "begun"
    await ctx.run(_note, "one")
    await ctx.awakeable(str)
    return "original"


def _note(what: str) -> str:
    return what


def _another(what: str) -> str:
    return what


async def _other_step(self: Any, ctx: Context) -> str:
    self.step = "begun"
    await ctx.run(_another, "one")
    await ctx.awakeable(str)
    return ""


async def _sleep_instead(self: Any, ctx: Context) -> str:
    self.step = "begun"
    await ctx.sleep(1)
    return ""


async def _other_field(self: Any, ctx: Context) -> str:
    self.other = "begun"
    await ctx.run(_note, "one")
    await ctx.awakeable(str)
    return ""


async def _other_value(self: Any, ctx: Context) -> str:
    self.step = "BEGUN"
    await ctx.run(_note, "one")
    await ctx.awakeable(str)
    return ""


async def _too_short(self: Any, ctx: Context) -> str:
    self.step = "begun"
    return ""


async def _too_short_and_failing(self: Any, ctx: Context) -> str:
    self.step = "begun"
    raise TerminalError("done early")


async def _swallows_everything(self: Any, ctx: Context) -> str:
    try:
        await ctx.run(_another, "one")
    except BaseException:
        return "swallowed"
    return ""


CHANGES = {
    "another step": (_other_step, "run '_note'.*run '_another'"),
    "another kind of command": (_sleep_instead, "run '_note'.*sleep '1000'"),
    "another field": (_other_field, "set state 'step'.*set state 'other'"),
    "another value": (_other_value, "begun.*BEGUN"),
    "a step removed": (_too_short, "set state 'step'.*ended"),
    "failing before a step": (_too_short_and_failing, "set state 'step'.*ended"),
    "catching the mismatch": (_swallows_everything, "set state 'step'.*run '_another'"),
}


@pytest.mark.expects_log("is paused. It is tried again")
@pytest.mark.parametrize("name", CHANGES)
async def test_changed_code_pauses_the_invocation_says_where_and_changes_nothing(name: str) -> None:
    body, message = CHANGES[name]
    async with World(_flow(_original)) as world:
        handle = await world.app.call("Flow", "f", "where") or await world.app.send("Flow", "f", "go")
        await world.settle()
        (info,) = await world.app.awakeables()
        await world.crash()
        journal = world.disk.query("SELECT * FROM journal_entry")
        state = world.disk.query("SELECT * FROM state")
        world.classes = (_flow(body),)
        await world.start()
        await world.settle()
        assert world.statuses() == ["blocked"]  # nobody woke it yet
        await world.app.resolve_awakeable(info.id, "go")
        await world.settle()
        described = await world.app.describe(handle.id)
        assert described.status == "paused"
        assert re.search(message, described.reason or "", re.S), described.reason
        assert world.disk.query("SELECT * FROM state") == state
        assert world.disk.query("SELECT * FROM journal_entry WHERE kind < 20") == [r for r in journal if r[2] < 20]
        # It is tried again when code starts that fits.
        await world.crash()
        world.classes = (_flow(_original),)
        await world.start()
        await world.settle()
        assert await world.app.invocation(handle.id).result() == "original"


@pytest.mark.expects_log("is paused. It is tried again")
async def test_an_invocation_of_a_removed_handler_is_paused_and_goes_on_when_it_is_back() -> None:
    class Flow(VirtualObject):
        @handler
        async def something_else(self) -> None: ...

    async with World(_flow(_original)) as world:
        await world.app.send("Flow", "f", "go")
        await world.settle()
        (info,) = await world.app.awakeables()
        await world.crash()
        world.classes = (Flow,)
        await world.start()
        await world.app.resolve_awakeable(info.id, "go")
        await world.settle()
        assert world.statuses() == ["paused"]
        await world.crash()
        world.classes = (_flow(_original),)
        await world.start()
        await world.settle()
        assert world.statuses() == ["succeeded"]


@pytest.mark.expects_log("is paused. It is tried again")
async def test_state_that_no_longer_fits_its_type_pauses_the_next_invocation_with_the_field_named() -> None:
    class Flow(VirtualObject):
        step: int = 0

        @handler
        async def go(self) -> str:
            return "never"

    async with World(_flow(_original)) as world:
        await world.app.send("Flow", "f", "go")
        await world.settle()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "go")
        await world.settle()
        await world.crash()
        world.classes = (Flow,)
        await world.start()
        handle = await world.app.send("Flow", "f", "go")
        await world.settle()
        described = await world.app.describe(handle.id)
        assert (described.status, "Flow.step" in (described.reason or "")) == ("paused", True)


class Asyncio(VirtualObject):
    seen: list[str] = []

    @handler
    async def gather(self, ctx: Context) -> list[str]:
        return list(await asyncio.gather(ctx.run(_note, "a"), ctx.run(_another, "b")))

    @handler
    async def inner_timeout(self) -> str:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "done"

    @handler
    async def timeout_around_durable(self, ctx: Context) -> None:
        async with asyncio.timeout(0):
            await ctx.awakeable()

    @handler
    async def task_group(self, ctx: Context) -> list[str]:
        async def one(word: str) -> str:
            return await ctx.run(_note, word)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(word)) for word in "xy"]
        return [task.result() for task in tasks]

    @handler
    async def first(self, ctx: Context) -> str:
        self.seen.append("first")
        await ctx.awakeable()
        self.seen.append("first again")
        return "first"

    @handler
    async def second(self) -> str:
        self.seen.append("second")
        return "second"

    @shared
    async def get(self) -> list[str]:
        return self.seen


async def test_asyncio_gather_timeouts_and_task_groups_work_inside_handlers() -> None:
    async with World(Asyncio) as world:
        one = world.app.object(Asyncio, "a")
        assert await one.gather() == ["a", "b"]
        assert await one.inner_timeout() == "done"
        assert await one.task_group() == ["x", "y"]
        with pytest.raises(MisusedFuture, match=r"ctx\.timeout"):
            await one.timeout_around_durable()


async def test_a_message_waits_while_the_one_before_it_waits_and_a_shared_one_does_not() -> None:
    async with World(Asyncio) as world:
        one = world.app.object(Asyncio, "a")
        first = await one.first.send()
        second = await one.second.send()
        await world.settle()
        assert await one.get() == ["first"]
        await world.restart()
        assert await world.app.object(Asyncio, "a").get() == ["first"]
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id)
        assert await world.app.invocation(second.id).result() == "second"
        assert await world.app.invocation(first.id).result() == "first"
        assert await world.app.object(Asyncio, "a").get() == ["first", "first again", "second"]


async def test_delayed_messages_due_at_the_same_instant_are_delivered_in_order_of_acceptance() -> None:
    class Log(VirtualObject):
        words: list[str] = []

        @handler
        async def add(self, word: str) -> None:
            self.words.append(word)

    expected = [str(n) for n in range(20)]
    async with World(Log) as world:
        for word in expected:
            world.app.object(Log, "l").add.options(delay=5).send(word)
        await world.settle()
        await world.restart()
        await world.pass_time(5)
        assert world.disk.query("SELECT value FROM state") == [('["' + '","'.join(expected) + '"]',)]


async def test_idle_objects_leave_memory_beyond_the_limit_and_come_back_with_their_state() -> None:
    async with World(Asyncio, limits=Limits(max_objects=10)) as world:
        for n in range(100):
            await world.app.object(Asyncio, f"k{n}").second()
        assert len(world.app._running().residents.objects["Asyncio"]) <= 13
        for n in range(100):
            assert await world.app.object(Asyncio, f"k{n}").get() == ["second"]


@pytest.mark.expects_log("failed, next in")
async def test_a_retry_that_has_begun_is_begun_again_after_a_crash() -> None:
    attempts = []

    class Unlucky(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            attempts.append(1)
            if len(attempts) == 1:
                raise OSError("the first attempt fails")
            await ctx.run(asyncio.sleep, 0)
            return "done"

    async with World(Unlucky) as world:
        handle = await world.app.object(Unlucky, "u").go.send()
        await world.settle()
        assert world.statuses() == ["backing-off"]
        world.store.crash_at_commit(1, written=True)  # the timer of the retry is gone with this commit
        await world.pass_time(1)
        assert len(attempts) == 2 and world.store.crashed
        await world.restart()
        await world.pass_time(1)
        assert await world.outcome(handle) == "done"
