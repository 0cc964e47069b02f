"""The rows of docs/promises/failure-matrix.md: a process is killed at one moment, and everything it was doing is looked at.

Each test kills a process in the middle of one trip, starts the next process, lets the trip end, and compares what the page
says of the caller, the state, the steps, the messages and the timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from actors import Context, VirtualObject, handler
from actors.errors import AppNotRunning, AwakeableCompleted, OutcomePending
from actors.storage import StorageError
from tests.world import World

bought: list[str] = []  # what steps did in the world outside, which does not crash
counters: list[asyncio.Event] = []  # the last one lets steps end
rounds = [0]  # how much a step computes
NO_ANSWER = "no answer"


async def buy(name: str) -> str:
    bought.append(name)
    sum(range(rounds[-1]))
    await counters[-1].wait()
    return f"ticket {len(bought)}"


class Mail(VirtualObject):
    received: list[str] = []

    @handler
    async def receive(self, word: str) -> None:
        self.received.append(word)


class Trip(VirtualObject):
    stations: list[str] = []

    @handler
    async def travel(self, ctx: Context, name: str) -> str:
        """Commits: 1 the acceptance; 2 state, message and step as asked for; 3 the step's result and the sleep;
        4 the sleep's end and the awakeable; 5 its completion and the outcome.
        """
        self.stations.append(name)
        ctx.object(Mail, "m").receive.send(name)
        ticket = await ctx.run(buy, name)
        await ctx.sleep(60)
        return f"{ticket}, seat {await ctx.awakeable(str)}"


@pytest.fixture(autouse=True)
def _nothing_is_bought() -> None:
    bought.clear()
    counters[:] = [asyncio.Event()]
    rounds[:] = [0]
    counters[-1].set()


async def _answer(what: Awaitable[Any]) -> Any:
    try:
        return await what
    except (StorageError, AppNotRunning):  # what stands for a connection that breaks when the process dies
        return NO_ANSWER


class Journey:
    """A machine, and one call with an idempotency key."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began_ms = world.clock.now_ms()

    def call(self) -> asyncio.Task[Any]:
        trip = self.world.app.object(Trip, "t").travel.options(idempotency_key="k")
        return asyncio.create_task(_answer(trip("Rome")))

    async def killed_at(self, commit: int, *, written: bool) -> Any:
        """Kill the process when it commits for this time, before or after the disk has it. What its caller got."""
        self.world.store.crash_at_commit(commit, written=written)
        call = self.call()
        await self.world.settle()
        for _ in range(6):
            if self.world.store.crashed:
                break
            await self.world.pass_time(10)
        assert self.world.store.crashed
        await self.world.crash()
        return await call

    async def next_process(self) -> None:
        await self.world.start()
        await self.world.settle()

    def stored(self, sql: str) -> list[Any]:
        return [value for (value,) in self.world.disk.query(sql)]

    @property
    def journal(self) -> list[str]:
        return self.stored("SELECT entry FROM journal WHERE position > 0 AND invocation = 1 ORDER BY position")

    async def ends(self) -> str:
        """Ask once more under the same key, let everything happen that is still to come, and check what must hold."""
        call = self.call()
        await self.world.settle()
        left_ms = self.began_ms + 60_000 - self.world.clock.now_ms()
        if left_ms > 0:
            await self.world.pass_time((left_ms - 1) / 1000)
            assert not await self.world.app.awakeables(), "the sleep was shortened"
            await self.world.pass_time(0.001)
        for waiting in await self.world.app.awakeables():
            await self.world.app.resolve_awakeable(waiting.id, "5")
        result = str(await asyncio.wait_for(call, 5))
        await self.world.settle()
        assert self.stored("SELECT value FROM state WHERE service = 'Trip'") == ['["Rome"]'], "state: once"
        assert self.stored("SELECT value FROM state WHERE service = 'Mail'") == ['["Rome"]'], "message: once"
        assert self.stored("SELECT status FROM invocations WHERE service = 'Trip'") == ["succeeded"], "one invocation"
        assert self.stored("SELECT count(*) FROM timer") == [0]
        assert result.endswith("seat 5")
        return result


async def test_killed_before_the_acceptance_is_on_disk_nothing_has_happened() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        assert await journey.killed_at(1, written=False) == NO_ANSWER
        await journey.next_process()
        assert world.statuses() == [] and bought == []
        assert journey.stored("SELECT count(*) FROM state UNION ALL SELECT count(*) FROM timer") == [0, 0]
        assert await journey.ends() == "ticket 1, seat 5"


async def test_killed_between_the_acceptance_and_its_acknowledgement_it_goes_on_by_itself() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        assert await journey.killed_at(1, written=True) == NO_ANSWER
        assert (world.statuses(), bought) == (["pending"], [])
        await journey.next_process()
        assert bought == ["Rome"], "no caller had to ask again"
        assert await journey.ends() == "ticket 1, seat 5"


async def test_killed_before_the_first_commands_are_on_disk_they_are_given_once() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        assert await journey.killed_at(2, written=False) == NO_ANSWER
        assert (world.statuses(), journey.journal, bought) == (["pending"], [], [])
        await journey.next_process()
        assert await journey.ends() == "ticket 1, seat 5"


async def test_killed_after_the_first_commands_are_on_disk_they_are_given_once() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        assert await journey.killed_at(2, written=True) == NO_ANSWER
        assert (journey.journal, bought) == (["set state", "send", "run"], [])
        await journey.next_process()
        assert await journey.ends() == "ticket 1, seat 5"


