"""What happens when a timer is due, in order, whether its invocation is in memory or not."""

from __future__ import annotations

import pytest

from actors.attempt.invocation import Invocation
from actors.engine.timer_queue import DELIVER, RETRY
from actors.journal.entries import Kind
from actors.storage.records import Flag, Status
from actors.testing import Disk
from tests.unit.engine.parts import Attempt, Parts, at_rest, invocation, parts, target


def waiting(made: Parts, seq: int, key: str, kind: int = Kind.SLEEP, value: str | None = None) -> Invocation:
    """A handler that waits for its first command."""
    caller = at_rest(made, seq, Status.BLOCKED, key)
    caller.attempt = Attempt(caller)
    assert caller.journal is not None
    caller.journal.append(kind, None, value, None, None, 5)
    return caller


def answers(caller: Invocation) -> list[tuple[int, str | bytes | None]]:
    assert caller.journal is not None
    return [(entry.kind, entry.value) for entry in caller.journal.completions]


async def pass_ms(made: Parts, ms: int) -> None:
    made.clock.move_to(made.clock.now_ms() + ms)
    await made.settle()


def rows(made: Parts) -> int:
    ((count,),) = made.disk.query("SELECT count(*) FROM timer")
    return int(count)


async def begun(disk: Disk | None = None, max_timers: int = 100) -> Parts:
    made = await parts(disk, max_timers=max_timers)
    await made.timers.open()
    return made


async def test_a_sleep_is_over_when_its_time_has_come() -> None:
    made = await begun()
    caller = waiting(made, 1000, "o")
    made.timers.add(made.clock.now_ms() + 10, caller, 1)
    await pass_ms(made, 9)
    assert answers(caller) == [] and rows(made) == 1
    await pass_ms(made, 1)
    assert answers(caller) == [(Kind.COMPLETED, None)] and rows(made) == 0


async def test_an_awakeable_fails_at_its_deadline() -> None:
    made = await begun()
    caller = waiting(made, 1000, "o", Kind.AWAKEABLE, "2500")
    made.timers.add(made.clock.now_ms() + 2500, caller, 1)
    await pass_ms(made, 2500)
    ((kind, failure),) = answers(caller)
    assert kind == Kind.FAILED and "not completed within 2.5 s" in str(failure)


async def test_a_retry_starts_the_next_attempt_and_says_so_on_disk() -> None:
    made = await begun()
    made.turns.hold()
    failed, paused = at_rest(made, 1000, Status.BACKING_OFF, "o"), at_rest(made, 1001, Status.PAUSED, "p")
    for each in (failed, paused):
        made.timers.add(made.clock.now_ms() + 10, each, RETRY)
    made.clock.advance(0.01)
    assert failed.status == Status.RUNNING and failed.attempt is not None
    assert failed in made.committer.batch.invocations
    assert paused.status == Status.PAUSED and paused.attempt is None, "it was paused meanwhile"


@pytest.mark.parametrize("tick", [False, True])
async def test_a_message_is_delivered_at_its_time(tick: bool) -> None:
    made = await begun()
    at_rest(made, 1000, Status.BLOCKED, "o")
    message = invocation(1001)
    message.status = Status.SCHEDULED
    if tick:
        message.more().flags |= Flag.TICK
    made.residents.open[1001] = message
    made.timers.add(made.clock.now_ms() + 10, message, DELIVER)
    made.clock.advance(0.01)
    assert made.called("tick_due") == ([message] if tick else [])
    assert made.object("o").first is (None if tick else message)


async def test_timers_fire_in_order_although_the_first_has_to_be_loaded() -> None:
    made = await begun()
    cold = made.intake.accept(target("put"), "p", '["a"]', None, None, made.ledger.next_number(), None, None, 10)
    await made.settle()
    assert cold.seq not in made.residents.open
    caller = waiting(made, 1000, "o")
    made.timers.add(made.clock.now_ms() + 10, caller, 1)
    made.clock.advance(0.01)
    assert answers(caller) == [], "it waits for the one before it"
    await made.settle()
    assert answers(caller) == [(Kind.COMPLETED, None)]
    assert made.disk.query("SELECT status FROM invocations WHERE key = 'p'") == [("succeeded",)] and rows(made) == 0


async def test_a_timer_of_an_ended_invocation_is_forgotten() -> None:
    made = await begun()
    made.timers.add(made.clock.now_ms() + 10, invocation(999), 1)
    caller = waiting(made, 1000, "o")
    made.timers.add(made.clock.now_ms() + 10, caller, 1)
    await pass_ms(made, 10)
    assert rows(made) == 0 and answers(caller) == [(Kind.COMPLETED, None)]


@pytest.mark.parametrize("written", [False, True])
async def test_a_cancelled_timer_leaves_nothing_behind(written: bool) -> None:
    made = await begun()
    caller, due_ms = waiting(made, 1000, "o"), made.clock.now_ms() + 10
    made.timers.add(due_ms, caller, 1)
    if written:
        await made.settle()
    made.timers.cancel(due_ms, 1000, 1)
    await pass_ms(made, 20)
    assert rows(made) == 0 and answers(caller) == []


async def test_a_timer_on_disk_only_is_cancelled_too() -> None:
    made = await begun(max_timers=3)
    caller, due_ms = waiting(made, 1000, "o"), made.clock.now_ms() + 10
    assert caller.journal is not None
    for index in range(1, 9):
        caller.journal.append(Kind.SLEEP, None, None, None, None, 5)
        made.timers.add(due_ms + index, caller, index)
    await made.settle()
    made.timers.cancel(due_ms + 8, 1000, 8)
    await made.settle()
    assert rows(made) == 7


async def test_a_cancelled_retry_does_not_come() -> None:
    made = await begun()
    failed = at_rest(made, 1000, Status.BACKING_OFF, "o")
    made.timers.add(made.clock.now_ms() + 10, failed, RETRY)
    made.timers.cancel_retry(1000)
    made.timers.cancel_retry(1000)
    await pass_ms(made, 20)
    assert failed.attempt is None and rows(made) == 0


async def test_it_says_by_how_much_the_next_timer_is_late() -> None:
    made = await begun()
    assert made.timers.late_ms() == 0
    made.timers.add(made.clock.now_ms() + 10, waiting(made, 1000, "o"), 1)
    assert made.timers.late_ms() == 0
    made.clock.set_to(made.clock.now_ms() + 25, noticed=False)
    assert made.timers.late_ms() == 15


async def test_nothing_fires_in_a_partition_that_has_stopped() -> None:
    made = await begun()
    caller = waiting(made, 1000, "o")
    made.timers.add(made.clock.now_ms() + 10, caller, 1)
    made.background.stopped = True
    await pass_ms(made, 20)
    assert answers(caller) == [] and rows(made) == 1, "the next process fires it"


async def test_a_message_for_later_leaves_memory_and_comes_back_in_time() -> None:
    disk = Disk()
    made = await begun(disk)
    message = made.intake.accept(target("put"), "o", '["a"]', None, None, made.ledger.next_number(), None, None, 10)
    assert message.seq in made.residents.open
    await made.settle()
    assert message.seq not in made.residents.open
    after = await begun(disk)
    await pass_ms(after, 10)
    assert disk.query("SELECT status FROM invocations") == [("succeeded",)]
