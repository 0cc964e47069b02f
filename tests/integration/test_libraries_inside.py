"""What libraries find that look into the task a handler runs in: anyio, httpx, and what asyncio documents of tasks."""

from __future__ import annotations

import asyncio
import contextvars
import io
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from actors import App, Context, VirtualObject, handler
from actors.errors import MisusedFuture
from tests.world import World

happened: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    happened.clear()


class Scopes(VirtualObject):
    """Each handler returns "timed out" if the scope has done its work."""

    @handler
    async def move_on(self) -> str:
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(100)
        return "timed out" if scope.cancelled_caught else "?"

    @handler
    async def fail(self) -> str:
        try:
            with anyio.fail_after(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "?"

    @handler
    async def nested(self) -> str:
        with anyio.move_on_after(100) as outer, anyio.move_on_after(0.001) as inner:
            await anyio.sleep(100)
        return "timed out" if inner.cancelled_caught and not outer.cancelled_caught else "?"

    @handler
    async def shielded(self) -> str:
        with anyio.move_on_after(0.001):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
                happened.append("shielded")
            await anyio.sleep(100)
        return "timed out" if happened == ["shielded"] else "?"

    @handler
    async def itself(self) -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(100)
        return "timed out" if scope.cancelled_caught else "?"

    @handler
    async def group(self) -> str:
        with anyio.move_on_after(0.001) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 100)
                await anyio.sleep(100)
        return "timed out" if scope.cancelled_caught else "?"

    @handler
    async def child_fails(self) -> str:
        async def fail() -> None:
            raise ConnectionError("child")

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                await anyio.sleep(100)
        except* ConnectionError:
            happened.append("child")
        return "timed out" if happened == ["child"] else "?"

    @handler
    async def thread(self) -> str:
        return str(await anyio.to_thread.run_sync(lambda: "timed out"))

    @handler
    async def branch(self) -> str:
        async def inner() -> str:
            with anyio.move_on_after(0.001) as scope:
                await anyio.sleep(100)
            return "timed out" if scope.cancelled_caught else "?"

        return await asyncio.create_task(inner())

    @handler
    async def asyncio_timeout(self) -> str:
        try:
            async with asyncio.timeout(100):
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(100)
        except TimeoutError:
            return "timed out"
        return "?"

    @handler
    async def wait_for(self) -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(100), 0.001)
        except TimeoutError:
            return "timed out"
        return "?"


SCOPES = [name for name, value in vars(Scopes).items() if callable(value) and not name.startswith("_")]


@pytest.mark.parametrize("name", SCOPES)
async def test_timeouts_work_around_waits_that_are_not_durable(name: str) -> None:
    async with App(Scopes, storage="sqlite://") as app:
        answer = await asyncio.wait_for(getattr(app.object(Scopes, "s"), name)(), 10)
        assert answer == "timed out"
        assert await asyncio.wait_for(getattr(app.object(Scopes, "s"), name)(), 10) in ("timed out", "?")


class Durable(VirtualObject):
    @handler
    async def go(self, ctx: Context, how: str) -> str:
        try:
            if how == "move_on":
                with anyio.move_on_after(100) as scope:
                    _expire_soon(scope)
                    await ctx.awakeable(str)
            elif how == "fail":
                with anyio.fail_after(100) as scope:
                    _expire_soon(scope)
                    await ctx.sleep(1000)
            elif how == "group":
                with anyio.move_on_after(100) as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self.wait, ctx, scope)
            else:
                with anyio.CancelScope() as scope:
                    asyncio.get_running_loop().call_soon(scope.cancel)
                    await ctx.all(ctx.awakeable(str), ctx.sleep(1000))
        except BaseException:
            happened.append("caught")
            raise
        happened.append("went on")
        return "?"

    async def wait(self, ctx: Context, scope: anyio.CancelScope) -> None:
        _expire_soon(scope)
        await ctx.awakeable(str)


def _expire_soon(scope: anyio.CancelScope) -> None:
    """Let the time be up in the loop's next turn, when the handler waits.

    anyio compares a deadline with the clock as soon as it is set. On a slow machine a short one would be up before the wait
    begins: the handler's own code would then cancel, which is allowed.
    """
    asyncio.get_running_loop().call_soon(setattr, scope, "deadline", anyio.current_time() - 1)


@pytest.mark.parametrize("how", ["move_on", "fail", "group", "scope"])
async def test_anyio_timeouts_around_a_durable_wait_are_refused(how: str) -> None:
    async with World(Durable) as world:
        with pytest.raises(MisusedFuture, match=r"Use ctx\.timeout"):
            await asyncio.wait_for(_awaited(world.app.object(Durable, "d").go(how)), 10)
        await world.settle()
        assert "went on" not in happened


