"""The objects of the demo: an order that waits for a person, a stock, a mailer."""

from __future__ import annotations

import os
from pathlib import Path

from actors import Context, VirtualObject, handler

OUTBOX = Path("outbox.txt")
STARTS = Path("starts.txt")


class Order(VirtualObject):
    """Keyed by order number."""

    status: str = "new"

    @handler
    async def checkout(self, ctx: Context, books: int) -> str:
        note_start()
        approval = ctx.awakeable(str)
        await ctx.run(email, "boss", f"May order {ctx.key} be shipped? Answer to {approval.id}")
        self.status = "waiting"

        answer = await approval  # the process is killed while the handler waits here

        self.status = answer
        left = await ctx.object(Stock, "books").reserve(books)
        ctx.object(Mailer, "ann").deliver.send(f"{ctx.key} ships")
        self.status = "complete"
        return f"complete, {left} books left"


class Stock(VirtualObject):
    """Keyed by article."""

    items: int = 10

    @handler
    async def reserve(self, count: int) -> int:
        self.items -= count
        return self.items


class Mailer(VirtualObject):
    """Keyed by customer. Receives one-way messages."""

    delivered: int = 0

    @handler
    async def deliver(self, ctx: Context, text: str) -> None:
        await ctx.run(email, ctx.key, text)
        self.delivered += 1

    @handler
    async def caught_up(self) -> int:
        """Returns when all earlier messages are delivered."""
        return self.delivered


def email(to: str, text: str) -> str:
    """Stands in for a mail server: a second call sends a second e-mail."""
    with OUTBOX.open("a", encoding="utf-8") as outbox:
        outbox.write(f"{os.getpid()}\t{to}\t{text}\n")
    return "queued"


def note_start() -> None:
    """Deliberately not journaled: counts how often the handler's first line is executed."""
    with STARTS.open("a", encoding="utf-8") as starts:
        starts.write(f"{os.getpid()}\n")
