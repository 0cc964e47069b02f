"""Bugs of code that depends on what its process, or another process, happens to hold in memory."""

from __future__ import annotations

import itertools
import os
import random
from typing import Any, ClassVar

from actors import Context, VirtualObject, handler
from actors.testing import World
from tests.user_bugs import outside
from tests.user_bugs.corpus import Bug
from tests.user_bugs.outside import mail

# --- a set of the process ---------------------------------------------------------------------------------------------------------

_seen: set[str] = set()
outside.forgets(_seen.clear)


class Feed(VirtualObject):
    count: int = 0
    seen: list[str] = []

    @handler
    async def receive(self, ctx: Context, event: str) -> int:
        if event not in _seen:  # the bug: empty in the next process, and full when this handler is replayed in the same
            _seen.add(event)
            self.count += 1
            await ctx.run(mail, event, f"{ctx.key} {event}")
        return self.count


class FixedFeed(Feed):
    @handler
    async def receive(self, ctx: Context, event: str) -> int:
        if event not in self.seen:
            self.seen.append(event)
            self.count += 1
            await ctx.run(mail, event, f"{ctx.key} {event}")
        return self.count


async def counts_an_event_once(world: World, cls: type[Feed]) -> None:
    await world.serve(cls)
    feed = world.object(cls, "f")
    assert [await feed.receive("a"), await feed.receive("a")] == [1, 1], "the event is lost"
    assert outside.mails == ["a"], "not one mail"


# --- a cache of the class -----------------------------------------------------------------------------------------------------------


def ask_for_rate() -> float:
    return 0.5


class Exchange(VirtualObject):
    rates: ClassVar[dict[str, float]] = {}

    @handler
    async def convert(self, ctx: Context, cents: int) -> float:
        if "rate" not in self.rates:  # the bug: the first invocation asks, and its replay does not
            self.rates["rate"] = await ctx.run(ask_for_rate)
        return cents * self.rates["rate"]


outside.forgets(Exchange.rates.clear)


class FixedExchange(Exchange):
    @handler
    async def convert(self, ctx: Context, cents: int) -> float:
        return cents * await ctx.run(ask_for_rate)


async def converts_twice(world: World, cls: type[Exchange]) -> None:
    await world.serve(cls)
    exchange = world.object(cls, "e")
    assert [await exchange.convert(10), await exchange.convert(20)] == [5.0, 10.0]


# --- a counter of the process ---------------------------------------------------------------------------------------------------------

_numbers: list[itertools.count[int]] = [itertools.count(1)]


def _count_from_1() -> None:
    _numbers[0] = itertools.count(1)


outside.forgets(_count_from_1)


class Counter(VirtualObject):
    last: int = 0

    @handler
    async def draw(self) -> int:
        self.last = next(_numbers[0])  # the bug: begins at 1 again in each process, and counts for all counters
        return self.last


class FixedCounter(Counter):
    @handler
    async def draw(self) -> int:
        self.last += 1
        return self.last


async def draws_two_numbers(world: World, cls: type[Counter]) -> None:
    await world.serve(cls)
    assert [await world.object(cls, "c").draw(), await world.object(cls, "c").draw()] == [1, 2], "a number is left out"


# --- chance -------------------------------------------------------------------------------------------------------------------------


class Raffle(VirtualObject):
    winner: str = ""

    @handler
    async def draw(self, ctx: Context, names: list[str]) -> str:
        self.winner = random.choice(names)  # the bug: each attempt draws another winner
        return self.winner


class FixedRaffle(Raffle):
    @handler
    async def draw(self, ctx: Context, names: list[str]) -> str:
        self.winner = ctx.random.choice(names)
        return self.winner


async def draws_one_of_them(world: World, cls: type[Raffle]) -> None:
    await world.serve(cls)
    assert await world.object(cls, "r").draw(["ada", "bob"]) in ("ada", "bob")


# --- the environment ----------------------------------------------------------------------------------------------------------------


def percent() -> int:
    return int(os.environ.get("SHOP_DISCOUNT", "0"))


class Quote(VirtualObject):
    @handler
    async def price(self, ctx: Context, cents: int) -> int:
        return cents * (100 - percent()) // 100  # the bug: the next process may be started with another discount


class FixedQuote(Quote):
    @handler
    async def price(self, ctx: Context, cents: int) -> int:
        return cents * (100 - await ctx.run(percent)) // 100


async def asks_for_a_price(world: World, cls: type[Quote]) -> None:
    await world.serve(cls)
    assert await world.object(cls, "q").price(500) == 500


# --- the order of a set -------------------------------------------------------------------------------------------------------------


class Word(VirtualObject):
    count: int = 0

    @handler
    async def add(self) -> int:
        self.count += 1
        return self.count


class Text(VirtualObject):
    @handler
    async def index(self, ctx: Context, words: list[str]) -> int:
        for word in set(words):  # the bug: another process has another order
            await ctx.object(Word, word).add()
        return len(words)


class FixedText(Text):
    @handler
    async def index(self, ctx: Context, words: list[str]) -> int:
        for word in sorted(set(words)):
            await ctx.object(Word, word).add()
        return len(words)


async def counts_words(world: World, cls: type[Text]) -> None:
    await world.serve(cls, Word)
    assert await world.object(cls, "t").index(["a", *"abcdefgh"]) == 9
    assert world.look(Word, "a").count == 1


BUGS: list[Bug[Any]] = [
    Bug(
        "the memory of the process decides",
        Feed,
        FixedFeed,
        counts_an_event_once,
        {
            "replay": "recorded was set state 'count' with 1",
            "fresh": "Feed/f/receive",
            "sweep": "the event is lost",
            "simulate": "Feed/f/receive is paused: The code no longer fits the journal",
            "explore": "no longer fits the journal",
        },
    ),
    Bug(
        "a class keeps a cache",
        Exchange,
        FixedExchange,
        converts_twice,
        {
            "replay": "recorded was run 'ask_for_rate'",
            "fresh": "Exchange/e/convert",
            "sweep": "Exchange/e/convert is paused: The code no longer fits the journal",
            "simulate": "Exchange/e/convert is paused: The code no longer fits the journal",
            "explore": "no longer fits the journal",
        },
    ),
    Bug(
        "the process counts",
        Counter,
        FixedCounter,
        draws_two_numbers,
        {
            "replay": "draw() answers 1, as stored",
            "fresh": "Counter/c/draw",
            "sweep": "a number is left out",
            "simulate": "a number is left out",
            "explore": "Executed again",
        },
    ),
    Bug(
        "chance decides",
        Raffle,
        FixedRaffle,
        draws_one_of_them,
        {"guard": "Raffle.draw calls random.choice() outside of a step, at memory.py:"},
        arguments={"draw": [(["ada", "bob"],)]},
    ),
    Bug(
        "the environment decides",
        Quote,
        FixedQuote,
        asks_for_a_price,
        {"guard": "Quote.price calls os.environ.get() outside of a step, at memory.py:", "explore": "os.environ"},
    ),
    Bug(
        "the order of a set",
        Text,
        FixedText,
        counts_words,
        {"fresh": "Text/t/index"},
        beside=(Word,),
    ),
]
