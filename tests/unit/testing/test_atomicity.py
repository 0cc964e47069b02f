"""The search for an order of whole requests, on a register and a queue."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.testing.atomicity import Asked, Broken, Undecided, unexplained

ANY = object()  # an answer that no caller has received


@dataclass(frozen=True)
class Op:
    name: str
    value: int
    answer: Any = ANY


State = tuple[int, tuple[int, ...]]  # the register and the queue
EMPTY: State = (0, ())


def done(state: State, op: Op) -> tuple[State, Any]:
    register, queue = state
    if op.name == "write":
        return (op.value, queue), None
    if op.name == "read":
        return state, register
    if op.name == "put":
        return (register, (*queue, op.value)), None
    return (register, queue[1:]), queue[0] if queue else None


@dataclass
class Model:
    last: State | None = None
    executions: int = 0

    def after(self, state: State, request: Op) -> Iterator[State]:
        self.executions += 1
        left, answer = done(state, request)
        if request.answer is ANY or request.answer == answer:
            yield left

    def is_last(self, state: State) -> bool:
        return self.last is None or state == self.last


def by_trying_all(asked: list[Asked[Op]], last: State) -> bool:
    """Whether an order explains the answers and the state in the end: all orders of all requests that are answered and some others."""
    never = [one for one in asked if one.answered is None]
    must = [one for one in asked if one.answered is not None]
    for count in range(len(never) + 1):
        for some in itertools.combinations(never, count):
            for order in itertools.permutations([*must, *some]):
                if _keeps_time(order) and _explains(order, last):
                    return True
    return False


def _keeps_time(order: tuple[Asked[Op], ...]) -> bool:
    return not any(
        later.answered is not None and later.answered < earlier.called
        for at, earlier in enumerate(order)
        for later in order[at + 1 :]
    )


def _explains(order: tuple[Asked[Op], ...], last: State) -> bool:
    state = EMPTY
    for one in order:
        state, answer = done(state, one.request)
        if one.request.answer is not ANY and one.request.answer != answer:
            return False
    return state == last


@st.composite
def histories(draw: st.DrawFn, most: int) -> tuple[list[Asked[Op]], State]:
    """Requests that took effect one after the other, each at a moment between its call and its answer, and the state they left."""
    state, asked = EMPTY, []
    for moment in range(10, 10 * draw(st.integers(0, most)) + 1, 10):
        op = Op(draw(st.sampled_from(["write", "read", "put", "take"])), draw(st.integers(1, 2)))
        called = moment - draw(st.integers(1, 25))
        answered = moment + draw(st.integers(1, 25)) if draw(st.integers(0, 4)) else None
        if answered is not None or draw(st.booleans()):  # not all that is never answered takes effect
            state, answer = done(state, op)
            if answered is not None:
                op = replace(op, answer=answer)
        asked.append(Asked(op, called, answered))
    return draw(st.permutations(asked)), state


@given(histories(12))
def test_what_has_happened_in_an_order_is_explained(history: tuple[list[Asked[Op]], State]) -> None:
    asked, last = history
    assert unexplained(Model(last), EMPTY, asked) is None


@settings(max_examples=300)
@given(histories(6), st.data())
def test_a_changed_answer_is_explained_only_if_an_order_does_so(
    history: tuple[list[Asked[Op]], State], data: st.DataObject
) -> None:
    asked, last = history
    answered = [at for at, one in enumerate(asked) if one.answered is not None]
    if answered:
        at = data.draw(st.sampled_from(answered))
        answer = data.draw(st.sampled_from([None, 0, 1, 2]))
        asked[at] = replace(asked[at], request=replace(asked[at].request, answer=answer))
    if data.draw(st.booleans()):
        last = data.draw(st.tuples(st.integers(0, 2), st.just(last[1])))
    assert (unexplained(Model(last), EMPTY, asked) is None) == by_trying_all(asked, last)


def test_the_first_answer_that_no_order_explains_is_named() -> None:
    asked = [
        Asked(Op("write", 1, None), 1, 2),
        Asked(Op("read", 0, 0), 3, 4),
        Asked(Op("read", 0, 7), 5, 6),
    ]
    assert unexplained(Model(), EMPTY, asked) == Broken(asked[1].request)


def test_a_request_takes_effect_between_its_call_and_its_answer() -> None:
    write, read = Op("write", 1, None), Op("read", 0, 0)
    assert unexplained(Model(), EMPTY, [Asked(write, 1, 3), Asked(read, 2, 4)]) is None
    assert unexplained(Model(), EMPTY, [Asked(write, 1, 2), Asked(read, 3, 4)]) == Broken(read)
    assert unexplained(Model(), EMPTY, [Asked(write, 1, None), Asked(read, 3, 4)]) is None


def test_the_state_in_the_end_must_be_that_of_an_order() -> None:
    asked = [Asked(Op("write", 1, None), 1, 4), Asked(Op("write", 2, None), 2, 3)]
    assert unexplained(Model((2, ())), EMPTY, asked) is None
    broken = unexplained(Model((0, ())), EMPTY, asked)
    assert broken is not None and broken.request is None and set(broken.last) == {(1, ()), (2, ())}
    assert unexplained(Model((0, ())), EMPTY, []) is None
    assert unexplained(Model((1, ())), EMPTY, []) == Broken(None, [EMPTY])


def test_a_search_that_grows_too_large_is_undecided() -> None:
    asked = [Asked(Op("put", number, None), 1, 100) for number in range(6)]
    last: State = (0, tuple(reversed(range(6))))
    assert unexplained(Model(last), EMPTY, asked) is None
    with pytest.raises(Undecided, match="more than 100 tries"):
        unexplained(Model((1, ())), EMPTY, asked, most=100)


def test_an_order_that_is_plain_is_found_without_a_search() -> None:
    asked = [Asked(Op("put", number, None), number, number + 5) for number in range(200)]
    model = Model((0, tuple(range(200))))
    assert unexplained(model, EMPTY, asked) is None
    assert model.executions == 200
