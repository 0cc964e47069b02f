"""Values are shown one by one, in the order in which the machine makes them known."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import AwakeableRejected, TerminalError
from actors.model.futures import DurableFuture
from actors.transport.restate.completions import Completions
from actors.transport.restate.machine import Failure, Input, Value
from tests.restate.fake_machine import FakeMachine, Notification, Start, packed


class Slots:
    """Sleeps on a machine, and the futures that they complete."""

    def __init__(self, count: int) -> None:
        self.machine = FakeMachine()
        self.machine.add_input(packed(Start(Input("inv_1", "k", [], b"", 1), 0, {}, False, 0)))
        self.completions = Completions(self.machine)
        self.handles = [self.machine.sleep(1, "1") for _ in range(count)]
        host: Any = None
        self.futures: list[DurableFuture[Any]] = [DurableFuture(host) for _ in self.handles]

    def expect(self, *places: int) -> None:
        for place in places:
            self.completions.expect(self.handles[place], self.futures[place], _read)

    def arrive(self, place: int, value: Value = None) -> None:
        self.machine.add_input(packed(Notification(place + 1, value)))

    def done(self) -> list[bool]:
        return [future.done() for future in self.futures]


def _read(value: Value) -> Any:
    if isinstance(value, Failure):
        raise AwakeableRejected(value.message)
    return value


def test_nothing_is_shown_before_the_machine_knows_it() -> None:
    slots = Slots(2)
    slots.expect(0, 1)
    slots.arrive(0)
    assert not slots.completions.show()
    slots.machine.progress(slots.completions.handles())
    assert slots.completions.show() and slots.done() == [True, False]


def test_values_are_shown_in_the_order_of_the_journal() -> None:
    slots = Slots(3)
    slots.expect(0, 1, 2)
    for place in (2, 0, 1):
        slots.arrive(place, f"v{place}")
    seen = []
    while slots.completions.handles():
        slots.machine.progress(slots.completions.handles())
        while slots.completions.show():
            seen.append(slots.done())
    assert seen == [[False, False, True], [True, False, True], [True, True, True]]
    assert [future._value for future in slots.futures] == ["v0", "v1", "v2"]


def test_what_is_open_is_listed_in_the_order_of_the_commands() -> None:
    slots = Slots(3)
    slots.expect(0, 1, 2)
    assert slots.completions.handles() == slots.handles
    slots.arrive(1)
    slots.machine.progress(slots.completions.handles())
    slots.completions.show()
    assert slots.completions.handles() == [slots.handles[0], slots.handles[2]]


def test_a_value_taken_early_leaves_what_came_before_it() -> None:
    slots = Slots(3)
    slots.expect(0, 1)
    for place in (1, 0, 2):
        slots.arrive(place, f"v{place}")
    found = []
    for _ in range(3):
        slots.machine.progress([*slots.completions.handles(), slots.handles[2]])
        found.append(slots.completions.taken(slots.handles[2]))
    assert found == [None, None, ("v2",)] and slots.done() == [False, False, False]
    order = []
    while slots.completions.show():
        order.append(slots.done())
    assert order == [[False, True, False], [True, True, False]]


def test_a_value_that_is_taken_is_not_shown_again() -> None:
    slots = Slots(1)
    slots.expect(0)
    assert slots.completions.taken(slots.handles[0]) is None
    slots.arrive(0, "v")
    slots.machine.progress(slots.handles)
    assert slots.completions.taken(slots.handles[0]) == ("v",)
    assert not slots.completions.show() and not slots.completions.handles()


@pytest.mark.parametrize("value", [Failure(500, "no"), "v"])
def test_a_value_or_an_error_completes_the_future(value: Value) -> None:
    slots = Slots(1)
    slots.expect(0)
    slots.arrive(0, value)
    slots.machine.progress(slots.handles)
    assert slots.completions.show()
    error: TerminalError | Any = slots.futures[0]._error
    assert (error is None) == (value == "v") and (error is None or error.message == "no")
