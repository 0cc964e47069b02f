"""What an invocation has sent arrives although its code never goes on: placed from the journal once it is ended from outside."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from actors import Context, RetryPolicy, Service, VirtualObject, Workflow, handler, shared
from actors.journal.sends import RecordedSend, recorded_send, renumbered, sent_number
from tests.world import World, limits


class Log(VirtualObject):
    seen: list[str] = []

    @handler
    async def push(self, ctx: Context, word: str) -> None:
        self.seen.append(" ".join([word, *ctx.headers.values()]))

    @handler
    async def wait(self, ctx: Context) -> None:
        await ctx.sleep(3600)

    @shared
    async def look(self) -> list[str]:
        return self.seen


class Sent(Workflow):
    @handler
    async def run(self, ctx: Context, word: str) -> None:
        await ctx.object(Log, "a").push(word)


class Sender(VirtualObject):
    """What is sent is recorded with the invocation; the first message of each handler is placed beside it."""

    @handler
    async def keyed(self, ctx: Context) -> None:
        ctx.object(Log, "a").push.options(idempotency_key="k", headers={"x": "h"}).send("keyed")
        await ctx.sleep(60)

    @handler
    async def behind(self, ctx: Context) -> None:
        log: Any = ctx.object(Log, "a")
        log.push.options(idempotency_key="k").send("first")
        log.push.send("second")
        log.push.options(delay=10).send("third")
        await ctx.sleep(60)

    @handler
    async def once(self, ctx: Context) -> None:
        ctx.object(Sent, "w").run.send("once")
        await ctx.sleep(60)

    @handler
    async def called(self, ctx: Context) -> None:
        ctx.object(Log, "a").push.options(idempotency_key="k")("called")
        await ctx.sleep(60)


CLASSES = (Sender, Sent, Log)
UNPLACED = (
    "SELECT count(*) FROM journal j WHERE entry IN ('send', 'call') AND NOT EXISTS "
    "(SELECT * FROM journal p WHERE p.invocation = j.invocation AND p.entry = 'placed') "
    "AND (SELECT count(*) FROM invocations) = 1"
)


class Failing(VirtualObject):
    broken: ClassVar[bool]

    @handler
    async def go(self, ctx: Context) -> None:
        ctx.object(Log, "a").push.options(idempotency_key="k").send("keyed")
        if Failing.broken:
            raise RuntimeError("broken")

    @handler
    async def idle(self) -> None: ...


class LogFlow(Workflow, name="Log"):
    @handler
    async def push(self, ctx: Context, word: str) -> None: ...


class LogService(Service, name="Log"):
    @handler
    async def push(self, ctx: Context, word: str) -> None: ...


class RenamedRun(Workflow, name="Sent"):
    @handler
    async def main(self, ctx: Context, word: str) -> None:
        await ctx.object(Log, "a").push(word)


got: list[str] = []


class ToItself(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> None:
        ctx.object(ToItself, "m").got_it.options(idempotency_key="k").send("from itself")
        await ctx.sleep(60)

    @handler
    async def got_it(self, word: str) -> None:
        got.append(word)


class ToItselfLater(VirtualObject, name="ToItself"):
    got_it = ToItself.got_it


RECORDED = RecordedSend(3, "S", "h", "k", None, 5, {"x": "y"})


async def cut_off(world: World, name: str, *without: type[Any] | None) -> str:
    """Kill the process between the record of the messages and their acceptance, and start one that lacks these classes."""
    bound: Any = getattr(world.app.object(Sender, "s"), name)
    world.store.crash_at_commit(3, written=False)
    sender = await bound.send()
    await world.settle()
    assert world.store.crashed
    await world.crash()
    assert world.disk.query(UNPLACED) != [(0,)], "the messages are recorded, and none was accepted"
    world.classes = tuple(cls for cls in CLASSES if cls not in without)
    await world.start()
    return str(sender.id)


async def seen(world: World) -> list[str]:
    await world.settle(4)
    await world.pass_time(10)
    return await world.app.object(Log, "a").look()


SPARED = [("keyed", ["keyed h"]), ("behind", ["first", "second", "third"]), ("once", ["once"]), ("called", [])]


@pytest.mark.parametrize(("name", "arriving"), SPARED)
@pytest.mark.parametrize("paused", [False, True], ids=["at once", "paused"])
@pytest.mark.may_log("is paused")
async def test_a_kill_after_a_crash_spares_messages_not_yet_placed(
    name: str, arriving: list[str], paused: bool
) -> None:
    async with World(*CLASSES) as world:
        sender = await cut_off(world, name, Sender if paused else None)
        if paused:
            await world.settle()
            assert world.statuses() == ["paused"]
        await world.app.kill(sender)
        assert await seen(world) == arriving
        await world.restart()
        assert await seen(world) == arriving, "each arrived once"
        assert world.statuses()[0] == "failed"


@pytest.mark.parametrize(("name", "arriving"), SPARED)
@pytest.mark.parametrize("written", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("commit", [1, 2, 3])
@pytest.mark.may_log("is paused")
async def test_a_kill_that_a_crash_interrupts_spares_each_message_once(
    name: str, arriving: list[str], written: bool, commit: int
) -> None:
    async with World(*CLASSES) as world:
        sender = await cut_off(world, name, Sender)
        await world.settle()
        world.store.crash_at_commit(commit, written=written)
        killing = asyncio.ensure_future(world.app.kill(sender))
        await world.settle(4)
        await world.crash()
        await asyncio.wait([killing])
        killing.exception()
        await world.start()
        if world.statuses()[0] != "failed":
            await world.app.kill(sender)
        assert await seen(world) == arriving


@pytest.mark.expects_log("is paused")
async def test_a_message_to_a_full_mailbox_is_spared_too() -> None:
    async with World(*CLASSES, limits=limits(max_pending=1)) as world:
        sender = await cut_off(world, "keyed", Sender)
        log = world.app.object(Log, "a")
        await log.wait.send()
        await world.settle()
        await log.push.send("waiting")
        await world.app.kill(sender)
        await world.settle()
        assert (await world.app.describe(sender)).status == "failed", "the kill does not wait for room"
        await world.pass_time(3600)
        assert await seen(world) == ["waiting", "keyed h"]


@pytest.mark.parametrize("how", ["kill", "cancel"])
@pytest.mark.expects_log("is paused", "had sent a message that cannot be delivered: No service 'Sent' in this app")
async def test_a_message_to_a_class_that_is_gone_holds_up_no_end(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with World(*CLASSES) as world:
        sender = await cut_off(world, "once", Sender, Sent)
        await world.settle()
        await getattr(world.app, how)(sender)
        await world.settle()
        assert world.statuses() == ["failed"]
    assert caplog.text.count("cannot be delivered") == 1, "said once"


@pytest.mark.parametrize("cls", [LogFlow, LogService])
@pytest.mark.may_log("is paused")
@pytest.mark.expects_log("had sent a message that cannot be delivered: Log is of another kind")
async def test_a_message_to_what_became_another_kind_is_not_delivered(cls: type[Any]) -> None:
    async with World(*CLASSES) as world:
        sender = await cut_off(world, "keyed", Sender)
        await world.settle()
        await world.crash()
        world.classes = (cls,)
        await world.start()
        await world.settle()
        await world.app.cancel(sender)
        await world.settle(4)
        await world.restart()
        assert world.statuses() == ["failed"]


@pytest.mark.may_log("is paused")
async def test_a_run_whose_handler_was_renamed_is_delivered() -> None:
    async with World(*CLASSES) as world:
        sender = await cut_off(world, "once", Sender, Sent)
        await world.settle()
        await world.crash()
        world.classes = (Log, RenamedRun)
        await world.start()
        await world.settle()
        await world.app.kill(sender)
        assert await seen(world) == ["once"]


@pytest.mark.parametrize("how", ["kill", "cancel"])
@pytest.mark.may_log("is paused")
async def test_a_message_to_its_own_full_mailbox_is_spared(how: str) -> None:
    got.clear()
    async with World(ToItself, limits=limits(max_pending=1)) as world:
        world.store.crash_at_commit(3, written=False)
        sender = await world.app.object(ToItself, "m").go.send()
        await world.settle()
        await world.crash()
        world.classes = (ToItselfLater,)
        await world.start()
        await world.settle()
        await world.app.object(ToItselfLater, "m").got_it.send("waiting")
        await world.settle()
        await getattr(world.app, how)(sender.id)
        await world.settle(4)
        assert sorted(got) == ["from itself", "waiting"]


async def placing(world: World) -> str:
    """An invocation has failed and is tried again later; its message still waits for the store."""
    Failing.broken = True
    await world.app.object(Failing, "f").idle()  # in memory
    world.store.hold_reads()
    sender = await world.app.object(Failing, "f").go.send()
    await world.settle()
    assert world.statuses()[-1] == "backing-off"
    return str(sender.id)


async def it_goes_on(world: World) -> None:
    Failing.broken = False
    world.classes = (Failing, Log)
    await world.start()
    await world.pass_time(3600)
    assert await seen(world) == ["keyed"]
    assert "backing-off" not in world.statuses()


@pytest.mark.parametrize("meanwhile", ["its retry is due", "it is resumed", "it is cancelled"])
@pytest.mark.may_log("failed, next in")
async def test_a_crash_while_a_kill_waits_for_a_message_leaves_no_key_held(meanwhile: str) -> None:
    async with World(Failing, Log) as world:
        sender = await placing(world)
        requests = [asyncio.ensure_future(world.app.kill(sender))]
        await world.settle()
        if meanwhile == "its retry is due":
            await world.pass_time(100)
        else:
            operation = world.app.resume if meanwhile == "it is resumed" else world.app.cancel
            requests.append(asyncio.ensure_future(operation(sender)))
        await world.settle(2)
        await world.crash()
        await asyncio.gather(*requests, return_exceptions=True)
        await it_goes_on(world)


@pytest.mark.parametrize("turns", range(16))
@pytest.mark.may_log("failed, next in", "is paused")
async def test_a_crash_while_a_cancel_waits_for_a_message_leaves_no_key_held(turns: int) -> None:
    async with World(Failing, Log) as world:
        sender = await placing(world)
        await world.crash()
        world.classes = (Log,)
        await world.start()
        await world.settle()
        cancelling = asyncio.ensure_future(world.app.cancel(sender))
        for _ in range(turns):
            await asyncio.sleep(0)
        world.store.hold_reads()
        await world.settle()
        await world.crash()
        await asyncio.gather(cancelling, return_exceptions=True)
        await it_goes_on(world)


@pytest.mark.may_log("failed for good")
async def test_a_close_while_an_end_waits_for_a_message_loses_nothing() -> None:
    async with World(Failing, Log, retry=RetryPolicy(max_attempts=1, on_exhausted="fail")) as world:
        Failing.broken = True
        await world.app.object(Failing, "f").idle()
        world.store.hold_reads()
        await world.app.object(Failing, "f").go.send()
        await world.app.object(Failing, "other").idle.send()  # a load under way delays the close
        await world.settle()
        closing = asyncio.ensure_future(world.app.close())
        await world.settle()
        world.store.release_reads()
        await closing
        await it_goes_on(world)


@pytest.mark.parametrize(
    ("before", "number"), [(None, None), ("17", 17), (RECORDED.text(), 3), ('{"error": "x"}', None)]
)
def test_the_number_of_a_message_is_read_as_each_release_wrote_it(before: str | None, number: int | None) -> None:
    assert sent_number(before) == number


def test_a_recorded_message_gets_another_number_and_stays_the_same_otherwise() -> None:
    assert recorded_send(renumbered(RECORDED.text(), 4)) == RecordedSend(4, "S", "h", "k", None, 5, {"x": "y"})
    assert renumbered("17", 4) == "4"
