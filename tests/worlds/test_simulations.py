"""`@simulate`: what it varies, what it finds, how it shrinks it; and what both decorators refuse."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors import Context, VirtualObject, handler
from actors.errors import BadArguments
from actors.testing import Faults, NotReproducible, World, WorldFailed, crash_everywhere, serves, simulate
from actors.testing.choices import Choices
from actors.testing.simulation import Simulation
from tests.user_bugs.endings import FixedTeller, transfers
from tests.worlds.scenarios import (
    Account,
    at_least_once,
    cancelled,
    checkout,
)

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_simulation_finds_shrinks_and_gives_the_failure_again() -> None:
    found = Simulation(runs=300).run(cancelled)
    assert found.failed is not None and found.unusual > len(found.failed.choices.unusual)
    text = str(found.failed.choices)
    assert len(found.failed.choices.unusual) <= 4 and "somebody cancels" in text
    again = Simulation().once(cancelled, Choices.of(text))
    assert again.failure() == (AssertionError, "money is not conserved")
    assert again.story.digest() == found.failed.story.digest()
    assert f"shrunk to {len(found.failed.choices.unusual)}" in found.explanation()


HISTORIES = """
from tests.worlds.test_simulations import Choices, Simulation, at_least_once, cancelled
for body in (cancelled, at_least_once):
    for seed in range(5):
        run = Simulation().once(body, Choices(seed=seed))
        print(seed, len(run.story), run.story.digest(), run.choices)
"""


def test_a_history_does_not_depend_on_the_order_of_sets() -> None:
    told = set()
    for hash_seed in ("0", "4711"):
        ended = subprocess.run(
            [sys.executable, "-c", HISTORIES],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        told.add(ended.stdout)
    assert len(told) == 1 and len(told.pop().splitlines()) == 10


@pytest.mark.parametrize("seed", range(0, 60, 7))
def test_a_seed_is_one_history(seed: int) -> None:
    runs = [Simulation().once(cancelled, Choices(seed=seed)) for _ in range(2)]
    assert runs[0].story.lines() == runs[1].story.lines()
    as_text = Simulation().once(cancelled, Choices.of(str(runs[0].choices)))
    assert as_text.story.lines() == runs[0].story.lines()


def test_the_faults_of_a_simulation_all_occur() -> None:
    async def body(world: World) -> None:
        await checkout(world, 100)

    found = Simulation(runs=60).run(body)
    assert found.failed is None and found.runs == 60
    assert found.crashed > 5 and found.steps_failed > 5
    assert "60 runs:" in found.summary()


def test_without_faults_a_simulation_is_a_plain_test() -> None:
    none = Faults(crash=0, step=0, delay=0, memory=0, prompt=0)
    run = Simulation(faults=none).once(at_least_once, Choices(seed=3))
    assert run.choices.unusual == [] and run.crashes == 0


def test_a_run_is_not_shrunk_to_another_failure() -> None:
    async def body(world: World) -> None:
        await world.serve(Account)
        one, other = world.choose("one"), world.choose("other")
        assert not (one and other), "both"
        assert not one, "only one"

    none = Faults(crash=0, step=0, delay=0, memory=0, prompt=0)
    shrunk = set()
    for seed in range(60):
        found = Simulation(runs=1, seed=seed, faults=none).run(body).failed
        first = Simulation(faults=none).once(body, Choices(seed=seed))
        assert (found.failure() if found is not None else None) == first.failure()
        shrunk.add(str(found.choices) if found is not None else None)
    assert shrunk == {None, "one", "one; other"}


def test_what_no_run_reaches_fails_the_simulation() -> None:
    async def body(world: World) -> None:
        await world.serve(Account)
        if world.choose("never", 1):
            world.sometimes("there")
        world.sometimes("here")

    found = Simulation(runs=5).run(body)
    with pytest.raises(WorldFailed, match="None of 5 runs has reached 'there'"):
        found.check(body)


def test_runs_that_are_kept_are_run_first() -> None:
    kept = Simulation(runs=300).run(cancelled).failed
    assert kept is not None
    found = Simulation(runs=1, also=("nothing of the kind", str(kept.choices))).run(cancelled)
    assert found.silent == ["nothing of the kind"] and found.failed is not None and found.runs == 0


def test_each_outcome_of_a_choice_is_chosen() -> None:
    async def outcomes(world: World) -> None:
        await world.serve(Account)
        seen.add((world.choose("flag"), world.choose("number", 3), world.choose("one", ["a", "b"])))

    seen: set[Any] = set()
    for seed in range(60):
        Simulation().once(outcomes, Choices(seed=seed))
    assert len(seen) == 12 and (False, 0, "a") in seen
    seen.clear()
    Simulation().once(outcomes, Choices())
    assert seen == {(False, 0, "a")}


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


class Wallet(VirtualObject):
    cents: int = 100

    @handler
    async def deposit(self, cents: int) -> None:
        self.cents += cents

    @handler
    async def transfer(self, ctx: Context, to: str, cents: int) -> None:
        self.cents -= cents
        ctx.object(Wallet, to).deposit.send(cents)


def test_settle_waits_for_a_slow_read_after_an_answer_and_a_kill() -> None:
    async def body(world: World) -> None:
        await world.serve(Wallet)
        await asyncio.gather(
            world.object(Wallet, "a").transfer("b", 30),
            world.object(Wallet, "b").transfer("a", 50),
        )
        await world.settle()
        assert [world.look(Wallet, key).cents for key in "ab"] == [120, 80]

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


@simulate(runs=20)
@serves(Account)
async def test_deposits_are_all_there_whatever_happens(world: World) -> None:
    await asyncio.gather(*(world.object(Account, "a").add(1) for _ in range(5)))
    assert world.look(Account, "a").cents == 5


# --- what the decorators refuse --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: crash_everywhere(crashes=3),
        lambda: crash_everywhere(crashes=True),
        lambda: crash_everywhere(faults="some"),  # type: ignore[call-overload]
        lambda: crash_everywhere(most=0),
        lambda: crash_everywhere(downtime=-1),
        lambda: crash_everywhere(also=["x=0"]),
        lambda: simulate(runs=0),
        lambda: simulate(runs=1.5),  # type: ignore[call-overload]
        lambda: simulate(seed=-1),
        lambda: simulate(faults=0.5),  # type: ignore[call-overload]
        lambda: simulate(also=[";"]),
        lambda: Faults(crash=1.5),
        lambda: Faults(step=True),
        lambda: Faults(crashes=-1),
        lambda: Faults(downtime=float("nan")),
    ],
)
def test_options_that_are_not_valid_are_refused(mistake: Callable[[], Any]) -> None:
    with pytest.raises(BadArguments):
        mistake()
