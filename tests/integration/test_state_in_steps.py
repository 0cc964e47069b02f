"""A step neither writes state nor uses `ctx`: no replay would do it again. It is refused at the line that does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors import App, Context, VirtualObject, handler, shared
from actors.errors import MisusedFuture, StateWriteInStep, StateWriteRefused, TerminalError
from tests.world import World


class Order(VirtualObject):
    status: str = "new"
    count: int = 0
    items: list[str] = []

    def pay(self) -> str:
        self.status = "paid"
        return "receipt"

    async def pay_async(self) -> str:
        await asyncio.sleep(0)
        self.status = "paid"
        return "receipt"

    def add(self) -> None:
        self.count += 1

    def replace(self) -> None:
        self.items = ["a"]

    def forget(self) -> None:
        del self.status

    def forget_items(self) -> None:
        del self.items

    def by_name(self) -> None:
        setattr(self, "status", "paid")  # noqa: B010

    def undeclared(self) -> None:
        self.other = 1

    def caught(self) -> str:
        try:
            self.status = "paid"
        except StateWriteRefused:
            return "refused"
        return "written"

    async def in_a_thread(self) -> None:
        await asyncio.to_thread(self.pay)

    async def in_a_task(self) -> None:
        await asyncio.create_task(self.pay_async())

    def reads(self) -> list[Any]:
        return [self.status, self.count, self.items]

    def of_its_own(self) -> str:
        fresh = Order()
        fresh.status = "fresh"
        del fresh.items
        return fresh.status

    @handler
    async def run(self, ctx: Context, name: str) -> Any:
        return await ctx.run(getattr(self, name))

    @handler
    async def run_nested(self, ctx: Context) -> None:
        def step() -> None:
            self.status = "paid"

        await ctx.run(step)

    @handler
    async def run_nested_async(self, ctx: Context) -> None:
        async def step() -> None:
            self.status = "paid"

        await ctx.step(name="nested").run(step)

    @handler
    async def run_lambda(self, ctx: Context) -> None:
        await ctx.run(lambda: self.pay())

    @handler
    async def use(self, ctx: Context, how: str) -> None:
        await ctx.run(USES[how], ctx)

    @handler
    async def use_async(self, ctx: Context, how: str) -> None:
        async def step() -> None:
            USES[how](ctx)

        await ctx.run(step)

    @handler
    async def look(self, ctx: Context) -> list[Any]:
        return list(await ctx.run(lambda: [ctx.key, ctx.invocation_id, ctx.headers]))

    @handler
    async def as_it_should_be(self, ctx: Context) -> str:
        async def other() -> None:
            self.count += 1  # a task of the handler is no step
            await ctx.sleep(1)

        task = asyncio.create_task(other())
        self.status = await ctx.run(lambda: "paid")
        await task
        del self.items
        return self.status

    @shared
    async def read(self, ctx: Context, name: str) -> Any:
        return await ctx.run(getattr(self, name))


USES: dict[str, Callable[[Context], Any]] = {
    "run": lambda ctx: ctx.run(print),
    "sleep": lambda ctx: ctx.sleep(1),
    "awakeable": lambda ctx: ctx.awakeable(str),
    "call": lambda ctx: ctx.object(Order, "other").look(),
    "send": lambda ctx: ctx.object(Order, "other").look.send(),
    "now": lambda ctx: ctx.now(),
    "random": lambda ctx: ctx.random.random(),
    "uuid": lambda ctx: ctx.uuid(),
    "get": lambda ctx: ctx.get("x"),
    "set": lambda ctx: ctx.set("x", 1),
    "clear": lambda ctx: ctx.clear("x"),
    "state_keys": lambda ctx: ctx.state_keys(),
}

WRITES = [
    "pay",
    "pay_async",
    "add",
    "replace",
    "forget",
    "forget_items",
    "by_name",
    "undeclared",
    "in_a_thread",
    "in_a_task",
]


@pytest.mark.parametrize("name", WRITES)
async def test_a_step_that_writes_state_is_refused_at_that_line(name: str) -> None:
    async with World(Order) as world:
        with pytest.raises(StateWriteInStep, match=r"inside a step(?s:.*)assign it in the handler") as caught:
            await asyncio.wait_for(world.app.object(Order, "k").run(name), 5)
        assert caught.value.error == "state_write_in_step"
        assert (await world.app.state(Order, "k")).values == {}


@pytest.mark.parametrize("handler_", ["use", "use_async"])
@pytest.mark.parametrize("how", USES)
async def test_a_step_that_uses_the_context_is_refused_at_that_line(how: str, handler_: str) -> None:
    async with World(Order) as world:
        with pytest.raises(MisusedFuture, match="inside a step"):
            await asyncio.wait_for(getattr(world.app.object(Order, "k"), handler_)(how), 5)
        assert (await world.app.state(Order, "k")).values == {}
        assert len(world.statuses()) == 1, "nothing was sent"


async def test_a_step_may_read_who_it_works_for() -> None:
    async with World(Order) as world:
        look = world.app.object(Order, "k").look.options(headers={"tenant": "t"}).send()
        assert await look.result() == ["k", look.id, {"tenant": "t"}]


@pytest.mark.parametrize("name", ["run_nested", "run_nested_async", "run_lambda"])
async def test_so_is_a_step_that_is_a_function_of_the_handler(name: str) -> None:
    async with World(Order) as world:
        with pytest.raises(StateWriteInStep, match=r"Order\.status was assigned"):
            await getattr(world.app.object(Order, "k"), name)()
        assert (await world.app.state(Order, "k")).values == {}


@pytest.mark.parametrize("name", ["pay", "pay_async", "in_a_thread"])
async def test_so_is_one_that_runs_in_a_real_thread(name: str, storage: str) -> None:
    async with App(Order, storage=storage) as app:
        with pytest.raises(StateWriteInStep):
            await app.object(Order, "k").run(name)
        assert await app.object(Order, "k").run("reads") == ["new", 0, []]


async def test_what_a_step_catches_leaves_no_trace_and_replays() -> None:
    async with World(Order) as world:
        assert await world.app.object(Order, "k").run("caught") == "refused"
        assert await world.app.object(Order, "k").run("reads") == ["new", 0, []]


async def test_a_step_may_write_to_an_instance_of_its_own() -> None:
    async with World(Order) as world:
        assert await world.app.object(Order, "k").run("of_its_own") == "fresh"


async def test_a_handler_and_its_tasks_write_while_steps_run() -> None:
    async with World(Order) as world:
        handle = await world.app.object(Order, "k").as_it_should_be.send()
        await world.settle()
        await world.restart()
        await world.pass_time(1)
        assert await world.outcome(handle) == "paid"
        assert (await world.app.state(Order, "k")).values == {"status": "paid", "count": 1}


async def test_a_step_of_a_shared_handler_is_refused_as_the_handler_is() -> None:
    async with World(Order) as world:
        with pytest.raises(TerminalError, match="shared handler"):
            await world.app.object(Order, "k").read("pay")


@pytest.mark.parametrize("method", [Order.pay, Order.add, Order.forget])
def test_a_plain_instance_is_written_to_as_ever(method: Callable[[Order], Any]) -> None:
    order = Order()
    method(order)
    assert (order.status, order.count) != ("new", 0) if method is not Order.forget else "status" not in vars(order)
