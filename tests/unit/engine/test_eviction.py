"""What leaves memory, when, and what must not."""

from __future__ import annotations

import asyncio

import pytest

from actors.attempt.invocation import Invocation
from actors.storage.records import Status
from tests.unit.engine.parts import Attempt, Parts, at_rest, invocation, parts, queued


def enter(made: Parts, *keys: str) -> None:
    """Objects come into memory, one after the other, each without a message."""
    for key in keys:
        mailbox = made.object(key)
        mailbox.recent = False
        made.eviction.entered(mailbox)


def in_memory(made: Parts) -> set[str]:
    return set(made.residents.objects["Order"])


def waits(made: Parts, seq: int, key: str, events: list[str] | None = None) -> Attempt:
    """A handler begins to wait, as its attempt says it."""
    caller = at_rest(made, seq, Status.BLOCKED, key)
    attempt = Attempt(caller, events)
    caller.attempt = attempt
    made.eviction.waits(attempt)
    return attempt


# --- idle objects ---------------------------------------------------------------------------------------------------------


async def test_no_more_idle_objects_stay_than_are_allowed() -> None:
    made = await parts(max_objects=2)
    enter(made, "a", "b")
    assert in_memory(made) == {"a", "b"} and made.called("evicted") == []
    enter(made, "c", "d")
    assert in_memory(made) == {"c", "d"}
    assert [mailbox.key for mailbox in made.called("evicted")] == ["a", "b"]


async def test_an_object_that_was_used_since_gets_a_second_chance() -> None:
    made = await parts(max_objects=2)
    enter(made, "a", "b")
    made.object("a").recent = True
    enter(made, "c")
    assert in_memory(made) == {"a", "c"}
    enter(made, "d", "e")
    assert in_memory(made) == {"d", "e"}, "only a second one"


@pytest.mark.parametrize("why", ["pinned", "a reader", "unwritten", "runs", "a message that is not written"])
async def test_an_object_that_is_needed_stays_and_others_leave(why: str) -> None:
    made = await parts(max_objects=1)
    enter(made, "a")
    mailbox = made.object("a")
    if why == "pinned":
        mailbox.pins = 1
    elif why == "a reader":
        mailbox.readers = 1
    elif why == "unwritten":
        made.ledger.patch(mailbox, {"notes": "[]"})
    elif why == "runs":
        at_rest(made, 1000, Status.RUNNING, "a").attempt = Attempt(invocation(1000))
    else:
        at_rest(made, 1000, Status.BLOCKED, "a")
        made.ledger.mark(queued(made, 1001, "a"))
    enter(made, "b", "c")
    assert in_memory(made) == {"a"} and mailbox.state is not None


async def test_an_object_may_leave_once_what_was_written_is_with_the_disk() -> None:
    made = await parts(max_objects=1)
    enter(made, "a")
    made.ledger.patch(made.object("a"), {"notes": "[]"})
    enter(made, "b")
    assert "a" in in_memory(made)
    await made.settle()
    enter(made, "c", "d")
    assert "a" not in in_memory(made)


async def test_a_sleeping_invocation_and_those_behind_it_leave_together() -> None:
    made = await parts(max_objects=1)
    enter(made, "a")
    at_rest(made, 1000, Status.BLOCKED, "a")
    waiting = queued(made, 1001, "a")
    caller: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    waiting.waiters = [caller]
    enter(made, "b")
    assert in_memory(made) == {"b"} and made.residents.open == {}
    assert made.residents.absent_waiters == {1001: [caller]}, "its caller gets the outcome all the same"


# --- handlers that wait ---------------------------------------------------------------------------------------------------


async def test_the_handler_that_waits_longest_leaves_when_there_are_too_many() -> None:
    made = await parts(max_waiting=2)
    events: list[str] = []
    for seq, key in ((1000, "a"), (1001, "b"), (1002, "c")):
        waits(made, seq, key, events)
    assert events == ["close 1000"] and in_memory(made) == {"b", "c"}
    assert set(made.residents.open) == {1001, 1002}


