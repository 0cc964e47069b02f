"""Random programs, which the handler of one class interprets, and the decisions that it takes on the way.

A program is a list of operations, which are lists themselves. What it does does not depend on what it has seen, so each of its
operations is done in each run.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, field, handler
from actors.transport.restate.machine import Failure
from tests.restate.fake_machine import Command
from tests.restate.machine_world import Invocation

trace: list[Any] = []  # what the attempt under way has seen


class Program(VirtualObject):
    n: int = 0
    items: list[int] = []
    tags: set[str] = field(default_factory=set)

    @handler
    async def go(self, ctx: Context, program: list[Any]) -> list[Any]:
        self._began(ctx)
        return await self._go(ctx, program, 0)

    @handler
    async def take(self, ctx: Context, delay_ms: int) -> int:
        """Counts its calls and messages."""
        self.n += 1
        await ctx.sleep(delay_ms / 1000)
        if delay_ms == REFUSED:
            raise TerminalError("no", code=418)
        return delay_ms

    def _began(self, ctx: Context) -> None:
        """An attempt has begun."""
        trace.clear()

    def _saw(self, ctx: Context, decision: list[Any]) -> None:
        """The attempt has come to a decision: how deep, of which kind, and what it has seen."""
        trace.append(decision)

    @staticmethod
    def _stepped(value: int) -> int:
        """What a step does."""
        return value

    async def _go(self, ctx: Context, program: list[Any], depth: int) -> list[Any]:
        futures: list[Any] = []
        results: list[Any] = []

        def seen(*decision: Any) -> None:
            if not ctx._attempt.refuses:  # what other tasks do in an attempt that has ended has no effect
                self._saw(ctx, [depth, *decision])
            results.append(decision[-1])

        for what, *values in program:
            chosen = [futures[place % len(futures)] for place in values[0]] if futures and what in CHOOSES else []
            chosen = list({id(one): one for one in chosen}.values())
            match what:
                case "sleep":
                    futures.append(ctx.sleep(values[0] / 1000))
                case "step":
                    futures.append(ctx.step(name=f"s{values[0]}").run(self._stepped, values[0]))
                case "call":
                    futures.append(ctx.object(type(self), taker(ctx.key, values[0])).take(values[0]))
                case "send":
                    handle = ctx.send(
                        "Program", taker(ctx.key, values[0]), "take", values[0], delay=values[0] / 1000 or None
                    )
                    if values[1] == "id":
                        seen("id", handle.id)
                    elif values[1] == "await":
                        seen("id", (await handle).id)
                case "now":
                    seen("now", ctx.now().timestamp())
                case "random":
                    seen("random", ctx.random.random())
                case "done":
                    seen("done", [future.done() for future in futures])
                case "await":
                    for one in chosen[:1]:
                        seen("value", await _settled(one))
                case "first" if chosen:
                    seen("first", await _settled(ctx.first(*chosen)), [one.done() for one in chosen])
                case "any" if chosen:
                    seen("any", await _settled(ctx.any(*chosen)))
                case "settle" if chosen:
                    seen("settle", [_plain(one) for one in await ctx.settle(*chosen)])
                case "timeout" if chosen:
                    seen("timeout", await _settled(ctx.timeout(chosen[0], values[1] / 1000)))
                case "some" if chosen:
                    async for one in ctx.as_completed(*chosen):
                        seen("some", await _settled(one), [future.done() for future in futures])
                        if values[1]:
                            break
                case "gather":
                    tasks = (self._go(ctx, part, depth + 1 + place) for place, part in enumerate(values[0]))
                    seen("gather", await asyncio.gather(*tasks))
                case "add":
                    self.n += values[0]
                    self.items.append(values[0])
                    seen("state", [self.n, list(self.items)])
                case "tag":
                    self.tags.add(f"t{values[0]}")
                    seen("tags", sorted(self.tags))
                case "assign":
                    self.n = values[0]
                case "delete":
                    with contextlib.suppress(AttributeError):  # deleted before
                        del self.items
                case "named":
                    ctx.set("other", values[0])
                    seen("keys", ctx.state_keys(), ctx.get("other"))
        return results


REFUSED = 7
CHOOSES = ("await", "first", "any", "settle", "timeout", "some")


def taker(key: str, value: int) -> str:
    """The key of the object that the program under `key` calls and sends to with this value."""
    return f"{key}-{value}"


async def _settled(call: Any) -> Any:
    try:
        return await call
    except TerminalError as error:
        return _plain(error)


def _plain(value: Any) -> Any:
    return f"{type(value).__name__}: {value}" if isinstance(value, TerminalError) else value


SMALL = st.integers(0, 9)
CHOICE = st.lists(SMALL, min_size=1, max_size=4)
LEAVES = st.one_of(
    st.tuples(st.just("sleep"), SMALL),
    st.tuples(st.just("step"), SMALL),
    st.tuples(st.just("call"), SMALL),
    st.tuples(st.just("send"), SMALL, st.sampled_from(["id", "await", ""])),
    st.tuples(st.sampled_from(["now", "random", "done", "delete"])),
    st.tuples(st.sampled_from(["await", "first", "any", "settle"]), CHOICE),
    st.tuples(st.sampled_from(["await", "first"]), CHOICE),
    st.tuples(st.just("timeout"), CHOICE, SMALL),
    st.tuples(st.just("some"), CHOICE, st.booleans()),
    st.tuples(st.sampled_from(["add", "tag", "assign", "named"]), SMALL),
).map(list)
BRANCHES = st.lists(st.lists(LEAVES, max_size=5), min_size=1, max_size=3)


def programs(least: int) -> st.SearchStrategy[list[Any]]:
    """Programs of at least so many operations."""
    return st.lists(LEAVES | BRANCHES.map(lambda parts: ["gather", parts]), min_size=least, max_size=12)


def answer(invocation: Invocation, command: Command) -> Any:
    """The result of a call, after the time that it names."""
    delay_ms = int(command.compared["body"])
    return (Failure(418, "no") if delay_ms == REFUSED else str(delay_ms).encode()), delay_ms
