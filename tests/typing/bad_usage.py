"""What users get wrong. Each line marked `# error` must be reported by mypy and by pyright, and no other line."""

from __future__ import annotations

from typing import Any, assert_type

from actors import (
    App,
    Context,
    RetryPolicy,
    Service,
    VirtualObject,
    Workflow,
    field,
    handler,
    migration,
    schedule,
    shared,
)
from actors.model.calls import Call, InvocationHandle


class Stock(VirtualObject):
    left: int = 10

    @handler
    async def reserve(self, count: int) -> int:
        self.left = "none"  # error
        return self.left

    @handler
    async def audit(self, ctx: Context, word: str) -> str:
        return word + ctx.kye + self.lefd  # error

    @shared
    async def peek(self) -> int:
        return "many"  # error

    @handler
    async def inside(self, ctx: Context) -> None:
        await self.reserve("3")  # error
        await self.audit()  # error


class Wrong(VirtualObject):
    total: int = field(default_factory=list)  # error
    name: str = 3  # error


class Report(VirtualObject):
    @schedule("0 3 * * *", key="daily")
    @handler
    async def make(self, ctx: Context, copies: int = 1) -> int:
        return copies

    @schedule("0 3 * * *", key=5)  # error
    @handler
    async def number(self) -> None: ...

    @schedule("0 3 * * *", key="daily", misfire="all")  # error
    @handler
    async def policy(self) -> None: ...

    @schedule("0 3 * * *", key="daily")  # error
    async def plain(self) -> None: ...

    @schedule(key="daily")  # error
    @handler
    async def never(self) -> None: ...


class Evolved(VirtualObject, version=5):
    total: int = 0

    @migration(from_version="1")  # error
    @staticmethod
    def text(state: dict[str, Any]) -> dict[str, Any]:
        return state

    @migration(from_version=2)  # error
    @staticmethod
    def no_dict(state: int) -> dict[str, Any]:
        return {"total": state}

    @migration(from_version=3)  # error
    @staticmethod
    def returns_nothing(state: dict[str, Any]) -> None: ...

    @migration(from_version=4)  # error
    @staticmethod
    async def waits(state: dict[str, Any]) -> dict[str, Any]:
        return state

    @migration  # error
    @staticmethod
    def bare(state: dict[str, Any]) -> dict[str, Any]:
        return state


def charge(amount: float) -> str:
    return str(amount)


async def charge_async(amount: float) -> str:
    return str(amount)


class Order(VirtualObject):
    @handler
    async def calls(self, ctx: Context) -> None:
        stock = ctx.object(Stock, "main")
        await stock.reserve("3")  # error
        await stock.reserve(1, 2)  # error
        await stock.reserve()  # error
        await stock.reserve(cuont=1)  # error
        await stock.unknown()  # error
        await stock.audit(ctx, "word")  # error
        await stock.reserve  # error
        text: str = await stock.reserve(1)  # error
        number: int = stock.reserve(1)  # error
        call: Call[str] = stock.reserve(1)  # error
        assert_type((text, number, call), tuple[str, int, Call[str]])
        ctx.object(Stock, 7)  # error
        await ctx.object("Stock", "main").reserve(1)  # error

    @handler
    async def sends(self, ctx: Context) -> None:
        stock = ctx.object(Stock, "main")
        stock.reserve.send("3")  # error
        stock.reserve.send(1, 2)  # error
        stock.reserve.send()  # error
        stock.audit.send(ctx, "word")  # error
        stock.peek.send(1)  # error
        stock.unknown.send(1)  # error
        stock.reserve.options(dealy=1).send(1)  # error
        ctx.step(nmae="a").run(charge, 2)  # error
        ctx.step("a").run(charge, 2)  # error
        ctx.call("Stock", "main")  # error
        stock.reserve.options(delay="5s").send(1)  # error
        stock.reserve.options(headers={"a": 1}).send(1)  # error
        stock.reserve.options(delay=1).send("3")  # error
        handle: InvocationHandle[str] = stock.reserve.send(1)  # error
        assert_type(handle, InvocationHandle[str])

    @handler
    async def steps(self, ctx: Context) -> None:
        await ctx.run(charge, "2")  # error
        await ctx.run(charge)  # error
        await ctx.run(charge_async, 1, 2)  # error
        await ctx.run(charge, amuont=2)  # error
        await ctx.run(charge(2))  # error
        price: float = await ctx.run(charge, 2)  # error
        later: float = await ctx.run(charge_async, 2)  # error
        await ctx.step(retry=3).run(charge, 2)  # error
        await ctx.step(name="charge").run(charge, "2")  # error
        assert_type((price, later), tuple[float, float])

    @handler
    async def waits(self, ctx: Context) -> None:
        approval = ctx.awakeable(str)
        number: int = await approval  # error
        approval.resolve("yes")  # error
        id, promise = ctx.awakeable(str)
        other: int = await promise  # error
        code: int = id  # error
        await ctx.sleep("1s")  # error
        assert_type((number, other, code), tuple[int, int, int])

    @handler
    async def combines(self, ctx: Context) -> None:
        stock = ctx.object(Stock, "main")
        first: str
        first, second = await ctx.all(stock.reserve(1), ctx.run(charge, 2))  # error
        await ctx.all(1, 2)  # error
        await ctx.timeout(stock.reserve(1))  # error
        assert_type((first, second), tuple[str, str])

    @handler
    async def state(self, ctx: Context) -> None:
        total: int = ctx.get("total", int)  # error
        word: str = ctx.get("total", int, 0)  # error
        assert_type((total, word), tuple[int, str])


class Mailer(Service):
    @handler
    async def deliver(self, to: str) -> int:
        return len(to)


class Signup(Workflow):
    @handler
    async def run(self, ctx: Context, email: str) -> bool:
        await ctx.object(Mailer, "k").deliver(email)  # error
        await ctx.service(Mailer, "k").deliver(email)  # error
        await ctx.service(Signup).run(email)  # error
        await ctx.service(Mailer).deliver(3)  # error
        clicked = ctx.promise("clicked", bool)
        number: str = await clicked  # error
        await clicked.resolve("yes")  # error
        await clicked.reject(3)  # error
        await ctx.promise(3)  # error
        return bool(number)


async def kinds() -> None:
    app = App(Mailer, Signup)
    app.object(Mailer, "k")  # error
    app.service(Signup)  # error
    app.service(Stock)  # error
    text: str = await app.service(Mailer).deliver("a")  # error
    done: str = await app.object(Signup, "u").run("a")  # error
    assert_type((text, done), tuple[str, str])


async def outside() -> None:
    app = App(Order, Stock, storage="sqlite:///order.db")
    App(Order, database="x")  # error
    App("Order")  # error
    RetryPolicy(max_attempts="3")  # error
    app.object(Report, "daily").make("3")  # error
    app.object(Report, "daily").make(1, 2)  # error
    made: str = await app.object(Report, "daily").make()  # error
    assert_type(made, str)
    async with app:
        await app.object(Stock, "main").reserve("3")  # error
        text: str = await app.object(Stock, "main").peek()  # error
        handle = app.object(Stock, "main").reserve.send(1)
        other: str = await handle.result()  # error
        again: str = await (await handle).result()  # error
        assert_type((text, other, again), tuple[str, str, str])
