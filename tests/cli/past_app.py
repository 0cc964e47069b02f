"""An app whose invocations are executed once more: `python -m actors replay ID tests.cli.past_app:app`."""

from __future__ import annotations

import asyncio
import time

from actors import App, Context, Limits, Service, TerminalError, VirtualObject, Workflow, handler, schedule, shared

debugged = False
beyond: list[float] = []  # what `odd` has come to behind its call


class Stock(VirtualObject):
    items: int = 93

    @handler
    async def reserve(self, count: int) -> int:
        if count > self.items:
            raise TerminalError("not enough", code=409)
        self.items -= count
        return self.items


class Order(VirtualObject):
    status: str = "new"
    quantity: int = 0

    @handler
    async def checkout(self, ctx: Context, quantity: int) -> str:
        if self.status != "new":
            return "again"
        self.quantity = quantity
        sent = await ctx.run(mail, "hello")
        left = await ctx.object(Stock, "books").reserve(quantity)
        await ctx.sleep(0.01)
        self.status = f"complete, {sent}, {left} left"
        return self.status

    @handler
    async def both(self, ctx: Context) -> list[str]:
        async def one(text: str) -> str:
            first = await ctx.run(mail, text)
            return await ctx.run(mail, first)

        return list(await asyncio.gather(one("a"), one("b")))

    @handler
    async def stops(self, ctx: Context) -> int:
        first = await ctx.run(mail, "x")
        if debugged:
            breakpoint()
        return len(first)

    @handler
    async def tries(self, ctx: Context) -> str:
        try:
            await ctx.object(Stock, "books").reserve(1000)
        except TerminalError as refusal:
            return refusal.message
        return "enough"

    @handler
    async def lingers(self, ctx: Context) -> str:
        for _ in range(200):
            await asyncio.sleep(0)  # allowed, and not durable
        return await ctx.run(mail, "x")

    @handler
    async def odd(self, ctx: Context) -> float:
        await ctx.run(mail, "x")
        now = time.time()
        beyond.append(now)
        return now

    @handler
    async def waits(self, ctx: Context) -> str:
        await ctx.run(mail, "x")
        self.status = "waiting"
        return await ctx.awakeable(str)

    @shared
    async def look(self, ctx: Context) -> str:
        return f"{self.status}, {await ctx.run(mail, 'x')}"


class Letters(VirtualObject):
    """What it writes holds what must not be in a test: ids, and what people want to keep for themselves."""

    last: str = ""

    @handler
    async def write(self, ctx: Context, address: str, pin: int) -> list[str]:
        answer = ctx.awakeable(str)
        print("a handler prints")
        sent = await ctx.run(mail, address)
        self.last = f"to {address}: your pin is {pin}, {sent}, {answer.id}, {ctx.invocation_id}"
        await answer
        return [self.last, str(ctx.random.random())]

    @handler
    async def forward(self, ctx: Context, address: str) -> list[str]:
        return await ctx.object(Letters, address).write(address, 1)

    @handler
    async def follow(self, ctx: Context, id: str) -> list[str]:
        return list(await ctx.attach(id, list[str]))

    @handler
    async def ask(self, ctx: Context) -> float:
        return await ctx.object(Order, "odd").odd()

    @handler
    async def fill(self, ctx: Context, size: int) -> int:
        return len(await ctx.run(large, size))

    @handler
    async def echo(self, text: str) -> str:
        return text


def large(size: int) -> str:
    return "x" * size


class Chimes(Service):
    @handler
    async def ring(self, ctx: Context, times: int) -> int:
        return times * len(await ctx.run(mail, "ding"))

    @schedule("0 0 15 11 *")
    @handler
    async def yearly(self) -> str:
        return "dong"


class Trip(Workflow):
    @handler
    async def run(self, ctx: Context, to: str) -> str:
        return f"{to}: {await ctx.run(mail, to)}"


def mail(text: str) -> str:
    return "sent " + text


CLASSES = (Order, Stock, Letters, Chimes, Trip)
app = App(*CLASSES, storage="sqlite:///never-made.db", limits=Limits(retention=None, idempotency_retention=None))
forgetful = App(*CLASSES, storage="sqlite:///never-made.db")
