"""What users write, with the types a checker must infer. Checked by mypy and pyright, never run."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type

from actors import (
    App,
    Context,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    field,
    handler,
    migration,
    schedule,
    shared,
)
from actors.model.calls import Call, InvocationHandle
from actors.model.futures import Awakeable
from actors.model.promise import DurablePromise


@dataclass
class Item:
    name: str
    price: float


class Invoice(VirtualObject, version=3):
    cents: int = 0

    @migration(from_version=1)
    @staticmethod
    def in_cents(state: dict[str, Any]) -> dict[str, Any]:
        return {"cents": round(float(state.get("total", 0)) * 100)}

    @migration(from_version=2)
    @staticmethod
    def positive(state: dict[str, Any]) -> dict[str, Any]:
        return {"cents": max(0, state.get("cents", 0))}

    @shared
    async def get(self) -> int:
        return self.cents


assert_type(Invoice.in_cents({"total": "9.90"}), dict[str, Any])


class Stock(VirtualObject):
    left: int = 10
    names: list[str] = []
    items: dict[str, Item] = field(default_factory=dict)
    opened: datetime.datetime | None = None

    @handler
    async def reserve(self, count: int) -> int:
        self.left -= count
        self.names.append("x")
        return self.left

    @handler
    async def restock(self, ctx: Context, count: int = 1, *, note: str = "") -> list[Item]:
        self.left += count
        self.opened = ctx.now()
        return list(self.items.values())

    @handler
    async def reset(self) -> None:
        self.left = 0

    @handler
    async def audit(self, ctx: Context) -> dict[str, int]:
        return {ctx.key: self.left}

    @shared
    async def peek(self) -> int:
        return self.left

    @shared
    async def find(self, ctx: Context, name: str) -> Item | None:
        return self.items.get(name)

    @handler(name="take-all")
    async def take_all(self) -> tuple[int, str]:
        return self.left, "all"

    @handler(name="count-with-context")
    async def count(self, ctx: Context, factor: float) -> float:
        return self.left * factor

    @shared(name="look")
    async def look(self, word: str) -> bool:
        return word in self.names

    @handler
    async def put(self, value: Any) -> int:
        return len(str(value))

    @handler
    async def put_any(self, value: object = None, times: int = 1) -> int:
        return len(str(value)) * times

    @handler(name="put-both")
    async def put_both(self, ctx: Context, value: Any, times: int = 1) -> int:
        return len(str(value)) * times

    @handler
    async def both(self) -> int:
        first = await self.reserve(1)  # on itself a handler is a method
        assert_type(first, int)
        return first + await self.peek()


class Report(VirtualObject):
    made: int = 0

    @schedule("0 3 * * *", key="daily", tz="Europe/Vienna")
    @schedule("0 4 * * *", key=["daily", "other"], misfire="skip")
    @handler
    async def make(self, ctx: Context, copies: int = 1) -> list[Item]:
        self.made += copies
        return []

    @schedule("* * * * *", key="daily")
    @shared(name="how-many")
    async def look(self) -> int:
        return self.made

    @schedule("* * * * *", key="daily")
    @handler(atomic=True)
    async def again(self) -> str:
        assert_type(await self.look(), int)
        return "again"


class Special(Stock):
    @handler
    async def reserve(self, count: int) -> bool:
        return count > 0

    @handler
    async def extra(self, factor: float) -> str:
        return str(factor * await self.peek())


def search(function: str, name: str, service: str) -> str:
    return function + name + service


def charge(amount: float, currency: str = "EUR") -> str:
    return f"{amount} {currency}"


async def charge_async(amount: float) -> int:
    return int(amount)


def no_answer() -> None: ...


class Order(VirtualObject):
    status: str = "new"

    @handler
    async def steps(self, ctx: Context) -> None:
        assert_type(await ctx.run(charge, 2.5), str)
        assert_type(await ctx.run(charge, 2.5, currency="CHF"), str)
        assert_type(await ctx.run(charge_async, 2.5), int)
        assert_type(await ctx.run(lambda: 3), int)
        assert_type(await ctx.run(no_answer), None)
        retry = RetryPolicy(max_attempts=3)
        assert_type(await ctx.step(name="charge", retry=retry).run(charge, 2.5), str)
        assert_type(await ctx.step(type=int).run(charge_async, 1), int)

    @handler
    async def calls(self, ctx: Context) -> None:
        stock = ctx.object(Stock, "main")
        assert_type(stock, Stock)
        assert_type(stock.reserve(3), Call[int])
        assert_type(await stock.reserve(count=3), int)
        assert_type(await stock.restock(), list[Item])
        assert_type(await stock.restock(2, note="n"), list[Item])
        assert_type(await stock.reset(), None)
        assert_type(await stock.audit(), dict[str, int])
        assert_type(await stock.find("x"), Item | None)
        assert_type(await stock.take_all(), tuple[int, str])
        assert_type(await stock.count(1.5), float)
        assert_type(await stock.look("x"), bool)
        assert_type(await stock.put({"a": 1}), int)
        assert_type(await stock.put(value=[1]), int)
        assert_type(await stock.put_any(), int)
        assert_type(await stock.put_any("x", times=2), int)
        assert_type(await stock.put_both("x", 2), int)
        assert_type(await stock.both(), int)
        special = ctx.object(Special, "main")
        assert_type(await special.extra(2), str)
        assert_type(await special.reserve(2), bool)
        by_name = await ctx.call("Stock", "main", "reserve", 3)
        assert_type(by_name, Any)

    @handler
    async def sends(self, ctx: Context) -> None:
        stock = ctx.object(Stock, "main")
        handle = stock.reserve.send(3)
        assert_type(handle, InvocationHandle[int])
        assert_type(handle.id, str)
        stock.reset.send()
        stock.restock.send(2, note="later")
        assert_type(stock.reserve.options(delay=5).send(3), InvocationHandle[int])
        late = stock.find.options(delay=datetime.timedelta(days=1), headers={"tenant": "a"}).send("x")
        assert_type(late, InvocationHandle[Item | None])
        assert_type(await stock.reserve.options(headers={"a": "b"})(3), int)
        assert_type(ctx.send("Stock", "main", "reset", delay=1.5), InvocationHandle[Any])
        assert_type(await ctx.run(search, function="f", name="n", service="s"), str)
        assert_type(await ctx.step(name="search").run(search, function="f", name="n", service="s"), str)
        assert_type(await ctx.call("Stock", "main", "find", key="k", service="s", handler="h"), Any)
        assert_type(ctx.send("Stock", "main", "find", key="k", self="s"), InvocationHandle[Any])
        assert_type(ctx.handler("Stock", "main", "find").options(delay=1).send(delay="d"), InvocationHandle[Any])
        assert_type(await ctx.handler("Stock", "main", "find")(key="k"), Any)

    @handler
    async def waits(self, ctx: Context) -> None:
        approval = ctx.awakeable(str)
        assert_type(approval, Awakeable[str])
        assert_type(approval.id, str)
        assert_type(await approval, str)
        assert_type(await ctx.awakeable(Item, timeout=60), Item)
        assert_type(await ctx.awakeable(list[int]), list[int])
        id, promise = ctx.awakeable(int)
        assert_type(id, str)
        assert_type(await promise, int)
        assert_type(await ctx.awakeable(), Any)
        await ctx.resolve_awakeable(id, 3)
        await ctx.reject_awakeable(id, "no")
        assert_type(await ctx.sleep(1), None)

    @handler
    async def combines(self, ctx: Context) -> None:
        stock = ctx.object(Stock, "main")
        number, text = stock.reserve(1), ctx.run(charge, 1.0)
        assert_type(await ctx.all(number, text), tuple[int, str])
        assert_type(await ctx.all(number, text, ctx.sleep(1)), tuple[int, str, None])
        assert_type(await ctx.all(*[stock.reserve(n) for n in range(3)]), tuple[int, ...])
        assert_type(await ctx.settle(*[stock.reserve(n) for n in range(3)]), list[int | TerminalError])
        assert_type(await ctx.first(number, stock.peek()), int)
        assert_type(await ctx.any(number, stock.peek()), int)
        assert_type(await ctx.first(number, text), int | str)
        assert_type(await ctx.first(number, ctx.sleep(5)), int | None)
        assert_type(await ctx.any(number, text), int | str)
        assert_type(await ctx.settle(number, text), list[int | str | TerminalError])
        assert_type(await ctx.all(number, text, number, text), tuple[int, str, int, str])
        assert_type(await ctx.timeout(text, 5), str)
        async for done in ctx.as_completed(number, stock.peek()):
            assert_type(await done, int)

    @handler
    async def values(self, ctx: Context) -> None:
        assert_type(ctx.key, str)
        assert_type(ctx.invocation_id, str)
        assert_type(ctx.headers, dict[str, str])
        assert_type(ctx.now(), datetime.datetime)
        assert_type(ctx.get("total", int), int | None)
        assert_type(ctx.get("total", int, 0), int)
        assert_type(ctx.get("names", list[str]), list[str] | None)
        assert_type(ctx.get("anything"), Any)
        assert_type(ctx.state_keys(), list[str])
        ctx.set("total", 3)
        ctx.clear("total")
        ctx.clear_all()


class Mailer(Service):
    @handler
    async def deliver(self, ctx: Context, to: str, copies: int = 1) -> int:
        assert_type(await ctx.service(Mailer).deliver(to), int)
        return copies

    @handler
    async def flush(self) -> None: ...


class Signup(Workflow):
    status: str = "new"

    @handler
    async def run(self, ctx: Context, email: str) -> bool:
        assert_type(await ctx.service(Mailer).deliver(email, copies=2), int)
        assert_type(ctx.service(Mailer).deliver.send(email), InvocationHandle[int])
        clicked = ctx.promise("clicked", bool)
        assert_type(clicked, DurablePromise[bool])
        assert_type(await clicked, bool)
        assert_type(await clicked.peek(), bool | None)
        assert_type(await clicked.resolve(True), None)
        assert_type(await clicked.reject("no"), None)
        assert_type(await ctx.promise("anything"), Any)
        assert_type(await ctx.all(clicked, ctx.promise("names", list[str])), tuple[bool, list[str]])
        assert_type(await ctx.timeout(clicked, 5), bool)
        return await clicked

    @shared
    async def peek(self) -> str:
        return self.status


async def services_and_workflows() -> None:
    async with App(Mailer, Signup) as app:
        assert_type(app.service(Mailer), Mailer)
        assert_type(await app.service(Mailer).deliver("a@b"), int)
        handle = await app.service(Mailer).deliver.options(idempotency_key="k").send("a@b")
        assert_type(await handle.result(), int)
        assert_type(await app.object(Signup, "u1").run("a@b"), bool)
        assert_type(await app.object(Signup, "u1").peek(), str)


async def outside() -> None:
    app = App(Order, Stock, storage="sqlite:///order.db", retry=RetryPolicy(max_attempts=3))
    async with app as started:
        assert_type(started, App)
        stock = app.object(Stock, "main")
        assert_type(await stock.reserve(3), int)
        assert_type(await stock.find("x"), Item | None)
        handle = stock.reserve.send(3)
        assert_type(handle, InvocationHandle[int])
        assert_type(await handle, InvocationHandle[int])
        assert_type(await handle.result(), int)
        accepted = await stock.find.options(delay=3).send("x")
        assert_type(await accepted.result(), Item | None)
        assert_type(await app.invocation(handle.id).result(), Any)
        await app.resolve_awakeable("prom_1", {"any": "value"})
        calls: Sequence[Call[int]] = [stock.reserve(n) for n in range(3)]
        assert_type([await call for call in calls], list[int])


async def scheduled(app: App) -> None:
    report = app.object(Report, "daily")
    assert_type(report.make(), Call[list[Item]])
    assert_type(await report.make(3), list[Item])
    assert_type(await report.look(), int)
    assert_type(await report.again(), str)
    assert_type(report.make.send(copies=2), InvocationHandle[list[Item]])
    assert_type(report.make.options(delay=1).send(), InvocationHandle[list[Item]])


def unit_test_of_a_method() -> None:
    stock = Stock()
    assert_type(stock.left, int)
    assert_type(stock.names, list[str])
