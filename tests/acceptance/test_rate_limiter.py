"""The rate limiter example: run as its docstring says, on a clock, and killed at each of its commits."""

from __future__ import annotations

import asyncio
import re
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.rate_limiter import CAPACITY, INTERVAL, Bucket, TooManyCalls, wait_for
from tests.acceptance.programs import Program, finish, kills
from tests.world import World

INTERVAL_S = INTERVAL.total_seconds()


@pytest.fixture
def limiter(tmp_path: Path) -> Program:
    return Program(tmp_path, "rate_limiter.py")


def test_many_callers_at_once_share_the_calls_that_are_left(limiter: Program) -> None:
    burst, again, one, refused = limiter.documented()
    first = limiter.says(*burst)
    assert [re.sub(r"\d\d\d\.\d", "some", line) for line in first] == [
        f"{customer}: 10 of 100 calls were let through; the others may come back in some seconds"
        for customer in ("ada", "bob")
    ]
    assert [line.partition(";")[0] for line in limiter.says(*again)] == [
        f"{customer}: 0 of 1000 calls were let through" for customer in ("ada", "bob")
    ]
    assert limiter.says(*one) == ["9 calls left"]
    assert re.fullmatch(r"ada has no calls left\. Wait \d\d\d\.\d seconds\.\n", limiter.refuses(*refused))
    customers = [line.split()[0] for line in limiter.lines("calls.txt")]
    assert [customers.count(customer) for customer in ("ada", "bob", "eve")] == [10, 10, 1]


async def test_after_the_wait_that_it_names_a_call_is_let_through(limiter: Program) -> None:
    with chdir(limiter.folder):
        async with World(Bucket) as world:
            bucket = world.app.object(Bucket, "ada")
            assert [await bucket.take() for _ in range(CAPACITY)] == list(reversed(range(CAPACITY)))
            await world.pass_time(20)
            wait = await wait_for(world.app, "ada")
            assert wait == INTERVAL_S - 20
            await world.pass_time(wait - 0.001)
            assert await wait_for(world.app, "ada") == 0.001
            await world.pass_time(0.001)
            assert await bucket.take() == 0
            with pytest.raises(TooManyCalls, match=r"Wait 600\.0 seconds") as refusal:
                await bucket.take()
            assert refusal.value.code == 429
            await world.pass_time(2.5 * INTERVAL_S)
            assert [await bucket.take(), await bucket.take(), await wait_for(world.app, "ada")] == [
                1,
                0,
                INTERVAL_S / 2,
            ]
            await world.pass_time(1000 * INTERVAL_S)
            assert await bucket.take() == CAPACITY - 1


async def test_a_clock_that_is_set_back_locks_no_customer_out(limiter: Program) -> None:
    with chdir(limiter.folder):
        async with World(Bucket) as world:
            await asyncio.gather(*[world.app.object(Bucket, "ada").take() for _ in range(CAPACITY)])
            world.clock.set_to(world.clock.now_ms() - 3_600_000)
            assert await wait_for(world.app, "ada") == INTERVAL_S
            await world.pass_time(INTERVAL_S)
            assert await wait_for(world.app, "ada") == 0


@pytest.mark.parametrize("written", [False, True])
async def test_calls_killed_at_any_commit_take_each_token_once(limiter: Program, written: bool) -> None:
    for kill in kills(written):
        (limiter.folder / "calls.txt").unlink(missing_ok=True)
        with chdir(limiter.folder):
            async with World(Bucket) as world:
                began = datetime.fromtimestamp(world.clock.now_ms() / 1000, UTC)
                bucket = world.app.object(Bucket, "ada")
                calls = await asyncio.gather(*[bucket.take.send() for _ in range(CAPACITY + 3)])
                await finish(world, calls[-1], kill)
                outcomes = [await world.outcome(call) for call in calls]
                state = await world.app.state(Bucket, "ada")
        assert outcomes == [*reversed(range(CAPACITY)), *[TooManyCalls] * 3]
        # The first call is decided by the time at which it began, in whichever process.
        assert state.values == {"tokens": 0, "filled_at": began.isoformat().replace("+00:00", "Z")}
        lines = limiter.lines("calls.txt")
        assert len(set(lines)) == CAPACITY
        assert len(lines) - CAPACITY <= kill.repeats
