"""Bugs around time: the wrong clock, waiting that is not durable, days that do not have 24 hours, processes that are down."""

from __future__ import annotations

import asyncio
import datetime
import time
from typing import Any

from actors import Context, VirtualObject, handler, schedule
from actors.errors import DurableTimeout
from actors.testing import Faults, World
from actors.testing.sweep import Sweep
from tests.user_bugs.corpus import Bug
from tests.user_bugs.outside import mail

HOUR = 3600

# --- the wall clock decides -----------------------------------------------------------------------------------------------------


class Offer(VirtualObject):
    opened: float = 0.0

    @handler
    async def open(self, ctx: Context) -> str:
        self.opened = ctx.now().timestamp()
        answer = await ctx.awakeable(str)
        late = time.time() - self.opened > HOUR  # the bug: a replay reads another time
        return "expired" if late else answer


class FixedOffer(Offer):
    @handler
    async def open(self, ctx: Context) -> str:
        self.opened = ctx.now().timestamp()
        answer = await ctx.awakeable(str)
        late = ctx.now().timestamp() - self.opened > HOUR
        return "expired" if late else answer


async def answers_in_time(world: World, cls: type[Offer]) -> None:
    await world.serve(cls)
    sent = await world.object(cls, "o").open.send()
    await (await world.awakeable()).resolve("yes")
    assert await sent.result() in ("yes", "expired")


# --- a sleep of asyncio -----------------------------------------------------------------------------------------------------------


class Reminder(VirtualObject):
    at: float = 0.0

    @handler
    async def in_an_hour(self, ctx: Context) -> float:
        await asyncio.sleep(HOUR)  # the bug: the next process waits for an hour again
        self.at = ctx.now().timestamp()
        return self.at


class FixedReminder(Reminder):
    @handler
    async def in_an_hour(self, ctx: Context) -> float:
        await ctx.sleep(HOUR)
        self.at = ctx.now().timestamp()
        return self.at


async def reminds_in_an_hour(world: World, cls: type[Reminder]) -> None:
    await world.serve(cls)
    begun = world.now.timestamp()
    sent = await world.object(cls, "r").in_an_hour.send()
    if world.choose("the machine is restarted"):
        await world.pause("before that", up_to=HOUR)
        await world.crash()
    assert await sent.result() - begun < HOUR + 60, "reminded too late"


# --- a day of 24 hours --------------------------------------------------------------------------------------------------------------


class Meter(VirtualObject):
    last: str = ""
    hours: int = 0

    @schedule("0 12 * * *", key="house", tz="Europe/Vienna")
    @handler
    async def bill(self, ctx: Context) -> None:
        if self.last:
            self.hours += 24  # the bug: the day of a clock change has 23 or 25 hours
        self.last = ctx.headers["schedule-due"]


class FixedMeter(Meter):
    @schedule("0 12 * * *", key="house", tz="Europe/Vienna")
    @handler
    async def bill(self, ctx: Context) -> None:
        due = ctx.headers["schedule-due"]
        if self.last:
            passed = datetime.datetime.fromisoformat(due) - datetime.datetime.fromisoformat(self.last)
            self.hours += round(passed.total_seconds() / HOUR)
        self.last = due


async def bills_two_days(world: World, cls: type[Meter]) -> None:
    await world.serve(cls)
    await world.pass_time(days=3)
    assert world.look(cls, "house").hours == 48


async def bills_some_week(world: World, cls: type[Meter]) -> None:
    days = 3 + 7 * world.choose("weeks from now", 52)  # a Friday: clocks change on Sundays
    await asyncio.sleep(days * 24 * HOUR)
    await world.serve(cls)
    await world.until(lambda: world.look(cls, "house").last != "")
    first = datetime.datetime.fromisoformat(world.look(cls, "house").last)
    await world.pass_time(days=2)
    meter = world.look(cls, "house")
    passed = datetime.datetime.fromisoformat(meter.last) - first
    assert meter.hours == passed.total_seconds() / HOUR, "hours are missing on the bill"


