"""A disk that is full for a while: the app stops, refuses requests and goes on, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from actors import Context, VirtualObject, handler
from actors.errors import AppNotRunning, BadArguments, OutcomePending, ServerUnreachable
from actors.storage import StorageFull
from actors.testing import Faults, World
from actors.testing.choices import Choices
from actors.testing.exploring import Exploration, exploration
from actors.testing.runs import Body, Run, run_once
from actors.testing.simulation import Simulation
from actors.testing.sweep import Sweep
from tests.worlds.explored import Clock, Ledger, Post, Trip

FULL = Faults(disk=0.1)
ONLY_FULL = Faults(crash=0, step=0, delay=0, memory=0, prompt=0, disk=0.3)

# The app stops and says so, and asyncio reports what it was not asked to forget.
pytestmark = [
    pytest.mark.may_log("The app has stopped"),
    pytest.mark.may_log("starts again in"),
    pytest.mark.may_log("runs again"),
]

printed: list[str] = []


class Basket(VirtualObject):
    items: list[str] = []

    @handler
    async def put(self, ctx: Context, item: str) -> int:
        await ctx.run(printed.append, item)
        self.items.append(item)
        return len(self.items)

    @handler
    async def is_empty(self) -> bool:
        return not self.items


async def puts(world: World) -> None:
    printed.clear()
    await world.serve(Basket)
    basket = world.object(Basket, "b")
    assert await basket.put("pen") == 1
    assert await basket.put.options(idempotency_key="k")("ink") == 2
    sent = await basket.put.send("cup")
    assert await sent.result() == 3
    assert world.look(Basket, "b").items == ["pen", "ink", "cup"]


def once(text: str, body: Body = puts) -> Run:
    run = run_once(body, Choices.of(text))
    assert run.error is None, f"{text}: {run.error!r}\n" + "\n".join(run.story.lines())
    assert run.choices.unasked() == []
    return run


def told(run: Run, what: str) -> int:
    return sum(what in line for line in run.story.lines())


def test_a_request_whose_commit_finds_the_disk_full_is_done_once() -> None:
    commits = once("usual").commits
    assert commits > 5
    for number in range(1, commits + 1):
        run = once(f"commit {number}: the disk is full; stays full for ms=250")
        assert told(run, "LOST: the disk is full") == 1 == told(run, "app        runs again")
        assert [line[:9].strip() for line in run.story.lines() if "has space again" in line] == ["250 ms"]
        assert {row[4:] for row in run.outcomes} == {("succeeded", one) for one in "123"} and len(printed) >= 3


def test_a_disk_is_found_full_by_one_commit_if_nothing_else_is_said() -> None:
    run = once("commit 2: the disk is full")
    assert told(run, "disk       is full") == told(run, "has space again") == told(run, "LOST") == 1


def test_an_app_that_opens_its_file_on_a_full_disk_stops_again() -> None:
    run = once("commit 2: the disk is full; stays full for ms=1000; opens on the full disk")
    assert told(run, "LOST: the disk is full") == 2 == told(run, "app        runs again")


def test_what_no_caller_waits_for_goes_on_after_a_full_disk() -> None:
    async def body(world: World) -> None:
        await world.serve(Basket)
        await world.object(Basket, "b").put.send("pen")
        await world.settle()
        assert world.look(Basket, "b").items == ["pen"]

    for number in range(1, once("usual", body).commits + 1):
        once(f"commit {number}: the disk is full; stays full for ms=250", body)


def test_a_process_killed_on_a_full_disk_starts_when_there_is_space() -> None:
    text = "commit 2: the disk is full; stays full for ms=1000; opens on the full disk; commit 3: killed before"
    run = once(text)
    assert told(run, "process    2 has not started: the disk is full") == 1 and run.crashes == 2


def test_a_deployment_on_a_full_disk_waits_for_space() -> None:
    async def body(world: World) -> None:
        printed.clear()
        await world.serve(Basket)
        keyed = world.object(Basket, "b").put.options(idempotency_key="k")
        waiting = asyncio.ensure_future(_until_closed(keyed("pen")))
        await asyncio.sleep(0.01)
        await world.restart()
        await world.serve(Basket)
        await waiting
        assert await keyed("pen") == 1

    for text in ("commit 1", "commit 2"):
        run = once(f"{text}: the disk is full; stays full for ms=900", body)
        assert told(run, "has not started: the disk is full") >= 1


async def _until_closed(call: Awaitable[int]) -> None:
    with suppress(AppNotRunning):  # a call does not outlive an orderly end
        await call


def test_callers_of_the_app_itself_get_what_real_callers_get() -> None:
    async def body(world: World) -> None:
        await world.serve(Basket)
        call = world.app.object(Basket, "b").put("pen")
        with pytest.raises(OutcomePending, match=r"full \(database or disk is full\)") as pending:
            await call
        assert isinstance(pending.value.__cause__, StorageFull) and pending.value.invocation_id
        with pytest.raises(StorageFull, match="Free space"):
            await world.app.object(Basket, "b").put("ink")
        async with world.client() as client:
            with pytest.raises(ServerUnreachable, match="The database is not available at present"):
                await client.object(Basket, "b").put("cup")
            keyed = client.object(Basket, "b").is_empty.options(idempotency_key="k")
            assert await keyed() is False  # the client waits as long as the answer says, and asks again
        assert world.look(Basket, "b").items == ["pen"]

    once("commit 2: the disk is full; stays full for ms=300", body)


def test_explored_classes_lose_nothing_on_disks_that_are_full() -> None:
    simulated = Exploration(runs=15, faults=FULL).run(exploration([Ledger, Trip]))
    assert simulated.failed is None, simulated.explanation()
    assert simulated.full > 7 and f"{simulated.full} with a full disk" in simulated.summary()


def test_a_failure_that_a_killed_process_does_not_take_logs_no_error() -> None:
    body = exploration([Ledger, Post, Clock, Trip])
    run = Exploration(faults=Faults(disk=0.08)).once(body, Choices(seed=124))
    assert run.error is None and told(run, "app        runs again") > 1
    gc.collect()  # asyncio logs an exception that was never retrieved, and a test that logs fails


def test_seeds_are_histories_without_full_disks_unless_they_are_asked_for() -> None:
    run = Simulation().once(puts, Choices(seed=3))
    assert not any("full" in name for name in run.choices.asked)
    runs = [Simulation(faults=FULL).once(puts, Choices(seed=seed)) for seed in range(20)]
    assert [run.error for run in runs] == [None] * 20
    assert sum(told(run, "disk       is full") > 0 for run in runs) > 5
    again = Simulation().once(puts, Choices.of(str(runs[3].choices)))
    assert again.story.lines() == runs[3].story.lines()


def test_a_sweep_of_every_kind_fills_the_disk_at_each_commit() -> None:
    async def body(world: World) -> None:
        await world.serve(Basket)
        assert await world.object(Basket, "b").put("pen") == 1

    swept = Sweep(faults="every kind", fresh=False).run(body)
    assert not swept.failed, swept.explanation()
    full = sum("the disk is full" in name for name in swept.base.choices.asked)
    assert full == swept.base.commits and swept.points > 3 * full


# --- a bug that only a full disk shows -------------------------------------------------------------------------------------


async def put_once(world: World, item: str, refusals: tuple[type[Exception], ...]) -> None:
    """A caller over HTTP that repeats what `refusals` refuse, and looks for what may have been done."""
    async with world.client() as client:
        basket = client.object(Basket, "b")
        while True:
            try:
                await basket.put(item)
                return
            except refusals:
                await asyncio.sleep(1)
            except (ServerUnreachable, OutcomePending):
                await asyncio.sleep(1)
                if not await world.object(Basket, "b").is_empty():  # after the other in the mailbox
                    return


def buys(*refusals: type[Exception]) -> Body:
    async def body(world: World) -> None:
        await world.serve(Basket)
        await put_once(world, "book", refusals)
        await world.settle()
        assert world.look(Basket, "b").items == ["book"], "put twice"

    return body


BUGGY = buys(AppNotRunning)  # the bug: OutcomePending is an AppNotRunning
FIXED = buys()


def test_a_caller_that_repeats_what_is_pending_is_found() -> None:
    assert Simulation(runs=25, faults=Faults(crash=0.2)).run(BUGGY).failed is None
    found = Simulation(runs=25, faults=ONLY_FULL).run(BUGGY).failed
    assert found is not None and found.failure() == (AssertionError, "put twice")
    assert str(found.choices) == "commit 2: the disk is full"
    assert Simulation(runs=10, faults=FULL).run(FIXED).failed is None


@pytest.mark.parametrize("odds", [-0.1, 2, True, "x"])
def test_a_probability_of_full_disks_that_is_not_valid_is_refused(odds: float) -> None:
    with pytest.raises(BadArguments, match=r"Faults\(disk="):
        Faults(disk=odds)
