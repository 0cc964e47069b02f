"""Hardly any room in memory: everything is loaded, evicted and loaded again, and nothing may get lost on the way."""

from __future__ import annotations

import asyncio
import datetime
import gc
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from actors import App, Context, Limits, RetryPolicy, TerminalError, VirtualObject, handler, shared
from actors.attempt.attempt import Attempt
from actors.errors import AppNotRunning, BadArguments, DeadlockError, InvocationCancelled, InvocationKilled, MailboxFull
from actors.storage import ObjectRecord, PlaceRow
from actors.testing import Disk, SimulatedStore
from tests.world import World, limits, outcome

ran: list[str] = []

ROUNDS = 400  # of the loop, each of them World.TURNS; a store with delays and one object at a time takes many


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


class Cell(VirtualObject):
    total: int = 0

    @handler
    async def nap(self, ctx: Context, seconds: float = 10) -> str:
        await ctx.sleep(seconds)
        return f"{ctx.key} is up"

    @handler
    async def call(self, ctx: Context, key: str) -> str:
        return await ctx.object(Cell, key).nap()

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def wait_till(self, ctx: Context, seconds: float) -> str:
        return await ctx.awakeable(str, timeout=seconds)

    @handler
    async def quick(self) -> str:
        ran.append("quick")
        return "quick"

    @handler
    async def put(self, n: int) -> int:
        self.total += n
        return self.total

    @handler
    async def fails(self) -> None:
        ran.append("fails")
        raise OSError("always")

    @handler
    async def send_keyed(self, ctx: Context, key: str) -> str:
        try:
            await ctx.object(Cell, key).quick.options(idempotency_key="once", fail_when_full=True).send()
        except TerminalError as error:
            ran.append(error.error)
            await ctx.awakeable(str)
            return error.error
        return "accepted"

    @shared
    async def watch(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @shared
    async def look(self) -> int:
        return self.total


async def _until(world: World, true: Callable[[], bool]) -> None:
    """Let everything happen that needs no time to pass, until this is so."""
    for _ in range(ROUNDS):
        if true():
            return
        await world.settle()


def _ended(world: World) -> bool:
    return set(world.statuses()) <= {"succeeded", "failed"}


# --- timers and answers of what is not in memory ----------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["cold", "suspended"])
@pytest.mark.parametrize(("max_objects", "sleepers"), [(1, 60), (5, 120), (20, 200), (100, 300)])
async def test_all_sleepers_wake_in_time_however_few_objects_fit_into_memory(
    max_objects: int, sleepers: int, memory: str
) -> None:
    """Timers that are due together load their objects together: one that was evicted for the next lost its timer."""
    async with World(Cell, limits=limits(max_objects=max_objects, suspend_after=1)) as world:
        ids = [(await world.app.object(Cell, f"k{n}").nap.send()).id for n in range(sleepers)]
        await world.settle()
        if memory == "cold":
            await world.restart()
        await world.pass_time(9.5)
        assert Counter(world.statuses()) == {"blocked": sleepers}
        await world.pass_time(0.5)
        await _until(world, lambda: _ended(world))
        assert Counter(world.statuses()) == {"succeeded": sleepers}
        assert world.disk.query("SELECT count(*) FROM timer") == [(0,)]
        assert [await world.app.invocation(id).result() for id in ids] == [f"k{n} is up" for n in range(sleepers)]


@pytest.mark.parametrize("seed", range(6))
async def test_all_sleepers_wake_although_each_read_takes_a_while(seed: int) -> None:
    """The same where loads, commits and timers overlap in another way each time."""
    world = World(Cell, limits=limits(max_objects=2, suspend_after=1))
    world.rng = Random(seed)
    async with world:
        for n in range(60):
            await world.app.object(Cell, f"k{n}").nap.send(10 + n % 7)
        await world.restart()
        for _ in range(8):
            await world.pass_time(1)  # some are due while those before them are still being loaded
        for _ in range(9):
            world.clock.advance(1)
            await asyncio.sleep(0)
        await _until(world, lambda: _ended(world))
        assert Counter(world.statuses()) == {"succeeded": 60}


@pytest.mark.parametrize("seed", range(20))
async def test_a_timer_that_is_due_while_those_before_it_are_loaded_is_not_lost(seed: int) -> None:
    """One of them ends meanwhile, so that its timer is gone when it is looked for; the next one is due just then."""
    world = World(Cell, limits=limits())
    world.rng = Random(seed)
    async with world:
        await world.app.object(Cell, "before").nap.send(9.999)
        ends = await world.app.object(Cell, "ends").wait_till.send(10)
        last = await world.app.object(Cell, "last").nap.send(10.001)
        await world.settle(10)
        await world.restart()
        await world.settle(10)
        (info,) = await world.app.awakeables()
        watching = asyncio.ensure_future(world.app.invocation(ends.id).result())
        await world.settle(10)
        world.clock.advance(10)
        resolving = asyncio.ensure_future(world.app.resolve_awakeable(info.id, "yes"))
        for _ in range(seed):
            await asyncio.sleep(0)
        world.clock.advance(0.002)
        await world.settle(10)
        await asyncio.gather(resolving, watching, return_exceptions=True)  # it may have timed out before
        assert await outcome(world.app.invocation(last.id)) == "last is up"


@pytest.mark.parametrize("max_objects", [1, 3, 20])
async def test_callers_out_of_memory_get_their_answers_however_few_objects_fit(max_objects: int) -> None:
    """A caller was loaded for its answer, evicted before it got it, and then taken for one that had ended."""
    async with World(Cell, limits=limits(max_objects=max_objects, suspend_after=1)) as world:
        ids = [(await world.app.object(Cell, f"p{n}").call.send(f"c{n}")).id for n in range(40)]
        await world.settle()
        await world.restart()
        await world.pass_time(10)
        await _until(world, lambda: _ended(world))
        assert Counter(world.statuses()) == {"succeeded": 80}
        assert [await world.app.invocation(id).result() for id in ids] == [f"c{n} is up" for n in range(40)]


@pytest.mark.parametrize("seed", range(10))
async def test_what_is_written_is_read_again_although_the_object_leaves_memory_between_any_two_messages(
    seed: int,
) -> None:
    """An object that is loaded again before its last change is with the disk would count on from the past."""
    world, rng = World(Cell, limits=limits(max_objects=1)), Random(seed)
    world.rng = Random(seed)
    async with world:
        calls = []
        for n in range(60):
            calls.append(asyncio.ensure_future(_value(world.app.object(Cell, "abc"[n % 3]).put(1))))
            for _ in range(rng.randint(0, 5)):
                await asyncio.sleep(0)
        assert Counter(await asyncio.gather(*calls)) == dict.fromkeys(range(1, 21), 3)
        await world.restart()
        assert [await world.app.object(Cell, key).look() for key in "abc"] == [20] * 3


async def _value(call: Any) -> Any:
    return await call


# --- operations on what is not in memory, or is just being loaded -----------------------------------------------------


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
async def test_cold_invocations_that_are_killed_at_once_all_end(seed: int | None) -> None:
    """Each loads its object, and with room for one of them they evicted each other: some kills found nothing to end."""
    world = World(Cell, limits=limits(max_objects=1, suspend_after=1))
    world.rng = None if seed is None else Random(seed)
    async with world:
        ids = [(await world.app.object(Cell, f"k{n}").wait.send()).id for n in range(8)]
        await world.settle(10)
        await world.restart()
        assert await asyncio.wait_for(asyncio.gather(*map(world.app.kill, ids)), 5) == [None] * 8
        assert [await outcome(world.app.invocation(id)) for id in ids] == [InvocationKilled] * 8
        assert [await world.app.object(Cell, f"k{n}").put(1) for n in range(8)] == [1] * 8, "the keys are free again"


LOADING = pytest.mark.parametrize("seed", [None, *range(6)])  # None: a store that answers at once


def _loading(seed: int | None, **others: Any) -> World:
    world = World(Cell, limits=limits(**others))
    world.rng = None if seed is None else Random(seed)
    return world


@LOADING
@pytest.mark.parametrize("operation", ["cancel", "kill"])
async def test_what_is_ended_while_its_object_is_loading_never_runs(operation: str, seed: int | None) -> None:
    """A message has no place in the mailbox yet while its object loads: it was marked as ended, and then started."""
    async with _loading(seed) as world:
        handle = world.app.object(Cell, "k").quick.send()
        behind = world.app.object(Cell, "k").put.send(1)
        await getattr(world.app, operation)(handle.id)
        assert await outcome(behind) == 1
        expected = InvocationCancelled if operation == "cancel" else InvocationKilled
        assert await outcome(handle) is expected
        await world.restart()
        assert await outcome(world.app.invocation(handle.id)) is expected
        assert ran == [] and world.statuses() == ["failed", "succeeded"]


@LOADING
async def test_what_is_paused_while_its_object_is_loading_does_not_run_before_it_is_resumed(seed: int | None) -> None:
    """The same for pause, and what is behind it does not overtake it."""
    async with _loading(seed) as world:
        handle = world.app.object(Cell, "k").quick.send()
        behind = world.app.object(Cell, "k").put.send(1)
        await world.app.pause(handle.id)
        await world.settle(10)
        assert ran == [] and world.statuses() == ["paused", "pending"]
        await world.restart()
        await world.settle(10)
        assert ran == [] and world.statuses() == ["paused", "pending"]
        await world.app.resume(handle.id)
        assert await outcome(world.app.invocation(handle.id)) == "quick"
        assert await outcome(world.app.invocation(behind.id)) == 1
        assert ran == ["quick"]


@pytest.mark.parametrize("operation", ["cancel", "kill", "pause"])
async def test_on_a_real_file_too_what_is_stopped_while_its_object_is_loading_never_runs(
    operation: str, storage: str
) -> None:
    """With threads that read and write, the load is really under way."""
    async with App(Cell, storage=storage) as app:
        handle = app.object(Cell, "k").quick.send()
        await getattr(app, operation)(handle.id)
        assert await app.object(Cell, "other").put(1) == 1
        info = await app.describe(handle.id)
        assert info.status == ("paused" if operation == "pause" else "failed")
        if operation != "pause":
            assert await app.object(Cell, "k").put(1) == 1
    assert ran == []


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_killed_in_the_mailbox_while_its_object_comes_and_goes_never_runs(seed: int) -> None:
    """A row read before the end of its invocation was with the disk brought it back to life."""
    world = World(Cell, limits=limits(max_objects=1, suspend_after=1))
    world.rng = Random(seed)
    async with world:
        holds = await world.app.object(Cell, "k").wait.send()
        await world.settle(10)
        queued = await world.app.object(Cell, "k").quick.send()
        await world.settle(10)
        await world.pass_time(5)

        async def kill() -> None:
            for n in range(seed):
                world.app.object(Cell, f"n{n}").put.send(1)
                await asyncio.sleep(0)
            await world.app.kill(queued.id)

        async def disturb() -> None:
            for n in range(30):
                reads = [world.app.object(Cell, key).look() for key in (f"u{n}", f"v{n}", "k")]
                await asyncio.sleep(0)
                await reads[n % 3]

        await asyncio.wait_for(asyncio.gather(kill(), disturb()), 10)
        assert await outcome(world.app.invocation(queued.id)) is InvocationKilled
        await world.app.kill(holds.id)
        await world.settle(10)
        assert ran == [] and not [
            open for open in world.app._running().residents.open.values() if open.handler_name == "quick"
        ]


@pytest.mark.parametrize("seed", range(12))
async def test_a_message_for_later_that_is_cancelled_answers_whoever_asks_and_whenever(seed: int) -> None:
    """Who asked while the cancellation was on its way to the disk restored it from its old row, and waited for ever."""
    world = World(Cell, limits=limits())
    world.rng = Random(seed)
    async with world:
        handle = await world.app.object(Cell, "k").quick.options(delay=1000).send()
        await world.settle()
        for n in range(3):
            world.app.object(Cell, f"n{n}").put.send(1)

        async def later(turns: int, what: Callable[[], Any]) -> Any:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await what()

        asked = [
            asyncio.ensure_future(later(turns, lambda: outcome(world.app.invocation(handle.id)))) for turns in range(16)
        ]
        await later(seed % 5, lambda: world.app.cancel(handle.id))
        await world.settle(10)
        assert [one.done() for one in asked] == [True] * 16
        assert {one.result() for one in asked} == {InvocationCancelled}
        await world.pass_time(2000)
        assert ran == [] and not world.app._running().residents.open
        assert world.disk.query("SELECT count(*) FROM timer") == [(0,)]


@pytest.mark.expects_log("is paused. It is tried again")
async def test_what_is_paused_is_not_tried_again_for_being_loaded_again_but_by_the_next_process() -> None:
    """Only a new process may run mended code; paging the object in and out made an attempt each time."""
    async with World(Cell, retry=RetryPolicy(max_attempts=1), limits=limits(max_objects=1)) as world:
        handle = await world.app.object(Cell, "p").fails.send()
        await world.settle()
        for _ in range(5):
            for key in "xyz":
                await world.app.object(Cell, key).look()
            assert len(world.app._running().residents.objects["Cell"]) == 1, "it has left memory"
            await world.app.object(Cell, "p").look()
            await world.settle()
        info = await world.app.describe(handle.id)
        assert (ran, info.status, info.failed_attempts) == (["fails"], "paused", 1)
        await world.restart()
        assert ran == ["fails"] * 2
        await world.app.object(Cell, "x").look()
        await world.app.object(Cell, "p").look()
        await world.settle()
        assert ran == ["fails"] * 2 and world.statuses() == ["paused"]


# --- readers, callers, the clock --------------------------------------------------------------------------------------


async def test_readers_that_wait_leave_memory_when_there_are_too_many_or_they_wait_too_long() -> None:
    """A reader whose row was not written yet when its turn to leave came was not asked again."""
    async with World(Cell, limits=limits(max_waiting=2, suspend_after=10)) as world:
        handles = [await world.app.object(Cell, f"k{n}").watch.send() for n in range(10)]
        calls = [asyncio.ensure_future(_value(world.app.object(Cell, f"c{n}").watch())) for n in range(10)]
        await world.settle()
        await world.app.object(Cell, "z").put(1)
        await world.settle()
        assert len(world.app._running().residents.open) == 2
        await world.pass_time(11)
        await world.app.object(Cell, "z").put(1)
        await world.settle()
        assert len(world.app._running().residents.open) == 0
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, "seen")
        assert [await outcome(handle) for handle in handles] == ["seen"] * 10
        assert await asyncio.gather(*calls) == ["seen"] * 10


