"""What an atomic handler writes is visible to no one else before it has succeeded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, handler, shared
from tests.world import World, limits


class Account(VirtualObject):
    balance: int = 100
    names: list[str] = []
    note: str = ""

    @handler
    async def begin(self, ctx: Context) -> None:
        self.names = ["first"]
        ctx.set("free", 1)

    @handler(atomic=True)
    async def pay(self, ctx: Context, how: str) -> int:
        self.balance -= 10
        await ctx.sleep(1)
        self.balance -= 20
        self.names.append("paid")
        ctx.set("free", 2)
        ctx.set("other", 3)
        await ctx.sleep(1)
        ctx.clear("free")
        self.note = "last"
        if how == "fail":
            raise TerminalError("refused", code=402)
        if how == "too much":
            self.note = "x" * 10_000
        return self.balance

    @shared
    async def look(self, ctx: Context) -> dict[str, Any]:
        names = {name: ctx.get(name) for name in ctx.state_keys() if name in ("free", "other")}
        return {"balance": self.balance, "names": self.names, "note": self.note, **names}


BEFORE = {"balance": 100, "names": ["first"], "note": "", "free": 1}
AFTER = {"balance": 70, "names": ["first", "paid"], "note": "last", "other": 3}


async def _seen(world: World) -> list[dict[str, Any]]:
    """What a reader, the app and a database shell see, as if all of it were set."""
    defaults = {"balance": 100, "names": [], "note": ""}
    shell = world.disk.query("SELECT name, value FROM state WHERE service = 'Account'")
    state = (await world.app.state(Account, "a")).values
    return [
        await world.app.object(Account, "a").look(),
        {**defaults, **state},
        {**defaults, **{name: json.loads(value) for name, value in shell}},
    ]


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("disturbance", ["nothing", "restart", "pause"])
@pytest.mark.parametrize("how", ["succeed", "fail", "too much", "kill", "cancel"])
async def test_nobody_sees_what_an_atomic_handler_writes_before_its_outcome(
    how: str, disturbance: str, suspended: bool
) -> None:
    few = {"suspend_after": 0.01} if suspended else {}
    async with World(Account, limits=limits(max_payload=5000, **few)) as world:
        account = world.app.object(Account, "a")
        await account.begin()
        sent = await account.pay.send(how)
        for _ in range(2):
            await world.settle()
            assert await _seen(world) == [BEFORE] * 3
            if disturbance == "restart":
                await world.restart()
            elif disturbance == "pause":
                await world.app.pause(sent.id)
                await world.app.resume(sent.id)
                await world.settle()
            assert await _seen(world) == [BEFORE] * 3
            await world.pass_time(0.5)
            assert await _seen(world) == [BEFORE] * 3
            if how in ("kill", "cancel"):
                await getattr(world.app, how)(sent.id)
                await world.settle()
                break
            await world.pass_time(0.5)
        await world.settle()
        expected = AFTER if how == "succeed" else BEFORE
        assert await _seen(world) == [expected] * 3
        assert await world.status(sent) == ("succeeded" if how == "succeed" else "failed")
        await world.restart()
        assert await _seen(world) == [expected] * 3


async def test_an_atomic_handler_reads_its_own_writes() -> None:
    class Own(VirtualObject):
        n: int = 0

        @handler(atomic=True)
        async def go(self, ctx: Context) -> list[Any]:
            seen: list[Any] = []
            for n in range(3):
                self.n += 1
                ctx.set("free", n)
                await ctx.sleep(1)
                seen.append([self.n, ctx.get("free"), ctx.get("n"), ctx.state_keys()])
            return seen

    async with World(Own) as world:
        sent = await world.app.object(Own, "a").go.send()
        for _ in range(3):
            await world.settle()
            await world.restart()
            await world.pass_time(1)
        assert await world.outcome(sent) == [[n + 1, n, n + 1, ["free", "n"]] for n in range(3)]


async def test_a_restarted_atomic_handler_keeps_its_kept_writes_to_itself() -> None:
    async with World(Account) as world:
        account = world.app.object(Account, "a")
        await account.begin()
        sent = await account.pay.send("fail")
        for _ in range(2):
            await world.settle()
            await world.pass_time(1)
        again = await world.app.restart(sent.id, keep=2)
        await world.settle()
        assert await _seen(world) == [BEFORE] * 3
        await world.restart()
        assert await _seen(world) == [BEFORE] * 3
        await world.app.kill(again.id)
        assert await _seen(world) == [BEFORE] * 3


async def test_an_atomic_handler_that_an_earlier_release_has_begun_goes_back_as_before() -> None:
    """Its writes are in the rows of the state, and the journal holds what was there before them."""
    async with World(Account) as world:
        account = world.app.object(Account, "a")
        await account.begin()
        sent = await account.pay.send("fail")
        await world.settle()
        await world.crash()
        world.disk.connection.execute("UPDATE invocation SET flags = 0 WHERE handler = 'pay'")
        world.disk.connection.execute(
            "INSERT INTO object_state (service, key, name, value) VALUES ('Account', 'a', 'balance', '90')"
        )
        await world.start()
        for _ in range(2):
            await world.settle()
            await world.pass_time(1)
        assert await world.status(sent) == "failed"
        assert await _seen(world) == [BEFORE] * 3


class Random(VirtualObject):
    a: int = 0
    b: list[int] = []

    @handler(atomic=True)
    async def go(self, ctx: Context, program: list[Any], fails: bool) -> None:
        await apply(self, ctx, program)
        if fails:
            raise TerminalError("as asked")

    @handler
    async def plain(self, ctx: Context, program: list[Any]) -> None:
        await apply(self, ctx, program)


async def apply(it: Random, ctx: Context, program: list[Any]) -> None:
    for op, n in program:
        if op == "a":
            it.a = n
        elif op == "append":
            it.b.append(n)
        elif op == "free":
            ctx.set(f"free{n % 2}", n)
        elif op == "clear":
            ctx.clear(f"free{n % 2}")
        elif op == "clear a":
            ctx.clear("a")
        elif op == "clear all":
            ctx.clear_all()
        elif op == "reset":
            it.b = []
        else:
            await ctx.sleep(0.001)


OPS = st.tuples(
    st.sampled_from(["a", "append", "free", "clear", "clear a", "clear all", "reset", "wait", "wait"]),
    st.integers(0, 3),
)


async def _rows(program: list[list[Any]], atomic: bool, fails: bool, crash: bool) -> list[tuple[Any, ...]]:
    async with World(Random) as world:
        reference = world.app.object(Random, "a")
        query = "SELECT name, value FROM object_state ORDER BY name"
        await reference.plain.send(program[0])
        await _finish(world, False, None)
        before = world.disk.query(query)
        if atomic:
            await reference.go.send(program[1], fails)
        elif not fails:
            await reference.plain.send(program[1])
        await _finish(world, crash, (query, before) if atomic else None)
        return world.disk.query(query)


async def _finish(world: World, crash: bool, unchanged: tuple[str, list[Any]] | None) -> None:
    while True:
        await world.settle()
        if crash:
            await world.restart()
        if all(status in ("succeeded", "failed") for status in world.statuses()):
            return
        if unchanged is not None:
            assert world.disk.query(unchanged[0]) == unchanged[1]
        await world.pass_time(0.001)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    program=st.tuples(st.lists(OPS, max_size=4), st.lists(OPS, max_size=8)), fails=st.booleans(), crash=st.booleans()
)
def test_an_atomic_handler_leaves_what_a_plain_one_would_or_nothing(
    program: tuple[list[Any], list[Any]], fails: bool, crash: bool
) -> None:
    programs = [[list(op) for op in part] for part in program]
    plain = asyncio.run(_rows(programs, False, fails, crash))
    assert asyncio.run(_rows(programs, True, fails, crash)) == plain
