"""Bugs around `ctx.run`: what a step does, what it forgets to do, and what is done beside it."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

from actors import Context, RetryPolicy, TerminalError, VirtualObject, handler
from actors.testing import World
from tests.user_bugs import outside
from tests.user_bugs.corpus import Bug
from tests.user_bugs.outside import charge, mail, refund

# --- state that a step changes ----------------------------------------------------------------------------------------------


class Invoice(VirtualObject):
    receipts: list[str] = []

    @handler
    async def pay(self, ctx: Context, cents: int) -> int:
        def take() -> None:
            self.receipts.append(charge(ctx_key, cents, ctx_id))  # the bug: no replay executes this line

        ctx_key, ctx_id = ctx.key, ctx.invocation_id
        await ctx.run(take)
        return len(self.receipts)


class FixedInvoice(Invoice):
    @handler
    async def pay(self, ctx: Context, cents: int) -> int:
        self.receipts.append(await ctx.run(charge, ctx.key, cents, ctx.invocation_id))
        return len(self.receipts)


async def pays_an_invoice(world: World, cls: type[Invoice]) -> None:
    await world.serve(cls)
    assert await world.object(cls, "i-1").pay(500) == 1, "the receipt is lost"
    assert world.look(cls, "i-1").receipts == ["receipt 1"]


# --- a variable that a step changes -------------------------------------------------------------------------------------------


class Census(VirtualObject):
    @handler
    async def count(self, ctx: Context, places: list[str]) -> int:
        total = 0

        def visit(place: str) -> None:
            nonlocal total
            total += len(place)  # the bug: a replay does not visit, and counts nothing

        for place in places:
            await ctx.run(visit, place)
        return total


class FixedCensus(Census):
    @handler
    async def count(self, ctx: Context, places: list[str]) -> int:
        return sum([await ctx.run(len, place) for place in places])


async def counts_two_places(world: World, cls: type[Census]) -> None:
    await world.serve(cls)
    assert await world.object(cls, "c").count(["Graz", "Linz"]) == 8, "a place is not counted"


# --- a step that is not idempotent --------------------------------------------------------------------------------------------


class Subscription(VirtualObject):
    paid: bool = False

    @handler
    async def renew(self, ctx: Context) -> str:
        receipt = await ctx.run(charge, ctx.key, 900)  # the bug: a second execution is a second charge
        self.paid = True
        return receipt


class FixedSubscription(Subscription):
    @handler
    async def renew(self, ctx: Context) -> str:
        receipt = await ctx.run(charge, ctx.key, 900, ctx.invocation_id)
        self.paid = True
        return receipt


async def renews_once(world: World, cls: type[Subscription]) -> None:
    await world.serve(cls)
    await world.object(cls, "ada").renew()
    assert outside.charges == [("ada", 900)], "not charged once"


# --- a key that each execution makes anew ---------------------------------------------------------------------------------------


def charge_with_new_key(who: str, cents: int) -> str:
    return charge(who, cents, str(uuid.uuid4()))


class Ticket(VirtualObject):
    receipt: str = ""

    @handler
    async def buy(self, ctx: Context) -> str:
        self.receipt = await ctx.run(charge_with_new_key, ctx.key, 250)  # the bug: the bank sees two keys
        return self.receipt


class FixedTicket(Ticket):
    @handler
    async def buy(self, ctx: Context) -> str:
        self.receipt = await ctx.run(charge, ctx.key, 250, str(ctx.uuid()))
        return self.receipt


async def buys_a_ticket(world: World, cls: type[Ticket]) -> None:
    await world.serve(cls)
    await world.object(cls, "ada").buy()
    assert outside.charges == [("ada", 250)], "not charged once"


# --- an effect beside the context -----------------------------------------------------------------------------------------------


class Donation(VirtualObject):
    given: int = 0

    @handler
    async def give(self, ctx: Context) -> int:
        mail(f"thank you, {ctx.key}")  # the bug: not in a step, so each attempt sends it
        await ctx.run(charge, ctx.key, 100, ctx.invocation_id)
        self.given += 1
        return self.given


class FixedDonation(Donation):
    @handler
    async def give(self, ctx: Context) -> int:
        await ctx.run(mail, f"thank you, {ctx.key}", f"{ctx.invocation_id} mail")
        await ctx.run(charge, ctx.key, 100, ctx.invocation_id)
        self.given += 1
        return self.given


async def thanks_once(world: World, cls: type[Donation]) -> None:
    await world.serve(cls)
    await world.object(cls, "ada").give()
    assert outside.mails == ["thank you, ada"], "not thanked once"


# --- a file that a handler reads ------------------------------------------------------------------------------------------------

PRICES = Path(__file__).with_name("prices.json")


def read_price(article: str) -> int:
    prices: dict[str, int] = json.loads(PRICES.read_text())
    return prices[article]


class Basket(VirtualObject):
    total: int = 0

    @handler
    async def add(self, ctx: Context, article: str) -> int:
        self.total += read_price(article)  # the bug: another price after a change of the file, in the same invocation
        return self.total


class FixedBasket(Basket):
    @handler
    async def add(self, ctx: Context, article: str) -> int:
        self.total += await ctx.run(read_price, article)
        return self.total


async def adds_an_article(world: World, cls: type[Basket]) -> None:
    await world.serve(cls)
    assert await world.object(cls, "ada").add("book") == 1900


# --- an answer that is lost -----------------------------------------------------------------------------------------------------

ONCE = RetryPolicy(max_attempts=1)


class Reservation(VirtualObject):
    status: str = "held"

    @handler
    async def pay(self, ctx: Context) -> str:
        try:
            await ctx.step(name="charge", retry=ONCE).run(charge, ctx.key, 100, ctx.invocation_id)
            self.status = "paid"
        except TerminalError:
            self.status = "released"  # the bug: the bank may have done it, and only its answer was lost
        return self.status


class FixedReservation(Reservation):
    @handler
    async def pay(self, ctx: Context) -> str:
        try:
            await ctx.step(name="charge", retry=ONCE).run(charge, ctx.key, 100, ctx.invocation_id)
            self.status = "paid"
        except TerminalError:
            await ctx.run(refund, ctx.key, 100, ctx.invocation_id)
            self.status = "released"
        return self.status


async def charges_what_is_paid(world: World, cls: type[Reservation]) -> None:
    await world.serve(cls)
    status = await world.object(cls, "ada").pay()
    assert (status == "paid") == (outside.charges == [("ada", 100)]), f"{status}, and the bank says {outside.charges}"


# --- an argument that changes before the step is executed -------------------------------------------------------------------------


def post(letter: dict[str, str]) -> None:
    mail(letter["to"], letter["key"])


class Newsletter(VirtualObject):
    @handler
    async def publish(self, ctx: Context, readers: list[str]) -> None:
        letter: dict[str, str] = {}
        posting = []
        for reader in readers:
            letter.update(to=reader, key=f"{ctx.invocation_id} {reader}")  # the bug: all steps get this dict
            posting.append(ctx.run(post, letter))
        await ctx.all(*posting)


class FixedNewsletter(Newsletter):
    @handler
    async def publish(self, ctx: Context, readers: list[str]) -> None:
        letters = [{"to": reader, "key": f"{ctx.invocation_id} {reader}"} for reader in readers]
        await ctx.all(*(ctx.run(post, letter) for letter in letters))


async def one_reader_gets_it(world: World, cls: type[Newsletter]) -> None:
    await world.serve(cls)
    await world.object(cls, "n").publish(["ada"])
    assert outside.mails == ["ada"]


async def all_readers_get_it(world: World, cls: type[Newsletter]) -> None:
    await world.serve(cls)
    readers = world.choose("readers", [["ada"], ["ada", "bob"], ["ada", "bob", "eve"]])
    await world.object(cls, "n").publish(readers)
    assert sorted(outside.mails) == readers, "not every reader has the mail"


# --- steps at the same time that share a variable ---------------------------------------------------------------------------------


class Import(VirtualObject):
    @handler
    async def read(self, ctx: Context) -> list[str]:
        table: dict[str, str] = {}

        async def header() -> None:
            table["columns"] = "id, name"

        async def rows() -> str:
            return table.get("columns", "unknown columns")  # the bug: the other step may be slower, or not run again

        _, columns = await asyncio.gather(ctx.run(header), ctx.run(rows))
        return [columns]


class FixedImport(Import):
    @handler
    async def read(self, ctx: Context) -> list[str]:
        async def header() -> str:
            return "id, name"

        async def rows(columns: str) -> str:
            return columns

        return [await ctx.run(rows, await ctx.run(header))]


async def reads_columns(world: World, cls: type[Import]) -> None:
    await world.serve(cls)
    read = await world.object(cls, "i").read()
    assert read == ["id, name"], read


# --- a step that is not awaited -------------------------------------------------------------------------------------------------


class Signup(VirtualObject):
    done: bool = False

    @handler
    async def join(self, ctx: Context) -> None:
        ctx.run(mail, f"welcome, {ctx.key}", ctx.invocation_id)  # the bug: not awaited, so nothing sees that it failed
        self.done = True
        await ctx.run(charge, ctx.key, 100, ctx.invocation_id)


class FixedSignup(Signup):
    @handler
    async def join(self, ctx: Context) -> None:
        await ctx.run(mail, f"welcome, {ctx.key}", ctx.invocation_id)
        self.done = True
        await ctx.run(charge, ctx.key, 100, ctx.invocation_id)


async def welcomes_a_member(world: World, cls: type[Signup]) -> None:
    await world.serve(cls)
    await world.object(cls, "ada").join()
    await world.settle()
    assert outside.mails == ["welcome, ada"], "not welcomed"


BUGS: list[Bug[Any]] = [
    Bug(
        "a step changes a list of the state",
        Invoice,
        FixedInvoice,
        pays_an_invoice,
        {
            "replay": "recorded was set state 'receipts'",
            "sweep": "the receipt is lost",
            "simulate": "the receipt is lost",
            "explore": "no longer fits the journal",
        },
    ),
    Bug(
        "a step changes a variable of its handler",
        Census,
        FixedCensus,
        counts_two_places,
        {
            "replay": "answers 8, as stored. Executed again, with the state before it and its recorded answers, it answers 0",
            "sweep": "a place is not counted",
            "simulate": "a place is not counted",
            "explore": "Executed again",
        },
    ),
    Bug(
        "a step is not idempotent",
        Subscription,
        FixedSubscription,
        renews_once,
        {"sweep": "not charged once", "simulate": "not charged once"},
    ),
    Bug(
        "a step makes its idempotency key itself",
        Ticket,
        FixedTicket,
        buys_a_ticket,
        {"sweep": "not charged once", "simulate": "not charged once"},
    ),
    Bug(
        "an effect beside the context",
        Donation,
        FixedDonation,
        thanks_once,
        {"sweep": "not thanked once", "simulate": "not thanked once"},
    ),
    Bug(
        "a handler reads a file",
        Basket,
        FixedBasket,
        adds_an_article,
        {"guard": "open(), outside of a step, at side_effects.py:", "explore": "outside of a step"},
        arguments={"add": [("book",)]},
    ),
    Bug(
        "a lost answer is taken for a refusal",
        Reservation,
        FixedReservation,
        charges_what_is_paid,
        {"simulate": "released, and the bank says [('ada', 100)]"},
    ),
    Bug(
        "an argument of steps changes",
        Newsletter,
        FixedNewsletter,
        one_reader_gets_it,
        {"simulate": "not every reader has the mail"},
        thorough=all_readers_get_it,
    ),
    Bug(
        "steps at the same time share a variable",
        Import,
        FixedImport,
        reads_columns,
        {"simulate": "unknown columns"},
    ),
    Bug(
        "a step is not awaited",
        Signup,
        FixedSignup,
        welcomes_a_member,
        {"simulate": "not welcomed"},
    ),
]
