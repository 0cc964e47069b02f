"""A commit that fails may be in the file all the same: whose request was in it is never told to ask again.

Each kind of request is in the batch that fails, once with the batch in the file and once without it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from actors import App, Context, VirtualObject, Workflow, handler, shared
from actors.errors import AppNotRunning, OutcomePending, StorageError, UnknownInvocation
from actors.storage import Batch
from actors.testing import Disk, SimulatedStore
from tests.http.asgi import Answer, ask
from tests.world import World

pytestmark = pytest.mark.may_log("The app has stopped")


class Account(VirtualObject):
    ops: list[str] = []

    @handler
    async def add(self, op: str) -> int:
        self.ops.append(op)
        return len(self.ops)

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def slow(self, ctx: Context) -> str:
        await ctx.sleep(60)
        return "slept"

    @shared
    async def count(self) -> int:
        return len(self.ops)


class Trip(Workflow):
    @handler
    async def run(self, ctx: Context, to: str) -> str:
        return to


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands in the file before a commit fails: an invocation that waits, its awakeable, and one that has ended."""

    app: App
    waiting: str
    awakeable: str
    ended: str


Request = Callable[[Stage], Awaitable[Any]]

IN_PROCESS: dict[str, Request] = {
    "call": lambda stage: _awaited(stage.app.object(Account, "a").add("x")),
    "call of a cold object": lambda stage: _awaited(stage.app.object(Account, "cold").add("x")),
    "call under a key": lambda stage: _awaited(stage.app.object(Account, "a").add.options(idempotency_key="k")("x")),
    "send": lambda stage: _awaited(stage.app.object(Account, "a").add.send("x")),
    "send for later": lambda stage: _awaited(stage.app.object(Account, "a").add.options(delay=5).send("x")),
    "send under a key": lambda stage: _awaited(
        stage.app.object(Account, "a").add.options(idempotency_key="k").send("x")
    ),
    "run of a workflow": lambda stage: _awaited(stage.app.object(Trip, "t").run("Rome")),
    "call that waits": lambda stage: _awaited(stage.app.object(Account, "c").slow()),
    "resolve": lambda stage: stage.app.resolve_awakeable(stage.awakeable, "x"),
    "reject": lambda stage: stage.app.reject_awakeable(stage.awakeable, "x"),
    "cancel": lambda stage: stage.app.cancel(stage.waiting),
    "kill": lambda stage: stage.app.kill(stage.waiting),
    "pause": lambda stage: stage.app.pause(stage.waiting),
    "restart": lambda stage: stage.app.restart(stage.ended),
    "purge": lambda stage: stage.app.purge(stage.ended),
    "change of state": lambda stage: stage.app.patch_state(Account, "a", set={"ops": ["y"]}),
}
HTTP: dict[str, Request] = {
    "call": lambda stage: ask(stage.app, "POST", "/Account/a/add", b'"x"'),
    "call of a cold object": lambda stage: ask(stage.app, "POST", "/Account/cold/add", b'"x"'),
    "call under a key": lambda stage: ask(stage.app, "POST", "/Account/a/add", b'"x"', idempotency_key="k"),
    "send": lambda stage: ask(stage.app, "POST", "/Account/a/add/send", b'"x"'),
    "send for later": lambda stage: ask(stage.app, "POST", "/Account/a/add/send?delay=5s", b'"x"'),
    "send under a key": lambda stage: ask(stage.app, "POST", "/Account/a/add/send", b'"x"', idempotency_key="k"),
    "run of a workflow": lambda stage: ask(stage.app, "POST", "/Trip/t/run", b'"Rome"'),
    "call that waits": lambda stage: ask(stage.app, "POST", "/Account/c/slow"),
    "resolve": lambda stage: ask(stage.app, "POST", f"/restate/awakeables/{stage.awakeable}/resolve", b'"x"'),
    "reject": lambda stage: ask(stage.app, "POST", f"/restate/awakeables/{stage.awakeable}/reject", b"x"),
    "cancel": lambda stage: ask(stage.app, "POST", f"/restate/admin/invocations/{stage.waiting}/cancel"),
    "restart": lambda stage: ask(stage.app, "POST", f"/restate/admin/invocations/{stage.ended}/restart"),
    "purge": lambda stage: ask(stage.app, "POST", f"/restate/admin/invocations/{stage.ended}/purge"),
}
HAVE_IDS = {name for name in IN_PROCESS if name.startswith(("call", "send", "run"))} | {"restart"}