async def _awaited(call: Any) -> Any:
    return await call


class Fetches(VirtualObject):
    @handler
    async def fetch(self, port: int, path: str) -> str:
        async with httpx.AsyncClient(timeout=0.2 if path == "slow" else 10, trust_env=False) as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/{path}")).text
            except httpx.TimeoutException:
                return "timed out"

    @handler
    async def several(self, port: int) -> list[str]:
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = await asyncio.gather(*[client.get(f"http://127.0.0.1:{port}/{n}") for n in range(5)])
        return [answer.text for answer in answers]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        line = await reader.readline()
        while (await reader.readline()).strip():
            pass
        if b"slow" not in line:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone")
            await writer.drain()
        else:
            await reader.read()
    finally:
        writer.close()


async def test_httpx_works_in_a_handler() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with App(Fetches, storage="sqlite://") as app:
        one = app.object(Fetches, "f")
        assert await asyncio.wait_for(_awaited(one.fetch(port, "fast")), 10) == "done"
        assert await asyncio.wait_for(_awaited(one.fetch(port, "slow")), 10) == "timed out"
        assert await asyncio.wait_for(_awaited(one.several(port)), 10) == ["done"] * 5
    server.close()


# --- what asyncio documents ---------------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="?")


class Looks(VirtualObject):
    @handler
    async def look(self) -> list[Any]:
        task: Any = asyncio.current_task()
        seen = [task.done(), task.cancelled(), task.cancelling(), task.get_name()]
        task.set_name("mine")
        seen += [task.get_name(), task.get_coro() is not None, task._must_cancel, task._fut_waiter]
        seen += [len(task.get_stack()), task in {task}, task.get_loop() is asyncio.get_running_loop()]
        text = io.StringIO()
        task.print_stack(file=text)
        seen.append("look" in text.getvalue())
        variable.set("set")
        seen.append(task.get_context().get(variable, "not entered"))
        task.add_done_callback(lambda ended: happened.append(("ended", ended.done())))
        dropped = lambda _: happened.append("dropped")  # noqa: E731
        task.add_done_callback(dropped)
        seen.append(task.remove_done_callback(dropped))
        return [value if isinstance(value, (str, bool, int)) else str(value) for value in seen]

    @handler
    async def cancel_itself(self) -> list[Any]:
        task: Any = asyncio.current_task()
        task.cancel("why")
        counts = [task.cancelling(), task._must_cancel]
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            counts += [str(error), task.uncancel(), task.cancelling()]
        await asyncio.sleep(0)
        return counts

    @handler
    async def cancelled_by_a_branch(self, ctx: Context) -> str:
        task: Any = asyncio.current_task()

        async def cancel() -> None:
            await ctx.run(asyncio.sleep, 0)
            task.cancel()

        other = asyncio.create_task(cancel())
        try:
            await ctx.awakeable(str)
        except asyncio.CancelledError:
            task.uncancel()
        await other
        return "went on"


async def test_an_attempt_is_enough_of_a_task_to_be_looked_at() -> None:
    async with World(Looks) as world:
        seen = await world.app.object(Looks, "l").look()
        assert seen[:4] == [False, False, 0, "Looks/l/look"]
        assert seen[4:12] == ["mine", True, False, "None", 1, True, True, True]
        assert seen[12:] == ["set", 1]
        await world.settle()
        assert happened == [("ended", True)]
        assert await world.app.object(Looks, "l").cancel_itself() == [1, True, "why", 0, 0]


async def test_a_branch_may_cancel_its_main_line_and_a_replay_does_so_again() -> None:
    async with World(Looks) as world:
        handle = await world.app.object(Looks, "l").cancelled_by_a_branch.send()
        await world.settle()
        assert await world.outcome(handle) == "went on"
        again = await world.app.restart(handle.id, keep=2)
        await world.settle()
        assert await world.outcome(again) == "went on"


@pytest.mark.parametrize("how", ["before", "after"])
async def test_the_loop_is_left_as_it_was_found(how: str) -> None:
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    if how == "before":
        loop.set_task_factory(factory)
    try:
        async with App(Scopes, storage="sqlite://") as app, App(Looks, storage="sqlite://"):
            task = asyncio.create_task(asyncio.sleep(0), name="mine")
            other = asyncio.create_task(asyncio.sleep(0))
            assert task.get_name() == "mine"
            assert how == "before" or other.get_name().startswith("Task-")  # a factory decides on names itself
            await asyncio.gather(task, other)
            assert await app.object(Scopes, "s").branch() == "timed out"
        assert loop.get_task_factory() is (factory if how == "before" else None)
        assert bool(made) == (how == "before")
    finally:
        loop.set_task_factory(None)
