"""The fixture `world`: a machine in memory, clients that outlive processes, and time that jumps."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from actors import (
    Limits,
    RetryPolicy,
    TerminalError,
)
from actors.errors import BadArguments, DefinitionError, NotReady, UnknownHandler, UnknownService
from actors.testing import MisusedWorld, World, serves
from actors.testing.choices import Choices
from tests.worlds.shop import FINALLY, HOUR, Clock, Counter, Mailer, Order, Signup, mail

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


# --- looking on ----------------------------------------------------------------------------------------------------


async def test_look_decodes_what_is_durable_and_nothing_else(world: World) -> None:
    await world.serve(Order)
    assert world.look(Order, "o").items == [] and world.look(Order, "o").status == "new"
    await world.object(Order, "o").checkout.send(1.0)
    await world.awakeable()
    assert world.look(Order, "o").status == "waiting"


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


async def test_callers_of_a_dead_process_ask_the_next_one_in_their_order(world: World) -> None:
    await world.serve(Counter)
    names = [f"c{number}" for number in range(30)]
    calls = [world.handler("Counter", name, "add").options(idempotency_key="k")() for name in names]
    await asyncio.sleep(0)  # they wait, and none of them is on disk
    assert world.query("SELECT 1 FROM invocation") == []
    await world.crash()
    assert await asyncio.gather(*calls) == [1] * 30
    assert [key for (key,) in world.query("SELECT key FROM invocation ORDER BY seq")] == names
