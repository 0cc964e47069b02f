"""Random programs of handlers on the fake machine: each decision is repeated on each attempt, and so is the outcome."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.restate.fake_machine import Command
from tests.restate.machine_world import Invocation, World
from tests.restate.programs import Program, answer, programs, trace

EXAMPLES = int(os.environ["SIMULATIONS"])
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)


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
@given(program=programs(1), partial=st.booleans())
@settings(max_examples=2 * EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_decisions_are_repeated_while_completions_stream_in(program: list[Any], partial: bool) -> None:
    asyncio.run(run(program, True, partial))


@pytest.mark.may_log("ctx.sleep was called without await")
@given(program=programs(1), partial=st.booleans())
@settings(max_examples=2 * EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_decisions_are_repeated_where_each_await_ends_an_attempt(program: list[Any], partial: bool) -> None:
    asyncio.run(run(program, False, partial))
