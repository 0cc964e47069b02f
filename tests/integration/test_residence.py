"""What leaves memory, what comes back, and what is forgotten for good."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from actors import Context, Limits, TerminalError, VirtualObject, handler, shared
from actors.errors import DefinitionError, JournalTooLong, Overloaded, PayloadTooLarge, UnknownInvocation
from tests.world import World

closed: list[str] = []


class Sleeper(VirtualObject):
    log: list[str] = []

    @handler
    async def wait(self, ctx: Context, name: str = "w") -> str:
        self.log.append(name)
        try:
            return name + await ctx.awakeable(str)
        finally:
            closed.append(name)

    @handler
    async def nap(self, ctx: Context, seconds: float) -> str:
        await ctx.sleep(seconds)
        return "awake"

    @handler
    async def call(self, ctx: Context, key: str) -> str:
        return await ctx.object(Sleeper, key).wait("called by " + ctx.key)

    @handler
    async def note(self, name: str) -> None:
        self.log.append(name)

    @handler
    async def echo(self, ctx: Context, size: int) -> str:
        if size < 0:
            await ctx.run(lambda: "x" * -size)
            return "stepped"
        return "x" * size

    @handler
    async def keep(self, size: int) -> None:
        self.log.append("x" * size)

    @handler
    async def count(self, ctx: Context, steps: int) -> int:
        for _ in range(steps):
            ctx.now()
        return steps

    @shared
    async def watch(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @shared
    async def read(self) -> list[str]:
        return self.log


def _in_memory(world: World) -> tuple[int, int]:
    """(objects, open invocations) in memory."""
    partition = world.app._running()
    return len(partition.residents.objects["Sleeper"]), len(partition.residents.open)


async def _resolve_all(world: World) -> None:
    for info in await world.app.awakeables():
        await world.app.resolve_awakeable(info.id, "!")
    await world.settle()


async def test_handlers_that_wait_long_leave_memory_with_their_objects_and_come_back_when_they_are_answered() -> None:
    async with World(Sleeper, limits=Limits(suspend_after=10, retention=None)) as world:
        handles = [await world.app.object(Sleeper, f"k{n}").wait.send() for n in range(20)]
        watching = [await world.app.object(Sleeper, "k0").watch.send() for _ in range(3)]
        await world.settle()
        assert _in_memory(world) == (20, 23)
        await world.pass_time(9)
        assert _in_memory(world) == (20, 23)
        await world.pass_time(2)
        assert _in_memory(world) == (0, 0)
        await world.app.object(Sleeper, "k0").read()
        behind = await world.app.object(Sleeper, "k1").note.send("behind")
        await _resolve_all(world)
        assert [await handle.result() for handle in handles] == ["w!"] * 20
        assert [await handle.result() for handle in watching] == ["!"] * 3
        await behind.result()
        assert await world.app.object(Sleeper, "k1").read() == ["w", "behind"]


async def test_beyond_the_number_of_waiting_handlers_the_one_that_waited_longest_leaves() -> None:
    closed.clear()
    async with World(Sleeper, limits=Limits(max_waiting=5, retention=None)) as world:
        for n in range(8):
            await world.app.object(Sleeper, f"k{n}").wait.send(f"w{n}")
            await world.settle()
        assert closed == ["w0", "w1", "w2"]
        assert _in_memory(world) == (5, 5)
        await _resolve_all(world)
        assert set(world.statuses()) == {"succeeded"}


async def test_a_caller_in_this_process_gets_its_answer_although_both_left_memory() -> None:
    async with World(Sleeper, limits=Limits(suspend_after=1, retention=None)) as world:
        calls = [asyncio.ensure_future(_awaited(world.app.object(Sleeper, f"k{n}").call("z"))) for n in range(3)]
        await world.settle()
        await world.pass_time(2)
        assert _in_memory(world) == (0, 0)
        for _ in range(3):
            await _resolve_all(world)
            await world.pass_time(2)
        assert sorted(await asyncio.wait_for(asyncio.gather(*calls), 5)) == [f"called by k{n}!" for n in range(3)]


async def _awaited(call: Any) -> Any:
    return await call


async def test_a_caller_whose_invocation_left_memory_is_told_when_the_app_closes() -> None:
    async with World(Sleeper, limits=Limits(suspend_after=1, retention=None)) as world:
        call = asyncio.ensure_future(_awaited(world.app.object(Sleeper, "k").wait()))
        await world.settle()
        await world.pass_time(2)
        await world.app.close()
        with pytest.raises(Exception, match="goes on when the app starts again"):
            await call


async def test_messages_for_later_are_on_disk_only_and_arrive_in_time_and_order() -> None:
    async with World(Sleeper) as world:
        for n in range(50):
            await world.app.object(Sleeper, "k").note.options(delay=1000 - n // 2).send(str(n))
        assert _in_memory(world) == (0, 0)
        await world.pass_time(2000)
        order = sorted(range(50), key=lambda n: (1000 - n // 2, n))
        assert await world.app.object(Sleeper, "k").read() == [str(n) for n in order]


async def test_sleeps_end_in_time_wherever_their_handlers_are() -> None:
    async with World(Sleeper, limits=Limits(suspend_after=10, max_waiting=3, retention=None)) as world:
        handles = [await world.app.object(Sleeper, f"k{n}").nap.send(5.0 + 10 * n) for n in range(10)]
        await world.settle()
        for n in range(10):
            await world.pass_time(10)
            done = [status == "succeeded" for status in world.statuses()]
            assert done == [True] * (n + 1) + [False] * (9 - n)
        assert await world.app.invocation(handles[9].id).result() == "awake"


async def test_more_timers_than_are_held_in_memory_fire_all_in_order() -> None:
    async with World(Sleeper, limits=Limits(max_timers=30, retention=None)) as world:
        for n in range(200):
            await world.app.object(Sleeper, "k").note.options(delay=1 + (n * 37) % 100).send(str(n))
        cancelled = await world.app.invocations(status="scheduled", limit=20)
        for info in cancelled[::2]:
            await world.app.cancel(info.id)
        gone = {n for n in range(200) if 199 - n < 20 and (199 - n) % 2 == 0}
        assert len(world.app._running().timers._timers._heap) <= 31
        await world.restart()
        for _ in range(120):
            await world.pass_time(1)
        order = sorted(set(range(200)) - gone, key=lambda n: (1 + (n * 37) % 100, n))
        assert await world.app.object(Sleeper, "k").read() == [str(n) for n in order]
        assert world.disk.query("SELECT count(*) FROM timer") == [(0,)]


async def test_ended_invocations_are_forgotten_when_their_time_is_over_and_open_ones_never() -> None:
    async with World(Sleeper, limits=Limits(retention=100, suspend_after=10)) as world:
        waiting = await world.app.object(Sleeper, "w").wait.send()
        for n in range(1200):
            world.app.object(Sleeper, f"k{n % 7}").note.send("x")
        old = await world.app.object(Sleeper, "k").nap.send(1)
        await world.settle()
        await world.pass_time(1)
        await world.pass_time(49)
        new = await world.app.object(Sleeper, "k").nap.send(1)
        await world.pass_time(49)
        assert len(world.statuses()) == 1203
        await world.pass_time(10)
        await world.settle()
        assert sorted(world.statuses()) == ["blocked", "succeeded"]
        with pytest.raises(UnknownInvocation):
            await world.app.invocation(old.id).result()
        assert await world.app.invocation(new.id).result() == "awake"
        await world.restart()
        await world.pass_time(100)
        assert world.statuses() == ["blocked"]
        assert world.disk.query("SELECT DISTINCT invocation FROM journal_entry") == [(1,)]
        await _resolve_all(world)
        assert await world.app.invocation(waiting.id).result() == "w!"


async def test_of_ended_invocations_the_newest_are_kept_up_to_the_limit_and_those_under_a_key_besides() -> None:
    async with World(Sleeper, limits=Limits(max_retained=50)) as world:
        await world.app.object(Sleeper, "k").note.options(idempotency_key="a").send("keyed")
        for n in range(2000):
            world.app.object(Sleeper, f"k{n % 7}").note.send(str(n))
        await world.settle()
        await world.settle()
        kept = await world.app.invocations(limit=5000)
        assert 50 <= len(kept) <= 50 + 501
        assert [info for info in kept if info.idempotency_key == "a"]
        await world.restart()
        await world.settle()
        assert len(await world.app.invocations(limit=5000)) == 51


async def test_what_is_forgotten_for_its_number_goes_with_the_commits_of_the_calls_that_go_on() -> None:
    async with World(Sleeper, limits=Limits(retention=None, max_retained=10, idempotency_retention=None)) as world:
        before = world.disk.commits
        for n in range(1600):
            await world.app.object(Sleeper, "k").echo(n)
        assert world.disk.commits - before == 1600
        await world.settle()
        assert len(await world.app.invocations(limit=5000)) <= 10 + 501


@pytest.mark.parametrize("turns", range(12))
async def test_what_an_operator_forgets_while_the_oldest_are_read_is_counted_once(turns: int) -> None:
    async with World(Sleeper, limits=Limits(retention=None, max_retained=10, idempotency_retention=None)) as world:
        first = world.app.object(Sleeper, "k").echo.send(0)
        await first
        for n in range(509):
            await world.app.object(Sleeper, "k").echo(n)
        last = world.app.object(Sleeper, "k").echo.send(0)  # one too many
        for _ in range(turns):
            await asyncio.sleep(0)
        with contextlib.suppress(UnknownInvocation):
            await world.app.purge(first.id)
        await last
        await world.settle()
        assert world.app._running().retention.count == len(await world.app.invocations(limit=5000)) <= 510


async def test_a_sweep_ends_when_there_is_nothing_left_to_forget_whatever_the_count_says() -> None:
    async with World(Sleeper, limits=Limits(retention=None, max_retained=10, idempotency_retention=None)) as world:
        retention = world.app._running().retention
        retention.count = 10_000
        await world.app.object(Sleeper, "k").echo(1)
        await world.settle()
        assert not retention._sweeping


async def test_a_resolved_awakeable_and_what_its_handler_makes_of_it_are_one_commit() -> None:
    async with World(Sleeper) as world:
        sent = [world.app.object(Sleeper, f"k{n}").wait.send() for n in range(3)]
        await world.settle()
        ids = [info.id for info in await world.app.awakeables()]
        await world.restart()
        before = world.disk.commits
        await asyncio.gather(*(world.app.resolve_awakeable(id, "!") for id in ids))
        assert world.disk.commits - before == 1
        assert [await world.app.invocation(handle.id).result() for handle in sent] == ["w!"] * 3


async def test_nothing_is_forgotten_without_limits() -> None:
    limits = Limits(retention=None, max_retained=None, idempotency_retention=None)
    async with World(Sleeper, limits=limits) as world:
        await world.app.object(Sleeper, "k").note("x")
        await world.pass_time(10**8)
        await world.restart()
        assert world.statuses() == ["succeeded"]


async def test_what_is_too_large_is_refused_at_once_and_the_object_goes_on() -> None:
    async with World(Sleeper, limits=Limits(max_payload=1000, retention=None)) as world:
        ref = world.app.object(Sleeper, "k")
        for too_large in (
            lambda: ref.note("x" * 1001),
            lambda: ref.note.send("x" * 1001),
            lambda: ref.echo(1001),
            lambda: ref.echo(-1001),
            lambda: ref.keep(1001),
        ):
            with pytest.raises(PayloadTooLarge, match="max_payload") as caught:
                await too_large()
            assert caught.value.code == 413
        assert await ref.read() == []
        assert await ref.echo(900) == "x" * 900


async def test_a_journal_that_grows_without_end_ends_its_invocation() -> None:
    async with World(Sleeper, limits=Limits(max_journal=100, retention=None)) as world:
        assert await world.app.object(Sleeper, "k").count(100) == 100
        with pytest.raises(JournalTooLong, match="max_journal"):
            await world.app.object(Sleeper, "k").count(101)


async def test_calls_beyond_what_may_be_in_flight_are_refused() -> None:
    async with World(Sleeper, limits=Limits(max_in_flight=3, retention=None)) as world:
        calls = [asyncio.ensure_future(_awaited(world.app.object(Sleeper, f"k{n}").wait())) for n in range(3)]
        await world.settle()
        with pytest.raises(Overloaded, match="3 invocations are in flight") as caught:
            await world.app.object(Sleeper, "other").note("x")
        assert caught.value.code == 429
        await _resolve_all(world)
        assert await asyncio.gather(*calls) == ["w!"] * 3
        await world.app.object(Sleeper, "other").note("x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_objects": 0},
        {"max_timers": 0},
        {"max_waiting": -1},
        {"max_payload": 1.5},
        {"max_retained": True},
        {"max_journal": None},
        {"suspend_after": -1},
        {"suspend_after": None},
        {"retention": "1d"},
        {"idempotency_retention": float("nan")},
    ],
)
def test_a_limit_that_cannot_be_one_is_refused_with_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=next(iter(wrong))):
        Limits(**wrong)


async def test_an_error_of_a_full_journal_is_terminal() -> None:
    assert issubclass(JournalTooLong, TerminalError)