@pytest.mark.parametrize("seed", [None, 0, 1])
async def test_who_waits_for_a_message_for_later_is_told_when_the_app_closes(seed: int | None) -> None:
    """It is on disk only, and is read for whoever asks: closing the app during that read forgot who had asked."""
    for turns in range(25):
        world = _loading(seed)
        async with world:
            handle = await world.app.object(Cell, "k").quick.options(delay=1000).send()
            await world.restart()
            waiting = asyncio.ensure_future(world.app.invocation(handle.id).result())
            for _ in range(turns):
                await asyncio.sleep(0)
            await world.app.close()
            with pytest.raises(AppNotRunning):
                await asyncio.wait_for(waiting, 5)


async def test_on_a_real_file_too_who_waits_for_a_message_for_later_is_told_when_the_app_closes(storage: str) -> None:
    """With threads the read takes as long as it takes."""
    async with App(Cell, storage=storage) as app:
        handle = await app.object(Cell, "k").quick.options(delay=1000).send()
    for turns in range(12):
        app = App(Cell, storage=storage)
        await app.start()
        waiting = asyncio.ensure_future(app.invocation(handle.id).result())
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        await app.close()
        with pytest.raises(AppNotRunning):
            await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("memory", ["in memory", "suspended"])
async def test_callers_that_gave_up_waiting_are_let_go(memory: str) -> None:
    """Polling with wait_for left one future behind each time, for as long as the invocation was open."""
    async with World(Cell, limits=limits(suspend_after=10)) as world:
        handle = await world.app.object(Cell, "k").wait.send()
        await world.settle()
        if memory == "suspended":
            first = asyncio.ensure_future(handle.result())
            await world.settle()
            first.cancel()
            await world.pass_time(11)
        for _ in range(50):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(handle.result(), 0.001)
        partition = world.app._running()
        kept = [
            *partition.residents.absent_waiters.values(),
            *(open.waiters or [] for open in partition.residents.open.values()),
        ]
        assert sum(map(len, kept)) == 0
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "there")
        assert await handle.result() == "there"


