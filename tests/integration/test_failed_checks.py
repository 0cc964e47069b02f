"""Terminal errors that a check raises inside a handler: the log, `describe` and the error say where."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Context, TerminalError, VirtualObject, handler, shared
from actors.errors import BadArguments
from tests.world import World


class Wrong(VirtualObject):
    count: int = 0

    @handler
    async def serialization(self, ctx: Context) -> None:
        ctx.set("x", object())  # here: serialization

    @handler
    async def definition(self, ctx: Context) -> None:
        ctx.awakeable(object)  # here: definition

    @handler
    async def deadlock(self, ctx: Context) -> None:
        await ctx.object(Wrong, ctx.key).deadlock()  # here: deadlock

    @handler
    async def arguments(self, ctx: Context) -> None:
        await ctx.sleep("1")  # type: ignore[arg-type]  # here: arguments

    @handler
    async def service(self, ctx: Context) -> None:
        ctx.send("Nothing", "k", "go")  # here: service

    @handler
    async def future(self, ctx: Context) -> None:
        ctx.sleep(1) + 1  # type: ignore[operator]  # here: future

    @handler
    async def task(self, ctx: Context) -> None:
        async def branch() -> None:
            ctx.awakeable(object)  # here: task

        await asyncio.gather(branch())

    @handler  # here: undeclared
    async def undeclared(self) -> None:
        self.cuont = 1

    @shared
    async def write(self) -> None:
        self.count = 1  # here: write

    @handler  # here: result
    async def result(self) -> int:
        return "one"  # type: ignore[return-value]

    @handler
    async def key(self, ctx: Context) -> None:
        await ctx.object(Wrong, "k" * 20_000).caught()  # here: key

    @handler
    async def step(self, ctx: Context) -> None:
        await ctx.run(object)  # here: step

    @handler
    async def on_purpose(self, ctx: Context) -> None:
        raise BadArguments("what the caller gave is wrong")

    @handler
    async def caught(self, ctx: Context) -> str:
        try:
            ctx.awakeable(object)
        except TerminalError:
            return "caught"
        return ""


def refused() -> None:
    raise BadArguments("what the step was given is wrong")


class Caller(VirtualObject):
    """Fails because of what it has called, or has run, not by a mistake of its own."""

    @handler
    async def purpose(self, ctx: Context) -> None:
        await ctx.object(Wrong, "w").on_purpose()

    @handler
    async def mistake(self, ctx: Context) -> None:
        await ctx.object(Wrong, "w").arguments()

    @handler
    async def deadlock(self, ctx: Context) -> None:
        await ctx.object(Wrong, "w").deadlock()

    @handler
    async def attached(self, ctx: Context) -> None:
        sent = await ctx.object(Wrong, "w").on_purpose.send()
        await ctx.attach(sent.id)

    @handler
    async def together(self, ctx: Context) -> None:
        await asyncio.gather(ctx.object(Wrong, "w").on_purpose(), ctx.object(Wrong, "v").on_purpose())

    @handler
    async def step(self, ctx: Context) -> None:
        await ctx.run(refused)


def _line(name: str) -> int:
    with open(__file__) as file:
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# here: {name}"))


MADE = [name for name in Wrong.__actors__.handlers if name not in ("on_purpose", "caught")]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", MADE)
async def test_a_mistake_tells_where_it_is(name: str, restart: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with World(Wrong) as world:
        sent = await world.app.send("Wrong", "w", name)
        await world.settle()
        if restart:
            await world.restart()
        with pytest.raises(TerminalError) as caught:
            await world.app.invocation(sent.id).result()
        where = f"{__file__}:{_line(name)} in "
        assert caught.value.location is not None and caught.value.location.startswith(where)
        assert where in caught.value.__notes__[0]
        assert f"failed because of a mistake at {where}" in caplog.text
        reason = (await world.app.describe(sent.id)).reason
        assert reason is not None and __file__ in reason


@pytest.mark.parametrize("name", ["on_purpose", "caught"])
async def test_what_is_meant_or_caught_leaves_no_trace(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with World(Wrong) as world:
        sent: Any = await world.app.send("Wrong", "w", name)
        await world.settle()
        assert "mistake" not in caplog.text
        assert (await world.app.describe(sent.id)).reason is None


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", list(Caller.__actors__.handlers))
async def test_a_failure_from_elsewhere_is_not_blamed_on_the_caller(
    name: str, restart: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with World(Wrong, Caller) as world:
        sent: Any = await world.app.send("Caller", "c", name)
        await world.settle()
        if restart:
            await world.restart()
        with pytest.raises(TerminalError):
            await world.app.invocation(sent.id).result()
        assert "Caller/c" not in caplog.text
        assert (await world.app.describe(sent.id)).reason is None
