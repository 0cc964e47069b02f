"""Durations that become due times: never early, and what has passed already is due now."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Context, VirtualObject, handler
from actors.engine.clock import SystemClock
from actors.errors import BadArguments, DurableTimeout
from tests.world import World, outcome


class Waiter(VirtualObject):
    """Each handler waits in another way."""

    @handler
    async def sleep(self, ctx: Context, wait: Any) -> None:
        await ctx.sleep(_wait(wait))

    @handler
    async def timeout(self, ctx: Context, wait: Any) -> None:
        with pytest.raises(DurableTimeout):
            await ctx.timeout(ctx.awakeable(str), _wait(wait))

    @handler
    async def awakeable(self, ctx: Context, wait: Any) -> None:
        with pytest.raises(DurableTimeout):
            await ctx.awakeable(str, timeout=_wait(wait))

    @handler
    async def delayed_send(self, ctx: Context, wait: Any) -> None:
        by_reference = ctx.object(Waiter, "other").nothing.options(delay=_wait(wait)).send()
        await ctx.attach(ctx.send("Waiter", "other", "nothing", delay=_wait(wait)).id)
        await ctx.attach(by_reference.id)

    @handler
    async def nothing(self) -> None: ...


WAITS = ["sleep", "timeout", "awakeable", "delayed_send"]
_waits: dict[int, Any] = {}  # what no journal could hold: infinities, complex numbers


def _wait(number: int) -> Any:
    return _waits[number]


def _numbered(wait: Any) -> int:
    number = len(_waits)
    _waits[number] = wait
    return number


PASSED = [0, -1, -5.5, -1e-9, -(10**30), datetime.timedelta(0), datetime.timedelta(days=-400), datetime.timedelta.min]


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize("passed", PASSED, ids=repr)
async def test_a_deadline_that_has_passed_is_due_now(how: str, passed: Any) -> None:
    async with World(Waiter) as world:
        sent = await world.app.send("Waiter", "a", how, _numbered(passed))
        await world.settle()
        await world.pass_time(0.001)  # by a clock between two milliseconds the next one is meant
        assert await outcome(sent) is None


@pytest.mark.parametrize("passed", PASSED, ids=repr)
async def test_a_message_whose_delay_has_passed_is_delivered_now(passed: Any) -> None:
    async with World(Waiter) as world:
        for sent in (
            await world.app.object(Waiter, "a").nothing.options(delay=passed).send(),
            await world.app.object(Waiter, "a").nothing.options(delay=passed, idempotency_key="k").send(),
            await world.app.send("Waiter", "a", "nothing", delay=passed),
        ):
            assert await outcome(sent) is None


NONSENSE = [math.nan, math.inf, -math.inf, 1e12, "1", "-1", True, Decimal(1), Decimal(-1), 1j, [-1], {}]


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
async def test_a_duration_that_means_nothing_is_an_error_at_once(how: str, nonsense: Any) -> None:
    async with World(Waiter) as world:
        sent = await world.app.send("Waiter", "a", how, _numbered(nonsense))
        assert await outcome(sent) is BadArguments


async def test_a_sleep_until_a_moment_that_has_passed_survives_replay() -> None:
    class Reminder(VirtualObject):
        @handler
        async def remind(self, ctx: Context, at: datetime.datetime) -> str:
            await ctx.sleep(at - ctx.now())
            await ctx.awakeable(str)
            return "reminded"

    async with World(Reminder) as world:
        past = datetime.datetime.fromtimestamp(world.clock.now_ms() / 1000, datetime.UTC) - datetime.timedelta(hours=1)
        sent = await world.app.object(Reminder, "a").remind.send(past)
        await world.settle()
        await world.pass_time(0)
        await world.restart()
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "x")
        assert await world.outcome(sent) == "reminded"


@settings(max_examples=60, deadline=None)
@given(
    how=st.sampled_from([*WAITS, "delayed message"]),
    began_ns=st.integers(0, 999_999),
    wait=st.one_of(
        st.timedeltas(datetime.timedelta(0), datetime.timedelta(seconds=30)),
        st.integers(0, 30),
        st.integers(0, 30_000_000).map(lambda us: us / 1e6),
    ),
    restart=st.booleans(),
    back_s=st.integers(0, 5),
)
async def test_nothing_that_waits_is_over_before_its_time(
    how: str, began_ns: int, wait: Any, restart: bool, back_s: int
) -> None:
    """Between two milliseconds of the clock, across a restart, and when the clock is set back meanwhile."""
    seconds = wait.total_seconds() if isinstance(wait, datetime.timedelta) else float(wait)
    wait_ns = round(seconds * 1e6) * 1000
    async with World(Waiter) as world:
        world.clock.advance(began_ns / 1e9)
        due_ns = world.clock.now_ns() + wait_ns
        if how == "delayed message":
            sent = await world.app.object(Waiter, "a").nothing.options(delay=wait).send()
        else:
            sent = await world.app.send("Waiter", "a", how, _numbered(wait))
        await world.settle()
        if restart:
            await world.restart()
        if wait_ns:  # what is due at once may be over
            world.clock.set_to(world.clock.now_ms() - back_s * 1000)
        await world.settle()
        if wait_ns and world.clock.now_ns() < due_ns - 1:
            await world.pass_time((due_ns - 1 - world.clock.now_ns()) / 1e9)
            assert world.clock.now_ns() < due_ns
            assert await world.status(sent) not in ("succeeded", "failed")
        await world.pass_time(0.002)  # both the duration and the moment at which it ends are rounded up
        await world.settle(3)
        assert await world.status(sent) == "succeeded"


@given(st.integers(0, 2**62), st.integers(0, 10**14))
def test_the_machines_clock_ends_nothing_early_and_little_late(now_ns: int, after_ms: int) -> None:
    clock = SystemClock(lambda: now_ns)
    late_ns = clock.due_ms(after_ms) * 1_000_000 - (now_ns + after_ms * 1_000_000)
    assert 0 <= late_ns < 1_000_000
    assert clock.now_ms() <= clock.due_ms(0) <= clock.now_ms() + 1