@pytest.mark.parametrize("operation", ["kill", "cancel"])
async def test_what_is_ended_after_a_day_of_idleness_has_ended_now(operation: str) -> None:
    """The time of the last turn was taken for the present: with it retention forgot the invocation at once."""
    async with World(Cell, limits=Limits(retention=datetime.timedelta(hours=24))) as world:
        handle = await world.app.object(Cell, "k").wait.send()
        later = await world.app.object(Cell, "k").quick.options(delay=10**6).send()
        await world.settle()
        await world.pass_time(25 * 3600)
        now = datetime.datetime.fromtimestamp(world.clock.now_ms() / 1000, datetime.UTC)
        for one in (handle, later):
            await getattr(world.app, operation)(one.id)
        await world.settle()
        for one in (handle, later):
            info = await world.app.describe(one.id)
            assert (info.status, info.ended_at) == ("failed", now)


# --- full mailboxes ---------------------------------------------------------------------------------------------------


async def test_a_keyed_message_of_a_handler_to_a_full_mailbox_fails_and_does_not_take_the_key() -> None:
    """It was recorded as accepted, with the number of an invocation that never was."""
    async with World(Cell, limits=limits(max_pending=1)) as world:
        holds = await world.app.object(Cell, "full").wait.send()
        await world.settle()
        await world.app.object(Cell, "full").put.send(1)
        sender = await world.app.object(Cell, "s").send_keyed.send("full")
        await world.settle()
        assert ran == [MailboxFull.error]
        assert len(world.statuses()) == 3
        assert world.disk.query("SELECT count(*) FROM invocation WHERE idempotency_key IS NOT NULL") == [(0,)]
        await world.app.kill(holds.id)
        await world.settle()
        await world.restart()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "go on")
        assert await outcome(world.app.invocation(sender.id)) == MailboxFull.error
        assert set(ran) == {MailboxFull.error}, "its replay meets the same refusal, although there is room now"
        again = await world.app.object(Cell, "full").quick.options(idempotency_key="once").send()
        assert not again.previously_accepted and await outcome(again) == "quick"