async def _awaited(what: Awaitable[Any]) -> Any:
    return await what


async def staged(world: World) -> Stage:
    waiting = await world.app.object(Account, "b").wait.send()
    ended = await world.app.object(Account, "a").add.send("first")
    await ended.result()
    await world.settle()
    (open_one,) = await world.app.awakeables()
    return Stage(world.app, waiting.id, open_one.id, ended.id)


async def is_known(world: World, id: str) -> bool:
    try:
        await world.app.describe(id)
    except UnknownInvocation:
        return False
    return True


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("request_", IN_PROCESS)
async def test_a_caller_of_the_failed_batch_learns_that_it_may_be_done(request_: str, written: bool) -> None:
    async with World(Account, Trip) as world:
        stage = await staged(world)
        world.store.crash_at_commit(1, written=written)
        with pytest.raises(OutcomePending, match="before the outcome of this request was stored") as caught:
            await IN_PROCESS[request_](stage)
        assert isinstance(caught.value.__cause__, StorageError)
        id = caught.value.invocation_id
        assert (id is not None) == (request_ in HAVE_IDS)
        await world.restart()
        if id is not None:
            assert await is_known(world, id) == written


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("request_", HTTP)
async def test_an_http_request_of_the_failed_batch_is_not_told_to_ask_again(request_: str, written: bool) -> None:
    async with World(Account, Trip) as world:
        stage = await staged(world)
        world.store.crash_at_commit(1, written=written)
        answer: Answer = await HTTP[request_](stage)
        assert (answer.status, answer.json["error"], answer.json["source"]) == (503, "outcome_pending", "ingress")
        assert "retry-after" not in answer.headers
        id = answer.headers.get("x-restate-id")
        assert (id is not None) == (request_ in HAVE_IDS)
        await world.restart()
        if id is not None:
            found = await ask(world.app, "GET", f"/restate/invocation/{id}/output")
            assert (found.status in (200, 470), found.status) == (written, found.status)
            assert written or found.json["error"] == "unknown_invocation"


@pytest.mark.parametrize("written", [False, True])
async def test_an_app_that_cannot_write_its_last_batch_promises_nothing(written: bool) -> None:
    async with World(Account) as world:
        before = asyncio.ensure_future(_awaited(world.app.object(Account, "a").wait()))
        await world.settle()
        during = asyncio.ensure_future(_awaited(world.app.object(Account, "a").add("x")))
        await asyncio.sleep(0)
        world.store.crash_at_commit(1, written=written)
        with contextlib.suppress(StorageError):
            await world.app.close()
        told = await asyncio.gather(before, during, return_exceptions=True)
        await world.start()
        for error, known in zip(told, (True, written), strict=True):
            assert isinstance(error, OutcomePending) and error.invocation_id is not None
            assert await is_known(world, error.invocation_id) == known


