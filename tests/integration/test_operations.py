"""Cancel, kill, pause, resume, restart, purge: on invocations in every status, in memory and out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from actors import App, Context, Limits, RetryPolicy, TerminalError, VirtualObject, handler, shared
from actors.errors import BadId, InvocationCancelled, InvocationKilled, UnknownInvocation, WrongStatus
from actors.storage import InvocationRow, StorageError
from actors.testing import Disk, SimulatedStore
from tests.world import World

happened: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    happened.clear()


class Leaf(VirtualObject):
    log: list[str] = []

    @handler
    async def wait(self, ctx: Context, name: str = "leaf") -> str:
        self.log.append(name)
        try:
            return await ctx.awakeable(str)
        except InvocationCancelled:
            happened.append(f"{name} cancelled")
            await ctx.sleep(1)
            happened.append(f"{name} cleaned up")
            raise

    @handler
    async def stubborn(self, ctx: Context) -> str:
        try:
            await ctx.awakeable(str)
        except InvocationCancelled:
            return "no"
        return "never"

    @handler
    async def note(self, name: str) -> str:
        self.log.append(name)
        return name

    @handler
    async def fails(self, ctx: Context) -> str:
        self.log.append("fails")
        await ctx.sleep(0)
        raise OSError("always")

    @shared
    async def watch(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @shared
    async def read(self) -> list[str]:
        return self.log


class Root(VirtualObject):
    log: list[str] = []

    @handler
    async def call(self, ctx: Context, method: str = "wait") -> str:
        self.log.append("called")
        ctx.object(Leaf, "sent").note.send("spared")
        try:
            return str(await ctx.call("Leaf", "l", method))
        except TerminalError as error:
            happened.append(f"root {type(error).__name__}")
            await ctx.sleep(1)
            happened.append("root cleaned up")
            raise

    @handler
    async def call_two(self, ctx: Context) -> list[str]:
        one, two = ctx.object(Leaf, "a").wait("a"), ctx.object(Leaf, "b").wait("b")
        try:
            return list(await ctx.all(one, two))
        except TerminalError as error:
            happened.append(f"root {type(error).__name__}")
            raise

    @handler
    async def call_later(self, ctx: Context, keyed: bool) -> str:
        await ctx.awakeable(str)
        method = ctx.object(Leaf, "l").wait
        try:
            return await (method.options(idempotency_key="once")() if keyed else method())
        except InvocationCancelled:
            happened.append("root cancelled")
            return await ctx.object(Leaf, "other").note("compensated")

    @handler
    async def nested(self, ctx: Context) -> str:
        return await ctx.object(Root, "below").call()

    @handler
    async def steps(self, ctx: Context) -> str:
        try:
            await ctx.sleep(5)
        finally:
            happened.append("slept")
        return "done"

    @handler
    async def cancel(self, ctx: Context, id: str) -> str:
        try:
            await ctx.cancel(id)
        except TerminalError as error:
            return error.error
        return "cancelled"

    @handler
    async def send_and_call(self, ctx: Context) -> list[str]:
        refused = []
        for attempt in (
            ctx.object(Leaf, "l").note.options(fail_when_full=True).send,
            ctx.object(Leaf, "l").note.options(fail_when_full=True),
        ):
            try:
                await attempt("one too many")
            except TerminalError as error:
                refused.append(error.error)
        await ctx.sleep(1)
        return refused

    @handler
    async def add(self) -> int:
        self.log.append("added")
        return len(self.log)


class Careful(VirtualObject):
    total: int = 0
    names: list[str] = []

    @handler(atomic=True)
    async def all_or_nothing(self, ctx: Context, fail: bool) -> int:
        self.total += 1
        self.names.append("before")
        await ctx.sleep(1)
        self.total += 10
        self.names.append("after")
        await ctx.sleep(1)
        self.total += 100
        if fail:
            raise TerminalError("no")
        return self.total

    @handler
    async def set(self, total: int) -> int:
        self.total = total
        return self.total

    @shared
    async def show(self) -> list[Any]:
        return [self.total, self.names]


def world(**options: Any) -> World:
    return World(Leaf, Root, Careful, **options)


Memory = Callable[[World], Awaitable[None]]


async def _stay(world: World) -> None:
    await world.settle()


async def _restart(world: World) -> None:
    await world.restart()


async def _suspend(world: World) -> None:
    await world.pass_time(61)


MEMORY = {"in memory": _stay, "after a restart": _restart, "suspended": _suspend}
everywhere = pytest.mark.parametrize("where", MEMORY)


@everywhere
async def test_a_cancelled_handler_is_told_once_at_its_await_and_may_go_on_awaiting(where: str) -> None:
    async with world() as w:
        handle = await w.app.object(Leaf, "l").wait.send()
        await w.settle()
        await MEMORY[where](w)
        await w.app.cancel(handle.id)
        await w.app.cancel(handle.id)
        await w.settle()
        assert happened == ["leaf cancelled"]
        assert (await w.app.describe(handle.id)).cancel_requested
        await w.restart()
        await w.pass_time(2)
        assert await w.outcome(handle) is InvocationCancelled
        assert happened == ["leaf cancelled", "leaf cancelled", "leaf cleaned up"], "the second one is the replay"
        assert await w.app.object(Leaf, "l").note("next") == "next"


@everywhere
async def test_calls_are_cancelled_before_those_who_wait_for_them(where: str) -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").nested.send()
        await w.settle()
        await MEMORY[where](w)
        await w.app.cancel(handle.id)
        await w.settle()
        assert happened == ["leaf cancelled"]
        await w.pass_time(1)
        assert happened == ["leaf cancelled", "leaf cleaned up", "root InvocationCancelled"]
        await w.pass_time(1)
        assert happened[3:] == ["root cleaned up"]
        assert await w.outcome(handle) is InvocationCancelled
        assert await w.app.object(Leaf, "sent").read() == ["spared"]
        assert set(w.statuses()) == {"failed", "succeeded"}


async def test_a_handler_that_waits_for_two_calls_is_told_when_both_are_over() -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").call_two.send()
        await w.settle()
        await w.app.cancel(handle.id)
        await w.pass_time(1)
        assert happened[-1] == "root InvocationCancelled" and len(happened) == 5
        assert await w.outcome(handle) is InvocationCancelled


async def test_a_call_that_goes_on_in_spite_of_its_cancellation_is_waited_for() -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").call.send("stubborn")
        await w.settle()
        await w.app.cancel(handle.id)
        await w.pass_time(2)
        assert await w.outcome(handle) is InvocationCancelled
        assert happened == ["root InvocationCancelled", "root cleaned up"]
        assert sorted(w.statuses()) == ["failed", "succeeded", "succeeded"]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("seed", [None, *range(5)])
async def test_a_call_made_before_a_cancellation_is_told_is_cancelled_too(keyed: bool, seed: int | None) -> None:
    """The handler is about to go on, with what it waited for, when its cancellation comes: at this moment, or a little later."""
    for turns in range(30):
        w = world()
        w.rng = Random(seed) if seed is not None else None
        async with w:
            handle = await w.app.object(Root, "r").call_later.send(keyed)
            await w.settle()
            (awakeable,) = await w.app.awakeables()
            resolving = asyncio.ensure_future(w.app.resolve_awakeable(awakeable.id, "go on"))
            for _ in range(turns):
                await asyncio.sleep(0)
            await w.app.cancel(handle.id)
            await resolving
            await w.settle(3)
            await w.pass_time(1)
            await w.settle(3)
            assert await w.outcome(handle) == "compensated"
            assert set(w.statuses()) == {"failed", "succeeded"}
            assert await w.app.object(Leaf, "l").note("next") == "next"  # nobody holds it


@everywhere
@pytest.mark.parametrize("operation", ["cancel", "kill"])
async def test_what_has_not_started_ends_without_running(where: str, operation: str) -> None:
    async with world() as w:
        first = await w.app.object(Leaf, "l").wait.send()
        second = await w.app.object(Leaf, "l").note.send("second")
        third = await w.app.object(Leaf, "l").note.send("third")
        later = await w.app.object(Leaf, "l").note.options(delay=100).send("later")
        await MEMORY[where](w)
        for handle in (second, later):
            await getattr(w.app, operation)(handle.id)
        expected = InvocationCancelled if operation == "cancel" else InvocationKilled
        assert await w.outcome(second) is expected and await w.outcome(later) is expected
        assert await w.status(first) == "blocked"
        (info,) = await w.app.awakeables()
        await w.app.resolve_awakeable(info.id, "go")
        await w.pass_time(200)
        assert await w.outcome(third) == "third"
        assert await w.app.object(Leaf, "l").read() == ["leaf", "third"]
        assert w.disk.query("SELECT count(*) FROM timer") == [(0,)]


@pytest.mark.may_log("failed, next in", "is paused. It is tried again")
@pytest.mark.parametrize("status", ["backing-off", "paused"])
@everywhere
async def test_cancelling_what_does_not_come_to_an_await_ends_it(status: str, where: str) -> None:
    policy = RetryPolicy(initial_interval=1000, max_interval=2000, max_attempts=None if status == "backing-off" else 1)
    async with world(retry=policy) as w:
        handle = await w.app.object(Leaf, "l").fails.send()
        await w.settle()
        await w.pass_time(0.001)
        assert await w.status(handle) == status
        await MEMORY[where](w)
        await w.app.cancel(handle.id)
        await w.pass_time(0.001)
        assert await w.outcome(handle) is InvocationCancelled
        assert "OSError: always" in str((await w.app.describe(handle.id)).reason) or where == "after a restart"
        assert await w.app.object(Leaf, "l").note("next") == "next"


@everywhere
async def test_killing_ends_an_invocation_and_its_calls_without_their_code(where: str) -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").nested.send()
        await w.settle()
        await MEMORY[where](w)
        await w.app.kill(handle.id)
        await w.settle()
        assert await w.outcome(handle) is InvocationKilled
        assert happened == []
        assert sorted(w.statuses()) == ["failed", "failed", "failed", "succeeded"]
        assert await w.app.object(Leaf, "l").note("next") == "next"
        assert await w.app.object(Root, "r").add() == 1 and await w.app.object(Root, "below").add() == 2
        assert await w.app.object(Leaf, "sent").read() == ["spared"]


@everywhere
async def test_killing_a_called_one_fails_the_call(where: str) -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").call.send()
        await w.settle()
        await MEMORY[where](w)
        (called,) = await w.app.invocations(handler="wait")
        await w.app.kill(called.id)
        await w.pass_time(2)
        assert await w.outcome(handle) is InvocationKilled
        assert happened == ["root InvocationKilled", "root cleaned up"]


@everywhere
async def test_a_reader_that_waits_can_be_cancelled_and_killed(where: str) -> None:
    async with world() as w:
        one = await w.app.object(Leaf, "l").watch.send()
        two = await w.app.object(Leaf, "l").watch.send()
        await w.settle()
        await MEMORY[where](w)
        await w.app.cancel(one.id)
        await w.app.kill(two.id)
        await w.settle()
        assert await w.outcome(one) is InvocationCancelled
        assert await w.outcome(two) is InvocationKilled


@everywhere
async def test_a_paused_invocation_keeps_its_key_until_it_is_resumed(where: str) -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").steps.send()
        behind = await w.app.object(Root, "r").add.send()
        await w.settle()
        if where != "suspended":  # it would be over by then
            await MEMORY[where](w)
        await w.app.pause(handle.id)
        await w.restart()
        await w.restart()
        await w.pass_time(100)
        info = await w.app.describe(handle.id)
        assert (info.status, info.held) == ("paused", True) and "operator" in str(info.reason)
        assert await w.status(behind) == "pending"
        await w.app.resume(handle.id)
        await w.settle()
        assert await w.outcome(handle) == "done" and await w.outcome(behind) == 1
        assert not (await w.app.describe(handle.id)).held


@everywhere
async def test_a_message_paused_in_the_mailbox_keeps_its_place_there(where: str) -> None:
    async with world() as w:
        first = await w.app.object(Leaf, "l").wait.send()
        second = await w.app.object(Leaf, "l").note.send("second")
        third = await w.app.object(Leaf, "l").note.send("third")
        await MEMORY[where](w)
        await w.app.pause(second.id)
        await MEMORY[where](w)
        await w.app.kill(first.id)
        await w.settle()
        await w.restart()
        assert await w.status(second) == "paused" and await w.status(third) == "pending"
        await w.app.resume(second.id)
        await w.settle()
        assert await w.outcome(third) == "third"
        assert await w.app.object(Leaf, "l").read() == ["leaf", "second", "third"]


async def test_a_message_resumed_in_the_mailbox_waits_for_its_turn() -> None:
    async with world() as w:
        first = await w.app.object(Leaf, "l").wait.send()
        second = await w.app.object(Leaf, "l").note.send("second")
        await w.app.pause(second.id)
        await w.app.resume(second.id)
        await w.settle()
        assert await w.status(second) == "pending"
        await w.app.kill(first.id)
        assert await w.outcome(second) == "second"


@pytest.mark.expects_log("failed, next in")
async def test_an_invocation_that_backs_off_can_be_resumed_at_once_and_begins_its_policy_anew() -> None:
    async with world(retry=RetryPolicy(initial_interval=1000, max_interval=1000, max_attempts=3)) as w:
        handle = await w.app.object(Leaf, "l").fails.send()
        await w.pass_time(0.001)
        assert (await w.app.describe(handle.id)).failed_attempts == 1
        await w.app.resume(handle.id)
        await w.pass_time(0.001)
        assert (await w.app.describe(handle.id)).failed_attempts == 1


async def test_an_ended_invocation_can_be_restarted_as_a_new_one() -> None:
    async with world() as w:
        handle = await w.app.object(Leaf, "l").note.options(headers={"a": "b"}).send("x")
        assert await handle.result() == "x"
        again = await w.app.restart(handle.id)
        assert await again.result() == "x" and again.id != handle.id
        once_more = await w.app.restart(again.id)
        await once_more.result()
        assert (await w.app.describe(once_more.id)).restarted_from == handle.id
        assert await w.app.object(Leaf, "l").read() == ["x", "x", "x"]


async def test_a_purged_invocation_is_unknown_with_all_its_records() -> None:
    async with world() as w:
        handle = await w.app.object(Root, "r").steps.send()
        await w.pass_time(6)
        assert await handle.result() == "done"
        await w.app.purge(handle.id)
        with pytest.raises(UnknownInvocation):
            await w.app.describe(handle.id)
        assert w.disk.query("SELECT count(*) FROM journal_entry") == [(0,)]


OPERATIONS = ["cancel", "kill", "pause", "resume", "restart", "purge"]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_operation_on_an_id_that_is_none_is_refused(operation: str) -> None:
    async with world() as w, World(Leaf) as other:
        operate = getattr(w.app, operation)
        foreign = await other.app.object(Leaf, "l").wait.send()
        for id in ("", "nonsense", "inv_1AAAA", foreign.id, None):
            with pytest.raises(BadId):
                await operate(id)
        with pytest.raises(UnknownInvocation):
            await operate(w.app._running().ids.invocation(10**6))


@pytest.mark.parametrize("operation", ["cancel", "kill", "pause", "resume"])
async def test_an_operation_on_what_has_ended_is_refused_and_changes_nothing(operation: str) -> None:
    async with world() as w:
        handle = await w.app.object(Leaf, "l").note.send("x")
        await handle.result()
        with pytest.raises(WrongStatus, match="succeeded"):
            await getattr(w.app, operation)(handle.id)
        assert await w.outcome(handle) == "x"


@pytest.mark.parametrize("operation", ["restart", "purge", "resume"])
async def test_an_operation_on_what_is_running_is_refused_and_changes_nothing(operation: str) -> None:
    async with world() as w:
        handle = await w.app.object(Leaf, "l").wait.send()
        await w.settle()
        with pytest.raises(WrongStatus):
            await getattr(w.app, operation)(handle.id)
        assert await w.status(handle) == "blocked"


async def test_a_message_whose_time_has_not_come_cannot_be_paused() -> None:
    async with world() as w:
        handle = await w.app.object(Leaf, "l").note.options(delay=10).send("x")
        with pytest.raises(WrongStatus, match="scheduled"):
            await w.app.pause(handle.id)


@everywhere
async def test_a_handler_cancels_another_invocation_exactly_once(where: str) -> None:
    async with world() as w:
        waiting = await w.app.object(Leaf, "l").wait.send()
        await w.settle()
        await MEMORY[where](w)
        assert await w.app.object(Root, "r").cancel(waiting.id) == "cancelled"
        await w.pass_time(2)
        assert await w.outcome(waiting) is InvocationCancelled
        assert await w.app.object(Root, "r").cancel(waiting.id) == "cancelled", "what has ended is left alone"
        unknown = w.app._running().ids.invocation(10**6)
        assert await w.app.object(Root, "r").cancel(unknown) == "unknown_invocation"
        assert await w.app.object(Root, "r").cancel("nonsense") == "malformed_id"


@pytest.mark.parametrize("ending", ["failure", "kill", "cancel", "restart and failure"])
async def test_an_atomic_handler_that_fails_leaves_the_state_as_it_found_it(ending: str) -> None:
    async with world() as w:
        await w.app.object(Careful, "c").set(5)
        handle = await w.app.object(Careful, "c").all_or_nothing.send(True)
        await w.pass_time(1.5)
        if ending == "restart and failure":
            await w.restart()
        elif ending != "failure":
            await getattr(w.app, ending)(handle.id)
        await w.pass_time(5)
        assert issubclass(await w.outcome(handle), TerminalError)
        assert await w.app.object(Careful, "c").show() == [5, []]
        await w.restart()
        assert await w.app.object(Careful, "c").show() == [5, []]
        assert w.disk.query("SELECT name, value FROM state") == [("total", "5")]
        assert await w.app.object(Careful, "c").set(6) == 6


async def test_an_atomic_handler_that_succeeds_keeps_its_state() -> None:
    async with world() as w:
        handle = await w.app.object(Careful, "c").all_or_nothing.send(False)
        for _ in range(2):
            await w.pass_time(1)
        assert await w.outcome(handle) == 111
        await w.restart()
        assert await w.app.object(Careful, "c").show() == [111, ["before", "after"]]


@pytest.mark.expects_log("failed for good after", "failed, next in", "is paused. It is tried again")
async def test_policies_of_handler_class_and_app_apply_in_this_order_and_may_end_in_failure() -> None:
    told: list[str] = []

    class Class(VirtualObject, retry=RetryPolicy(max_attempts=2)):
        @handler
        async def by_class(self) -> None:
            raise OSError

        @handler(retry=RetryPolicy(initial_interval=0.01, max_attempts=3, on_exhausted="fail"))
        async def by_handler(self) -> None:
            raise OSError("gone")

    class Derived(Class):
        pass

    class Plain(VirtualObject):
        @handler
        async def by_app(self) -> None:
            raise OSError

    policy = RetryPolicy(initial_interval=0.01, max_attempts=4)
    async with World(
        Class, Derived, Plain, retry=policy, on_paused=lambda info: told.append(f"{info.handler} {info.status}")
    ) as w:
        handles = {
            "class": await w.app.object(Class, "k").by_class.send(),
            "derived": await w.app.object(Derived, "k").by_class.send(),
            "handler": await w.app.object(Class, "l").by_handler.send(),
            "app": await w.app.object(Plain, "k").by_app.send(),
        }
        for _ in range(10):
            await w.pass_time(10)
        found = {name: await w.app.describe(handle.id) for name, handle in handles.items()}
        assert {name: (info.status, info.failed_attempts) for name, info in found.items()} == {
            "class": ("paused", 2),
            "derived": ("paused", 2),
            "handler": ("failed", 3),
            "app": ("paused", 4),
        }
        assert sorted(told) == ["by_app paused", "by_class paused", "by_class paused"]
        with pytest.raises(TerminalError, match="failed 3 times; the last error was OSError"):
            await w.app.invocation(handles["handler"].id).result()


@pytest.mark.expects_log("failed, next in", "is paused. It is tried again")
async def test_the_time_limit_of_a_policy_runs_from_the_first_failure_across_restarts() -> None:
    class Late(VirtualObject):
        @handler
        async def fail_later(self, ctx: Context) -> None:
            await ctx.sleep(1000)
            raise OSError

    policy = RetryPolicy(initial_interval=10, max_interval=10, max_attempts=None, max_duration=60)
    async with World(Late, retry=policy) as w:
        handle = await w.app.object(Late, "k").fail_later.send()
        await w.pass_time(1001)
        assert await w.status(handle) == "backing-off"
        for _ in range(10):
            await w.restart()
            await w.pass_time(12)
        info = await w.app.describe(handle.id)
        # Due at 1001 s + 60 s; each restart after that gives a paused one another attempt, which pauses it again.
        assert info.status == "paused"
        assert info.failed_attempts == 11


@pytest.mark.expects_log("is paused. It is tried again", "on_paused raised")
async def test_a_hook_that_fails_is_logged_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async def hook(info: Any) -> None:
        raise ValueError("the hook")

    async with World(Leaf, Root, Careful, retry=RetryPolicy(max_attempts=1), on_paused=hook) as w:
        await w.app.object(Leaf, "l").fails.send()
        await w.pass_time(1)
        assert "on_paused raised" in caplog.text


async def test_invocations_are_listed_newest_first_by_what_is_asked() -> None:
    async with world() as w:
        waiting = await w.app.object(Leaf, "l").wait.send()
        await w.app.object(Leaf, "l").note.send("x")
        for number in range(5):
            await w.app.object(Root, f"r{number}").add()
        assert [info.key for info in await w.app.invocations(service="Root")] == ["r4", "r3", "r2", "r1", "r0"]
        page = await w.app.invocations(service="Root", limit=2)
        assert [info.key for info in await w.app.invocations(service="Root", before=page[-1].id, limit=2)] == [
            "r2",
            "r1",
        ]
        assert [info.handler for info in await w.app.invocations(status="open")] == ["note", "wait"]
        assert [info.id for info in await w.app.invocations(status=["blocked", "paused"])] == [waiting.id]
        with pytest.raises(TerminalError, match="status='nonsense'"):
            await w.app.invocations(status="nonsense")


async def _fill(app: App, count: int) -> None:
    for number in range(count):
        await app.object(Leaf, "l").note.send(str(number))


@everywhere
async def test_messages_beyond_the_limit_of_a_mailbox_are_refused_and_the_others_kept(where: str) -> None:
    async with world(limits=Limits(max_pending=100, retention=None)) as w:
        await w.app.object(Leaf, "l").wait.send()
        await w.settle()
        await _fill(w.app, 100)
        await MEMORY[where](w)
        await w.app.object(Leaf, "l").read()
        for refused in (w.app.object(Leaf, "l").note.send, w.app.object(Leaf, "l").note):
            with pytest.raises(TerminalError, match="100 messages waiting") as caught:
                await refused("one too many")
            assert (caught.value.error, caught.value.code) == ("mailbox_full", 429)
        (info,) = await w.app.awakeables()
        await w.app.resolve_awakeable(info.id, "go")
        await w.settle()
        assert await w.app.object(Leaf, "l").read() == ["leaf", *map(str, range(100))]


async def test_a_handler_that_meets_a_full_mailbox_meets_it_again_on_replay() -> None:
    async with world(limits=Limits(max_pending=3, retention=None)) as w:
        await w.app.object(Leaf, "l").wait.send()
        await w.settle()
        await _fill(w.app, 3)
        handle = await w.app.object(Root, "r").send_and_call.send()
        await w.settle()
        (info,) = await w.app.awakeables()
        await w.app.resolve_awakeable(info.id, "go")
        await w.restart()
        await w.pass_time(2)
        assert await w.outcome(handle) == ["mailbox_full", "mailbox_full"]
        assert await w.app.object(Leaf, "l").read() == ["leaf", "0", "1", "2"]


class LateFinds(SimulatedStore):
    """Looks for idempotency keys when `answers` is set."""

    answers: asyncio.Event

    async def find(self, service: str, key: str, handler: str, idempotency_key: str) -> InvocationRow | None:
        found = await super().find(service, key, handler, idempotency_key)
        await self.answers.wait()
        return found


class LateDisk(Disk):
    def store(self, rng: Random | None = None) -> LateFinds:
        super().store(None)  # for what it does to the process before
        store = LateFinds(self, rng)
        store.answers = asyncio.Event()
        return store


class Refund(VirtualObject):
    @handler
    async def pay(self, ctx: Context) -> str:
        await ctx.sleep(1)
        return "refunded"

    @handler
    async def buy(self, ctx: Context) -> str:
        try:
            return await ctx.awakeable(str)
        except InvocationCancelled:
            refund = ctx.object(Refund, "r").pay.options(idempotency_key="refund")()
            happened.append("asked")
            if len(happened) == 1:
                raise OSError("transient") from None
            return await refund


@pytest.mark.expects_log("failed, next in")
async def test_what_a_handler_asked_for_after_it_was_told_is_its_own_also_when_the_next_attempt_is_not_told_yet() -> (
    None
):
    w = World(Refund, retry=RetryPolicy(initial_interval=0.01, max_interval=0.01))
    w.disk.close()
    w.disk = LateDisk()
    async with w:
        handle = await w.app.object(Refund, "o").buy.send()
        await w.settle()
        await w.app.cancel(handle.id)
        await w.settle()
        store: Any = w.store
        store.answers.set()
        w.clock.advance(0.1)  # the answer comes in the turn of the loop in which the next attempt begins
        await w.settle()
        await w.pass_time(5)
        assert await w.outcome(handle) == "refunded"
        assert happened == ["asked", "asked"]


class Beginning(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> str:
        happened.append(ctx.key)
        return await ctx.awakeable(str)


@pytest.mark.expects_log("The app has stopped")
@pytest.mark.parametrize("turns", range(12))
async def test_a_resume_starts_no_handler_in_an_app_that_has_stopped(turns: int) -> None:
    async with World(Beginning) as world:
        handle = await world.app.object(Beginning, "o").go.send()
        await world.settle()
        await world.app.pause(handle.id)
        await world.restart()  # it is on disk alone
        happened.clear()
        resuming = asyncio.create_task(world.app.resume(handle.id))
        for _ in range(turns):
            await asyncio.sleep(0)
        before = list(happened)
        world.app._running().fail(StorageError("The disk is gone."))
        await world.settle()
        assert happened == before
        await asyncio.gather(resuming, return_exceptions=True)
        await world.restart()
