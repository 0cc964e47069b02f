"""Random changes of nested containers, in place and by assignment, across crashes, old files and restarts from any position.

* After each change, live or replayed, the handler sees what a plain Python object would hold, and so does the database.
* A restart that keeps the journal up to any position goes on from the state as of that position.
* An atomic handler that fails, or is killed, leaves what it has found.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, field, handler
from actors.errors import InvocationKilled
from actors.model.calls import InvocationHandle
from tests.integration.test_growth import as_written_before
from tests.world import World


@dataclasses.dataclass
class Box:
    label: str = ""
    parts: list[dict[str, int]] = dataclasses.field(default_factory=list)


class Fields:
    """The state without the framework: what the handlers' changes are checked against."""

    items: list[str]
    tree: dict[str, dict[str, list[str]]]
    tags: set[str]
    box: Box
    boxes: list[Box]
    text: str

    def __init__(self) -> None:
        self.items, self.tree, self.tags, self.box, self.boxes, self.text = [], {}, set(), Box(), [], ""


observed: list[tuple[int, Any]] = []


def plain(one: Any) -> dict[str, Any]:
    return {
        "items": list(one.items),
        "tree": copy.deepcopy(one.tree),
        "tags": sorted(one.tags),
        "box": dataclasses.asdict(one.box),
        "boxes": [dataclasses.asdict(box) for box in one.boxes],
        "text": one.text,
    }


def observe(place: int, found: dict[str, Any]) -> None:
    observed.append((place, found))


LONG = st.integers(0, 9).map(lambda n: f"{n}" * 90)
SHORT = st.sampled_from(["a", "b", "ü", '"'])
WORD = LONG | SHORT
CHANGES = st.one_of(
    st.tuples(st.just("append"), WORD),
    st.tuples(st.just("insert"), st.integers(0, 9), WORD),
    st.tuples(st.just("pop"), st.integers(0, 9)),
    st.tuples(st.just("window"), WORD),
    st.tuples(st.just("assign"), st.lists(WORD, max_size=6)),
    st.tuples(st.just("branch"), SHORT, SHORT, WORD),
    st.tuples(st.just("prune"), SHORT),
    st.tuples(st.just("tag"), WORD),
    st.tuples(st.just("untag")),
    st.tuples(st.just("label"), WORD),
    st.tuples(st.just("part"), SHORT, st.integers(0, 9)),
    st.tuples(st.just("wrap")),
    st.tuples(st.just("write"), WORD),
    st.tuples(st.just("clear")),
    st.tuples(st.just("look")),
    st.tuples(st.just("stop"), st.booleans()),
)


def change(one: Any, what: str, *values: Any) -> None:
    match what, *values:
        case "append", word:
            one.items.append(word)
        case "insert", place, word:
            one.items.insert(place, word)
        case "pop", place if one.items:
            del one.items[place % len(one.items)]
        case "window", word:
            one.items = [*one.items, word][-4:]
        case "assign", words:
            one.items = list(words)
        case "branch", a, b, word:
            one.tree.setdefault(a, {}).setdefault(b, []).append(word)
        case "prune", a:
            one.tree.pop(a, None)
        case "tag", word:
            one.tags.add(word)
        case ("untag",) if one.tags:
            one.tags.remove(min(one.tags))
        case "label", word:
            one.box.label = word
        case "part", name, n:
            one.box.parts.append({name: n})
        case ("wrap",):
            one.boxes.append(copy.deepcopy(one.box))
        case "write", word:
            one.text += word
        case ("clear",):
            one.items.clear()
            one.tree = {}
        case _:
            pass


class Nest(VirtualObject):
    items: list[str] = []
    tree: dict[str, dict[str, list[str]]] = {}
    tags: set[str] = set()
    box: Box = field(default_factory=Box)
    boxes: list[Box] = []
    text: str = ""
    untouched: list[str] = ["never read"]

    @handler
    async def do(self, ctx: Context, program: list[Any]) -> str:
        return await self._do(ctx, program)

    @handler(atomic=True)
    async def fail(self, ctx: Context, program: list[Any]) -> str:
        await self._do(ctx, program)
        raise TerminalError("as asked")

    async def _do(self, ctx: Context, program: list[Any]) -> str:
        for place, (what, *values) in enumerate(program):
            change(self, what, *values)
            if what == "stop":
                await ctx.awakeable(str)
            elif what == "look":
                await ctx.run(observe, place, plain(self))
            else:
                await ctx.run(observe, place, {})
        await ctx.run(observe, len(program), plain(self))
        return "done"


