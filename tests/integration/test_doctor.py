"""What the doctor says of each kind of cause, on a real app; and of files that should not be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import Context, RetryPolicy, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.doctor.causes import length
from actors.doctor.diagnosis import Diagnosis, Doctor
from actors.doctor.trouble import Examiner, Trouble
from actors.storage.sqlite.examination import Examination
from actors.testing.disk import InlineConnection
from tests.held_executor import HeldExecutor
from tests.world import World

ONCE = RetryPolicy(max_attempts=1)
TWICE = RetryPolicy(max_attempts=2, initial_interval=60)


def fails() -> None:
    raise ConnectionError("upstream refused")


class Order(VirtualObject):
    status: str = "new"

    @handler
    async def approve(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def add(self) -> int:
        return 1

    @handler
    async def rest(self, ctx: Context) -> None:
        await ctx.sleep(3600)

    @handler(retry=ONCE)
    async def charge(self, ctx: Context) -> None:
        await ctx.run(fails)

    @handler(retry=TWICE)
    async def try_twice(self, ctx: Context) -> None:
        await ctx.run(fails)

    @handler
    async def patient_step(self, ctx: Context) -> None:
        await ctx.step(retry=RetryPolicy(initial_interval=600)).run(fails)

    @handler
    async def ask_another(self, ctx: Context, key: str) -> str:
        return await ctx.object(Order, key).approve()

    @handler
    async def ask_two(self, ctx: Context) -> None:
        await asyncio.gather(ctx.sleep(60), ctx.object(Order, "deep").approve())

    @handler
    async def hang(self, ctx: Context) -> None:
        await ctx.run(int)
        await asyncio.Event().wait()


class Desk(Service):
    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Trip(Workflow):
    @handler
    async def go(self, ctx: Context) -> str:
        return await ctx.promise("paid", str)

    @shared
    async def pay(self, ctx: Context) -> None:
        await ctx.promise("paid", str).resolve("yes")


class Reader(Examination):
    """Reads the disk beside the process."""

    def __init__(self, world: World) -> None:
        super().__init__(":memory:")
        self._handle = InlineConnection(world.disk.connection)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(Order, Desk, Trip) as world:
        yield world


def doctor(world: World, *, running: bool = True) -> Doctor:
    return Doctor(Reader(world), world.app._running().ids, world.clock.now_ms(), running)


async def diagnosed(world: World, key: str, *, running: bool = True) -> Diagnosis:
    await world.settle(3)
    return await doctor(world, running=running).of_object("Order", key)


async def trouble(world: World, older_s: float = 0) -> Trouble:
    await world.settle(3)
    now = world.clock.now_ms()
    return await Examiner(Reader(world), doctor(world), now, int(older_s * 1000)).trouble()


def commands(found: Diagnosis) -> list[str]:
    return [" ".join(way.command[:2]) for way in found.cause.ways]


async def test_a_key_without_open_invocations_is_free(world: World) -> None:
    await world.app.object(Order, "o").add()
    found = await diagnosed(world, "o")
    assert (found.subject, found.cause.code, found.root) == ("Order/o", "free", None)


async def test_an_awakeable_is_named_with_what_waits_behind_it(world: World) -> None:
    sent = await world.app.object(Order, "o").approve.send()
    await world.settle()
    world.clock.advance(3600)
    for _ in range(3):
        await world.app.object(Order, "o").add.send()
    world.clock.advance(7260)
    found = await diagnosed(world, "o")
    assert found.cause.code == "awakeable" and found.cause.needs_a_person()
    assert "waits for an awakeable (str) since" in found.cause.text and "3 h 1 min ago" in found.cause.text
    assert found.cause.detail == (await world.app.awakeables())[0].id
    assert (found.behind, found.behind_since_ms) == (3, world.clock.now_ms() - 7_260_000)
    assert commands(found) == [
        "awakeables resolve",
        "awakeables reject",
        "invocations cancel",
        "invocations kill",
    ]
    await world.app.resolve_awakeable(found.cause.detail, "yes")
    assert await world.result(sent) == "yes"
    assert (await diagnosed(world, "o")).cause.code == "free"


async def test_a_chain_of_calls_leads_through_mailboxes_to_its_root(world: World) -> None:
    await world.app.object(Order, "deep").approve.send()
    await world.app.object(Order, "a").ask_another.send("deep")
    await world.app.object(Order, "b").ask_another.send("a")
    found = await diagnosed(world, "b")
    assert [f"{link.row.key} {link.row.handler} {link.text}" for link in found.chain] == [
        "b ask_another waits for its call of",
        "a approve waits in the mailbox of Order/a, behind",
        "a ask_another waits for its call of",
        "deep approve waits in the mailbox of Order/deep, behind",
    ]
    assert found.root is not None and found.root.key == "deep" and found.cause.code == "awakeable"
    deep = await diagnosed(world, "deep")
    assert deep.callers == () and deep.behind == 1  # its own sender does not wait


async def test_the_callers_of_a_holder_are_named(world: World) -> None:
    await world.app.object(Order, "a").ask_another.send("deep")
    found = await diagnosed(world, "deep")
    assert found.callers == ("Order/a/ask_another",)
    assert "its caller gets the failure" in found.cause.ways[-1].effect


async def test_of_several_waits_the_one_for_a_person_is_the_root(world: World) -> None:
    await world.app.object(Order, "o").ask_two.send()
    found = await diagnosed(world, "o")
    assert (found.cause.code, found.others) == ("awakeable", 1)
    await world.app.resolve_awakeable(found.cause.detail, "yes")
    assert (await diagnosed(world, "o")).cause.code == "sleep"


@pytest.mark.expects_log("is paused")
async def test_used_up_retries_are_told_with_their_last_error(world: World) -> None:
    await world.app.object(Order, "o").charge.send()
    found = await diagnosed(world, "o")
    assert found.cause.code == "retries_used_up" and found.cause.detail == "ConnectionError: upstream refused"
    assert "its attempt has failed" in found.cause.text
    assert commands(found) == ["invocations resume", "invocations cancel", "invocations kill"]


@pytest.mark.expects_log("failed, next in")
async def test_a_retry_is_told_with_the_time_of_the_next_attempt(world: World) -> None:
    await world.app.object(Order, "o").try_twice.send()
    found = await diagnosed(world, "o")
    assert found.cause.code == "backing_off" and not found.cause.needs_a_person()
    assert "has failed once" in found.cause.text and "is tried again in " in found.cause.text
    assert found.cause.detail == "ConnectionError: upstream refused"


@pytest.mark.expects_log("step fails failed 1 time")
async def test_a_failing_step_is_told_with_its_tries(world: World) -> None:
    await world.app.object(Order, "o").patient_step.send()
    found = await diagnosed(world, "o")
    assert found.cause.code == "step_failing" and "its step fails, which has failed once" in found.cause.text
    assert found.cause.detail == "ConnectionError: upstream refused"


async def test_a_person_who_paused_it_is_named(world: World) -> None:
    sent = await world.app.object(Order, "o").approve.send()
    await world.settle()
    await world.app.pause(sent.id)
    found = await diagnosed(world, "o")
    assert (found.cause.code, found.cause.detail) == ("held", "")
    assert commands(found)[0] == "invocations resume"


async def test_what_goes_on_by_itself_waits_for_an_app_when_none_runs(world: World) -> None:
    await world.app.object(Order, "s").rest.send()
    await world.app.object(Order, "o").approve.send()
    assert (await diagnosed(world, "s")).cause.code == "sleep"
    stopped = await diagnosed(world, "s", running=False)
    assert stopped.cause.code == "app_stopped" and stopped.cause.needs_a_person()
    assert (await diagnosed(world, "o", running=False)).cause.code == "awakeable"


async def test_code_that_awaits_what_is_not_durable_is_running(world: World) -> None:
    await world.app.object(Order, "o").hang.send()
    found = await diagnosed(world, "o")
    assert found.cause.code == "running" and "not durable" in found.cause.text


async def test_a_service_and_a_workflow_are_diagnosed_by_their_ids(world: World) -> None:
    desk = await world.app.service(Desk).wait.send()
    trip = await world.app.object(Trip, "t").go.send()
    later = await world.app.object(Order, "o").add.options(delay=60).send()
    await world.settle()
    ids, codes = world.app._running().ids, []
    for sent in (desk, trip, later):
        row = await Reader(world).invocation(ids.read_invocation(sent.id))
        assert row is not None
        found = await doctor(world).of_invocation(row)
        codes.append((found.subject, found.cause.code))
    assert codes == [("Desk/wait", "awakeable"), ("Trip/t/go", "promise"), ("Order/o/add", "scheduled")]


async def test_an_ended_invocation_is_free(world: World) -> None:
    sent = await world.app.object(Order, "o").add.send()
    await world.result(sent)
    row = await Reader(world).invocation(world.app._running().ids.read_invocation(sent.id))
    assert row is not None
    assert (await doctor(world).of_invocation(row)).cause.text == "It has succeeded."


@pytest.mark.expects_log("is paused")
async def test_code_that_no_longer_fits_is_told_with_both_commands() -> None:
    class Book(VirtualObject):
        @handler
        async def order(self, ctx: Context) -> None:
            await ctx.sleep(3600)

    async with World(Book) as world:
        await world.app.object(Book, "b").order.send()
        await world.settle()

        class Changed(VirtualObject, name="Book"):
            @handler
            async def order(self, ctx: Context) -> str:
                return await ctx.awakeable(str)

        world.classes = (Changed,)
        await world.restart()
        await world.pass_time(3601)
        await world.settle(3)
        found = await doctor(world).of_object("Book", "b")
        assert found.cause.code == "code_changed"
        assert "recorded was sleep" in found.cause.detail and "Handlers must" not in found.cause.detail
        assert commands(found) == ["", "invocations kill"]


@pytest.mark.expects_log("is paused")
async def test_a_class_that_is_not_served_is_told_as_the_app_says_it() -> None:
    class Gone(VirtualObject):
        @handler
        async def wait(self, ctx: Context) -> None:
            await ctx.sleep(1)

    async with World(Gone) as world:
        await world.app.object(Gone, "g").wait.send()
        await world.settle()
        world.classes = (Order,)
        await world.restart()
        await world.pass_time(2)
        await world.settle(3)
        found = await doctor(world).of_object("Gone", "g")
        assert found.cause.code == "cannot_go_on" and "'Gone'" in found.cause.detail


# --- what should not be ------------------------------------------------------------------------------------------------------


async def damaged(world: World, sql: str) -> Diagnosis:
    """The diagnosis after a lost wake-up, planted as it would stand in the file."""
    await world.settle(3)
    world.disk.connection.execute(sql)
    world.clock.advance(10)
    return await doctor(world).of_object("Order", "o")


async def test_blocked_without_a_wait_is_inconsistent(world: World) -> None:
    await world.app.object(Order, "o").approve.send()
    found = await damaged(world, "DELETE FROM journal_entry")
    assert found.cause.code == "inconsistent" and "waits for nothing" in found.cause.text


async def test_a_message_that_does_not_begin_is_inconsistent(world: World) -> None:
    await world.app.object(Order, "o").approve.send()
    found = await damaged(world, "UPDATE invocation SET status = 1")
    assert found.cause.code == "inconsistent" and "does not begin" in found.cause.text


async def test_a_call_whose_answer_did_not_come_is_inconsistent(world: World) -> None:
    await world.app.object(Order, "o").ask_another.send("deep")
    found = await damaged(world, "UPDATE invocation SET status = 6, outcome = '1', ended_ms = 1 WHERE key = 'deep'")
    assert found.cause.code == "inconsistent" and "Order/deep/approve, which has succeeded" in found.cause.text


async def test_a_cycle_of_waits_is_inconsistent(world: World) -> None:
    await world.app.object(Order, "o").ask_another.send("deep")
    found = await damaged(
        world, "UPDATE journal_entry SET kind = 6, ref = (SELECT min(seq) FROM invocation) WHERE kind = 5"
    )
    assert found.cause.code == "inconsistent" and "waits for itself" in found.cause.text


async def test_a_sleep_that_does_not_end_is_inconsistent(world: World) -> None:
    await world.app.object(Order, "o").rest.send()
    found = await damaged(world, "UPDATE journal_entry SET ref = ref - 3700000 WHERE kind = 4")
    assert found.cause.code == "inconsistent" and "its sleep, whose time has come" in found.cause.text


@pytest.mark.expects_log("failed, next in")
async def test_a_retry_without_a_timer_is_inconsistent(world: World) -> None:
    await world.app.object(Order, "o").try_twice.send()
    found = await damaged(world, "DELETE FROM timer")
    assert found.cause.code == "inconsistent" and "its next attempt does not begin" in found.cause.text


async def test_a_delayed_message_that_does_not_come_is_inconsistent(world: World) -> None:
    sent = await world.app.object(Order, "o").add.options(delay=60).send()
    await damaged(world, "UPDATE invocation SET position = position - 200000")
    row = await Reader(world).invocation(world.app._running().ids.read_invocation(sent.id))
    assert row is not None
    found = await doctor(world).of_invocation(row)
    assert found.cause.code == "inconsistent" and "its time has come" in found.cause.text


# --- a whole file --------------------------------------------------------------------------------------------------------------


async def test_all_keys_that_wait_for_one_cause_are_one_group(world: World) -> None:
    await world.app.object(Order, "deep").approve.send()
    for key in ("a", "b"):
        await world.app.object(Order, key).ask_another.send("deep")
        await world.app.object(Order, key).add.send()
    (group,) = (await trouble(world)).groups
    assert (group.root.key, group.cause.code, group.behind) == ("deep", "awakeable", 4)
    assert group.keys == {"Order/a", "Order/b"}
    assert (await trouble(world)).headline() == "1 cause needs a person; 4 messages wait behind it."


@pytest.mark.expects_log("failed, next in", "is paused")
async def test_failures_with_the_same_error_are_one_group_persons_first(world: World) -> None:
    for key in "abc":
        await world.app.object(Order, key).try_twice.send()
    await world.app.object(Order, "d").charge.send()
    found = await trouble(world)
    assert [(group.cause.code, group.alike) for group in found.groups] == [("retries_used_up", 0), ("backing_off", 2)]
    assert found.headline() == ("1 cause needs a person, 1 cause goes on by itself; 0 messages wait behind them.")


async def test_what_has_just_begun_to_wait_is_no_trouble_yet(world: World) -> None:
    await world.app.object(Order, "o").approve.send()
    assert (await trouble(world, older_s=60)).headline() == "All keys move."
    world.clock.advance(61)
    assert len((await trouble(world, older_s=60)).groups) == 1


async def test_a_reader_that_fails_is_found_without_a_key() -> None:
    class Shop(VirtualObject):
        @shared
        async def look(self, ctx: Context) -> str:
            return await ctx.awakeable(str)

    async with World(Shop) as world:
        await world.app.object(Shop, "s").look.send()
        (group,) = (await trouble(world)).groups
        assert (group.root.handler, group.cause.code, group.behind) == ("look", "awakeable", 0)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 s"),
        (999, "0 s"),
        (41_000, "41 s"),
        (60_000, "1 min"),
        (8_040_000, "2 h 14 min"),
        (273_600_000, "3 d 4 h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(ms: int, text: str) -> None:
    assert length(ms) == text


async def test_a_terminal_failure_holds_no_key(world: World) -> None:
    sent = await world.app.object(Order, "o").approve.send()
    await world.settle()
    await world.app.reject_awakeable((await world.app.awakeables())[0].id, "no")
    with pytest.raises(TerminalError, match="no"):
        await world.result(sent)
    assert (await diagnosed(world, "o")).cause.code == "free"


async def test_the_app_itself_knows_at_which_line_nothing_is_recorded(world: World) -> None:
    await world.app.object(Order, "h").hang.send()
    await world.settle(3)
    operators = world.app._gateway.operators
    found = await operators.doctor("Order", "h")
    line = next(
        number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "Event().wait()" in text
    )
    assert found.cause.code == "unrecorded_wait"
    assert found.cause.text.startswith(f"waits at test_doctor.py:{line} for something that is not durable")
    await world.app.object(Order, "h").add.send()
    (group,) = (await operators.trouble(0)).groups
    assert (group.cause, group.behind) == (found.cause, 1)
    assert (await diagnosed(world, "h")).cause.code == "running", "the file does not tell"
    await world.app.object(Order, "a").approve.send()
    await world.settle(3)
    assert (await operators.doctor("Order", "a")).cause.code == "awakeable"


async def test_a_step_that_waits_for_a_thread_is_told_from_one_that_runs() -> None:
    class Slow(VirtualObject):
        @handler
        async def work(self, ctx: Context) -> None:
            await ctx.run(int)

    executor = HeldExecutor(threads=1)
    async with World(Slow, executor=executor) as world:
        for key in "ab":
            await world.app.object(Slow, key).work.send()
        await world.settle(3)
        operators = world.app._gateway.operators
        runs, waits = [(await operators.doctor("Slow", key)).cause for key in "ab"]
        assert (runs.code, waits.code) == ("step_running", "threads_busy")
        assert waits.text.startswith("waits for a thread for its step int since") and "all are busy" in waits.text
        executor.end()
        await world.settle(3)
        codes = [(await operators.doctor("Slow", key)).cause.code for key in "ab"]
        assert codes == ["free", "step_running"]
        executor.end()
        await world.settle(3)
