"""Schedules: one tick waits for each, whatever dies, is redeployed, late, cancelled or set to another time."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, Self

import pytest

from actors import Context, Limits, Service, VirtualObject, handler, schedule, shared
from actors.errors import BadArguments, InvocationCancelled, TickSkipped, WrongStatus
from actors.model.virtual_object import Served
from tests.world import World

ran: list[str] = []  # due times, as the handlers saw them


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    ran.clear()
    yield
    ran.clear()


def note(ctx: Context) -> None:
    ran.append(ctx.headers["schedule-due"])


class Minutely(VirtualObject):
    count: int = 0

    @schedule("* * * * *", key="m")
    @handler
    async def tick(self, ctx: Context) -> int:
        note(ctx)
        self.count += 1
        return self.count


class Hourly(VirtualObject):
    @schedule("0 * * * *", key="h")
    @handler
    async def tick(self, ctx: Context) -> None:
        note(ctx)


class HourlySkip(VirtualObject):
    @schedule("0 * * * *", key="h", misfire="skip")
    @handler
    async def tick(self, ctx: Context) -> None:
        note(ctx)


class Daily(VirtualObject):
    @schedule("0 3 * * *", key="d")
    @handler
    async def make(self, ctx: Context) -> None:
        note(ctx)


def renamed(cls: type[VirtualObject], **members: Any) -> type[VirtualObject]:
    """The class as another release has it: the same name, other members."""
    metaclass: Any = type(cls)
    made: type[VirtualObject] = metaclass(cls.__name__, (VirtualObject,), {"__module__": __name__, **members})
    return made


def start_at(world: World, moment: str) -> None:
    """Before the first start: what time it is. A time without an offset is UTC."""
    world.clock.set_to(ms(moment))


def ms(moment: str) -> int:
    found = datetime.datetime.fromisoformat(moment)
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    return round(found.timestamp() * 1000)


class At(World):
    """A world that begins at a moment."""

    def __init__(self, moment: str, *classes: type[Served], **options: Any) -> None:
        super().__init__(*classes, **options)
        start_at(self, moment)

    async def start(self) -> Any:
        await super().start()
        await self.settle()
        return self.app

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def until(self, moment: str) -> None:
        """Let time pass, from one alarm to the next, and everything happen that happens on the way."""
        target = ms(moment)
        while (due := self.clock.next_due_ms()) is not None and due <= target:
            self.clock.move_to(max(due, self.clock.now_ms()))
            await self.settle()
        self.clock.move_to(target)
        await self.settle()

    async def sleeps_until(self, moment: str) -> None:
        """Nothing runs until then."""
        self.clock.set_to(ms(moment))
        await self.settle()
        await self.pass_time(0)

    async def down_until(self, moment: str) -> None:
        await self.crash()
        self.clock.set_to(ms(moment))
        await self.start()
        await self.pass_time(0)

    def pending(self) -> list[str]:
        """When the ticks that wait are due, as their idempotency keys say."""
        found = self.disk.query(
            "SELECT idempotency_key FROM invocation WHERE status = 0 AND flags & 16 ORDER BY position"
        )
        timers = self.disk.query("SELECT count(*) FROM timer WHERE idx = -2")
        assert timers == [(len(found),)], "each tick that waits has its timer, and no timer is left over"
        return [key.rpartition(" ")[2] for (key,) in found]

    def outcomes(self) -> list[str]:
        """Due time and status of the ticks that are over."""
        found = self.disk.query(
            "SELECT idempotency_key, status FROM invocation WHERE status >= 6 AND flags & 16 ORDER BY idempotency_key"
        )
        return [f"{key.rpartition(' ')[2]} {'ok' if status == 6 else 'no'}" for key, status in found]


async def test_a_handler_runs_at_each_due_time_and_knows_it() -> None:
    async with At("2026-03-01T10:00:30", Minutely) as world:
        assert world.pending() == ["2026-03-01T10:01:00Z"]
        await world.until("2026-03-01T10:00:59.999")
        assert ran == []
        await world.until("2026-03-01T10:03:10")
        assert ran == ["2026-03-01T10:01:00+00:00", "2026-03-01T10:02:00+00:00", "2026-03-01T10:03:00+00:00"]
        assert world.pending() == ["2026-03-01T10:04:00Z"]
        assert await world.app.object(Minutely, "m").tick.options(headers={"schedule-due": "by hand"})() == 4


async def test_the_tick_that_waits_is_listed() -> None:
    async with At("2026-03-01T10:00:30", Daily) as world:
        (info,) = await world.app.invocations(status="scheduled")
        assert (info.service, info.key, info.handler) == ("Daily", "d", "make")
        assert info.idempotency_key == "@schedule 0 3 * * * UTC 2026-03-02T03:00:00Z"


class Nightly(VirtualObject):
    @schedule("30 2 * * *", key="n", tz="Europe/Vienna")
    @handler
    async def make(self, ctx: Context) -> None:
        note(ctx)


async def test_a_time_that_a_daylight_saving_gap_leaves_out_is_due_when_the_gap_ends() -> None:
    async with At("2026-03-28T00:00:00", Nightly) as world:
        await world.until("2026-03-31T00:00:00")
        assert ran == ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


async def test_a_time_that_comes_twice_is_due_the_first_time_only() -> None:
    async with At("2026-10-24T12:00:00", Nightly) as world:
        await world.until("2026-10-26T12:00:00")
        assert ran == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


async def test_an_app_that_starts_between_the_two_waits_for_the_next_day() -> None:
    async with At("2026-10-25T02:15:00+01:00", Nightly) as world:
        assert world.pending() == ["2026-10-26T01:30:00Z"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
async def test_an_hourly_handler_runs_each_real_hour_when_the_clocks_change(day: str) -> None:
    local = renamed(
        Hourly, tick=schedule("0 * * * *", key="h", tz="Europe/Vienna")(handler(Hourly.__dict__["tick"].function))
    )
    async with At(f"{day}T00:00:00+00:00", local) as world:
        world.clock.advance(-0.001)
        await world.until(f"{day}T06:00:00+00:00")
        found = [datetime.datetime.fromisoformat(moment).timestamp() for moment in ran]
        assert found == [ms(f"{day}T0{hour}:00:00") / 1000 for hour in range(1, 7)]


# --- crashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("commit", range(1, 8))
async def test_a_crash_at_any_commit_neither_loses_a_tick_nor_doubles_it(commit: int, written: bool) -> None:
    async with At("2026-03-01T10:00:30", Minutely) as world:
        world.store.crash_at_commit(commit, written=written)
        await world.until("2026-03-01T10:03:10")
        await world.restart()
        await world.pass_time(0)
        await world.until("2026-03-01T10:05:10")
        assert world.pending() == ["2026-03-01T10:06:00Z"]
        outcomes = world.outcomes()
        minutes = [int(line[14:16]) for line in outcomes]
        before = len(minutes) - 2
        # Those before the crash, the first one missed, and those after it.
        assert minutes == [*range(1, before + 1), 4, 5] and before >= 1
        assert set(ran) == {f"{line[:19]}+00:00" for line in outcomes}
        assert await world.app.object(Minutely, "m").tick.options(headers={"schedule-due": ""})() == len(outcomes) + 1


@pytest.mark.parametrize("written", [False, True])
async def test_a_crash_while_the_first_tick_is_placed_leaves_one(written: bool) -> None:
    world = At("2026-03-01T10:00:30", Minutely)
    store = world.disk.store()
    store.crash_at_commit(1, written=written)
    world.disk.store = lambda rng=None: store  # type: ignore[method-assign]
    await world.start()
    assert store.crashed
    del world.disk.store
    await world.restart()
    assert world.pending() == ["2026-03-01T10:01:00Z"]
    await world.app.close()
    world.disk.close()


async def test_the_next_tick_is_placed_in_the_batch_that_delivers_one() -> None:
    async with At("2026-03-01T10:00:30", Minutely) as world:
        world.store.crash_at_commit(1, written=True)
        await world.until("2026-03-01T10:01:00")
        assert world.store.crashed
        assert world.pending() == ["2026-03-01T10:02:00Z"]
        assert world.disk.query("SELECT count(*) FROM invocation WHERE flags & 16") == [(2,)]
        await world.restart()
        assert ran.count("2026-03-01T10:01:00+00:00") >= 1
        assert world.outcomes() == ["2026-03-01T10:01:00Z ok"]


# --- other classes ------------------------------------------------------------------------------------------------------


async def test_a_start_leaves_the_ticks_of_unchanged_schedules_as_they_are() -> None:
    async with At("2026-03-01T10:00:30", Daily, Hourly) as world:
        before = world.disk.query("SELECT * FROM invocation ORDER BY seq")
        commits = world.disk.commits
        for _ in range(3):
            await world.restart()
        assert world.disk.query("SELECT * FROM invocation ORDER BY seq") == before
        assert world.disk.commits == commits


@pytest.mark.expects_log("is withdrawn, because")
async def test_the_tick_of_a_changed_schedule_is_withdrawn_and_a_new_one_placed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    later = renamed(Daily, make=schedule("0 4 * * *", key="d")(handler(Daily.__dict__["make"].function)))
    async with At("2026-03-01T10:00:30", Daily) as world:
        waiting = world.app.invocation((await world.app.invocations())[0].id)
        world.classes = (later,)
        await world.restart()
        assert world.pending() == ["2026-03-02T04:00:00Z"]
        assert world.outcomes() == []
        assert "Daily/d/make: its tick of @schedule 0 3 * * * UTC 2026-03-02T03:00:00Z is withdrawn" in caplog.text
        # Back again before it was due: it was not lost.
        world.classes = (Daily,)
        await world.restart()
        await world.until("2026-03-02T12:00:00")
        assert ran == ["2026-03-02T03:00:00+00:00"]
        assert waiting.id not in [info.id for info in await world.app.invocations()]


@pytest.mark.expects_log("is withdrawn, because")
async def test_another_key_or_zone_is_another_schedule_and_another_spelling_is_not() -> None:
    function = Daily.__dict__["make"].function
    async with At("2026-03-01T10:00:30", Daily) as world:
        (first,) = await world.app.invocations()
        world.classes = (renamed(Daily, make=schedule(" 0  3 * *  * ", key=["d"])(handler(function))),)
        await world.restart()
        assert [info.id for info in await world.app.invocations()] == [first.id]
        world.classes = (renamed(Daily, make=schedule("0 3 * * *", key="other")(handler(function))),)
        await world.restart()
        assert [info.key for info in await world.app.invocations()] == ["other"]
        world.classes = (renamed(Daily, make=schedule("0 3 * * *", key="other", tz="Asia/Tokyo")(handler(function))),)
        await world.restart()
        assert world.pending() == ["2026-03-01T18:00:00Z"]


@pytest.mark.expects_log("is withdrawn, because")
async def test_the_ticks_of_a_class_that_is_not_served_any_more_are_withdrawn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with At("2026-03-01T10:00:30", Daily, Hourly) as world:
        world.classes = (Hourly,)
        await world.restart()
        assert world.pending() == ["2026-03-01T11:00:00Z"]
        assert "Daily/d/make" in caplog.text
        await world.until("2026-03-02T12:00:00")
        assert len(ran) == 26


@pytest.mark.expects_log("is withdrawn, because")
async def test_whoever_waits_for_a_tick_that_is_withdrawn_is_told() -> None:
    class Watcher(VirtualObject):
        @handler
        async def watch(self, ctx: Context, id: str) -> str:
            try:
                return str(await ctx.attach(id))
            except InvocationCancelled as error:
                return error.message

    async with At("2026-03-01T10:00:30", Daily, Watcher) as world:
        (tick,) = await world.app.invocations()
        watching = await world.app.object(Watcher, "w").watch.send(tick.id)
        await world.settle()
        world.classes = (Watcher,)
        await world.restart()
        assert await world.app.invocation(watching.id).result() == "The schedule of this tick was changed or removed."


async def test_a_tick_that_was_placed_by_older_code_runs_as_the_handler_is_now() -> None:
    class Old(VirtualObject, name="Report"):
        @schedule("0 3 * * *", key="d")
        @shared
        async def make(self, ctx: Context) -> str:
            return "old"

    class New(VirtualObject, name="Report"):
        made: str = ""

        @schedule("0 3 * * *", key="d")
        @handler
        async def make(self, ctx: Context, title: str = "new", copies: int = 2) -> str:
            self.made = title * copies
            return self.made

    async with At("2026-03-01T10:00:30", Old) as world:
        (tick,) = await world.app.invocations()
        world.classes = (New,)
        await world.restart()
        world.store.crash_at_commit(1, written=True)
        await world.until("2026-03-02T03:00:00")
        await world.restart()  # and so it does after a crash
        assert await world.app.invocation(tick.id).result() == "newnew"


@pytest.mark.expects_log("is withdrawn, because")
async def test_a_tick_of_other_rules_for_the_zone_is_placed_anew() -> None:
    async with At("2026-03-01T10:00:30", Nightly) as world:
        world.disk.query(
            "UPDATE invocation SET position = position + 3600000, "
            "idempotency_key = '@schedule 30 2 * * * Europe/Vienna 2026-03-02T02:30:00Z'"
        )
        world.disk.query("UPDATE timer SET due_ms = due_ms + 3600000")
        assert world.pending() == ["2026-03-02T02:30:00Z"]
        await world.restart()
        assert world.pending() == ["2026-03-02T01:30:00Z"]


async def test_subclasses_have_schedules_of_their_own_and_an_overridden_handler_none() -> None:
    class Sub(Hourly):
        pass

    class Quiet(Hourly):
        @handler
        async def tick(self, ctx: Context) -> None: ...

    async with At("2026-03-01T10:00:30", Hourly, Sub, Quiet) as world:
        assert sorted(info.service for info in await world.app.invocations()) == ["Hourly", "Sub"]


async def test_several_lines_and_several_keys_have_a_tick_each() -> None:
    class Many(VirtualObject):
        @schedule("0 3 * * *", key=["a", "b"])
        @schedule("*/10 * * * *", key="a")
        @handler(name="make-it", atomic=True)
        async def make(self, ctx: Context) -> None:
            ran.append(f"{ctx.key} {ctx.headers['schedule-due'][11:16]}")

        @schedule("15 10 * * *", key="a")
        @shared
        async def look(self, ctx: Context) -> None:
            ran.append(f"look {ctx.headers['schedule-due'][11:16]}")

    async with At("2026-03-01T10:00:30", Many) as world:
        assert len(world.pending()) == 4
        await world.until("2026-03-01T10:25:00")
        assert ran == ["a 10:10", "look 10:15", "a 10:20"]
        await world.until("2026-03-02T03:00:00")
        assert sorted(ran[-3:]) == ["a 03:00", "a 03:00", "b 03:00"]


# --- late -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["down_until", "sleeps_until"])
async def test_what_was_missed_runs_once_at_once_and_then_on_schedule(how: str) -> None:
    async with At("2026-03-01T10:00:30", Hourly) as world:
        await getattr(world, how)("2026-03-04T07:20:00")
        assert ran == ["2026-03-01T11:00:00+00:00"]
        assert world.pending() == ["2026-03-04T08:00:00Z"]
        await world.until("2026-03-04T08:00:00")
        assert ran[1:] == ["2026-03-04T08:00:00+00:00"]


@pytest.mark.expects_log("is skipped: it is")
@pytest.mark.parametrize("how", ["down_until", "sleeps_until"])
async def test_what_was_missed_does_not_run_if_the_schedule_says_so(how: str) -> None:
    async with At("2026-03-01T10:00:30", HourlySkip) as world:
        await getattr(world, how)("2026-03-04T07:20:00")
        assert ran == []
        assert world.outcomes() == ["2026-03-01T11:00:00Z no"]
        assert world.pending() == ["2026-03-04T08:00:00Z"]
        (skipped,) = await world.app.invocations(status="failed")
        with pytest.raises(TickSkipped, match=r"Skipped: it is 246,000\.0 s late"):
            await world.app.invocation(skipped.id).result()
        await world.until("2026-03-04T08:00:00")
        assert ran == ["2026-03-04T08:00:00+00:00"]


@pytest.mark.expects_log("is skipped: it is")
async def test_a_minute_late_is_not_missed_and_a_moment_more_is() -> None:
    async with At("2026-03-01T10:00:30", HourlySkip) as world:
        await world.down_until("2026-03-01T11:01:00")
        assert ran == ["2026-03-01T11:00:00+00:00"]
        await world.down_until("2026-03-01T12:01:00.001")
        assert len(ran) == 1


@pytest.mark.expects_log("is skipped: it is")
async def test_the_newest_due_time_of_a_downtime_runs_if_it_is_not_missed() -> None:
    async with At("2026-03-01T10:00:30", HourlySkip) as world:
        await world.down_until("2026-03-01T15:00:10")
        await world.until("2026-03-01T15:00:10")
        assert ran == ["2026-03-01T15:00:00+00:00"]
        assert world.outcomes() == ["2026-03-01T11:00:00Z no", "2026-03-01T15:00:00Z ok"]
        assert world.pending() == ["2026-03-01T16:00:00Z"]


@pytest.mark.expects_log("is skipped: it is")
async def test_a_tick_that_has_been_followed_by_the_next_is_missed_however_little_it_is_late() -> None:
    class Secondly(VirtualObject):
        @schedule("* * * * * *", key="s", misfire="skip")
        @handler
        async def tick(self, ctx: Context) -> None:
            note(ctx)

    async with At("2026-03-01T10:00:00", Secondly) as world:
        await world.sleeps_until("2026-03-01T10:00:03.200")
        await world.until("2026-03-01T10:00:04")
        assert world.outcomes() == [
            "2026-03-01T10:00:01Z no",
            "2026-03-01T10:00:03Z ok",
            "2026-03-01T10:00:04Z ok",
        ]


@pytest.mark.expects_log("is skipped: the tick before it")
async def test_a_tick_is_skipped_while_the_one_before_it_has_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(VirtualObject):
        @schedule("* * * * *", key="s")
        @handler
        async def tick(self, ctx: Context) -> None:
            note(ctx)
            await ctx.awakeable(str)

    limits = Limits(suspend_after=1, retention=None, idempotency_retention=None)
    async with At("2026-03-01T10:00:30", Slow, limits=limits) as world:
        await world.until("2026-03-01T10:02:30")
        await world.restart()
        await world.until("2026-03-01T10:03:30")
        assert ran == ["2026-03-01T10:01:00+00:00"]
        assert world.outcomes() == ["2026-03-01T10:02:00Z no", "2026-03-01T10:03:00Z no"]
        assert world.statuses().count("blocked") == 1
        assert "the tick of 2026-03-01T10:02:00+00:00 is skipped: the tick before it, inv_1" in caplog.text
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "go on")
        await world.until("2026-03-01T10:04:00")
        assert ran[-1] == "2026-03-01T10:04:00+00:00"


@pytest.mark.expects_log("is skipped: the tick before it")
async def test_a_blocked_key_collects_one_tick_and_no_more() -> None:
    class Busy(VirtualObject):
        @handler
        async def block(self, ctx: Context) -> None:
            await ctx.awakeable(str)

        @schedule("* * * * *", key="b")
        @handler
        async def tick(self, ctx: Context) -> None:
            note(ctx)

    async with At("2026-03-01T10:00:30", Busy) as world:
        await world.app.object(Busy, "b").block.send()
        await world.until("2026-03-01T10:10:30")
        assert world.statuses().count("pending") == 1
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "go on")
        await world.settle()
        assert ran == ["2026-03-01T10:01:00+00:00"]


# --- operators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["cancel", "kill"])
@pytest.mark.parametrize("misfire", ["once", "skip"])
async def test_ending_a_tick_before_its_time_skips_it_alone(operation: str, misfire: Any) -> None:
    class Ended(VirtualObject):
        @schedule("0 3 * * *", key="d", misfire=misfire)
        @handler
        async def make(self, ctx: Context) -> None:
            note(ctx)

    async with At("2026-03-01T10:00:30", Ended) as world:
        (tick,) = await world.app.invocations()
        world.store.crash_at_commit(1, written=True)  # what ends it places the next one
        with pytest.raises(Exception, match="crashed"):
            await getattr(world.app, operation)(tick.id)
        assert world.pending() == ["2026-03-03T03:00:00Z"]
        await world.restart()
        assert world.pending() == ["2026-03-03T03:00:00Z"]
        await world.until("2026-03-04T00:00:00")
        assert ran == ["2026-03-03T03:00:00+00:00"]
        await world.app.restart(tick.id)  # one may still want it
        await world.settle()
        assert ran[1:] == ["2026-03-02T03:00:00+00:00"]


@pytest.mark.expects_log("is withdrawn, because")
async def test_a_cancelled_tick_does_not_come_back_with_its_schedule() -> None:
    async with At("2026-03-01T10:00:30", Daily) as world:
        (tick,) = await world.app.invocations()
        await world.app.cancel(tick.id)
        world.classes = (Hourly,)
        await world.restart()
        world.classes = (Daily,)
        await world.restart()
        assert world.pending() == ["2026-03-03T03:00:00Z"]


async def test_a_tick_that_waits_can_be_neither_paused_nor_purged() -> None:
    async with At("2026-03-01T10:00:30", Daily) as world:
        (tick,) = await world.app.invocations()
        with pytest.raises(WrongStatus, match="scheduled"):
            await world.app.pause(tick.id)
        with pytest.raises(WrongStatus, match="Cancel or kill it first"):
            await world.app.purge(tick.id)
        assert world.pending() == ["2026-03-02T03:00:00Z"]


@pytest.mark.expects_log("is skipped: the tick before it")
async def test_a_paused_tick_holds_its_schedule_until_it_is_resumed() -> None:
    class Held(VirtualObject):
        @schedule("* * * * *", key="h")
        @handler
        async def tick(self, ctx: Context) -> None:
            note(ctx)
            await ctx.sleep(1)

    async with At("2026-03-01T10:00:30", Held) as world:
        await world.until("2026-03-01T10:01:00")
        (tick,) = await world.app.invocations(status=["running", "blocked"])
        await world.app.pause(tick.id)
        await world.restart()
        await world.until("2026-03-01T10:03:30")
        assert [line[-2:] for line in world.outcomes()] == ["no", "no"]
        await world.app.resume(tick.id)
        await world.until("2026-03-01T10:04:01")
        assert [line[-2:] for line in world.outcomes()] == ["ok", "no", "no", "ok"]


async def test_nobody_else_may_use_the_keys_of_ticks() -> None:
    async with At("2026-03-01T10:00:30", Daily) as world:
        with pytest.raises(BadArguments, match="belong to schedules"):
            world.app.object(Daily, "d").make.options(idempotency_key="@schedule 0 3 * * * UTC 2026-03-03T03:00:00Z")


# --- the clock ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_set_back_a_little_runs_nothing_twice(restarts: bool) -> None:
    async with At("2026-03-01T10:00:30", Minutely, limits=Limits(retention=0, idempotency_retention=0)) as world:
        await world.until("2026-03-01T10:05:10")
        await world.sleeps_until("2026-03-01T09:00:00")
        if restarts:
            await world.restart()
        await world.until("2026-03-01T10:06:10")
        assert [moment[11:16] for moment in ran] == ["10:01", "10:02", "10:03", "10:04", "10:05", "10:06"]


@pytest.mark.may_log("is withdrawn, because", "the clock was set back")
@pytest.mark.parametrize("how", ["down_until", "sleeps_until"])
async def test_a_clock_that_was_years_ahead_takes_no_schedule_with_it(how: str, caplog: Any) -> None:
    async with At("2026-03-01T10:00:30", Hourly, Daily) as world:
        await getattr(world, how)("2040-07-01T12:30:00")
        await world.until("2040-07-01T13:10:00")
        assert len(ran) == 3
        assert world.pending() == ["2040-07-01T14:00:00Z", "2040-07-02T03:00:00Z"]
        await getattr(world, how)("2026-03-01T10:10:00")
        assert world.pending() == ["2026-03-01T12:00:00Z", "2026-03-03T03:00:00Z"], "the first that have not run"
        await world.until("2026-03-02T12:10:00")
        assert ran.count("2026-03-01T11:00:00+00:00") == 1
        assert len(ran) == 3 + 25


@pytest.mark.expects_log("the clock was set back")
async def test_what_has_run_ahead_of_time_is_passed_over_when_that_time_comes() -> None:
    async with At("2026-03-01T10:00:30", Hourly) as world:
        await world.sleeps_until("2026-03-01T20:30:00")
        await world.until("2026-03-01T22:10:00")
        await world.sleeps_until("2026-03-01T12:10:00")
        assert ran == ["2026-03-01T11:00:00+00:00", "2026-03-01T21:00:00+00:00", "2026-03-01T22:00:00+00:00"]
        await world.until("2026-03-02T00:10:00")
        hours = [int(moment[11:13]) for moment in ran[3:]]
        assert hours == [13, 14, 15, 16, 17, 18, 19, 20, 23, 0]
        assert len(ran) == len(set(ran))


@pytest.mark.parametrize("how", ["down_until", "sleeps_until"])
async def test_a_tick_that_is_the_next_by_the_new_time_too_stays(how: str) -> None:
    async with At("2026-03-01T13:00:30", Hourly) as world:
        await world.until("2026-03-01T17:30:00")
        (tick,) = await world.app.invocations(status="scheduled")
        await getattr(world, how)("2026-03-01T13:30:00")
        assert [info.id for info in await world.app.invocations(status="scheduled")] == [tick.id]
        await world.until("2026-03-01T19:10:00")
        assert [int(moment[11:13]) for moment in ran] == [14, 15, 16, 17, 18, 19]


async def test_a_machine_that_sleeps_for_a_year_wakes_to_one_tick() -> None:
    async with At("2026-03-01T10:00:30", Minutely) as world:
        await world.sleeps_until("2027-03-01T10:00:30")
        assert ran == ["2026-03-01T10:01:00+00:00"]
        assert world.pending() == ["2027-03-01T10:01:00Z"]


# --- bounds -------------------------------------------------------------------------------------------------------------


async def test_the_history_of_a_schedule_is_bounded_like_that_of_any_handler() -> None:
    limits = Limits(retention=600, idempotency_retention=None)
    async with At("2026-03-01T10:00:30", Minutely, limits=limits) as world:
        await world.until("2026-03-01T11:00:30")
        assert 9 <= len(world.outcomes()) <= 11
        await world.restart()
        assert 9 <= len(world.outcomes()) <= 11
        assert len(ran) == len(set(ran)) == 60


async def test_the_count_of_what_is_kept_includes_ticks() -> None:
    limits = Limits(retention=None, max_retained=1, idempotency_retention=None)
    async with At("2026-03-01T10:00:30", Minutely, limits=limits) as world:
        partition = world.app._running()
        await world.until("2026-03-01T10:05:30")
        assert partition.retention.count == 5
        (newest, *_) = await world.app.invocations(status="succeeded")
        await world.app.purge(newest.id)
        assert partition.retention.count == 4
        await world.restart()
        assert world.outcomes() == ["2026-03-01T10:04:00Z ok"]
        assert world.app._running().retention.count == 1


async def test_a_tick_that_waits_is_not_kept_in_memory() -> None:
    async with At("2026-03-01T10:00:30", Daily, Hourly, limits=Limits(max_timers=1, retention=None)) as world:
        assert len(world.app._running().residents.open) == 0
        await world.until("2026-03-02T03:30:00")
        assert len(ran) == 18
        assert len(world.app._running().residents.open) == 0


async def test_nothing_is_written_for_an_app_without_schedules() -> None:
    class Plain(VirtualObject):
        @handler
        async def go(self) -> None: ...

    async with At("2026-03-01T10:00:30", Plain) as world:
        assert world.disk.commits == 0
        assert world.clock.next_due_ms() is None


class Cleaning(Service):
    @schedule("0 * * * *")
    @handler
    async def sweep(self, ctx: Context) -> str:
        note(ctx)
        assert ctx.key == ""
        await ctx.sleep(1)
        return ctx.headers["schedule-due"]


async def test_a_service_needs_no_key_and_its_ticks_run_once_across_crashes() -> None:
    async with At("2026-03-01T10:30:00", Cleaning) as world:
        (info,) = await world.app.invocations(status="scheduled")
        assert (info.service, info.key, info.idempotency_key) == (
            "Cleaning",
            "",
            "@schedule 0 * * * * UTC 2026-03-01T11:00:00Z",
        )
        await world.down_until("2026-03-01T10:40:00")
        assert world.pending() == ["2026-03-01T11:00:00Z"], "the tick that waits is found again"
        await world.until("2026-03-01T11:00:00")
        await world.down_until("2026-03-01T11:00:00")
        assert world.pending() == ["2026-03-01T12:00:00Z"]
        await world.until("2026-03-01T11:30:00")
        assert world.outcomes() == ["2026-03-01T11:00:00Z ok"]


@pytest.mark.expects_log("is withdrawn, because")
async def test_a_tick_of_a_service_that_was_cancelled_does_not_come_back() -> None:
    async with At("2026-03-01T10:30:00", Cleaning) as world:
        (info,) = await world.app.invocations(status="scheduled")
        await world.app.cancel(info.id)
        assert world.pending() == ["2026-03-01T12:00:00Z"]
        await world.crash()
        world.classes = (Hourly,)
        await world.start()
        assert world.pending() == ["2026-03-01T11:00:00Z"], "that of the other class"
        await world.crash()
        world.classes = (Cleaning,)
        await world.start()
        assert world.pending() == ["2026-03-01T12:00:00Z"], "what was cancelled is over"


@pytest.mark.expects_log("is withdrawn, because")
async def test_a_tick_of_a_class_that_has_become_a_service_is_placed_anew() -> None:
    class Keyed(VirtualObject, name="Cleaning"):
        @schedule("0 * * * *", key="k")
        @handler
        async def sweep(self, ctx: Context) -> None:
            note(ctx)

    async with At("2026-03-01T10:30:00", Keyed) as world:
        for classes in ((Cleaning,), (Keyed,)):
            await world.crash()
            world.classes = classes
            await world.start()
            assert world.pending() == ["2026-03-01T11:00:00Z"]
        await world.until("2026-03-01T11:00:00")
        assert len(ran) == 1


@pytest.mark.expects_log("the clock was set back")
async def test_a_cancelled_tick_of_a_clock_that_was_wrong_is_followed_by_one_of_the_right_time() -> None:
    async with At("2027-03-01T10:30:00", Hourly) as world:
        world.clock.set_to(ms("2026-03-01T10:30:00"), noticed=False)
        (info,) = await world.app.invocations(status="scheduled")
        await world.app.cancel(info.id)
        await world.sleeps_until("2026-03-01T10:30:30")
        await world.until("2026-03-01T12:30:00")
        assert ran == ["2026-03-01T11:00:00+00:00", "2026-03-01T12:00:00+00:00"]


@pytest.mark.expects_log("is withdrawn, because")
async def test_the_same_is_found_out_by_the_next_process() -> None:
    async with At("2027-03-01T10:30:00", Hourly) as world:
        world.clock.set_to(ms("2026-03-01T10:30:00"), noticed=False)
        (info,) = await world.app.invocations(status="scheduled")
        await world.app.cancel(info.id)
        await world.down_until("2026-03-01T10:30:10")
        assert world.pending() == ["2026-03-01T11:00:00Z"]
