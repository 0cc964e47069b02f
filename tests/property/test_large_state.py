"""A large text that changes a little at each step is not written anew each time, and no crash shows it.

A random program changes a list and a text of several thousand characters between steps, sleeps and failures. The process dies at random
commits, or the invocation is killed. In the end, and after each restart, the state is that of the program run up to some
point, and what stands in the file is what the app says.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from actors import Context, RetryPolicy, VirtualObject, handler, shared
from actors.errors import InvocationKilled
from actors.model.object_state import LARGE
from tests.world import World

ITEM = 150  # characters of an item, or of what is added to the text

_failed: set[int] = set()  # positions at which the running program has failed already


async def slow(n: int) -> int:
    """Not over before the commit that it waits for: each step of the program has commits of its own."""
    for _ in range(20):
        await asyncio.sleep(0)
    return n


def item(n: int) -> str:
    return f"{n:03}" * (ITEM // 3)


class Shelf(VirtualObject):
    items: list[str] = []
    note: str = ""

    @handler
    async def fill(self, n: int) -> None:
        self.items = [item(i) for i in range(n)]
        self.note = item(0) * n

    @handler
    async def work(self, ctx: Context, program: list[Any]) -> int:
        for position, (op, n) in enumerate(program):
            if op == "step":
                await ctx.run(slow, n)
            elif op == "sleep":
                await ctx.sleep(0.001)
            elif op == "fail":
                if position not in _failed:
                    _failed.add(position)
                    raise ValueError("once")
            else:
                self.items, self.note = change(self.items, self.note, op, n)
        return len(self.items)

    @shared
    async def peek(self) -> list[Any]:
        return [self.items, self.note]


def change(items: list[str], note: str, op: str, n: int) -> tuple[list[str], str]:
    place = n % (len(items) + 1)
    if op == "append":
        return [*items, item(n)], note
    if op == "insert":
        return [*items[:place], item(n), *items[place:]], note
    if op == "remove":
        return items[:place] + items[place + 1 :], note
    if op == "replace":
        return [item(n)] * (n % 60), note
    return items, note[: n * ITEM] + item(n) + note[n * ITEM :]  # "note"


def states(filled: int, program: list[Any]) -> list[list[Any]]:
    """What the object holds at the start, and after each line of the program."""
    items, note = [item(i) for i in range(filled)], item(0) * filled
    found: list[list[Any]] = [[items, note]]
    for op, n in program:
        if op not in ("step", "sleep", "fail"):
            items, note = change(items, note, op, n)
        found.append([items, note])
    return found


OPS = st.tuples(
    st.sampled_from(
        ["append", "append", "insert", "remove", "replace", "note", "step", "step", "step", "sleep", "fail"]
    ),
    st.integers(0, 99),
).map(list)
PROGRAM = st.lists(OPS, min_size=1, max_size=14)
CRASHES = st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=3)
EXAMPLES = int(os.environ["SIMULATIONS"])


async def held(world: World) -> list[Any]:
    """What the app says the object holds. The file says the same, and a reader sees it."""
    texts = (await world.app.state(Shelf, "s")).texts
    stored = dict(world.disk.query("SELECT name, value FROM object_state WHERE key = 's' AND name != ''"))
    assert stored == texts
    found = [json.loads(texts.get("items", "[]")), json.loads(texts.get("note", '""'))]
    assert await world.app.object(Shelf, "s").peek() == found
    return found


async def _play(filled: int, program: list[Any], crashes: list[tuple[int, bool]], kill_after: int | None) -> None:
    _failed.clear()
    possible = states(filled, program)
    async with World(Shelf, retry=RetryPolicy(initial_interval=0.001, max_attempts=None)) as world:
        await world.app.object(Shelf, "s").fill(filled)
        sent = await world.app.object(Shelf, "s").work.send(program)
        for commits, written in crashes:
            world.store.crash_at_commit(commits, written=written)
            for _ in range(4):
                await world.pass_time(0.01)
            await world.restart()
            assert await held(world) in possible
        if kill_after is not None:
            for _ in range(kill_after):
                await asyncio.sleep(0)
            if await world.status(sent) not in ("succeeded", "failed"):
                await world.app.kill(sent.id)
        outcome = asyncio.ensure_future(world.outcome(sent))
        while not outcome.done():
            await world.pass_time(0.01)
        found = await held(world)
        if await outcome is InvocationKilled:
            assert found in possible
        else:
            assert found == possible[-1] and await outcome == len(found[0])
        await world.restart()
        assert await held(world) == found


@pytest.mark.may_log("failed, next in")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filled=st.integers(0, 60), program=PROGRAM, crashes=CRASHES, kill_after=st.none() | st.integers(0, 40))
@example(
    filled=60,
    program=[["append", 1], ["step", 1], ["append", 2], ["step", 2], ["insert", 3], ["step", 3]],
    crashes=[(1, True), (1, True), (1, False)],
    kill_after=None,
)
def test_a_crash_shows_no_large_text_as_it_was_before(
    filled: int, program: list[Any], crashes: list[tuple[int, bool]], kill_after: int | None
) -> None:
    assert 60 * ITEM > 2 * LARGE
    asyncio.run(_play(filled, program, crashes, kill_after))
