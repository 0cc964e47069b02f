"""What the tests of worlds serve: orders with steps and awakeables, a schedule, a service, a workflow, a counter."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from actors import (
    Context,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    handler,
    schedule,
    shared,
)

HOUR = 3600.0


def charge(who: str, cents: int) -> str:
    raise AssertionError("the real bank")


async def mail(to: str) -> str:
    raise AssertionError("a real mail")


FINALLY: list[str] = []


def counted(numbers: list[int], number: int) -> str:
    numbers.append(number)
    return "receipt"


class Order(VirtualObject):
    items: list[str] = []
    status: str = "new"

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def checkout(self, ctx: Context, amount: float) -> str:
        approval = ctx.awakeable(str)
        self.status = "waiting"
        try:
            self.status = await approval
        finally:
            FINALLY.append(ctx.key)
        return self.status

    @handler
    async def pay(self, ctx: Context, cents: int) -> str:
        receipt = await ctx.run(charge, ctx.key, cents)
        await ctx.run(mail, ctx.key)
        return receipt

    @handler
    async def in_a_month(self, ctx: Context) -> str:
        await ctx.sleep(timedelta(days=30))
        return "done"

    @handler
    async def breaks(self) -> None:
        raise OSError("not today")

    @handler
    async def refuses(self) -> None:
        raise TerminalError("no such book", code=404)

    @handler
    async def asks(self, ctx: Context, other: str) -> str:
        return await ctx.object(Order, other).checkout(1.0)

    @handler
    async def connects(self) -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    @shared
    async def peek(self) -> str:
        return self.status


class Clock(VirtualObject):
    ticks: int = 0

    @schedule("0 3 * * *", key="daily")
    @handler
    async def tick(self) -> None:
        self.ticks += 1


class Mailer(Service):
    @handler
    async def deliver(self, ctx: Context, to: str) -> str:
        return await ctx.run(mail, to)


class Signup(Workflow):
    @handler
    async def run(self, ctx: Context, email: str) -> str:
        return await ctx.promise("confirmed", str)

    @shared
    async def confirm(self, ctx: Context, text: str) -> None:
        await ctx.promise("confirmed", str).resolve(text)


class Counter(VirtualObject):
    n: int = 0

    @handler
    async def add(self) -> int:
        self.n += 1
        return self.n
