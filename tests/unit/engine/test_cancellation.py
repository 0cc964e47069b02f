"""Cancellation: calls first, then the handler, once; one that has not begun ends at once."""

from __future__ import annotations

import itertools

import pytest

from actors.attempt.invocation import Invocation
from actors.attempt.work import StepWork
from actors.engine.cancellation import Cancellation
from actors.errors import UnknownInvocation, WrongStatus
from actors.journal.entries import Kind
from actors.storage.records import Flag, Status
from tests.unit.engine.parts import Attempt, Parts, at_rest, invocation, parts, queued, target


class Desk:
    def __init__(self, made: Parts) -> None:
        self.parts = made
        made.turns.hold()
        self.cancellation = Cancellation(
            made.store,
            made.residents,
            made.ledger,
            made.background,
            made.committer,
            made.pins,
            made.progress,
            made.timers,
        )
        made.progress.calls_left = self.cancellation.calls_left
        made.progress.tell_cancelled = self.cancellation.tell_cancelled

    def waiting(self, seq: int, key: str, status: int = Status.BLOCKED) -> Invocation:
        """A handler that has begun, and waits."""
        caller = at_rest(self.parts, seq, status, key)
        if status == Status.BLOCKED:
            caller.attempt = Attempt(caller)
        return caller

    def attempt_of(self, about: Invocation) -> Attempt:
        assert isinstance(about.attempt, Attempt)
        return about.attempt

    def call(self, caller: Invocation, child: Invocation, kind: int = Kind.CALL) -> int:
        assert caller.journal is not None
        index = caller.journal.append(kind, "Order/x/put", "[]", child.seq, None, 5).idx
        if kind == Kind.CALL:
            child.parent, child.parent_index = caller.seq, index
        return index


def told(caller: Invocation) -> list[int]:
    """The kinds of what the handler gets to know, in order."""
    assert caller.journal is not None
    return [entry.kind for entry in caller.journal.completions]


async def desk() -> Desk:
    return Desk(await parts())


# --- one invocation -------------------------------------------------------------------------------------------------------


async def test_a_handler_that_waits_is_notified_once() -> None:
    made = await desk()
    about = made.waiting(1000, "a")
    await made.cancellation.cancel(1000)
    await made.cancellation.cancel(1000)
    assert told(about) == [Kind.CANCELLED] and about.has(Flag.CANCELLED) and not about.ended
    assert isinstance(about.attempt, Attempt) and about.attempt.events == ["wake 1000"]
    assert about in made.parts.committer.batch.invocations


@pytest.mark.parametrize("where", ["queued", "scheduled", "first turn to come"])
async def test_one_that_has_not_begun_ends_at_once(where: str) -> None:
    made = await desk()
    if where == "queued":
        made.waiting(999, "a")
        about = queued(made.parts, 1000, "a")
    elif where == "scheduled":
        about = invocation(1000)
        about.status = Status.SCHEDULED
        made.parts.residents.open[1000] = about
    else:
        about = at_rest(made.parts, 1000, Status.RUNNING, "a")
        about.journal, about.attempt = None, Attempt(about)
        about.attempt.begun = False
    await made.cancellation.cancel(1000)
    assert about.status == Status.FAILED and "cancelled" in str(about.outcome)


@pytest.mark.parametrize("status", [Status.PAUSED, Status.BACKING_OFF])
async def test_one_that_is_stopped_gets_an_attempt_in_which_to_end(status: int) -> None:
    made = await desk()
    about = made.waiting(1000, "a", status)
    extras = about.more()
    extras.flags, extras.attempts, extras.failing_since_ms = Flag.HELD, 7, 5
    await made.cancellation.cancel(1000)
    assert told(about) == [Kind.CANCELLED] and about.status == Status.RUNNING and about.attempt is not None
    assert extras.attempts == 0 and not about.has(Flag.HELD)


