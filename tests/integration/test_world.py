"""The fixture `world`: a machine in memory, clients that outlive processes, time that jumps, and witnesses."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
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
    schedule,
    shared,
)
from actors.errors import BadArguments, DefinitionError, NotReady, UnknownHandler, UnknownService
from actors.testing import MisusedWorld, NoNetwork, Stuck, World, WorldFailed, serves
from actors.testing.choices import Choices

HOUR = 3600.0


def charge(who: str, cents: int) -> str:
    raise AssertionError("the real bank")


async def mail(to: str) -> str:
    raise AssertionError("a real mail")


FINALLY: list[str] = []


def counted(numbers: list[int], number: int) -> str:
    numbers.append(number)
    return "receipt"


class Order(VirtualObject):
    items: list[str] = []
    status: str = "new"

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def checkout(self, ctx: Context, amount: float) -> str:
        approval = ctx.awakeable(str)
        self.status = "waiting"
        try:
            self.status = await approval
        finally:
            FINALLY.append(ctx.key)
        return self.status

    @handler
    async def pay(self, ctx: Context, cents: int) -> str:
        receipt = await ctx.run(charge, ctx.key, cents)
        await ctx.run(mail, ctx.key)
        return receipt

    @handler
    async def in_a_month(self, ctx: Context) -> str:
        await ctx.sleep(timedelta(days=30))
        return "done"

    @handler
    async def breaks(self) -> None:
        raise OSError("not today")

    @handler
    async def refuses(self) -> None:
        raise TerminalError("no such book", code=404)

    @handler
    async def asks(self, ctx: Context, other: str) -> str:
        return await ctx.object(Order, other).checkout(1.0)

    @handler
    async def connects(self) -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    @shared
    async def peek(self) -> str:
        return self.status


class Clock(VirtualObject):
    ticks: int = 0

    @schedule("0 3 * * *", key="daily")
    @handler
    async def tick(self) -> None:
        self.ticks += 1


class Mailer(Service):
    @handler
    async def deliver(self, ctx: Context, to: str) -> str:
        return await ctx.run(mail, to)


class Signup(Workflow):
    @handler
    async def run(self, ctx: Context, email: str) -> str:
        return await ctx.promise("confirmed", str)

    @shared
    async def confirm(self, ctx: Context, text: str) -> None:
        await ctx.promise("confirmed", str).resolve(text)


# --- serving, crashing, deploying -----------------------------------------------------------------------------------------------


async def test_an_order_survives_a_crash_while_it_waits(world: World) -> None:
    await world.serve(Order)
    order = world.object(Order, "o1")
    assert await order.add("book") == 1
    sent = await order.checkout.send(9.90)
    approval = await world.awakeable()
    await world.crash()
    await approval.resolve("approved")
    assert await sent.result() == "approved"
    assert world.look(Order, "o1").items == ["book"]
    assert approval.service == "Order" and approval.key == "o1" and approval.handler == "checkout"


@serves(Order)
async def test_what_the_mark_names_is_served_at_the_beginning(world: World) -> None:
    assert await world.object(Order, "o1").peek() == "new"


@pytest.mark.parametrize(("end", "ran"), [(World.crash, []), (World.restart, ["o1"])])
async def test_a_crash_runs_no_finally_block_and_an_end_does(
    world: World, end: Callable[[World], Any], ran: list[str]
) -> None:
    await world.serve(Order)
    FINALLY.clear()
    await world.object(Order, "o1").checkout.send(1.0)
    await world.awakeable()
    await end(world)
    await world.settle()
    assert ran == FINALLY


async def test_calls_sends_and_handles_survive_crashes(world: World) -> None:
    await world.serve(Order)
    call = world.object(Order, "o1").checkout(1.0)
    sent = world.object(Order, "o2").checkout.send(1.0)
    keyed = world.object(Order, "o3").checkout.options(idempotency_key="k").send(1.0)
    await world.crash()
    for _ in range(3):
        approval = await world.awakeable()
        await world.crash()
        await approval.resolve(approval.key)
    assert [await call, await sent.result(), await keyed.result(), await sent.output()] == ["o1", "o2", "o3", "o2"]
    assert await call == "o1" and re.fullmatch(r"inv_1[\w-]+", (await sent).id)
    again = await world.object(Order, "o3").checkout.options(idempotency_key="k").send(1.0)
    assert again.id == keyed.id and again.previously_accepted


async def test_a_handle_without_an_outcome_says_so_and_can_be_cancelled(world: World) -> None:
    await world.serve(Order)
    sent = await world.object(Order, "o1").checkout.send(1.0)
    await world.awakeable()
    with pytest.raises(NotReady):
        await sent.output()
    await world.crash()
    await sent.cancel()
    with pytest.raises(TerminalError):
        await sent.result()


class Counter(VirtualObject):
    n: int = 0

    @handler
    async def add(self) -> int:
        self.n += 1
        return self.n


@pytest.mark.parametrize(("clients", "counted"), [("careful", 1), ("careless", 2)])
def test_a_careful_client_attaches_and_a_careless_one_repeats(clients: Any, counted: int) -> None:
    world = World(Choices.of("commit 1: killed after"))
    try:

        async def body() -> None:
            await world.serve(Counter, clients=clients)
            assert await world.object(Counter, "c").add() == counted

        world.run(body())
        assert world.look(Counter, "c").n == counted
    finally:
        world.close()


def test_a_lost_request_is_made_again() -> None:
    world = World(Choices.of("commit 1: killed before"))
    try:

        async def body() -> None:
            await world.serve(Counter)
            assert await world.object(Counter, "c").add() == 1

        world.run(body())
        world.finish()
    finally:
        world.close()


def test_a_process_killed_as_its_start_ends_is_not_up() -> None:
    world = World(Choices.of("request takes ms=3; commit 2: killed before"))
    try:

        async def body() -> None:
            await world.serve(Order)
            sent = await world.object(Order, "o1").in_a_month.send()
            await world.crash()
            assert await sent.result() == "done"

        world.run(body())
        world.finish()
    finally:
        world.close()


async def test_serving_again_deploys_new_classes_on_the_same_disk(world: World) -> None:
    await world.serve(Order)
    sent = await world.object(Order, "o1").in_a_month.send()
    await world.serve(Order, Mailer)
    world.replace(mail, lambda to: f"to {to}")
    assert await world.service(Mailer).deliver("ada") == "to ada"
    assert await sent.result() == "done"


async def test_services_workflows_and_names_work_as_in_an_app(world: World) -> None:
    await world.serve(Signup, Mailer, Order)
    run = await world.object(Signup, "ada").run.send("ada@b")
    await world.crash()
    await world.object(Signup, "ada").confirm("yes")
    assert await run.result() == "yes"
    assert await world.call("Order", "o", "add", "pen") == 1
    later = await world.send("Order", "o", "add", "ink", delay=timedelta(days=2))
    assert await later.result() == 2
    with pytest.raises(UnknownHandler):
        await world.call("Order", "o", "ad", "pen")


async def test_what_is_wrong_with_a_request_is_said_at_once(world: World) -> None:
    await world.serve(Order)
    with pytest.raises(BadArguments):
        world.object(Order, "o").add(3)  # type: ignore[arg-type]
    with pytest.raises(UnknownService):
        world.object(Clock, "c")
    with pytest.raises(TerminalError, match="no such book"):
        await world.object(Order, "o").refuses()


def test_a_request_before_serve_says_what_to_write() -> None:
    world = World()
    try:
        with pytest.raises(MisusedWorld, match=r"await world\.serve\(Order\)"):
            world.object(Order, "o")
        for ask in (world.crash(), world.restart(), world.awakeable()):
            with pytest.raises(MisusedWorld, match="serves nothing yet"):
                world.run(ask)
    finally:
        world.close()


@pytest.mark.parametrize("seam", ["clock", "executor", "poll", "random", "storage", "store"])
async def test_the_seams_of_an_app_are_the_worlds_own(world: World, seam: str) -> None:
    with pytest.raises(DefinitionError, match="the world's own"):
        await world.serve(Order, **{seam: None})  # type: ignore[arg-type]


async def test_a_mistake_in_a_deploy_leaves_what_runs(world: World) -> None:
    await world.serve(Order)
    for mistake in ((), (Order, Order)):
        with pytest.raises(DefinitionError):
            await world.serve(*mistake)
    with pytest.raises(DefinitionError, match="misspelt"):
        await world.serve(Order, misspelt=1)
    for bad in ({"memory": "some"}, {"clients": "none"}):
        with pytest.raises(BadArguments):
            await world.serve(Order, **bad)  # type: ignore[arg-type]
    assert await world.object(Order, "o").peek() == "new"


# --- time -----------------------------------------------------------------------------------------------------------------------


async def test_a_month_is_nothing(world: World) -> None:
    await world.serve(Order)
    began = world.now
    assert await world.object(Order, "r").in_a_month() == "done"
    assert world.now - began == timedelta(days=30)


async def test_time_passes_to_the_millisecond(world: World) -> None:
    await world.serve(Order)
    sent = await world.object(Order, "r").in_a_month.send()
    await world.pass_time(days=29, hours=23, minutes=59, seconds=59.999)
    with pytest.raises(NotReady):
        await sent.output()
    await world.pass_time(0.001)
    assert await sent.output() == "done"


async def test_a_schedule_runs_a_year_and_survives_downtime(world: World) -> None:
    await world.serve(Clock)
    await world.pass_time(days=360)
    await world.crash(downtime=5 * 86_400)
    await world.settle()
    assert 361 <= world.look(Clock, "daily").ticks <= 365


@pytest.mark.may_log("not today")
async def test_settle_lets_pauses_before_retries_pass_and_sleeps_not(world: World) -> None:
    await world.serve(Order, retry=RetryPolicy(initial_interval=10, max_attempts=3))
    world.expect_paused(Order, "o1")
    broken = await world.object(Order, "o1").breaks.send()
    asleep = await world.object(Order, "o2").in_a_month.send()
    began = world.now
    await world.settle()
    assert timedelta(0) < world.now - began < timedelta(hours=1)
    assert [(await world.app.describe(sent.id)).status for sent in (broken, asleep)] == ["paused", "blocked"]


@pytest.mark.parametrize("seconds", [-1, float("nan")])
async def test_time_that_is_not_a_time_is_refused(world: World, seconds: float) -> None:
    with pytest.raises(BadArguments):
        await world.pass_time(seconds)


async def test_until_waits_for_commits_and_not_for_time(world: World) -> None:
    await world.serve(Order)
    sent = await world.object(Order, "o").in_a_month.send()
    await world.until(lambda: bool(world.query("SELECT 1 FROM invocations WHERE status = 'succeeded'")))
    assert await sent.output() == "done"


# --- awakeables -------------------------------------------------------------------------------------------------------------------


async def test_each_awakeable_is_handed_out_once_then_the_oldest_again(world: World) -> None:
    await world.serve(Order)
    for key in "abc":
        await world.object(Order, key).checkout.send(1.0)
    assert [(await world.awakeable()).key for _ in range(4)] == ["a", "b", "c", "a"]
    assert (await world.awakeable(Order, "c")).key == "c"
    await (await world.awakeable(key="b")).reject("no")
    assert {(await world.awakeable()).key for _ in range(4)} == {"a"}


def test_an_awakeable_made_while_awakeables_are_read_is_found() -> None:
    world = World(Choices.of("read takes ms; read takes ms #2"))
    try:

        async def body() -> None:
            await world.serve(Order)
            sent = await world.object(Order, "o1").checkout.send(9.90)
            await (await world.awakeable()).resolve("approved")
            assert await sent.result() == "approved"

        world.run(body())
        world.finish()
    finally:
        world.close()


async def test_an_awakeable_is_waited_for_until_it_is_there(world: World) -> None:
    await world.serve(Order)
    waits = asyncio.ensure_future(world.awakeable(Order, "late"))
    await world.object(Order, "late").checkout.options(delay=HOUR).send(1.0)
    assert (await waits).key == "late"


# --- steps ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.expects_log("bank down")
@pytest.mark.parametrize("step", [charge, "charge"])
async def test_a_charge_that_fails_twice(world: World, step: Any) -> None:
    await world.serve(Order)
    charged: list[int] = []

    def fake(who: str, cents: int) -> str:
        charged.append(cents)
        return "receipt"

    world.replace(charge, fake)
    world.replace("mail", lambda to: "sent")
    world.fail(step, times=2, error=OSError("bank down"))
    assert await world.object(Order, "i1").pay(500) == "receipt"
    assert charged == [500] and world.executions(charge) == world.executions("charge") == 3
    assert world.executions(mail) == 1


@pytest.mark.expects_log("charge failed, as world.fail says")
async def test_a_step_that_fails_after_its_effect_has_it_twice(world: World) -> None:
    await world.serve(Order)
    charged: list[int] = []
    world.replace(charge, lambda who, cents: counted(charged, cents))
    world.replace(mail, lambda to: "sent")
    world.fail(charge, when="after")
    await world.object(Order, "i1").pay(500)
    assert charged == [500, 500]


@pytest.mark.may_log("Write the replacement")
async def test_a_replacement_may_be_async_only_if_the_step_is(world: World) -> None:
    async def fake(who: str, cents: int) -> str:
        return "receipt"

    await world.serve(Order, retry=RetryPolicy(max_attempts=1))
    world.replace(charge, fake)
    world.expect_paused()
    world.unchecked("steps")
    await world.object(Order, "o").pay.send(1)
    await world.settle()
    assert "Write the replacement without async" in world.query("SELECT reason FROM invocations")[0][0]


async def test_a_replacement_of_another_signature_is_named(world: World) -> None:
    await world.serve(Order)
    world.replace(charge, lambda: "receipt")
    with pytest.raises(BadArguments, match="The replacement of the step charge does not take its arguments"):
        await world.object(Order, "o").pay(1)


async def test_a_step_that_has_run_cannot_be_replaced(world: World) -> None:
    await world.serve(Mailer)
    world.replace(mail, lambda to: "sent")
    await world.service(Mailer).deliver("ada")
    with pytest.raises(MisusedWorld, match="has run already"):
        world.replace(mail, lambda to: "again")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda world: world.replace(None, print),
        lambda world: world.replace(charge, "fake"),
        lambda world: world.fail(charge, times=0),
        lambda world: world.fail(charge, times=True),
        lambda world: world.fail(charge, when="during"),
        lambda world: world.executions(""),
        lambda world: world.unchecked("everything"),
        lambda world: world.choose("a;b"),
        lambda world: world.choose("a", []),
    ],
)
async def test_arguments_that_are_not_valid_are_refused(world: World, mistake: Callable[[World], Any]) -> None:
    with pytest.raises(BadArguments):
        mistake(world)


# --- what would hang ---------------------------------------------------------------------------------------------------------------


async def waits_for_an_awakeable(world: World) -> None:
    await world.object(Order, "o1").checkout(1.0)


async def waits_for_its_own_future(world: World) -> None:
    await asyncio.get_running_loop().create_future()


async def waits_for_a_paused_order(world: World) -> None:
    await world.object(Order, "o1").breaks()


async def waits_for_a_promise(world: World) -> None:
    await world.object(Signup, "ada").run("a@b")


async def waits_in_the_mailbox(world: World) -> None:
    world.object(Order, "o1").checkout.send(1.0)
    await world.object(Order, "o1").add("book")


async def waits_for_a_call_of_its_order(world: World) -> None:
    await world.object(Order, "o1").asks("o2")


async def waits_for_another_awakeable(world: World) -> None:
    await world.awakeable()


async def waits_for_a_predicate(world: World) -> None:
    await world.until(lambda: False)


async def polls(world: World) -> None:
    while not world.look(Order, "o1").items:  # noqa: ASYNC110  # that is what it is about
        await asyncio.sleep(0.05)


@pytest.mark.may_log("not today")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (waits_for_an_awakeable, r"Order/o1/checkout waits for an awakeable \(str\), at test_world\.py:\d+\."),
        (waits_for_its_own_future, r"No invocation is open: it waits for something of its own\."),
        (waits_for_a_paused_order, r"Order/o1/breaks is paused: OSError: not today"),
        (waits_for_a_promise, r"Signup/ada/run waits for the promise 'confirmed', at test_world\.py:\d+\."),
        (
            waits_in_the_mailbox,
            r"Order/o1/checkout waits for an awakeable.*\n.*Order/o1/add waits in the mailbox of Order/o1\.",
        ),
        (
            waits_for_a_call_of_its_order,
            r"Order/o1/asks waits for Order/o2/checkout.*\n.*Order/o2/checkout waits for an awakeable",
        ),
        (waits_for_another_awakeable, r"No invocation is open"),
        (waits_for_a_predicate, r"No invocation is open"),
        (polls, r"something polls\. The test waits at test_world\.py:\d+\. Wait for what happens instead"),
    ],
)
def test_a_test_that_would_hang_fails_and_says_who_waits(body: Callable[[World], Any], said: str) -> None:
    world = World()
    try:
        world.run(world.serve(Order, Signup))
        with pytest.raises(Stuck, match=said) as stuck:
            world.run(body(world))
        line = body.__code__.co_firstlineno
        where = re.findall(r"test_world\.py:(\d+)", str(stuck.value))[0]
        assert line < int(where) <= line + 2
    finally:
        world.close()


def test_a_test_that_waits_beside_a_schedule_fails_too() -> None:
    world = World()
    try:
        world.run(world.serve(Clock, Order))
        with pytest.raises(Stuck, match="Nothing but ticks of schedules"):
            world.run(waits_for_an_awakeable(world))
    finally:
        world.close()


@pytest.mark.parametrize("swallows", [asyncio.CancelledError, BaseException])
def test_a_body_that_swallows_everything_still_ends(swallows: type[BaseException]) -> None:
    world = World()

    async def body() -> None:
        for _ in range(200_000):
            with suppress(swallows):
                await asyncio.sleep(1)

    try:
        with pytest.raises(Stuck, match="polls"):
            world.run(body())
    finally:
        world.close()


# --- witnesses, and what is looked at -----------------------------------------------------------------------------------------------


def finished(body: Callable[[World], Any]) -> str:
    """What the witnesses say at the end of a test."""
    world = World()
    try:
        world.run(body(world))
        with pytest.raises(WorldFailed) as failed:
            world.finish()
        return str(failed.value)
    finally:
        world.close()


@pytest.mark.may_log("not today")
def test_an_invocation_that_is_paused_fails_the_test_at_its_end() -> None:
    async def body(world: World) -> None:
        await world.serve(Order)
        world.expect_paused(Order, "o2")
        await world.object(Order, "o1").breaks.send()
        await world.object(Order, "o2").breaks.send()

    said = finished(body)
    assert "Order/o1/breaks is paused: OSError: not today" in said and "Order/o2/breaks is paused" not in said
    assert "begins     Order/o1/breaks()" in said


def test_a_replacement_that_never_ran_fails_the_test() -> None:
    async def body(world: World) -> None:
        await world.serve(Order)
        world.replace(charge, lambda who, cents: "receipt")
        world.fail("mail", times=2)

    said = finished(body)
    assert "charge was replaced, and never ran" in said and "mail was to fail 2 more times, and ran 0 times" in said


def test_a_thread_that_calls_back_fails_the_test() -> None:
    async def body(world: World) -> None:
        await world.serve(Order)
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        thread = threading.Thread(target=lambda: arrived.get_loop().call_soon_threadsafe(arrived.set_result, None))
        thread.start()
        thread.join()
        await arrived

    assert "A thread has called back" in finished(body)


async def test_always_is_asked_after_each_commit(world: World) -> None:
    await world.serve(Counter)
    seen: list[int] = []
    world.always("it counts", lambda: counted(seen, world.look(Counter, "c").n))
    for _ in range(3):
        await world.object(Counter, "c").add()
    assert seen == [1, 2, 3]


def test_what_is_not_always_so_fails_the_test_where_it_waits() -> None:
    world = World()

    async def body() -> None:
        await world.serve(Counter)
        world.always("below three", lambda: world.look(Counter, "c").n < 3)
        while True:
            await world.object(Counter, "c").add()

    try:
        with pytest.raises(WorldFailed, match="Not always: below three"):
            world.run(body())
    finally:
        world.close()


async def test_look_decodes_what_is_durable_and_nothing_else(world: World) -> None:
    await world.serve(Order)
    assert world.look(Order, "o").items == [] and world.look(Order, "o").status == "new"
    await world.object(Order, "o").checkout.send(1.0)
    await world.awakeable()
    assert world.look(Order, "o").status == "waiting"


@pytest.mark.may_log("no network")
async def test_a_step_that_needs_the_network_says_what_to_do(world: World) -> None:
    await world.serve(Order, retry=RetryPolicy(max_attempts=1))
    world.expect_paused()
    await world.object(Order, "o").connects.send()
    await world.settle()
    assert NoNetwork.__name__ in world.query("SELECT reason FROM invocations")[0][0]


async def test_without_memory_each_wait_is_a_replay(world: World) -> None:
    await world.serve(Order, memory="none")
    sent = await world.object(Order, "o").checkout.send(1.0)
    await (await world.awakeable()).resolve("yes")
    assert await sent.result() == "yes"
    assert world.story().count("again, by replay") == 1


async def test_limits_and_watchers_of_the_user_are_kept(world: World) -> None:
    begun: list[str] = []

    class Watcher:
        def begins(self, invocation: Any, variables: Any) -> None:
            begun.append(invocation.address)

        def ended(self, invocation: Any) -> None: ...

        def step(self, invocation: Any, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
            return function

        def headers(self, caller: Any) -> None: ...

    await world.serve(Order, limits=Limits(max_payload=1000), watcher=Watcher(), memory="none")
    with pytest.raises(TerminalError):
        await world.object(Order, "o").add("x" * 2000)
    await world.object(Order, "o").peek()
    assert begun == ["Order/o/peek"]


async def test_a_client_over_http_sees_a_crash_as_a_broken_connection(world: World) -> None:
    await world.serve(Order)
    async with world.client() as client:
        sent = await client.object(Order, "o").checkout.send(1.0)
        await (await world.awakeable()).resolve("yes")
        waits = asyncio.ensure_future(sent.result())
        await world.crash()
        assert await waits == "yes"


async def test_the_story_has_a_line_for_each_event(world: World) -> None:
    await world.serve(Mailer)
    world.replace(mail, lambda to: "sent")
    await world.service(Mailer).deliver("ada")
    lines = [re.sub(r" +", " ", line).strip() for line in world.story().splitlines()]
    assert lines == [
        "0 ms process 1 is up",
        '0 ms begins Mailer/deliver("ada")',
        "0 ms commit 1 Mailer/deliver running; 1 run mail",
        "0 ms step Mailer/deliver: mail",
        '0 ms ends Mailer/deliver -> "sent"',
        '0 ms commit 2 Mailer/deliver succeeded: "sent"; 2 answer of 1 "sent"',
    ]


# --- two worlds, and tests that are not async -----------------------------------------------------------------------------------


def test_a_plain_function_may_use_a_world(world: World) -> None:
    world.run(world.serve(Order))

    async def add() -> int:
        return await world.object(Order, "o1").add("x")

    assert world.run(add()) == 1 and world.run(add()) == 2


async def test_run_is_refused_where_the_loop_runs(world: World) -> None:
    work = world.settle()
    with pytest.raises(MisusedWorld, match="await the coroutine"):
        world.run(work)
    work.close()


class TestInAClass:
    @serves(Order)
    @pytest.mark.parametrize("item", ["a", "b"])
    async def test_methods_with_parameters_have_a_world(self, world: World, item: str, tmp_path: Any) -> None:
        assert await world.object(Order, item).add(item) == 1


def test_two_runs_of_one_body_tell_the_same_story() -> None:
    def story(secret: bytes) -> str:
        world = World(secret=secret)
        try:
            world.run(test_calls_sends_and_handles_survive_crashes(world))
            return world.machine.story.digest()
        finally:
            world.close()

    assert story(b"s" * 32) == story(b"s" * 32)


async def slow_mail(to: str) -> str:
    await asyncio.sleep(HOUR)
    return "sent"


class Slow(VirtualObject):
    @handler
    async def work(self, ctx: Context) -> str:
        return await ctx.run(slow_mail, ctx.key)


@pytest.mark.parametrize("end", [World.crash, World.restart])
async def test_the_next_process_executes_the_step_that_was_cut_off(world: World, end: Callable[[World], Any]) -> None:
    await world.serve(Slow)
    sent = await world.object(Slow, "s").work.send()
    await world.until(lambda: world.executions(slow_mail) == 1)
    await end(world)
    assert await sent.result() == "sent" and world.executions(slow_mail) == 2


def test_worlds_share_nothing_not_even_a_step_that_was_cut_off() -> None:
    for _ in range(3):
        world = World()

        async def body(world: World = world) -> None:
            await world.serve(Slow)
            sent = await world.object(Slow, "s").work.send()
            await world.until(lambda: world.executions(slow_mail) == 1)
            await world.restart()
            assert await sent.result() == "sent"
            assert world.executions(slow_mail) == 2

        try:
            world.run(body())
            world.finish()
        finally:
            world.close()


async def test_what_is_called_on_a_dead_app_does_not_reach_the_disk(world: World) -> None:
    await world.serve(Counter)
    dead = world.app
    sent = dead.object(Counter, "c").add.send()
    await world.crash()
    abandoned = [
        asyncio.ensure_future(dead.describe(sent.id)),
        asyncio.ensure_future(_awaited(dead.object(Counter, "c").add())),
    ]
    await world.settle()
    assert world.query("SELECT count(*) FROM invocations") == [(0,)]
    assert not any(call.done() for call in abandoned)
    assert await world.object(Counter, "c").add() == 1
    for call in abandoned:
        call.cancel()


async def _awaited(call: Any) -> Any:
    return await call


def test_a_handler_that_reads_the_clock_fails_the_test_with_the_line() -> None:
    class Dated(VirtualObject):
        at: float = 0

        @handler
        async def open(self) -> None:
            self.at = time.time()

    async def body(world: World) -> None:
        await world.serve(Dated)
        await world.object(Dated, "d").open()

    said = finished(body)
    assert "Dated.open calls time.time() outside of a step, at test_world.py:" in said and "Use ctx.now()" in said
    assert "Dated/d/open" in said  # and the replay witness: its state is not what the code gives


def test_state_that_the_code_does_not_explain_fails_the_test() -> None:
    seen: list[int] = []

    class Remembers(VirtualObject):
        n: int = 0

        @handler
        async def visit(self) -> int:
            seen.append(1)
            self.n = len(seen)
            return self.n

    async def body(world: World) -> None:
        await world.serve(Remembers)
        await world.object(Remembers, "r").visit()

    assert "Remembers/r/visit" in finished(body)


async def test_a_witness_that_is_excused_is_not_asked(world: World) -> None:
    class Timed(VirtualObject):
        at: float = 0

        @handler
        async def open(self) -> None:
            self.at = time.time()

    world.unchecked("guard", "replay")
    await world.serve(Timed)
    await world.object(Timed, "t").open()


async def test_state_that_an_operator_has_set_is_no_finding(world: World) -> None:
    await world.serve(Counter)
    await world.object(Counter, "c").add()
    await world.app.patch_state(Counter, "c", set={"n": 7})
    assert await world.object(Counter, "c").add() == 8


async def test_what_ran_before_a_deployment_is_explained_by_its_own_classes(world: World) -> None:
    class Old(VirtualObject, name="Changing"):
        n: int = 0

        @handler
        async def add(self) -> int:
            self.n += 1
            return self.n

    class New(VirtualObject, name="Changing"):
        n: int = 0

        @handler
        async def add(self) -> int:
            self.n += 10
            return self.n

    await world.serve(Old)
    assert await world.object(Old, "c").add() == 1
    await world.serve(New)
    assert await world.object(New, "c").add() == 11
