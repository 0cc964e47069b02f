"""A class that uses most of what a handler can do, to be explored without a test; and classes of which explorations are refused."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from actors import Context, Service, TerminalError, VirtualObject, Workflow, handler, schedule, shared


def note(text: str) -> str:
    return text.upper()


class Ledger(VirtualObject):
    total: int = 0
    notes: list[str] = []

    @handler
    async def add(self, number: int) -> int:
        self.total += number
        return self.total

    @shared
    async def read(self) -> int:
        return self.total

    @handler
    async def write(self, ctx: Context, text: str) -> list[str]:
        self.total += 1
        self.notes.append(await ctx.run(note, text))
        self.notes.append(await ctx.run(note, f"{self.total}"))
        return self.notes

    @handler
    async def wait(self, ctx: Context, number: int) -> int:
        before = self.total
        await ctx.sleep(0.02)
        self.total += number
        if await ctx.awakeable(bool):
            self.total += 1
        return self.total - before

    @handler
    async def move(self, ctx: Context, to: str, number: int) -> int:
        if to == ctx.key:
            raise TerminalError("to itself", code=409)
        self.total -= number
        self.total += await ctx.object(Ledger, to).read()
        ctx.object(Ledger, to).add.send(number)
        return await ctx.object(Ledger, to).add(number)

    @handler(atomic=True)
    async def all_or_nothing(self, ctx: Context, number: int) -> None:
        self.total += 10
        await ctx.run(note, "atomic")
        if number > 1:
            raise TerminalError("nothing")


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Parcel:
    size: Size
    labels: list[str]
    weight: float | None = None


class Post(Service):
    """Public and private handlers with arguments of many types, a schedule."""

    @handler
    async def send(self, parcel: Parcel, speed: Literal["slow", "fast"] = "slow") -> str:
        return f"{parcel.size.value} {speed}"

    @handler(private=True)
    async def sort(self) -> None:
        raise AssertionError("no caller may ask for this")


class Clock(VirtualObject):
    ticks: int = 0

    @schedule("0 * * * *", key="hourly")
    @handler
    async def tick(self, ctx: Context) -> None:
        assert ctx.headers["schedule-due"], "only the schedule asks for this"
        self.ticks += 1


class Trip(Workflow):
    @handler
    async def go(self, ctx: Context, days: int) -> str:
        await ctx.sleep(days * 86_400)
        return await ctx.promise("return", str)

    @shared
    async def come_back(self, ctx: Context, by: str) -> None:
        await ctx.promise("return", str).resolve(by)