async def test_a_reader_is_notified_like_any_other() -> None:
    made = await desk()
    made.waiting(999, "a")
    reader = at_rest(made.parts, 1000, Status.BLOCKED, "a", "watch")
    reader.attempt = Attempt(reader)
    await made.cancellation.cancel(1000)
    assert told(reader) == [Kind.CANCELLED] and not reader.ended


async def test_steps_requested_before_are_notified_too() -> None:
    made = await desk()
    about = made.waiting(1000, "a")
    events: list[str] = []

    class Step(StepWork):
        def told_cancelled(self) -> None:
            events.append("told")

    about.work = {1: Step()}
    await made.cancellation.cancel(1000)
    assert events == ["told"]


# --- calls ----------------------------------------------------------------------------------------------------------------


async def test_calls_are_cancelled_first_and_the_caller_before_their_last_answer() -> None:
    made = await desk()
    caller, first, second = (made.waiting(1000 + number, key) for number, key in enumerate("abc"))
    made.call(caller, first)
    made.call(caller, second)
    await made.cancellation.cancel(1000)
    assert told(first) == told(second) == [Kind.CANCELLED] and told(caller) == []
    made.parts.progress.finish(first, Status.FAILED, "{}")
    assert told(caller) == [Kind.FAILED]
    made.parts.progress.finish(second, Status.SUCCEEDED, "1")
    assert told(caller) == [Kind.FAILED, Kind.CANCELLED, Kind.COMPLETED]


async def test_the_caller_of_a_call_that_has_not_begun_is_notified_first() -> None:
    made = await desk()
    caller, _ = made.waiting(1000, "a"), made.waiting(1001, "b")
    child = queued(made.parts, 1002, "b")
    made.call(caller, child)
    await made.cancellation.cancel(1000)
    assert child.status == Status.FAILED and told(caller) == [Kind.CANCELLED, Kind.FAILED]


async def test_calls_of_calls_are_cancelled_all_the_way_down() -> None:
    made = await desk()
    chain = [made.waiting(1000 + number, key) for number, key in enumerate("abcd")]
    for caller, child in itertools.pairwise(chain):
        made.call(caller, child)
    await made.cancellation.cancel(1000)
    assert [told(each) for each in chain] == [[], [], [], [Kind.CANCELLED]]
    assert all(each.has(Flag.CANCELLED) for each in chain)


@pytest.mark.parametrize("in_memory", [True, False])
async def test_what_it_is_only_attached_to_goes_on(in_memory: bool) -> None:
    made = await desk()
    caller, other = made.waiting(1000, "a"), made.waiting(1001, "b")
    made.call(caller, other, Kind.ATTACH)
    if not in_memory:
        made.parts.ledger.mark(other)
        await made.parts.commit()
        made.parts.eviction.suspend(made.attempt_of(other))
        assert 1001 not in made.parts.residents.open
    assert not made.cancellation.calls_left(caller)
    await made.cancellation.cancel(1000)
    assert told(caller) == [Kind.CANCELLED] and told(other) == [] and not other.has(Flag.CANCELLED)


@pytest.mark.parametrize("again", [False, True])
async def test_a_call_made_after_the_notice_is_not_cancelled(again: bool) -> None:
    made = await desk()
    caller, child = made.waiting(1000, "a"), made.waiting(1001, "b")
    await made.cancellation.cancel(1000)
    made.call(caller, child)
    made.cancellation.called(caller, child, notified=True)
    if again:
        await made.cancellation.cancel(1000)
    assert told(child) == [] and not child.has(Flag.CANCELLED)


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("told_before", [True, False])
async def test_only_a_call_requested_before_the_notice_is_cancelled(cancelled: bool, told_before: bool) -> None:
    made = await desk()
    caller, child = made.waiting(1000, "a"), made.waiting(1001, "b")
    if cancelled:
        caller.more().flags |= Flag.CANCELLED
    made.cancellation.called(caller, child, told_before)
    assert child.has(Flag.CANCELLED) == (cancelled and not told_before)


