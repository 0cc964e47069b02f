"""SystemExit and KeyboardInterrupt: raised by code they end an attempt, sent by the operator they end the process."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.errors import AppNotRunning
from tests.world import World

attempts: list[str] = []
EXITS: dict[str, Callable[[], Any]] = {
    "exit": lambda: sys.exit(3),
    "SystemExit": lambda: _raise(SystemExit("no")),
    "KeyboardInterrupt": lambda: _raise(KeyboardInterrupt()),
}


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    attempts.clear()


class Tool(VirtualObject):
    @handler
    async def ok(self) -> str:
        return "ok"

    @handler
    async def main_line(self, how: str) -> None:
        self._leave(how)

    @handler
    async def after_a_wait(self, ctx: Context, how: str) -> None:
        await ctx.run(asyncio.sleep, 0)
        self._leave(how)

    @handler
    async def async_step(self, ctx: Context, how: str) -> None:
        async def step() -> None:
            await asyncio.sleep(0)
            self._leave(how)

        await ctx.run(step)

    @handler
    async def blocking_step(self, ctx: Context, how: str) -> None:
        await ctx.run(self._leave, how)

    @handler
    async def task(self, how: str) -> None:
        async def branch() -> None:
            self._leave(how)

        await asyncio.create_task(branch())

    @handler
    async def group(self, ctx: Context, how: str) -> None:
        async def branch() -> None:
            await asyncio.sleep(0)
            self._leave(how)

        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
            await ctx.sleep(1000)

    @handler
    async def closed(self, ctx: Context, how: str) -> None:
        try:
            await ctx.sleep(1000)
        finally:
            self._leave(how)

    def _leave(self, how: str) -> None:
        attempts.append(how)
        EXITS[how]()


WHERE = ["main_line", "after_a_wait", "async_step", "blocking_step", "task", "group"]


@pytest.mark.may_log("failed, next in")
@pytest.mark.expects_log("is paused")
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("how", EXITS)
async def test_an_exit_raised_by_code_fails_the_attempt_like_any_error(how: str, where: str) -> None:
    async with World(Tool, retry=RetryPolicy(max_attempts=2, initial_interval=0.001)) as world:
        handle = await getattr(world.app.object(Tool, "t"), where).send(how)
        for _ in range(4):
            await world.settle()
            assert await world.app.object(Tool, "other").ok() == "ok"
            await world.pass_time(1)
        info = await world.app.describe(handle.id)
        assert (info.status, info.failed_attempts) == ("paused", 2)
        assert ("KeyboardInterrupt" if how == "KeyboardInterrupt" else "SystemExit") in str(info.reason)
        assert attempts == [how] * 2


@pytest.mark.expects_log("A handler raised while it was closed")
@pytest.mark.parametrize("how", EXITS)
async def test_an_exit_raised_while_a_handler_is_closed_has_no_effect(how: str) -> None:
    async with World(Tool) as world:
        handle = await world.app.object(Tool, "t").closed.send(how)
        await world.settle()
        await world.app.kill(handle.id)
        assert attempts == [how]
        assert await world.app.object(Tool, "t").ok() == "ok"


class Interrupted(VirtualObject):
    @handler
    async def main_line(self) -> None:
        signal.raise_signal(signal.SIGINT)
        attempts.append("went on")

    @handler
    async def task(self) -> None:
        async def branch() -> None:
            signal.raise_signal(signal.SIGINT)
            attempts.append("went on")

        await asyncio.create_task(branch())

    @handler
    async def step(self, ctx: Context) -> None:
        async def interrupt() -> None:
            signal.raise_signal(signal.SIGINT)
            attempts.append("went on")

        await ctx.run(interrupt)


async def _call(name: str) -> None:
    async with App(Interrupted, storage="sqlite://") as app:
        await getattr(app.object(Interrupted, "i"), name)()


def _run_bare(what: Coroutine[Any, Any, None]) -> None:
    """Without asyncio's runner the signal raises in whatever code is running."""
    loop = asyncio.new_event_loop()
    main = loop.create_task(what)
    try:
        loop.run_until_complete(main)
    finally:
        main.cancel()
        loop.run_until_complete(asyncio.wait({main}))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.may_log("")
@pytest.mark.parametrize("runner", [True, False])
@pytest.mark.parametrize("name", ["main_line", "task", "step"])
def test_ctrl_c_of_the_operator_ends_the_process_all_the_same(name: str, runner: bool) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((KeyboardInterrupt, AppNotRunning)) as caught:
            (asyncio.run if runner else _run_bare)(_call(name))
        assert caught.type is KeyboardInterrupt
        assert attempts == (["went on"] if runner else [])
    finally:
        signal.signal(signal.SIGINT, before)
