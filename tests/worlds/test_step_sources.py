"""The clock and chance of steps: the world's own in steps, the machine's everywhere else, and put back in the end."""

from __future__ import annotations

import asyncio
import datetime
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from random import choice, gauss
from uuid import uuid4

import pytest

from actors import Context, VirtualObject, handler
from actors.errors import DurableTimeout
from actors.testing import NotReproducible, World, WorldFailed
from actors.testing.choices import Choices
from actors.testing.runs import run_once
from actors.testing.simulation import Simulation
from actors.testing.sweep import Sweep

START = datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.UTC).timestamp()  # of the wall clock of a world

SOURCES: dict[str, Callable[[], object]] = {
    "time": lambda: time.time(),
    "time_ns": lambda: time.time_ns(),
    "monotonic": lambda: time.monotonic(),
    "monotonic_ns": lambda: time.monotonic_ns(),
    "perf_counter": lambda: time.perf_counter(),
    "perf_counter_ns": lambda: time.perf_counter_ns(),
    "random": lambda: random.random(),
    "getrandbits": lambda: random.getrandbits(64),
    "choice, imported before": lambda: choice(range(10**9)),
    "gauss, which draws two": lambda: gauss(0, 1),
    "urandom": lambda: os.urandom(8),
    "uuid4, imported before": lambda: uuid4(),
    "token": lambda: secrets.token_hex(),
    "randbelow": lambda: secrets.randbelow(10**9),
    "system's generator": lambda: random.SystemRandom().random(),
}


def ask_all() -> dict[str, str]:
    return {name: repr(ask()) for name, ask in SOURCES.items()}


async def ask_later() -> dict[str, str]:
    await asyncio.sleep(1)
    return {**ask_all(), **{f"thread {name}": said for name, said in (await asyncio.to_thread(ask_all)).items()}}


def draw_normally() -> float:
    return gauss(0, 1)


class Asks(VirtualObject):
    answers: list[dict[str, str]] = []

    @handler
    async def ask(self, ctx: Context) -> list[dict[str, str]]:
        self.answers = [await ctx.run(ask_all), await ctx.run(ask_later), await ctx.run(ask_all)]
        await ctx.run(draw_normally)  # the fifth in all: the other number of its pair is left over
        return self.answers


async def asks(world: World) -> None:
    begun = world.now.timestamp()
    await world.serve(Asks)
    first, later, again = await world.object(Asks, "a").ask()
    assert len({*first.items()} & {*again.items()}) == 0  # no execution draws what another has drawn
    assert float(first["time"]) == pytest.approx(begun, abs=60) and float(later["time"]) - float(first["time"]) >= 1


def test_a_step_that_returns_time_and_chance_reproduces() -> None:
    swept = Sweep().run(asks)
    assert not swept.failed, swept.explanation()
    assert Simulation(runs=3, twice=True).run(asks).failed is None


def test_another_world_gives_other_times_and_numbers() -> None:
    said = []
    for secret, start_ms in ((b"a" * 32, 0), (b"b" * 32, 10**12), (b"b" * 32, 10**12)):
        world = World(secret=secret, start_ms=start_ms)
        try:

            async def body(world: World = world) -> dict[str, str]:
                await world.serve(Asks)
                return (await world.object(Asks, "a").ask())[0]

            said.append(world.run(body()))
        finally:
            world.close()
    assert said[1] == said[2] and not {*said[0].items()} & {*said[1].items()}


def slow() -> float:
    begun = time.monotonic()
    time.sleep(30)
    return time.monotonic() - begun


async def blocks_its_loop() -> float:
    return slow()


class Sleeper(VirtualObject):
    @handler
    async def sleep(self, ctx: Context, asynchronous: bool) -> float:
        if asynchronous:
            return await ctx.run(blocks_its_loop)
        return await ctx.run(slow)

    @handler
    async def sleep_at_most(self, ctx: Context, seconds: float) -> float:
        return await ctx.timeout(ctx.run(slow), seconds)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_sleep_in_a_step_takes_virtual_time(world: World, asynchronous: bool) -> None:
    await world.serve(Sleeper)
    real, begun = time.monotonic(), world.now
    assert await world.object(Sleeper, "s").sleep(asynchronous) == pytest.approx(30, abs=0.001)
    assert 30 <= (world.now - begun).total_seconds() < 30.1 and time.monotonic() - real < 10


async def test_a_step_that_sleeps_in_a_thread_delays_no_one_else(world: World) -> None:
    await world.serve(Sleeper)
    begun = world.now
    with pytest.raises(DurableTimeout):
        await world.object(Sleeper, "s").sleep_at_most(5)
    assert 5 <= (world.now - begun).total_seconds() < 6


