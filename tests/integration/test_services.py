"""Keyless services: as durable as objects, any number at once, and gone from memory when there is nothing to do."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from actors import Context, Limits, RetryPolicy, Service, TerminalError, VirtualObject, handler
from actors.errors import (
    BadKey,
    DeadlockError,
    IdempotencyMismatch,
    InvocationCancelled,
    InvocationKilled,
    Overloaded,
    UndeclaredState,
    WrongKind,
)
from actors.storage import OWN_KEY
from tests.property.simulated_machine import Machine
from tests.world import World, limits

ran: list[str] = []
looks: list[Callable[[], int]] = []  # what a step looks at


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


class Mailer(Service):
    @handler
    async def deliver(self, ctx: Context, to: str) -> str:
        ran.append(to)
        await ctx.run(ran.append, f"sent to {to}")
        return f"{ctx.key!r} sent to {to}"

    @handler
    async def quick(self, n: int) -> int:
        return n + 1

    @handler
    async def wait(self, ctx: Context, name: str) -> str:
        ran.append(name)
        return await ctx.awakeable(str)

    @handler
    async def nap(self, ctx: Context, seconds: float) -> str:
        await ctx.sleep(seconds)
        return "up"

    @handler
    async def look(self, ctx: Context) -> int:
        return await ctx.run(lambda: looks[-1]())

    @handler
    async def fails(self, ctx: Context, times: int) -> str:
        ran.append("failing")
        if ran.count("failing") <= times:
            raise OSError("again")
        return "at last"

    @handler
    async def gather(self, ctx: Context, count: int) -> list[int]:
        return list(await ctx.all(*[ctx.service(Mailer).quick(n) for n in range(count)]))

    @handler
    async def either(self, ctx: Context) -> str:
        return await ctx.first(ctx.service(Mailer).wait("a"), ctx.service(Mailer).wait("b"))

    @handler
    async def through(self, ctx: Context, key: str) -> str:
        return await ctx.object(Order, key).plain()

    @handler
    async def nested(self, ctx: Context, depth: int) -> int:
        return await ctx.service(Mailer).nested(depth - 1) + 1 if depth else 0

    @handler
    async def keep(self, ctx: Context, how: str) -> None:
        match how:
            case "assign":
                self.total = 1
            case "get":
                ctx.get("total")
            case "set":
                ctx.set("total", 1)
            case "keys":
                ctx.state_keys()
            case "promise":
                ctx.promise("p")

    @handler
    async def send_to_itself(self, ctx: Context, n: int) -> None:
        if n:
            self.send_to_itself.send(n - 1)
        else:
            await ctx.run(ran.append, "done")


class Order(VirtualObject):
    @handler
    async def plain(self) -> str:
        return "plain"

    @handler
    async def cycle(self, ctx: Context) -> str:
        return await ctx.service(Mailer).through(ctx.key)

    @handler
    async def other(self, ctx: Context, key: str) -> str:
        return await ctx.service(Mailer).through(key)

    @handler
    async def once(self, ctx: Context, n: int) -> int:
        first = ctx.service(Mailer).quick.options(idempotency_key="k")(n)
        second = ctx.service(Mailer).quick.options(idempotency_key="k")(n)
        return sum(await ctx.all(first, second))


def _in_memory(world: World) -> tuple[int, int]:
    """Invocations, and mailboxes of the service."""
    partition = world.app._running()
    return len(partition.residents.open), len(partition.residents.objects["Mailer"])


async def test_many_run_at_once_and_none_waits_for_another() -> None:
    async with World(Mailer, Order, limits=limits(max_pending=1)) as world:
        mailer = world.app.service(Mailer)
        handles = [await mailer.wait.send(f"m{n}") for n in range(50)]
        await world.settle()
        assert sorted(ran) == sorted(f"m{n}" for n in range(50))
        assert await mailer.quick(1) == 2
        for info in await world.app.awakeables():
            assert (info.service, info.key, info.handler) == ("Mailer", "", "wait")
            await world.app.resolve_awakeable(info.id, "done")
        assert [await handle.result() for handle in handles] == ["done"] * 50


async def test_a_call_costs_memory_only_while_there_is_something_to_do() -> None:
    async with World(Mailer, Order) as world:
        assert await world.app.service(Mailer).deliver("a") == "'' sent to a"
        assert await asyncio.gather(*[world.app.service(Mailer).quick(n) for n in range(100)]) == list(range(1, 101))
        await world.settle()
        assert _in_memory(world) == (0, 0)
        assert Counter(world.statuses()) == {"succeeded": 101}


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
async def test_those_that_wait_cost_disk_and_no_memory(seed: int | None) -> None:
    world = World(Mailer, limits=limits(max_waiting=3, max_objects=1))
    world.rng = Random(seed) if seed is not None else None
    async with world:
        handles = [await world.app.service(Mailer).wait.send(f"m{n}") for n in range(40)]
        await world.settle(5)
        invocations, mailboxes = _in_memory(world)
        assert invocations <= 3 and mailboxes <= 3
        for _ in ("in this process", "after a crash"):
            half = (await world.app.awakeables())[::2]
            await asyncio.gather(*[world.app.resolve_awakeable(info.id, "x") for info in half])
            await world.settle(5)
            await world.restart()
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, "x")
        assert [await world.app.invocation(handle.id).result() for handle in handles] == ["x"] * 40
        await world.settle(5)
        assert _in_memory(world)[0] == 0


@pytest.mark.expects_log("failed, next in", "is paused. It is tried again")
async def test_those_that_back_off_or_are_paused_leave_memory_too() -> None:
    retry = RetryPolicy(initial_interval=1, max_interval=1, max_attempts=2)
    async with World(Mailer, retry=retry, limits=limits()) as world:
        handle = await world.app.service(Mailer).fails.send(3)
        await world.settle(5)
        assert world.statuses() == ["backing-off"] and _in_memory(world) == (0, 0)
        await world.pass_time(2)
        assert world.statuses() == ["paused"] and _in_memory(world) == (0, 0)
        await world.app.resume(handle.id)
        await world.pass_time(2)
        assert await world.app.invocation(handle.id).result() == "at last"
        assert _in_memory(world) == (0, 0)


async def test_an_idle_object_is_not_displaced_by_services_that_come_and_go() -> None:
    async with World(Mailer, Order, limits=limits(max_objects=1)) as world:
        await world.app.object(Order, "o").plain()
        for n in range(20):
            await world.app.service(Mailer).quick(n)
        await world.settle()
        assert list(world.app._running().residents.objects["Order"]) == ["o"]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("commit", range(1, 7))
async def test_a_crash_at_any_commit_loses_and_repeats_nothing(commit: int, written: bool) -> None:
    async with World(Mailer, limits=limits()) as world:
        sent = await world.app.service(Mailer).deliver.send("a")
        world.store.crash_at_commit(commit, written=written)
        await world.settle(5)
        with_step = ran.count("sent to a")
        await world.restart()
        await world.settle(5)
        assert await world.app.invocation(sent.id).result() == "'' sent to a"
        assert world.statuses() == ["succeeded"]
        assert ran.count("sent to a") in (with_step, with_step + 1)
        await world.restart()
        assert ran.count("sent to a") in (with_step, with_step + 1), "recorded, and executed again"


async def test_no_step_starts_before_its_invocation_is_on_disk_not_even_of_a_call_nobody_was_told_of() -> None:
    async with World(Mailer) as world:
        looks.append(lambda: len(world.statuses()))
        assert await world.app.service(Mailer).look() == 1
        assert await world.app.service(Mailer).look.send().result() == 2


async def test_timers_delays_and_sends_to_itself_work() -> None:
    async with World(Mailer, limits=limits(suspend_after=1)) as world:
        nap = await world.app.service(Mailer).nap.send(10)
        late = await world.app.service(Mailer).deliver.options(delay=20).send("late")
        await world.app.service(Mailer).send_to_itself.send(3)
        await world.pass_time(5)
        assert ran == ["done"] and _in_memory(world) == (0, 0)
        await world.restart()
        await world.pass_time(6)
        assert await world.app.invocation(nap.id).result() == "up"
        assert (await world.app.describe(late.id)).status == "scheduled"
        await world.pass_time(10)
        assert await world.app.invocation(late.id).result() == "'' sent to late"


async def test_handlers_call_services_in_any_number_and_depth() -> None:
    async with World(Mailer, Order) as world:
        assert await world.app.service(Mailer).gather(5) == [1, 2, 3, 4, 5]
        assert await world.app.service(Mailer).nested(30) == 30
        assert await world.app.object(Order, "a").other("b") == "plain"


async def test_a_service_in_between_hides_no_cycle() -> None:
    async with World(Mailer, Order) as world:
        with pytest.raises(
            DeadlockError, match="Deadlock: Order/a/plain -> Order/a/cycle -> Mailer/through -> Order/a/plain"
        ):
            await asyncio.wait_for(world.app.object(Order, "a").cycle(), 5)


async def test_a_service_in_between_hides_no_cycle_from_memory_limits() -> None:
    async with World(Mailer, Order, limits=limits(max_waiting=1, max_objects=1)) as world:
        with pytest.raises(DeadlockError):
            await asyncio.wait_for(world.app.object(Order, "a").cycle(), 5)


async def test_idempotency_keys_belong_to_a_handler_of_the_service() -> None:
    async with World(Mailer, Order) as world:
        quick = world.app.service(Mailer).quick.options(idempotency_key="k")
        first, second = await quick.send(1), await quick.send(1)
        assert (first.id, second.previously_accepted) == (second.id, True)
        await world.restart()
        quick = world.app.service(Mailer).quick.options(idempotency_key="k")
        assert await quick(1) == 2
        with pytest.raises(IdempotencyMismatch, match=r"'k' was used for Mailer\.quick with other arguments"):
            await quick(2)
        assert await world.app.object(Order, "o").once(1) == 4
        assert await world.app.service(Mailer).deliver.options(idempotency_key="k")("x") == "'' sent to x"
        assert [info.idempotency_key for info in await world.app.invocations(service="Mailer")] == ["k", "k"]


async def test_the_limit_of_calls_in_flight_holds() -> None:
    async with World(Mailer, limits=limits(max_in_flight=5)) as world:
        calls = [world.app.service(Mailer).wait(f"m{n}") for n in range(5)]
        with pytest.raises(Overloaded):
            world.app.service(Mailer).wait("one more")
        await world.settle()
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, "x")
        assert [await call for call in calls] == ["x"] * 5


@pytest.mark.expects_log("is paused. It is tried again")
async def test_people_see_an_empty_key_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with World(Mailer, Order, retry=RetryPolicy(max_attempts=1)) as world:
        waiting = await world.app.service(Mailer).wait.send("x")
        nap = await world.app.service(Mailer).nap.send(60)
        await world.app.service(Mailer).fails.send(1)
        order = await world.app.object(Order, waiting.id).plain.send()
        await world.settle()
        assert (await world.app.describe(waiting.id)).key == ""
        assert {info.id for info in await world.app.invocations(key="")} >= {waiting.id, nap.id}
        assert order.id not in {info.id for info in await world.app.invocations(key="")}
        seqs = [seq for (seq,) in world.disk.query("SELECT seq FROM invocation")]
        assert [await world.app.invocations(key=str(seq)) for seq in seqs] == [[]] * len(seqs)
        for view in ("invocations", "awakeables", "timers"):
            assert world.disk.query(f"SELECT DISTINCT key FROM {view} WHERE service = 'Mailer'") == [("",)]
        assert world.disk.query("SELECT DISTINCT mode FROM invocations WHERE service = 'Mailer'") == [("keyless",)]
        assert "Mailer/fails (inv_1" in caplog.text


@pytest.mark.parametrize("memory", ["warm", "suspended", "restarted"])
async def test_operators_reach_an_invocation_wherever_it_is(memory: str) -> None:
    async with World(Mailer, limits=limits(suspend_after=1)) as world:
        mailer = world.app.service(Mailer)
        cancelled, killed, held, purged = [await mailer.wait.send(name) for name in ("a", "b", "c", "d")]
        await world.settle()
        if memory == "suspended":
            await world.pass_time(2)
        elif memory == "restarted":
            await world.restart()
        app = world.app
        await app.cancel(cancelled.id)
        await app.kill(killed.id)
        await app.kill(purged.id)
        await app.pause(held.id)
        with pytest.raises(InvocationCancelled):
            await app.invocation(cancelled.id).result()
        with pytest.raises(InvocationKilled):
            await app.invocation(killed.id).result()
        await app.purge(purged.id)
        assert len(await app.invocations()) == 3
        await world.restart()
        assert (await world.app.describe(held.id)).status == "paused"
        await world.app.resume(held.id)
        again = await world.app.restart(killed.id)
        await world.settle(5)
        assert (await world.app.describe(again.id)).restarted_from == killed.id
        assert (await world.app.describe(again.id)).key == ""
        for info in await world.app.awakeables():
            await world.app.resolve_awakeable(info.id, "x")
        assert await world.app.invocation(held.id).result() == await world.app.invocation(again.id).result() == "x"
        await world.settle(5)
        assert _in_memory(world) == (0, 0)


async def test_a_scheduled_one_is_cancelled_before_its_time() -> None:
    async with World(Mailer) as world:
        late = await world.app.service(Mailer).deliver.options(delay=20).send("late")
        await world.app.cancel(late.id)
        await world.pass_time(30)
        assert ran == [] and world.statuses() == ["failed"]


async def test_ended_ones_are_forgotten_as_those_of_objects_are() -> None:
    async with World(Mailer, limits=Limits(retention=60)) as world:
        await world.app.service(Mailer).deliver("a")
        await world.pass_time(30)
        assert world.statuses() == ["succeeded"]
        await world.pass_time(60)
        assert world.statuses() == []
        assert world.disk.query("SELECT count(*) FROM journal_entry") == [(0,)]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("assign", UndeclaredState),
        ("get", WrongKind),
        ("set", WrongKind),
        ("keys", WrongKind),
        ("promise", WrongKind),
    ],
)
async def test_a_handler_that_wants_state_or_promises_fails_at_once(how: str, error: type[TerminalError]) -> None:
    async with World(Mailer) as world:
        with pytest.raises(error, match=r"Service|Workflow"):
            await world.app.service(Mailer).keep(how)


def _object_named_mailer() -> type[VirtualObject]:
    class Mailer(VirtualObject):
        @handler
        async def wait(self, ctx: Context, name: str) -> str:
            return "an object"

    return Mailer


@pytest.mark.expects_log("is paused. It is tried again")
async def test_what_was_accepted_by_a_service_is_paused_when_an_object_takes_its_name() -> None:
    async with World(Mailer, limits=limits()) as world:
        sent = await world.app.service(Mailer).wait.send("x")
        late = await world.app.service(Mailer).wait.options(delay=5).send("later")
        ended = await world.app.service(Mailer).deliver.send("y")
        await world.settle()
        world.classes = (_object_named_mailer(),)
        await world.crash()
        await world.start()
        await world.app.kill((await world.app.invocations(status="open"))[-1].id)
        await world.pass_time(5)
        info = await world.app.describe(late.id)
        assert info.status == "paused" and "was a Service when this was accepted" in (info.reason or "")
        with pytest.raises(TerminalError):
            await world.app.restart(ended.id)
        with pytest.raises(WrongKind):
            await world.app.restart(sent.id)
        world.classes = (Mailer,)
        await world.restart()
        await world.settle()
        for waiting in await world.app.awakeables():
            await world.app.resolve_awakeable(waiting.id, "x")
        assert await world.app.invocation(late.id).result() == "x"


class Wait(Service):
    @handler
    async def go(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class WaitObject(VirtualObject, name="Wait"):
    @handler
    async def go(self, ctx: Context) -> str:
        return ctx.key


async def test_an_invocation_of_a_service_holds_no_object_of_the_class_it_has_become() -> None:
    async with World(Wait) as world:
        handle = await world.app.service(Wait).go.send()
        await world.settle()
        ((key, seq),) = world.disk.query("SELECT key, seq FROM invocation")
        await world.crash()
        world.classes = (WaitObject,)
        await world.start()
        assert await world.app.object(WaitObject, str(seq)).go() == str(seq)
        with pytest.raises(BadKey, match=r"begin with U.0001"):
            world.app.object(WaitObject, key)
        with pytest.raises(BadKey, match=r"begin with U.0001"):
            world.app.object(WaitObject, OWN_KEY + "ä")
        assert (await world.app.describe(handle.id)).key == ""


async def test_one_that_ends_while_it_is_looked_for_leaves_no_mailbox() -> None:
    """Two calls bring their cold caller back; with the answer of the first it ends, and nothing will come for the second."""
    for seed in range(100):
        world = Machine(Mailer, limits=limits(max_waiting=1))
        world.rng = Random(seed)
        async with world:
            caller = await world.app.service(Mailer).either.send()
            await world.settle(20)
            infos = await world.app.awakeables()
            assert len(infos) == 2
            await asyncio.gather(*[world.app.resolve_awakeable(info.id, "x") for info in infos])
            assert await world.app.invocation(caller.id).result() == "x"
            await world.settle(20)
            await world.app.service(Mailer).quick(1)  # what is over leaves with the next batch
            await world.settle(20)
            assert _in_memory(world) == (0, 0), f"seed {seed}"
