"""What a simulation says of a run that is not the same twice."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from actors import Context, VirtualObject, handler
from actors.testing import NotReproducible, World
from actors.testing.choices import Choices
from actors.testing.simulation import Simulation
from tests.user_bugs.endings import FixedTeller, transfers


class Raffle(VirtualObject):
    @handler
    async def draw(self) -> float:
        return random.random()


posted: list[str] = []


class Letters(VirtualObject):
    @handler
    async def post(self, ctx: Context) -> None:
        await ctx.all(*(ctx.run(posted.append, name) for name in ("ada", "bob")))


def test_no_step_of_a_killed_process_answers_in_a_later_world() -> None:
    async def body(world: World) -> None:
        posted.clear()
        await world.serve(Letters)
        await world.object(Letters, "l").post()
        assert {*posted} == {"ada", "bob"}

    simulation = Simulation()
    for killed in ("commit 2: killed before", "commit 2: killed after"):
        for slow in ("step takes ms=3", "step takes ms #2=3", "commit takes ms #2=3; step takes ms=3"):
            for text in (f"{slow}; {killed}", ""):
                run = simulation.once(body, Choices.of(text) if text else Choices())
                assert run.error is None, f"{text}: {run.error}"


class Account(VirtualObject):
    cents: int = 100

    @handler
    async def deposit(self, cents: int) -> None:
        self.cents += cents

    @handler
    async def transfer(self, ctx: Context, to: str, cents: int) -> None:
        self.cents -= cents
        ctx.object(Account, to).deposit.send(cents)


def test_settle_waits_for_a_slow_read_after_an_answer_and_a_kill() -> None:
    async def body(world: World) -> None:
        await world.serve(Account)
        await asyncio.gather(
            world.object(Account, "a").transfer("b", 30),
            world.object(Account, "b").transfer("a", 50),
        )
        await world.settle()
        assert [world.look(Account, key).cents for key in "ab"] == [120, 80]

    text = "request takes ms; commit takes ms #2; answer takes ms; commit 2: killed before; read takes ms #3"
    run = Simulation().once(body, Choices.of(text))
    assert run.error is None and run.crashes == 1


def test_the_end_of_a_cancellation_in_a_killed_process_logs_no_error() -> None:
    text = "process 1: memory; handed over at once; somebody cancels; before that=5; handed over at once #2; commit takes ms #3; "
    text += (
        "commit 3: killed before; stays down for ms=651; process 2: memory=2; commit takes ms #5=2; read takes ms #7=3"
    )
    run = Simulation().once(lambda world: transfers(world, FixedTeller), Choices.of(text))
    assert run.error is None  # a record of a task that was destroyed fails the test, see tests/log_guard.py


def test_a_run_that_is_not_the_same_twice_names_what_the_guard_saw() -> None:
    async def body(world: World) -> None:
        world.unchecked("replay")
        await world.serve(Raffle)
        await world.object(Raffle, "r").draw()

    with pytest.raises(
        NotReproducible, match=r"failed Raffle.draw calls random.random\(\) outside of a step, at test_simulations"
    ):
        Simulation(runs=1).run(body)


def test_what_outlives_a_run_is_shown_by_the_first_difference() -> None:
    numbers = itertools.count()

    async def body(world: World) -> None:
        await world.serve(Raffle)
        world.choose(f"run {next(numbers)}")

    with pytest.raises(NotReproducible, match=r"first .* run 0.*\n.*then .* run 1"):
        Simulation(runs=1, twice=True).run(body)
