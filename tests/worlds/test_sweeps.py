"""`@crash_everywhere`: what it runs, what it finds, what it compares, and how it says it."""

from __future__ import annotations

import random

import pytest

from actors import Context, VirtualObject, handler, schedule
from actors.testing import NotReproducible, World, WorldFailed, crash_everywhere, serves
from actors.testing.choices import Choices
from actors.testing.sweep import Sweep
from tests.worlds.scenarios import (
    Account,
    at_least_once,
    exactly_once,
    send_mail,
)


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
    assert swept.points > 50 and swept.left_out > 100
    # A crash for each of the mails that were too many: one crash cannot repeat both.
    assert swept.failed and all(str(run.choices).count("killed") == 2 for run in swept.failed)
    assert {str(run.error).splitlines()[0] for run in swept.failed} == {"['boss', 'boss', 'customer', 'customer']"}


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


class Kitchen(VirtualObject):
    cooked: list[str] = []

    @handler
    async def cook(self, dish: str) -> None:
        self.cooked.append(dish)


class Waiter(VirtualObject):
    @handler
    async def order(self, ctx: Context, dishes: list[str]) -> None:
        for dish in dishes:
            ctx.object(Kitchen, "k").cook.options(idempotency_key=dish).send(dish)


class Coin(VirtualObject):
    side: str = ""

    @handler
    async def toss(self, ctx: Context) -> str:
        self.side = ctx.random.choice(["heads", "tails"])
        return self.side


def test_no_crash_divides_what_is_recorded_in_one_callback() -> None:
    async def body(world: World) -> None:
        await world.serve(Waiter, Kitchen)
        await world.object(Waiter, "w").order(["soup", "cake"])
        await world.settle()
        assert world.look(Kitchen, "k").cooked == ["soup", "cake"]

    swept = Sweep().run(body)
    assert swept.points > 6 and not swept.failed, swept.explanation()


def test_what_a_coin_decides_is_not_compared() -> None:
    async def body(world: World) -> None:
        await world.serve(Coin)
        for name in "abcdefgh":
            assert await world.object(Coin, name).toss() in ("heads", "tails")

    swept = Sweep().run(body)
    assert swept.points > 6 and not swept.failed, swept.explanation()


@crash_everywhere
@serves(Account)
async def test_a_deposit_survives_a_crash_at_any_commit(world: World) -> None:
    assert await world.object(Account, "a").add(5) == 5
