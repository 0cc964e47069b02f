"""What handlers log: each line once, with the invocation it comes from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from actors import Context, VirtualObject, handler, shared
from actors.logs import InvocationFilter, ReplayFilter
from tests.world import World, limits

log = logging.getLogger(__name__)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: Any) -> None:
        self.lines.append(f"{record.getMessage()} {record.service}/{record.key}/{record.handler}")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged here, without the lines of replays that do not come through `ctx.logger`."""
    target = Lines()
    target.addFilter(InvocationFilter())
    target.addFilter(ReplayFilter())
    log.addHandler(target)
    log.setLevel(logging.INFO)
    yield target.lines
    log.removeHandler(target)
    log.setLevel(logging.NOTSET)


class Order(VirtualObject):
    @handler
    async def buy(self, ctx: Context, own: bool) -> None:
        say = ctx.logger.info if own else log.info
        say("received")
        for n in range(2):
            await ctx.sleep(1)
            say("waited %d", n)
        answers = [ctx.awakeable(int) for _ in range(2)]
        say("asked")
        for n, answer in enumerate(answers):
            await answer
            say("answer %d", n)

    @handler
    async def everywhere(self, ctx: Context) -> None:
        def step() -> None:
            log.info("step")

        async def branch() -> None:
            log.info("task")

        await asyncio.to_thread(log.info, "thread")  # before the first task: nothing has told of the invocation yet
        asyncio.get_running_loop().call_soon(log.info, "callback")
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
        await ctx.run(step)
        ctx.logger.info("own")

    @handler
    async def without(self) -> None:
        async def branch() -> None:
            await asyncio.to_thread(log.info, "thread")

        log.info("line")
        await asyncio.gather(branch())

    @handler
    async def fails(self, ctx: Context, times: int) -> None:
        ctx.logger.info("before")
        await ctx.run(str)
        if ctx.invocation_id not in attempts:
            attempts.append(ctx.invocation_id)
            raise OSError("once")
        ctx.logger.info("after")

    @shared
    async def look(self, ctx: Context) -> None:
        ctx.logger.info("looked")


attempts: list[str] = []
LINES = ["received", "waited 0", "waited 1", "asked", "answer 0", "answer 1"]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("suspend_after", [0.5, 100])
async def test_a_replay_repeats_no_line_of_the_log(own: bool, suspend_after: float, lines: list[str]) -> None:
    async with World(Order, limits=limits(suspend_after=suspend_after)) as world:
        sent = await world.app.object(Order, "o").buy.send(own)
        for _ in range(4):
            await world.settle()
            await world.pass_time(0.6)
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, 1)
            await world.settle()
            await world.pass_time(0.6)
        assert await world.status(sent) == "succeeded"
    assert lines == [f"{line} Order/o/buy" for line in LINES]


async def test_no_line_is_lost_in_a_restart(lines: list[str]) -> None:
    async with World(Order) as world:
        await world.app.object(Order, "o").buy.send(True)
        for _ in range(4):
            await world.settle()
            await world.restart()
            await world.pass_time(1)
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, 1)
            await world.restart()
    assert list(dict.fromkeys(lines)) == [f"{line} Order/o/buy" for line in LINES]


@pytest.mark.expects_log("failed, next in")
async def test_a_failed_attempt_loses_no_line_of_the_next(lines: list[str]) -> None:
    async with World(Order) as world:
        sent = await world.app.object(Order, "o").fails.send(1)
        await world.settle()
        await world.pass_time(1)
        assert await world.status(sent) == "succeeded"
    assert list(dict.fromkeys(lines)) == ["before Order/o/fails", "after Order/o/fails"]


async def test_lines_of_tasks_threads_and_steps_name_their_invocation(lines: list[str]) -> None:
    async with World(Order) as world:
        await world.app.object(Order, "o").everywhere()
        await world.app.object(Order, "o").look()
        assert lines == [f"{line} Order/o/everywhere" for line in ("thread", "callback", "task", "step", "own")] + [
            "looked Order/o/look"
        ]
        lines.clear()
        await world.app.object(Order, "o").without()
    assert lines == ["line Order/o/without", "thread Order/o/without"]
