"""Durable promises: the first completion counts, everybody who waits gets it, and a replay sees what was seen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from actors import Context, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import (
    BadArguments,
    DeterminismError,
    DurableTimeout,
    InvocationCancelled,
    PromiseCompleted,
    PromiseRejected,
    SerializationError,
    WrongKind,
)
from actors.serde import codec as serde
from tests.world import World, limits, outcome

ran: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


class Gate(Workflow):
    order: list[str] = []

    @handler
    async def run(self, ctx: Context, how: str) -> Any:
        return await getattr(self, f"_{how}")(ctx)

    async def _one(self, ctx: Context) -> Any:
        return await ctx.promise("a", int)

    async def _typed(self, ctx: Context) -> Any:
        return sorted(await ctx.promise("a", set[int]))

    async def _untyped(self, ctx: Context) -> Any:
        return await ctx.promise("a")

    async def _twice(self, ctx: Context) -> Any:
        promise = ctx.promise("a", int)
        return [await promise, await promise, await ctx.promise("a", int), promise.done()]

    async def _all(self, ctx: Context) -> Any:
        return list(await ctx.all(ctx.promise("a", int), ctx.promise("b", str)))

    async def _first(self, ctx: Context) -> Any:
        a, alarm = ctx.promise("a", int), ctx.sleep(10)
        await ctx.first(a, alarm)
        return [a.done(), alarm.done()]

    async def _timeout(self, ctx: Context) -> Any:
        return await ctx.timeout(ctx.promise("a", int), 10)

    async def _completed(self, ctx: Context) -> Any:
        promises = {"a": ctx.promise("a", int), "b": ctx.promise("b", int)}
        async for done in ctx.as_completed(*promises.values()):
            (name,) = [name for name, promise in promises.items() if promise is done]
            self.order.append(name)
            await ctx.run(ran.append, name)
        return self.order

    async def _gather(self, ctx: Context) -> Any:
        async def wait(name: str) -> int:
            return await ctx.promise(name, int)

        return await asyncio.gather(wait("a"), wait("b"))

    async def _own(self, ctx: Context) -> Any:
        promise = ctx.promise("a", int)
        waiting = ctx.all(promise, ctx.promise("a", int))
        await ctx.promise("a", int).resolve(3)
        return sum(await waiting)

    async def _peeks(self, ctx: Context) -> Any:
        seen = []
        for _ in range(3):
            seen.append(await ctx.promise("a", int).peek())
            await ctx.sleep(10)
        return seen

    async def _unawaited(self, ctx: Context) -> Any:
        ctx.promise("a", int).resolve(7)
        return "left"

    async def _caught(self, ctx: Context) -> Any:
        try:
            return await ctx.promise("a", int)
        except InvocationCancelled:
            return await ctx.promise("b", int)

    @shared
    async def resolve(self, ctx: Context, name: str, value: int) -> None:
        await ctx.promise(name, int).resolve(value)

    @shared
    async def resolve_any(self, ctx: Context, name: str, value: Any) -> str:
        try:
            await ctx.promise(name).resolve(value)
        except TerminalError as error:
            return error.error
        return "resolved"

    @shared
    async def resolve_set(self, ctx: Context, value: list[int]) -> None:
        await ctx.promise("a", set[int]).resolve(set(value))

    @shared
    async def reject(self, ctx: Context, name: str, reason: str) -> None:
        await ctx.promise(name).reject(reason)

    @shared
    async def wait(self, ctx: Context, name: str) -> int:
        return await ctx.promise(name, int)

    @shared
    async def peek(self, ctx: Context, name: str) -> int | None:
        return await ctx.promise(name, int).peek()

    @shared
    async def wrong(self, ctx: Context, how: str) -> None:
        match how:
            case "value":
                await ctx.promise("a", int).resolve("x")  # type: ignore[arg-type]
            case "reason":
                await ctx.promise("a").reject(3)  # type: ignore[arg-type]
            case "empty name":
                await ctx.promise("")
            case "name":
                await ctx.promise(3)  # type: ignore[call-overload]
            case "type":
                await ctx.promise("a", object()).peek()


class Plain(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> None:
        await ctx.promise("a")


def _gate(world: World) -> Gate:
    return world.app.object(Gate, "g")


WAYS: list[tuple[str, Any]] = [
    ("one", 1),
    ("untyped", 1),
    ("twice", [1, 1, 1, True]),
    ("all", [1, "two"]),
    ("first", [True, False]),
    ("timeout", 1),
    ("own", 6),
    ("unawaited", "left"),
]


@pytest.mark.parametrize("memory", ["warm", "suspended", "restarted", "before"])
@pytest.mark.parametrize(("how", "expected"), WAYS, ids=[how for how, _ in WAYS])
async def test_whichever_way_it_waits_it_gets_the_completion(how: str, expected: Any, memory: str) -> None:
    async with World(Gate, limits=limits(suspend_after=1)) as world:

        async def complete() -> None:
            if how not in ("own", "unawaited"):
                await _gate(world).resolve("a", 1)
                await _gate(world).resolve_any("b", "two")

        if memory == "before":
            await complete()
        sent = await _gate(world).run.send(how)
        await world.settle(5)
        if memory == "suspended":
            await world.pass_time(2)
            if how not in ("own", "unawaited"):
                assert len(world.app._running().residents.open) == 0
        elif memory == "restarted":
            await world.restart()
        if memory != "before":
            await complete()
        assert await world.app.invocation(sent.id).result() == expected
        await world.restart()
        assert await _gate(world).run(how) == expected


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("commit", range(1, 8))
@pytest.mark.parametrize("how", ["one", "all", "completed", "gather"])
async def test_a_crash_at_any_commit_loses_no_completion_and_shows_none_twice(
    how: str, commit: int, written: bool
) -> None:
    async with World(Gate, limits=limits()) as world:

        async def complete(name: str) -> str:
            return await _gate(world).resolve_any(name, "s" if (how, name) == ("all", "b") else 5)

        sent = await _gate(world).run.send(how)
        await world.settle()
        world.store.crash_at_commit(commit, written=written)
        acknowledged = []
        for name in ("b", "a"):
            task = asyncio.ensure_future(complete(name))
            await world.settle(5)
            if world.store.crashed:
                await asyncio.gather(task, return_exceptions=True)
                break
            assert await task == "resolved"
            acknowledged.append(name)
        await world.restart()
        names = {name for (name,) in world.disk.query("SELECT name FROM promises")}
        assert names >= set(acknowledged)
        for name in ("b", "a"):
            assert await complete(name) == "resolved", "again, or at last"
            assert await _gate(world).resolve_any(name, 6) == "promise_already_completed"
        result = await asyncio.wait_for(world.app.invocation(sent.id).result(), 5)
        possible: dict[str, list[Any]] = {"one": [5], "all": [[5, "s"]], "gather": [[5, 5]]}
        assert result in possible.get(how, [["b", "a"], ["a", "b"]])
        if how == "completed" and acknowledged:
            assert result == ["b", "a"]
        completions = world.disk.query(
            "SELECT count(*) FROM journal WHERE entry = 'completed' AND completes IS NOT NULL GROUP BY invocation, completes"
        )
        assert set(completions) == {(1,)}


async def test_the_same_completion_again_has_no_effect_and_another_one_is_refused() -> None:
    async with World(Gate) as world:
        for _ in range(3):
            await _gate(world).resolve("a", 1)
            await world.restart()
        with pytest.raises(PromiseCompleted, match="'a' of Gate/g already has another completion") as caught:
            await _gate(world).resolve("a", 2)
        assert caught.value.code == 409
        with pytest.raises(PromiseCompleted):
            await _gate(world).reject("a", "no")
        assert await _gate(world).peek("a") == 1
        await _gate(world).reject("b", "no")
        await _gate(world).reject("b", "no")
        for attempt in (_gate(world).reject("b", "another"), _gate(world).resolve("b", 1)):
            with pytest.raises(PromiseCompleted):
                await attempt


async def test_equal_values_are_the_same_completion_whatever_their_text() -> None:
    async with World(Gate) as world:
        await _gate(world).resolve_set([1, 2, 3])
        await _gate(world).resolve_set([3, 2, 1])
        assert await _gate(world).run("typed") == [1, 2, 3]


async def test_a_rejection_is_raised_at_every_await_and_peek() -> None:
    async with World(Gate) as world:
        sent = await _gate(world).run.send("one")
        await _gate(world).reject("a", "not today")
        for waiting in (sent.result(), _gate(world).wait("a"), _gate(world).peek("a")):
            with pytest.raises(PromiseRejected, match="not today"):
                await waiting
        assert world.disk.query("SELECT value, failure LIKE '%not today%' FROM promises") == [(None, 1)]


async def test_each_key_and_name_is_a_promise_of_its_own() -> None:
    async with World(Gate) as world:
        await world.app.object(Gate, "g").resolve("a", 1)
        await world.app.object(Gate, "h").resolve("a", 2)
        await world.app.object(Gate, "h").resolve("b", 3)
        found = [await world.app.object(Gate, key).peek(name) for key in "gh" for name in "ab"]
        assert found == [1, None, 2, 3]


@pytest.mark.parametrize("memory", ["warm", "suspended", "restarted"])
async def test_a_value_the_waiting_type_refuses_fails_at_the_resolver_and_leaves_it_open(memory: str) -> None:
    async with World(Gate, limits=limits(suspend_after=1)) as world:
        sent = await _gate(world).run.send("one")
        await world.settle(5)
        if memory == "suspended":
            await world.pass_time(2)
        elif memory == "restarted":
            await world.restart()
        assert await _gate(world).resolve_any("a", "no number") == "bad_arguments"
        assert await _gate(world).peek("a") is None
        assert await _gate(world).resolve_any("a", 4) == "resolved"
        assert await world.app.invocation(sent.id).result() == 4


async def test_a_value_completed_before_that_the_waiting_type_refuses_fails_at_the_await() -> None:
    async with World(Gate) as world:
        assert await _gate(world).resolve_any("a", "no number") == "resolved"
        with pytest.raises(SerializationError):
            await _gate(world).run("one")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("value", SerializationError),
        ("reason", BadArguments),
        ("empty name", BadArguments),
        ("name", BadArguments),
        ("type", TerminalError),
    ],
)
async def test_mistakes_fail_at_once(how: str, error: type[TerminalError]) -> None:
    async with World(Gate, Plain) as world:
        with pytest.raises(error):
            await _gate(world).wrong(how)
        with pytest.raises(WrongKind, match=r"ctx\.promise belongs to a Workflow"):
            await world.app.object(Plain, "p").go()


async def test_a_peek_shows_on_replay_what_it_showed_before() -> None:
    async with World(Gate) as world:
        sent = await _gate(world).run.send("peeks")
        await world.settle()
        await _gate(world).resolve("a", 1)
        await world.restart()
        await world.pass_time(10)
        await world.restart()
        await world.pass_time(10)
        await world.pass_time(10)
        assert await world.app.invocation(sent.id).result() == [None, 1, 1]


@pytest.mark.parametrize("first", ["promise", "alarm"])
async def test_a_race_with_a_timeout_is_decided_once(first: str) -> None:
    async with World(Gate, limits=limits(suspend_after=1)) as world:
        sent = await _gate(world).run.send("timeout")
        await world.pass_time(5)
        if first == "promise":
            await _gate(world).resolve("a", 1)
            await world.pass_time(10)
            assert await sent.result() == 1
        else:
            await world.pass_time(6)
            await _gate(world).resolve("a", 1)
            with pytest.raises(DurableTimeout):
                await sent.result()
        assert world.disk.query("SELECT count(*) FROM timer") == [(0,)]


@pytest.mark.parametrize("max_objects", [1, 1000])
@pytest.mark.parametrize("seed", [None, 1, 2, 3, 4])
async def test_readers_that_left_memory_alone_are_told_too(seed: int | None, max_objects: int) -> None:
    """The run stays, its readers go: the completion has to bring them back first."""
    world = World(Gate, limits=limits(max_waiting=1, max_objects=max_objects))
    world.rng = Random(seed) if seed is not None else None
    async with world:
        readers = [await _gate(world).wait.send(name) for name in "aabab"]
        run = await _gate(world).run.send("one")
        gone = await _gate(world).wait.send("a")
        await world.settle(5)
        await world.app.kill(gone.id)
        others = [await world.app.object(Gate, f"other{n}").wait.send("a") for n in range(3)]
        await world.settle(5)
        assert len(world.app._running().residents.open) <= 2
        results = await asyncio.gather(
            _gate(world).resolve("a", 1),
            _gate(world).resolve_any("a", 2),
            _gate(world).resolve("b", 3),
            return_exceptions=True,
        )
        assert sorted(map(str, results)) == ["None", "None", "promise_already_completed"]
        await world.settle(5)
        assert [await outcome(one) for one in readers] == [1, 1, 3, 1, 3]
        assert await outcome(run) == 1
        for n, other in enumerate(others):
            await world.app.object(Gate, f"other{n}").resolve("a", n)
            assert await outcome(other) == n


@pytest.mark.parametrize("commit", range(1, 6))
@pytest.mark.parametrize("written", [False, True])
async def test_a_completion_that_waits_for_readers_survives_a_crash(commit: int, written: bool) -> None:
    async with World(Gate, limits=limits(max_waiting=1)) as world:
        readers = [await _gate(world).wait.send("a") for _ in range(3)]
        await _gate(world).run.send("one")
        await world.settle(5)
        resolving = await _gate(world).resolve.send("a", 1)
        world.store.crash_at_commit(commit, written=written)
        await world.settle(5)
        await world.restart()
        await world.settle(5)
        assert await asyncio.wait_for(world.app.invocation(resolving.id).result(), 5) is None
        assert [await world.outcome(one) for one in readers] == [1, 1, 1]
        assert await _gate(world).run("one") == 1


async def test_a_killed_resolver_completes_all_or_nothing() -> None:
    for turns in range(30):
        world = World(Gate, limits=limits(max_waiting=1))
        world.rng = Random(turns)
        async with world:
            readers = [await _gate(world).wait.send("a") for _ in range(3)]
            await _gate(world).run.send("one")
            await world.settle(5)
            resolving = await _gate(world).resolve.send("a", 1)
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.gather(world.app.kill(resolving.id), return_exceptions=True)
            await world.settle(5)
            completed = await _gate(world).peek("a") is not None
            statuses = {(await world.app.describe(one.id)).status for one in readers}
            assert statuses == ({"succeeded"} if completed else {"blocked"})
            await _gate(world).resolve("a", 1)
            assert [await one.result() for one in readers] == [1, 1, 1]


async def test_a_cancelled_wait_leaves_the_promise_open_for_others() -> None:
    async with World(Gate) as world:
        sent = await _gate(world).run.send("caught")
        reader = await _gate(world).wait.send("a")
        await world.settle()
        await world.app.cancel(sent.id)
        await world.settle()
        await _gate(world).resolve("b", 2)
        assert await sent.result() == 2
        await _gate(world).resolve("a", 1)
        assert await reader.result() == 1


async def test_who_has_ended_is_no_waiter_any_more() -> None:
    async with World(Gate) as world:
        await _gate(world).run.send("one")
        for _ in range(20):
            reader = await _gate(world).wait.send("a")
            await world.settle()
            await world.app.kill(reader.id)
        state: Any = world.app._running().residents.objects["Gate"]["g"].state
        assert len(state.waiters["a"]) == 1


@pytest.mark.expects_log("is paused. It is tried again")
async def test_a_workflow_that_waits_for_another_promise_on_replay_is_paused() -> None:
    async with World(Gate) as world:
        sent = await _gate(world).run.send("one")
        await world.settle()

        class Changed(Workflow, name="Gate"):
            @handler
            async def run(self, ctx: Context, how: str) -> Any:
                return await ctx.promise("other", int)

        world.classes = (Changed,)
        await world.crash()
        await world.start()
        await world.app.object(Changed, "x").run.send("one")
        await world.app.pause(sent.id)
        await world.app.resume(sent.id)
        await world.settle()
        info = await world.app.describe(sent.id)
        assert info.status == "paused" and "recorded was promise 'a' with \"int\"" in (info.reason or "")
        assert DeterminismError.error == "journal_mismatch"


async def test_a_waiter_whose_type_this_process_has_not_met_is_asked_before_its_promise_is_completed() -> None:
    @dataclass
    class Answer:
        yes: bool

    class Asked(Workflow):
        @handler
        async def run(self, ctx: Context, pause: bool) -> bool:
            if pause:
                await asyncio.sleep(0)
            return (await ctx.promise("p", list[Answer]))[0].yes

        @shared
        async def give(self, ctx: Context, value: list[dict[str, Any]]) -> None:
            await ctx.promise("p", list[dict[str, Any]]).resolve(value)

    async with World(Asked) as world:
        for key, pause in (("a", False), ("b", True)):
            run = await world.app.object(Asked, key).run.send(pause)
            await world.restart()
            serde._CACHE.pop(list[Answer])  # as in a process of its own
            with pytest.raises(BadArguments, match="waits for the promise 'p'"):
                await world.app.object(Asked, key).give([{"yes": "maybe"}])
            await world.app.object(Asked, key).give([{"yes": True}])
            assert await world.app.invocation(run.id).result() is True


class Woken(Workflow):
    @handler
    async def run(self, ctx: Context) -> str:
        return str(await ctx.all(ctx.awakeable(str), ctx.promise("p", list[int])))

    @shared
    async def tell(self, ctx: Context) -> str:
        try:
            await ctx.promise("p").resolve("no list")
        except BadArguments:
            return "refused"
        return "accepted"


@pytest.mark.parametrize("turns", range(8))
async def test_a_waiter_that_was_woken_and_has_not_asked_yet_is_waited_for(turns: int) -> None:
    async with World(Woken) as world:
        run = await world.app.object(Woken, "k").run.send()
        await world.settle()
        (awakeable,) = await world.app.awakeables()
        await world.crash()
        serde._CACHE.pop(list[int])  # as in a process of its own
        await world.start()
        resolving = asyncio.ensure_future(world.app.resolve_awakeable(awakeable.id, "s"))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await world.app.object(Woken, "k").tell() == "refused"
        await resolving
        assert (await world.app.describe(run.id)).status == "blocked"


async def test_a_promise_has_a_name_of_bounded_length() -> None:
    class Named(Workflow):
        @handler
        async def run(self, ctx: Context, length: int) -> None:
            await ctx.promise("p" * length, str).resolve("x")

    async with World(Named) as world:
        await world.app.object(Named, "a").run(1000)
        with pytest.raises(TerminalError, match="1 to 1,000 characters"):
            await world.app.object(Named, "b").run(1001)