# --- a tick that comes late ---------------------------------------------------------------------------------------------------------


class Diary(VirtualObject):
    days: list[str] = []

    @schedule("59 23 * * *", key="d")
    @handler
    async def close(self, ctx: Context) -> None:
        self.days.append(f"{ctx.now():%a}")  # the bug: a tick that a downtime has delayed belongs to the day before


class FixedDiary(Diary):
    @schedule("59 23 * * *", key="d")
    @handler
    async def close(self, ctx: Context) -> None:
        self.days.append(f"{datetime.datetime.fromisoformat(ctx.headers['schedule-due']):%a}")


async def closes_each_day(world: World, cls: type[Diary]) -> None:
    today = f"{world.now:%a}"
    await world.serve(cls)
    await world.pass_time(days=3)
    days = world.look(cls, "d").days
    assert len(set(days)) == len(days), f"a day is closed twice: {days}"
    assert days[0] == today, f"the first day is not closed: {days}"


# --- a deadline that passes while no process runs --------------------------------------------------------------------------------------


class Warehouse(VirtualObject):
    reserved: list[str] = []

    @handler
    async def reserve(self, ctx: Context, order: str) -> None:
        await ctx.run(mail, f"pick {order}", order + ctx.key)
        self.reserved.append(order)

    @handler
    async def release(self, order: str) -> None:
        if order in self.reserved:
            self.reserved.remove(order)


class Delivery(VirtualObject):
    source: str = ""

    @handler
    async def order(self, ctx: Context) -> str:
        for name in ("near", "far"):
            try:
                await ctx.timeout(ctx.object(Warehouse, name).reserve(ctx.key), 5)
                self.source = name
                break
            except DurableTimeout:
                continue  # the bug: the call goes on, and reserves after all
        return self.source


class FixedDelivery(Delivery):
    @handler
    async def order(self, ctx: Context) -> str:
        for name in ("near", "far"):
            try:
                await ctx.timeout(ctx.object(Warehouse, name).reserve(ctx.key), 5)
                self.source = name
                break
            except DurableTimeout:
                ctx.object(Warehouse, name).release.send(ctx.key)
        return self.source


async def reserves_once(world: World, cls: type[Delivery]) -> None:
    await world.serve(cls, Warehouse)
    source = await world.object(cls, "o-1").order()
    await world.settle()
    for name in ("near", "far"):
        expected = ["o-1"] if name == source else []
        assert world.look(Warehouse, name).reserved == expected, f"{source} delivers, and {name} holds the article"


BUGS: list[Bug[Any]] = [
    Bug(
        "the wall clock decides",
        Offer,
        FixedOffer,
        answers_in_time,
        {"guard": "Offer.open calls time.time() outside of a step, at clocks.py:", "explore": "time.time()"},
    ),
    Bug(
        "a sleep of asyncio",
        Reminder,
        FixedReminder,
        reminds_in_an_hour,
        {
            "sweep": "reminded too late",
            "simulate": "reminded too late",
            "explore": "waits for something that is not durable",
        },
    ),
    Bug(
        "each day has 24 hours",
        Meter,
        FixedMeter,
        bills_two_days,
        {"simulate": "hours are missing on the bill"},
        thorough=bills_some_week,
    ),
    Bug(
        "a late tick is booked on its own day",
        Diary,
        FixedDiary,
        closes_each_day,
        {"sweep": "a day is closed twice", "simulate": "a day is closed twice"},
        sweep=Sweep(downtime=HOUR),
        faults=Faults(downtime=HOUR, crash=0.1),
    ),
    Bug(
        "a deadline passes while no process runs",
        Delivery,
        FixedDelivery,
        reserves_once,
        {"sweep": "holds the article", "simulate": "holds the article"},
        sweep=Sweep(downtime=60, compare=False),
        faults=Faults(downtime=20, crash=0.1),
        beside=(Warehouse,),
    ),
]