def expected(before: Fields, program: list[Any]) -> dict[int, dict[str, Any]]:
    """What is seen at each place where somebody looks; `before` is changed."""
    found = {}
    for place, (what, *values) in enumerate(program):
        change(before, what, *values)
        if what == "look":
            found[place] = plain(before)
    found[len(program)] = plain(before)
    return found


def check(expected: dict[int, dict[str, Any]], everything: bool) -> None:
    """What was observed since the last call is as expected."""
    looked = {place: found for place, found in observed if found}
    assert all(found == expected[place] for place, found in observed if found)
    assert not everything or looked.keys() == expected.keys()
    observed.clear()


def stored(world: World) -> dict[str, Any]:
    """What the database holds, in the form of `plain`."""
    found = plain(Fields()) | {
        name: json.loads(value) for name, value in world.disk.query("SELECT name, value FROM state")
    }
    return {**found, "tags": sorted(found["tags"])}


async def goes_on(world: World) -> bool:
    """Resolve what the handler waits for, if it does."""
    await world.settle(3)
    waiting = await world.app.awakeables()
    for info in waiting:
        await world.app.resolve_awakeable(info.id, "go on")
    return bool(waiting)


async def finish(world: World, handle: InvocationHandle[Any], program: list[Any]) -> Any:
    """Let it come to its end. At each stop the process dies; what it has written may look as if an earlier release had."""
    for old in [values[0] for what, *values in program if what == "stop"]:
        await world.settle(3)
        await world.crash()
        if old:
            as_written_before(world)
        await world.start()
        assert await goes_on(world)
    while await goes_on(world):
        pass
    return await world.outcome(handle)


GROWN = [["branch", "a", "a", "0" * 90]] * 2
PROGRAMS = st.lists(CHANGES.map(list), min_size=1, max_size=12)
EXAMPLES = int(os.environ["SIMULATIONS"])


@pytest.mark.may_log("held the event loop")
@given(first=PROGRAMS, program=PROGRAMS, data=st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_state_is_what_it_was_at_each_position_of_a_journal(first: Any, program: Any, data: Any) -> None:
    asyncio.run(_positions(first, program, data))


async def _positions(first: list[Any], program: list[Any], data: Any) -> None:
    model = Fields()
    async with World(Nest) as world:
        for each in first, program:
            observed.clear()
            seen = expected(model, each)
            handle = await world.app.object(Nest, "a").do.send(each)
            assert await finish(world, handle, each) == "done"
            check(seen, everything=True)
            assert stored(world) == plain(model)
        for share in data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=3)):
            ((length,),) = world.disk.query(
                "SELECT max(idx) FROM journal_entry WHERE invocation = (SELECT max(seq) FROM invocation)"
            )
            handle = await world.app.restart(handle.id, keep=1 + int(share * (length - 1)))
            assert await finish(world, handle, []) == "done"
            check(seen, everything=False)
            assert stored(world) == plain(model)


@pytest.mark.may_log("held the event loop")
@given(first=PROGRAMS, program=PROGRAMS, killed=st.booleans())
@example(first=GROWN, program=[*GROWN, ["stop", True]], killed=False)
@settings(max_examples=EXAMPLES, deadline=None)
def test_an_atomic_handler_that_fails_leaves_what_it_has_found(first: Any, program: Any, killed: bool) -> None:
    asyncio.run(_atomic(first, program, killed))


async def _atomic(first: list[Any], program: list[Any], killed: bool) -> None:
    model = Fields()
    async with World(Nest) as world:
        expected(model, first)
        assert await finish(world, await world.app.object(Nest, "a").do.send(first), first) == "done"
        found = plain(model)
        observed.clear()
        seen = expected(model, program)
        handle = await world.app.object(Nest, "a").fail.send([*program, ["stop", False]] if killed else program)
        if killed:
            for _ in [what for what, *_ in program if what == "stop"]:
                assert await goes_on(world)
                await world.settle(3)
                await world.restart()
            await world.settle(3)
            await world.app.kill(handle.id)
            assert await world.outcome(handle) is InvocationKilled
            check(seen, everything=False)
        else:
            assert await finish(world, handle, program) is TerminalError
            check(seen, everything=True)
        await world.restart()
        assert stored(world) == found
