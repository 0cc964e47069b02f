"""Which timers fire, in which order, with few of them in memory."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from actors.engine.timer_queue import RETRY, Timer, TimerQueue
from actors.testing import Disk
from tests.unit.engine.parts import Parts, parts

LONGEST_RETRY_MS = 60_000


class Desk:
    """A queue over a real store. `fired` are the due timers, each removed from disk as its owner does."""

    def __init__(self, made: Parts, most: int = 100) -> None:
        self.parts = made
        self.start_ms = made.clock.now_ms()
        self.fired: list[Timer] = []
        self.queue = TimerQueue(
            made.store, made.clock, made.committer, made.background, most, LONGEST_RETRY_MS, self._due
        )

    def _due(self, timers: list[Timer]) -> None:
        for timer in timers:
            self.parts.ledger.timer_over(timer[0], timer[1])
        self.fired += timers

    def add(self, after_ms: int, index: int = 1) -> Timer:
        number = self.parts.ledger.next_number()
        timer = (self.start_ms + after_ms, number, 1000 + number, index)
        self.parts.ledger.timer(timer)
        self.queue.add(timer)
        return timer

    def cancel(self, timer: Timer) -> Timer | None:
        """As `Timers` does."""
        cancelled = self.queue.cancel(timer[0], timer[2], timer[3])
        if cancelled is not None:
            self.parts.ledger.timer_over(timer[0], timer[1])
        else:
            self.parts.ledger.timer_stopped(timer[0], timer[2], timer[3])
        return cancelled

    async def pass_ms(self, ms: int) -> list[Timer]:
        clock = self.parts.clock
        clock.move_to(clock.now_ms() + ms)
        await self.parts.settle()
        while (due_ms := clock.next_due_ms()) is not None and due_ms <= clock.now_ms():  # what was read is due too
            clock.advance(0)
            await self.parts.settle()
        return self.fired


async def desk(most: int = 100, disk: Disk | None = None) -> Desk:
    made = Desk(await parts(disk), most)
    await made.queue.open()
    return made


async def test_timers_fire_by_due_time_and_then_by_number() -> None:
    made = await desk()
    late, first, second, soon = made.add(30), made.add(20), made.add(20), made.add(10)
    assert await made.pass_ms(9) == []
    assert await made.pass_ms(1) == [soon]
    assert await made.pass_ms(50) == [soon, first, second, late]


async def test_timers_that_are_due_together_are_handed_over_in_order() -> None:
    made = await desk()
    timers = [made.add(after) for after in (5, 1, 3, 1)]
    made.parts.clock.set_to(made.start_ms + 10)
    assert made.fired == sorted(timers)


async def test_one_alarm_is_set_for_the_next_timer() -> None:
    made = await desk()
    assert made.queue.next_ms() is None and made.parts.clock.next_due_ms() is None
    made.add(20)
    made.add(30)
    assert made.parts.clock.next_due_ms() == made.queue.next_ms() == made.start_ms + 20
    soon = made.add(10)
    assert made.parts.clock.next_due_ms() == made.start_ms + 10
    made.cancel(soon)
    assert made.parts.clock.next_due_ms() == made.queue.next_ms() == made.start_ms + 20


async def test_a_cancelled_timer_does_not_fire() -> None:
    made = await desk()
    first, second, third = made.add(10), made.add(20), made.add(30)
    assert made.cancel(second) == second and made.cancel(first) == first
    assert await made.pass_ms(50) == [third]


async def test_to_cancel_twice_or_after_it_fired_has_no_effect() -> None:
    made = await desk()
    first, second = made.add(10), made.add(20)
    assert made.cancel(second) == second and made.cancel(second) is None
    await made.pass_ms(10)
    assert made.cancel(first) is None
    assert await made.pass_ms(50) == [first]


async def test_many_cancelled_timers_leave_the_others_in_order() -> None:
    made = await desk(most=1000)
    timers = [made.add(1000 - number) for number in range(100)]
    for timer in timers[10:]:
        made.cancel(timer)
    assert await made.pass_ms(2000) == sorted(timers[:10])


async def test_timers_that_do_not_fit_fire_in_order_all_the_same() -> None:
    made = await desk(most=6)
    rng = Random(0)
    timers = [made.add(rng.randrange(1, 40)) for _ in range(50)]
    await made.parts.settle()
    for _ in range(40):
        await made.pass_ms(1)
        now = made.parts.clock.now_ms()
        assert made.fired == [timer for timer in sorted(timers) if timer[0] <= now]
    assert len(made.fired) == 50
    assert made.parts.disk.query("SELECT count(*) FROM timer") == [(0,)]


@pytest.mark.parametrize("seed", range(30))
async def test_any_mix_of_adding_and_cancelling_fires_what_is_left(seed: int) -> None:
    rng = Random(seed)
    made = Desk(await parts(rng=rng), most=5)
    await made.queue.open()
    alive: list[Timer] = []
    expected: list[Timer] = []
    for _ in range(200):
        what = rng.random()
        if what < 0.4:
            alive.append(made.add(made.parts.clock.now_ms() - made.start_ms + rng.randrange(1, 30)))
        elif what < 0.55 and alive:
            made.cancel(alive.pop(rng.randrange(len(alive))))
        elif what < 0.9:
            await asyncio.sleep(0)  # in the middle of a read or a commit
        else:
            await made.parts.settle()
            await made.pass_ms(3)
            now = made.parts.clock.now_ms()
            expected += sorted(timer for timer in alive if timer[0] <= now)
            alive = [timer for timer in alive if timer[0] > now]
            assert made.fired == expected
    await made.parts.settle()
    assert expected and not made.parts.failures


@pytest.mark.parametrize("most", [3, 100])
async def test_another_process_fires_what_was_stored(most: int) -> None:
    disk = Disk()
    before = await desk(disk=disk)
    timers = [before.add(after) for after in (30, 10, 20, 10)]
    await before.parts.settle()
    after = await desk(most, disk)
    assert await after.pass_ms(15) == [timers[1], timers[3]]
    assert await after.pass_ms(15) == sorted(timers)


async def test_what_is_added_or_cancelled_during_a_read_counts() -> None:
    disk = Disk()
    before = await desk(disk=disk)
    stored = [before.add(after) for after in (10, 20, 30)]
    await before.parts.settle()
    made = Desk(await parts(disk), 3)  # it reads one at once
    await made.queue.open()
    made.parts.store.hold_commits()
    await made.pass_ms(10)  # the heap is empty: it reads on, behind a commit that waits
    assert made.fired == stored[:1]
    added = [made.add(20), made.add(25)]
    assert made.cancel(stored[1]) is None, "it is on disk only"
    made.parts.store.release_commits()
    await made.parts.settle()
    for _ in range(4):
        await made.pass_ms(5)
    assert made.fired == [stored[0], *added, stored[2]]


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_added_behind_a_read_that_is_under_way_is_kept(seed: int) -> None:
    disk = Disk()
    before = await desk(disk=disk)
    stored = [before.add(after) for after in (10, 20, 30)]
    await before.parts.settle()
    made = Desk(await parts(disk, rng=Random(seed)), 6)  # it reads two at once
    await made.queue.open()
    await made.pass_ms(10)
    reads: list[str] = []
    disk.connection.set_trace_callback(lambda sql: reads.append(sql) if "FROM timer" in sql else None)
    made.parts.clock.advance(0.01)
    for _ in range(100):
        if not reads:  # of the third timer; the answer takes some turns of the loop
            await asyncio.sleep(0)
    assert len(reads) == 1
    added = made.add(25)
    for _ in range(5):
        await made.pass_ms(2)
    assert made.fired == [*stored[:2], added, stored[2]]


async def test_a_stopped_queue_fires_nothing() -> None:
    made = await desk()
    made.add(10)
    made.queue.stop()
    made.queue.stop()
    made.add(5)
    assert await made.pass_ms(50) == []


@pytest.mark.parametrize(("index", "fires"), [(RETRY, True), (1, False)])
@pytest.mark.parametrize("down", [True, False], ids=["while down", "while it runs"])
async def test_a_retry_planned_by_a_clock_ahead_is_due_at_once(index: int, fires: bool, down: bool) -> None:
    disk = Disk()
    made = await desk(disk=disk)
    timer = made.add(LONGEST_RETRY_MS + 3_600_000, index)
    await made.parts.settle()
    if down:
        made = await desk(disk=disk)
    else:
        made.add(10)  # its alarm rings when the clock is set
        made.parts.clock.set_to(made.start_ms - 1)
    assert made.fired == ([timer] if fires else [])
