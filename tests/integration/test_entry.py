"""Where an app may be called from: every public operation, from other threads and loops, and inside its own handlers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, Service, TerminalError, VirtualObject, handler
from actors.errors import MisusedApp
from tests.http.asgi import ask
from tests.world import World

app: App
ids: dict[str, str] = {}
kept: dict[str, Any] = {}  # calls and handles that were made where they may be
done: list[str] = []  # what has happened to Target


class Target(VirtualObject):
    count: int = 0

    @handler
    async def add(self) -> int:
        self.count += 1
        done.append("added")
        return self.count

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Plain(Service):
    @handler
    async def go(self) -> None:
        done.append("gone")


async def _state() -> Any:
    return await app.state(Target, "t")


async def _aenter() -> None:
    async with app:
        pass


def _target() -> Target:
    return app.object(Target, "t")


# Each public operation of App, and of what an App gives.
OPERATIONS: dict[str, Callable[[], Any]] = {
    "handler": lambda: app.handler("Target", "t", "add"),
    "call": lambda: app.call("Target", "t", "add"),
    "send": lambda: app.send("Target", "t", "add"),
    "object": lambda: _target().add(),
    "object, send": lambda: _target().add.send(),
    "object, keyed call": lambda: _target().add.options(idempotency_key="k")(),
    "object, keyed send": lambda: _target().add.options(idempotency_key="k").send(),
    "object, delayed": lambda: _target().add.options(delay=1).send(),
    "service": lambda: app.service(Plain).go(),
    "service, send": lambda: app.service(Plain).go.send(),
    "invocation": lambda: app.invocation(ids["wait"]),
    "invocation_of": lambda: app.invocation_of(ids["awakeable"]),
    "describe": lambda: app.describe(ids["wait"]),
    "invocations": lambda: app.invocations(),
    "cancel": lambda: app.cancel(ids["wait"]),
    "kill": lambda: app.kill(ids["wait"]),
    "pause": lambda: app.pause(ids["wait"]),
    "resume": lambda: app.resume(ids["wait"]),
    "restart": lambda: app.restart(ids["ended"]),
    "purge": lambda: app.purge(ids["ended"]),
    "state": _state,
    "patch_state": lambda: app.patch_state(Target, "t", set={"count": 100}),
    "awakeables": lambda: app.awakeables(),
    "resolve_awakeable": lambda: app.resolve_awakeable(ids["awakeable"], "x"),
    "reject_awakeable": lambda: app.reject_awakeable(ids["awakeable"], "x"),
    "close": lambda: app.close(),
    "handle, result": lambda: kept["handle"].result(),
    "handle, output": lambda: kept["handle"].output(),
    "handle, cancel": lambda: kept["handle"].cancel(),
    "keyed handle, cancel": lambda: kept["keyed handle"].cancel(),
}
# Only the loop matters to them: what they await was asked for where it may be.
AWAITS: dict[str, Callable[[], Any]] = {
    "a call, awaited": lambda: kept["call"],
    "a keyed call, awaited": lambda: kept["keyed call"],
    "a handle, awaited": lambda: kept["sent"],
    "a keyed handle, awaited": lambda: kept["keyed handle"],
    "a keyed handle, result": lambda: kept["keyed handle"].result(),
}
ELSEWHERE = {
    "recover",
    "store_in",
    "start",
    "begin",
    "outside",
    "cross_origin",
    "dispatch_call",
    "dispatch_send",
    "engine_options",
}


def test_every_public_operation_is_tried() -> None:
    public = {name for name, _ in inspect.getmembers(App, callable) if not name.startswith("_")}
    assert public - ELSEWHERE == {name.partition(",")[0] for name in OPERATIONS} - {"handle", "keyed handle"}


async def _tried(operation: Callable[[], Any]) -> str:
    try:
        result = operation()
        if isinstance(result, Awaitable) or hasattr(result, "__await__"):
            await result
    except TerminalError as error:
        return error.error
    return "done"


async def _prepare(world: World) -> list[tuple[Any, ...]]:
    """What must be as it was afterwards."""
    global app
    app = world.app
    done.clear()
    waiting = await app.object(Target, "w").wait.send()
    ended = await app.object(Target, "e").add.send()
    await world.settle()
    (awakeable,) = await app.awakeables()
    ids.update(wait=waiting.id, ended=ended.id, awakeable=awakeable.id)
    kept["call"] = app.object(Target, "e").add()
    kept["keyed call"] = app.object(Target, "e").add.options(idempotency_key="call")()
    kept["handle"] = await app.object(Target, "w").wait.options(delay=1000).send()
    kept["keyed handle"] = await app.object(Target, "w").wait.options(delay=1000, idempotency_key="send").send()
    kept["sent"] = app.object(Target, "w").wait.options(delay=1000).send()
    await world.settle()
    done.clear()
    return _contents(world)


def _contents(world: World) -> list[tuple[Any, ...]]:
    return [
        *world.disk.query("SELECT seq, service, key, handler, status, flags FROM invocation WHERE service != 'Inside'"),
        *world.disk.query("SELECT * FROM object_state WHERE service != 'Inside'"),
    ]


@pytest.mark.parametrize("operation", [*OPERATIONS, *AWAITS])
async def test_an_app_is_refused_on_the_loop_of_another_thread(operation: str) -> None:
    async with World(Target, Plain) as world:
        before = await _prepare(world)
        told: list[str] = []
        try:
            await asyncio.to_thread(lambda: told.append(asyncio.run(_tried({**OPERATIONS, **AWAITS}[operation]))))
            await world.settle()
            assert (told, done, _contents(world)) == (["misused_app"], [], before)
        finally:
            await kept["call"], await kept["keyed call"]


@pytest.mark.parametrize("operation", ["call", "send", "object", "object, send", "object, keyed call", "invocation"])
async def test_an_app_is_refused_in_a_thread_without_a_loop(operation: str) -> None:
    async with World(Target, Plain) as world:
        before = await _prepare(world)
        told: list[Any] = []

        def use() -> None:
            with pytest.raises(
                MisusedApp, match=r"outside of an event loop, in the thread 'asyncio_\d+'. Nothing was done"
            ):
                told.append(OPERATIONS[operation]())

        await asyncio.to_thread(use)
        await world.settle()
        assert (told, done, _contents(world)) == ([], [], before)
        await kept["call"], await kept["keyed call"]


class Inside(VirtualObject):
    @handler
    async def go(self, ctx: Context, where: str, operation: str) -> str:
        function = OPERATIONS[operation]
        if where == "the handler":
            return await _tried(function)
        if where == "a task of the handler":
            return await asyncio.ensure_future(_tried(function))
        if where == "an async step":
            return str(await ctx.run(_tried, function))
        return str(await ctx.run(lambda: asyncio.run(_tried(function))))

    @handler
    async def allowed(self, ctx: Context, operation: str, step: bool) -> str:
        async def outside() -> str:
            with app.outside():
                told = await _tried(OPERATIONS[operation])
            assert await _tried(OPERATIONS["describe"]) == "misused_app", "only within the block"
            return told

        return str(await ctx.run(outside)) if step else await outside()


@pytest.mark.parametrize("where", ["the handler", "a task of the handler", "an async step", "a step in a thread"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_app_is_refused_inside_its_own_handlers(operation: str, where: str, storage: str) -> None:
    async with World(Target, Plain, Inside) as world:
        before = await _prepare(world)
        executor = ThreadPoolExecutor(1)
        if where == "a step in a thread":  # of its own: this one has a loop
            world.app._running().step_threads._executor = executor
        told = await world.app.object(Inside, "i").go(where, operation)
        await world.settle()
        assert (told, done, _contents(world)) == ("misused_app", [], before)
        await kept["call"], await kept["keyed call"]
        executor.shutdown()


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ("close", "handle, result")])
async def test_app_outside_allows_it_inside_a_handler(operation: str, step: bool) -> None:
    async with World(Target, Plain, Inside) as world:
        await _prepare(world)
        told = await world.app.object(Inside, "i").allowed(operation, step)
        assert told == {"handle, output": "not_ready", "resume": "wrong_status"}.get(operation, "done")
        await kept["call"], await kept["keyed call"]


async def test_another_app_may_be_used_inside_a_handler() -> None:
    """It is a caller like any other to that one; what it asks for is not part of its invocation."""

    class Asks(VirtualObject):
        @handler
        async def ask(self) -> int:
            return await other.object(Target, "t").add()

    async with World(Target) as second, World(Asks) as first:
        other = second.app
        assert await first.app.object(Asks, "a").ask() == 1


async def test_an_app_that_is_used_by_the_handlers_of_another_calls_back() -> None:
    """Each app knows its own handlers only: the second one stands outside of the first."""

    class Asked(VirtualObject):
        @handler
        async def ask(self) -> int:
            return await apps[0].object(Target, "t").add()

    class Asks(VirtualObject):
        @handler
        async def ask(self) -> int:
            return await apps[1].object(Asked, "a").ask()

    async with World(Asked) as second, World(Asks, Target) as first:
        apps = [first.app, second.app]
        assert await first.app.object(Asks, "a").ask() == 1


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.expects_log("is paused. It is tried again")
async def test_on_paused_may_use_the_app(asynchronous: bool) -> None:
    """It is called because of a handler, but not inside of it."""

    class Broken(VirtualObject):
        @handler
        async def go(self) -> None:
            raise OSError("broken")

    told: list[str] = []

    async def on_paused_async(info: Any) -> None:
        told.append(await _tried(lambda: world.app.kill(info.id)))

    def on_paused(info: Any) -> None:
        told.append("sync")
        tasks.append(asyncio.ensure_future(on_paused_async(info)))

    tasks: list[asyncio.Task[None]] = []
    world = World(Broken, retry=RetryPolicy(max_attempts=1), on_paused=on_paused_async if asynchronous else on_paused)
    async with world:
        await world.app.object(Broken, "b").go.send()
        await world.settle()
        assert told == (["done"] if asynchronous else ["sync", "done"])
        await asyncio.gather(*tasks)


async def test_a_request_on_the_loop_of_another_thread_is_refused() -> None:
    async with World(Target) as world:
        await _prepare(world)
        told: list[Any] = []
        await asyncio.to_thread(lambda: told.append(asyncio.run(ask(world.app, "POST", "/Target/t/add"))))
        assert (told[0].status, told[0].json["error"], done) == (500, "misused_app", [])
        assert world.app._gateway.running()
        await kept["call"], await kept["keyed call"]


async def test_an_app_is_closed_on_its_own_loop_only(storage: str) -> None:
    loop = asyncio.new_event_loop()
    left = App(Target, storage=storage)

    await asyncio.to_thread(lambda: loop.run_until_complete(left.start()))
    with pytest.raises(MisusedApp):
        await left.close()
    await asyncio.to_thread(lambda: loop.run_until_complete(left.close()))
    loop.close()
