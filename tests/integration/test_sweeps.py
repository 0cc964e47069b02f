"""`@crash_everywhere` and `@simulate`: what they run, what they find, what they compare, and how they say it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actors import Context, Service, VirtualObject, handler, schedule
from actors.errors import BadArguments, WrongStatus
from actors.testing import Faults, NotReproducible, World, WorldFailed, crash_everywhere, serves, simulate
from actors.testing.choices import Choices
from actors.testing.simulation import Simulation
from actors.testing.sweep import Sweep

ROOT = Path(__file__).resolve().parent.parent.parent


def send_mail(to: str) -> None: ...


class Mailer(VirtualObject):
    @handler
    async def deliver(self, ctx: Context) -> None:
        await ctx.run(send_mail, "customer")


class Shop(VirtualObject):
    status: str = "new"

    @handler
    async def checkout(self, ctx: Context) -> str:
        approval = ctx.awakeable(str)
        await ctx.run(send_mail, "boss")
        self.status = await approval
        ctx.object(Mailer, "m").deliver.send()
        return "complete"


class Account(VirtualObject):
    cents: int = 0

    @handler
    async def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents


class Teller(Service):
    @handler
    async def transfer(self, ctx: Context, cents: int) -> None:
        await ctx.object(Account, "a").add(-cents)
        await ctx.object(Account, "b").add(cents)


async def checkout(world: World, most: int) -> None:
    mails: list[str] = []
    world.replace(send_mail, mails.append)
    await world.serve(Shop, Mailer)
    sent = await world.object(Shop, "o").checkout.send()
    await (await world.awakeable()).resolve("yes")
    assert await sent.result() == "complete"
    await world.settle()
    assert set(mails) == {"boss", "customer"} and len(mails) <= most, mails


async def at_least_once(world: World) -> None:
    await checkout(world, 3)


async def exactly_once(world: World) -> None:
    await checkout(world, 2)


async def cancelled(world: World) -> None:
    await world.serve(Teller, Account)
    await world.object(Account, "a").add(100)
    sent = await world.service(Teller).transfer.send(30)
    if world.choose("somebody cancels"):
        await world.pause("after", up_to=0.02)
        with suppress(WrongStatus):
            await sent.cancel()
    await world.settle()
    assert world.look(Account, "a").cents + world.look(Account, "b").cents == 100, "money is not conserved"


# --- sweeps -----------------------------------------------------------------------------------------------------------------------


def test_a_sweep_kills_before_and_after_each_commit() -> None:
    swept = Sweep().run(at_least_once)
    assert swept.failed == [] and swept.points == 2 * swept.base.commits > 10
    assert set(swept.repeated) == {"send_mail of Shop/o/checkout", "send_mail of Mailer/m/deliver"}
    assert "none failed" in swept.summary() and "send_mail of Mailer/m/deliver ran more than once" in swept.summary()


def test_a_sweep_finds_the_step_that_runs_twice_and_tells_its_story() -> None:
    swept = Sweep().run(exactly_once)
    assert [str(run.choices) for run in swept.failed] == ["commit 3: killed before", "commit 8: killed before"]
    told = swept.explanation()
    assert "2 of 18 points fail. The first: commit 3: killed before." in told
    assert "LOST: the process is killed" in told and "send_mail once more" in told
    again = Sweep().once(exactly_once, Choices.of("commit 3: killed before"))
    assert again.failure() == swept.failed[0].failure() and again.story.digest() == swept.failed[0].story.digest()


def test_pairs_of_crashes_are_swept_too() -> None:
    swept = Sweep(crashes=2, most=40).run(at_least_once)
    assert (
        swept.points > 50
        and swept.left_out > 100
        and [run.error for run in swept.failed if "len" not in str(run.error)] == []
    )


def test_each_other_fault_is_tried_alone() -> None:
    swept = Sweep(faults="every kind").run(exactly_once)
    texts = [str(run.choices) for run in swept.failed]
    assert "step send_mail fails (1 before its effect, 2 after)=2" in texts
    assert "step send_mail fails (1 before its effect, 2 after)" not in texts  # it had no effect


class Scheduled(VirtualObject):
    ticks: int = 0

    @schedule("0 3 * * *", key="daily")
    @handler
    async def tick(self) -> None:
        self.ticks += 1


def test_a_process_may_die_at_a_commit_of_its_start() -> None:
    async def body(world: World) -> None:
        await world.serve(Scheduled, Account)
        assert await world.object(Account, "a").add(1) == 1
        await world.pass_time(days=2)
        assert world.look(Scheduled, "daily").ticks == 2

    swept = Sweep().run(body)
    assert swept.failed == [] and "Scheduled/daily/tick scheduled" in swept.base.story.lines()[0]


def test_a_long_sweep_leaves_points_out_and_says_so() -> None:
    swept = Sweep(most=5).run(at_least_once)
    assert swept.points == 5 and swept.left_out == 2 * swept.base.commits - 5
    assert f"{swept.left_out} points were left out: raise most=" in swept.summary()


def test_the_process_stays_down_for_the_downtime() -> None:
    swept = Sweep(downtime=3600).run(at_least_once)
    run = Sweep(downtime=3600).once(at_least_once, Choices.of("commit 3: killed before"))
    assert swept.failed == [] and any("01:00:00" in line for line in run.story.lines())


ATTEMPTS: dict[str, list[int]] = {}


def test_state_is_compared_with_that_of_the_undisturbed_run() -> None:
    class Forgets(VirtualObject):
        tries: int = 0

        @handler
        async def work(self, ctx: Context) -> None:
            attempts = ATTEMPTS.setdefault(ctx.invocation_id, [])
            attempts.append(1)
            await ctx.run(send_mail, "boss")
            self.tries = len(attempts)

    async def body(world: World) -> None:
        ATTEMPTS.clear()
        world.unchecked("replay")
        await world.serve(Forgets)
        await world.object(Forgets, "f").work()

    first = Sweep().run(body).failed[0]
    assert isinstance(first.error, WorldFailed) and str(first.error).startswith(
        "Forgets/f.tries ends as 2, and without the crash as 1."
    )
    assert Sweep(ignore=("Forgets.tries",)).run(body).failed == []
    assert Sweep(compare=False).run(body).failed == []


def test_ids_and_times_that_differ_anyway_are_not_compared() -> None:
    class Dated(VirtualObject):
        opened: float = 0
        id: str = ""

        @handler
        async def open(self, ctx: Context) -> None:
            self.opened = ctx.now().timestamp()
            self.id = ctx.invocation_id
            await ctx.run(send_mail, "boss")

    async def body(world: World) -> None:
        await world.serve(Dated)
        await world.object(Dated, "d").open()

    swept = Sweep(downtime=5).run(body)
    assert swept.failed == [] and swept.points > 3


def test_a_test_that_fails_undisturbed_is_not_swept() -> None:
    async def body(world: World) -> None:
        await world.serve(Account)
        assert await world.object(Account, "a").add(1) == 2, "plain"

    with pytest.raises(AssertionError, match="plain"):
        Sweep().run(body)


def test_a_test_that_is_not_the_same_twice_is_refused() -> None:
    async def body(world: World) -> None:
        await world.serve(Account)
        await world.object(Account, "a").add(random.randrange(10**9))

    with pytest.raises(NotReproducible, match=r"first .*add.*\n.*then .*add"):
        Sweep().run(body)


# --- simulations -------------------------------------------------------------------------------------------------------------------


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
from tests.integration.test_sweeps import Choices, Simulation, at_least_once, cancelled
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
    text = str(runs[0].choices)
    as_text = Simulation().once(cancelled, Choices.of(text) if text else Choices())
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


# --- the decorators, as users write them ----------------------------------------------------------------------------------------


@crash_everywhere
@serves(Account)
async def test_a_deposit_survives_a_crash_at_any_commit(world: World) -> None:
    assert await world.object(Account, "a").add(5) == 5


@simulate(runs=20)
@serves(Account)
async def test_deposits_are_all_there_whatever_happens(world: World) -> None:
    await asyncio.gather(*(world.object(Account, "a").add(1) for _ in range(5)))
    assert world.look(Account, "a").cents == 5
