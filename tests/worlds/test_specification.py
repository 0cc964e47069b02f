"""The class is its own specification: what is stored is explained by its code, and code that is not deterministic is found."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

import pytest

from actors import (
    Context,
    Limits,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    handler,
    migration,
    schedule,
    shared,
)
from actors.check.explanation import Explanation, Known
from actors.model.calls import InvocationHandle
from actors.testing.specification import explain
from tests.world import World

failures: list[int] = []  # how often the next steps fail


@pytest.fixture(autouse=True)
def _forget() -> None:
    failures.clear()
    memory.clear()


def flaky() -> int:
    if failures and failures[-1]:
        failures[-1] -= 1
        raise OSError("not this time")
    return 7


async def explained(world: World, **options: Any) -> Explanation:
    return await explain(world.disk, world.classes, world.limits, **options)


async def assert_sound(world: World, **options: Any) -> Explanation:
    report = await explained(world, **options)
    assert report.ok, str(report)
    assert not report.unjudged, str(report)
    assert report.invocations
    return report


async def the_finding(world: World) -> str:
    report = await explained(world)
    assert len(report.findings) == 1, str(report)
    return str(report.findings[0])


class Wallet(VirtualObject):
    cents: int = 0
    notes: list[str] = []

    @handler
    async def put(self, cents: int) -> int:
        self.cents += cents
        self.notes.append(str(cents))
        return self.cents

    @handler
    async def refuse(self, cents: int) -> None:
        self.cents += cents
        raise TerminalError("refused", code=418)

    @handler(atomic=True)
    async def all_or_nothing(self, ctx: Context, fail: bool) -> int:
        self.cents += 1
        await ctx.run(flaky)
        self.cents += 1
        if fail:
            raise TerminalError("nothing")
        return self.cents

    @handler
    async def step(self, ctx: Context) -> int:
        self.cents += 1
        self.cents += await ctx.run(flaky)
        await ctx.sleep(1)
        self.notes.append("slept")
        return self.cents

    @handler
    async def chance(self, ctx: Context) -> float:
        self.notes.append(f"{ctx.random.random()} {ctx.now()} {ctx.uuid()} {ctx.invocation_id}")
        return ctx.random.random()

    @handler
    async def ask(self, ctx: Context) -> str:
        self.notes.append("asks")
        answer = await ctx.awakeable(str)
        self.notes.append(answer)
        return answer

    @handler
    async def pay(self, ctx: Context, to: str) -> int:
        self.cents -= 1
        got = await ctx.object(Wallet, to).put(1)
        ctx.object(Wallet, "log").put.send(got)
        ctx.object(Wallet, "late").put.options(delay=60).send(1)
        ctx.object(Wallet, "once").put.options(idempotency_key="k").send(1)
        return await ctx.object(Wallet, "once").put.options(idempotency_key="k2")(1)

    @handler
    async def there(self, ctx: Context, to: str) -> int:
        self.cents += 1
        return await ctx.object(Wallet, to).back(ctx.key)

    @handler
    async def back(self, ctx: Context, to: str) -> int:
        self.cents += 1
        return await ctx.object(Wallet, to).put(1)

    @handler
    async def branches(self, ctx: Context) -> int:
        async def one(key: str) -> int:
            got = await ctx.object(Wallet, key).put(1)
            await ctx.sleep(1)
            return got + await ctx.run(flaky)

        self.cents += sum(await asyncio.gather(one("b1"), one("b2")))
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one("b3")), group.create_task(one("b4"))]
        return sum(task.result() for task in tasks)

    @shared
    async def balance(self) -> int:
        return self.cents

    @shared
    async def slow_balance(self, ctx: Context) -> int:
        await ctx.sleep(1)
        return self.cents

    @shared
    async def wrong(self) -> None:
        self.notes.append("not allowed")


class Teller(Service):
    @handler
    async def total(self, ctx: Context, keys: list[str]) -> int:
        return sum([await ctx.object(Wallet, key).balance() for key in keys])


class Signup(Workflow):
    status: str = "new"

    @handler
    async def run(self, ctx: Context, email: str) -> str:
        await ctx.run(flaky)
        self.status = "waiting"
        self.status = await ctx.promise("clicked", str)
        return f"{email} {self.status}"

    @shared
    async def click(self, ctx: Context, value: str) -> str:
        await ctx.promise("clicked", str).resolve(value)
        return self.status

    @shared
    async def look(self, ctx: Context) -> str:
        return f"{self.status} {await ctx.promise('clicked', str).peek()}"


async def ended(world: World, *handles: InvocationHandle[Any]) -> list[Any]:
    """Their outcomes, while time passes."""
    waiting = asyncio.gather(*(world.outcome(handle) for handle in handles))
    while not waiting.done():
        await world.pass_time(1)
    return await waiting


# --- sound classes ------------------------------------------------------------------------------------------------------------


async def test_calls_of_one_object_are_explained_in_their_order() -> None:
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        await asyncio.gather(*(wallet.put(cents) for cents in range(20)))
        with contextlib.suppress(TerminalError):
            await wallet.refuse(100)
        await wallet.put(1)
        report = await assert_sound(world)
        assert report.invocations == 22
        (position,) = {known.position for known in report.known.values()}
        assert report.known["Wallet", "w"].texts["cents"] == "291"
        assert position == 22
        assert str(report) == "22 invocations executed again; 0 findings."


@pytest.mark.may_log("failed, next in")
@pytest.mark.parametrize("times", [0, 2])
async def test_steps_sleeps_and_retries_are_explained(times: int) -> None:
    failures.append(times)
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        await ended(world, await wallet.step.send(), await wallet.chance.send(), await wallet.put.send(1))
        await assert_sound(world)


@pytest.mark.parametrize("fail", [False, True])
async def test_an_atomic_handler_leaves_all_or_nothing(fail: bool) -> None:
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        await ended(world, await wallet.put.send(1), await wallet.all_or_nothing.send(fail), await wallet.put.send(1))
        await assert_sound(world)


async def test_calls_sends_delays_and_keyed_messages_are_explained() -> None:
    async with World(Wallet, Teller) as world:
        a, teller = world.app.object(Wallet, "a"), world.app.service(Teller)
        await ended(world, await a.pay.send("b"), await a.pay.send("c"), await teller.total.send(["a", "b", "c"]))
        await a.put.options(idempotency_key="x").send(1)
        assert await a.put.options(idempotency_key="x")(1) == -1
        await assert_sound(world)
        await world.pass_time(60)
        report = await assert_sound(world)
        assert ("Wallet", "late") in report.known


async def test_handlers_with_tasks_are_explained() -> None:
    async with World(Wallet) as world:
        await ended(world, await world.app.object(Wallet, "w").branches.send())
        await assert_sound(world)


async def test_a_refused_deadlock_is_a_fact_and_its_passing_on_an_answer() -> None:
    async with World(Wallet) as world:
        outcomes = await ended(world, await world.app.object(Wallet, "a").there.send("b"))
        assert [error.error for error in outcomes] == ["deadlock"]
        await world.app.object(Wallet, "a").put(1)
        await world.app.object(Wallet, "b").put(1)
        await assert_sound(world)


@pytest.mark.parametrize("operation", ["cancel", "kill", "pause"])
@pytest.mark.may_log("is paused", "was paused")
async def test_invocations_that_operators_end_or_stop_are_facts(operation: str) -> None:
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        first, second = await wallet.ask.send(), await wallet.put.send(1)
        await world.settle()
        await getattr(world.app, operation)(second.id)
        await getattr(world.app, operation)(first.id)
        await world.settle()
        await assert_sound(world)
        if operation != "pause":
            await wallet.put(2)
            await assert_sound(world)


async def test_an_open_invocation_is_executed_to_where_it_waits() -> None:
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        await wallet.put(1)
        await wallet.ask.send()
        await wallet.put.send(2)
        await world.settle()
        report = await assert_sound(world)
        assert report.known["Wallet", "w"].texts["notes"] == '["1"]'
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "yes")
        await world.settle()
        await assert_sound(world, known=report.known)
        await assert_sound(world)


async def test_readers_see_any_state_of_their_time() -> None:
    async with World(Wallet, Teller) as world:
        wallet = world.app.object(Wallet, "w")
        slow = [await wallet.slow_balance.send()]
        for cents in range(5):
            await wallet.put(cents)
            slow.append(await wallet.slow_balance.send())
            await world.app.service(Teller).total(["w"])
        slow.append(await wallet.step.send())
        await world.settle()
        slow.append(await wallet.balance.send())
        await ended(world, *slow)
        with contextlib.suppress(TerminalError):
            await wallet.wrong.options(idempotency_key="kept")()
        await assert_sound(world)


async def test_workflows_and_their_promises_are_explained() -> None:
    async with World(Signup) as world:
        signup = world.app.object(Signup, "s")
        looked = [await signup.look.send()]
        run = await signup.run.send("a@b.c")
        looked.append(await signup.look.send())
        await world.settle()
        looked += [await signup.look.send(), await signup.click.send("yes"), await signup.look.send()]
        await ended(world, run, *looked)
        await assert_sound(world)
        again = await world.app.restart(run.id)
        await signup.click("no")
        await ended(world, again)
        await assert_sound(world)
        with contextlib.suppress(TerminalError):
            await signup.run("x@y.z")
        await assert_sound(world)


@pytest.mark.parametrize("keep", range(8))
async def test_a_restart_that_keeps_a_part_of_the_journal_is_explained(keep: int) -> None:
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        await wallet.put(5)
        step = await wallet.step.send()
        await ended(world, step)
        again = await world.app.restart(step.id, keep=keep)
        await ended(world, again)
        await ended(world, await world.app.restart(again.id, keep=min(keep, 2)))
        await wallet.put(1)
        await assert_sound(world)


@pytest.mark.expects_log("is skipped")
async def test_ticks_of_a_schedule_are_explained() -> None:
    class Daily(VirtualObject):
        days: int = 0

        @schedule("0 9 * * *", key="d", tz="UTC")
        @handler
        async def tick(self) -> int:
            self.days += 1
            return self.days

    async with World(Daily) as world:
        for days in (3, 1, 1):
            await world.pass_time(days * 86_400)
        report = await assert_sound(world)
        assert report.known["Daily", "d"].texts == {"days": "3"}


@pytest.mark.may_log("failed, next in", "failed for good")
async def test_used_up_retries_are_a_fact() -> None:
    failures.append(9)
    async with World(Wallet, retry=RetryPolicy(max_attempts=2, on_exhausted="fail")) as world:
        wallet = world.app.object(Wallet, "w")
        await ended(world, await wallet.step.send(), await wallet.all_or_nothing.send(False))
        await wallet.put(1)
        await assert_sound(world)


async def test_crashes_and_evictions_change_nothing() -> None:
    limits = Limits(suspend_after=0, max_waiting=1, max_objects=1, retention=None, idempotency_retention=None)
    async with World(Wallet, Teller, limits=limits) as world:
        for key in "abc":
            await world.app.object(Wallet, key).step.send()
            await world.app.object(Wallet, key).pay.send("d")
            await world.app.object(Wallet, key).branches.send()
        for _ in range(6):
            await world.restart()
            await assert_sound(world)
            await world.pass_time(1)
        await world.settle(20)
        await assert_sound(world)


# --- bugs of the runtime ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE invocation SET outcome = '7' WHERE handler = 'put' AND key = 'a'", "put(1) answers 7, as stored."),
        ("UPDATE invocation SET args = '[2]' WHERE handler = 'put' AND key = 'a'", "it answers 2."),
        (
            "UPDATE invocation SET outcome = '9' WHERE handler = 'balance'",
            "answers 1, as recorded; that invocation answers 9",
        ),
        ("UPDATE invocation SET outcome = '9' WHERE handler = 'slow_balance'", "slow_balance() answers 9, as stored."),
        ("UPDATE invocation SET status = 3, outcome = NULL WHERE handler = 'put' AND key = 'a'", "holds the object"),
        (
            "UPDATE invocation SET position = 99 WHERE handler = 'put' AND key = 'a'",
            "recorded was set state 'cents' with 2",
        ),
        ("UPDATE object_state SET value = '5' WHERE name = 'cents' AND key = 'a'", "The state 'cents' is 5 on disk"),
        ("DELETE FROM object_state WHERE name = 'notes' AND key = 'a'", "The state 'notes' is not set on disk"),
        (
            "UPDATE journal_entry SET value = '8' WHERE kind = 20 AND value = '7'",
            "recorded was set state 'cents' with 9",
        ),
        ("DELETE FROM journal_entry WHERE kind = 4", "its journal cannot be read"),
        (
            "UPDATE journal_entry SET name = 'other' WHERE kind = 3",
            "recorded was run 'other'; requested now was run 'flaky'",
        ),
        (
            'UPDATE journal_entry SET value = \'{"cents":"2"}\' WHERE kind = 11',
            "that the object did not have meanwhile",
        ),
    ],
)
async def test_records_that_the_runtime_should_not_have_written_are_found(change: str, said: str) -> None:
    async with World(Wallet, Teller) as world:
        wallet = world.app.object(Wallet, "a")
        await wallet.put(1)
        await world.app.service(Teller).total(["a"])
        await ended(world, await wallet.step.send(), await wallet.slow_balance.send())
        await assert_sound(world)
        world.disk.query(change)
        report = str(await explained(world))
        assert said in report


# --- what cannot be judged ------------------------------------------------------------------------------------------------------


async def test_state_that_was_changed_from_outside_is_not_judged() -> None:
    async with World(Wallet) as world:
        wallet = world.app.object(Wallet, "w")
        await wallet.put(1)
        known = (await explained(world)).known
        await world.app.patch_state(Wallet, "w", set={"cents": 5})
        assert "The state 'cents' is 5 on disk" in await the_finding(world)
        await wallet.put(1)
        report = await explained(world, changed=[("Wallet", "w")])
        assert report.ok
        assert str(report.unjudged[0]) == "Wallet/w: its state was changed from outside"
        before = known["Wallet", "w"]
        known["Wallet", "w"] = Known(before.position, {**before.texts, "cents": "5"})
        await assert_sound(world, known=known)


async def test_objects_whose_past_may_be_forgotten_are_not_judged() -> None:
    async with World(Wallet, limits=Limits(retention=60)) as world:
        wallet = world.app.object(Wallet, "w")
        await wallet.put(1)
        assert (await explained(world)).ok
        await world.pass_time(61)
        await wallet.put(1)
        report = await explained(world)
        assert (report.ok, report.invocations) == (True, 0)
        assert "may be forgotten" in str(report.unjudged[0])


async def test_readers_of_a_purged_workflow_are_not_judged() -> None:
    async with World(Signup) as world:
        signup = world.app.object(Signup, "s")
        run = await signup.run.send("a@b.c")
        await world.settle()
        await signup.click("yes")
        await ended(world, run)
        await world.app.purge(run.id)
        report = await explained(world)
        assert report.ok
        assert "may have seen a state that is not known any more" in str(report.unjudged[0])


async def test_a_class_that_is_not_given_is_not_judged() -> None:
    async with World(Wallet, Teller) as world:
        await world.app.object(Wallet, "w").put(1)
        report = await explain(world.disk, [Teller], world.limits)
        assert str(report) == (
            "0 invocations executed again; 0 findings.\n"
            "  not judged: Wallet: the class is not among those given; invocations: 1"
        )


def order_class(version: int) -> type[VirtualObject]:
    """A class of two versions that answer differently."""
    if version == 1:

        class Order(VirtualObject, name="Order"):
            total: int = 0

            @handler
            async def add(self, ctx: Context, euros: int) -> int:
                self.total += euros
                return self.total

        return Order

    class Order2(VirtualObject, name="Order", version=2):
        cents: int = 0

        @migration(from_version=1)
        @staticmethod
        def to_cents(state: dict[str, Any]) -> dict[str, Any]:
            return {"cents": state["total"] * 100}

        @handler
        async def add(self, ctx: Context, euros: int) -> int:
            self.cents += euros * 100
            ctx.now()
            return self.cents

    return Order2


async def test_answers_of_an_older_version_are_not_judged() -> None:
    async with World(order_class(1)) as world:
        call = world.app.handler("Order", "o", "add")
        await call(1)
        await call(2)
        known = (await assert_sound(world)).known
        world.classes = (order_class(2),)
        await world.restart()
        call = world.app.handler("Order", "o", "add")
        assert [await call(1), await call(1)] == [400, 500]
        report = await explained(world)
        assert report.ok
        assert "an older version of the class may have executed add" in str(report.unjudged[0])
        await assert_sound(world, known=known)


# --- bugs of users ----------------------------------------------------------------------------------------------------------

memory: list[int] = []


class Careless(VirtualObject):
    items: list[str] = []
    value: float = 0.0

    @handler
    async def in_a_step(self, ctx: Context) -> int:
        await ctx.run(lambda: self.items.append("paid"))
        return len(self.items)

    @handler
    async def in_a_step_by_name(self, ctx: Context) -> float:
        def pay() -> None:
            vars(self)["value"] = 1.0

        await ctx.run(pay)
        return 1.0

    @handler
    async def remembers(self) -> int:
        memory.append(1)
        return len(memory)

    @handler
    async def asks_once(self, ctx: Context) -> int:
        if not memory:
            memory.append(1)
            return await ctx.run(flaky)
        return 0

    @handler
    async def clock(self) -> None:
        self.value = time.time()

    @handler
    async def chance(self) -> None:
        self.value = random.random()

    @shared
    async def reads_the_clock(self) -> int:
        return time.perf_counter_ns()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("in_a_step", "If the function of a step assigns 'items', a replay does not repeat it"),
        ("in_a_step_by_name", "If the function of a step assigns 'value', a replay does not repeat it"),
        ("remembers", "remembers() answers 1, as stored. Executed again"),
        ("asks_once", "the handler has ended without requesting it"),
        ("clock", "The state 'value' is "),
        ("chance", "The state 'value' is "),
        ("reads_the_clock", "Its code gives the stored answer in the state it has seen"),
    ],
)
async def test_code_that_depends_on_anything_else_is_found(name: str, said: str) -> None:
    async with World(Careless) as world:
        handle = await world.app.handler("Careless", "c", name).send()
        await ended(world, handle)
        finding = await the_finding(world)
        assert said in finding
        assert name in finding
        assert handle.id in finding


async def test_a_handler_that_waits_no_more_is_found() -> None:
    class Sleepy(VirtualObject):
        @handler
        async def wait(self, ctx: Context) -> None:
            if not memory:
                await ctx.sleep(9)
            await ctx.awakeable(str)

    async with World(Sleepy) as world:
        await world.app.object(Sleepy, "s").wait.send()
        await world.settle()
        await assert_sound(world)
        memory.append(1)
        assert "recorded was sleep 9 s; requested now was awakeable" in await the_finding(world)
