"""What would break if new code went on with a file, told without doing anything, and without touching the file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from actors import App, Context, Service, TerminalError, VirtualObject, Workflow, handler, migration, schedule, shared
from actors.check.checking import MOST_TIMEOUTS, OBJECTS_PER_PAGE, Check, Finding, Report, check
from actors.check.rehearsal import Misfit
from actors.errors import DefinitionError
from actors.storage import DatabaseForeign, DatabaseInUse, DatabaseTooNew, SqliteStore, StorageError
from actors.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS, steps
from actors.storage.sqlite.snapshot import Snapshot, take
from actors.testing import InlineExecutor, ManualClock
from tests.integration.test_replay import CHANGES, _flow, _original
from tests.storage.rows import batch, image, shell

done: list[Any] = []  # what steps have done


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


def app_of(storage: str, *classes: Any, **options: Any) -> App:
    return App(*classes, storage=storage, executor=InlineExecutor(), clock=ManualClock(), **options)


@asynccontextmanager
async def running(storage: str, *classes: Any) -> AsyncIterator[App]:
    async with app_of(storage, *classes) as app:
        yield app


async def until(app: App, *statuses: str) -> None:
    """Wait for the open invocations to have these statuses."""
    found: list[str] = []
    async with asyncio.timeout(30):
        while found != sorted(statuses):
            await asyncio.sleep(0)
            found = sorted(info.status for info in await app.invocations(status="open"))


async def blocked(storage: str, cls: Any, name: str = "go", *args: Any, status: str = "blocked") -> None:
    """Leave a file in which an invocation of `name` waits."""
    async with running(storage, cls) as app:
        await app.send(cls.__name__, "o", name, *args)
        await until(app, status)


async def checked(storage: str, *classes: Any, **options: Any) -> Report:
    path = Path(storage.removeprefix("sqlite:///"))
    before, did = image(path), len(done)
    report = await check(app_of(storage, *classes), **options)
    assert image(path) == before, "the file was touched"
    assert len(done) == did, "a step was executed"
    assert {found.name for found in path.parent.iterdir()} <= {path.name, path.name + ".lock"}
    return report


async def only(storage: str, *classes: Any, **options: Any) -> Finding:
    report = await checked(storage, *classes, **options)
    (finding,) = report.findings
    assert not report.ok and report.problems == {finding.kind: 1}
    return finding


class Other(VirtualObject):
    @handler
    async def do(self, ctx: Context) -> str:
        await ctx.run(done.append, "called")
        return await ctx.awakeable(str)


class Flow(VirtualObject):
    """Does one of everything, and then waits."""

    word: str = ""
    words: list[str] = []

    @handler
    async def go(self, ctx: Context) -> None:
        self.word = "begun"
        await ctx.run(done.append, "stepped")
        ctx.set("undeclared", ctx.now().isoformat())
        ctx.sleep(60)
        ctx.object(Other, "sent").do.send()
        self.words.append(str(ctx.uuid()))
        self.words += await asyncio.gather(ctx.run(str, "gathered"), ctx.run(str, "too"))
        ctx.clear("undeclared")
        await ctx.object(Other, "called").do()
        done.append("never in this test")

    @shared
    async def look(self, ctx: Context) -> str:
        await ctx.awakeable(str)
        return self.word


# --- what fits -----------------------------------------------------------------------------------------------------------


async def test_code_that_fits_breaks_nothing_and_nothing_is_done(storage: str) -> None:
    async with running(storage, Flow, Other) as app:
        await app.object(Flow, "o").look.send()
        await app.object(Flow, "o").go.send()
        await app.object(Flow, "o").go.send()
        await app.object(Flow, "later").go.options(delay=60).send()
        await until(app, "blocked", "blocked", "blocked", "blocked", "pending", "scheduled")
    done.clear()
    report = await checked(storage, Flow, Other)
    assert (report.ok, report.findings) == (True, [])
    counts = report.counts
    assert (counts.objects, counts.invocations, counts.replayed, counts.outdated) == (4, 6, 4, 0)


async def test_what_was_begun_when_the_process_died_is_not_begun_by_a_check(storage: str) -> None:
    class Busy(VirtualObject):
        @handler
        async def go(self, ctx: Context, other: str) -> None:
            ctx.object(Other, "sent").do.options(idempotency_key="k").send()
            await ctx.all(ctx.run(forever), ctx.object(Other, "o").do.options(idempotency_key="k")(), ctx.attach(other))

    async def forever() -> None:
        done.append("stepped")
        await asyncio.Event().wait()

    async with running(storage, Busy, Other) as app:
        other = await app.object(Other, "other").do.send()
        await until(app, "blocked")
        await app.object(Busy, "o").go.send(other.id)
        await until(app, "blocked", "blocked", "blocked", "running")
    # As if the process had died before anything of it was known.
    with shell(storage.removeprefix("sqlite:///")) as connection:
        busy = "(SELECT seq FROM invocation WHERE service = 'Busy')"
        connection.execute(f"DELETE FROM journal_entry WHERE kind >= 20 AND invocation = {busy}")
    report = await checked(storage, Busy, Other)
    assert report.ok and report.counts.replayed == 4


async def test_a_check_knows_of_large_state_what_the_journal_tells(storage: str) -> None:
    """The process died while the row of the state was older than the journal."""

    class Grows(VirtualObject):
        items: list[str] = []

        @handler
        async def fill(self) -> None:
            self.items = [str(i).ljust(100) for i in range(40)]

        @handler
        async def go(self, ctx: Context) -> None:
            for i in range(20):  # each recorded as a change of what `fill` has left
                self.items.append(await ctx.run(str.ljust, str(i), 100))
            await ctx.run(asyncio.Event().wait)

    async with running(storage, Grows) as app:
        await app.object(Grows, "o").fill()
        await app.object(Grows, "o").go.send()
        for _ in range(500):
            await asyncio.sleep(0.01)
            if len((await app.state(Grows, "o")).values.get("items", ())) == 60:
                break
    with shell(storage.removeprefix("sqlite:///")) as connection:
        ((text,),) = connection.execute("SELECT value FROM object_state WHERE name = 'items'").fetchall()
        older = json.dumps(json.loads(text)[:57], separators=(",", ":"))
        connection.execute("UPDATE object_state SET value = ? WHERE name = 'items'", (older,))
    report = await checked(storage, Grows)
    assert report.ok and report.counts.replayed == 1


async def test_new_commands_end_a_replay_and_have_no_effect(storage: str) -> None:
    """Each at the end of a journal: whatever the handler asks for next is new."""

    class Next(VirtualObject):
        n: int = 0

        @handler
        async def go(self, ctx: Context, what: str) -> None:
            await ctx.run(len, "x")
            try:
                await self.new(ctx, what)
            finally:
                done.append("left")

        async def new(self, ctx: Context, what: str) -> None:
            await ctx.awakeable()

    class Newer(Next, name="Next"):
        async def new(self, ctx: Context, what: str) -> None:
            if what == "run":
                await ctx.run(done.append, 1)
            elif what == "call":
                await ctx.object(Other, "o").do()
            elif what == "send":
                ctx.object(Other, "o").do.send()
            elif what == "keyed":
                ctx.object(Other, "o").do.options(idempotency_key="k").send()
            elif what == "state":
                self.n = 1
                await ctx.sleep(1)
            elif what == "now":
                ctx.now()
            elif what == "stubborn":
                for _ in range(2):
                    with suppress(BaseException):
                        await ctx.run(done.append, 1)

    kinds = ["run", "call", "send", "keyed", "state", "now", "stubborn", "return"]
    async with running(storage, Next, Other) as app:
        for what in kinds:
            await app.object(Next, what).go.send(what)
        await until(app, *["blocked"] * len(kinds))
    # Bring them to where the journal ends before the wait: as if the process had died there.
    with shell(storage.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM journal_entry WHERE kind = 5")
    path = Path(storage.removeprefix("sqlite:///"))
    done.clear()
    before = image(path)
    report = await check(app_of(storage, Newer, Other))
    assert report.ok and report.counts.replayed == len(kinds)
    assert image(path) == before
    assert set(done) == {"left"}, "handlers are closed, and nothing else happened"


async def test_an_open_invocation_of_an_older_version_is_migrated_in_memory_and_fits(storage: str) -> None:
    class Order(VirtualObject):
        total: int = 0
        note: str = ""

        @handler
        async def go(self, ctx: Context) -> None:
            self.note = "waits"
            await ctx.awakeable()

        @shared
        async def read(self, ctx: Context) -> int:
            await ctx.awakeable()
            return self.total

        @handler
        async def put(self, total: int) -> None:
            self.total = total

    def text(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "total": str(state["total"])}

    class Newer(VirtualObject, version=2, name="Order"):
        total: str = ""
        note: str = ""
        as_text = migration(from_version=1)(text)

        @handler
        async def go(self, ctx: Context) -> None:
            self.note = f"wait{self.total}s"[:4] + "s"
            assert self.total == "5"
            await ctx.awakeable()

        @shared
        async def read(self, ctx: Context) -> str:
            assert self.total == "5"
            await ctx.awakeable()
            return self.total

    async with running(storage, Order) as app:
        await app.object(Order, "o").put(5)
        await app.object(Order, "o").read.send()
        await app.object(Order, "o").go.send()
        await until(app, "blocked", "blocked")
    report = await checked(storage, Newer)
    assert report.ok and (report.counts.outdated, report.counts.replayed) == (1, 2)


@pytest.mark.expects_log("failed, next in")
async def test_a_handler_that_failed_where_it_fails_now_breaks_nothing_new(storage: str) -> None:
    class Order(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> None:
            await ctx.run(len, "x")
            raise OSError("no answer")

    await blocked(storage, Order, status="backing-off")
    assert (await checked(storage, Order)).ok


# --- what does not ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "catching the mismatch"])
async def test_a_changed_handler_is_reported_with_what_was_recorded_and_what_is_asked(name: str, storage: str) -> None:
    body, _ = CHANGES[name]
    await blocked(storage, _flow(_original))
    finding = await only(storage, _flow(body))
    assert (finding.kind, finding.service, finding.key, finding.handler) == ("journal", "Flow", "o", "go")
    assert finding.invocation is not None and finding.invocation.startswith("inv_1")
    assert finding.index == (2 if name in ("another step", "another kind of command") else 1)
    assert finding.recorded in ("run '_note'", "set state 'step' with \"begun\"")
    assert finding.asked in {
        "another step": ["run '_another'"],
        "another kind of command": ["sleep 1 s"],
        "another field": ["set state 'other' with \"begun\""],
        "another value": ["set state 'step' with \"BEGUN\""],
    }.get(name, ["the handler ended"])


async def test_a_handler_that_waits_before_its_next_recorded_command_is_reported(storage: str) -> None:
    async def waits_first(self: Any, ctx: Context) -> str:
        self.step = "begun"
        await ctx.run(_note_of_replay(), "one")
        first = ctx.awakeable(str)
        await first
        return ""

    async def original(self: Any, ctx: Context) -> str:
        self.step = "begun"
        await ctx.run(_note_of_replay(), "one")
        first = ctx.awakeable(str)
        await ctx.sleep(10)
        return await first

    await blocked(storage, _flow(original))
    finding = await only(storage, _flow(waits_first))
    assert (finding.kind, finding.asked) == ("journal", "the handler waits for something else")
    assert finding.recorded == "sleep 10 s"


def _note_of_replay() -> Any:
    from tests.integration.test_replay import _note

    return _note


class Versions:
    """The same class, changed."""

    @staticmethod
    def first() -> Any:
        class Order(VirtualObject):
            total: int = 0

            @handler
            async def go(self, ctx: Context, n: int) -> None:
                self.total += n
                await ctx.run(_number)
                await ctx.awakeable(int)

        return Order


def _number() -> int:
    return 5


async def test_what_is_gone_does_not_decode_or_fit_is_reported_by_kind(storage: str) -> None:
    await blocked(storage, Versions.first(), "go", 5)

    class Order(VirtualObject):
        total: int = 0

        @handler
        async def other(self) -> None: ...

    finding = await only(storage, Order)
    assert finding.kind == "handler" and finding.message.startswith("Order has no handler 'go'. Its handlers: other. ")
    assert "@handler(name='go')" in finding.message
    assert finding.message.endswith("actors invocations cancel --service Order --handler go")

    async with running(storage, Other) as app:
        await app.object(Other, "o").do.options(delay=60).send()
    finding = await only(storage, Other)
    assert finding.kind == "service" and finding.message.startswith("No class 'Order' in this app. Served: Other. ")
    assert "name='Order'" in finding.message
    assert finding.message.endswith("actors invocations cancel --service Order")
    with shell(storage.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM invocation WHERE service = 'Other'")
    with pytest.raises(DefinitionError, match=r"\(stored: Order; served: Other\). Check the path of the file"):
        await check(app_of(storage, Other))

    class Argument(VirtualObject, name="Order"):
        total: int = 0

        @handler
        async def go(self, ctx: Context, n: list[str]) -> None: ...

    finding = await only(storage, Argument)
    assert (finding.kind, "does not fit list[str]" in finding.message) == ("arguments", True)

    class Arity(VirtualObject, name="Order"):
        total: int = 0

        @handler
        async def go(self, ctx: Context) -> None: ...

    assert (await only(storage, Arity)).kind == "arguments"

    class State(VirtualObject, name="Order"):
        total: list[int] = []

        @handler
        async def other(self) -> None: ...

    report = await checked(storage, State)
    assert report.problems == {"state": 1, "handler": 1}
    state = report.findings[0]
    assert (state.kind, state.handler, state.invocation) == ("state", None, None)
    assert "total" in state.message and "no longer fits its type" in state.message
    assert state.message.endswith("class State(VirtualObject, version=2) with @migration(from_version=1).")


async def test_a_migration_that_raises_and_state_of_a_newer_release_are_reported(storage: str) -> None:
    def fails(state: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("cents")

    class Order(VirtualObject, version=2):
        total: int = 0
        step = migration(from_version=1)(fails)

        @handler
        async def put(self) -> None:
            self.total += 1

    class First(VirtualObject, name="Order"):
        total: int = 0

        @handler
        async def put(self) -> None:
            self.total += 1

    async with running(storage, First) as app:
        await app.object(First, "o").put()
    finding = await only(storage, Order)
    assert finding.kind == "state" and "Order/o cannot be migrated" in finding.message and "KeyError" in finding.message
    async with running(storage, Order) as app:
        await app.object(Order, "new").put()
    report = await checked(storage, First)
    (finding,) = report.findings
    assert finding.key == "new" and "a newer release has written it" in finding.message
    assert report.counts.outdated == 0, "it is newer, and will not be migrated"


async def test_state_that_does_not_fit_after_a_migration_is_told_once_with_the_migration_to_mend(storage: str) -> None:
    def halved(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "total": state["total"] / 2}

    class Order(VirtualObject, version=2):
        total: int = 0
        step = migration(from_version=1)(halved)

        @handler
        async def go(self, ctx: Context, n: int) -> None:
            self.total += n
            await ctx.awakeable()

    await blocked(storage, Versions.first(), "go", 5)
    async with running(storage, Versions.first()) as app:
        await app.send("Order", "o", "go", 1)
        await until(app, "blocked", "pending")
    finding = await only(storage, Order)
    assert (finding.kind, finding.invocation) == ("state", None)
    assert "does not fit int" in finding.message and "halved; the state is left as it is." in finding.message
    assert "Change the annotation" not in finding.message
    assert finding.message.endswith("1 open invocation would be paused for that.")


async def test_a_recorded_result_that_does_not_decode_is_reported(storage: str) -> None:
    def as_text() -> list[str]:
        return []

    as_text.__qualname__ = "_number"

    class Order(VirtualObject):
        total: int = 0

        @handler
        async def go(self, ctx: Context, n: int) -> None:
            self.total += n
            await ctx.run(as_text)
            await ctx.awakeable(int)

    await blocked(storage, Versions.first(), "go", 5)
    finding = await only(storage, Order)
    assert (finding.kind, finding.index, finding.recorded) == ("result", 2, "run '_number': 5")
    assert "does not fit list[str]" in finding.message


@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_handler_that_raises_where_it_went_on_is_reported(place: str, storage: str) -> None:
    class Order(VirtualObject):
        total: int = 0

        @handler
        async def go(self, ctx: Context, n: int) -> None:
            self.total += n
            await ctx.run(_number)
            if place == "before":
                raise AttributeError("renamed")
            promise = ctx.awakeable(int)
            raise SystemExit(f"renamed {promise.id[:4]}")

    await blocked(storage, Versions.first(), "go", 5)
    finding = await only(storage, Order)
    assert finding.kind == "error" and "renamed" in (finding.asked or "")
    assert (finding.index, finding.recorded) == (
        (4, "awakeable 'int'") if place == "before" else (None, "the handler waits")
    )


async def test_a_terminal_error_instead_of_a_recorded_command_is_a_misfit_and_after_all_of_them_is_an_outcome(
    storage: str,
) -> None:
    class Order(VirtualObject):
        total: int = 0
        early: bool = True

        @handler
        async def go(self, ctx: Context, n: int) -> None:
            self.total += n
            await ctx.run(_number)
            if type(self).early:
                raise TerminalError("no more")
            ctx.awakeable(int)
            raise TerminalError("no more")

    await blocked(storage, Versions.first(), "go", 5)
    finding = await only(storage, Order)
    assert (finding.kind, finding.asked) == ("journal", "the handler ended")
    Order.early = False
    assert (await checked(storage, Order)).ok


# --- handlers that take their time --------------------------------------------------------------------------------------------


def sleepy(seconds: float, after: bool) -> Any:
    class Order(VirtualObject):
        total: int = 0

        @handler
        async def go(self, ctx: Context, n: int) -> None:
            self.total += n
            await ctx.run(_number)
            if not after:
                await asyncio.sleep(seconds)
            ctx.awakeable(int)
            await asyncio.sleep(3600)

    return Order


async def test_what_is_not_durable_is_waited_for_up_to_the_limit_and_not_at_all_once_nothing_is_left(
    storage: str,
) -> None:
    await blocked(storage, Versions.first(), "go", 5)
    assert (await checked(storage, sleepy(0.01, after=False), timeout_s=60)).ok
    assert (await checked(storage, sleepy(0, after=True), timeout_s=60)).ok
    finding = await only(storage, sleepy(3600, after=False), timeout_s=0)
    assert (finding.kind, finding.index, finding.recorded) == ("timeout", 4, "awakeable 'int'")
    assert "asyncio.sleep" in finding.message


async def test_tasks_a_handler_has_started_end_with_its_replay(storage: str) -> None:
    class Order(VirtualObject):
        total: int = 0

        @handler
        async def go(self, ctx: Context, n: int) -> None:
            self.total += n
            background = asyncio.create_task(nested())
            await ctx.run(_number)
            await ctx.awakeable(int)
            await background

    async def nested() -> None:
        await asyncio.gather(asyncio.create_task(asyncio.sleep(3600)), asyncio.sleep(3600))

    await blocked(storage, Versions.first(), "go", 5)
    before = asyncio.all_tasks()
    factory = asyncio.get_running_loop().get_task_factory()
    assert (await checked(storage, Order)).ok
    assert asyncio.all_tasks() == before
    assert asyncio.get_running_loop().get_task_factory() is factory


async def test_after_a_few_of_one_handler_that_do_not_end_the_rest_is_not_tried(storage: str) -> None:
    cls = Versions.first()
    async with running(storage, cls) as app:
        for n in range(MOST_TIMEOUTS + 2):
            await app.send("Order", f"k{n}", "go", n)
        await until(app, *["blocked"] * (MOST_TIMEOUTS + 2))
    report = await checked(storage, sleepy(3600, after=False), timeout_s=0)
    assert report.problems == {"timeout": MOST_TIMEOUTS + 2}
    assert report.counts.replayed == MOST_TIMEOUTS
    assert [finding.message.startswith("Skipped") for finding in report.findings] == [False] * MOST_TIMEOUTS + [
        True
    ] * 2


# --- pages, and a process that dies in one ------------------------------------------------------------------------------------


async def many(path: Path, number: int) -> None:
    store = SqliteStore(str(path))
    await store.open()
    await store.commit(batch(state=[("Order", f"k{n:05}", "total", "1" if n % 7 else '"x"') for n in range(number)]))
    await store.close()


async def test_a_check_takes_a_page_at_a_time_and_can_begin_behind_any_of_them(tmp_path: Path) -> None:
    number = 2 * OBJECTS_PER_PAGE + 10
    await many(tmp_path / "app.db", number)
    app = app_of(f"sqlite:///{tmp_path / 'app.db'}", Versions.first())
    take(str(tmp_path / "app.db"), str(tmp_path / "copy.db"))
    snapshot = Snapshot(str(tmp_path / "copy.db"))
    pages = [page async for page in Check(app, snapshot).pages()]
    assert [page.counts.objects for page in pages] == [OBJECTS_PER_PAGE, OBJECTS_PER_PAGE, 10]
    again = [page async for page in Check(app, snapshot).pages(pages[0].last, pages[0].item)]
    assert again == pages[1:]
    whole = await check(app, most=3)
    assert whole.counts.objects == number
    assert (whole.problems["state"], len(whole.findings)) == (len(range(0, number, 7)), 3)


async def test_items_are_announced_and_those_that_ended_the_process_before_are_reported_instead(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    storage = f"sqlite:///{path}"
    await blocked(storage, Versions.first(), "go", 5)
    take(str(path), str(tmp_path / "copy.db"))
    watched: list[int] = []
    app = app_of(storage, Versions.first())
    dead = {2: Misfit("crash", "It died.")}
    timeouts: Counter[tuple[str, str]] = Counter()
    check_ = Check(app, Snapshot(str(tmp_path / "copy.db")), watch=watched.append, dead=dead, timeouts=timeouts)
    (page,) = [page async for page in check_.pages()]
    assert watched == [1, 0], "the state; the replay is not tried"
    assert [(finding.kind, finding.handler, finding.message) for finding in page.findings] == [
        ("crash", "go", "It died.")
    ]
    assert timeouts == {("Order", "go"): 1}


# --- the file --------------------------------------------------------------------------------------------------------------------


async def test_a_file_with_the_log_of_a_killed_process_is_read_with_it_and_stays_as_it_is(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal, sys\n"
        "from actors.storage import Batch, SqliteStore\n"
        "async def main():\n"
        "    store = SqliteStore(sys.argv[1])\n"
        "    await store.open()\n"
        "    await store.commit(Batch(1, state=[('Order', 'k', 'total', '\"no int\"')]))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "app.db"
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path))
    assert await killed.wait() == -signal.SIGKILL
    before = image(path)
    assert len(before["app.db-wal"]) > 0
    report = await check(app_of(f"sqlite:///{path}", Versions.first()))
    assert report.problems == {"state": 1}, "it is in the log only"
    assert image(path) == before


async def test_a_file_of_an_older_release_is_not_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with shell(path) as connection:
        for statement in steps(0, MIGRATIONS[:2]):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [("secret", bytes(32)), ("epoch", 1), ("next_number", 1), ("owner", 1)]
        )
        connection.execute("INSERT INTO object_state VALUES ('Order', 'k', 'total', '1')")
    report = await checked(f"sqlite:///{path}", Versions.first())
    assert report.ok and report.counts.objects == 1
    with shell(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


async def test_the_file_of_a_running_app_is_refused_with_its_pid_and_free_again_after_a_check(storage: str) -> None:
    cls = Versions.first()
    async with running(storage, cls):
        with pytest.raises(DatabaseInUse) as caught:
            await check(app_of(storage, cls))
        assert caught.value.pid == os.getpid()
    assert (await checked(storage, cls)).ok
    async with running(storage, cls):
        pass


async def test_what_is_no_file_of_ours_is_refused_and_gets_no_lock_beside_it(tmp_path: Path) -> None:
    app = app_of(f"sqlite:///{tmp_path / 'app.db'}", Other)
    with pytest.raises(StorageError, match="does not exist"):
        await check(app)
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("hello, this is no database" * 100)
    with shell(tmp_path / "foreign.db") as connection:
        connection.execute("CREATE TABLE mine (x)")
    newer = SqliteStore(str(tmp_path / "newer.db"), migrations=(*MIGRATIONS, "CREATE TABLE more (x);"))
    await newer.open()
    await newer.close()
    (tmp_path / "newer.db.lock").unlink()
    for name, error in (
        ("empty.db", DatabaseForeign),
        ("text.db", DatabaseForeign),
        ("foreign.db", DatabaseForeign),
        ("newer.db", DatabaseTooNew),
        ("..", StorageError),
    ):
        with pytest.raises(error):
            await check(app, str(tmp_path / name))
    assert list(tmp_path.glob("*.lock")) == []


async def test_a_file_with_a_damaged_page_is_refused_although_no_record_of_the_check_is_in_it(tmp_path: Path) -> None:
    class Kept(VirtualObject):
        n: int = 0

        @handler
        async def add(self) -> None:
            self.n += 1

    storage = f"sqlite:///{tmp_path / 'app.db'}"
    async with app_of(storage, Kept) as app:
        await app.object(Kept, "a").add()
    content = bytearray((tmp_path / "app.db").read_bytes())
    content[2 * 1024 : 2 * 1024 + 500] = b"x" * 500  # the table of invocations, of which none is open
    (tmp_path / "damaged.db").write_bytes(content)
    with pytest.raises(DatabaseForeign, match=r"damaged\.db is damaged .*Restore it from a backup"):
        await check(app_of(storage, Kept), str(tmp_path / "damaged.db"))


async def test_an_app_in_memory_must_be_told_a_file(storage: str) -> None:
    with pytest.raises(DefinitionError, match=r"in memory only\. Name the file"):
        await check(App(Other, storage="sqlite://"))
    await blocked(storage, Other, "do")
    assert (await check(App(Other, storage="sqlite://"), storage.removeprefix("sqlite:///"))).ok


async def test_nothing_is_written_through_a_snapshot(tmp_path: Path) -> None:
    await many(tmp_path / "app.db", 1)
    take(str(tmp_path / "app.db"), str(tmp_path / "copy.db"))
    snapshot = Snapshot(str(tmp_path / "copy.db"))
    await snapshot.open()
    try:
        assert await snapshot.totals() == (1, 0)
        with pytest.raises(StorageError, match="cannot be written"):
            await snapshot.commit(batch())
    finally:
        await snapshot.close()


class Letters(Service):
    @handler
    async def write(self, ctx: Context, to: str) -> str:
        await ctx.run(done.append, to)
        return await ctx.awakeable(str)


class Signup(Workflow):
    status: str = "new"

    @handler
    async def run(self, ctx: Context) -> str:
        self.status = "waiting"
        assert await ctx.promise("early", str).peek() is None
        await ctx.promise("sent", str).resolve("yes")
        return await ctx.promise("clicked", str)

    @shared
    async def follow(self, ctx: Context) -> str:
        return await ctx.promise("never", str)


async def test_services_and_workflows_are_replayed_too(storage: str) -> None:
    async with running(storage, Letters, Signup) as app:
        await app.service(Letters).write.send("me")
        await app.object(Signup, "u").run.send()
        await app.object(Signup, "u").follow.send()
        await until(app, "blocked", "blocked", "blocked")
    report = await checked(storage, Letters, Signup)
    assert report.ok and report.counts.invocations == 3

    class Changed(Service, name="Letters"):
        @handler
        async def write(self, ctx: Context, to: str) -> str:
            return await ctx.awakeable(str)

    class Renamed(Workflow, name="Signup"):
        status: str = "new"

        @handler
        async def run(self, ctx: Context) -> str:
            self.status = "waiting"
            assert await ctx.promise("early", str).peek() is None
            await ctx.promise("sent", str).resolve("no")
            return await ctx.promise("clicked", str)

        @shared
        async def follow(self, ctx: Context) -> str:
            return await ctx.promise("other", str)

    found = {
        (one.service, one.key, one.handler, one.kind) for one in (await checked(storage, Changed, Renamed)).findings
    }
    kind = "journal"
    assert found == {("Letters", "", "write", kind), ("Signup", "u", "run", kind), ("Signup", "u", "follow", kind)}


async def test_a_class_that_has_become_a_service_or_none_is_reported(storage: str) -> None:
    class Late(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            return await ctx.awakeable(str)

    class LateService(Service, name="Late"):
        @handler
        async def go(self, ctx: Context) -> str:
            return await ctx.awakeable(str)

    async with running(storage, Late) as app:
        await app.object(Late, "k").go.send()
        await app.object(Late, "l").go.options(delay=1000).send()
        await until(app, "blocked", "scheduled")
    report = await checked(storage, LateService)
    assert [finding.kind for finding in report.findings] == ["handler", "handler"]
    assert all("Late was not a Service when this was accepted" in finding.message for finding in report.findings)


async def test_a_tick_that_the_next_start_would_withdraw_breaks_nothing(storage: str) -> None:
    class Nightly(VirtualObject):
        @schedule("0 3 * * *", key="n")
        @handler
        async def make(self, count: int = 1) -> None: ...

    class Without(VirtualObject, name="Nightly"):
        @handler
        async def other(self) -> None: ...

    async with running(storage, Nightly) as app:
        await until(app, "scheduled")
    assert (await checked(storage, Without)).ok
