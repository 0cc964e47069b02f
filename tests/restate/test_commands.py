"""Each request of a handler, new and replayed: the command that the server gets, and what the handler gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import Context, RetryPolicy, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import (
    AwakeableRejected,
    BadId,
    DeadlockError,
    DurableTimeout,
    PayloadTooLarge,
    PromiseCompleted,
    PromiseRejected,
    RetriesExhausted,
    SerializationError,
    UnknownInvocation,
    UnknownService,
)
from actors.model.limits import Limits
from actors.transport.restate.failures import ERROR
from actors.transport.restate.machine import Failure
from actors.transport.restate.waiters import CHAIN, LONGEST, chain_of, chain_text
from tests.restate.fake_machine import Command
from tests.restate.machine_world import BEGAN_MS, OPEN, AttemptFailed, Invocation, World

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


class Charge(TerminalError):
    error = "restate_test_charge"


class Desk(VirtualObject):
    @handler
    async def now(self, ctx: Context) -> list[float]:
        first = ctx.now()
        await ctx.sleep(5)
        return [first.timestamp(), ctx.now().timestamp()]

    @handler
    async def step(self, ctx: Context, ends: str) -> Any:
        def function() -> int:
            seen.append("executed")
            if ends == "terminal":
                raise Charge("declined")
            if ends == "broken" or (ends == "once" and len(seen) == 1):
                raise KeyError("broken")
            return 5

        policy = RetryPolicy(max_attempts=2) if ends == "broken" else None
        value = await ctx.step(name="charge", retry=policy).run(function)
        await ctx.sleep(1)
        return value

    @handler
    async def waits(self, ctx: Context, timeout: float | None) -> str:
        id, promise = ctx.awakeable(str, timeout=timeout)
        await ctx.run(seen.append, id)
        value = await promise
        await ctx.sleep(1)
        return value

    @handler
    async def resolves(self, ctx: Context, id: str) -> None:
        await ctx.resolve_awakeable(id, {"a": 1})
        await ctx.reject_awakeable(id, "no")

    @handler
    async def sends(self, ctx: Context) -> list[str]:
        ids = []
        for place, delay in enumerate((5, 5, 1, None)):
            handle = ctx.send("Desk", "b", "take", place, delay=delay)
            ids.append(handle.id if place % 2 else (await handle).id)
        ctx.send("Desk", "c", "take", 9, delay=5)
        return ids

    @handler
    async def options(self, ctx: Context) -> None:
        bound = ctx.handler("Desk", "b", "take").options(idempotency_key="k", headers={"X-A": "b"})
        await bound(1)
        await bound.send(2)

    @handler
    async def calls(self, ctx: Context, key: str) -> Any:
        value = await ctx.object(Desk, key).take(1)
        await ctx.sleep(1)
        return value

    @handler
    async def catches(self, ctx: Context, key: str) -> str:
        try:
            await ctx.object(Desk, key).take(1)
        except TerminalError as error:
            await ctx.sleep(1)
            return f"{type(error).__name__}: {error.message}"
        return "none"

    @shared
    async def looks(self, ctx: Context, key: str) -> Any:
        return await ctx.object(Desk, key).take(1)

    @handler
    async def take(self, place: int) -> int:
        return place

    @shared
    async def peeks(self, ctx: Context) -> int:
        return 1

    @handler
    async def looks_at_itself(self, ctx: Context) -> int:
        return await ctx.object(Desk, ctx.key).peeks()

    @handler
    async def attaches(self, ctx: Context, id: str) -> int:
        return await ctx.attach(id, int)

    @handler
    async def cancels(self, ctx: Context, id: str) -> None:
        await ctx.cancel(id)

    @handler
    async def unknown(self, ctx: Context) -> None:
        await ctx.call("Nobody", "a", "b")

    @handler
    async def large(self, ctx: Context) -> None:
        await ctx.call("Desk", "b", "step", "x" * 300)

    @handler
    async def draws(self, ctx: Context) -> list[Any]:
        first = [ctx.random.random(), str(ctx.uuid())]
        seen.append(first)
        await ctx.sleep(1)
        return [*first, ctx.key, ctx.invocation_id]

    @handler
    async def limited(self, ctx: Context) -> str:
        try:
            await ctx.timeout(ctx.object(Desk, "silent").take(1), 2)
        except DurableTimeout:
            await ctx.sleep(1)
            return "timed out"
        return "done"

    @handler
    async def runs(self, ctx: Context, key: str) -> int:
        return await ctx.object(Flow, key).go(5)


class Flow(Workflow):
    @handler
    async def go(self, ctx: Context, n: int) -> int:
        return n

    @shared
    async def waits(self, ctx: Context) -> str:
        value = await ctx.promise("p", str)
        await ctx.sleep(1)
        return value

    @shared
    async def peeks(self, ctx: Context) -> str | None:
        return await ctx.promise("p", str).peek()

    @shared
    async def resolves(self, ctx: Context, values: list[str], awaits: bool) -> list[str]:
        found = []
        for value in values:
            promise = ctx.promise("p", str)
            done = promise.reject(value[1:]) if value.startswith("-") else promise.resolve(value)
            try:
                if awaits:
                    await done
                found.append("ok")
            except PromiseCompleted:
                found.append("completed")
        return found

    @shared
    async def leaves(self, ctx: Context) -> str:
        """A task waits, and a completion that nothing awaits is refused, when the handler ends."""

        async def waiting() -> None:
            await ctx.promise("never")

        seen.append(asyncio.ensure_future(waiting()))
        await ctx.sleep(1)
        ctx.promise("p", str).resolve("v")
        return "done"


class Mail(Service):
    @handler
    async def deliver(self, ctx: Context) -> int:
        return await ctx.object(Desk, "a").take(1)


def _answer(invocation: Invocation, command: Command) -> Any:
    if command.kind == "attach":
        if "unknown" in command.compared["invocation"]:
            return Failure(404, "not found")
        return b"7"
    match command.compared["key"]:
        case "silent":
            return OPEN
        case "failing":
            return Failure(402, "declined", ((ERROR, Charge.error),))
        case "wrong":
            return b'"x"'
    return b"3"


@pytest.fixture(params=[True, False], ids=["new", "replayed"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """With one attempt for each await, each command is replayed."""
    limits = Limits(max_payload=200)
    async with World(Desk, Flow, Mail, streams=request.param, answer=_answer, limits=limits) as made:
        yield made


async def done(world: World, name: str, *args: Any, key: str = "a") -> tuple[Any, Invocation]:
    invocation = world.invocation("Desk", key, name, *args)
    return await world.outcome(invocation), invocation


# --- time and steps -------------------------------------------------------------------------------------------------------


async def test_the_time_is_recorded(world: World) -> None:
    value, invocation = await done(world, "now")
    assert value == [BEGAN_MS / 1000, BEGAN_MS / 1000 + 5]
    assert invocation.kinds() == ["run", "sleep", "run", "output"]
    assert [command.compared["name"] for command in invocation.commands("run")] == ["now", "now"]


async def test_a_sleep_carries_its_duration_as_its_name(world: World) -> None:
    _, invocation = await done(world, "now")
    (sleep,) = invocation.commands("sleep")
    assert sleep.compared == {"name": "5000"} and sleep.extra == {"duration_ms": 5000}


async def test_a_step_is_executed_once(world: World) -> None:
    value, invocation = await done(world, "step", "well")
    assert value == 5 and seen == ["executed"] and invocation.commands("run")[0].compared == {"name": "charge"}


async def test_a_terminal_error_of_a_step_keeps_its_class(world: World) -> None:
    with pytest.raises(Charge, match="declined"):
        await done(world, "step", "terminal")
    assert seen == ["executed"]


@pytest.mark.expects_log("the step charge failed", "broken")
async def test_a_step_that_fails_is_executed_by_another_attempt(world: World) -> None:
    invocation = world.invocation("Desk", "a", "step", "once")
    assert await world.outcome(invocation, retries=1) == 5
    assert seen == ["executed"] * 2 and invocation.failures[0].message == "KeyError('broken')"


@pytest.mark.expects_log("the step charge failed", "broken")
async def test_a_policy_that_is_used_up_fails_the_step(world: World) -> None:
    invocation = world.invocation("Desk", "a", "step", "broken")
    with pytest.raises(RetriesExhausted, match=r"its last error was KeyError\('broken'\)"):
        await world.outcome(invocation, retries=1)
    assert seen == ["executed"] * 2


async def test_random_numbers_are_the_same_in_each_attempt(world: World) -> None:
    value, invocation = await done(world, "draws")
    assert all(first == value[:2] for first in seen) and value[2:] == ["a", invocation.input.invocation_id]
    other, _ = await done(world, "draws")
    assert other[:2] != value[:2]


# --- awakeables -----------------------------------------------------------------------------------------------------------


async def _until_it_waits(world: World, invocation: Invocation) -> str:
    while not seen:
        await world.attempt(invocation)
        world.goes_on(invocation)
    id: str = seen[0]
    return id


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(b'"v"', "v"), (Failure(500, "no"), AwakeableRejected), (b"5", SerializationError), (b"", SerializationError)],
)
async def test_an_awakeable_is_completed_from_outside(world: World, value: Any, outcome: Any) -> None:
    invocation = world.invocation("Desk", "a", "waits", None)
    world.resolve(invocation, await _until_it_waits(world, invocation), value)
    if isinstance(outcome, str):
        assert await world.outcome(invocation) == outcome
    else:
        with pytest.raises(outcome):
            await world.outcome(invocation)


async def test_an_awakeable_has_a_deadline(world: World) -> None:
    with pytest.raises(DurableTimeout):
        await done(world, "waits", 5)
    invocation = world.invocation("Desk", "a", "waits", 5)
    seen.clear()
    world.later(invocation, f"sign_1{invocation.input.invocation_id}000017", b'"v"', 100)
    assert await world.outcome(invocation) == "v"


async def test_an_awakeable_is_completed_by_its_id(world: World) -> None:
    id = "sign_1" + "a" * 20
    _, invocation = await done(world, "resolves", id)
    first, second = invocation.commands("complete awakeable")
    assert first.compared == {"id": id, "result": b'{"a":1}'}
    assert second.compared["result"] == Failure(500, "no", ((ERROR, AwakeableRejected.error),))


@pytest.mark.parametrize("id", ["", "sign_1", "inv_1aaaaaaaaaaaaaaaaaaaaaaaaaaa", "x" * 40])
async def test_an_id_that_is_none_is_refused_at_once(world: World, id: str) -> None:
    with pytest.raises(BadId):
        await done(world, "resolves", id)


# --- messages -------------------------------------------------------------------------------------------------------------


async def test_delayed_messages_to_one_key_keep_their_order(world: World) -> None:
    value, invocation = await done(world, "sends")
    sent = invocation.commands("send")
    assert value == [world.id_of(command) for command in sent[:4]]
    assert [command.compared["body"] for command in sent] == [b"0", b"1", b"2", b"3", b"9"]
    assert [command.extra["delay_ms"] for command in sent] == [5000, 5002, 5004, 0, 5000]


async def test_an_id_without_an_await_may_cost_an_attempt(world: World) -> None:
    _, invocation = await done(world, "sends")
    assert invocation.attempts == (3 if world.streams else 5)


async def test_options_travel_with_the_message(world: World) -> None:
    _, invocation = await done(world, "options")
    (call,), (send,) = invocation.commands("call"), invocation.commands("send")
    assert call.compared["idempotency_key"] == send.compared["idempotency_key"] == "k"
    assert call.compared["headers"] == [("X-A", "b"), (CHAIN, '["Desk/a"]')]
    assert send.compared["headers"] == [("X-A", "b")], "no caller waits for a message"


async def test_the_trace_is_passed_on(world: World) -> None:
    headers = [("traceparent", "t"), ("baggage", "b"), ("x-other", "o")]
    invocation = world.invocation("Desk", "a", "options", headers=headers)
    await world.outcome(invocation)
    for command in [*invocation.commands("call"), *invocation.commands("send")]:
        names = dict(command.compared["headers"])
        assert (names["traceparent"], names["baggage"], "x-other" in names) == ("t", "b", False)


async def test_a_call_gives_its_result_or_its_error(world: World) -> None:
    value, invocation = await done(world, "calls", "b")
    assert value == 3
    compared = invocation.commands("call")[0].compared
    assert (compared["service"], compared["key"], compared["handler"], compared["body"]) == ("Desk", "b", "take", b"1")
    with pytest.raises(Charge):
        await done(world, "calls", "failing")
    with pytest.raises(SerializationError):
        await done(world, "calls", "wrong")


async def test_a_service_that_is_not_served_is_refused_at_once(world: World) -> None:
    with pytest.raises(UnknownService):
        await done(world, "unknown")


async def test_arguments_that_are_too_large_are_refused(world: World) -> None:
    with pytest.raises(PayloadTooLarge, match=r"The arguments of Desk\.step"):
        await done(world, "large")


async def test_a_call_has_a_deadline(world: World) -> None:
    value, _ = await done(world, "limited")
    assert value == "timed out"


# --- who waits for whom ---------------------------------------------------------------------------------------------------


async def test_a_call_to_oneself_is_refused_with_the_cycle(world: World) -> None:
    value, invocation = await done(world, "catches", "a")
    assert value.startswith("DeadlockError: This call would wait for itself: Desk/a -> Desk/a.")
    assert not invocation.commands("call")


async def test_a_call_to_a_caller_is_refused_with_the_cycle(world: World) -> None:
    headers = [(CHAIN.title(), chain_text(["Other/x", "Desk/b", "Desk/c"]))]
    invocation = world.invocation("Desk", "a", "catches", "b", headers=headers)
    assert "Desk/b -> Desk/c -> Desk/a -> Desk/b" in await world.outcome(invocation)


async def test_a_chain_grows_by_exclusive_objects_only(world: World) -> None:
    header = [(CHAIN, '["Order/o"]')]
    for service, key, name, args, chain in [
        ("Desk", "a", "calls", ["b"], ["Order/o", "Desk/a"]),
        ("Desk", "a", "looks", ["b"], ["Order/o"]),
        ("Mail", "", "deliver", [], ["Order/o"]),
    ]:
        invocation = world.invocation(service, key, name, *args, headers=header)
        await world.outcome(invocation)
        assert chain_of(dict(invocation.commands("call")[0].compared["headers"])[CHAIN]) == chain


async def test_a_shared_handler_of_a_caller_may_be_called(world: World) -> None:
    value, _ = await done(world, "looks_at_itself")
    assert value == 3


async def test_the_outermost_objects_of_a_long_chain_are_dropped(world: World) -> None:
    chain = [f"Desk/{n}" for n in range(LONGEST + 20)]
    invocation = world.invocation("Desk", "a", "calls", "0", headers=[(CHAIN, chain_text(chain))])
    assert await world.outcome(invocation) == 3, "it is not on the list any more"
    passed_on = chain_of(dict(invocation.commands("call")[0].compared["headers"])[CHAIN])
    assert passed_on == [*chain, "Desk/a"][-LONGEST:]
    with pytest.raises(DeadlockError):
        await world.outcome(world.invocation("Desk", "a", "calls", str(LONGEST), headers=[(CHAIN, chain_text(chain))]))


@pytest.mark.parametrize("header", ["x", "[1]", "[" * 5000])
async def test_a_forged_chain_does_no_harm(world: World, header: str) -> None:
    invocation = world.invocation("Desk", "a", "calls", "b", headers=[(CHAIN, header)])
    assert await world.outcome(invocation) == 3


# --- other invocations ----------------------------------------------------------------------------------------------------


async def test_the_outcome_of_another_invocation_is_attached_to(world: World) -> None:
    value, invocation = await done(world, "attaches", "inv_1known")
    assert value == 7 and invocation.commands("attach")[0].compared == {"invocation": "inv_1known"}
    with pytest.raises(UnknownInvocation):
        await done(world, "attaches", "inv_1unknown")


async def test_another_invocation_is_cancelled(world: World) -> None:
    _, invocation = await done(world, "cancels", "inv_1known")
    assert invocation.commands("cancel")[0].compared == {"invocation": "inv_1known"}


@pytest.mark.parametrize("name", ["attaches", "cancels"])
@pytest.mark.parametrize("id", ["", "inv_1", "sign_1aaaaaaaaaaaaa"])
async def test_an_invocation_id_that_is_none_is_refused(world: World, name: str, id: str) -> None:
    with pytest.raises(BadId):
        await done(world, name, id)


# --- workflows ------------------------------------------------------------------------------------------------------------


async def test_the_run_of_a_workflow_is_sent_and_attached_to(world: World) -> None:
    value, invocation = await done(world, "runs", "w")
    assert value == 7 and invocation.kinds() == ["send", "attach", "output"]
    assert invocation.commands("attach")[0].compared["invocation"] == world.id_of(invocation.commands("send")[0])
    again, _ = await done(world, "runs", "w")
    assert again == 7


async def _flow(world: World, name: str, *args: Any) -> Any:
    return await world.call("Flow", "w", name, *args)


async def test_a_promise_is_awaited_and_peeked_at(world: World) -> None:
    assert await _flow(world, "peeks") is None
    assert await _flow(world, "resolves", ["v"], True) == ["ok"]
    assert await _flow(world, "peeks") == await _flow(world, "waits") == "v"


async def test_a_rejected_promise_raises_the_reason(world: World) -> None:
    assert await _flow(world, "resolves", ["-no"], True) == ["ok"]
    for name in ("peeks", "waits"):
        with pytest.raises(PromiseRejected, match="no"):
            await _flow(world, name)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("v", "v", "ok"),
        ("v", "w", "completed"),
        ("v", "-v", "completed"),
        ("-v", "-v", "ok"),
        ("-v", "-w", "completed"),
        ("-v", "v", "completed"),
    ],
)
async def test_a_second_completion_must_be_the_same(world: World, first: str, second: str, outcome: str) -> None:
    assert await _flow(world, "resolves", [first, second], True) == ["ok", outcome]
    assert await _flow(world, "resolves", [second], True) == [outcome]
    assert len(world.promises) == 1


@pytest.mark.parametrize("second", ["v", "w"])
async def test_a_completion_that_is_not_awaited_happens(world: World, second: str) -> None:
    assert await _flow(world, "resolves", ["v"], False) == ["ok"]
    invocation = world.invocation("Flow", "w", "resolves", [second], False)
    assert await world.outcome(invocation) == ["ok"]
    assert invocation.kinds()[-3:] == ["complete promise", "peek promise", "output"]
    assert await _flow(world, "peeks") == "v"


async def test_the_outcome_waits_for_a_completion_but_not_for_tasks(world: World) -> None:
    assert await _flow(world, "resolves", ["v"], True) == ["ok"]
    invocation = world.invocation("Flow", "w", "leaves")
    assert await world.outcome(invocation) == "done"
    expected = ["get state names", "sleep", "get promise", "complete promise", "peek promise", "output"]
    assert invocation.kinds() == expected
    await asyncio.gather(*seen, return_exceptions=True)


@pytest.mark.expects_log("Recorded is")
@pytest.mark.parametrize("entries", [["call"], ["sleep"], ["send"]])
async def test_a_journal_of_other_code_fails_the_attempt(world: World, entries: list[str]) -> None:
    invocation = world.invocation("Desk", "a", "step", "well")
    invocation.entries = [Command(kind, first=1) for kind in entries]
    with pytest.raises(AttemptFailed, match="Recorded is"):
        await world.outcome(invocation)
    assert not seen and invocation.outcome is None
