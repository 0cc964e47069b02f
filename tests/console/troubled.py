"""An app with one key that does not move, among many that do, and with names that a page must not take for markup."""

from __future__ import annotations

import asyncio
import os
import threading

from actors import App, Context, RetryPolicy, Service, TerminalError, VirtualObject, handler
from actors.http_options import HttpOptions
from tests.console.hostile import HOSTILE, KEY

threading.Thread(target=lambda: (os.read(0, 1), os._exit(4)), daemon=True).start()  # ends with the tests


def refuse() -> None:
    raise ConnectionError("upstream refused")


def hostile() -> None:
    raise ConnectionError(HOSTILE)


class Stock(VirtualObject):
    left: int = 1000

    @handler
    async def reserve(self, count: int) -> int:
        self.left -= count
        return self.left


class Order(VirtualObject):
    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler(retry=RetryPolicy(initial_interval=0.01, max_attempts=2))
    async def checkout(self, ctx: Context, amount: float) -> str:
        await ctx.object(Stock, "main").reserve(2)
        self.status = "paid"
        await ctx.run(refuse)
        return self.status


class Cart(VirtualObject):
    @handler
    async def buy(self, ctx: Context, order: str) -> str:
        return await ctx.object(Order, order).checkout(9.9)


class Account(VirtualObject):
    @handler
    async def approve(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Odd(VirtualObject):
    @handler(retry=RetryPolicy(initial_interval=0.01, max_attempts=1))
    async def fail(self, ctx: Context, text: str) -> None:
        await ctx.run(hostile)

    @handler
    async def refuse(self, text: str) -> None:
        raise TerminalError(text, code=409)

    @handler
    async def echo(self, ctx: Context, text: str) -> str:
        return await ctx.run(str, text)


class Mailer(Service):
    @handler(retry=RetryPolicy(initial_interval=600.0))
    async def deliver(self, ctx: Context, to: str) -> None:
        await ctx.run(refuse)


CLASSES = (Stock, Order, Cart, Account, Odd, Mailer)
app = App(*CLASSES, storage="sqlite:///shop.db", http=HttpOptions(body_timeout=5))


async def fill() -> None:
    async with App(*CLASSES, storage="sqlite:///shop.db") as filled:
        for number in range(150):
            await filled.object(Order, f"o-{number}").add("pen")
        await filled.object(Cart, "u1").buy.send("o-4711")
        await filled.object(Account, "ada").approve.send()
        for number in range(3):
            await filled.service(Mailer).deliver.send(f"{number}@example.org")
        await filled.object(Odd, KEY).fail.options(idempotency_key=KEY).send(HOSTILE)
        with_result = await filled.object(Odd, "kept").echo.send(HOSTILE + "x" * 9000)
        await with_result.result()
        refused = await filled.object(Odd, "refused").refuse.send(HOSTILE)
        while (await filled.describe(refused.id)).status != "failed":
            pass
        while len(await filled.invocations(status="paused")) < 2:
            pass
        for _ in range(40):
            await filled.object(Order, "o-4711").add.send("late")


if __name__ == "__main__":
    asyncio.run(fill())