async def test_a_keyed_message_of_a_handler_that_nobody_awaits_fails_the_same_way() -> None:
    """Then its end waits for the message: it must not wait for ever."""

    class Careless(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            ctx.object(Cell, "full").quick.options(idempotency_key="once", fail_when_full=True).send()
            return "done"

    async with World(Cell, Careless, limits=limits(max_pending=1)) as world:
        await world.app.object(Cell, "full").wait.send()
        await world.settle()
        await world.app.object(Cell, "full").put.send(1)
        assert await outcome(await world.app.object(Careless, "c").go.send()) == "done"
        assert world.disk.query("SELECT count(*) FROM invocation WHERE idempotency_key IS NOT NULL") == [(0,)]


class Sleeper(VirtualObject):
    @handler
    async def sleep(self, ctx: Context, seconds: float) -> None:
        await ctx.sleep(seconds)


async def test_handlers_that_leave_memory_need_no_garbage_collector_to_be_gone(storage: str) -> None:
    async with App(Sleeper, storage=storage, limits=Limits(max_waiting=1, max_objects=1)) as app:
        gc.collect()
        gc.disable()
        try:
            handles = [await app.object(Sleeper, str(number)).sleep.send(1000) for number in range(50)]
            while len(await app.invocations(status="blocked")) < len(handles):
                pass
            left = sum(isinstance(one, Attempt) for one in gc.get_objects())
        finally:
            gc.enable()
        assert left < 10


class Shelf(VirtualObject):
    count: int = 0

    @handler
    async def hold(self, ctx: Context) -> int:
        self.count += 1
        await ctx.awakeable(str)
        self.count += 1
        return self.count

    @shared
    async def look(self, ctx: Context, key: str) -> int:
        return await ctx.object(Shelf, key).hold()


@pytest.mark.parametrize("operation", ["kill", "cancel"])
async def test_a_reader_that_is_stopped_while_it_is_out_of_memory_leaves_the_holder_of_its_object_alone(
    operation: str,
) -> None:
    async with World(Shelf, limits=limits(max_waiting=2)) as world:
        reader = await world.app.object(Shelf, "a").look.send("b")
        await world.settle(5)
        holder = await world.app.object(Shelf, "a").hold.send()
        await world.settle(5)
        assert world.app._running().residents.open.get(world.app._running().ids.read_invocation(reader.id)) is None
        await getattr(world.app, operation)(reader.id)
        with pytest.raises((InvocationKilled, InvocationCancelled)):
            await world.app.invocation(reader.id).result()
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, "x")
        assert await world.app.invocation(holder.id).result() == 2


