"""The witness of the callers: what they were told is stored, in an order that real time allows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Context, TerminalError, VirtualObject, handler, shared
from actors.errors import InvocationCancelled
from actors.testing import World, WorldFailed


class Box(VirtualObject):
    items: list[str] = []

    @handler
    async def put(self, item: str) -> list[str]:
        if not item:
            raise TerminalError("nothing to put", code=409)
        self.items.append(item)
        return self.items

    @handler
    async def nap(self, ctx: Context) -> None:
        await ctx.sleep(30)

    @shared
    async def look(self) -> int:
        return len(self.items)


def findings(world: World, *changes: str) -> list[str]:
    """What the witness says once the disk has been changed."""
    for statement in changes:
        world.machine.disk.connection.execute(statement)
    return world._witnesses.found()


async def puts_two(world: World) -> None:
    await world.serve(Box)
    box = world.handler("Box", "a", "put")
    first = asyncio.create_task(_put(box, "x"), name="ann")
    await first
    await asyncio.create_task(_put(box, "y"), name="bob")
    await world.settle()


async def _put(box: Any, item: str) -> None:
    (await box(item)).append("what a caller adds to its answer is its own")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "UPDATE invocation SET outcome = '[\"z\"]' WHERE seq = 1",
            'ann received: Box/a/put answers ["x"]. Stored: it answers ["z"].',
        ),
        (
            'UPDATE invocation SET status = 7, outcome = \'{"code":500,"message":"no"}\' WHERE seq = 1',
            'ann received: Box/a/put answers ["x"]. Stored: it fails with {"code":500,"message":"no"}.',
        ),
        (
            "DELETE FROM invocation WHERE seq = 2",
            'bob received: Box/a/put answers ["x","y"]. Nothing of it is stored.',
        ),
        (
            "UPDATE invocation SET position = 100 - position",
            "bob called Box/a/put after ann knew that Box/a/put was accepted, but Box/a/put comes first in the mailbox.",
        ),
    ],
)
def test_an_answer_that_is_not_stored_is_named_with_its_caller(change: str, said: str) -> None:
    world = World()
    world.run(puts_two(world))
    assert findings(world) == []
    assert findings(world, change) == [said]
    world.unchecked("clients")
    assert findings(world) == []
    world.close()


async def test_requests_at_the_same_time_may_stand_in_either_order(world: World) -> None:
    await world.serve(Box)
    await asyncio.gather(*(world.object(Box, "a").put(item) for item in "xyz"))
    assert findings(world, "UPDATE invocation SET position = 100 - position") == []
    world.machine.disk.connection.execute("UPDATE invocation SET position = 100 - position")


async def test_failures_keyed_requests_and_readers_are_what_is_stored(world: World) -> None:
    await world.serve(Box)
    box = world.object(Box, "a")
    with pytest.raises(TerminalError, match="nothing to put"):
        await box.put("")
    keyed = world.handler("Box", "a", "put").options(idempotency_key="k")
    assert [await keyed("x"), await keyed("x"), await box.look()] == [["x"], ["x"], 1]
    sent = await box.nap.send()
    await sent.cancel()
    with pytest.raises(InvocationCancelled):
        await sent.result()
    later = await world.handler("Box", "a", "put").options(delay=5).send("late")
    await box.put("y")
    assert await later.result() == ["x", "y", "late"]
    await world.crash()
    assert await box.look() == 3
    await world.pass_time(days=3)  # all of it is forgotten, and nothing is said of that


def test_an_answer_of_a_keyed_request_is_compared_with_what_its_key_stands_for() -> None:
    world = World()

    async def body() -> None:
        await world.serve(Box)
        await world.handler("Box", "a", "put").options(idempotency_key="k")("x")

    world.run(body())
    assert findings(world) == []
    assert findings(world, "UPDATE invocation SET outcome = '[]'") == [
        'the test received: Box/a/put answers ["x"]. Stored: it answers [].'
    ]
    world.close()


def test_a_lost_answer_fails_a_test_at_its_end() -> None:
    world = World()
    world.run(puts_two(world))
    world.machine.disk.connection.execute("UPDATE invocation SET outcome = '[]' WHERE seq = 2")
    with pytest.raises(WorldFailed, match="bob received"):
        world.finish()
    world.close()


class Stale(VirtualObject):
    """A reader whose answers are those that `answers` holds, whatever its object holds."""

    number: int = 0

    @handler
    async def set(self, number: int) -> int:
        self.number = number
        return number

    @shared
    async def get(self) -> int:
        return answers.pop(0) if answers else self.number


answers: list[int] = []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([0, 1, 2], None),
        ([0, 1, 1], "bob received 1 from Stale/a/get, but no state that it can have read gives this answer."),
        ([0, 7, 2], "bob received 7 from Stale/a/get, but no state that it can have read gives this answer."),
        ([2, 1, 2], "ann received 2 from Stale/a/get, but no state that it can have read gives this answer."),
    ],
)
def test_a_reader_sees_a_state_between_its_call_and_its_answer(given: list[int], said: str | None) -> None:
    async def body(world: World) -> None:
        await world.serve(Stale)
        stale = world.object(Stale, "a")
        for number, name in enumerate(("ann", "bob", "bob")):
            await _named(stale.get, name)
            await stale.set(number + 1)

    assert read(body, given) == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([0, 1], None),
        ([1, 1], None),
        (
            [1, 0],
            "bob received 0 from Stale/a/get, but no state that it can have read gives this answer, after ann had received 1 from Stale/a/get.",
        ),
    ],
)
def test_a_later_reader_does_not_see_an_earlier_state(given: list[int], said: str | None) -> None:
    async def body(world: World) -> None:
        await world.serve(Stale)
        stale = world.object(Stale, "a")
        setting = stale.set(1)  # its caller has no answer before the readers have theirs
        await _named(stale.get, "ann")
        await _named(stale.get, "bob")
        await setting

    assert read(body, given) == ([] if said is None else [said])


async def _named(call: Any, name: str) -> None:
    async def get() -> None:
        await call()

    await asyncio.create_task(get(), name=name)


def read(body: Any, given: list[int]) -> list[str]:
    world = World()
    answers[:] = given
    world.run(body(world))
    assert answers == []
    world.run(world.settle())
    world.run(world._look())
    found = world._witnesses.found()
    world.close()
    return found


def test_an_object_that_a_reader_asks_first_is_explained_too() -> None:
    async def body(world: World) -> None:
        await world.serve(Stale)
        await world.object(Stale, "a").get()  # has the first number, and is not stored
        await world.object(Stale, "a").set(1)
        await world.settle()
        world.machine.disk.connection.execute("UPDATE invocation SET outcome = '2'")

    world = World()
    world.run(body(world))
    with pytest.raises(WorldFailed, match=r"set\(1\) answers 2, as stored"):
        world.finish()
    world.close()
