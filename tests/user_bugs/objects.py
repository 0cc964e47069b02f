"""Bugs between objects: each object is safe by itself, and together they are not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from actors import Context, Service, TerminalError, VirtualObject, handler, shared
from actors.testing import World
from tests.user_bugs import outside
from tests.user_bugs.corpus import Bug
from tests.user_bugs.outside import mail

# --- look, then take ------------------------------------------------------------------------------------------------------------


class Stock(VirtualObject):
    items: int = 1

    @shared
    async def available(self) -> int:
        return self.items

    @handler
    async def take(self) -> None:
        self.items -= 1  # trusts its caller

    @handler
    async def take_if_available(self) -> bool:
        if self.items < 1:
            return False
        self.items -= 1
        return True


class Cart(VirtualObject):
    @handler
    async def buy(self, ctx: Context) -> bool:
        stock = ctx.object(Stock, "book")
        if await stock.available() < 1:
            return False
        await stock.take()  # the bug: another cart may have taken the last one since
        return True


class FixedCart(Cart):
    @handler
    async def buy(self, ctx: Context) -> bool:
        return await ctx.object(Stock, "book").take_if_available()


async def one_cart_buys(world: World, cls: type[Cart]) -> None:
    await world.serve(cls, Stock)
    assert [await world.object(cls, "a").buy(), await world.object(cls, "b").buy()] == [True, False]


async def two_carts_buy(world: World, cls: type[Cart]) -> None:
    await world.serve(cls, Stock)
    world.always("no article is sold twice", lambda: world.look(Stock, "book").items >= 0)
    await asyncio.gather(*(world.object(cls, key).buy() for key in "ab"))


# --- read, compute, write -------------------------------------------------------------------------------------------------------


class Limit(VirtualObject):
    cents: int = 0

    @shared
    async def get(self) -> int:
        return self.cents

    @handler
    async def put(self, cents: int) -> None:
        self.cents = cents

    @handler
    async def add(self, cents: int) -> None:
        self.cents += cents


class Clerk(Service):
    @handler
    async def raise_by(self, ctx: Context, cents: int) -> None:
        limit = ctx.object(Limit, "ada")
        await limit.put(await limit.get() + cents)  # the bug: what another clerk has put between the two is lost


class FixedClerk(Clerk):
    @handler
    async def raise_by(self, ctx: Context, cents: int) -> None:
        await ctx.object(Limit, "ada").add(cents)


async def one_clerk_raises(world: World, cls: type[Clerk]) -> None:
    await world.serve(cls, Limit)
    for cents in (5, 7):
        await world.service(cls).raise_by(cents)
    assert world.look(Limit, "ada").cents == 12


async def two_clerks_raise(world: World, cls: type[Clerk]) -> None:
    await world.serve(cls, Limit)
    await asyncio.gather(*(world.service(cls).raise_by(cents) for cents in (5, 7)))
    assert world.look(Limit, "ada").cents == 12, "an update is lost"


# --- a shared handler that decides ----------------------------------------------------------------------------------------------


class Seat(VirtualObject):
    taken_by: str = ""

    @handler
    async def assign(self, who: str) -> None:
        self.taken_by = who

    @shared
    async def book(self, ctx: Context, who: str) -> bool:
        if self.taken_by:  # the bug: readers run at the same time, and each sees a free seat
            return False
        ctx.object(type(self), ctx.key).assign.send(who)
        await ctx.run(mail, f"a seat for {who}", ctx.invocation_id)
        return True


class FixedSeat(Seat):
    @handler
    async def book(self, ctx: Context, who: str) -> bool:
        if self.taken_by:
            return False
        self.taken_by = who
        await ctx.run(mail, f"a seat for {who}", ctx.invocation_id)
        return True


async def one_person_books(world: World, cls: type[Seat]) -> None:
    await world.serve(cls)
    assert await world.object(cls, "1a").book("ada")
    assert not await world.object(cls, "1a").book("bob")


async def two_people_book(world: World, cls: type[Seat]) -> None:
    await world.serve(cls)
    booked = await asyncio.gather(*(world.object(cls, "1a").book(who) for who in ("ada", "bob")))
    assert sum(booked) == 1, "not one person has the seat"


# --- half of a transfer ---------------------------------------------------------------------------------------------------------


class Purse(VirtualObject):
    cents: int = 100

    @handler(private=True)
    async def put(self, cents: int) -> None:
        self.cents += cents

    @shared(private=True)
    async def get(self) -> int:
        return self.cents


class Purses(VirtualObject):
    cents: dict[str, int] = {"a": 100, "b": 100}

    @handler(private=True)
    async def move(self, cents: int) -> None:
        self.cents["a"] -= cents
        self.cents["b"] += cents

    @shared(private=True)
    async def total(self) -> int:
        return sum(self.cents.values())


class Cashier(Service):
    @handler
    async def move(self, ctx: Context, cents: int) -> None:
        await ctx.object(Purse, "a").put(-cents)
        await ctx.object(Purse, "b").put(cents)  # the bug: an audit that counts before that misses the money

    @handler
    async def total(self, ctx: Context) -> int:
        return await ctx.object(Purse, "a").get() + await ctx.object(Purse, "b").get()


class FixedCashier(Cashier):
    @handler
    async def move(self, ctx: Context, cents: int) -> None:
        await ctx.object(Purses, "all").move(cents)

    @handler
    async def total(self, ctx: Context) -> int:
        return await ctx.object(Purses, "all").total()


async def money_is_moved(world: World, cls: type[Cashier]) -> None:
    await world.serve(cls, Purse, Purses)
    await world.service(cls).move(30)
    assert await world.service(cls).total() == 200


async def money_is_counted_meanwhile(world: World, cls: type[Cashier]) -> None:
    await world.serve(cls, Purse, Purses)
    moving = asyncio.ensure_future(world.service(cls).move(30))
    await world.pause("before it is counted", up_to=0.02)
    assert await world.service(cls).total() == 200, "money is missing"
    await moving


# --- two objects that call each other -------------------------------------------------------------------------------------------


class Account(VirtualObject):
    cents: int = 100

    @handler
    async def deposit(self, cents: int) -> None:
        self.cents += cents

    @handler
    async def transfer(self, ctx: Context, to: str, cents: int) -> None:
        self.cents -= cents
        await ctx.object(type(self), to).deposit(cents)  # the bug: refused if the other account transfers to this one


class FixedAccount(Account):
    @handler
    async def transfer(self, ctx: Context, to: str, cents: int) -> None:
        self.cents -= cents
        ctx.object(type(self), to).deposit.send(cents)


async def one_transfers(world: World, cls: type[Account]) -> None:
    await world.serve(cls)
    await world.object(cls, "a").transfer("b", 30)
    await world.settle()
    assert [world.look(cls, key).cents for key in "ab"] == [70, 130]


async def two_transfer(world: World, cls: type[Account]) -> None:
    await world.serve(cls)

    async def transfer(source: str, target: str, cents: int) -> None:
        with contextlib.suppress(TerminalError):  # refused: then nothing may have happened
            await world.object(cls, source).transfer(target, cents)

    await asyncio.gather(transfer("a", "b", 30), transfer("b", "a", 50))
    await world.settle()
    assert sum(world.look(cls, key).cents for key in "ab") == 200, "money is lost"


# --- one idempotency key for several requests -------------------------------------------------------------------------------------


class Kitchen(VirtualObject):
    cooked: list[str] = []

    @handler
    async def cook(self, dish: str) -> None:
        self.cooked.append(dish)


class Waiter(VirtualObject):
    @handler
    async def order(self, ctx: Context, dishes: list[str]) -> None:
        kitchen = ctx.object(Kitchen, "k")
        for dish in dishes:
            # The bug: the key of the table, so that the same dish for the second guest is the same request.
            kitchen.cook.options(idempotency_key=f"{ctx.key} {dish}").send(dish)


class FixedWaiter(Waiter):
    @handler
    async def order(self, ctx: Context, dishes: list[str]) -> None:
        for dish in dishes:
            ctx.object(Kitchen, "k").cook.send(dish)  # exactly once, by itself


async def two_dishes(world: World, cls: type[Waiter]) -> None:
    await world.serve(cls, Kitchen)
    await world.object(cls, "table 1").order(["soup", "cake"])
    await world.settle()
    assert world.look(Kitchen, "k").cooked == ["soup", "cake"]


async def some_dishes(world: World, cls: type[Waiter]) -> None:
    await world.serve(cls, Kitchen)
    dishes = [world.choose(f"dish of guest {guest}", ["soup", "cake", "fish"]) for guest in (1, 2)]
    if world.choose("dishes are ordered one by one"):
        for dish in dishes:
            await world.object(cls, "table 1").order([dish])
    else:
        await world.object(cls, "table 1").order(dishes)
    await world.settle()
    assert world.look(Kitchen, "k").cooked == dishes, "not every guest has a dish"


# --- messages in the wrong order ------------------------------------------------------------------------------------------------


class Mailer(VirtualObject):
    sent: list[str] = []

    @handler
    async def send(self, ctx: Context, text: str) -> None:
        await ctx.run(mail, text, ctx.invocation_id)
        self.sent.append(text)


class Bank(VirtualObject):
    @handler
    async def charge(self, cents: int) -> None:
        if cents > 1000:
            raise TerminalError("The card is refused.", code=402)


class Order(VirtualObject):
    status: str = "new"

    @handler
    async def place(self, ctx: Context, cents: int) -> str:
        ctx.object(Mailer, ctx.key).send.send("Your order is on its way.")  # the bug: sent, whatever the bank says
        await ctx.object(Bank, "b").charge(cents)
        self.status = "paid"
        return self.status


class FixedOrder(Order):
    @handler
    async def place(self, ctx: Context, cents: int) -> str:
        await ctx.object(Bank, "b").charge(cents)
        ctx.object(Mailer, ctx.key).send.send("Your order is on its way.")
        self.status = "paid"
        return self.status


async def places_an_order(world: World, cls: type[Order]) -> None:
    await world.serve(cls, Bank, Mailer)
    assert await world.object(cls, "o").place(500) == "paid"
    await world.settle()
    assert outside.mails == ["Your order is on its way."]


async def places_some_order(world: World, cls: type[Order]) -> None:
    await world.serve(cls, Bank, Mailer)
    with contextlib.suppress(TerminalError):
        await world.object(cls, "o").place(world.choose("cents", [500, 2000]))
    await world.settle()
    assert len(outside.mails) == (world.look(cls, "o").status == "paid"), "the mail is not true"


BUGS: list[Bug[Any]] = [
    Bug(
        "it looks and then takes",
        Cart,
        FixedCart,
        one_cart_buys,
        {
            "simulate": "no article is sold twice",
            "atomic": "/buy answered true. In no order of whole requests does it.",
        },
        thorough=two_carts_buy,
        beside=(Stock,),
    ),
    Bug(
        "it reads and then writes a sum",
        Clerk,
        FixedClerk,
        one_clerk_raises,
        {"simulate": "an update is lost", "atomic": "whole requests"},
        thorough=two_clerks_raise,
        beside=(Limit,),
    ),
    Bug(
        "a shared handler decides",
        Seat,
        FixedSeat,
        one_person_books,
        {
            "simulate": "not one person has the seat",
            "atomic": "/book answered true. In no order of whole requests does it.",
        },
        thorough=two_people_book,
    ),
    Bug(
        "a sum is counted during a transfer",
        Cashier,
        FixedCashier,
        money_is_moved,
        {"simulate": "money is missing", "atomic": "In no order of whole requests does it."},
        thorough=money_is_counted_meanwhile,
        beside=(Purse, Purses),
        arguments={"move": [(30,)]},
    ),
    Bug(
        "two objects call each other",
        Account,
        FixedAccount,
        one_transfers,
        {"simulate": "money is lost"},
        thorough=two_transfer,
    ),
    Bug(
        "one idempotency key for several requests",
        Waiter,
        FixedWaiter,
        two_dishes,
        {"simulate": "not every guest has a dish"},
        thorough=some_dishes,
        beside=(Kitchen,),
    ),
    Bug(
        "a message is sent too early",
        Order,
        FixedOrder,
        places_an_order,
        {"simulate": "the mail is not true"},
        thorough=places_some_order,
        beside=(Bank, Mailer),
    ),
]
