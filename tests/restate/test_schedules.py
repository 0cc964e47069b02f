"""The object that runs a schedule on Restate: an ordinary class, driven on SQLite and a clock that stands still."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest

from actors import Context, Service, VirtualObject, handler, schedule
from actors.errors import AwakeableRejected, BadArguments, DefinitionError, UnknownService
from actors.model.definitions import definition_of
from actors.testing import ManualWorld as Machine
from actors.transport.restate.schedules import NAME, Schedules, Spec, spec_of, with_schedules
from actors.transport.served import App
from tests.world import World

ran: list[str] = []  # due times, as the handlers saw them
waiting: list[str] = []  # ids of awakeables


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    ran.clear()
    waiting.clear()
    yield
    ran.clear()
    waiting.clear()


class Report(VirtualObject):
    """Without @schedule: the engine of this process must not run the schedule as well."""

    count: int = 0

    @handler
    async def make(self, ctx: Context, by: int = 2) -> int:
        ran.append(ctx.headers["schedule-due"])
        self.count += by
        return self.count

    @handler
    async def wait(self, ctx: Context) -> None:
        await ctx.run(ran.append, ctx.headers["schedule-due"])
        awaited = ctx.awakeable()
        await ctx.run(waiting.append, awaited.id)
        await awaited


class Mailer(Service):
    @schedule("0 3 * * *", tz="Europe/Vienna", misfire="skip")
    @handler
    async def deliver(self) -> None: ...


class Plain(VirtualObject):
    @handler
    async def do(self) -> None: ...


HOURLY = Spec("Report", "daily", "make", "0 * * * * UTC", "once")
HOURLY_SKIP = Spec("Report", "daily", "make", "0 * * * * UTC", "skip")
WAITING = Spec("Report", "daily", "wait", "0 * * * * UTC", "once")
HOUR_S = 3600


async def until(world: Machine, text: str) -> None:
    """Let the time pass until this time of day."""
    now = datetime.datetime.fromtimestamp(world.clock.now_ms() / 1000, datetime.UTC)
    at = datetime.datetime.combine(now.date(), datetime.time.fromisoformat(text), datetime.UTC)
    if at <= now:
        at += datetime.timedelta(days=1)
    await world.pass_time((at - now).total_seconds())
    await world.settle(4)


async def down(world: Machine, seconds: float) -> None:
    """Let the time pass while no process runs."""
    await world.crash()
    world.clock.advance(seconds)
    await world.start()
    await world.pass_time(0)
    await world.settle(4)


def hours() -> list[str]:
    """The time of day of each tick that has run."""
    return [due[11:16] for due in ran]


async def place(world: Machine, spec: Spec) -> str:
    return await world.app.object(Schedules, spec.identity).place(spec)


async def state(world: Machine, spec: Spec) -> dict[str, Any]:
    texts = (await world.app.state(NAME, spec.identity)).texts
    return {name: json.loads(text) for name, text in texts.items()}


async def test_ticks_run_at_their_times_with_defaults_and_their_due_time() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        assert await place(world, HOURLY) == "placed"
        await until(world, "07:59:59")
        assert ran == []
        await until(world, "08:00:00")
        await until(world, "09:00:01")
        assert hours() == ["08:00", "09:00"] and ran[0].endswith(":00+00:00")
        assert (await world.app.state("Report", "daily")).texts == {"count": "4"}


async def test_a_tick_has_the_idempotency_key_that_names_its_due_time() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        await until(world, "08:00:01")
        keys = world.disk.query("SELECT idempotency_key FROM invocations WHERE service = 'Report'")
        assert [key.rpartition("T")[2] for (key,) in keys] == ["08:00:00Z"]
        assert all(key.startswith("@schedule 0 * * * * UTC ") for (key,) in keys)


async def test_a_second_placement_keeps_the_tick_that_waits() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        before = await state(world, HOURLY)
        assert await place(world, HOURLY) == "kept"
        assert await state(world, HOURLY) == before
        await until(world, "08:00:01")
        assert hours() == ["08:00"]


async def test_a_changed_schedule_replaces_the_tick_that_waits() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        assert await place(world, HOURLY_SKIP) == "placed"
        await until(world, "08:00:01")
        assert hours() == ["08:00"]
        await until(world, "09:00:01")
        assert hours() == ["08:00", "09:00"]


async def test_a_withdrawn_schedule_has_no_state_and_no_tick() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        await world.app.object(Schedules, HOURLY.identity).withdraw()
        await until(world, "09:00:01")
        assert ran == [] and await state(world, HOURLY) == {}


async def test_a_schedule_comes_back_for_the_due_time_it_was_withdrawn_at() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        for _ in range(3):
            assert await place(world, HOURLY) == "placed"
            await world.app.object(Schedules, HOURLY.identity).withdraw()
        await place(world, HOURLY)
        await until(world, "08:00:01")
        assert hours() == ["08:00"]


async def test_withdrawing_an_unknown_schedule_has_no_effect() -> None:
    async with World(Schedules, Report) as world:
        await world.app.object(Schedules, HOURLY.identity).withdraw()
        assert await state(world, HOURLY) == {}


async def test_a_tick_that_was_missed_runs_once_when_the_server_is_back() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        await down(world, 3 * HOUR_S)
        assert hours() == ["08:00"]
        await until(world, "11:00:01")
        assert hours() == ["08:00", "11:00"]


@pytest.mark.expects_log("is skipped: it is 9,000.0 s late, and its schedule says misfire='skip'")
async def test_a_late_tick_is_skipped_if_its_schedule_says_so() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY_SKIP)
        await down(world, 3 * HOUR_S)
        assert ran == []
        await until(world, "11:00:01")
        assert hours() == ["11:00"]


async def test_a_tick_of_a_skipping_schedule_may_be_a_minute_late() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY_SKIP)
        await down(world, 1800 + 60)
        assert hours() == ["08:00"]


@pytest.mark.expects_log("Report/daily/wait at 0 * * * * UTC: the tick of", "has not ended")
async def test_a_tick_is_skipped_while_the_one_before_it_runs() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, WAITING)
        await until(world, "08:00:01")
        await until(world, "09:00:00")
        await world.pass_time(1)
        await world.settle(4)
        assert hours() == ["08:00"]
        await world.app.resolve_awakeable(waiting[0])
        await world.settle(4)
        await until(world, "10:00:00")
        assert hours() == ["08:00", "10:00"]


async def test_a_tick_follows_one_that_has_failed() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, WAITING)
        await until(world, "08:00:01")
        await world.app.reject_awakeable(waiting[0], "on purpose")
        await world.settle(4)
        handle = world.app.invocation((await state(world, WAITING))["running"])
        assert await world.outcome(handle) is AwakeableRejected
        await until(world, "09:00:01")
        assert hours() == ["08:00", "09:00"]


async def test_a_tick_before_its_time_sleeps_the_rest() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        due = (await state(world, HOURLY))["due"]
        early = await world.app.handler(NAME, HOURLY.identity, "tick").send(due)
        await world.settle(4)
        assert ran == [] and await world.status(early) == "blocked"
        await until(world, "08:00:00")
        assert hours() == ["08:00"]
        await until(world, "09:00:01")
        assert hours() == ["08:00", "09:00"]


async def test_a_tick_of_another_due_time_has_no_effect() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        due = (await state(world, HOURLY))["due"]
        stale = await world.app.handler(NAME, HOURLY.identity, "tick").send(due - HOUR_S * 1000)
        assert await world.result(stale) == "The schedule was changed or withdrawn."
        assert ran == []


async def test_a_placement_brings_back_a_tick_that_was_cancelled() -> None:
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, HOURLY)
        await world.app.cancel((await state(world, HOURLY))["waiting"])
        await until(world, "08:30")
        assert ran == []
        assert await place(world, HOURLY) == "kept"
        await world.settle(4)
        assert hours() == ["08:00"]
        await until(world, "09:00:01")
        assert hours() == ["08:00", "09:00"]


@pytest.mark.expects_log("Report has no handler 'gone'")
async def test_a_tick_for_a_handler_that_was_removed_is_skipped() -> None:
    gone = Spec("Report", "daily", "gone", "0 * * * * UTC", "once")
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, gone)
        await until(world, "08:00:01")
        assert (await state(world, gone))["due"] % 86_400_000 == 9 * HOUR_S * 1000


async def test_other_errors_of_a_tick_leave_the_next_tick_in_place() -> None:
    elsewhere = Spec("Elsewhere", "daily", "make", "0 * * * * UTC", "once")
    async with World(Schedules, Report) as world:
        await until(world, "07:30")
        await place(world, elsewhere)
        tick = world.app.invocation((await state(world, elsewhere))["waiting"])
        await until(world, "08:00:01")
        assert await world.outcome(tick) is UnknownService  # only Restate knows classes of other apps
        assert (await state(world, elsewhere))["due"] % 86_400_000 == 9 * HOUR_S * 1000


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec("Report", "daily", "make", "61 * * * * UTC", "once"), "is not a valid cron line"),
        (Spec("Report", "daily", "make", "0 * * * * Mars", "once"), "is not a known time zone"),
        (Spec("Report", "daily", "make", "0 * * * * UTC", "never"), "misfire='never' is not valid"),
    ],
)
async def test_a_schedule_that_is_not_valid_is_refused(spec: Spec, said: str) -> None:
    async with World(Schedules, Report) as world:
        with pytest.raises(BadArguments, match=said):
            await place(world, spec)
        assert await state(world, spec) == {}


async def test_a_schedule_is_placed_under_its_own_key_only() -> None:
    async with World(Schedules, Report) as world:
        with pytest.raises(BadArguments, match="cannot be placed under the key 'other'"):
            await world.app.object(Schedules, "other").place(HOURLY)


def test_a_declared_schedule_is_placed_with_its_line_and_zone() -> None:
    (declared,) = definition_of(Mailer).schedules
    spec = spec_of(declared)
    assert spec == Spec("Mailer", "", "deliver", "0 3 * * * Europe/Vienna", "skip")
    assert spec.identity == "Mailer//deliver/0 3 * * * Europe/Vienna"
    assert str(spec) == "Mailer/deliver at 0 3 * * * Europe/Vienna"
    assert spec.cron_line().name == spec.line


def test_an_app_serves_the_class_only_if_it_has_schedules() -> None:
    assert list(with_schedules(App(Plain, Mailer).engine_options()).catalog.services) == ["Plain", "Mailer", NAME]
    assert list(with_schedules(App(Plain).engine_options()).catalog.services) == ["Plain"]


def test_the_name_of_the_class_is_taken() -> None:
    class Own(VirtualObject, name=NAME):
        @handler
        async def do(self) -> None: ...

    with pytest.raises(DefinitionError, match="belongs to schedules"):
        with_schedules(App(Own).engine_options())
