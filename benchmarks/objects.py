"""The classes that the scenarios call: small handlers, so that the runtime dominates the measurement."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from actors import Context, VirtualObject, handler, shared


class Counter(VirtualObject):
    """One read and one write of state, and a value returned."""

    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @shared
    async def get(self) -> int:
        return self.count


class Recorded(VirtualObject, history=True):
    """A counter whose changes are all recorded."""

    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count


class Front(VirtualObject):
    """Calls a Counter and returns its answer: two invocations and a journal."""

    @handler
    async def add(self, ctx: Context, n: int) -> int:
        return await ctx.object(Counter, ctx.key).add(n)


class Stepper(VirtualObject):
    """One journaled side effect, an async function: it starts after one commit, and its result waits for the next commit."""

    @handler
    async def work(self, ctx: Context, n: int) -> int:
        return await ctx.run(double, n)


async def double(n: int) -> int:
    return n * 2


class Approval(VirtualObject):
    """Waits for an awakeable whose id is handed out by `ctx.run`."""

    outbox: ClassVar[dict[int, asyncio.Future[str]]] = {}  # stands in for the outside world: ticket -> awakeable id

    @handler
    async def ask(self, ctx: Context, ticket: int) -> int:
        answer = ctx.awakeable(int)
        await ctx.run(hand_out, ticket, answer.id)
        return await answer


async def hand_out(ticket: int, id: str) -> None:
    Approval.outbox[ticket].set_result(id)


class Collector(VirtualObject):
    """Holds a list that grows with each step, and another list that is large from the start."""

    results: list[str] = []
    big: list[str] = []

    @handler
    async def collect(self, ctx: Context, n: int) -> int:
        for number in range(n):
            self.results.append(await ctx.run(fetch, number))
        return len(self.results)

    @handler
    async def fill(self, items: int) -> None:
        self.big = [f"{number:0100}" for number in range(items)]

    @handler
    async def steps(self, ctx: Context, n: int, read: bool) -> int:
        length = len(self.big) if read else 0
        for number in range(n):
            length += await ctx.run(double, number)
        return length


async def fetch(number: int) -> str:
    return f"{number:0100}"


class Aircraft(VirtualObject):
    """The flights of one tail number."""

    flights: int = 0
    miles: int = 0

    @handler
    async def fly(self, miles: int) -> int:
        self.flights += 1
        self.miles += miles
        return self.flights


class Airport(VirtualObject):
    """The departures from one origin."""

    departures: int = 0
    delay_minutes: int = 0

    @handler
    async def depart(self, delay_minutes: int) -> int:
        self.departures += 1
        self.delay_minutes += delay_minutes
        return self.departures
