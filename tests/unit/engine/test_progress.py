"""How invocations get on: an answer comes once, an outcome is recorded and passed on, and the next message begins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from actors.attempt.invocation import Invocation
from actors.attempt.work import StepWork
from actors.errors import TerminalError
from actors.journal.entries import Kind
from actors.storage.records import OWN_KEY, Flag, Status
from tests.unit.engine.parts import Attempt, Parts, at_rest, invocation, parts, queued, target


class Step(StepWork):
    """A step that is being executed, or waits for its next try."""

    def __init__(self, executing: bool) -> None:
        self.executing = executing

    def __str__(self) -> str:
        return "step pay"

    def withdraw(self) -> bool:
        return self.executing


async def held() -> Parts:
    """No handler goes on: what a test sees is what the part has done."""
    made = await parts()
    made.turns.hold()
    return made


def asks(caller: Invocation, kind: int = Kind.RUN, ref: int | None = None) -> int:
    assert caller.journal is not None
    return caller.journal.append(kind, None, None, ref, None, 5).idx


def answers(caller: Invocation) -> list[tuple[int, str | bytes | None]]:
    assert caller.journal is not None
    return [(entry.kind, entry.value) for entry in caller.journal.completions]


def caller_of(about: Invocation) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    about.waiters = [*(about.waiters or ()), future]
    return future


# --- answers --------------------------------------------------------------------------------------------------------------


async def test_a_command_is_answered_once() -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.RUNNING, "o")
    index = asks(caller)
    made.progress.complete(caller, index, Kind.COMPLETED, "1")
    made.progress.complete(caller, index, Kind.FAILED, "2")
    assert answers(caller) == [(Kind.COMPLETED, "1")]
    assert len(made.committer.batch.journal) == 1


@pytest.mark.parametrize("why", ["ended", "no journal"])
async def test_an_answer_that_comes_too_late_is_dropped(why: str) -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.RUNNING, "o")
    if why == "ended":
        caller.status = Status.FAILED
    else:
        caller.journal = None
    made.progress.complete(caller, 1, Kind.COMPLETED, "1")
    assert made.committer.batch.empty()


async def test_an_answer_wakes_the_handler_that_waits() -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.BLOCKED, "o")
    caller.attempt = attempt = Attempt(caller)
    made.progress.complete(caller, asks(caller), Kind.COMPLETED, "1")
    assert attempt.events == ["wake 1000"] and caller.status == Status.RUNNING
    assert made.committer.batch.invocations == [caller], "a crash must wake it"


async def test_an_answer_starts_an_attempt_of_a_handler_that_was_evicted() -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.BLOCKED, "o")
    made.progress.complete(caller, asks(caller), Kind.COMPLETED, "1")
    assert caller.attempt is not None and list(made.turns.ready) == [caller.attempt]


@pytest.mark.parametrize("status", [Status.BACKING_OFF, Status.PAUSED])
async def test_an_answer_wakes_nothing_that_is_stopped(status: int) -> None:
    made = await held()
    caller = at_rest(made, 1000, status, "o")
    made.progress.complete(caller, asks(caller), Kind.COMPLETED, "1")
    assert caller.status == status and caller.attempt is None and answers(caller) == [(Kind.COMPLETED, "1")]


@pytest.mark.parametrize("left", [True, False])
async def test_a_cancellation_comes_before_the_answer_of_the_last_call(left: bool) -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.RUNNING, "o")
    caller.more().flags |= Flag.CANCELLED
    index = asks(caller, Kind.CALL, 1001)
    events: list[object] = []
    made.progress.calls_left = lambda about, answered: left
    made.progress.tell_cancelled = lambda about: events.append((about, answers(about)))
    made.progress.complete(caller, index, Kind.COMPLETED, "1")
    assert events == ([] if left else [(caller, [])]) and answers(caller) == [(Kind.COMPLETED, "1")]


# --- work of this process -------------------------------------------------------------------------------------------------


async def test_work_counts_as_running_until_its_command_is_answered() -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.BLOCKED, "o")
    index = asks(caller)
    made.progress.add_work(caller, index, Step(executing=True))
    assert caller.status == Status.RUNNING and made.committer.batch.invocations == [caller]
    made.progress.complete(caller, index, Kind.COMPLETED, "1")
    assert caller.work == {}


async def test_a_paused_invocation_keeps_only_steps_that_are_being_executed() -> None:
    made = await held()
    caller = at_rest(made, 1000, Status.RUNNING, "o")
    waits, runs = Step(executing=False), Step(executing=True)
    for index, step in ((1, waits), (2, runs)):
        made.progress.add_work(caller, index, step)
    made.progress.withdraw_steps(caller)
    assert caller.work == {2: runs}


# --- attempts -------------------------------------------------------------------------------------------------------------


async def test_an_invocation_whose_handler_is_gone_is_paused_with_the_reason() -> None:
    made = await held()
    about = at_rest(made, 1000, Status.PENDING, "o")
    about.handler, about.handler_name = None, "gone"
    made.progress.start(about)
    ((paused, reason, _),) = made.called("pause")
    assert paused is about and "Order has no handler 'gone'" in reason and about.attempt is None


async def test_nothing_starts_in_a_partition_that_has_stopped() -> None:
    made = await held()
    about = at_rest(made, 1000, Status.PENDING, "o")
    made.background.stopped = True
    made.progress.start(about)
    assert about.attempt is None and not made.turns.ready


# --- outcomes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
async def test_an_outcome_reaches_callers_only_once_it_is_durable(status: int) -> None:
    made = await held()
    about = at_rest(made, 1000, Status.RUNNING, "o")
    futures = [caller_of(about), caller_of(about)]
    outcome = '"x"' if status == Status.SUCCEEDED else '{"message":"no","code":409}'
    made.progress.finish(about, status, outcome)
    assert made.residents.open == {} and about.ended and not any(future.done() for future in futures)
    assert about.ended_ms == made.clock.now_ms()
    await made.commit()
    if status == Status.SUCCEEDED:
        assert [future.result() for future in futures] == ["x", "x"]
    else:
        assert [type(future.exception()) for future in futures] == [TerminalError, TerminalError]
    assert (made.env.counts.succeeded, made.env.counts.failed) == ((1, 0) if status == Status.SUCCEEDED else (0, 1))


@pytest.mark.parametrize("durable", [True, False])
async def test_a_read_is_answered_when_what_it_has_read_is_durable(durable: bool) -> None:
    made = await held()
    made.ledger.patch(made.object("o"), {"notes": '["a"]'})
    if durable:
        await made.commit()
    about = at_rest(made, 1000, Status.RUNNING, "o", "look")
    future = caller_of(about)
    made.progress.finish(about, Status.SUCCEEDED, "[]", [])
    assert made.committer.batch.invocations == [], "a read leaves no row"
    assert future.done() == durable
    await made.commit()
    assert future.result() == [] and made.object("o").readers == 0


async def test_an_outcome_answers_the_call_it_came_from() -> None:
    made = await held()
    parent = at_rest(made, 1000, Status.BLOCKED, "a")
    child = at_rest(made, 1001, Status.RUNNING, "b")
    child.parent, child.parent_index = 1000, asks(parent, Kind.CALL, 1001)
    made.progress.finish(child, Status.SUCCEEDED, '"x"')
    assert answers(parent) == [(Kind.COMPLETED, '"x"')] and parent.journal is not None and parent.journal.waits == {}
    batch = made.committer.batch
    assert set(batch.invocations) == {parent, child} and len(batch.journal) == 1, "in one batch"


async def test_the_next_message_begins_when_the_one_before_has_ended() -> None:
    made = await held()
    about, second, third = at_rest(made, 1000, Status.RUNNING, "o"), queued(made, 1001, "o"), queued(made, 1002, "o")
    made.progress.finish(about, Status.SUCCEEDED, '"x"')
    mailbox = made.object("o")
    assert mailbox.current is second and second.attempt is not None and third.attempt is None
    made.progress.finish(third, Status.FAILED, "{}")
    assert mailbox.current is second and mailbox.length == 0
    made.progress.finish(second, Status.SUCCEEDED, "1")
    assert mailbox.current is None and mailbox.first is None


async def test_a_paused_message_holds_its_object_without_an_attempt() -> None:
    made = await held()
    about, paused = at_rest(made, 1000, Status.RUNNING, "o"), queued(made, 1001, "o")
    paused.status = Status.PAUSED
    made.progress.finish(about, Status.SUCCEEDED, '"x"')
    assert made.object("o").current is paused and paused.attempt is None


async def test_what_an_ended_invocation_leaves_is_cleaned_up() -> None:
    made = await held()
    about = at_rest(made, 1000, Status.RUNNING, "o")
    about.more().reason = "rare"
    scheduled = invocation(1001)
    made.residents.open[1001] = scheduled
    for each in (about, scheduled):
        made.progress.finish(each, Status.FAILED, "{}")
    assert made.called("clean_up") == [(about, about.journal)]
    assert made.called("finish_rare") == [about] and made.called("undelivered") == [scheduled]


async def test_an_invocation_of_a_service_takes_its_mailbox_along() -> None:
    made = await held()
    about = made.intake.accept(
        target("deliver", "Mailer"), "", '["a"]', None, None, made.ledger.next_number(), None, None
    )
    assert f"{OWN_KEY}{about.seq}" in made.residents.objects["Mailer"]
    made.progress.finish(about, Status.SUCCEEDED, '"a"')
    await made.commit()
    assert made.residents.objects["Mailer"] == {}


# --- a step that outlives its invocation ----------------------------------------------------------------------------------


async def _ended_with_a_step(made: Parts) -> tuple[Invocation, Invocation]:
    about, following = at_rest(made, 1000, Status.RUNNING, "o"), queued(made, 1001, "o")
    about.work = {1: Step(executing=True)}
    made.progress.finish(about, Status.FAILED, "{}")
    assert made.object("o").current is about and following.attempt is None
    return about, following


async def test_the_next_message_waits_for_a_step_that_goes_on() -> None:
    made = await held()
    about, following = await _ended_with_a_step(made)
    made.progress.step_left(about, 1)
    assert made.object("o").current is following and following.attempt is not None
    made.clock.advance(120)
    assert list(made.turns.ready) == [following.attempt], "once"


@pytest.mark.expects_log("step pay is still being executed 60 s after its invocation ended")
async def test_the_next_message_waits_for_a_step_no_longer_than_its_grace() -> None:
    made = await held()
    _, following = await _ended_with_a_step(made)
    made.clock.advance(59)
    assert following.attempt is None
    made.clock.advance(1)
    assert following.attempt is not None


# --- the end without its code ---------------------------------------------------------------------------------------------


async def test_an_invocation_is_ended_together_with_its_attempt() -> None:
    made = await held()
    about = at_rest(made, 1000, Status.BLOCKED, "o")
    about.attempt = attempt = Attempt(about)
    made.progress.end(about, TerminalError("killed", code=409))
    assert attempt.events == ["close 1000"] and about.status == Status.FAILED and "killed" in str(about.outcome)


async def test_a_caller_that_is_not_in_memory_is_loaded_before_the_end() -> None:
    made = await held()
    about = at_rest(made, 1001, Status.BLOCKED, "o")
    about.parent, about.parent_index = 1000, 1
    made.progress.end(about, TerminalError("killed"))
    assert not about.ended
    await made.settle()
    assert about.ended and about.parent is None, "it had ended"


async def test_what_an_ended_invocation_has_sent_is_placed_first() -> None:
    made = await held()
    about = at_rest(made, 1000, Status.RUNNING, "o")
    about.attempt = attempt = Attempt(about)
    placing = asyncio.Event()
    task: asyncio.Task[Any] = asyncio.create_task(placing.wait())

    def sending(senders: Iterable[Invocation]) -> list[asyncio.Task[None]]:
        return [] if task.done() else [task]

    made.progress.sending = sending
    made.progress.end(about, TerminalError("killed"))
    await made.settle()
    assert attempt.ended and not about.ended and made.progress.stopping == {1000}
    made.progress.start(about)
    assert about.attempt is None, "its code is stopped"
    placing.set()
    await made.settle()
    assert about.ended and made.progress.stopping == set()


async def test_a_clock_that_is_set_back_keeps_no_caller_waiting() -> None:
    made = await held()
    events: list[str] = []
    due_ms = made.clock.now_ms() + 1000
    made.progress.wake_at(due_ms, lambda: events.append("back"))
    made.clock.set_to(due_ms - 500)  # it rings early: not yet
    assert events == []
    made.clock.set_to(due_ms - 90_000)
    assert events == ["back"]
