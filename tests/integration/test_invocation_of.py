"""Finding an invocation again by what a client holds of it, and what is told of it."""

from __future__ import annotations

import pytest

from actors import Context, VirtualObject, Workflow, handler
from actors.errors import BadArguments, BadId, UnknownInvocation
from tests.world import World


class Order(VirtualObject):
    @handler
    async def add(self, n: int, name: str = "x") -> list[int]:
        return [n]

    @handler
    async def wait(self, ctx: Context) -> int:
        return await ctx.awakeable(int)

    @handler
    async def passes_on(self, ctx: Context) -> list[int]:
        return await ctx.object(Order, "other").add(7)


class Signup(Workflow):
    @handler
    async def run(self, name: str) -> str:
        return name


async def test_an_invocation_is_found_by_key_run_and_awakeable() -> None:
    async with World(Order, Signup) as world:
        app = world.app
        add = app.object(Order, "o").add
        sent = await add.options(idempotency_key="k").send(1)
        run = await app.object(Signup, "ada").run.send("ada")
        waiting = await app.object(Order, "w").wait.send()
        (awakeable,) = await app.awakeables()
        assert (await app.invocation_of(add, "k")).id == sent.id
        assert await (await app.invocation_of(add, "k")).result() == [1]
        assert (await app.invocation_of(app.object(Signup, "ada").run)).id == run.id
        assert (await app.invocation_of(awakeable.id)).id == waiting.id


async def test_what_is_not_found_says_so() -> None:
    async with World(Order, Signup) as world:
        app = world.app
        with pytest.raises(UnknownInvocation, match="under this key"):
            await app.invocation_of(app.object(Order, "o").add, "k")
        with pytest.raises(UnknownInvocation):
            await app.invocation_of(app.object(Signup, "ada").run)
        with pytest.raises(BadArguments, match="requires the idempotency key"):
            await app.invocation_of(app.object(Order, "o").add)
        with pytest.raises(BadId):
            await app.invocation_of("prom_1x")
        await app.object(Order, "w").wait.send()
        (awakeable,) = await app.awakeables()
        await app.kill(awakeable.invocation_id)
        await app.purge(awakeable.invocation_id)
        with pytest.raises(UnknownInvocation):
            await app.invocation_of(awakeable.id)


async def test_a_description_holds_arguments_result_caller_and_headers() -> None:
    async with World(Order) as world:
        app = world.app
        sent = await app.object(Order, "o").add.options(headers={"x-who": "me"}).send(1, name="y")
        await sent.result()
        info = await app.describe(sent.id)
        assert (info.arguments, info.result, info.headers, info.called_by) == ((1, "y"), [1], {"x-who": "me"}, None)
        caller = await app.object(Order, "o").passes_on.send()
        await caller.result()
        (called,) = await app.invocations(key="other")
        assert (await app.describe(called.id)).called_by == caller.id
        assert (called.arguments, called.called_by) == ((), None), "a list holds what all of them have"
