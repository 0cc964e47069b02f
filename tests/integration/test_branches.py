"""Tasks that a handler starts, what it awaits of asyncio, and what becomes of both when its attempt ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors import Context, Limits, RetryPolicy, VirtualObject, handler
from actors.journal.entries import Kind
from tests.world import World

happened: list[str] = []
gates: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    happened.clear()
    gates[:] = [asyncio.Event()]


async def step(name: str) -> str:
    happened.append(name)
    return name


# --- waits for something outside ----------------------------------------------------------------------------------------


class Outside(VirtualObject):
    @handler
    async def main_line(self, ctx: Context) -> str:
        await ctx.run(step, "before")
        await gates[0].wait()
        await ctx.run(step, "after")
        return await ctx.awakeable(str)

    @handler
    async def branch(self, ctx: Context) -> str:
        async def beside() -> None:
            await gates[0].wait()
            await ctx.run(step, "after")

        await ctx.run(step, "before")
        task = asyncio.create_task(beside())
        word = await ctx.awakeable(str)
        await task
        return word


@pytest.mark.parametrize("name", ["main_line", "branch"])
async def test_a_replay_waits_as_long_as_it_takes_for_something_outside(name: str) -> None:
    async with World(Outside) as world:
        gates[0].set()
        handle = await world.app.send("Outside", "o", name)
        await world.settle(2)
        (info,) = await world.app.awakeables()
        await world.crash()
        gates[:] = [asyncio.Event()]  # closed again, in the next process
        await world.start()
        await world.app.resolve_awakeable(info.id, "done")
        await world.settle(20)
        assert await world.status(handle) == "running"
        gates[0].set()
        await world.settle()
        assert await world.outcome(handle) == "done"
        assert happened == ["before", "after"]


@pytest.mark.expects_log("is being replayed and has waited 30 s for something that is not durable")
async def test_the_log_says_what_a_replay_waits_for_after_half_a_minute() -> None:
    async with World(Outside) as world:
        gates[0].set()
        await world.app.send("Outside", "o", "branch")
        await world.settle(2)
        (info,) = await world.app.awakeables()
        await world.crash()
        gates[:] = [asyncio.Event()]
        await world.start()
        await world.app.resolve_awakeable(info.id, "done")
        await world.settle()
        for _ in range(4):
            await world.pass_time(10)


class Two(VirtualObject):
    @handler
    async def go(self, ctx: Context, outside: bool) -> str:
        first, second = ctx.awakeable(str), ctx.awakeable(str)

        async def slow() -> None:
            await (gates[0].wait() if outside else first)
            for _ in range(20 * (not outside)):
                await asyncio.sleep(0)
            await ctx.run(step, "slow")

        async def quick() -> None:
            await second
            await ctx.run(step, "quick")

        await asyncio.gather(slow(), quick())
        return await ctx.awakeable(str)


async def _awakeables(world: World) -> list[Any]:
    """In the order in which the handler has asked for them."""
    ids = world.app._running().ids
    return sorted(await world.app.awakeables(), key=lambda info: ids.read_awakeable(info.id)[1])


async def test_a_completion_is_shown_when_branches_have_reacted_to_the_last() -> None:
    async with World(Two) as world:
        await world.app.object(Two, "t").go.send(False)
        await world.settle()
        one, two = await _awakeables(world)
        await asyncio.gather(world.app.resolve_awakeable(one.id, ""), world.app.resolve_awakeable(two.id, ""))
        await world.settle(3)
        assert happened == ["slow", "quick"]


async def test_a_replay_repeats_what_came_from_outside_before_a_completion() -> None:
    """The completion had arrived, and was not shown yet, when something outside let the other branch go on."""
    async with World(Two) as world:
        handle = await world.app.object(Two, "t").go.send(True)
        await world.settle()
        _, two = await _awakeables(world)
        partition = world.app._running()
        seq, index = partition.ids.read_awakeable(two.id)
        gates[0].set()
        partition.progress.complete(partition.residents.open[seq], index, Kind.COMPLETED, '""')
        await world.settle(3)
        assert happened == ["slow", "quick"]
        assert world.disk.query("SELECT entry FROM journal WHERE entry = 'unseen'")[:1] == [("unseen",)]
        *_, last = await _awakeables(world)
        await world.crash()
        gates[:] = [asyncio.Event()]
        await world.start()
        await world.app.resolve_awakeable(last.id, "done")
        await world.settle(3)
        gates[0].set()
        await world.settle(3)
        assert await world.outcome(handle) == "done"


async def _plainly(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _yielding(work: Callable[[], Awaitable[None]]) -> AsyncIterator[int]:
    await work()
    yield 1


async def _in_a_generator(work: Callable[[], Awaitable[None]]) -> None:
    async for _ in _yielding(work):
        pass


async def _in_two_generators(work: Callable[[], Awaitable[None]]) -> None:
    async for _ in _yielding(lambda: _in_a_generator(work)):
        pass


async def _as_the_next(work: Callable[[], Awaitable[None]]) -> None:
    await anext(_yielding(work))


async def _as_the_next_or_none(work: Callable[[], Awaitable[None]]) -> None:
    await anext(_yielding(work), None)


async def _at_the_end_of_a_generator(work: Callable[[], Awaitable[None]]) -> None:
    async def last() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await work()

    generator = last()
    await anext(generator)
    await generator.aclose()  # type: ignore[attr-defined]


WAYS = [_plainly, _in_a_generator, _in_two_generators, _as_the_next, _as_the_next_or_none, _at_the_end_of_a_generator]


def _flow(
    *names: str, way: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] = _plainly
) -> type[VirtualObject]:
    class Flow(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> None:
            async def one(name: str) -> None:
                await ctx.step(name=name).run(step, name)
                await ctx.awakeable(str)

            async def all_of_them() -> None:
                async with asyncio.TaskGroup() as group:
                    for name in names:
                        group.create_task(one(name))

            await way(all_of_them)

    return Flow


class Nested(VirtualObject):
    @handler
    async def go(self, ctx: Context, depth: int, on_main_line: bool) -> list[str]:
        seen: list[str] = []
        promises = [ctx.awakeable(str) for _ in range(3)]

        async def first() -> None:
            gathering: Any = asyncio.gather(promises[0])
            for _ in range(depth):
                gathering = asyncio.gather(gathering)
            await gathering
            seen.append("first")

        async def second() -> None:
            await promises[1]
            seen.append("second")
            await ctx.run(step, "".join(seen))

        if on_main_line:
            beside = asyncio.create_task(second())
            await first()
            await beside
        else:
            await asyncio.gather(first(), second())
        await ctx.run(step, "both")
        await promises[2]
        return seen


@pytest.mark.parametrize("on_main_line", [False, True])
@pytest.mark.parametrize("depth", [1, 4, 8, 30])
async def test_gathers_within_gathers_replay_however_deep_they_are(depth: int, on_main_line: bool) -> None:
    """asyncio takes a turn of the loop for each of them, without a step of any task."""
    async with World(Nested) as world:
        handle = await world.app.object(Nested, "o").go.send(depth, on_main_line)
        await world.settle()
        ids = [info.id for info in await world.app.awakeables()]
        for id in ids[:2]:
            await world.app.resolve_awakeable(id, "")
            await world.settle(9)
        await world.restart()
        await world.settle(9)
        await world.app.resolve_awakeable(ids[2], "")
        await world.settle(9)
        assert await world.status(handle) == "succeeded", (await world.app.describe(handle.id)).reason
        assert await world.outcome(handle) == ["first", "second"]
        assert happened == ["firstsecond", "both"]


@pytest.mark.expects_log("is paused")
@pytest.mark.parametrize("names", [("a", "b"), ("a", "c", "b"), ("a", "b", "d"), ("b", "a", "c"), ()])
@pytest.mark.parametrize("way", WAYS)
async def test_changed_steps_of_branches_are_reported_at_once(names: tuple[str, ...], way: Any) -> None:
    async with World(_flow("a", "b", "c", way=way)) as world:
        handle = await world.app.send("Flow", "f", "go")
        await world.settle()
        await world.crash()
        world.classes = (_flow(*names, way=way),)
        await world.start()
        (waiting, *_) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "")
        await world.settle()
        assert await world.status(handle) == "paused"
        assert "no longer fits the journal" in str((await world.app.describe(handle.id)).reason)


class Waiter(VirtualObject):
    """Waits for a year in each way whose wait a replay finds again."""

    @handler
    async def gather(self, ctx: Context) -> list[str]:
        return list(await asyncio.gather(ctx.awakeable(str), ctx.awakeable(str)))

    @handler
    async def nested(self, ctx: Context) -> list[str]:
        async def both() -> list[str]:
            return list(await asyncio.gather(ctx.awakeable(str), ctx.awakeable(str)))

        (found,) = await asyncio.gather(both())
        return found

    @handler
    async def group(self, ctx: Context) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.one(ctx)) for _ in range(2)]
        return [task.result() for task in tasks]

    @handler
    async def wait(self, ctx: Context) -> list[str]:
        tasks = [asyncio.create_task(self.one(ctx)) for _ in range(2)]
        await asyncio.wait(tasks)
        return [task.result() for task in tasks]

    @handler
    async def beside(self, ctx: Context) -> list[str]:
        task = asyncio.create_task(self.one(ctx))
        last = await ctx.awakeable(str)
        return [await task, last]

    async def one(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


WAITS = ["gather", "nested", "group", "wait", "beside"]


@pytest.mark.parametrize("way", WAITS)
async def test_a_handler_whose_branches_all_wait_durably_is_evicted(way: str) -> None:
    async with World(Waiter) as world:
        handle = await world.app.handler("Waiter", "w", way).send()
        await world.settle()
        assert await world.status(handle) == "blocked"
        await world.pass_time(61)
        assert world.app._running().residents.open == {}
        ids = [waiting.id for waiting in await world.app.awakeables()]
        for id, answer in zip(ids, "ab", strict=True):
            await world.app.resolve_awakeable(id, answer)
            await world.pass_time(61)
        assert sorted(await world.outcome(handle)) == ["a", "b"]


@pytest.mark.parametrize("way", WAITS)
@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_a_handler_may_be_evicted_at_any_moment_of_its_answers(way: str, turns: int, position: int) -> None:
    """The time at which it has waited too long comes while its branches react to an answer."""
    async with World(Waiter) as world:
        handle = await world.app.handler("Waiter", "w", way).send()
        await world.settle()
        for answer in "ab":
            waiting = (await world.app.awakeables())[position]
            resolving = asyncio.create_task(world.app.resolve_awakeable(waiting.id, answer))
            for _ in range(turns):
                await asyncio.sleep(0)
            await world.pass_time(61)
            await resolving
            await world.settle()
        assert await world.status(handle) == "succeeded"
        assert sorted(await world.outcome(handle)) == ["a", "b"]


# --- the end of an attempt ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def resource(name: str) -> AsyncIterator[None]:
    """What gives it back takes some turns of the loop, as closing a connection does."""
    happened.append(f"{name} taken")
    try:
        yield
    finally:
        for _ in range(5):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().run_in_executor(None, int)
        happened.append(f"{name} given back")


async def numbers() -> AsyncIterator[int]:
    async with resource("generator"):
        for number in range(10):
            yield number


class Holder(VirtualObject):
    @handler
    async def hold(self, ctx: Context, how: str) -> str:
        async def beside() -> None:
            async with resource("task"):
                await asyncio.Event().wait() if how == "return" else await ctx.awakeable(str)

        async with resource("main"):
            task = asyncio.create_task(beside())
            if how == "return":
                await asyncio.sleep(0)
                return "done"
            if how == "raise":
                await asyncio.sleep(0)
                raise ConnectionError("the attempt fails")
            async for _ in numbers():
                await ctx.awakeable(str)
            await task
        return "never"

    @handler
    async def refused(self, ctx: Context) -> None:
        try:
            await ctx.awakeable(str)
        finally:
            happened.append("finally")
            await ctx.run(step, "a step of a closed handler")


ENDS = ["return", "raise", "evict", "pause", "kill", "cancel", "close"]


@pytest.mark.may_log("failed, next in")
@pytest.mark.parametrize("how", ENDS)
async def test_what_a_handler_holds_is_given_back_however_its_attempt_ends(how: str) -> None:
    limits = Limits(suspend_after=1 if how == "evict" else 1000)
    async with World(Holder, limits=limits, retry=RetryPolicy(initial_interval=100, max_attempts=5)) as world:
        handle = await world.app.object(Holder, "h").hold.send(how)
        await world.settle()
        if how == "evict":
            await world.pass_time(2)
        elif how == "close":
            await world.app.close()
        elif how in ("pause", "kill", "cancel"):
            await getattr(world.app, how)(handle.id)
        for _ in range(200):  # a thread takes part
            await asyncio.sleep(0.005 if len(asyncio.all_tasks()) > 1 else 0)
        own = [task for task in asyncio.all_tasks() if "beside" in str(task.get_coro())]
        assert own == [], "a task has outlived its attempt"
        taken = sorted(what.removesuffix(" taken") for what in happened if what.endswith(" taken"))
        back = sorted(what.removesuffix(" given back") for what in happened if what.endswith(" given back"))
        assert taken == back and "task" in taken and "main" in taken


@pytest.mark.parametrize("how", ["evict", "kill"])
async def test_what_a_closed_handler_asks_of_its_context_is_refused(how: str) -> None:
    async with World(Holder, limits=Limits(suspend_after=1)) as world:
        handle = await world.app.object(Holder, "h").refused.send()
        await world.settle()
        await (world.app.kill(handle.id) if how == "kill" else world.pass_time(2))
        await world.settle()
        assert happened == ["finally"]


async def test_a_handler_stays_while_a_task_of_its_own_waits_for_something_outside() -> None:
    async with World(Outside, limits=Limits(suspend_after=1)) as world:
        handle = await world.app.send("Outside", "o", "branch")
        await world.settle()
        await world.pass_time(10)
        gates[0].set()
        await world.settle()
        assert happened == ["before", "after"]
        await world.pass_time(10)
        assert await world.status(handle) == "blocked"
        assert not world.app._running().residents.open, "now it has left memory"


class Pieces(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> int:
        count = 0
        async for done in ctx.as_completed(ctx.sleep(5), ctx.sleep(10)):
            await done
            count += 1
        return count


async def test_as_completed_leaves_memory_without_a_word() -> None:
    async with World(Pieces, limits=Limits(suspend_after=1)) as world:
        handle = await world.app.object(Pieces, "p").go.send()
        for _ in range(6):
            await world.settle()
            await world.pass_time(2)
        assert await world.outcome(handle) == 2


async def test_asyncio_as_completed_takes_its_coroutines_from_a_list_alone() -> None:
    class Unordered(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            async def one(name: str) -> str:
                return await ctx.run(step, name)

            try:
                for next_one in asyncio.as_completed({one(name) for name in "abc"}):
                    await next_one
            finally:
                happened.append("over")
            return "mixed up"

    async with World(Unordered) as world:
        with pytest.raises(Exception, match=r"Pass it a list"), pytest.warns(RuntimeWarning):
            await world.app.object(Unordered, "u").go()
