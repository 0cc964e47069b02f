"""Calls and sends from outside: values, errors, order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from actors import App, Context, Limits, RetryPolicy, TerminalError, VirtualObject, handler, shared
from actors.errors import AppNotRunning, OutcomePending
from actors.storage import StorageError
from tests.world import World


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

    @handler
    async def add_then_fail(self, ctx: Context, n: int) -> None:
        self.count += n
        raise TerminalError(ctx.key, code=418, metadata={"n": str(n)})

    @shared
    async def get(self) -> int:
        return self.count


async def test_a_call_returns_the_value_and_state_is_kept_for_each_key(storage: str) -> None:
    async with App(Counter, storage=storage) as app:
        assert await app.object(Counter, "a").add(2) == 2
        assert await app.object(Counter, "a").add(n=3) == 5
        assert await app.object(Counter, "b").add() == 1


async def test_state_survives_a_restart(storage: str) -> None:
    async with App(Counter, storage=storage) as app:
        await app.object(Counter, "a").add(7)
    async with App(Counter, storage=storage) as app:
        assert await app.object(Counter, "a").get() == 7


async def test_a_terminal_error_reaches_the_caller_and_the_write_before_it_stays(storage: str) -> None:
    async with App(Counter, storage=storage) as app:
        with pytest.raises(TerminalError) as caught:
            await app.object(Counter, "a").add_then_fail(4)
        assert (caught.value.message, caught.value.code, caught.value.metadata) == ("a", 418, {"n": "4"})
        assert await app.object(Counter, "a").get() == 4


async def test_a_send_is_accepted_first_and_its_result_can_be_awaited_later(storage: str) -> None:
    async with App(Counter, storage=storage) as app:
        handle = await app.object(Counter, "a").add.send(5)
        assert handle.id.startswith("inv_1")
        assert await handle.result() == 5
    async with App(Counter, storage=storage) as app:
        assert await app.invocation(handle.id).result() == 5


class Measure(VirtualObject):
    @handler
    async def whole(self) -> float:
        return 1


async def test_a_result_is_of_the_declared_type_whether_it_was_awaited_or_read_back(storage: str) -> None:
    async with App(Measure, storage=storage) as app:
        called = await app.object(Measure, "m").whole()
        sent = await app.object(Measure, "m").whole.send()
        assert (type(called), type(await sent.result())) == (float, float)


async def test_a_shared_handler_calls_another_object_of_its_own_class_by_type_of_self() -> None:
    class Node(VirtualObject):
        value: int = 3

        @shared
        async def read(self) -> int:
            return self.value

        @shared
        async def read_other(self, ctx: Context, key: str) -> int:
            return await ctx.object(type(self), key).read()

    async with World(Node) as world:
        assert await world.app.object(Node, "a").read_other("b") == 3


class Slow(VirtualObject):
    counted: int = 0

    @handler
    async def count(self) -> int:
        self.counted += 1
        return self.counted

    @handler
    async def wait(self, ctx: Context) -> list[int]:
        await ctx.awakeable()
        return [1]

    @shared
    async def read(self, ctx: Context) -> list[int]:
        return [2]


@pytest.mark.parametrize("suspended", [False, True])
async def test_whoever_is_cancelled_while_awaiting_a_call_takes_nothing_from_the_others(suspended: bool) -> None:
    limits = Limits(suspend_after=timedelta(seconds=1))
    async with World(Slow, limits=limits) as world:

        async def waiter() -> list[int]:
            return await call

        call = world.app.object(Slow, "a").wait()
        waiting = [asyncio.create_task(waiter()) for _ in range(3)]
        await world.settle()
        waiting[0].cancel()
        if suspended:
            await world.pass_time(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await call
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id)
        assert await waiting[1] == await waiting[2] == await call == [1]
        assert waiting[0].cancelled()


async def test_a_read_and_a_handle_may_be_awaited_again_after_a_cancellation(storage: str) -> None:
    async with App(Slow, storage=storage) as app:
        call = app.object(Slow, "a").read()
        handle = app.object(Slow, "b").wait.send()

        async def waiter(awaited: Any) -> Any:
            return await awaited

        waiting = [asyncio.create_task(waiter(awaited)) for awaited in (call, handle)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        assert await call == [2] == await call
        assert (await handle).id == handle.id


async def test_awaiting_again_acknowledges_nothing_that_was_lost() -> None:
    async with World(Slow) as world:
        assert await world.app.object(Slow, "a").read() == [2]
        world.store.crash_at_commit(1, written=False)
        handle, call = world.app.object(Slow, "a").wait.send(), world.app.object(Slow, "a").count()
        for awaited in (call, handle):
            with pytest.raises(OutcomePending):
                await awaited
        await world.crash()
        await world.start()
        for awaited in (call, handle):
            with pytest.raises((StorageError, AppNotRunning)):
                await awaited
        assert await world.app.object(Slow, "a").count() == 1


@pytest.mark.expects_log("failed, next in", "is paused. It is tried again")
async def test_a_caller_waits_while_its_invocation_backs_off_and_is_paused() -> None:
    failing = True

    class Unlucky(VirtualObject):
        @handler
        async def go(self) -> str:
            if failing:
                raise OSError("the bank is down")
            return "done"

    async def wait() -> str:
        return await world.app.object(Unlucky, "u").go()

    async with World(Unlucky, retry=RetryPolicy(initial_interval=1, factor=1, max_attempts=3)) as world:
        call = asyncio.create_task(wait())
        await world.settle()
        assert (world.statuses(), call.done()) == (["backing-off"], False)
        for _ in range(5):
            await world.pass_time(10)
        assert (world.statuses(), call.done()) == (["paused"], False)
        (info,) = await world.app.invocations()
        failing = False
        await world.app.resume(info.id)
        assert await asyncio.wait_for(call, 5) == "done"


class Board(VirtualObject):
    notes: list[str] = []

    @handler
    async def write(self, note: str) -> None:
        self.notes.append(note)

    @handler
    async def hold(self, ctx: Context) -> None:
        self.notes.append("held")
        await ctx.awakeable(str)

    @shared
    async def read_slowly(self, ctx: Context) -> list[list[str]]:
        before = list(self.notes)
        await ctx.awakeable(str)
        return [before, self.notes]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_shared_handler_reads_what_there_was_when_it_began_beside_others_that_write(restarted: bool) -> None:
    async with World(Board) as world:
        board = world.app.object(Board, "b")
        await board.write("one")
        reading = await board.read_slowly.send()
        await world.settle()
        await board.write("two")  # it does not wait for the reader
        await board.hold.send()
        await world.settle()
        later = await board.read_slowly.send()  # nor a reader for the holder of the key
        await world.settle()
        if restarted:
            await world.restart()
        for open_one in await world.app.awakeables():
            if open_one.handler == "read_slowly":
                await world.app.resolve_awakeable(open_one.id, "")
        assert await world.result(reading) == [["one"], ["one"]]
        assert await world.result(later) == [["one", "two", "held"]] * 2
