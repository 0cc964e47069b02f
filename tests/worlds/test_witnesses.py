"""What witnesses say at the end of a test that has passed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from actors import (
    VirtualObject,
    handler,
)
from actors.testing import World, WorldFailed
from tests.worlds.shop import Counter, Order, charge, counted


def finished(body: Callable[[World], Any]) -> str:
    """What the witnesses say at the end of a test."""
    world = World()
    try:
        world.run(body(world))
        with pytest.raises(WorldFailed) as failed:
            world.finish()
        return str(failed.value)
    finally:
        world.close()


@pytest.mark.may_log("not today")
def test_an_invocation_that_is_paused_fails_the_test_at_its_end() -> None:
    async def body(world: World) -> None:
        await world.serve(Order)
        world.expect_paused(Order, "o2")
        await world.object(Order, "o1").breaks.send()
        await world.object(Order, "o2").breaks.send()

    said = finished(body)
    assert "Order/o1/breaks is paused: OSError: not today" in said and "Order/o2/breaks is paused" not in said
    assert "begins     Order/o1/breaks()" in said


def test_a_replacement_that_never_ran_fails_the_test() -> None:
    async def body(world: World) -> None:
        await world.serve(Order)
        world.replace(charge, lambda who, cents: "receipt")
        world.fail("mail", times=2)

    said = finished(body)
    assert "charge was replaced, and never ran" in said and "mail was to fail 2 more times, and ran 0 times" in said


def test_a_thread_that_calls_back_fails_the_test() -> None:
    async def body(world: World) -> None:
        await world.serve(Order)
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        thread = threading.Thread(target=lambda: arrived.get_loop().call_soon_threadsafe(arrived.set_result, None))
        thread.start()
        thread.join()
        await arrived

    assert "A thread has called back" in finished(body)


async def test_always_is_asked_after_each_commit(world: World) -> None:
    await world.serve(Counter)
    seen: list[int] = []
    world.always("it counts", lambda: counted(seen, world.look(Counter, "c").n))
    for _ in range(3):
        await world.object(Counter, "c").add()
    assert seen == [1, 2, 3]


def test_what_is_not_always_so_fails_the_test_where_it_waits() -> None:
    world = World()

    async def body() -> None:
        await world.serve(Counter)
        world.always("below three", lambda: world.look(Counter, "c").n < 3)
        while True:
            await world.object(Counter, "c").add()

    try:
        with pytest.raises(WorldFailed, match="Not always: below three"):
            world.run(body())
    finally:
        world.close()


def test_a_handler_that_reads_the_clock_fails_the_test_with_the_line() -> None:
    class Dated(VirtualObject):
        at: float = 0

        @handler
        async def open(self) -> None:
            self.at = time.time()

    async def body(world: World) -> None:
        await world.serve(Dated)
        await world.object(Dated, "d").open()

    said = finished(body)
    assert "Dated.open calls time.time() outside of a step, at test_witnesses.py:" in said and "Use ctx.now()" in said
    assert "Dated/d/open" in said  # and the replay witness: its state is not what the code gives


def test_state_that_the_code_does_not_explain_fails_the_test() -> None:
    seen: list[int] = []

    class Remembers(VirtualObject):
        n: int = 0

        @handler
        async def visit(self) -> int:
            seen.append(1)
            self.n = len(seen)
            return self.n

    async def body(world: World) -> None:
        await world.serve(Remembers)
        await world.object(Remembers, "r").visit()

    assert "Remembers/r/visit" in finished(body)


async def test_a_witness_that_is_excused_is_not_asked(world: World) -> None:
    class Timed(VirtualObject):
        at: float = 0

        @handler
        async def open(self) -> None:
            self.at = time.time()

    world.unchecked("guard", "replay")
    await world.serve(Timed)
    await world.object(Timed, "t").open()


async def test_state_that_an_operator_has_set_is_not_reported(world: World) -> None:
    await world.serve(Counter)
    await world.object(Counter, "c").add()
    await world.app.patch_state(Counter, "c", set={"n": 7})
    assert await world.object(Counter, "c").add() == 8


async def test_what_ran_before_a_deployment_is_explained_by_its_own_classes(world: World) -> None:
    class Old(VirtualObject, name="Changing"):
        n: int = 0

        @handler
        async def add(self) -> int:
            self.n += 1
            return self.n

    class New(VirtualObject, name="Changing"):
        n: int = 0

        @handler
        async def add(self) -> int:
            self.n += 10
            return self.n

    await world.serve(Old)
    assert await world.object(Old, "c").add() == 1
    await world.serve(New)
    assert await world.object(New, "c").add() == 11


def test_the_error_of_what_is_always_so_is_that_of_the_test() -> None:
    world = World()

    async def body() -> None:
        await world.serve(Counter)
        world.always("it is there", lambda: {"there": True}["missing"])
        await world.object(Counter, "c").add()

    try:
        with pytest.raises(KeyError, match="missing"):
            world.run(body())
        assert world.look(Counter, "c").n == 1  # the disk has not failed
    finally:
        world.close()
