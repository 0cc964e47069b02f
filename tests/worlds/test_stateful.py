"""Worlds that Hypothesis drives: state machines with async rules, and choices that are drawn."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase, InMemoryExampleDatabase
from hypothesis.stateful import Bundle, RuleBasedStateMachine, precondition, run_state_machine_as_test

from actors.model.calls import InvocationHandle
from actors.testing import Faults, Stuck, World, WorldFailed, drawn
from actors.testing.bridge import SHARES, Drawn
from actors.testing.machine import quiet
from actors.testing.stateful import StateMachine, initialize, invariant, rule
from tests.user_bugs.objects import Clerk, FixedClerk, Limit
from tests.user_bugs.side_effects import Invoice
from tests.worlds.shop import Counter, Order

UNEXPLAINED = [Phase.reuse, Phase.generate, Phase.shrink]  # an explanation traces each line of the runtime
QUICKLY = settings(max_examples=12, phases=UNEXPLAINED, stateful_step_count=8, deadline=None, derandomize=True)


class Clerks(StateMachine):
    """Clerks raise a limit, one after the other or at the same time."""

    cls: type[Clerk] = Clerk
    looks: list[int] = []  # at the end of each example
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.cents = 0

    @initialize()
    async def serve(self) -> None:
        await self.world.serve(self.cls, Limit)

    @rule(target=sent, cents=st.integers(1, 9))
    async def one(self, cents: int) -> InvocationHandle[None]:
        self.cents += cents
        return await self.world.service(self.cls).raise_by.send(cents)

    @rule(first=sent)
    async def ends(self, first: InvocationHandle[None]) -> None:
        await first.result()

    @rule(cents=st.integers(1, 9))
    async def two(self, cents: int) -> None:
        self.cents += 2 * cents
        await asyncio.gather(*(self.world.service(self.cls).raise_by(cents) for _ in range(2)))

    @precondition(lambda self: self.cents > 20)
    @rule()
    def is_shown(self) -> None:
        assert self.world.run(self._shown()) <= self.cents, "more than was put in"

    async def _shown(self) -> int:
        return await self.world.object(Limit, "ada").get()

    @invariant()
    async def is_complete(self) -> None:
        await self.world.settle()
        assert self.world.look(Limit, "ada").cents == self.cents, "an update is lost"

    async def teardown(self) -> None:
        await self.world.settle()
        self.looks.append(self.world.look(Limit, "ada").cents)


class FixedClerks(Clerks):
    cls = FixedClerk

    @invariant()
    def is_not_negative(self) -> None:
        assert self.world.look(Limit, "ada").cents >= 0


def run(machine: type[StateMachine], options: settings) -> None:
    run_state_machine_as_test(cast("type[RuleBasedStateMachine]", machine), settings=options)


def failure_of(machine: type[StateMachine], options: settings = QUICKLY) -> BaseException:
    with pytest.raises(Exception) as failure:  # noqa: PT011 - each test looks at the failure
        run(machine, options)
    return failure.value


def notes(error: BaseException) -> list[str]:
    told: list[str] = getattr(error, "__notes__", [])
    return [line for note in told for line in note.splitlines()]


def test_a_sound_class_passes_with_rules_of_both_kinds() -> None:
    run(FixedClerks, QUICKLY)
    assert max(FixedClerks.looks) > 20, "no example has come far"


def test_a_bug_is_found_and_shrunk_to_the_steps_it_takes() -> None:
    error = failure_of(Clerks, settings(QUICKLY, max_examples=100))
    assert "an update is lost" in str(error)
    shown = notes(error)
    assert [line for line in shown if line.startswith(("state.", "sent_")) and "is_complete" not in line] == [
        "state.serve()",
        "state.two(cents=1)",
        "state.teardown()",
    ]
    assert "The choices of the world: usual" in shown
    assert any("Clerk/raise_by" in line and "begins" in line for line in shown), "no story"


class Waiting(StateMachine):
    @initialize()
    async def serve(self) -> None:
        await self.world.serve(Order)

    @rule()
    async def checks_out(self) -> None:
        await self.world.object(Order, "o").checkout(9.9)


def test_a_rule_that_waits_for_ever_fails_at_once_and_says_for_what() -> None:
    error = failure_of(Waiting, settings(QUICKLY, phases=[Phase.generate]))
    assert isinstance(error, Stuck)
    assert "The test waits at test_stateful.py:" in str(error) and "Order/o/checkout waits for an awakeable" in str(
        error
    )


class Invoices(StateMachine):
    """No rule and no teardown asserts anything."""

    @initialize()
    async def serve(self) -> None:
        await self.world.serve(Invoice)

    @rule()
    async def pays(self) -> None:
        await self.world.object(Invoice, "i").pay.send(5)


def test_the_witnesses_are_asked_at_the_end_of_each_example() -> None:
    error = failure_of(Invoices, settings(QUICKLY, phases=[Phase.generate]))
    assert isinstance(error, WorldFailed) and "Invoice/i/pay" in str(error)


def test_an_example_that_has_failed_does_not_fail_once_more_at_its_end() -> None:
    class Failing(Invoices):
        closed: list[World] = []

        @rule()
        def fails(self) -> None:
            raise LookupError("in a rule")

        def teardown(self) -> None:
            self.closed.append(self.world)

    error = failure_of(Failing, settings(QUICKLY, phases=[Phase.generate], max_examples=40))
    assert isinstance(error, (LookupError, WorldFailed))
    assert Failing.closed and all(world.loop.is_closed() for world in Failing.closed)


def test_what_goes_wrong_is_chosen_by_hypothesis() -> None:
    class Crashing(StateMachine):
        faults = Faults(crash=0.5)

        @initialize()
        async def serve(self) -> None:
            await self.world.serve(Counter)

        @rule()
        async def adds(self) -> None:
            await self.world.object(Counter, "c").add()
            assert len(self.world.machine.processes) < 2, "a second process"

    error = failure_of(Crashing, settings(QUICKLY, phases=[Phase.generate]))
    assert "a second process" in str(error)
    (choices,) = (line for line in notes(error) if line.startswith("The choices of the world:"))
    assert "trouble in " in choices and "killed" in choices


# --- choices that are drawn ------------------------------------------------------------------------------------------------


def drive(runs: list[str], database: ExampleDatabase) -> Callable[[], None]:
    async def body(world: World) -> None:
        await world.serve(Counter)
        for _ in range(world.choose("times", 4)):
            await world.object(Counter, "c").add()
        assert len(world.machine.processes) < 2 or world.look(Counter, "c").n < 2, "killed, and two"

    @settings(deadline=None, database=database, phases=UNEXPLAINED)
    @given(st.data())
    def test(data: Any) -> None:
        choices = drawn(data)
        with quiet(), closing(World(choices, faults=Faults(crash=0.2, step=0, delay=0, memory=0, prompt=0))) as world:
            try:
                world.run(body(world))
                world.finish()
            finally:
                runs.append(str(choices))

    return test


def test_a_test_with_given_finds_a_bug_and_keeps_it_in_its_database() -> None:
    runs: list[str] = []
    database: ExampleDatabase = InMemoryExampleDatabase()
    with pytest.raises(AssertionError, match="killed, and two"):
        drive(runs, database)()
    assert "times=2" in runs[-1] and len(runs[-1].split("; ")) <= 3
    again: list[str] = []
    with pytest.raises(AssertionError, match="killed, and two"):
        drive(again, database)()
    assert again[0] == runs[-1]


class _Numbers(Random):
    """Each choice is given one of these numbers; then the example ends."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.left = list(numbers)

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        if not self.left:
            raise _Ended
        return self.left.pop(0)