async def test_a_handler_leaves_after_it_has_waited_long_enough() -> None:
    made = await parts(suspend_after=10)
    events: list[str] = []
    waits(made, 1000, "a", events)
    made.clock.advance(4)
    made.turns.turn_ms = made.clock.now_ms()
    waits(made, 1001, "b", events)
    made.clock.advance(5.999)
    assert events == []
    made.clock.advance(0.001)
    assert events == ["close 1000"]
    made.clock.advance(4)
    assert events == ["close 1000", "close 1001"] and made.residents.open == {}
    assert made.clock.next_due_ms() is None, "no handler waits, so no alarm is set"


async def test_a_handler_that_is_about_to_go_on_stays() -> None:
    made = await parts(max_waiting=1)
    first = waits(made, 1000, "a")
    first.scheduled = True
    waits(made, 1001, "b")
    assert first.events == [] and first.invocation.attempt is first and "a" in in_memory(made)


async def test_a_handler_leaves_although_its_object_cannot_yet() -> None:
    made = await parts(suspend_after=10)
    attempt = waits(made, 1000, "a")
    made.ledger.mark(attempt.invocation)
    made.eviction.suspend(attempt)
    assert attempt.ended and in_memory(made) == {"a"}
    await made.settle()
    assert in_memory(made) == set() and made.residents.open == {}


async def test_no_handler_leaves_a_partition_that_has_stopped() -> None:
    made = await parts(suspend_after=10)
    attempt = waits(made, 1000, "a")
    made.background.stopped = True
    made.eviction.stop()
    made.clock.advance(60)
    assert attempt.events == [] and set(made.residents.open) == {1000}


# --- what leaves with the next batch --------------------------------------------------------------------------------------


async def test_a_message_for_later_leaves_once_it_is_with_the_disk() -> None:
    made = await parts()
    message = invocation(1000)
    message.status = Status.SCHEDULED
    made.residents.open[1000] = message
    made.ledger.mark(message)
    made.eviction.scheduled(message)
    made.eviction.handed_over()
    assert 1000 in made.residents.open
    await made.settle()
    assert made.residents.open == {}


async def test_a_message_for_later_that_was_delivered_meanwhile_stays() -> None:
    made = await parts()
    message = at_rest(made, 1000, Status.BLOCKED, "a")
    made.eviction.scheduled(message)
    made.eviction.handed_over()
    assert 1000 in made.residents.open


async def test_a_reader_leaves_alone_and_its_object_stays_in_use() -> None:
    made = await parts()
    holder = waits(made, 1000, "a").invocation
    reader = at_rest(made, 1001, Status.BLOCKED, "a", "watch")
    made.eviction.sleeps(reader)
    made.eviction.handed_over()
    assert set(made.residents.open) == {1000} and made.object("a").readers == 0
    assert made.object("a").current is holder and holder.attempt is not None


def _of_service(made: Parts, status: int) -> Invocation:
    about = invocation(1000, "wait", "\x011000", "Mailer")
    about.status = status
    mailbox = about.mailbox = made.residents.enter("Mailer", about.key)
    mailbox.state, mailbox.current = made.object("other").state, about
    made.residents.open[1000] = about
    return about


async def test_an_invocation_of_a_service_rests_on_disk() -> None:
    made = await parts()
    about = _of_service(made, Status.BACKING_OFF)
    made.ledger.mark(about)
    made.eviction.rests(about)
    await made.settle()
    assert made.residents.open == {} and made.residents.objects["Mailer"] == {}
    other = at_rest(made, 1001, Status.BACKING_OFF, "a")
    made.eviction.rests(other)
    made.eviction.handed_over()
    assert set(made.residents.open) == {1001}, "an object stays for others"


async def test_the_mailbox_of_an_ended_invocation_of_a_service_leaves() -> None:
    made = await parts()
    about = _of_service(made, Status.SUCCEEDED)
    mailbox = about.mailbox
    assert mailbox is not None
    del made.residents.open[1000]
    mailbox.current = None
    mailbox.pins = 1
    made.eviction.over(mailbox)
    made.eviction.handed_over()
    assert mailbox.state is not None
    mailbox.pins = 0
    made.eviction.handed_over()
    assert mailbox.state is None and made.residents.objects["Mailer"] == {}


async def test_a_sleeping_object_leaves_when_the_last_pin_is_gone() -> None:
    made = await parts()
    at_rest(made, 1000, Status.BLOCKED, "a")
    made.object("b")
    for key in ("a", "b"):
        made.eviction.released(made.object(key))
    assert in_memory(made) == {"b"}, "an idle one stays"
