"""Errors that come through task groups: what is terminal stays terminal, what is not is tried again, and no cause is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Context, RetryPolicy, TerminalError, VirtualObject, handler
from actors.errors import DurableTimeout, MisusedFuture, RetriesExhausted
from tests.world import World

attempts: list[str] = []


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    attempts.clear()


def first() -> TerminalError:
    return TerminalError("sold out", 409, {"item": "book"})


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("of tasks", errors)


TERMINAL: dict[str, Any] = {
    "one": lambda: group(first()),
    "two": lambda: group(first(), TerminalError("closed")),
    "nested": lambda: group(group(group(first())), group(TerminalError("closed"), DurableTimeout("late"))),
}
TRANSIENT: dict[str, Any] = {
    "one": lambda: group(ConnectionError("reset")),
    "beside a terminal one": lambda: group(first(), ConnectionError("reset")),
    "nested": lambda: group(first(), group(TerminalError("closed"), group(ConnectionError("reset")))),
}


class Raises(VirtualObject):
    @handler
    async def itself(self, ctx: Context, kind: str, which: str) -> str:
        attempts.append(which)
        raise (TERMINAL if kind == "terminal" else TRANSIENT)[which]()

    @handler
    async def step(self, ctx: Context, kind: str, which: str) -> str:
        async def fail() -> str:
            attempts.append(which)
            raise (TERMINAL if kind == "terminal" else TRANSIENT)[which]()

        return await ctx.run(fail)

    @handler
    async def blocking_step(self, ctx: Context, kind: str, which: str) -> str:
        def fail() -> str:
            attempts.append(which)
            raise (TERMINAL if kind == "terminal" else TRANSIENT)[which]()

        return await ctx.run(fail)

    @handler
    async def retried_step(self, ctx: Context, kind: str, which: str) -> str:
        async def fail() -> str:
            attempts.append(which)
            raise (TERMINAL if kind == "terminal" else TRANSIENT)[which]()

        return await ctx.step(retry=RetryPolicy(max_attempts=2, initial_interval=0.001)).run(fail)

    @handler
    async def called(self, ctx: Context, kind: str, which: str) -> str:
        return await ctx.object(Raises, "callee").itself(kind, which)


HOW = ["itself", "step", "blocking_step", "retried_step", "called"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("which", TERMINAL)
async def test_a_group_of_terminal_errors_is_the_first_and_keeps_all(which: str, how: str) -> None:
    async with World(Raises) as world:
        with pytest.raises(TerminalError) as caught:
            await getattr(world.app.object(Raises, "r"), how)("terminal", which)
        error = caught.value
        assert (error.message, error.code, error.metadata) == ("sold out", 409, {"item": "book"})
        expected = {"one": [], "two": ["closed"], "nested": ["closed", "late"]}[which]
        assert [other.message for other in error.others] == expected
        assert attempts == [which], "it was tried again"
        if which == "nested":
            assert type(error.others[1]) is DurableTimeout


@pytest.mark.may_log("failed for good", "next try in")
@pytest.mark.may_log("failed, next in")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("which", TRANSIENT)
async def test_a_group_with_any_other_error_is_that_error(which: str, how: str) -> None:
    policy = RetryPolicy(max_attempts=2, initial_interval=0.001, on_exhausted="fail")
    async with World(Raises, retry=policy) as world:
        handle = await getattr(world.app.object(Raises, "r"), how).send("transient", which)
        for _ in range(5):
            await world.pass_time(1)
        assert await world.outcome(handle) is RetriesExhausted
        info = await world.app.describe(handle.id)
        assert info.failure is not None and "ConnectionError('reset')" in info.failure.message
        assert attempts == [which] * 2


# --- task groups around durable waits -----------------------------------------------------------------------------------


class Trip(VirtualObject):
    @handler
    async def go(self, ctx: Context, error: str, wait: str, catch: bool) -> str:
        attempts.append(error)

        async def child() -> None:
            if error == "terminal step":
                await ctx.run(refuse)
            elif error == "passing":
                await asyncio.sleep(0)
                if len(attempts) < 3:
                    raise ConnectionError("the real reason")
            else:
                await ctx.run(asyncio.sleep, 0)
                raise TerminalError("the real reason")

        async def other() -> None:
            await ctx.awakeable(str)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                if wait == "awakeable":
                    await ctx.awakeable(str)
                elif wait == "sleep":
                    await ctx.sleep(1000 if error != "passing" else 0.01)
                elif wait == "all":
                    await ctx.all(ctx.sleep(1000), ctx.awakeable(str))
                elif wait == "gather":
                    await asyncio.gather(other(), other())
                elif wait == "sibling":
                    group.create_task(other())
        except* TerminalError as errors:
            if not catch:
                raise
            attempts.append(str(errors.exceptions[0]))
        return await ctx.run(answer)


async def refuse() -> None:
    raise TerminalError("the real reason")


async def answer() -> str:
    return "went on"


@pytest.mark.parametrize("catch", [True, False])
@pytest.mark.parametrize("wait", ["awakeable", "sleep", "all", "gather", "sibling"])
@pytest.mark.parametrize("error", ["terminal step", "terminal"])
async def test_the_error_of_a_child_reaches_the_handler(error: str, wait: str, catch: bool) -> None:
    async with World(Trip) as world:
        handle = await world.app.object(Trip, "t").go.send(error, wait, catch)
        await world.settle(2)
        if catch:
            assert await world.outcome(handle) == "went on"
            assert attempts == [error, "the real reason"]
            # The way it took is found again.
            positions = len(await world.store.journal(world.app._running().ids.read_invocation(handle.id)))
            again = await world.app.restart(handle.id, keep=positions)
            await world.settle(2)
            assert await world.outcome(again) == "went on"
        else:
            info = await world.app.describe(handle.id)
            assert info.failure is not None and info.failure.message == "the real reason"


@pytest.mark.expects_log("the real reason")
async def test_a_passing_error_of_a_child_is_tried_again() -> None:
    async with World(Trip) as world:
        handle = await world.app.object(Trip, "t").go.send("passing", "sleep", False)
        for _ in range(6):
            await world.settle()
            assert "the real reason" in str((await world.app.describe(handle.id)).reason) or len(attempts) == 3
            await world.pass_time(5)
        assert await world.outcome(handle) == "went on"
        assert len(attempts) == 3


# --- timeouts around durable waits --------------------------------------------------------------------------------------


class TimesOut(VirtualObject):
    @handler
    async def go(self, ctx: Context, how: str) -> str:
        async def wait() -> str:
            return await ctx.awakeable(str)

        async def timed() -> str:
            async with asyncio.timeout(0.001):
                return await wait()

        try:
            if how == "main":
                return await timed()
            if how == "branch":
                return await asyncio.create_task(timed())
            if how == "gather":
                async with asyncio.timeout(0.001):
                    await asyncio.gather(wait(), wait())
            if how == "wait_for":
                return await asyncio.wait_for(wait(), 0.001)
            if how == "call_later":
                task: Any = asyncio.current_task()
                asyncio.get_running_loop().call_later(0.001, task.cancel)
                return await wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(timed())
                await wait()
        except BaseException:
            attempts.append("caught")
        return await ctx.run(answer)


@pytest.mark.parametrize("how", ["main", "branch", "gather", "wait_for", "call_later", "group"])
async def test_a_timeout_around_a_durable_wait_is_refused_wherever_it_is(how: str) -> None:
    async with World(TimesOut) as world:
        with pytest.raises(MisusedFuture, match=r"Use ctx\.timeout"):
            await world.app.object(TimesOut, "t").go(how)
        await world.settle()
        assert world.statuses() == ["failed"]
