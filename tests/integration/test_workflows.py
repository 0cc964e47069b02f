"""Workflows: one run for each key, whoever asks for it, as long as it is kept; then the key is as new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from actors import Context, Limits, TerminalError, VirtualObject, Workflow, handler, migration, shared
from actors.errors import (
    BadArguments,
    DeadlockError,
    IdempotencyMismatch,
    InvocationCancelled,
    InvocationKilled,
    UnknownInvocation,
    WrongStatus,
)
from actors.storage import Batch
from actors.testing import Disk, SimulatedStore
from tests.world import World, limits

ran: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


class Signup(Workflow):
    status: str = "new"
    seen: list[str] = []

    @handler
    async def run(self, ctx: Context, email: str, tags: set[str] | None = None) -> str:
        assert (self.status, self.seen) == ("new", []), "a run begins with an empty state"
        await ctx.run(ran.append, email)
        self.status = "waiting"
        self.seen.append(email)
        self.status = await ctx.promise("clicked", str)
        if self.status == "fail":
            raise TerminalError("as asked", code=418)
        return f"{email} {self.status}"

    @shared
    async def click(self, ctx: Context, how: str) -> None:
        await ctx.promise("clicked", str).resolve(how)

    @shared
    async def click_and_wait(self, ctx: Context, how: str) -> str:
        await ctx.promise("clicked", str).resolve(how)
        return await ctx.awakeable(str)

    @shared
    async def clicked(self, ctx: Context) -> str | None:
        return await ctx.promise("clicked", str).peek()

    @shared
    async def watch(self, ctx: Context) -> str:
        return await ctx.promise("clicked", str)

    @shared
    async def look(self, ctx: Context) -> list[str]:
        return [self.status, *self.seen, *ctx.state_keys()]


class Caller(VirtualObject):
    @handler
    async def run(self, ctx: Context, key: str, email: str) -> str:
        try:
            return await ctx.object(Signup, key).run(email)
        except TerminalError as error:
            return error.error

    @handler
    async def send(self, ctx: Context, key: str, email: str) -> str:
        return (await ctx.object(Signup, key).run.send(email)).id

    @handler
    async def run_and_click(self, ctx: Context, key: str) -> str:
        running = ctx.object(Signup, key).run("both")
        await ctx.object(Signup, key).click("x")
        return await running


class Circle(Workflow):
    @handler
    async def run(self, ctx: Context) -> str:
        return await ctx.object(Signpost, ctx.key).back()


class Signpost(VirtualObject):
    @handler
    async def back(self, ctx: Context) -> str:
        return await ctx.object(Circle, ctx.key).run()


def _rows(world: World, table: str) -> int:
    ((count,),) = world.disk.query(f"SELECT count(*) FROM {table}")
    return int(count)


@pytest.mark.parametrize("seed", [None, 1, 2])
async def test_whoever_runs_it_gets_the_one_run_before_while_and_after_it_runs(seed: int | None) -> None:
    world = World(Signup, Caller)
    world.rng = Random(seed) if seed is not None else None
    async with world:
        app = world.app
        calls = [app.object(Signup, "u").run("a@b"), app.object(Caller, "c1").run("u", "a@b")]
        sent = await app.object(Signup, "u").run.send("a@b")
        again = await app.object(Signup, "u").run.send("a@b", None)
        assert (again.id, again.previously_accepted) == (sent.id, True)
        assert await app.object(Caller, "c2").send("u", "a@b") == sent.id
        await world.settle(5)
        assert await app.object(Signup, "u").look() == ["waiting", "a@b", "seen", "status"]
        await app.object(Signup, "u").click("yes")
        assert list(await asyncio.gather(*calls)) == ["a@b yes"] * 2
        await world.restart()
        app = world.app
        assert await app.object(Signup, "u").run("a@b") == "a@b yes"
        assert await app.call("Signup", "u", "run", "a@b") == "a@b yes"
        assert await app.send("Signup", "u", "run", "a@b", delay=5).result() == "a@b yes"
        assert await app.object(Caller, "c3").run("u", "a@b") == "a@b yes"
        assert await app.object(Signup, "u").look() == ["yes", "a@b", "seen", "status"]
        assert ran == ["a@b"]
        assert await app.object(Caller, "c4").run_and_click("other") == "both x"


async def test_a_failure_is_the_outcome_of_every_run_too() -> None:
    async with World(Signup, Caller) as world:
        first = world.app.object(Signup, "u").run("a@b")
        await world.app.object(Signup, "u").click("fail")
        with pytest.raises(TerminalError, match="as asked"):
            await first
        await world.restart()
        with pytest.raises(TerminalError, match="as asked") as caught:
            await world.app.object(Signup, "u").run("a@b")
        assert caught.value.code == 418
        assert ran == ["a@b"]


async def test_a_run_with_other_arguments_is_refused_while_it_runs_and_after() -> None:
    async with World(Signup, Caller) as world:
        await world.app.object(Signup, "u").run.send("a@b", {"x", "y"})
        for _ in ("running", "ended", "restarted"):
            with pytest.raises(IdempotencyMismatch, match=r"Signup/u was run with other arguments.*Use another key"):
                await world.app.object(Signup, "u").run("c@d")
            assert await world.app.object(Caller, "c").run("u", "c@d") == "idempotency_key_reused"
            await world.app.object(Signup, "u").click("yes")
            await world.settle()
            assert (await world.app.object(Signup, "u").run.send("a@b", {"y", "x"})).previously_accepted
            await world.restart()


async def test_an_idempotency_key_of_its_own_is_refused() -> None:
    async with World(Signup, Caller) as world:
        target = world.app.object(Signup, "u").run.options(idempotency_key="k")
        with pytest.raises(BadArguments, match="that key is its idempotency key"):
            target("a@b")
        with pytest.raises(BadArguments):
            target.send("a@b")
        click = world.app.object(Signup, "u").click.options(idempotency_key="k")
        assert (await click.send("x")).id == (await click.send("x")).id


async def test_a_delayed_run_is_the_one_run_already() -> None:
    async with World(Signup, Caller) as world:
        late = await world.app.object(Signup, "u").run.options(delay=60).send("a@b")
        running = world.app.object(Signup, "u").run("a@b")
        await world.settle()
        assert await world.app.object(Signup, "u").look() == ["new"]
        assert (await world.app.describe(late.id)).idempotency_key is None
        await world.pass_time(61)
        await world.app.object(Signup, "u").click("yes")
        assert await running == await late.result() == "a@b yes"


async def test_a_run_that_would_wait_for_itself_is_refused() -> None:
    async with World(Circle, Signpost) as world:
        with pytest.raises(DeadlockError):
            await asyncio.wait_for(world.app.object(Circle, "c").run(), 5)


@pytest.mark.parametrize("memory", ["warm", "suspended", "restarted"])
async def test_operators_reach_a_run_wherever_it_is(memory: str) -> None:
    async with World(Signup, Caller, limits=limits(suspend_after=1)) as world:
        ids = {}
        for name in ("cancelled", "killed", "held"):
            ids[name] = (await world.app.object(Signup, name).run.send(name)).id
        await world.settle()
        if memory == "suspended":
            await world.pass_time(2)
        elif memory == "restarted":
            await world.restart()
        app = world.app
        await app.cancel(ids["cancelled"])
        await app.kill(ids["killed"])
        await app.pause(ids["held"])
        with pytest.raises(InvocationCancelled):
            await app.object(Signup, "cancelled").run("cancelled")
        with pytest.raises(InvocationKilled):
            await app.object(Signup, "killed").run("killed")
        await app.object(Signup, "held").click("yes")
        await world.restart()
        assert (await world.app.describe(ids["held"])).status == "paused"
        await world.app.resume(ids["held"])
        assert await world.app.object(Signup, "held").run("held") == "held yes"
        assert [info.key for info in await world.app.invocations(handler="run")] == ["held", "killed", "cancelled"]


# --- purge, retention, restart ----------------------------------------------------------------------------------------


async def _ended(world: World, key: str = "u") -> str:
    sent = await world.app.object(Signup, key).run.send("a@b")
    await world.app.object(Signup, key).click("yes")
    assert await sent.result() == "a@b yes"
    return sent.id


async def test_while_the_run_is_open_it_is_neither_purged_nor_restarted() -> None:
    async with World(Signup) as world:
        sent = await world.app.object(Signup, "u").run.send("a@b")
        for operation in (world.app.purge, world.app.restart):
            with pytest.raises(WrongStatus):
                await operation(sent.id)


@pytest.mark.parametrize("memory", ["warm", "restarted", "cold"])
async def test_what_is_purged_is_forgotten_as_a_whole_and_the_key_runs_anew(memory: str) -> None:
    async with World(Signup, limits=limits(max_objects=1)) as world:
        id = await _ended(world)
        if memory == "restarted":
            await world.restart()
        elif memory == "cold":
            for n in range(8):
                await world.app.object(Signup, f"other{n}").look()
        await world.app.purge(id)
        assert (_rows(world, "promise"), _rows(world, "object_state")) == (0, 0)
        assert await world.app.object(Signup, "u").look() == ["new"]
        assert await world.app.object(Signup, "u").clicked() is None
        with pytest.raises(UnknownInvocation):
            await world.app.describe(id)
        anew = world.app.object(Signup, "u").run("c@d")
        await world.settle(5)
        assert await world.app.object(Signup, "u").look() == ["waiting", "c@d", "seen", "status"]
        await world.restart()
        await world.app.object(Signup, "u").click("second")
        with pytest.raises(Exception, match="closed"):
            await anew
        assert await world.app.object(Signup, "u").run("c@d") == "c@d second"
        assert ran == ["a@b", "c@d"]


class LateStore(SimulatedStore):
    """Tells nobody that a commit is done while `late` is closed. The second look for runs is the moment before a purge."""

    late: asyncio.Event
    before_purge: Callable[[], Awaitable[None]]
    looked = 0

    async def commit(self, batch: Batch) -> None:
        await super().commit(batch)
        await self.late.wait()

    async def keyed(self, seqs: Sequence[int]) -> list[tuple[int, str, str, bool]]:
        self.looked += 1
        if self.looked == 2:
            await self.before_purge()
        return await super().keyed(seqs)


class LateDisk(Disk):
    def store(self, rng: Random | None = None) -> LateStore:
        super().store(None)  # for what it does to the process before
        store = LateStore(self, rng)
        store.late = asyncio.Event()
        store.late.set()
        return store


async def test_what_is_purged_is_not_read_again_from_the_past() -> None:
    """Its object may not leave memory and come back before the batch that forgets it is with the disk."""
    world = World(Signup, limits=limits(max_objects=1))
    world.disk.close()
    world.disk = LateDisk()
    async with world:
        store: Any = world.store
        id = await _ended(world)
        writing: list[asyncio.Future[None]] = []

        async def before_purge() -> None:
            store.late.clear()
            writing.append(asyncio.ensure_future(_write(world, "other")))
            await world.settle(5)  # its batch is on its way, and that of the purge will have to wait for it

        store.before_purge = before_purge
        purging = asyncio.ensure_future(world.app.purge(id))
        for _ in range(3):
            await world.settle(5)
        for n in range(8):
            assert await _look(world, f"another{n}") == ["new"]  # each would displace it
        assert store.looked == 2 and not purging.done()
        look = asyncio.ensure_future(_look(world, "u"))
        await world.settle(5)
        store.late.set()
        await asyncio.gather(purging, *writing)
        assert await look == ["new"]
        assert await _look(world, "u") == ["new"]


async def test_a_run_that_is_restarted_while_it_is_purged_is_counted_once() -> None:
    """Whoever comes second may have looked at it before, whenever the answers of the database come."""
    kept = set()
    for seed in range(60):
        world = World(Signup, limits=limits(retention=None, idempotency_retention=None))
        world.rng = Random(seed)
        async with world:
            id = await _ended(world)
            turns, second = seed % 40, seed % 2
            restarting = _later(turns * second, world.app.restart(id))
            await asyncio.gather(restarting, _later(turns * (1 - second), world.app.purge(id)), return_exceptions=True)
            await world.settle(100)
            (stored,) = world.disk.query(
                "SELECT count(*) FROM invocation WHERE status >= 6 AND idempotency_key IS NULL"
            )
            partition = world.app._running()
            assert (partition.retention.count,) == stored, f"seed {seed}"
            kept.add(len(world.disk.query("SELECT 1 FROM invocation WHERE handler = 'run'")))
    assert kept == {0, 1}, "now one comes first, now the other"


async def _later(turns: int, what: Awaitable[object]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await what


async def _write(world: World, key: str) -> None:
    await world.app.object(Signup, key).click("x")


async def _look(world: World, key: str) -> Any:
    return await world.app.object(Signup, key).look()


async def test_a_replay_completes_no_promise_of_the_next_run() -> None:
    async with World(Signup) as world:
        id = (await world.app.object(Signup, "u").run.send("a@b")).id
        clicking = await world.app.object(Signup, "u").click_and_wait.send("yes")
        await world.settle(5)
        await world.app.purge(id)
        await world.restart()
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "go on")
        assert await world.app.invocation(clicking.id).result() == "go on"
        assert await world.app.object(Signup, "u").clicked() is None


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("commit", [1, 2, 3])
async def test_a_purge_that_meets_a_crash_forgets_all_or_nothing(commit: int, written: bool) -> None:
    async with World(Signup) as world:
        id = await _ended(world)
        world.store.crash_at_commit(commit, written=written)
        purging = asyncio.ensure_future(world.app.purge(id))
        await world.settle(5)
        await world.restart()
        await asyncio.gather(purging, return_exceptions=True)
        kept = {_rows(world, "promise"), _rows(world, "object_state") // 2}
        kept.add(len(world.disk.query("SELECT 1 FROM invocation WHERE handler = 'run'")))
        assert kept in ({0}, {1})
        if purging.exception() is None:
            assert kept == {0}


async def test_a_run_is_kept_as_long_as_those_under_a_key_and_takes_all_with_it() -> None:
    limits = Limits(retention=10, idempotency_retention=100)
    async with World(Signup, limits=limits) as world:
        for n in range(5):
            await _ended(world, f"u{n}")
        await world.pass_time(50)
        assert world.disk.query("SELECT handler FROM invocation") == [("run",)] * 5
        assert await world.app.object(Signup, "u1").run("a@b") == "a@b yes"
        await world.restart()
        open_one = await world.app.object(Signup, "open").run.send("a@b")
        await world.pass_time(60)
        assert world.disk.query("SELECT key FROM invocation WHERE handler = 'run'") == [("open",)]
        assert (_rows(world, "promise"), _rows(world, "object_state")) == (0, 2)
        assert await world.app.object(Signup, "u1").look() == ["new"]
        await world.app.object(Signup, "open").click("yes")
        assert await open_one.result() == "a@b yes"


async def test_a_restart_runs_it_once_more_from_an_empty_state_and_without_promises() -> None:
    async with World(Signup, limits=limits(retention=10)) as world:
        id = await _ended(world)
        again = await world.app.restart(id)
        await world.settle(5)
        assert again.id != id
        assert (await world.app.describe(again.id)).restarted_from == id
        assert await world.app.object(Signup, "u").look() == ["waiting", "a@b", "seen", "status"]
        assert await world.app.object(Signup, "u").clicked() is None
        with pytest.raises(WrongStatus, match=r"Signup/u is already running .inv_1.*Cancel or kill"):
            await world.app.restart(id)
        joined = world.app.object(Signup, "u").run("a@b")
        await world.restart()
        await asyncio.gather(joined, return_exceptions=True)
        assert (await world.app.object(Signup, "u").run.send("a@b")).id == again.id
        await world.app.object(Signup, "u").click("second")
        assert await world.app.object(Signup, "u").run("a@b") == "a@b second"
        assert await world.app.invocation(id).result() == "a@b yes", "the record of the run before is kept"
        # It is one of many now: it goes with them, and takes nothing of the run with it.
        await world.pass_time(11)
        with pytest.raises(UnknownInvocation):
            await world.app.describe(id)
        assert await world.app.object(Signup, "u").look() == ["second", "a@b", "seen", "status"]
        third = await world.app.restart(again.id)
        assert (await world.app.describe(third.id)).restarted_from == id
        await world.app.purge(again.id)
        assert await world.app.object(Signup, "u").look() == ["waiting", "a@b", "seen", "status"]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("commit", [1, 2, 3, 4])
async def test_a_restart_that_meets_a_crash_leaves_one_run(commit: int, written: bool) -> None:
    async with World(Signup) as world:
        id = await _ended(world)
        world.store.crash_at_commit(commit, written=written)
        restarting = asyncio.ensure_future(world.app.restart(id))
        await world.settle(5)
        await world.restart()
        await asyncio.gather(restarting, return_exceptions=True)
        ((newest,),) = world.disk.query("SELECT seq FROM invocation WHERE idempotency_key = ''")
        assert (await world.app.object(Signup, "u").run.send("a@b")).id == world.app._running().ids.invocation(newest)
        state = await world.app.object(Signup, "u").look()
        assert state[0] == ("yes" if world.app._running().ids.invocation(newest) == id else "waiting")


async def test_restarts_and_purges_at_the_same_time_leave_one_run_or_none() -> None:
    for seed in range(20):
        world = World(Signup)
        world.rng = Random(seed)
        async with world:
            id = await _ended(world)
            operations = [world.app.restart(id), world.app.restart(id), world.app.purge(id), world.app.restart(id)]
            running = [world.app.object(Signup, "u").run("a@b") for _ in range(2)]
            done = await asyncio.gather(*operations, return_exceptions=True)
            assert {type(one) for one in done if isinstance(one, BaseException)} <= {WrongStatus, UnknownInvocation}
            await world.settle(5)
            assert _rows(world, "invocation WHERE idempotency_key = ''") <= 1
            assert _rows(world, "invocation WHERE status < 6") <= 1
            await world.app.object(Signup, "u").click("last")
            assert await world.app.object(Signup, "u").run("a@b") in ("a@b yes", "a@b last")
            await asyncio.gather(*running, return_exceptions=True)


async def test_a_reader_that_waits_goes_on_waiting_for_the_next_run() -> None:
    async with World(Signup, limits=limits(suspend_after=1)) as world:
        sent = await world.app.object(Signup, "u").run.send("a@b")
        watching = await world.app.object(Signup, "u").watch.send()
        await world.pass_time(5)
        await world.app.kill(sent.id)
        await world.app.purge(sent.id)
        anew = await world.app.object(Signup, "u").run.send("c@d")
        await world.app.object(Signup, "u").click("yes")
        assert await anew.result() == "c@d yes" and await watching.result() == "yes"


# --- promises nobody has run the workflow for ------------------------------------------------------------------------


async def test_a_promise_completed_before_the_run_is_there_for_it() -> None:
    async with World(Signup, limits=Limits(idempotency_retention=100)) as world:
        await world.app.object(Signup, "u").click("early")
        await world.pass_time(90)
        await world.restart()
        await world.pass_time(0)
        assert await world.app.object(Signup, "u").run("a@b") == "a@b early"
        await world.pass_time(50)
        assert await world.app.object(Signup, "u").clicked() == "early", "the run has claimed it"
        assert world.disk.query("SELECT unclaimed FROM promise") == [(0,)]
        await world.pass_time(60)
        assert await world.app.object(Signup, "u").clicked() is None
        assert _rows(world, "promise") == 0


@pytest.mark.parametrize("memory", ["warm", "restarted"])
async def test_a_promise_nobody_runs_a_workflow_for_is_forgotten_in_the_end(memory: str) -> None:
    async with World(Signup, limits=Limits(retention=None, idempotency_retention=100)) as world:
        for n in range(3):
            await world.app.object(Signup, f"u{n}").click("early")
        await world.pass_time(60)
        await world.app.object(Signup, "later").click("early")
        late = await world.app.object(Signup, "u2").run.options(delay=1000).send("a@b")
        if memory == "restarted":
            await world.restart()
        await world.pass_time(50)
        await world.settle(5)
        assert world.disk.query("SELECT key FROM promise ORDER BY 1") == [("later",), ("u2",)]
        assert await world.app.object(Signup, "u0").clicked() is None
        await world.app.object(Signup, "u0").click("another")
        assert await world.app.object(Signup, "u0").clicked() == "another"
        await world.pass_time(1000)
        assert await world.app.invocation(late.id).result() == "a@b early"


async def test_many_early_promises_are_forgotten_slice_by_slice() -> None:
    async with World(Signup, limits=Limits(max_objects=10, idempotency_retention=timedelta(seconds=5))) as world:
        for n in range(1200):
            world.app.object(Signup, f"u{n}").click.send("early")
        await world.settle(5)
        assert _rows(world, "promise") == 1200
        await world.pass_time(6)
        for _ in range(40):
            await world.settle(5)
        assert _rows(world, "promise") == 0


# --- workflows and the other ways of a class to change --------------------------------------------------------------------


class Versioned(Workflow, version=2):
    cents: int = 0

    @migration(from_version=1)
    @staticmethod
    def in_cents(state: dict[str, Any]) -> dict[str, Any]:
        return {name: value * 100 for name, value in state.items()}

    @handler
    async def run(self, ctx: Context, n: int) -> int:
        self.cents = n
        await ctx.sleep(1)
        return self.cents

    @shared
    async def peek(self) -> int:
        return self.cents


@pytest.mark.parametrize("how", ["restart", "purge", "expire"])
async def test_what_follows_a_forgotten_run_is_of_the_version_of_the_class(how: str) -> None:
    async with World(Versioned, limits=Limits(retention=None, idempotency_retention=timedelta(hours=1))) as world:
        flow = world.app.object(Versioned, "k")
        first = await flow.run.send(5)
        await world.pass_time(2)
        if how == "restart":
            await world.app.restart(first.id)
        elif how == "purge":
            await world.app.purge(first.id)
        else:
            await world.pass_time(3700)
        again = await flow.run.send(5)
        await world.pass_time(2)
        assert await again.result() == 5
        assert dict(world.disk.query("SELECT name, value FROM object_state")) == {"": "2", "cents": "5"}
        await world.restart()
        assert await world.app.object(Versioned, "k").peek() == 5


class Mailer(Workflow):
    n: int = 0

    @handler
    async def go(self) -> int:
        self.n += 1
        return self.n


class MailerObject(VirtualObject, name="Mailer"):
    n: int = 0

    @handler
    async def go(self) -> int:
        self.n += 1
        return self.n


@pytest.mark.parametrize("how", ["purge", "expire"])
async def test_the_state_of_a_class_that_is_an_objects_by_now_outlives_its_run(how: str) -> None:
    limits = Limits(retention=None, idempotency_retention=timedelta(hours=1))
    async with World(Mailer, limits=limits) as world:
        run = await world.app.object(Mailer, "a").go.send()
        assert await run.result() == 1
        await world.crash()
        world.classes = (MailerObject,)
        await world.start()
        assert await world.app.object(MailerObject, "a").go() == 2
        if how == "purge":
            await world.app.purge(run.id)
        else:
            await world.pass_time(3700)
        assert world.disk.query("SELECT count(*) FROM invocation WHERE idempotency_key = ''") == [(0,)]
        assert await world.app.object(MailerObject, "a").go() == 3


class Renamed(Workflow, name="Mailer"):
    n: int = 0

    @handler
    async def send_all(self) -> int:
        self.n += 1
        return self.n


async def test_the_handler_of_a_run_may_be_renamed() -> None:
    async with World(Mailer) as world:
        run = await world.app.object(Mailer, "a").go.send()
        assert await run.result() == 1
        await world.crash()
        world.classes = (Renamed,)
        await world.start()
        assert await world.app.object(Renamed, "a").send_all() == 1, "it has run"
        assert await world.app.invocation(run.id).result() == 1
        again = await world.app.restart(run.id)
        assert await again.result() == 1, "from an empty state"