class Waits(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> None:
        await ctx.run(asyncio.sleep, 3600)


async def test_only_the_step_itself_reads_the_time_of_the_world(world: World) -> None:
    await world.serve(Waits)
    sent = await world.object(Waits, "w").wait.send()
    await asyncio.sleep(1)  # the step is in the middle
    assert time.time() > START + 86_400 and world.executions("sleep") == 1
    await sent.cancel()
    await world.settle()
    assert time.time() > START + 86_400
    before = random.getstate()
    random.seed(1)
    assert random.random() == random.Random(1).random() and choice([1, 2]) in (1, 2)
    random.setstate(before)


def wait_on_a_loop_of_its_own() -> str:
    async def wait() -> str:
        await asyncio.sleep(0.001)
        return "over"

    return asyncio.run(wait())


def seed_and_draw() -> list[float]:
    random.seed(7)
    state = random.getstate()
    first = random.random()
    random.setstate(state)
    return [first, random.random()]


class Odd(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.run(wait_on_a_loop_of_its_own)

    @handler
    async def draw(self, ctx: Context) -> list[float]:
        return await ctx.run(seed_and_draw)


async def test_a_loop_in_a_step_keeps_its_own_time(world: World) -> None:
    await world.serve(Odd)
    assert await world.object(Odd, "o").wait() == "over"


async def test_a_step_may_seed_its_numbers_and_no_others(world: World) -> None:
    await world.serve(Odd)
    before = random.getstate()
    expected = random.Random(7).random()
    assert await world.object(Odd, "o").draw() == [expected, expected]
    assert random.getstate() == before


class Careless(VirtualObject):
    @handler
    async def decide(self) -> None:
        time.time()
        time.monotonic_ns()
        random.random()
        random.seed(random.getrandbits(8))
        choice([1, 2])
        os.urandom(1)
        uuid.uuid4()
        random.SystemRandom().random()


def test_in_handlers_the_guard_still_names_each_of_them() -> None:
    async def body(world: World) -> None:
        await world.serve(Careless)
        state = random.getstate()
        await world.object(Careless, "c").decide()
        random.setstate(state)

    error = run_once(body, Choices()).error
    assert isinstance(error, WorldFailed)
    named = (
        "time.time time.monotonic_ns random.random random.getrandbits random.seed random.choice os.urandom uuid.uuid4"
    )
    for name in (*named.split(), "random.SystemRandom.random"):
        assert f"Careless.decide calls {name}() outside of a step" in str(error)
    assert str(error).count("outside of a step") == 10  # SystemRandom() seeds itself


class Fails(VirtualObject):
    @handler
    async def fail(self, ctx: Context) -> None:
        await ctx.run(fail)


def fail() -> None:
    raise OSError(f"at {time.time()}")


def test_everything_is_put_back_whatever_happens() -> None:
    def now() -> list[object]:
        names = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")
        numbers = (random.random, random.getrandbits, random.seed, random.getstate, random.setstate, os.urandom)
        return [
            *(getattr(time, name) for name in names),
            *numbers,
            type(vars(random)["_inst"]),
            vars(random)["_urandom"],
        ]

    async def body(world: World) -> None:
        assert now() != before
        await world.serve(Fails, Waits)
        world.expect_paused(Fails)
        await world.object(Fails, "f").fail.send()
        await world.object(Waits, "w").wait.send()
        await asyncio.sleep(1)
        raise KeyError("in the middle of a step")

    before = now()
    assert isinstance(run_once(body, Choices()).error, KeyError)
    assert now() == before


def test_what_a_test_has_replaced_itself_is_left_alone() -> None:
    async def body(world: World) -> None:
        await world.serve(Asks)
        answers = await world.object(Asks, "a").ask()
        assert [answer["time"] for answer in answers] == ["5.0"] * 3

    real = time.time
    time.time = lambda: 5.0
    try:
        run = run_once(body, Choices())
        assert run.error is None and time.time() == 5.0
    finally:
        time.time = real


def say_the_date() -> str:
    return datetime.datetime.now().isoformat()


class Dated(VirtualObject):
    @handler
    async def date(self, ctx: Context) -> str:
        return await ctx.run(say_the_date)


def test_a_step_that_reads_the_real_date_is_refused_with_advice() -> None:
    async def body(world: World) -> None:
        await world.serve(Dated)
        await world.object(Dated, "d").date()

    with pytest.raises(NotReproducible, match=r"datetime.now\(\).*ctx.now\(\).*world.replace\(step, fake\)"):
        Sweep().run(body)
