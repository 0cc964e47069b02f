"""Bugs around people who answer or cancel, and around new releases."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

from actors import Context, RetryPolicy, Service, TerminalError, VirtualObject, handler, migration
from actors.errors import InvocationCancelled, WrongStatus
from actors.testing import Faults, World
from tests.user_bugs import outside
from tests.user_bugs.corpus import Bug
from tests.user_bugs.outside import charge, mail

# --- an id that leaves too early --------------------------------------------------------------------------------------------------


class Approval(VirtualObject):
    status: str = "new"

    @handler
    async def ask(self, ctx: Context) -> str:
        approval = ctx.awakeable(str)
        mail(approval.id)  # the bug: not in a step, so the id may leave before it is on disk
        self.status = await approval
        return self.status


class FixedApproval(Approval):
    @handler
    async def ask(self, ctx: Context) -> str:
        approval = ctx.awakeable(str)
        await ctx.run(mail, approval.id, ctx.invocation_id)
        self.status = await approval
        return self.status


async def approves(world: World, cls: type[Approval]) -> None:
    await world.serve(cls)
    call = world.object(cls, "a").ask()
    await world.until(lambda: bool(outside.mails))
    waiting = await world.awakeable()
    assert outside.mails == [waiting.id], "not one mail, with the id that waits"
    await waiting.resolve("yes")
    assert await call == "yes"


# --- a compensation that is lost ----------------------------------------------------------------------------------------------------


class Purse(VirtualObject):
    cents: int = 100

    @handler
    async def put(self, cents: int) -> None:
        self.cents += cents

    @handler
    async def take(self, cents: int) -> None:
        if cents > self.cents:
            raise TerminalError("There is not enough in this purse.", code=409)
        self.cents -= cents


class Teller(Service):
    @handler
    async def transfer(self, ctx: Context, cents: int) -> None:
        await ctx.object(Purse, "a").take(cents)
        await ctx.sleep(1)  # the bug: cancelled here, the money is in no purse
        await ctx.object(Purse, "b").put(cents)


class FixedTeller(Teller):
    @handler
    async def transfer(self, ctx: Context, cents: int) -> None:
        taking = ctx.object(Purse, "a").take(cents)
        try:
            await taking
            await ctx.sleep(1)
        except InvocationCancelled:
            (taken,) = await ctx.settle(taking)
            if taken is None:
                await ctx.object(Purse, "a").put(cents)
            raise
        ctx.object(Purse, "b").put.send(cents)


async def transfers(world: World, cls: type[Teller]) -> None:
    await world.serve(cls, Purse)
    sent = await world.service(cls).transfer.send(30)
    if world.choose("somebody cancels"):
        await world.pause("before that", up_to=2.0)
        with contextlib.suppress(WrongStatus):
            await sent.cancel()
    await world.settle()
    await world.pass_time(2)
    assert sum(world.look(Purse, key).cents for key in "ab") == 200, "money is lost"


# --- a loop of tries that does not hear that it is cancelled --------------------------------------------------------------------------


class Gateway(Service):
    @handler
    async def accept(self, ctx: Context, who: str) -> None:
        await ctx.sleep(10)


class Dunning(VirtualObject):
    status: str = "open"

    @handler
    async def collect(self, ctx: Context) -> str:
        for _ in range(3):
            try:
                await ctx.service(Gateway).accept(ctx.key)
                break
            except TerminalError:  # the bug: InvocationCancelled is one, too
                await ctx.sleep(10)
        await ctx.run(charge, ctx.key, 100, ctx.invocation_id)
        self.status = "paid"
        return self.status


class FixedDunning(Dunning):
    @handler
    async def collect(self, ctx: Context) -> str:
        for _ in range(3):
            try:
                await ctx.service(Gateway).accept(ctx.key)
                break
            except InvocationCancelled:
                raise
            except TerminalError:
                await ctx.sleep(10)
        await ctx.run(charge, ctx.key, 100, ctx.invocation_id)
        self.status = "paid"
        return self.status


async def collects(world: World, cls: type[Dunning]) -> None:
    await world.serve(cls, Gateway)
    sent = await world.object(cls, "ada").collect.send()
    cancelled = False
    if world.choose("somebody cancels"):
        await world.pause("before that", up_to=8)
        with contextlib.suppress(WrongStatus):
            await sent.cancel()
            cancelled = True
    await world.settle()
    await world.pass_time(60)
    assert not (cancelled and world.look(cls, "ada").status == "paid"), "charged although it was cancelled"


# --- a retry that hides a refusal -----------------------------------------------------------------------------------------------------

TWICE = RetryPolicy(max_attempts=2)


class Refused(Exception):
    pass


def ask_bank(who: str, cents: int, key: str) -> str:
    if cents > 1000:
        raise TerminalError(f"{who} has no such credit.", code=402)
    return charge(who, cents, key)


class Checkout(VirtualObject):
    status: str = "new"

    @handler
    async def pay(self, ctx: Context, cents: int) -> str:
        receipt = "pending"
        for number in range(3):
            with contextlib.suppress(TerminalError):  # the bug: a refusal is not a reason to try again, nor to go on
                receipt = await ctx.step(retry=TWICE).run(ask_bank, ctx.key, cents, f"{ctx.invocation_id} {number}")
                break
        self.status = "paid"
        return receipt


class FixedCheckout(Checkout):
    @handler
    async def pay(self, ctx: Context, cents: int) -> str:
        receipt = await ctx.run(ask_bank, ctx.key, cents, ctx.invocation_id)
        self.status = "paid"
        return receipt


async def pays(world: World, cls: type[Checkout]) -> None:
    await world.serve(cls)
    with contextlib.suppress(TerminalError):
        await world.object(cls, "ada").pay(world.choose("cents", [500, 2000]))
    paid = world.look(cls, "ada").status == "paid"
    assert len(outside.charges) == paid, "what is paid is not what was charged"


# --- a migration that is not pure -------------------------------------------------------------------------------------------------------

_numbers: list[itertools.count[int]] = [itertools.count(1)]


def _count_from_1() -> None:
    _numbers[0] = itertools.count(1)


outside.forgets(_count_from_1)


class OldMember(VirtualObject, name="Member"):
    name: str = ""

    @handler
    async def rename(self, name: str) -> None:
        self.name = name


class Member(VirtualObject, name="Member", version=2):
    name: str = ""
    number: int = 0

    @migration(from_version=1)
    @staticmethod
    def with_number(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "number": next(_numbers[0])}  # the bug: each migration of the same state gives another number

    @handler
    async def rename(self, name: str) -> int:
        self.name = name
        return self.number


class FixedMember(Member, name="Member", version=2):
    @migration(from_version=1)
    @staticmethod
    def with_number(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "number": len(state["name"])}


async def joins_and_is_renamed(world: World, cls: type[Member]) -> None:
    await world.serve(OldMember)
    await world.object(OldMember, "ada").rename("Ada")
    await world.serve(cls)
    assert await world.object(cls, "ada").rename("Ada L.") in (1, 2, 3)


BUGS: list[Bug[Any]] = [
    Bug(
        "an id leaves before it is on disk",
        Approval,
        FixedApproval,
        approves,
        {"sweep": "not one mail", "simulate": "not one mail"},
        faults=Faults(crash=0.1),
    ),
    Bug(
        "a compensation is lost when it is cancelled",
        Teller,
        FixedTeller,
        transfers,
        {"simulate": "money is lost"},
        beside=(Purse,),
    ),
    Bug(
        "a loop of tries does not hear a cancellation",
        Dunning,
        FixedDunning,
        collects,
        {"simulate": "charged although it was cancelled"},
        beside=(Gateway,),
    ),
    Bug(
        "a retry hides a refusal",
        Checkout,
        FixedCheckout,
        pays,
        {"simulate": "what is paid is not what was charged"},
    ),
    Bug(
        "a migration is not pure",
        Member,
        FixedMember,
        joins_and_is_renamed,
        {
            "replay": """rename("Ada L.") answers 1, as stored""",
            "sweep": "Member/ada.number ends as 2, and without the crash as 1",
        },
    ),
]
