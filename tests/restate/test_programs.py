"""Random programs of handlers on the fake machine: each decision is repeated on each attempt, and so is the outcome."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, field, handler
from actors.transport.restate.machine import Failure
from tests.restate.fake_machine import Command
from tests.restate.machine_world import Invocation, World

EXAMPLES = int(os.environ.get("SIMULATIONS", "100"))
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)

trace: list[Any] = []  # what the attempt under way has seen


class Program(VirtualObject):
    n: int = 0
    items: list[int] = []
    tags: set[str] = field(default_factory=set)

    @handler
    async def go(self, ctx: Context, program: list[Any]) -> list[Any]:
        trace.clear()
        return await self._go(ctx, program, 0)

    @handler
    async def take(self, delay_ms: int) -> int:
        return delay_ms

    async def _go(self, ctx: Context, program: list[Any], depth: int) -> list[Any]:
        futures: list[Any] = []
        results: list[Any] = []

        def seen(*decision: Any) -> None:
            if not ctx._attempt.refuses:  # what other tasks do in an attempt that has ended has no effect
                trace.append([depth, *decision])
            results.append(decision[-1])

        for what, *values in program:
            chosen = [futures[place % len(futures)] for place in values[0]] if futures and what in CHOOSES else []
            chosen = list({id(one): one for one in chosen}.values())
            match what:
                case "sleep":
                    futures.append(ctx.sleep(values[0] / 1000))
                case "step":
                    futures.append(ctx.step(name=f"s{values[0]}").run(_same, values[0]))
                case "call":
                    futures.append(ctx.object(Program, f"k{values[0]}").take(values[0]))
                case "send":
                    handle = ctx.send("Program", f"k{values[0]}", "take", values[0], delay=values[0] or None)
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


CHOOSES = ("await", "first", "any", "settle", "timeout", "some")


def _same(value: int) -> int:
    return value


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
PROGRAMS = st.lists(LEAVES | BRANCHES.map(lambda parts: ["gather", parts]), min_size=1, max_size=12)


def answer(invocation: Invocation, command: Command) -> Any:
    """The result of a call, after the time that it names."""
    delay_ms = int(command.compared["body"])
    return (Failure(418, "no") if delay_ms == 7 else str(delay_ms).encode()), delay_ms


async def run(program: list[Any], streams: bool, partial: bool) -> None:
    async with World(Program, streams=streams, partial=partial, answer=answer) as world:
        world.store("Program", "a", n=5, items=[1])
        invocation = world.invocation("Program", "a", "go", program)
        before: list[Any] = []
        while invocation.outcome is None:
            assert invocation.awaited is None or world.goes_on(invocation), "nothing is under way"
            trace.clear()
            await world.attempt(invocation)
            assert not invocation.failures, invocation.failures[-1].message
            assert trace[: len(before)] == before[: len(trace)], "another decision than before"
            assert len(trace) >= len(before), "a decision was not repeated"
            before = list(trace)
        await replayed(world, invocation, before)


async def replayed(world: World, invocation: Invocation, before: list[Any]) -> None:
    """All of the journal once more, from its beginning, but for the outcome."""
    outcome, invocation.outcome, state = invocation.outcome, None, world.stored("Program", "a")
    last = invocation.entries.pop()
    assert isinstance(last, Command) and last.kind == "output"
    while world.next_notification(invocation) is not None:
        pass  # what came too late
    entries = len(invocation.entries)
    await world.attempt(invocation)
    assert not invocation.failures, invocation.failures[-1].message
    assert trace == before and invocation.outcome == outcome
    assert len(invocation.entries) == entries + 1 and world.stored("Program", "a") == state


@pytest.mark.may_log("ctx.sleep was called without await")
@given(program=PROGRAMS, partial=st.booleans())
@settings(max_examples=2 * EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_decisions_are_repeated_while_completions_stream_in(program: list[Any], partial: bool) -> None:
    asyncio.run(run(program, True, partial))


@pytest.mark.may_log("ctx.sleep was called without await")
@given(program=PROGRAMS, partial=st.booleans())
@settings(max_examples=2 * EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_decisions_are_repeated_where_each_await_ends_an_attempt(program: list[Any], partial: bool) -> None:
    asyncio.run(run(program, False, partial))
