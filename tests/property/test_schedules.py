"""Random cron lines, random downtimes, random crashes: each due time runs at most once, and none is lost but by the rules.

A simulated machine serves a class with some schedules. Hypothesis lets time pass, puts the machine to sleep, kills the
process at any commit, keeps it down, cancels the tick that waits, and deploys a release without the class and with it. All
along, exactly one tick of each served schedule waits, with its timer. In the end the ticks on disk are read as a chain:
what follows a tick must be the due time that the rules give for the moment at which that tick was dealt with, and that
moment is its due time unless nothing ran then. What the handlers did is in the state of the objects, once each.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, handler, schedule
from actors.errors import AppNotRunning
from actors.model.cron import CronLine, due_of
from actors.storage import Status, StorageError
from tests.world import World

pytestmark = pytest.mark.may_log(
    "has not ended.",
    "its schedule says misfire='skip'",
    "no schedule of this app places it",
    "the clock or the rules of its zone",
    "the clock was set back",
    "the app starts again. No service 'Scheduled'",
)

ALARMS = 12  # of the clock, at most, for which one step lets time pass
GRACE_MS = 60_000
# Around the changes of the clocks in Vienna, among others.
STARTS = [1_774_742_395_000, 1_792_890_000_500, 1_700_000_000_000]


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, str]:
    minute = draw(st.sampled_from(["*", "*/7", "0", "30", "0,1,2,29", "5-8"]))
    hour = draw(st.sampled_from(["*", "*", "2", "*/3", "1-4"]))
    second = draw(st.sampled_from(["", "", "", "*/20 ", "3,4,59 "]))
    return f"{second}{minute} {hour} * * *", draw(st.sampled_from(["UTC", "Europe/Vienna"]))


class Declared(NamedTuple):
    line: tuple[str, str]
    misfire: Any
    slow: float  # how long the handler sleeps


DECLARED = st.builds(Declared, lines(), st.sampled_from(["once", "skip"]), st.sampled_from([0, 0, 2, 100, 5000]))
SECONDS = st.sampled_from([0.001, 1, 7, 59, 60, 61, 600, 3599, 7300])
STEPS = st.one_of(
    st.tuples(st.just("pass"), SECONDS),
    st.tuples(st.just("pass"), SECONDS),
    st.tuples(st.just("sleep"), SECONDS | st.just(200_000)),
    st.tuples(st.just("down"), SECONDS | st.just(200_000)),
    st.tuples(st.just("close"), SECONDS),
    st.tuples(st.just("crash at"), st.integers(1, 5), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("without"), SECONDS),
)


# And a clock that is set back: a little, and by more than the three hours after which it counts as mended.
BACK = st.one_of(STEPS, st.tuples(st.just("back"), SECONDS | st.sampled_from([10_000, 20_000, 300_000])))
CORRECTION_MS = 3 * 3_600_000


class Other(VirtualObject):
    @handler
    async def nothing(self) -> None: ...


def made(declared: list[Declared]) -> type[VirtualObject]:
    """A class with one handler for each schedule, on a key of its own."""

    def function(slow: float) -> Any:
        async def tick(self: Any, ctx: Context) -> None:
            self.seen.append(ctx.headers["schedule-due"])
            if slow:
                await ctx.sleep(slow)

        return tick

    members: dict[str, Any] = {"__module__": __name__, "__annotations__": {"seen": list[str]}, "seen": []}
    for number, one in enumerate(declared):
        text, zone = one.line
        decorate = schedule(text, key=f"k{number}", tz=zone, misfire=one.misfire)
        members[f"tick{number}"] = decorate(handler(name=f"tick{number}")(function(one.slow)))
    metaclass: Any = type(VirtualObject)
    scheduled: type[VirtualObject] = metaclass("Scheduled", (VirtualObject,), members)
    return scheduled


class Tick(NamedTuple):
    due_ms: int
    status: int
    placed_ms: int
    ended_ms: int | None
    outcome: str | None

    def ended_as(self, error: str) -> bool:
        return self.status == Status.FAILED and json.loads(self.outcome or "")["error"] == error


class Machine:
    def __init__(self, declared: list[Declared], start_ms: int, seed: int | None) -> None:
        self.declared = declared
        self.scheduled = made(declared)
        self.world = World(self.scheduled, Other)
        self.world.rng = None if seed is None else Random(seed)
        self.world.clock.set_to(start_ms)
        self.still: list[tuple[int, int]] = []  # between these times nothing ran
        self.redeployed: set[int] = set()  # when the class came back

    async def run(self, steps: list[tuple[Any, ...]], check: Callable[[int], None]) -> None:
        await self.world.start()
        await self.rest()
        for kind, *values in steps:
            await getattr(self, "_" + kind.replace(" ", "_"))(*values)
            await self.rest()
            self.check_pending()
        await self._pass(1)
        self.world.store._commits_left = None
        await self.rest()
        for number in range(len(self.declared)):
            check(number)
        await self.world.app.close()
        self.world.disk.close()

    # --- steps ----------------------------------------------------------------------------------------------------------

    async def _pass(self, seconds: float) -> None:
        clock = self.world.clock
        target = clock.now_ms() + round(seconds * 1000)
        for _ in range(ALARMS):
            due = clock.next_due_ms()
            if due is None or due > target:
                clock.move_to(target)
                return
            clock.move_to(max(due, clock.now_ms()))
            await self.rest()

    async def _sleep(self, seconds: float) -> None:
        self._jump(seconds)

    async def _down(self, seconds: float) -> None:
        await self.world.crash()
        self._jump(seconds)
        await self.world.start()

    async def _close(self, seconds: float) -> None:
        await self._end()
        self._jump(seconds)
        await self.world.start()

    async def _crash_at(self, commits: int, written: bool) -> None:
        self.world.store.crash_at_commit(commits, written=written)

    async def _cancel(self, which: int) -> None:
        with contextlib.suppress(TerminalError, StorageError, AppNotRunning):
            waiting = await self.world.app.invocations(service="Scheduled", status="scheduled")
            if waiting:
                await self.world.app.cancel(waiting[which % len(waiting)].id)

    async def _without(self, seconds: float) -> None:
        """Another release, without the class; and back."""
        await self._end()
        self.world.classes = (Other,)
        self._jump(seconds)
        await self.world.start()
        await self.rest()
        assert self.pending() == []
        await self._end()
        self.world.classes = (self.scheduled, Other)
        self.redeployed.add(self.world.clock.now_ms())
        await self.world.start()

    async def _back(self, seconds: float) -> None:
        self.world.clock.set_to(self.world.clock.now_ms() - round(seconds * 1000))

    async def _end(self) -> None:
        with contextlib.suppress(StorageError):  # it may have to crash while it ends
            await self.world.app.close()

    def _jump(self, seconds: float) -> None:
        before = self.world.clock.now_ms()
        self.world.clock.set_to(before + round(seconds * 1000))
        self.still.append((before, self.world.clock.now_ms()))

    async def rest(self) -> None:
        """Let everything happen that needs no time, in another process if this one dies of it."""
        while True:
            self.world.clock.move_to(self.world.clock.now_ms())
            for _ in range(1 if self.world.rng is None else 4):
                await self.world.settle()
            if self.world.store.crashed:
                await self.world.crash()
                await self.world.start()
            elif (due := self.world.clock.next_due_ms()) is None or due > self.world.clock.now_ms():
                return

    # --- what must hold ---------------------------------------------------------------------------------------------------

    def pending(self) -> list[str]:
        query = self.world.disk.query
        found = query("SELECT handler, seq, position FROM invocation WHERE status = 0 ORDER BY handler")
        timers = query("SELECT invocation, due_ms FROM timer WHERE idx = -2 ORDER BY invocation")
        assert timers == sorted((seq, due) for _, seq, due in found)
        return [name for name, _, _ in found]

    def check_pending(self) -> None:
        assert self.pending() == [f"tick{number}" for number in range(len(self.declared))]

    def ticks(self, number: int) -> list[Tick]:
        """The ticks of a schedule by due time. None is there twice, and those that ran took effect once."""
        ticks = [
            Tick(due_of(key), *rest)
            for key, *rest in self.world.disk.query(
                "SELECT idempotency_key, status, accepted_ms, ended_ms, outcome FROM invocation WHERE handler = ? "
                "ORDER BY idempotency_key",
                f"tick{number}",
            )
        ]
        dues = [tick.due_ms for tick in ticks]
        assert len(set(dues)) == len(dues)
        ran = [tick.due_ms for tick in ticks if tick.status not in (Status.SCHEDULED, Status.PENDING, Status.FAILED)]
        assert sorted(self.seen(number)) == ran
        return ticks

    def check_near(self, number: int) -> None:
        """However wrong the clock was, the tick that waits is not further away than what is forgiven."""
        line = CronLine(*self.declared[number].line, "here")
        ticks = self.ticks(number)
        (waiting,) = [tick.due_ms for tick in ticks if tick.status == Status.SCHEDULED]
        over = {tick.due_ms for tick in ticks} - {waiting}
        nearest = line.after(self.world.clock.now_ms() + CORRECTION_MS)
        while nearest in over:
            nearest = line.after(nearest)
        assert waiting <= nearest

    def check_chain(self, number: int) -> None:
        declared = self.declared[number]
        line = CronLine(*declared.line, "here")
        ticks = self.ticks(number)
        for tick, following in pairwise(ticks):
            handled_ms = following.placed_ms
            if handled_ms in self.redeployed and following.due_ms == line.after(max(tick.due_ms, handled_ms)):
                continue  # what waited was withdrawn, and a first one placed
            assert following.due_ms == due_after(line, declared.misfire, tick.due_ms, handled_ms)
            if not tick.ended_as("cancelled"):
                assert handled_ms == self.ran_at(tick.due_ms)
        delivered = [pair for pair in pairwise(ticks) if not pair[0].ended_as("cancelled")]
        before: Tick | None = None  # the last one that ran
        for tick, following in delivered:
            handled_ms = following.placed_ms
            overlaps = before is not None and (before.ended_ms is None or before.ended_ms > handled_ms)
            missed = declared.misfire == "skip" and is_missed(line, tick.due_ms, handled_ms)
            if handled_ms in self.redeployed:
                pass  # it may have been dealt with before the class was gone
            elif tick.ended_as("tick_skipped"):
                assert overlaps or missed or (before is not None and before.ended_ms == handled_ms)
            else:
                assert not overlaps and not missed
            if not tick.ended_as("tick_skipped"):
                before = tick

    def ran_at(self, due_ms: int) -> int:
        """When a process first ran at this time or after it."""
        for before, after in self.still:
            if before < due_ms < after:
                return after
        return due_ms

    def seen(self, number: int) -> Iterator[int]:
        """The due times the handler was told, once for each time that it took effect."""
        for (text,) in self.world.disk.query("SELECT value FROM object_state WHERE key = ?", f"k{number}"):
            for moment in json.loads(text):
                yield round(datetime.datetime.fromisoformat(moment).timestamp() * 1000)


def is_missed(line: CronLine, due_ms: int, now_ms: int) -> bool:
    return now_ms - due_ms > GRACE_MS or line.after(due_ms) <= now_ms


def due_after(line: CronLine, misfire: str, due_ms: int, now_ms: int) -> int:
    """The rule, with every due time looked at: the next that is ahead, or that may still run."""
    if misfire == "once":
        return line.after(max(due_ms, now_ms))
    due_ms = max(due_ms, now_ms - 2 * GRACE_MS)
    while True:
        due_ms = line.after(due_ms)
        if due_ms > now_ms or not is_missed(line, due_ms, now_ms):
            return due_ms


EXAMPLES = settings(deadline=None, max_examples=int(os.environ.get("SCHEDULES_EXAMPLES", "60")))
MACHINES: dict[str, Any] = {
    "declared": st.lists(DECLARED, min_size=1, max_size=3),
    "start": st.sampled_from(STARTS),
    "seed": st.none() | st.integers(0, 2**16),
}


@EXAMPLES
@given(**MACHINES, steps=st.lists(STEPS, max_size=14))
def test_each_due_time_runs_at_most_once_and_none_is_lost_but_by_the_rules(
    declared: list[Declared], start: int, seed: int | None, steps: list[tuple[Any, ...]]
) -> None:
    machine = Machine(declared, start, seed)
    asyncio.run(machine.run(steps, machine.check_chain))


@EXAMPLES
@given(**MACHINES, steps=st.lists(BACK, max_size=14))
def test_whatever_is_done_to_the_clock_no_due_time_runs_twice_and_no_schedule_is_left_behind(
    declared: list[Declared], start: int, seed: int | None, steps: list[tuple[Any, ...]]
) -> None:
    machine = Machine(declared, start, seed)
    asyncio.run(machine.run(steps, machine.check_near))
