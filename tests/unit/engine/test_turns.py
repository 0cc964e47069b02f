"""Turns: which attempts run when, what follows, and what is held back."""

from __future__ import annotations

import asyncio
import contextvars

from actors.engine.turns import Turns
from actors.testing import ManualClock
from tests.unit.engine.parts import Attempt, invocation

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


class Desk:
    """Turns, and what happened in them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.errors: list[Exception] = []
        self.clock = ManualClock()
        self.turns = Turns(
            asyncio.get_running_loop(),
            self.clock,
            lambda about: about.address,
            lambda: self.events.append("turn over"),
            self._failed,
        )

    def _failed(self, error: BaseException) -> None:
        assert isinstance(error, Exception)
        self.errors.append(error)

    def attempt(self, name: str) -> Attempt:
        return Attempt(invocation(1), self.events, name)

    def ready(self, *names: str) -> list[Attempt]:
        attempts = [self.attempt(name) for name in names]
        for attempt in attempts:
            attempt.scheduled = True
            self.turns.make_ready(attempt)
        return attempts

    async def settle(self) -> list[str]:
        for _ in range(6):
            await asyncio.sleep(0)
        return self.events


def _raise() -> None:
    raise ValueError("internal")


async def test_attempts_run_in_order_and_the_turn_is_over_once() -> None:
    desk = Desk()
    desk.ready("a", "b", "c")
    assert desk.events == [], "not at once"
    assert await desk.settle() == ["run a", "run b", "run c", "turn over"]


async def test_an_attempt_made_ready_in_a_turn_runs_in_that_turn() -> None:
    desk = Desk()
    first, second = desk.ready("a", "b")
    first.then = lambda: desk.turns.make_ready(desk.attempt("c"))
    second.then = lambda: desk.turns.touch()
    assert await desk.settle() == ["run a", "run b", "run c", "turn over"]


async def test_a_touch_brings_one_turn_although_nothing_runs_in_it() -> None:
    desk = Desk()
    desk.turns.touch()
    desk.turns.touch()
    assert await desk.settle() == ["turn over"]
    desk.turns.touch()
    assert await desk.settle() == ["turn over", "turn over"]


async def test_a_long_queue_leaves_the_loop_to_others_between_turns() -> None:
    desk = Desk()
    desk.ready(*(str(number) for number in range(Turns.ATTEMPTS + 1)))
    asyncio.get_running_loop().call_soon(desk.events.append, "other")
    events = await desk.settle()
    assert events.index("other") == Turns.ATTEMPTS + 1
    assert events[Turns.ATTEMPTS :] == ["turn over", "other", f"run {Turns.ATTEMPTS}", "turn over"]


async def test_an_internal_error_is_handed_on_and_the_turn_is_over() -> None:
    desk = Desk()
    first, _ = desk.ready("a", "b")
    first.then = _raise
    assert await desk.settle() == ["run a", "turn over", "run b", "turn over"]
    assert [str(error) for error in desk.errors] == ["internal"]
    assert not desk.turns.in_turn


# --- at once --------------------------------------------------------------------------------------------------------------


async def test_one_handler_goes_on_at_once_in_a_turn_of_its_own() -> None:
    desk = Desk()
    attempt = desk.attempt("a")
    desk.turns.run_now(attempt, attempt.run)
    assert desk.events == ["run a", "turn over"] and not desk.turns.in_turn
    attempt.then = _raise
    desk.turns.run_now(attempt, attempt.run)
    assert len(desk.errors) == 1 and desk.events[2:] == ["run a", "turn over"]


async def test_one_that_goes_on_within_a_turn_is_part_of_it() -> None:
    desk = Desk()
    (outer,), inner = desk.ready("outer"), desk.attempt("inner")
    outer.then = lambda: desk.turns.run_now(inner, inner.run)
    assert await desk.settle() == ["run outer", "run inner", "turn over"]


async def test_one_that_has_ended_does_not_go_on() -> None:
    desk = Desk()
    attempt = desk.attempt("a")
    attempt.ended = True
    desk.turns.run_now(attempt, attempt.run)
    assert await desk.settle() == []


# --- held -----------------------------------------------------------------------------------------------------------------


async def test_nothing_runs_while_turns_are_held() -> None:
    desk = Desk()
    desk.turns.hold()
    desk.ready("a")
    now = desk.attempt("now")
    desk.turns.run_now(now, now.run)
    desk.turns.touch()
    assert await desk.settle() == []
    desk.turns.release()
    assert sorted(await desk.settle()) == ["run a", "run now", "turn over", "turn over"]


async def test_while_turns_are_held_only_what_was_revived_is_replayed() -> None:
    desk = Desk()
    desk.turns.hold()
    revived, _ = desk.ready("revived", "other")
    desk.turns.hold_back(revived)
    await desk.turns.turn_taken()
    assert desk.events == ["run revived"]
    desk.turns.replayed(revived)
    desk.turns.release()
    assert await desk.settle() == ["run revived", "run other", "turn over"]


async def test_a_revived_attempt_that_was_woken_runs_when_turns_go_on() -> None:
    desk = Desk()
    desk.turns.hold()
    (revived,) = desk.ready("revived")
    desk.turns.hold_back(revived)
    await desk.turns.turn_taken()
    revived.scheduled = True  # woken
    desk.turns.replayed(revived)
    await desk.turns.turn_taken()
    assert desk.events == ["run revived"], "it is not revived any more"
    desk.turns.release()
    assert await desk.settle() == ["run revived", "run revived", "turn over"]


async def test_nothing_is_held_back_in_ordinary_turns() -> None:
    desk = Desk()
    (attempt,) = desk.ready("a")
    desk.turns.hold_back(attempt)
    assert await desk.settle() == ["run a", "turn over"]


# --- who waits for a turn -------------------------------------------------------------------------------------------------


async def test_a_caller_waits_for_those_that_were_ready_before() -> None:
    desk = Desk()
    await desk.turns.turn_taken()
    assert desk.events == [], "nothing was ready"
    waiter = asyncio.create_task(desk.turns.turn_taken())
    waiter.add_done_callback(lambda _: desk.events.append("taken"))
    first, _ = desk.ready("a", "b")
    first.then = lambda: desk.turns.make_ready(desk.attempt("c"))
    await desk.settle()
    assert desk.events == ["run a", "run b", "run c", "turn over", "taken"]


async def test_stopped_turns_run_nothing_and_let_waiters_go() -> None:
    desk = Desk()
    waiter = asyncio.create_task(desk.turns.turn_taken())
    asyncio.get_running_loop().call_soon(desk.turns.stop)
    desk.ready("a")
    assert "run a" not in await desk.settle()
    assert waiter.done() and waiter.exception() is None


# --- time and variables ---------------------------------------------------------------------------------------------------


async def test_the_time_to_record_stands_still_within_a_turn() -> None:
    desk = Desk()
    times: list[int] = []
    (attempt,) = desk.ready("a")

    def look() -> None:
        desk.clock.advance(1)
        times.append(desk.turns.now_ms())

    attempt.then = look
    desk.clock.advance(2)
    began = desk.clock.now_ms()
    await desk.settle()
    assert times == [began] and desk.turns.now_ms() == began + 1000


async def test_nothing_runs_in_the_variables_of_a_caller() -> None:
    VARIABLE.set("made")
    desk = Desk()
    VARIABLE.set("caller's")
    seen: dict[str, str] = {}

    async def task() -> None:
        seen["task"] = VARIABLE.get()
        VARIABLE.set("task's own")

    (attempt,) = desk.ready("a")
    attempt.then = lambda: seen.update(attempt=VARIABLE.get())
    await desk.turns.spawn(task())
    desk.turns.call_soon(lambda: seen.update(callback=VARIABLE.get()))
    await desk.settle()
    assert seen == {"task": "made", "attempt": "made", "callback": "made"}
