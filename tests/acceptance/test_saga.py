"""The saga example: run as its docstring says, and killed at each of its commits."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest

from examples.saga import PARTS, Trip
from tests.acceptance.programs import Program, finish, kills
from tests.held_executor import HeldExecutor
from tests.world import World

RESERVED = ["flight reserved", "hotel reserved", "car reserved"]
CALLED_OFF = ["flight reserved", "hotel reserved", "hotel does not answer", "hotel cancelled", "flight cancelled"]


@pytest.fixture
def saga(tmp_path: Path) -> Program:
    return Program(tmp_path, "saga.py")


def events(program: Program, trip: str) -> list[str]:
    """What the three companies have seen of a trip."""
    return [line.removeprefix(f"{trip} ") for line in program.lines("bookings.txt") if line.startswith(f"{trip} ")]


def test_the_documented_commands_book_and_undo_trips(saga: Program) -> None:
    done = [saga.run(*command) for command in saga.documented()]
    booked, sold_out, late, stuck, undone, shown = (process.stdout.rstrip() for process in done)
    assert [process.returncode for process in done] == [0] * 6
    assert (booked, events(saga, "t-1")) == ("booked", RESERVED)
    assert (sold_out, late) == ("called off: no car left",) * 2
    assert events(saga, "t-2") == [*RESERVED[:2], "hotel cancelled", "flight cancelled"]
    assert events(saga, "t-3") == [*RESERVED[:2], *["hotel does not answer"] * 2, "hotel cancelled", "flight cancelled"]
    assert stuck.startswith("called off: no car left. The hotel is still booked: The step failed 4 times")
    assert (undone, shown) == ("called off: by request",) * 2
    silence = ["hotel does not answer"] * 4
    assert events(saga, "t-4") == [*RESERVED[:2], *silence, "flight cancelled", "hotel cancelled"]


def test_mistakes_get_one_line_that_explains_them(saga: Program) -> None:
    assert saga.says("book", "t-1") == ["booked"]
    assert saga.refuses("book", "t-1") == "Trip t-1 was booked before. It is booked.\n"
    assert saga.refuses("undo", "t-2") == "Trip t-2 has nothing to undo. It is new.\n"


@pytest.mark.expects_log("step cancel hotel failed 1 time")
@pytest.mark.parametrize("written", [False, True])
async def test_a_trip_killed_at_any_commit_is_undone_in_order(tmp_path: Path, written: bool) -> None:
    for kill in kills(written):
        program = Program(tmp_path, "saga.py")
        (tmp_path / "bookings.txt").unlink(missing_ok=True)
        with chdir(tmp_path):
            async with World(Trip) as world:
                sent = await world.app.object(Trip, "t").book.send("car", 1)
                await finish(world, sent, kill)
                assert await world.result(sent) == "called off: no car left"
                assert (await world.app.state(Trip, "t")).values["booked"] == []
        found = events(program, "t")
        repeated = [event for event in found if event.endswith("already")]
        # A step is repeated only if the process died before its result was recorded.
        assert len(repeated) <= kill.repeats
        assert [event for event in found if event not in repeated] == CALLED_OFF


async def test_a_cancelled_trip_undoes_the_reservation_that_is_under_way(tmp_path: Path) -> None:
    program, threads = Program(tmp_path, "saga.py"), HeldExecutor()
    with chdir(tmp_path):
        async with World(Trip, executor=threads) as world:
            sent = await world.app.object(Trip, "t").book.send()
            await world.settle()
            threads.end()
            await world.settle()  # the hotel is being reserved
            await world.app.cancel(sent.id)
            await world.settle()
            assert len(threads.taken) == 1, "no undo has begun beside the reservation"
            for _ in PARTS:
                await world.settle()
                threads.end()
            await world.settle()
            assert await world.result(sent) == "called off: The invocation was cancelled."
    assert events(program, "t") == [*RESERVED[:2], "hotel cancelled", "flight cancelled"]


async def test_a_booking_that_an_operator_has_killed_can_be_undone(tmp_path: Path) -> None:
    program, threads = Program(tmp_path, "saga.py"), HeldExecutor()
    with chdir(tmp_path):
        async with World(Trip, executor=threads) as world:
            sent = await world.app.object(Trip, "t").book.send()
            await world.settle()
            threads.end()
            await world.settle()  # the hotel is being reserved
            await world.app.kill(sent.id)
            threads.end()
            undo = await world.app.object(Trip, "t").undo.send()
            for _ in range(2):
                await world.settle()
                threads.end()
            await world.settle()
            assert await world.result(undo) == "called off: by request"
    assert events(program, "t") == [*RESERVED[:2], "hotel cancelled", "flight cancelled"]