class HeldStore(SimulatedStore):
    """Commits wait for `go`, and fail if `broken`, in the file if `written`."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.go = asyncio.Event()
        self.go.set()
        self.broken = self.written = False

    async def commit(self, batch: Batch) -> None:
        await self.go.wait()
        if self.written or not self.broken:
            await super().commit(batch)
        if self.broken:
            raise StorageError("disk I/O error")


class HeldWorld(World):
    held: HeldStore

    async def start(self) -> App:
        self.held = self.store = HeldStore(self.disk)
        self.app = App(*self.classes, store=self.held, clock=self.clock, limits=self.limits)
        await self.app.start()
        return self.app


@pytest.mark.parametrize("written", [False, True])
async def test_only_requests_the_store_never_had_are_told_to_ask_again(written: bool) -> None:
    world = HeldWorld(Account, Trip)
    async with world:
        stage = await staged(world)
        world.held.go.clear()
        early = {name: asyncio.create_task(_awaited(HTTP[name](stage))) for name in ("call", "send for later")}
        await world.settle()
        names = ("call of a cold object", "send", "run of a workflow", "call that waits")
        late = {name: asyncio.create_task(_awaited(HTTP[name](stage))) for name in names}
        reading = asyncio.create_task(ask(stage.app, "GET", f"/restate/invocation/{stage.waiting}/attach"))
        counting = asyncio.create_task(ask(stage.app, "POST", "/Account/a/count"))
        await world.settle()
        world.held.written, world.held.broken = written, True
        world.held.go.set()
        for name, task in early.items():
            answer = await task
            assert (name, answer.json["error"]) == (name, "outcome_pending")
        for name, task in late.items():
            answer = await task
            told = (answer.json["error"], answer.headers.get("retry-after"))
            if name == "run of a workflow":  # asking again runs it once: what may be is not looked at that closely
                assert told in (("storage_error", "1"), ("outcome_pending", None))
            else:
                assert (name, *told) == (name, "storage_error", "1")
        assert (await reading).json["error"] == "outcome_pending", "its call goes on"
        assert (await counting).headers["retry-after"] == "1"
        after = await ask(stage.app, "POST", "/Account/a/add", b'"x"')
        assert (after.json["error"], after.headers["retry-after"]) == ("storage_error", "1")
        await world.app.close()
        stored = world.disk.query("SELECT key, handler, status FROM invocations WHERE invocation > 2")
        expected = [("a", "add", "succeeded"), ("a", "add", "scheduled")] if written else []
        assert sorted(stored) == sorted(expected), "what was told to be asked again is in the file"
        await world.start()


async def test_a_closing_app_says_that_a_call_goes_on_once_that_is_true() -> None:
    world = HeldWorld(Account)
    async with world:
        await world.app.object(Account, "a").count()
        world.held.go.clear()
        call = asyncio.create_task(ask(world.app, "POST", "/Account/a/wait"))
        await world.settle()
        closing = asyncio.create_task(world.app.close())
        await world.settle()
        assert not call.done() and not closing.done(), "its row is not written"
        world.held.go.set()
        await closing
        answer = await call
        assert (answer.json["error"], "retry-after" in answer.headers) == ("outcome_pending", False)
        await world.start()
        assert await is_known(world, answer.headers["x-restate-id"])


async def test_a_failure_reported_a_thousand_times_keeps_no_frames() -> None:
    async with World(Account) as world:
        world.store.crash_at_commit(1, written=False)
        with pytest.raises(OutcomePending):
            await world.app.object(Account, "a").add("x")
        for _ in range(2):
            with pytest.raises(StorageError):
                await world.app.object(Account, "a").add("x")
        with pytest.raises(StorageError) as caught:
            await world.app.object(Account, "a").add("x")
        trace, frames = caught.value.__traceback__, 0
        while trace is not None:
            trace, frames = trace.tb_next, frames + 1
        assert frames < 8


async def test_an_app_that_stopped_by_a_read_writes_no_more_and_answers_all() -> None:
    class Unreadable(SimulatedStore):
        broken = False

        async def load_objects(self, keys: Any) -> Any:
            if self.broken:
                raise StorageError("disk I/O error")
            return await super().load_objects(keys)

    async with World(Account) as world:
        await world.app.close()
        store = world.store = Unreadable(world.disk)
        world.app = App(Account, store=store, clock=world.clock)
        await world.app.start()
        store.broken = True
        with pytest.raises((StorageError, AppNotRunning)):
            await world.app.object(Account, "cold").add("x")
        for _ in range(2):
            with pytest.raises(StorageError):
                await world.app.object(Account, "cold").add("x")
        store.broken = False
        await world.app.close()
        await world.app.start()
        assert await world.app.object(Account, "cold").add("x") == 1