async def test_killed_while_a_step_runs_the_step_runs_again() -> None:
    counters[-1].clear()
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        call = journey.call()
        await world.settle()
        assert (bought, world.statuses()) == (["Rome"], ["running", "succeeded"])
        await world.crash()
        assert await call == NO_ANSWER
        counters[-1].set()
        await journey.next_process()
        assert bought == ["Rome", "Rome"]
        assert await journey.ends() == "ticket 2, seat 5"


async def test_killed_between_the_end_of_a_step_and_its_record_the_step_runs_again() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        assert await journey.killed_at(3, written=False) == NO_ANSWER
        assert (bought, journey.journal[-1]) == (["Rome"], "run")
        await journey.next_process()
        assert await journey.ends() == "ticket 2, seat 5"
        assert bought == ["Rome", "Rome"]


@pytest.mark.parametrize("busy", [0, 500_000], ids=["idle machine", "busy machine"])
async def test_killed_after_the_record_of_a_step_the_step_does_not_run_again(busy: int) -> None:
    """A simulated machine commits the same, however slow the real one is."""
    rounds[:] = [busy]
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        assert await journey.killed_at(3, written=True) == NO_ANSWER
        assert journey.journal[-2:] == ["completed", "sleep"]
        await journey.next_process()
        assert await journey.ends() == "ticket 1, seat 5"
        assert bought == ["Rome"]


@pytest.mark.parametrize("down", [10, 3600], ids=["due later", "due meanwhile"])
async def test_killed_while_it_sleeps_the_sleep_ends_when_it_is_due(down: float) -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        call = journey.call()
        await world.settle()
        assert world.statuses()[0] == "blocked"
        await world.crash()
        assert await call == NO_ANSWER
        world.clock.advance(down)
        await journey.next_process()
        await world.pass_time(0)
        assert len(await world.app.awakeables()) == (down > 60)
        assert await journey.ends() == "ticket 1, seat 5"


async def _waiting(journey: Journey) -> str:
    """The id of its awakeable."""
    journey.call()
    await journey.world.settle()
    await journey.world.pass_time(60)
    (waiting,) = await journey.world.app.awakeables()
    return waiting.id


async def test_killed_while_it_waits_for_an_awakeable_it_waits_on() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        id = await _waiting(journey)
        await world.restart()
        assert [waiting.id for waiting in await world.app.awakeables()] == [id], "its id stays"
        assert await journey.ends() == "ticket 1, seat 5"


async def test_killed_before_a_completion_is_on_disk_the_awakeable_stays_open() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        id = await _waiting(journey)
        world.store.crash_at_commit(1, written=False)
        assert await _answer(world.app.resolve_awakeable(id, "7")) == NO_ANSWER
        await world.restart()
        assert [waiting.id for waiting in await world.app.awakeables()] == [id]
        assert await journey.ends() == "ticket 1, seat 5"


async def test_killed_between_a_completion_and_its_acknowledgement_the_first_one_counts() -> None:
    async with World(Trip, Mail) as world:
        journey = Journey(world)
        id = await _waiting(journey)
        world.store.crash_at_commit(1, written=True)
        assert await _answer(world.app.resolve_awakeable(id, "5")) == NO_ANSWER
        await world.restart()
        await world.app.resolve_awakeable(id, "5")  # the same once more
        with pytest.raises(AwakeableCompleted):
            await world.app.resolve_awakeable(id, "7")
        assert await journey.ends() == "ticket 1, seat 5"


class Sum(VirtualObject):
    total: int = 0

    @handler
    async def add(self, ctx: Context, n: int) -> int:
        await ctx.run(buy, "nothing")
        self.total += n
        return self.total


@pytest.mark.parametrize("written", [False, True], ids=["before the outcome is on disk", "before the reply"])
async def test_killed_around_the_outcome_the_caller_who_asks_again_gets_the_one_outcome(written: bool) -> None:
    async with World(Sum) as world:
        # 1: accepted; 2: the step; 3: its result, the state, the outcome
        world.store.crash_at_commit(3, written=written)
        add = world.app.object(Sum, "s").add.options(idempotency_key="k")
        with pytest.raises(OutcomePending):
            await add(5)
        assert world.statuses() == ["succeeded" if written else "running"]
        await world.restart()
        again = world.app.object(Sum, "s").add.options(idempotency_key="k")
        assert await again(5) == await again(5) == 5
        assert world.statuses() == ["succeeded"]
        assert len(bought) == (1 if written else 2)


@pytest.mark.expects_log("failed, next in")
async def test_killed_while_it_backs_off_the_next_attempt_comes_when_it_is_due() -> None:
    failures: list[str] = []

    class Unlucky(VirtualObject):
        tried: int = 0

        @handler
        async def go(self, ctx: Context) -> int:
            self.tried += 1
            ctx.object(Mail, "m").receive.send("tried")
            await ctx.run(buy, "luck")
            if not failures:
                failures.append("the first attempt fails")
                raise OSError(failures[0])
            return self.tried

    async with World(Unlucky, Mail) as world:
        handle = await world.app.object(Unlucky, "u").go.send()
        await world.settle()
        assert world.statuses()[0] == "backing-off"
        await world.restart()
        assert world.statuses()[0] == "backing-off", "a crash cuts no pause short"
        await world.pass_time(10)
        assert await world.result(handle) == 1
        assert bought == ["luck"], "the step was recorded"
        assert world.disk.query("SELECT value FROM state WHERE service = 'Mail'") == [('["tried"]',)]


async def test_killed_behind_another_message_it_keeps_its_place_in_the_mailbox() -> None:
    counters[-1].clear()
    async with World(Sum) as world:
        sent = [await world.app.object(Sum, "s").add.send(n) for n in (1, 10, 100)]
        await world.settle()
        assert world.statuses() == ["running", "pending", "pending"]
        counters[-1].set()
        await world.restart()
        assert [await world.result(one) for one in sent] == [1, 11, 111]
