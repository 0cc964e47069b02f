"""The past of objects, as a watcher saw it: random programs, operators, crashes and evictions.

Every state that a Past shows, before or after an invocation, is the state that the object had then, whether it is read from the
records or executed again; and the two ways agree where both know it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from actors import Context, VirtualObject, handler
from actors.attempt.invocation import Invocation
from actors.check.past import EXECUTED, RECORDED, Past, past_of
from actors.check.reading import read_past
from actors.storage.records import Flag, Status
from actors.storage.sqlite.reads import SqliteReads
from actors.testing.disk import Disk, InlineConnection
from tests.property.test_specification import KEYS, Book, Interpreter, Life, Program


class Seen:
    """A watcher: the states of objects as invocations found and left them, by number. It survives crashes."""

    def __init__(self) -> None:
        self.found: dict[int, dict[str, str]] = {}
        self.left: dict[int, dict[str, str]] = {}

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        state = invocation.mailbox.state if invocation.mailbox is not None else None
        if not invocation.shared and invocation.journal is None and state is not None:
            self.found[invocation.seq] = dict(state.stored)

    def ended(self, invocation: Invocation) -> None:
        state = invocation.mailbox.state if invocation.mailbox is not None else None
        if not invocation.shared and state is not None:
            self.left[invocation.seq] = dict(state.stored)

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        return function

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        return None


def reads_of(disk: Disk) -> SqliteReads:
    reads = SqliteReads(":memory:")
    reads._handle = InlineConnection(disk.connection)
    return reads


class Ledger(VirtualObject, Interpreter, history=True):
    total: int = 0
    lines: list[str] = []

    @handler
    async def do(self, ctx: Context, program: Program) -> int:
        return await self.interpret(ctx, program)

    @handler(atomic=True)
    async def all(self, ctx: Context, program: Program) -> int:
        return await self.interpret(ctx, program)

    @handler
    async def put(self, amount: int) -> int:
        self.total += amount
        return self.total

    @handler
    async def write(self, size: int) -> None:
        self.lines.append("x" * size)  # long texts are recorded by their differences


class WatchedLife(Life):
    """Objects without a history: what left no record is executed again."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.seen = Seen()
        self.world.options["watcher"] = self.seen
        self.known = {RECORDED: 0, EXECUTED: 0}

    async def message(self) -> None:
        if self.random.random() < 0.5:  # without a journal: only its code tells what it did
            await self.world.app.object(Book, self.random.choice(KEYS)).put(self.random.randrange(9))
        else:
            await super().message()

    async def look(self) -> None:
        reads = reads_of(self.world.disk)
        for address in [*(("Book", key) for key in KEYS), ("Gate", "g")]:
            plain = await read_past(reads, *address)
            past = await read_past(reads, *address, self.world.app)
            self.compare(plain)
            self.compare(past)
            for one, other in zip(plain.passages, past.passages, strict=True):
                for then, now in ((one.before, other.before), (one.after, other.after)):
                    assert then.state is None or then.state == now.state, f"{one.row}"
            for passage in past.passages:
                assert passage.before.state is not None or passage.row.flags & Flag.CONTINUES, passage

    def compare(self, past: Past) -> None:
        for passage in past.passages:
            row, before, after = passage.row, passage.before, passage.after
            begun = (
                row.status >= Status.SUCCEEDED or passage.journal
            )  # else state may have changed since its attempt began
            if before.state is not None and begun and not row.flags & Flag.CONTINUES and row.seq in self.seen.found:
                self.known[before.how or ""] += 1
                assert before.state.texts == self.seen.found[row.seq], f"before {row}"
            if after.state is not None:
                self.known[after.how or ""] += 1
                assert after.state.texts == self.seen.left[row.seq], f"after {row}"


class RecordedLife(WatchedLife):
    """Objects with a history, whose state operators change, too. No change of theirs is ever taken back: that leaves no trace."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.world.classes = (Ledger,)
        self.patches = 0
        self.patched = self.random.random() < 0.5

    def program(self, depth: int = 0) -> Program:
        return [line for line in super().program(depth) if line[0] not in ELSEWHERE] or [["put", 1]]

    async def message(self) -> None:
        ledger, random = self.world.app.object(Ledger, self.random.choice(KEYS)), self.random
        what = random.randrange(5)
        if what < 2:
            await ledger.put(random.randrange(9))
        elif what == 2:
            await ledger.write(random.randrange(400))
        else:
            self.ids.append((await random.choice([ledger.do, ledger.all]).send(self.program())).id)

    async def operate(self) -> None:
        if not self.patched or self.random.random() < 0.6:
            await super().operate()
            return
        self.patches += 1
        changed = {"lines": [f"{self.patches}" * 300]} if self.random.random() < 0.3 else {"total": 1000 * self.patches}
        await self.world.app.patch_state(Ledger, self.random.choice(KEYS), set=changed)

    async def look(self) -> None:
        for key in KEYS:
            past = await read_past(reads_of(self.world.disk), "Ledger", key)
            past = past_of(past.kept, "Ledger", key, past.ids, begun=True)
            self.compare(past)
            if not self.patches and not any(row.flags & Flag.CONTINUES for row in past.rows):
                assert not list(past.unknown()), "all that was written is recorded"


ELSEWHERE = ("call", "send", "later", "keyed", "read", "both")  # lines of a program that reach other objects
EXAMPLES = max(8, int(os.environ["SIMULATIONS"]) * 8 // 100)
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@pytest.mark.may_log(
    "failed", "is paused", "paused", "kept the event loop", "is skipped", "mistake", "cut short", "step"
)
@settings(max_examples=EXAMPLES, phases=PHASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), life=st.sampled_from([WatchedLife, RecordedLife]))
@example(seed=1952709944, life=RecordedLife)  # and two invocations later
@example(seed=2344654619, life=RecordedLife)  # changed from outside before the first record, which is a difference
def test_what_a_past_shows_is_what_a_watcher_saw(seed: int, life: type[WatchedLife]) -> None:
    asyncio.run(life(seed).live())
