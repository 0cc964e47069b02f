"""A handler whose message meets a full mailbox: it backs off until there is room, unless it says otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, TerminalError, VirtualObject, handler
from actors.errors import BadArguments, MailboxFull, RetriesExhausted
from tests.world import World, limits, outcome


class Slow(VirtualObject):
    """Busy until somebody resolves the awakeable of its holder. `got` is what has arrived since, in order."""

    got: list[str] = []

    @handler
    async def hold(self, ctx: Context) -> None:
        await ctx.awakeable(str)

    @handler
    async def put(self, what: str) -> str:
        self.got.append(what)
        return what

    @handler
    async def read(self) -> list[str]:
        return self.got


class Sender(VirtualObject):
    """Each way to send a message, after a first command that shows that the attempt is a replay."""

    @handler
    async def call(self, ctx: Context) -> str:
        ctx.now()
        return await ctx.object(Slow, "s").put("x")

    @handler
    async def send(self, ctx: Context) -> str:
        ctx.now()
        await ctx.object(Slow, "s").put.send("x")
        return "x"

    @handler
    async def keyed_call(self, ctx: Context) -> str:
        ctx.now()
        return await ctx.object(Slow, "s").put.options(idempotency_key="k")("x")

    @handler
    async def keyed_send(self, ctx: Context) -> str:
        ctx.now()
        await ctx.object(Slow, "s").put.options(idempotency_key="k").send("x")
        return "x"

    @handler
    async def keyed_send_not_awaited(self, ctx: Context) -> str:
        ctx.now()
        ctx.object(Slow, "s").put.options(idempotency_key="k").send("x")
        return "x"

    @handler
    async def call_by_name(self, ctx: Context) -> str:
        ctx.now()
        return str(await ctx.call("Slow", "s", "put", "x"))

    @handler
    async def send_by_name(self, ctx: Context) -> str:
        ctx.now()
        await ctx.send("Slow", "s", "put", "x")
        return "x"

    @handler
    async def delayed_send(self, ctx: Context) -> str:
        ctx.now()
        await ctx.send("Slow", "s", "put", "x", delay=0.001)
        return "x"

    @handler
    async def call_in_a_task(self, ctx: Context) -> str:
        async def branch() -> str:
            await asyncio.sleep(0)
            return await ctx.object(Slow, "s").put("x")

        ctx.now()
        return (await asyncio.gather(branch()))[0]

    @handler
    async def send_in_a_task_nobody_awaits(self, ctx: Context) -> str:
        async def branch() -> None:
            await asyncio.sleep(0)
            await ctx.object(Slow, "s").put.send("x")

        ctx.now()
        task = asyncio.ensure_future(branch())
        await ctx.sleep(1)
        await task
        return "x"

    @handler
    async def swallow(self, ctx: Context) -> str:
        ctx.now()
        try:
            return await ctx.object(Slow, "s").put("x")
        except TerminalError:
            return "refused"
        except BaseException:
            return await ctx.object(Slow, "s").put("y")


WAYS = [name for name in Sender.__actors__.handlers]  # noqa: C416


async def _fill(world: World, count: int) -> None:
    await world.app.object(Slow, "s").hold.send()
    await world.settle()
    for number in range(count):
        await world.app.object(Slow, "s").put.send(str(number))


async def _let_go(world: World) -> None:
    (waiting,) = await world.app.awakeables()
    await world.app.resolve_awakeable(waiting.id, "go")
    await world.settle(3)


def a_world(*classes: Any, max_pending: int = 2, **options: Any) -> World:
    return World(*(classes or (Slow, Sender)), limits=limits(max_pending=max_pending), **options)


@pytest.mark.expects_log("Slow/s has 2 messages waiting")
@pytest.mark.parametrize("restart", [False, True], ids=["live", "restart"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_sender_backs_off_until_the_mailbox_has_room(way: str, restart: bool) -> None:
    async with a_world(retry=RetryPolicy(initial_interval=1, factor=1)) as world:
        await _fill(world, 2)
        sent = await world.app.send("Sender", "a", way)
        for _ in range(3):
            await world.settle()
            info = await world.app.describe(sent.id)
            assert (info.status, "MailboxFull" in (info.reason or "")) == ("backing-off", True)
            if restart:
                await world.restart()
            await world.pass_time(1.3)
        await _let_go(world)
        for _ in range(3):
            await world.pass_time(1.3)
            await world.settle()
        assert await world.outcome(sent) == "x"
        assert await world.app.object(Slow, "s").read() == ["0", "1", "x"]


class Declared(VirtualObject):
    @handler
    async def go(self, ctx: Context, way: str) -> str:
        slow = ctx.object(Slow, "s").put.options(fail_when_full=True)
        if way.startswith("keyed"):
            slow = slow.options(idempotency_key="k")
        try:
            if way.endswith("call"):
                await slow("x")
            else:
                await slow.send("x")
        except MailboxFull as error:
            await ctx.awakeable(str)
            return error.error
        return "accepted"


class Undeclared(VirtualObject, name="Declared"):
    """The same in a release that declares nothing, or one before this could be declared."""

    @handler
    async def go(self, ctx: Context, way: str) -> str:
        slow = ctx.object(Slow, "s").put
        if way.startswith("keyed"):
            slow = slow.options(idempotency_key="k")
        try:
            if way.endswith("call"):
                await slow("x")
            else:
                await slow.send("x")
        except MailboxFull as error:
            await ctx.awakeable(str)
            return error.error
        return "accepted"


@pytest.mark.parametrize("after", [Declared, Undeclared])
@pytest.mark.parametrize("way", ["call", "send", "keyed call", "keyed send"])
async def test_a_refusal_that_was_declared_is_final_and_replays(way: str, after: type[VirtualObject]) -> None:
    """Also one that is in a file from before: what is recorded is what the handler sees again."""
    async with a_world(Slow, Declared) as world:
        await _fill(world, 2)
        sent = await world.app.send("Declared", "a", "go", way)
        await world.settle()
        assert len(await world.app.awakeables()) == 2
        holder, waiting = await world.app.awakeables()
        await world.app.resolve_awakeable(holder.id, "there is room now")
        world.classes = (Slow, after)
        await world.restart()
        await world.app.resolve_awakeable(waiting.id, "go on")
        await world.settle(3)
        assert await world.outcome(sent) == "mailbox_full"
        assert await world.app.object(Slow, "s").read() == ["0", "1"]


async def test_what_is_too_large_is_final_whatever_is_declared() -> None:
    class Large(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            return await ctx.object(Slow, "s").put("x" * 2000)

    async with World(Slow, Large, limits=limits(max_payload=1000)) as world:
        sent = await world.app.object(Large, "a").go.send()
        assert (await outcome(sent)).error == "payload_too_large"


class Own(VirtualObject):
    @handler
    async def to_itself(self, ctx: Context, n: int) -> int:
        for number in range(n):
            ctx.object(Own, ctx.key).nothing.send(number)
        return n

    @handler
    async def nothing(self, number: int) -> None: ...

    @handler
    async def through_another(self, ctx: Context, n: int) -> int:
        return await ctx.object(Between, "b").back(ctx.key, n)


class Between(VirtualObject):
    @handler
    async def back(self, ctx: Context, key: str, n: int) -> int:
        for number in range(n):
            ctx.object(Own, key).nothing.send(number)
        return n


@pytest.mark.parametrize("way", ["to_itself", "through_another"])
async def test_a_full_mailbox_that_waits_for_its_sender_is_final(way: str) -> None:
    """It would never have room: the sender would wait for itself."""
    async with a_world(Own, Between, max_pending=3) as world:
        assert await outcome(await world.app.send("Own", "o", way, 3)) == 3
        await world.settle()
        assert await outcome(await world.app.send("Own", "o", way, 4)) is MailboxFull


@pytest.mark.expects_log("Slow/s has 2 messages waiting", "is paused. It is tried again")
async def test_a_sender_that_never_finds_room_is_paused_by_its_policy() -> None:
    async with a_world(retry=RetryPolicy(initial_interval=1, factor=1, max_attempts=3)) as world:
        await _fill(world, 2)
        sent = await world.app.object(Sender, "a").send.send()
        for _ in range(4):
            await world.settle()
            await world.pass_time(1.3)
        info = await world.app.describe(sent.id)
        assert (info.status, info.failed_attempts) == ("paused", 3)
        await _let_go(world)
        await world.app.resume(sent.id)
        assert await world.outcome(sent) == "x"


@pytest.mark.expects_log("failed for good after 1 attempts")
async def test_a_policy_that_says_to_fail_is_a_declaration_too() -> None:
    class Impatient(VirtualObject):
        @handler(retry=RetryPolicy(max_attempts=1, on_exhausted="fail"))
        async def go(self, ctx: Context) -> str:
            return await ctx.object(Slow, "s").put("x")

    async with a_world(Slow, Impatient) as world:
        await _fill(world, 2)
        assert await outcome(await world.app.object(Impatient, "a").go.send()) is RetriesExhausted


@pytest.mark.expects_log("Worker/w has 2 messages waiting")
async def test_a_sender_that_gets_on_is_not_paused() -> None:
    """It meets a full mailbox far more often than its policy has attempts, but gets further each time."""

    class Fast(VirtualObject):
        @handler
        async def go(self, ctx: Context, n: int) -> int:
            for number in range(n):
                ctx.object(Worker, "w").work.send(number)
            return n

    class Worker(VirtualObject):
        done: list[int] = []

        @handler
        async def work(self, ctx: Context, number: int) -> None:
            await ctx.sleep(1)
            self.done.append(number)

    async with a_world(
        Fast, Worker, max_pending=2, retry=RetryPolicy(initial_interval=0.5, factor=1, max_attempts=4)
    ) as world:
        sent = await world.app.object(Fast, "f").go.send(20)
        for _ in range(60):
            await world.pass_time(0.5)
        assert await world.outcome(sent) == 20
        assert (await world.app.state(Worker, "w")).texts == {"done": str(list(range(20))).replace(" ", "")}


@pytest.mark.parametrize("wrong", [1, "yes", 0, [True]], ids=repr)
async def test_fail_when_full_is_true_or_false(wrong: Any) -> None:
    async with App(Slow, storage="sqlite://") as app:
        with pytest.raises(BadArguments, match="fail_when_full= requires True or False"):
            app.object(Slow, "s").put.options(fail_when_full=wrong)


async def test_options_that_are_set_in_several_steps_add_up() -> None:
    async with App(Slow, storage="sqlite://") as app:
        put = app.object(Slow, "s").put.options(fail_when_full=True).options(headers={"a": "b"})
        assert put._options.fail_when_full and put._options.headers == {"a": "b"}
        assert not put.options(fail_when_full=False)._options.fail_when_full


@pytest.mark.parametrize("how", ["call", "send", "keyed"])
async def test_a_caller_outside_is_refused_at_once(how: str) -> None:
    async with a_world() as world:
        await _fill(world, 2)
        put = world.app.object(Slow, "s").put
        way: Any = {"call": put, "send": put.send, "keyed": put.options(idempotency_key="k").send}[how]
        with pytest.raises(MailboxFull):
            await way("x")
