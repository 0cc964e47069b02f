"""Random programs of sound classes, random operators, crashes and evictions: nothing that is stored stays unexplained.

What steps return is random, and whether they fail; messages come in any order; the process dies at any commit. None of this may
raise a false alarm of `actors.testing.specification`, whenever one looks at the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors import Context, RetryPolicy, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import ActorsError, AppNotRunning, DurableTimeout
from actors.storage import StorageError
from actors.testing.specification import explain
from tests.world import World, limits

KEYS = ["a", "b", "c"]
Program = list[list[Any]]
Steps = Random(0)  # what steps return, and whether they fail: not deterministic, but recorded


class Flaky(Exception):
    """A transient error."""


def step() -> int:
    return Steps.randrange(1000)


def flaky() -> int:
    if Steps.random() < 0.5:
        raise Flaky("not this time")
    return step()


def refused() -> int:
    raise TerminalError(f"refused {step()}", code=418)


class Interpreter:
    """What all handlers can do. Each line of a program is a method and its arguments."""

    total: int
    lines: list[str]

    async def interpret(self, ctx: Context, program: Program) -> int:
        for name, *arguments in program:
            self.lines.append(name)
            self.total += await getattr(self, f"_{name}")(ctx, *arguments) or 0
        return self.total

    async def _put(self, ctx: Context, amount: int) -> int:
        return amount

    async def _step(self, ctx: Context) -> int:
        return await ctx.run(step)

    async def _flaky(self, ctx: Context) -> int:
        return await ctx.run(flaky)

    async def _refused(self, ctx: Context, caught: bool) -> int:
        try:
            return await ctx.run(refused)
        except TerminalError as error:
            if not caught:
                raise
            return error.code

    async def _few_tries(self, ctx: Context) -> int:
        try:
            return await ctx.step(retry=RetryPolicy(max_attempts=2, initial_interval=0.001)).run(flaky)
        except TerminalError:
            return -1

    async def _unstable(self, ctx: Context) -> int:
        if ctx.invocation_id not in steady:
            steady.add(ctx.invocation_id)
            raise Flaky("the first attempt")
        return 1

    async def _sleep(self, ctx: Context, ms: int) -> None:
        await ctx.sleep(ms / 1000)

    async def _chance(self, ctx: Context) -> int:
        self.lines.append(str(ctx.now()))
        return ctx.random.randrange(100)

    async def _ask(self, ctx: Context, caught: bool) -> int:
        promise = ctx.awakeable(int, timeout=timedelta(milliseconds=20))
        try:
            return await promise
        except DurableTimeout:
            return 5
        except TerminalError:
            if not caught:
                raise
            return 6

    async def _call(self, ctx: Context, key: str, caught: bool, program: Program) -> int:
        try:
            return await ctx.object(Book, key).do(program)
        except TerminalError as error:
            if not caught:
                raise
            return error.code

    async def _send(self, ctx: Context, key: str, program: Program) -> None:
        ctx.object(Book, key).do.send(program)

    async def _later(self, ctx: Context, key: str, program: Program) -> None:
        ctx.object(Book, key).do.options(delay=0.003).send(program)

    async def _keyed(self, ctx: Context, key: str, name: str, call: bool) -> int:
        put = ctx.object(Book, key).put.options(idempotency_key=name)
        if call and key != ctx.key:
            return await put(3)
        put.send(3)
        return 0

    async def _read(self, ctx: Context, key: str) -> int:
        return await ctx.object(Book, key).peek()

    async def _both(self, ctx: Context, key: str) -> int:
        async def one() -> int:
            return await ctx.run(step) + await ctx.object(Book, key).peek()

        async def other() -> int:
            await ctx.sleep(0.002)
            self.lines.append("slept")
            return await ctx.run(flaky)

        return sum(await asyncio.gather(one(), other()))

    async def _first(self, ctx: Context) -> int:
        promise = ctx.awakeable(int)
        await ctx.first(promise, ctx.sleep(0.004))
        return int(promise.done())

    async def _fail(self, ctx: Context) -> None:
        raise TerminalError("as the program says", code=409)

    async def _free(self, ctx: Context, value: int) -> int:
        before = ctx.get("free", int) or 0
        if value:
            ctx.set("free", value)
        else:
            ctx.clear("free")
        return before


steady: set[str] = set()


class Book(VirtualObject, Interpreter):
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

    @shared
    async def peek(self) -> int:
        return self.total

    @shared
    async def slow_peek(self, ctx: Context) -> int:
        got = await ctx.run(flaky)
        await ctx.sleep(0.002)
        return self.total + got + len(self.lines)


class Teller(Service):
    @handler
    async def total(self, ctx: Context, keys: list[str]) -> int:
        got = await ctx.run(flaky)
        return got + sum([await ctx.object(Book, key).peek() for key in keys])


class Gate(Workflow):
    status: str = "new"

    @handler
    async def run(self, ctx: Context, seconds: int) -> str:
        self.status = "waits"
        await ctx.sleep(seconds / 1000)
        self.status = await ctx.promise("opened", str)
        await ctx.run(flaky)
        return self.status

    @shared
    async def open(self, ctx: Context, value: str) -> str:
        with contextlib.suppress(TerminalError):
            await ctx.promise("opened", str).resolve(value)
        return self.status


CRASHED = (StorageError, AppNotRunning)


class Life:
    """One example: the seed decides everything."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        Steps.seed(seed)
        steady.clear()
        tight = {"suspend_after": 0, "max_waiting": 1, "max_objects": 1} if self.random.random() < 0.6 else {}
        exhausted: Any = self.random.choice(["fail", "pause"])
        retry = RetryPolicy(
            initial_interval=0.002,
            max_interval=0.002,
            max_attempts=self.random.choice([None, None, 3]),
            on_exhausted=exhausted,
        )
        self.world = World(Book, Teller, Gate, limits=limits(**tight), retry=retry)
        if self.random.random() < 0.5:
            self.world.rng = Random(seed)
        self.ids: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def program(self, depth: int = 0) -> Program:
        random = self.random
        lines: Program = []
        for _ in range(random.randrange(1, 4)):
            key, caught = random.choice(KEYS), random.random() < 0.5
            inner = self.program(depth + 1) if depth < 2 else [["put", 1]]
            lines.append(
                random.choice(
                    [
                        ["put", random.randrange(9)],
                        ["step"],
                        ["flaky"],
                        ["refused", caught],
                        ["few_tries"],
                        ["unstable"],
                        ["sleep", random.randrange(1, 5)],
                        ["chance"],
                        ["ask", caught],
                        ["call", key, caught, inner],
                        ["call", key, caught, inner],
                        ["send", key, inner],
                        ["later", key, inner],
                        ["keyed", key, random.choice("xyz"), caught],
                        ["read", key],
                        ["both", key],
                        ["first"],
                        ["free", random.randrange(3)],
                        *([["fail"]] * (random.random() < 0.3)),
                    ]
                )
            )
        return lines

    async def live(self) -> None:
        await self.world.start()
        for _ in range(self.random.randrange(5, 40)):
            await self.event()
        await self.look()
        await self.reborn(self.world.crash())
        await self.look()
        for _ in range(10):
            await self.world.pass_time(0.02)
            await self.world.settle()
        await self.look()
        await self.world.app.close()
        await asyncio.gather(*self.tasks)
        self.world.disk.close()

    async def event(self) -> None:
        random = self.random
        what = random.random()
        if what < 0.35:
            self.spawn(self.message())
        elif what < 0.6:
            for _ in range(random.randrange(1, 60)):
                await asyncio.sleep(0)
        elif what < 0.7:
            await self.world.pass_time(random.randrange(8) / 1000)
        elif what < 0.85:
            self.spawn(self.operate())
        elif what < 0.92:
            self.spawn(self.complete())
        elif what < 0.94:
            self.world.store.crash_at_commit(random.randrange(1, 6), written=random.random() < 0.5)
        elif what < 0.96:
            await self.reborn(self.world.crash())
        elif what < 0.97:
            await self.reborn(self.world.app.close())
        else:
            await self.look()
        if self.world.store.crashed:
            await self.reborn(self.world.crash())

    def spawn(self, what: Any) -> None:
        async def unless_crashed() -> None:
            with contextlib.suppress(ActorsError):
                await what

        task = asyncio.ensure_future(unless_crashed())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def reborn(self, ending: Any) -> None:
        with contextlib.suppress(StorageError):
            await ending
        await asyncio.gather(*self.tasks)
        await self.world.start()

    async def look(self) -> None:
        report = await explain(self.world.disk, self.world.classes, self.world.limits)
        assert report.ok and not report.unjudged, f"\n{report}"

    async def message(self) -> None:
        app, random = self.world.app, self.random
        book = app.object(Book, random.choice(KEYS))
        what = random.randrange(9)
        if what < 4:
            self.ids.append((await book.do.send(self.program())).id)
        elif what == 4:
            self.ids.append((await book.all.send(self.program())).id)
        elif what == 5:
            self.ids.append((await book.slow_peek.send()).id)
        elif what == 6:
            self.ids.append((await app.service(Teller).total.send(KEYS)).id)
        elif what == 7:
            gate = app.object(Gate, "g")
            self.ids.append((await gate.run.send(2)).id)
            self.ids.append((await gate.open.send("yes")).id)
        else:
            await book.put.options(idempotency_key=random.choice("xyz"))(3)

    async def operate(self) -> None:
        app, random = self.world.app, self.random
        name = random.choice(["cancel", "cancel", "kill", "pause", "resume", "resume", "restart", "keep", "keep"])
        status = "status >= 6" if name in ("restart", "keep") else "status < 6"
        rows = self.world.disk.query(f"SELECT seq FROM invocation WHERE {status} ORDER BY seq")
        if not rows:
            return
        id = app._running().ids.invocation(random.choice(rows)[0])
        if name == "restart":
            await app.restart(id)
        elif name == "keep":
            await app.restart(id, keep=random.randrange(1, 6))
        else:
            await getattr(app, name)(id)

    async def complete(self) -> None:
        for info in await self.world.app.awakeables():
            if self.random.random() < 0.7:
                await self.world.app.resolve_awakeable(info.id, self.random.randrange(9))
            else:
                await self.world.app.reject_awakeable(info.id, "no")


EXAMPLES = int(os.environ["SIMULATIONS"]) * 6 // 10
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@pytest.mark.may_log(
    "failed", "is paused", "paused", "kept the event loop", "is skipped", "mistake", "cut short", "step"
)
@settings(max_examples=EXAMPLES, phases=PHASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_no_sound_program_raises_a_false_alarm(seed: int) -> None:
    asyncio.run(Life(seed).live())
