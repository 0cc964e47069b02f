"""Idempotency keys and attaching: one invocation for many requests, running or ended, before and after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from actors import App, Context, Limits, TerminalError, VirtualObject, handler, shared
from actors.errors import BadArguments, DeadlockError, IdempotencyMismatch, MisusedFuture, UnknownInvocation
from actors.model.message import Message
from actors.model.options import Options
from tests.world import World, limits, outcome


class Payment(VirtualObject):
    charged: list[float] = []

    @handler
    async def charge(self, ctx: Context, amount: float, tags: set[str] | None = None) -> int:
        self.charged.append(amount)
        await ctx.sleep(1)
        if amount < 0:
            raise TerminalError("negative", code=418)
        return len(self.charged)

    @handler
    async def other(self, amount: float) -> str:
        return "other"

    @shared
    async def all(self) -> list[float]:
        return self.charged


class Caller(VirtualObject):
    @handler
    async def pay(self, ctx: Context, amount: float, key: str) -> int:
        return await ctx.object(Payment, "p").charge.options(idempotency_key=key)(amount)

    @handler
    async def pay_and_leave(self, ctx: Context, amount: float, key: str) -> str:
        ctx.object(Payment, "p").charge.options(idempotency_key=key)(amount)
        return "left"

    @handler
    async def pay_safely(self, ctx: Context, amount: float, key: str) -> str:
        try:
            return str(await ctx.object(Payment, "p").charge.options(idempotency_key=key)(amount))
        except TerminalError as error:
            return error.error

    @handler
    async def send(self, ctx: Context, amount: float, key: str) -> str:
        sent = ctx.object(Payment, "p").charge.options(idempotency_key=key).send(amount)
        return (await sent).id

    @handler
    async def send_and_leave(self, ctx: Context, amount: float, key: str) -> str:
        sent = ctx.object(Payment, "p").charge.options(idempotency_key=key).send(amount)
        try:
            return sent.id
        except MisusedFuture:
            return "not known yet"

    @handler
    async def attach(self, ctx: Context, id: str) -> int | str:
        try:
            return await ctx.attach(id, int)
        except TerminalError as error:
            return error.error

    @handler
    async def own_id(self, ctx: Context) -> str:
        return await self.attach(ctx.invocation_id)  # type: ignore[return-value]

    @handler
    async def tell(self, ctx: Context, peer: str) -> str:
        ctx.object(Caller, peer).attach.send(ctx.invocation_id)
        await ctx.sleep(1)
        return await ctx.object(Caller, peer).plain()

    @handler
    async def plain(self) -> str:
        return "plain"


def _pay(world: World, key: str) -> Any:
    return world.app.object(Payment, "p").charge.options(idempotency_key=key)


async def test_requests_with_one_key_are_one_invocation_whether_it_runs_or_has_ended() -> None:
    async with World(Payment, Caller) as world:
        first, second = _pay(world, "k")(5.0), _pay(world, "k")(5.0)
        sent = await _pay(world, "k").send(5.0)
        assert sent.previously_accepted
        await world.pass_time(1)
        assert list(await asyncio.gather(first, second)) == [1, 1]
        assert await sent.result() == 1
        await world.restart()
        assert await _pay(world, "k")(5.0) == 1
        again = await _pay(world, "k").send(5.0)
        assert (again.id, again.previously_accepted) == (sent.id, True)
        assert await world.app.object(Payment, "p").all() == [5.0]


async def test_a_stored_failure_is_the_outcome_of_a_key_too() -> None:
    async with World(Payment, Caller) as world:
        first = _pay(world, "k").send(-1.0)
        assert not (await first).previously_accepted
        await world.pass_time(1)
        for _ in range(2):
            with pytest.raises(TerminalError, match="negative") as caught:
                await _pay(world, "k")(-1.0)
            assert caught.value.code == 418
        assert await world.app.object(Payment, "p").all() == [-1.0]


async def test_a_key_belongs_to_one_handler_of_one_object() -> None:
    async with World(Payment, Caller) as world:
        await _pay(world, "k").send(1.0)
        await world.app.object(Payment, "q").charge.options(idempotency_key="k").send(2.0)
        assert await world.app.object(Payment, "r").other.options(idempotency_key="k")(3.0) == "other"
        await _pay(world, "l").send(4.0)
        await world.pass_time(1)
        await world.pass_time(1)
        assert world.disk.query("SELECT count(*) FROM invocations WHERE handler = 'charge'") == [(3,)]


async def test_a_key_with_other_arguments_is_refused_while_it_runs_and_after() -> None:
    async with World(Payment, Caller) as world:
        await _pay(world, "k").send(1.0, {"a", "b"})
        for _ in ("running", "ended", "restarted"):
            with pytest.raises(IdempotencyMismatch, match=r"'k' was used for Payment\.charge of 'p'") as caught:
                await _pay(world, "k")(2.0)
            assert caught.value.code == 422
            with pytest.raises(IdempotencyMismatch):
                await _pay(world, "k").send(1.0, {"a"})
            assert (await _pay(world, "k").send(1.0, {"b", "a"})).previously_accepted
            await world.pass_time(1)
            await world.restart()


@pytest.mark.parametrize("key", ["", "x" * 1001, 5, b"k", "\ud800"])
async def test_an_idempotency_key_that_cannot_be_one_is_refused(key: Any) -> None:
    async with World(Payment, Caller) as world:
        with pytest.raises(BadArguments, match="idempotency_key="):
            _pay(world, key)


async def test_the_id_of_a_keyed_send_is_known_once_it_is_awaited() -> None:
    async with World(Payment, Caller) as world:
        handle = _pay(world, "k").send(1.0)
        with pytest.raises(MisusedFuture, match="Await the handle"):
            _ = handle.id
        assert (await handle).id.startswith("inv_1")


async def test_a_caller_that_is_cancelled_cancels_neither_the_invocation_nor_the_others() -> None:
    async with World(Payment, Caller) as world:

        async def pay() -> int:
            return int(await _pay(world, "k")(1.0))

        one, two = asyncio.ensure_future(pay()), asyncio.ensure_future(pay())
        await asyncio.sleep(0)
        one.cancel()
        await world.settle()
        await world.pass_time(1)
        assert await two == 1


async def test_a_placement_that_is_cancelled_with_the_one_before_it_ends(storage: str) -> None:
    async with App(Payment, storage=storage) as app:
        target = Payment.__actors__.handlers["charge"]
        text, values = target.encode((1.0,), {})
        message = Message(target, "p", text, values, Options(idempotency_key="k"))
        placing = [asyncio.ensure_future(app._gateway.place(message, False)) for _ in range(3)]
        await asyncio.sleep(0)  # the first of them looks for the key in the file
        for task in placing:
            task.cancel()
        await asyncio.wait(placing)
        assert [task.cancelled() for task in placing] == [True] * 3


async def test_a_key_is_free_again_when_its_invocation_is_purged_or_its_time_is_over() -> None:
    limits = Limits(retention=None, idempotency_retention=60)
    async with World(Payment, Caller, limits=limits) as world:
        for expected in (1, 2, 3):
            handle = await _pay(world, "k").send(1.0)
            assert not handle.previously_accepted
            await world.pass_time(1)
            assert await handle.result() == expected
            if expected == 1:
                await world.app.purge(handle.id)
            else:
                await world.pass_time(59)
                assert (await _pay(world, "k").send(1.0)).previously_accepted
                await world.pass_time(2)


@pytest.mark.parametrize("commits", range(1, 9))
@pytest.mark.parametrize("method", ["pay", "send", "pay_and_leave", "send_and_leave"])
@pytest.mark.parametrize("earlier", [True, False])
async def test_a_keyed_message_of_a_handler_is_placed_once_whatever_crashes(
    method: str, earlier: bool, commits: int
) -> None:
    async with World(Payment, Caller) as world:
        if earlier:
            await _pay(world, "k").send(1.0)
            await world.restart()
        world.store.crash_at_commit(commits, written=True)
        try:
            await world.app.send("Caller", "c", method, 1.0, "k")
        except Exception:
            assert world.store.crashed
        for _ in range(2):
            await world.settle()
            await world.restart()
            await world.pass_time(1)
        statuses = world.disk.query("SELECT handler, status, result FROM invocations ORDER BY handler")
        assert [status for _, status, _ in statuses] == ["succeeded", "succeeded"], statuses
        assert await world.app.object(Payment, "p").all() == [1.0]
        if method == "pay":
            assert statuses[1][2] == "1"
        if method == "send":
            (charge,) = await world.app.invocations(handler="charge")
            assert statuses[1][2] == f'"{charge.id}"'


async def test_handlers_and_clients_share_the_keys() -> None:
    async with World(Payment, Caller) as world:
        paying = world.app.object(Caller, "a").pay(1.0, "k")
        mine = _pay(world, "k")(1.0)
        also = world.app.object(Caller, "b").pay(1.0, "k")
        await world.settle()
        assert await world.app.object(Caller, "c").pay_safely(2.0, "k") == "idempotency_key_reused"
        await world.pass_time(1)
        assert [await paying, await mine, await also] == [1, 1, 1]
        assert await world.app.object(Caller, "a").pay(1.0, "k") == 1
        assert await world.app.object(Payment, "p").all() == [1.0]


@pytest.mark.parametrize("when", ["running", "ended", "restarted between", "suspended", "both cold"])
async def test_attaching_gives_the_outcome_of_an_invocation_somebody_else_began(when: str) -> None:
    async with World(Payment, Caller) as world:
        payment = await world.app.object(Payment, "p").charge.send(1.0)
        failing = await world.app.object(Payment, "q").charge.send(-1.0)
        if when == "ended":
            await world.pass_time(1)
        attached = await world.app.object(Caller, "c").attach.send(payment.id)
        refused = await world.app.object(Caller, "d").attach.send(failing.id)
        await world.settle()
        if when in ("restarted between", "both cold"):
            await world.restart()
        if when == "suspended":
            for waiting in list(world.app._running().eviction.waiting):
                world.app._running().eviction.waiting.pop(waiting)
                world.app._running().eviction.suspend(waiting)
        await world.pass_time(1)
        assert await world.app.invocation(attached.id).result() == 1
        assert await world.app.invocation(refused.id).result() == "terminal_error"
        assert world.disk.query("SELECT count(*) FROM attachment") == [(0,)]


@pytest.mark.parametrize("commits", range(1, 8))
@pytest.mark.parametrize("written", [True, False])
async def test_an_outcome_reaches_those_attached_to_it_whatever_crashes(commits: int, written: bool) -> None:
    async with World(Payment, Caller) as world:
        payment = await world.app.object(Payment, "p").charge.send(1.0)
        world.store.crash_at_commit(commits, written=written)
        try:
            await world.app.object(Caller, "c").attach.send(payment.id)
            await world.settle()
            await world.pass_time(1)
        except Exception:
            assert world.store.crashed
        await world.settle()
        await world.restart()
        await world.pass_time(1)
        for info in await world.app.invocations(service="Caller"):
            assert await outcome(world.app.invocation(info.id)) == 1


async def test_attaching_to_what_is_unknown_fails_and_to_oneself_is_a_deadlock() -> None:
    async with World(Payment, Caller) as world:
        unknown = world.app._running().ids.invocation(10**6)
        assert await world.app.object(Caller, "c").attach(unknown) == UnknownInvocation.error
        assert await world.app.object(Caller, "c").attach("nonsense") == "malformed_id"
        assert await world.app.object(Caller, "c").own_id() == DeadlockError.error


async def test_a_call_that_waits_for_who_is_attached_to_the_caller_is_a_deadlock() -> None:
    async with World(Payment, Caller) as world:
        telling = world.app.object(Caller, "a").tell("b")
        await world.settle()
        await world.pass_time(1)
        with pytest.raises(
            DeadlockError, match="Deadlock: Caller/b/plain -> Caller/b/attach -> Caller/a/tell -> Caller/b/plain"
        ):
            await telling
        assert await world.app.object(Caller, "b").plain() == "plain"


class Noted(VirtualObject):
    @handler
    async def add(self, n: int) -> int:
        return n


@pytest.mark.parametrize("keyed_first", [False, True])
async def test_the_shorter_of_two_retentions_is_kept_while_something_waits_for_the_longer_one(
    keyed_first: bool,
) -> None:
    hour, week = timedelta(hours=1), timedelta(days=7)
    retention, keyed = (hour, week) if keyed_first else (week, hour)
    async with World(Noted, limits=Limits(retention=retention, idempotency_retention=keyed)) as world:
        long = world.app.object(Noted, "long").add
        short = world.app.object(Noted, "short").add
        await (long.options(idempotency_key="k") if keyed_first else long)(1)
        await world.settle()
        for _ in range(3):
            await world.pass_time(3601)  # the alarm that the first one has set, and any that follows
        await (short if keyed_first else short.options(idempotency_key="k"))(1)
        await world.settle()
        for _ in range(3):
            await world.pass_time(3601)
        assert world.disk.query("SELECT key FROM invocation") == [("long",)]


class Tally(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count


class Counting(VirtualObject):
    @handler
    async def add(self, ctx: Context) -> int:
        return await ctx.object(Tally, "t").add.options(idempotency_key="k")(1)


async def _by_app(world: World) -> Any:
    return await world.app.object(Tally, "t").add.options(idempotency_key="k")(1)


async def _by_handler(world: World) -> Any:
    return await world.app.object(Counting, "c").add()


async def _by_gateway(world: World) -> Any:
    gateway = world.app._gateway
    outcome = await gateway.call(gateway.target("Tally", "t", "add"), "t", (1,), {}, None, "k")
    return json.loads(outcome.text)


async def _forget(world: World, id: str, turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await world.app.purge(id)


@pytest.mark.parametrize("call", [_by_app, _by_handler, _by_gateway])
async def test_a_call_whose_key_is_forgotten_at_that_moment_is_the_first_under_it(
    call: Callable[[World], Awaitable[Any]],
) -> None:
    """It is found, and purged before its outcome is read: whatever the moment, whoever asks gets an outcome."""
    answers = set()
    for seed in range(200):
        world = World(Tally, Counting, limits=limits())
        world.rng = Random(seed)
        async with world:
            assert await _by_app(world) == 1
            ((seq,),) = world.disk.query("SELECT seq FROM invocation")
            id = world.app._running().ids.invocation(seq)
            answer, _ = await asyncio.gather(call(world), _forget(world, id, seed % 20))
            answers.add(answer)
    assert answers == {1, 2}, "now one comes first, now the other"