# --- what was read is out of date -------------------------------------------------------------------------------------


class LateReads(SimulatedStore):
    """Has read what was asked for, and answers when `answers` is set."""

    answers: asyncio.Event

    async def load_objects_of(self, seqs: Sequence[int]) -> tuple[list[PlaceRow], dict[tuple[str, str], ObjectRecord]]:
        found = await super().load_objects_of(seqs)
        await self.answers.wait()
        return found


class LateDisk(Disk):
    def store(self, rng: Random | None = None) -> LateReads:
        super().store(None)  # for what it does to the process before
        store = LateReads(self, rng)
        store.answers = asyncio.Event()
        return store


async def test_an_object_that_was_in_memory_since_it_was_read_is_read_again() -> None:
    world = World(Cell, limits=limits(max_objects=1, suspend_after=1))
    world.disk.close()
    world.disk = LateDisk()
    async with world:
        waiting = await world.app.object(Cell, "k").wait.send()
        await world.settle()
        (awakeable,) = await world.app.awakeables()
        await _leave_memory(world, "k")
        resolving = asyncio.ensure_future(world.app.resolve_awakeable(awakeable.id, "done"))
        await world.settle()
        following = await world.app.object(Cell, "k").put.send(
            5
        )  # it waits behind the first, which the read has seen alone
        await _leave_memory(world, "k")
        store: Any = world.store
        store.answers.set()
        await resolving
        assert await world.outcome(waiting) == "done"
        assert await world.outcome(following) == 5


