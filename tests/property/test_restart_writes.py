"""A restart that keeps a part of a journal takes back all that was written after it, or nothing, in whatever way it was written.

A random program of attribute writes, `ctx.set`, `ctx.clear` and steps is run, and restarted at each position. The state a
restart finds is that of a program which was run up to there and no further; so the restarted one ends with the same state.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors import Context, VirtualObject, handler
from actors.errors import CannotKeep
from tests.world import World


class Book(VirtualObject):
    count: int = 0
    names: list[str] = []

    @handler
    async def write(self, ctx: Context, program: list[Any]) -> list[Any]:
        seen: list[Any] = []
        for op, n in program:
            if op == "step":
                seen.append(await ctx.run(str, n))
            elif op == "count":
                self.count += n
            elif op == "append":
                self.names.append(str(n) * 150)
            elif op == "set":
                ctx.set(f"free{n % 2}", [n, self.count])
            elif op == "clear":
                ctx.clear(f"free{n % 2}")
            elif op == "reset":
                self.names = []
            seen.append([self.count, len(self.names), ctx.state_keys() if op == "keys" else None])
        return seen


OPS = st.tuples(
    st.sampled_from(["step", "step", "count", "count", "append", "set", "set", "clear", "reset", "keys"]),
    st.integers(1, 4),
).map(list)
PROGRAM = st.lists(OPS, min_size=1, max_size=8)
EXAMPLES = int(os.environ["SIMULATIONS"])


async def _play(first: list[Any], program: list[Any]) -> None:
    async with World(Book) as world:
        book = world.app.object(Book, "b")
        await book.write(first)
        sent = await book.write.send(program)
        outcome = await world.outcome(sent)
        state = await world.app.state(Book, "b")
        positions = world.disk.query(
            "SELECT count(*) FROM journal_entry WHERE invocation = (SELECT max(seq) FROM invocation)"
        )
        for keep in range(1, positions[0][0] + 1):
            try:
                again = await world.app.restart(sent.id, keep=keep)
            except CannotKeep as error:
                raise AssertionError(f"keep={keep} of {positions}") from error
            await world.settle()
            assert await world.outcome(again) == outcome, keep
            assert (await world.app.state(Book, "b")).texts == state.texts, keep


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=PROGRAM, program=PROGRAM)
def test_what_is_restarted_at_any_position_ends_as_it_had_ended(first: list[Any], program: list[Any]) -> None:
    asyncio.run(_play(first, program))