async def test_a_call_on_disk_is_loaded_and_cancelled_first() -> None:
    made = await desk()
    caller, child = made.waiting(1000, "a"), made.waiting(1001, "b")
    index = made.call(caller, child)
    assert caller.journal is not None
    for about in (caller, child):
        made.parts.ledger.mark(about)
    made.parts.ledger.write_entry(caller, caller.journal.commands[0])
    await made.parts.commit()
    made.parts.eviction.suspend(made.attempt_of(child))
    assert 1001 not in made.parts.residents.open
    assert made.cancellation.calls_left(caller), "it has no answer, so it has not ended"
    assert not made.cancellation.calls_left(caller, index), "apart from the one that is answered"
    await made.cancellation.cancel(1000)
    again = made.parts.residents.open[1001]
    assert again.has(Flag.CANCELLED) and told(again) == [Kind.CANCELLED] and told(caller) == []


# --- what is refused ------------------------------------------------------------------------------------------------------


async def test_an_unknown_invocation_is_refused() -> None:
    made = await desk()
    with pytest.raises(UnknownInvocation):
        await made.cancellation.cancel(4000)


async def test_an_ended_invocation_is_refused_with_its_end() -> None:
    made = await desk()
    about = made.waiting(1000, "a")
    made.parts.progress.finish(about, Status.SUCCEEDED, '"x"')
    with pytest.raises(WrongStatus, match="it succeeded"):
        await made.cancellation.cancel(1000)
    assert (await made.cancellation.ended_row(1000)).status == Status.SUCCEEDED


async def test_an_open_invocation_has_no_row_of_an_ended_one() -> None:
    made = await desk()
    made.parts.ledger.mark(made.waiting(1000, "a"))
    assert (await made.cancellation.row(1000)).status == Status.BLOCKED
    with pytest.raises(WrongStatus, match="has not ended"):
        await made.cancellation.ended_row(1000)


# --- for a handler --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "answer"), [("open", Kind.COMPLETED), ("ended", Kind.COMPLETED), ("unknown", Kind.FAILED)]
)
async def test_a_handler_that_cancels_gets_its_answer_once(which: str, answer: int) -> None:
    made = await desk()
    caller, other = made.waiting(1000, "a"), made.waiting(1001, "b")
    assert caller.journal is not None
    index = caller.journal.append(Kind.CANCEL, "inv", None, None, None, 5).idx
    if which == "ended":
        made.parts.progress.finish(other, Status.SUCCEEDED, '"x"')
    made.cancellation.begin_cancel(caller, index, 4000 if which == "unknown" else 1001)
    assert caller.work is not None and index in caller.work and caller.status == Status.RUNNING
    await made.parts.commit()
    assert told(caller) == [answer] and caller.work == {}
    assert told(other) == ([Kind.CANCELLED] if which == "open" else [])


async def test_a_cancellation_and_the_answer_of_its_command_are_in_one_batch() -> None:
    made = await desk()
    caller, other = made.waiting(1000, "a"), made.waiting(1001, "b")
    assert caller.journal is not None
    index = caller.journal.append(Kind.CANCEL, "inv", None, None, None, 5).idx
    await made.cancellation.cancel_for(caller, index, 1001)
    rows = [(row[0], row[2]) for row in made.parts.committer.batch.journal]
    assert rows == [(1001, Kind.CANCELLED), (1000, Kind.COMPLETED)] and other.has(Flag.CANCELLED)


async def test_a_real_handler_ends_with_the_cancellation() -> None:
    made = await desk()
    made.parts.turns.release()
    accepted = made.parts.intake.accept(
        target("wait"), "o", "[]", None, None, made.parts.ledger.next_number(), None, None
    )
    await made.parts.settle()
    assert accepted.status == Status.BLOCKED
    await made.cancellation.cancel(accepted.seq)
    await made.parts.settle()
    assert made.parts.disk.query("SELECT status FROM invocations") == [("failed",)]