async def _leave_memory(world: World, key: str) -> None:
    """Let its handler wait long, and use others until the object gives them its place."""
    await world.pass_time(2)
    for n in range(20):
        assert await world.app.object(Cell, f"other {n}").quick() == "quick"
        await world.settle()
    assert world.app._running().residents.known("Cell", key) is None


# --- chains of waits that are out of memory ---------------------------------------------------------------------------


class Link(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def call(self, ctx: Context, key: str) -> str:
        return await ctx.object(Link, key).wait()

    @handler
    async def note(self) -> str:
        return "noted"


@pytest.mark.parametrize("callers", [1, 2, 5])
async def test_looking_for_cycles_among_what_is_out_of_memory_comes_to_an_end(callers: int) -> None:
    """Each look brings objects back whose queues ask for a look of their own."""
    async with World(Link, limits=limits(suspend_after=1)) as world:
        first = await world.app.object(Link, "a").call.send("c")
        await world.settle()
        rest = [await world.app.object(Link, f"b{n}").call.send("a") for n in range(callers)]
        await world.settle()
        await world.pass_time(10)
        assert not world.app._running().residents.open
        rest.append(await world.app.object(Link, "a").note.send())
        await world.settle(5)
        assert not world.app._running().background._tasks
        for _ in range(callers + 1):
            for found in await world.app.awakeables():
                await world.app.resolve_awakeable(found.id, "x")
            await world.settle(3)
        assert await world.outcome(first) == "x"
        assert [await world.outcome(one) for one in rest] == ["x"] * callers + ["noted"]


# --- readers that come back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "used", "paused"])
async def test_readers_that_come_back_with_their_object_leave_again(how: str) -> None:
    async with World(Cell, limits=limits(max_objects=1, max_waiting=1, suspend_after=1)) as world:
        for n in range(20):
            await world.app.object(Cell, f"k{n}").watch.send()
            await world.settle()
        await world.pass_time(10)
        found = await world.app.awakeables()
        for n, one in enumerate(found):
            if how == "refused":
                with pytest.raises(BadArguments):
                    await world.app.resolve_awakeable(one.id, 7)
            elif how == "used":
                assert await world.app.object(Cell, f"k{n}").quick() == "quick"
            else:
                await world.app.pause(one.invocation_id)
            await world.settle()
        for n in range(60):
            await world.app.object(Cell, f"other {n}").quick()
            await world.pass_time(1)
        partition = world.app._running()
        assert (len(partition.residents.open), sum(map(len, partition.residents.objects.values()))) == (0, 1)
        for one in found:
            if how == "paused":
                await world.app.resume(one.invocation_id)
            await world.app.resolve_awakeable(one.id, "seen")
            assert await world.app.invocation(one.invocation_id).result() == "seen"


class Knot(VirtualObject):
    @handler
    async def first(self, ctx: Context, key: str) -> str:
        await ctx.awakeable(str)
        return await ctx.object(Knot, key).last()

    @handler
    async def second(self, ctx: Context, key: str, others: int) -> str:
        await ctx.awakeable(str)
        closing = ctx.object(Knot, key).last()
        calls = [ctx.object(Knot, f"other {n}").last() for n in range(others)]
        try:
            return await closing
        except DeadlockError:
            await ctx.all(*calls)
            return "refused"

    @handler
    async def last(self) -> str:
        return "last"


@pytest.mark.parametrize("others", range(5))
@pytest.mark.parametrize("seed", [None, *range(3)])
async def test_a_cycle_is_found_although_its_last_object_gives_way_to_the_next_one_that_is_loaded(
    others: int, seed: int | None
) -> None:
    world = World(Knot, limits=limits(max_objects=1, max_waiting=1, suspend_after=1))
    world.rng = Random(seed) if seed is not None else None
    async with world:
        one = await world.app.object(Knot, "one").first.send("two")
        await world.settle(3)
        two = await world.app.object(Knot, "two").second.send("one", others)
        await world.settle(3)
        for _ in range(2):
            await world.pass_time(5)
            await world.settle(3)
            await world.app.resolve_awakeable((await world.app.awakeables())[0].id, "go on")
            await world.settle(3)
        assert await world.outcome(two) == "refused"
        assert await world.outcome(one) == "last"
