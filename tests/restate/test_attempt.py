"""One attempt of a handler: how it begins, waits, is cancelled, and ends. In both modes of the server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from actors import Context, Limits, RetryPolicy, Service, TerminalError, VirtualObject, handler, shared
from actors.errors import (
    BadArguments,
    BadKey,
    InvocationCancelled,
    MisusedFuture,
    PayloadTooLarge,
    ProgrammingError,
    SerializationError,
    StateWriteRefused,
    UndeclaredState,
)
from actors.transport.restate.recorded_line import stubborn
from tests.restate.fake_machine import CANCEL, Command
from tests.restate.machine_world import OPEN, AttemptFailed, Invocation, Suspended, World

seen: list[Any] = []  # what handlers saw, over all attempts
kept: list[Any] = []  # objects of a handler that outlive it


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()
    kept.clear()


class Broken(Exception):
    """Another attempt may help."""


class Sub(VirtualObject):
    n: int = 0
    items: list[int] = []

    @handler
    async def add(self, ctx: Context, by: int, twice: bool = False) -> int:
        self.n += by * (2 if twice else 1)
        await ctx.sleep(1)
        return self.n

    @handler
    async def raw(self, body: bytes) -> int:
        return len(body)

    @handler
    async def chain(self, ctx: Context) -> list[int]:
        first = await ctx.run(lambda: 1)
        await ctx.sleep(1)
        second: int = await ctx.call("Sub", "b", "raw", b"xy")
        both = await asyncio.gather(ctx.run(lambda: 3), ctx.run(lambda: 4))
        return [first, second, *both]

    @handler
    async def breaks(self, ctx: Context) -> int:
        self.n += 1
        await ctx.sleep(1)
        seen.append("attempt")
        if len(seen) < 3:
            raise Broken("not yet")
        return self.n

    @handler
    async def reports(self, ctx: Context) -> dict[str, str]:
        return ctx.headers

    @handler
    async def caught(self, ctx: Context) -> list[str]:
        seen.clear()
        for _ in range(2):
            try:
                await ctx.sleep(1000)
                seen.append("slept")
            except InvocationCancelled:
                seen.append("cancelled")
        return list(seen)

    @handler
    async def gathered(self, ctx: Context) -> str:
        try:
            await asyncio.gather(ctx.sleep(1000), ctx.awakeable(str))
        except InvocationCancelled:
            await ctx.sleep(1)
            return "cleaned up"
        return "done"

    @handler
    async def outside(self, ctx: Context) -> str:
        try:
            await asyncio.sleep(1000)
        except InvocationCancelled:
            return "cleaned up"
        return "done"

    @handler
    async def deaf(self, ctx: Context) -> str:
        await ctx.sleep(1000)
        return "done"

    @handler
    async def calls(self, ctx: Context) -> Any:
        return await ctx.call("Sub", "b", "deaf")

    @handler
    async def limited(self, ctx: Context) -> None:
        async with asyncio.timeout(0):
            await ctx.awakeable(str)

    @handler
    async def leaves_tasks(self, ctx: Context) -> str:
        async def left() -> None:
            try:
                await ctx.awakeable(str)
            finally:
                seen.append("cancelled")

        kept.append(asyncio.ensure_future(left()))
        await ctx.sleep(1)
        return "done"

    @handler
    async def forgets(self, ctx: Context) -> str:
        ctx.sleep(5)
        return "done"

    @handler
    async def huge(self) -> str:
        return "x" * 200

    @handler
    async def wrong(self) -> int:
        return "x"  # type: ignore[return-value]

    @handler
    async def undeclared(self) -> None:
        self.other = 5

    @handler
    async def in_step(self, ctx: Context) -> None:
        await ctx.run(lambda: ctx.sleep(1))

    @handler
    async def keeps(self, ctx: Context) -> None:
        kept.append(ctx)

    @shared
    async def writes(self) -> None:
        self.n = 5

    @shared
    async def changes(self) -> None:
        self.items.append(1)

    @handler
    async def ends(self, ctx: Context) -> str:
        raise TerminalError("no", code=418, metadata={"a": "b"})

    @handler
    async def exits(self, ctx: Context) -> str:
        raise SystemExit(3)

    @handler
    async def leaks(self, ctx: Context) -> str:
        if seen:
            await ctx.run(lambda: 1)
        seen.append("attempt")
        await ctx.sleep(1)
        return "done"


class Plain(Service):
    @handler
    async def waits_outside(self, ctx: Context) -> str:
        await asyncio.sleep(0.001)
        first = await ctx.run(lambda: "a")
        await asyncio.sleep(0.001)
        await ctx.sleep(1)
        await asyncio.sleep(0.001)
        return first

    @handler
    async def signals(self, ctx: Context) -> list[int]:
        """Its tasks tell each other how far they are."""
        event, queue = asyncio.Event(), asyncio.Queue[int]()

        async def sleeper() -> None:
            await ctx.sleep(1)
            event.set()
            await ctx.sleep(1)
            queue.put_nowait(await ctx.run(lambda: 7))

        task = asyncio.create_task(sleeper())
        await event.wait()
        first = await ctx.run(lambda: 5)
        second = await queue.get()
        await ctx.sleep(1)
        await task
        return [first, second, await ctx.run(lambda: 9)]

    @handler
    async def remembers(self) -> None:
        self.n = 5


@pytest.fixture(params=[True, False], ids=["streams", "one attempt each"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    def answer(invocation: Invocation, command: Command) -> Any:
        return b"2" if command.compared["handler"] == "raw" else OPEN

    async with World(Sub, Plain, streams=request.param, answer=answer, limits=Limits(max_payload=100)) as made:
        yield made


# --- the beginning --------------------------------------------------------------------------------------------------------


async def test_a_handler_comes_to_its_end_in_as_many_attempts_as_needed(world: World) -> None:
    invocation = world.invocation("Sub", "a", "chain")
    assert await world.outcome(invocation) == [1, 2, 3, 4]
    assert invocation.attempts == (1 if world.streams else 6)
    assert invocation.kinds() == ["run", "sleep", "call", "run", "run", "output"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'"x"', "application/json"),
        (b"{", "application/json"),
        (b"[1,true,3]", "application/json"),
        (b'{"by":1,"other":2}', "application/json"),
        (b"", ""),
        (b"5", "text/plain"),
        (b"\xff", "application/json"),
    ],
)
async def test_arguments_that_do_not_fit_fail_at_once(world: World, body: bytes, kind: str) -> None:
    invocation = world.message("Sub", "a", "add", body, [("content-type", kind)])
    with pytest.raises(BadArguments) as failed:
        await world.outcome(invocation)
    assert failed.value.code == 400 and invocation.attempts == 1 and invocation.kinds() == ["output"]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (
            b"hello",
            "application/json",
            "the body is not valid JSON: invalid character at line 1, column 1: 'hello'. Send",
        ),
        (b'{"by": 1', "", """the body is not valid JSON: it ends too early, after '{"by": 1'. Send"""),
        (b"5", "text/plain", "the body has the content-type 'text/plain'. Send"),
    ],
)
async def test_arguments_that_are_not_json_are_told_what_to_send(
    world: World, body: bytes, kind: str, message: str
) -> None:
    with pytest.raises(BadArguments) as failed:
        await world.outcome(world.message("Sub", "a", "add", body, [("content-type", kind)]))
    assert message in failed.value.message and "double quotes" in failed.value.message


async def test_arguments_are_read_as_over_http(world: World) -> None:
    for body in (b'{"by":2,"twice":true}', b"[2,true]"):
        invocation = world.message("Sub", body.decode(), "add", body, [("Content-Type", "application/json; charset=x")])
        assert await world.outcome(invocation) == 4
    assert await world.outcome(world.message("Sub", "a", "raw", b"\xff\x00", [("content-type", "x/y")])) == 2


async def test_a_key_that_no_object_can_have_fails_at_once(world: World) -> None:
    for key in ("", "a\x00b"):
        with pytest.raises(BadKey):
            await world.outcome(world.message("Sub", key, "raw", b"", []))


async def test_a_header_that_comes_twice_is_joined(world: World) -> None:
    headers = [("x-mine", "1"), ("x-other", "o"), ("X-Mine", "2")]
    told = await world.outcome(world.invocation("Sub", "a", "reports", headers=headers))
    assert told == {"x-mine": "1, 2", "x-other": "o"}


async def test_headers_of_the_connection_and_of_the_server_are_hidden(world: World) -> None:
    headers = [("X-Mine", "1"), ("authorization", "x"), ("x-restate-id", "y"), ("x-actors-chain", "[]"), ("Host", "z")]
    assert await world.outcome(world.invocation("Sub", "a", "reports", headers=headers)) == {"x-mine": "1"}


# --- failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.expects_log("an attempt failed")
async def test_an_error_fails_the_attempt_and_another_one_goes_on(world: World) -> None:
    invocation = world.invocation("Sub", "a", "breaks")
    assert await world.outcome(invocation, retries=2) == 1
    assert [failure.message for failure in invocation.failures] == ["Broken('not yet')"] * 2
    assert "in breaks" in invocation.failures[0].stacktrace
    assert world.stored("Sub", "a") == {"n": 1}


@pytest.mark.expects_log("an attempt failed")
async def test_callers_get_no_traceback_where_the_policy_fails() -> None:
    async with World(Sub, retry=RetryPolicy(on_exhausted="fail")) as world:
        invocation = world.invocation("Sub", "a", "breaks")
        with pytest.raises(AttemptFailed):
            await world.outcome(invocation)
        assert invocation.failures[0].stacktrace == ""


async def test_a_terminal_error_is_the_outcome(world: World) -> None:
    with pytest.raises(TerminalError, match="no") as failed:
        await world.call("Sub", "a", "ends")
    assert (failed.value.code, failed.value.metadata) == (418, {"a": "b"})


@pytest.mark.expects_log("an attempt failed")
async def test_an_exit_in_a_handler_ends_the_attempt_only(world: World) -> None:
    with pytest.raises(AttemptFailed, match="SystemExit"):
        await world.call("Sub", "a", "exits")


@pytest.mark.expects_log("Recorded is")
async def test_code_that_no_longer_fits_the_journal_fails_the_attempt() -> None:
    async with World(Sub, streams=False) as world:
        invocation = world.invocation("Sub", "a", "leaks")
        with pytest.raises(AttemptFailed, match="Recorded is Command"):
            await world.outcome(invocation)
        assert invocation.kinds() == ["sleep"] and invocation.attempts == 2


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("huge", PayloadTooLarge, "The result of Sub.huge"),
        ("wrong", SerializationError, "its return type does not allow"),
        ("undeclared", UndeclaredState, "Sub.other was assigned"),
        ("in_step", MisusedFuture, "inside a step"),
        ("writes", StateWriteRefused, "was assigned in a shared handler"),
        ("changes", StateWriteRefused, "changed in place in a shared handler"),
    ],
)
async def test_a_mistake_is_the_outcome_and_not_retried(
    world: World, name: str, error: type[TerminalError], text: str
) -> None:
    invocation = world.invocation("Sub", "a", name)
    with pytest.raises(error, match=text):
        await world.outcome(invocation)
    assert not invocation.failures and world.stored("Sub", "a") == {}


async def test_a_service_keeps_nothing_and_says_so(world: World) -> None:
    with pytest.raises(UndeclaredState, match="a Service keeps nothing"):
        await world.call("Plain", "", "remembers")


async def test_a_context_is_refused_once_its_handler_has_ended(world: World) -> None:
    await world.call("Sub", "a", "keeps")
    with pytest.raises(MisusedFuture, match="an invocation that is over"):
        kept[0].sleep(1)


@pytest.mark.expects_log("ctx.sleep was called without await")
async def test_a_sleep_without_await_is_warned_of(world: World) -> None:
    assert await world.call("Sub", "a", "forgets") == "done"


# --- waits of asyncio -----------------------------------------------------------------------------------------------------


async def test_a_timeout_of_asyncio_over_a_durable_wait_is_refused() -> None:
    async with World(Sub) as world:
        invocation = world.invocation("Sub", "a", "limited")
        with pytest.raises(MisusedFuture, match=r"Use ctx\.timeout"):
            await world.outcome(invocation)
        assert invocation.attempts == 1


async def test_tasks_left_behind_are_cancelled(world: World) -> None:
    assert await world.call("Sub", "a", "leaves_tasks") == "done"
    with contextlib.suppress(asyncio.CancelledError):
        await kept[-1]
    assert seen[-1] == "cancelled" and all(task.done() for task in kept)


async def test_a_wait_for_something_outside_does_not_suspend(world: World) -> None:
    invocation = world.invocation("Plain", "", "waits_outside")
    assert await world.outcome(invocation) == "a"
    assert invocation.kinds() == ["run", "sleep", "output"]


async def test_tasks_that_wake_each_other_are_replayed(world: World) -> None:
    invocation = world.invocation("Plain", "", "signals")
    assert await world.outcome(invocation) == [5, 7, 9]
    assert not invocation.failures


class Busy(Service):
    @handler
    async def beside(self, ctx: Context) -> list[int]:
        """A task that waits outside for ever, beside durable waits."""

        async def beat() -> None:
            for _ in itertools.count():
                await asyncio.sleep(0.01)

        task = asyncio.create_task(beat())
        found = [await ctx.run(lambda: 1)]
        await ctx.sleep(1)
        found.append(await ctx.run(lambda: 2))
        task.cancel()
        return found

    @handler
    async def identified(self, ctx: Context) -> str:
        """A step is under way while an id is needed that is not known yet."""
        step = ctx.run(kept.append, "executed")
        id = ctx.send("Busy", "", "beside").id
        await step
        return id


async def test_a_task_that_never_rests_does_not_keep_a_replay(world: World) -> None:
    async with World(Busy, streams=world.streams) as busy:
        assert await busy.call("Busy", "", "beside") == [1, 2]


async def test_a_step_is_not_begun_by_an_attempt_that_must_end(world: World) -> None:
    async with World(Busy, streams=world.streams) as busy:
        invocation = busy.invocation("Busy", "", "identified")
        assert await busy.outcome(invocation) == busy.id_of(invocation.commands("send")[0])
        assert kept == ["executed"] and invocation.attempts == (2 if world.streams else 3)


# --- cancellation ---------------------------------------------------------------------------------------------------------


async def _cancelled(world: World, handler: str) -> tuple[Invocation, Any]:
    """Cancel it where it waits, and go on."""
    invocation = world.invocation("Sub", "a", handler)
    if not world.streams:
        await world.attempt(invocation)
    world.cancel(invocation)
    return invocation, await world.outcome(invocation)


async def test_a_cancellation_is_raised_once_at_an_await(world: World) -> None:
    invocation, outcome = await _cancelled(world, "caught")
    assert outcome == ["cancelled", "slept"]
    assert [entry for entry in invocation.entries if getattr(entry, "id", None) == CANCEL]


async def test_a_cancellation_that_is_not_caught_is_the_outcome(world: World) -> None:
    with pytest.raises(InvocationCancelled):
        await _cancelled(world, "deaf")


async def test_a_cancellation_reaches_into_gather(world: World) -> None:
    invocation, outcome = await _cancelled(world, "gathered")
    assert outcome == "cleaned up" and invocation.kinds() == ["sleep", "sleep", "output"]


async def test_a_cancellation_reaches_a_wait_of_asyncio() -> None:
    async with World(Sub) as world:
        invocation = world.invocation("Sub", "a", "outside")
        world.cancel(invocation)
        assert await world.outcome(invocation) == "cleaned up"


async def test_a_cancellation_cancels_the_calls_under_way(world: World) -> None:
    invocation = world.invocation("Sub", "a", "calls")
    with contextlib.suppress(Suspended):
        await world.outcome(invocation)
    world.cancel(invocation)
    with pytest.raises(InvocationCancelled):
        await world.outcome(invocation)
    assert invocation.kinds() == ["call", "cancel", "output"]
    assert invocation.commands("cancel")[0].compared["invocation"] == world.id_of(invocation.commands("call")[0])


# --- an attempt that ends early -------------------------------------------------------------------------------------------


stopped: list[bool] = []  # whether the loops below may end


class Stubborn(Service):
    @handler
    async def awaits(self, ctx: Context) -> None:
        future = ctx.awakeable(str)
        while not stopped:
            with contextlib.suppress(BaseException):
                await future

    @handler
    async def requests(self, ctx: Context) -> None:
        while not stopped:
            with contextlib.suppress(BaseException):
                await ctx.sleep(1000)

    @handler
    async def steps(self, ctx: Context) -> None:
        while not stopped:
            with contextlib.suppress(BaseException):
                await ctx.run(lambda: 1)
                await ctx.awakeable(str)

    @handler
    async def calls(self, ctx: Context) -> None:
        while not stopped:
            with contextlib.suppress(BaseException):
                await ctx.call("Stubborn", "", "calls")

    @handler
    async def sends(self, ctx: Context) -> None:
        await ctx.sleep(1)
        while not stopped:
            with contextlib.suppress(BaseException):
                handle = ctx.send("Stubborn", "", "calls")
                await handle
                await ctx.awakeable(str)

    @handler
    async def cleans_up(self, ctx: Context) -> None:
        try:
            await ctx.awakeable(str)
        finally:
            seen.append("finally")
            await ctx.run(seen.append, "step")


@pytest.fixture
def _stopping() -> Iterator[None]:
    yield
    stopped.append(True)
    stubborn.clear()
    stopped.clear()


@pytest.mark.usefixtures("_stopping")
@pytest.mark.expects_log("cannot be closed: its code catches BaseException")
@pytest.mark.parametrize("name", ["awaits", "requests", "steps", "calls", "sends"])
async def test_a_handler_that_swallows_its_end_is_abandoned(name: str) -> None:
    async with World(Stubborn, streams=False) as world:
        invocation = world.invocation("Stubborn", "", name)
        for _ in range(3):
            await world.attempt(invocation)
            if not world.goes_on(invocation):
                break
        requested = len(invocation.commands())
        await _turns()
        assert len(invocation.commands()) == requested and invocation.outcome is None


async def test_what_finally_blocks_request_has_no_effect() -> None:
    async with World(Stubborn, streams=False) as world:
        invocation = world.invocation("Stubborn", "", "cleans_up")
        with pytest.raises(Suspended):
            await world.outcome(invocation)
        await _turns()
        assert seen == ["finally"] and not invocation.commands()
        assert not invocation.machines[-1].refused, "not even asked of the machine"


async def _turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


class Mistaken(VirtualObject):
    @handler
    async def add(self) -> int:
        return undefined_name  # type: ignore[name-defined, no-any-return]  # noqa: F821


@pytest.mark.expects_log("an attempt failed")
async def test_a_traceback_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Mistaken) as world:
        invocation = world.invocation("Mistaken", "a", "add")
        with pytest.raises(AttemptFailed):
            await world.outcome(invocation, retries=2)
    failed = [record for record in caplog.records if "an attempt failed" in record.getMessage()]
    assert [record.exc_info is not None for record in failed] == [True, False, False]
    assert "failed again, 3 times in this process: NameError" in failed[-1].getMessage()
    assert {record.invocation_id for record in failed} == {invocation.input.invocation_id}  # type: ignore[attr-defined]


@pytest.mark.expects_log("an attempt failed")
async def test_with_debug_a_mistake_ends_the_invocation_after_three_attempts() -> None:
    async with World(Mistaken, debug=True) as world:
        invocation = world.invocation("Mistaken", "a", "add")
        with pytest.raises(ProgrammingError, match="undefined_name"):
            await world.outcome(invocation, retries=9)
        assert len(invocation.failures) == 2