class _Ended(BaseException):
    pass


@pytest.mark.parametrize(
    ("outcomes", "odds", "numbers", "outcome"),
    [
        (2, 0.5, [0], 0),
        (2, 0.5, [SHARES - 1], 0),
        (2, 0.5, [1], 1),
        (4, 0.75, [SHARES // 2, 0], 1),
        (4, 0.75, [1, 2], 3),
        (11, 1.0, [SHARES - 1, 9], 10),
        (2, 0.0001, [2], 0),
        (2, 0.0001, [1], 1),
    ],
)
def test_the_usual_outcome_is_the_simplest_number(outcomes: int, odds: float, numbers: list[int], outcome: int) -> None:
    choices = Drawn(_Numbers(*numbers))
    assert choices.choose("x", outcomes, odds) == outcome
    assert [(one.name, one.value) for one in choices.unusual] == [("x", outcome)] * bool(outcome)


def test_what_cannot_be_otherwise_is_not_drawn() -> None:
    choices = Drawn(_Numbers())
    assert [choices.choose("x", 1, 1.0), choices.choose("x", 3, 0.0)] == [0, 0]
    choices.check()
    choices.end()
    assert choices.choose("x", 3, 1.0) == 0


def test_the_end_of_an_example_leaves_the_world_where_the_example_runs() -> None:
    async def body(world: World) -> None:
        await world.serve(Counter)
        for _ in range(3):
            await world.object(Counter, "c").add()

    for drawn_before in range(1, 12):  # wherever it ends, also inside a commit
        with closing(World(Drawn(_Numbers(*[0] * drawn_before)), faults=Faults())) as world, pytest.raises(_Ended):
            world.run(body(world))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import actors.testing; actors.testing.World; print('hypothesis' in sys.modules)", "False"),
        ("import actors.testing.plugin, actors.testing.exploring; print('hypothesis' in sys.modules)", "False"),
        ("sys.modules['hypothesis'] = None; import actors.testing.stateful", "Install it: pip install hypothesis"),
        ("sys.modules['hypothesis'] = None; from actors.testing import drawn", "Install it: pip install hypothesis"),
    ],
)
def test_hypothesis_is_imported_only_where_it_is_used(program: str, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert said in ended.stdout + ended.stderr
