"""An app that has stopped because its database failed starts again by itself, and goes on as after any start."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors import App, Context, VirtualObject, handler, shared
from actors.app.recovery import LONGEST_PAUSE_MS
from actors.errors import AppNotRunning, DefinitionError, OutcomePending, StorageError, UnknownInvocation
from actors.storage import DatabaseForeign, DatabaseInUse, OwnershipLost, StorageFull
from tests.http.asgi import ask
from tests.world import World

pytestmark = [
    pytest.mark.may_log("The app has stopped"),
    pytest.mark.may_log("starts again in"),
    pytest.mark.may_log("runs again"),
]


class Account(VirtualObject):
    ops: list[str] = []

    @handler
    async def add(self, op: str) -> int:
        self.ops.append(op)
        return len(self.ops)

    @handler
    async def approve(self, ctx: Context) -> str:
        self.ops.append("asked")
        return await ctx.awakeable(str)

    @handler
    async def later(self, ctx: Context) -> str:
        await ctx.sleep(3600)
        return "slept"

    @handler
    async def broken(self) -> None:
        raise OSError("always")

    @shared
    async def all(self) -> list[str]:
        return self.ops


def locked() -> StorageError:
    error = StorageError("app.db is locked by another program.")
    error.transient = True
    return error


@asynccontextmanager
async def recovering(world: World) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(world.app.recover())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def stop(world: World, error: StorageError, *, written: bool = False) -> None:
    """The database fails, which the app notices at the next commit."""
    world.store.break_down(error, written=written)
    with pytest.raises(OutcomePending):
        await world.app.object(Account, "noticed").add("x")


async def passes(task: asyncio.Future[Any], world: World) -> None:
    for _ in range(100):
        if task.done():
            break
        await world.pass_time(LONGEST_PAUSE_MS / 1000)
    await task


async def test_everything_that_was_open_goes_on_after_a_recovery() -> None:
    async with World(Account) as world:
        app, account = world.app, world.app.object(Account, "a")
        assert await account.add("one") == 1
        keyed = account.add.options(idempotency_key="k")
        assert await keyed("two") == 2
        asked = await app.object(Account, "b").approve.send()
        slept = await app.object(Account, "c").later.send()
        planned = await app.object(Account, "d").add.options(delay=3600).send("x")
        await world.settle()
        (waiting,) = await app.awakeables()
        await stop(world, locked())
        with pytest.raises(StorageError):
            await account.add("lost")
        async with recovering(world) as task:
            await world.pass_time(60)
            assert not task.done()
            world.store.repair()
            await passes(task, world)
        assert await account.add("three") == 3
        assert await account.all() == ["one", "two", "three"]
        assert await keyed("two") == 2
        await app.resolve_awakeable(waiting.id, "yes")
        assert await asked.result() == "yes"
        await world.pass_time(4000)
        assert await slept.result() == "slept"
        assert await planned.result() == 1
        assert (await asked).id == asked.id


async def test_an_app_that_waits_to_start_again_says_so_over_http() -> None:
    async with World(Account) as world:
        await stop(world, StorageFull("The disk is full."))
        async with recovering(world) as task:
            await world.pass_time(5)
            for method, path in (
                ("POST", "/Account/a/add"),
                ("POST", "/Account/a/add/send"),
                ("GET", "/restate/health"),
            ):
                answer = await ask(world.app, method, path, b'"x"' if method == "POST" else b"")
                assert answer.status == 503
                assert answer.headers.get("retry-after", "1") == "1"
            assert "actors_app_running 0" in _figures(world)
            world.store.repair()
            await passes(task, world)
        assert (await ask(world.app, "POST", "/Account/a/add", b'"x"')).json == 1
        assert (await ask(world.app, "GET", "/restate/health")).status == 200
        assert {"actors_app_running 1", "actors_app_recoveries 1"} <= _figures(world)


def _figures(world: World) -> set[str]:
    return {f"{name} {value}" for name, (_, _, value) in world.app._gateway.figures().items()}


async def test_figures_count_on_over_a_recovery() -> None:
    async with World(Account) as world:
        await world.app.object(Account, "a").add("x")
        await stop(world, locked())
        world.store.repair()
        async with recovering(world) as task:
            await passes(task, world)
        await world.app.object(Account, "a").add("x")
        assert "actors_invocations_succeeded 3" in _figures(world)


async def test_a_call_in_flight_is_answered_by_its_id_afterwards() -> None:
    async with World(Account) as world:
        waiting = asyncio.ensure_future(_awaited(world.app.object(Account, "b").approve()))
        await world.settle()
        (promise,) = await world.app.awakeables()
        await stop(world, locked())
        with pytest.raises(OutcomePending) as caught:
            await waiting
        world.store.repair()
        async with recovering(world) as task:
            await passes(task, world)
        await world.app.resolve_awakeable(promise.id, "yes")
        assert caught.value.invocation_id is not None
        assert await world.app.invocation(caught.value.invocation_id).result() == "yes"


async def _awaited(what: Awaitable[Any]) -> Any:
    return await what


async def test_pauses_grow_until_a_start_has_lasted() -> None:
    async with World(Account) as world:
        pauses: list[int] = []

        async def pauses_of_one_outage() -> None:
            await stop(world, locked())
            async with recovering(world) as task:
                await world.settle()
                for _ in range(7):
                    due = world.clock.next_due_ms()
                    assert due is not None
                    pauses.append(due - world.clock.now_ms())
                    world.clock.move_to(due)
                    await world.settle()
                world.store.repair()
                await passes(task, world)

        await pauses_of_one_outage()
        assert pauses == [100, 200, 400, 800, 1600, 2000, 2000]
        await pauses_of_one_outage()
        assert pauses[7] == 2000, "the app had not run for long"
        await world.pass_time(61)
        await pauses_of_one_outage()
        assert pauses[14] == 100


@pytest.mark.parametrize(
    "error",
    [
        OwnershipLost("Another process took it over."),
        DatabaseForeign("It is damaged."),
        StorageError("No such table."),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_does_not_pass_by_itself_is_raised_at_once(error: StorageError) -> None:
    async with World(Account) as world:
        await stop(world, error)
        with pytest.raises(type(error)) as caught:
            await world.app.recover()
        assert caught.value is error
        with pytest.raises(type(error)):
            await world.app.object(Account, "a").add("x")


async def test_a_recovery_that_finds_another_owner_ends() -> None:
    async with World(Account) as world:
        await stop(world, locked())
        async with recovering(world) as task:
            await world.pass_time(5)
            world.store.break_down(DatabaseInUse("app.db", 7))
            await world.settle()
            with pytest.raises(DatabaseInUse):
                await passes(task, world)


async def test_a_database_in_memory_is_not_opened_anew() -> None:
    app = App(Account, storage="sqlite://")
    async with app:
        await app.object(Account, "a").add("x")
        partition = app._running()
        partition.fail(locked())
        with pytest.raises(StorageError):
            await app.recover()


async def test_another_file_is_neither_taken_over_nor_changed() -> None:
    async with World(Account) as world:
        await world.app.object(Account, "a").add("x")
        await stop(world, locked())
        world.store.repair()
        world.disk.connection.execute("UPDATE meta SET value = x'00' WHERE name = 'secret'")
        before = world.disk.query("SELECT * FROM meta")
        async with recovering(world) as task:
            with pytest.raises(OwnershipLost, match="not the file"):
                await passes(task, world)
        assert world.disk.query("SELECT * FROM meta") == before


async def test_a_file_that_was_removed_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with App(Account, storage=f"sqlite:///{path}") as app:
        await app.object(Account, "a").add("x")
        app._running().fail(locked())
        for name in ("app.db", "app.db-wal", "app.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        with pytest.raises(OwnershipLost, match="not the file"):
            await app.recover()


async def test_recover_is_shared_and_does_nothing_while_the_app_runs() -> None:
    async with World(Account) as world:
        await world.app.recover()
        await stop(world, locked())
        tasks = [asyncio.create_task(world.app.recover()) for _ in range(3)]
        await world.settle()
        tasks[0].cancel()
        world.store.repair()
        await passes(asyncio.gather(*tasks[1:]), world)
        assert await world.app.object(Account, "a").add("x") == 1
        assert "actors_app_recoveries 1" in _figures(world)


async def test_closing_ends_a_recovery() -> None:
    async with World(Account) as world:
        await stop(world, locked())
        task = asyncio.create_task(world.app.recover())
        await world.settle()
        await world.app.close()
        with pytest.raises(AppNotRunning):
            await task
        with pytest.raises(AppNotRunning):
            await world.app.recover()
        world.store.repair()
        await world.app.start()
        assert await world.app.object(Account, "a").add("x") == 1


async def test_an_app_that_was_never_started_cannot_recover() -> None:
    with pytest.raises(AppNotRunning):
        await App(Account, storage="sqlite://").recover()


async def test_an_internal_error_is_not_recovered_from() -> None:
    async with World(Account) as world:
        world.app._running().fail(RuntimeError("a bug"))
        with pytest.raises(AppNotRunning, match="a bug"):
            await world.app.recover()


@pytest.mark.may_log("Account")
async def test_a_paused_invocation_stays_paused_over_a_recovery() -> None:
    async with World(Account) as world:
        handle = await world.app.object(Account, "p").broken.send()
        for _ in range(10):
            await world.pass_time(120)
        assert await world.status(handle) == "paused"
        reason = (await world.app.describe(handle.id)).reason
        await stop(world, locked())
        world.store.repair()
        async with recovering(world) as task:
            await passes(task, world)
        await world.settle()
        assert (await world.app.describe(handle.id)).reason == reason


# --- on_stopped -----------------------------------------------------------------------------------------------------------


async def test_on_stopped_is_called_once_with_the_error_and_may_recover() -> None:
    errors: list[BaseException] = []

    async def again(error: BaseException) -> None:
        errors.append(error)
        await world.app.recover()

    async with World(Account, on_stopped=again) as world:
        failure = locked()
        await stop(world, failure)
        world.store.repair()
        await world.settle()
        await world.pass_time(5)
        assert errors == [failure]
        assert await world.app.object(Account, "a").add("x") == 1
        await world.app.close()
        await world.settle()
        assert errors == [failure], "closing is not stopping by itself"
        await world.app.start()


async def test_on_stopped_that_raises_is_logged(expect_log: Callable[[str], None]) -> None:
    def careless(error: BaseException) -> None:
        raise ValueError("careless")

    async def careless_later(error: BaseException) -> None:
        raise ValueError("careless")

    for hook in (careless, careless_later):
        async with World(Account, on_stopped=hook) as world:
            expect_log("on_stopped raised")
            await stop(world, locked())
            await world.settle()


@pytest.mark.parametrize("wrong", [5, "recover", [print], True])
def test_on_stopped_is_a_function(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="on_stopped"):
        App(Account, on_stopped=wrong)


# --- nothing lost, nothing twice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_outages_at_random_moments_lose_nothing_and_do_nothing_twice(seed: int) -> None:
    rng = Random(seed)
    acknowledged: set[str] = set()
    refused: set[str] = set()
    pending: dict[str, str] = {}
    names = (f"{n}" for n in itertools.count())

    async def client(world: World) -> None:
        for _ in range(12):
            op = next(names)
            account, by_key = world.app.object(Account, rng.choice("ab")), rng.random() < 0.3
            while True:
                add = account.add.options(idempotency_key=op) if by_key else account.add
                try:
                    await (add(op) if rng.random() < 0.5 else add.send(op))
                    acknowledged.add(op)
                except OutcomePending as error:
                    if by_key:
                        await asyncio.sleep(0)
                        continue
                    pending[op] = error.invocation_id or ""
                except (StorageError, AppNotRunning):
                    if by_key:
                        await asyncio.sleep(0)
                        continue
                    refused.add(op)
                break

    async def again(error: BaseException) -> None:
        await world.app.recover()

    world = World(Account, on_stopped=again)
    world.rng = rng
    async with world:
        clients = [asyncio.create_task(client(world)) for _ in range(5)]
        while not all(task.done() for task in clients):
            for _ in range(rng.randrange(20)):
                await asyncio.sleep(0)
            world.store.break_down(locked(), written=rng.random() < 0.5)
            for _ in range(rng.randrange(1, 20)):
                await asyncio.sleep(0)
            world.store.repair()
            await world.pass_time(rng.uniform(0, 4))
            if rng.random() < 0.5:
                await world.settle(5)
        await asyncio.gather(*clients)
        await world.pass_time(10)
        await world.settle(20)
        stored = [op for key in "ab" for op in await world.app.object(Account, key).all()]
        assert len(stored) == len(set(stored)), "done twice"
        assert acknowledged <= set(stored), "what was acknowledged is lost"
        assert not refused & set(stored), "done, and its caller was told to ask again"
        for op, id in pending.items():
            try:
                await world.app.invocation(id).result()
                known = True
            except UnknownInvocation:
                known = False
            assert known == (op in stored)
