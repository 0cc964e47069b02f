"""A journal holds what has changed: it grows with the changes, not with the state, and tells each state it ever was."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any, cast

import pytest

from actors import Context, Limits, RetryPolicy, TerminalError, VirtualObject, handler, migration
from actors.errors import CannotKeep, InvocationKilled, JournalTooLong
from actors.journal.entries import Kind
from actors.journal.journal import Journal, after
from actors.model.object_state import LARGE
from actors.serde.growing import KnownText
from actors.storage import Flag, JournalRow
from tests.world import World, limits, outcome

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


async def fetched(i: int) -> str:
    return f"{i:05}" * 20


def wide() -> str:
    return "ü" * 1000


class Crawl(VirtualObject):
    results: list[str] = []
    window: list[str] = []
    other: dict[str, list[str]] = {}
    text: str = ""

    @handler
    async def go(self, ctx: Context, n: int, stop: bool = False) -> int:
        for i in range(n):
            self.results.append(await ctx.run(fetched, i))
        if stop:
            await ctx.awakeable(str)
        return len(self.results)

    @handler
    async def break_down(self, ctx: Context, n: int) -> None:
        for i in range(n):
            self.results.append(await ctx.run(fetched, i))
        await ctx.run(fetched, n)
        raise ValueError("after that")

    @handler
    async def slide(self, ctx: Context, n: int) -> None:
        for i in range(n):
            self.window = [*self.window, await ctx.run(fetched, i)][-100:]

    @handler
    async def count(self, ctx: Context, n: int) -> None:
        for i in range(n):
            self.other.setdefault("done", [""])[0] = str(i)
            self.other.setdefault("results", []).append(await ctx.run(fetched, i))
            self.other.setdefault("last", [""])[0] = str(i)

    @handler
    async def add(self, ctx: Context) -> int:
        self.results.append("y" * 100)
        await ctx.run(fetched, 0)
        return len(self.results)

    @handler
    async def write(self, ctx: Context, n: int) -> None:
        for i in range(n):
            self.text += await ctx.run(fetched, i)

    @handler
    async def set(self, ctx: Context, n: int) -> None:
        for i in range(n):
            ctx.set("undeclared", [*ctx.get("undeclared", default=[]), await ctx.run(fetched, i)])

    @handler
    async def replace(self, ctx: Context, n: int) -> None:
        for i in range(n):
            self.text = await ctx.run(fetched, i) * 100

    @handler
    async def big(self, ctx: Context, n: int) -> str:
        results: list[Any] = []
        try:
            for i in range(n):
                results.append(await ctx.run(str.ljust, str(i), 10_000))
                self.results.append(results[-1])
        except JournalTooLong as error:
            return f"{len(results)}: {error.message}"
        return "all"


def journal_bytes(world: World) -> int:
    query = "SELECT sum(coalesce(length(name), 0) + coalesce(length(value), 0) + coalesce(length(before), 0)) FROM journal_entry"
    ((found,),) = world.disk.query(query)
    return int(found)


@pytest.mark.parametrize("name", ["go", "slide", "count", "write", "set"])
async def test_the_journal_of_a_growing_value_grows_with_what_is_added(name: str) -> None:
    """150 steps that add 100 characters each, then 150 more: the same again, and not much more than that."""
    async with World(Crawl, limits=limits()) as world:
        found = []
        for _ in range(2):
            await getattr(world.app.object(Crawl, "a"), name)(150)
            found.append(journal_bytes(world))
    assert found[0] < 150 * 700
    assert found[1] < found[0] * 2.5


@pytest.mark.parametrize("stop", [False, True])
async def test_a_large_row_is_written_anew_only_when_much_has_changed(stop: bool) -> None:
    """And once more in the end, or when the handler waits: then the file says what the app says."""
    async with World(Crawl, limits=limits()) as world:
        world.disk.query("CREATE TEMP TABLE written (size INTEGER)")
        for event in ("INSERT", "UPDATE"):
            world.disk.query(
                f"CREATE TEMP TRIGGER seen_{event} AFTER {event} ON main.object_state "
                "BEGIN INSERT INTO written VALUES (length(NEW.value)); END"
            )
        sent = await world.app.object(Crawl, "a").go.send(300, stop)
        for _ in range(200):
            await world.settle(10)
            if await world.status(sent) != "running":
                break
        ((stored,),) = world.disk.query("SELECT value FROM object_state WHERE key = 'a' AND name = 'results'")
        assert len(json.loads(stored)) == 300
        assert (await world.app.state(Crawl, "a")).texts["results"] == stored
        ((large, size),) = world.disk.query("SELECT count(*) FILTER (WHERE size > ?), sum(size) FROM written", LARGE)
        assert 5 < large < 20, "more rarely the larger it is; what a restart has to catch up with is a part of the text"
        assert size < 300_000


def row(world: World, key: str = "a", name: str = "results") -> Any:
    """What the file holds, not asked for through the app."""
    ((text,),) = world.disk.query("SELECT value FROM object_state WHERE key = ? AND name = ?", key, name)
    return json.loads(text)


@pytest.mark.expects_log("Paused after")
async def test_the_rows_of_a_paused_invocation_are_up_to_date() -> None:
    async with World(Crawl, retry=RetryPolicy(max_attempts=1)) as world:
        sent = await world.app.object(Crawl, "a").break_down.send(70)
        await world.settle(100)
        assert await world.status(sent) == "paused"
        assert len(row(world)) == 70


def edition(number: int) -> type[VirtualObject]:
    """The migration changes nothing."""

    class Pages(VirtualObject, name="Pages", version=number):
        pages: list[str] = []

        @handler
        async def write(self, ctx: Context, n: int) -> None:
            for i in range(n):
                self.pages.append(await ctx.run(fetched, i))
            await ctx.run(turned)

        if number > 1:

            @migration(from_version=1)
            @staticmethod
            def second(state: dict[str, Any]) -> dict[str, Any]:
                return state

    return Pages


async def turned() -> None:
    """Takes longer than a commit."""
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_migration_after_a_crash_meets_the_state_that_the_journal_tells() -> None:
    async with World(edition(1)) as world:
        one: Any = world.app.object(cast(Any, world.classes[0]), "a")
        sent = await one.write.send(70)
        for _ in range(5000):
            if world.disk.query("SELECT 1 FROM journal_entry WHERE kind = ? AND name = 'turned'", Kind.RUN):
                break
            await asyncio.sleep(0)
        await world.crash()
        assert len(row(world, name="pages")) < 70
        world.classes = (edition(2),)
        await world.start()
        await world.outcome(sent)
        assert len(row(world, name="pages")) == 70


async def test_what_a_running_handler_has_changed_is_in_the_state_that_is_asked_for() -> None:
    async with World(Crawl, limits=limits()) as world:
        sent = await world.app.object(Crawl, "a").go.send(150)
        lengths: list[int] = []
        while await world.status(sent) == "running":
            ((begun,),) = world.disk.query("SELECT count(*) FROM journal_entry WHERE kind = ?", Kind.RUN)
            texts = (await world.app.state(Crawl, "a")).texts
            lengths.append(len(json.loads(texts.get("results", "[]"))))
            assert lengths[-1] >= begun - 1, "what a step has given is recorded before the next step"
            await world.settle()
        assert len(set(lengths)) > 8


async def test_one_more_item_in_each_of_many_invocations_is_recorded_as_that() -> None:
    async with World(Crawl) as world:
        await world.app.object(Crawl, "a").go(200)
        before = journal_bytes(world)
        for _ in range(20):
            await world.app.object(Crawl, "a").add()
        assert journal_bytes(world) - before < 20 * 450


async def test_a_value_that_is_replaced_is_recorded_once_for_each_time() -> None:
    async with World(Crawl) as world:
        await world.app.object(Crawl, "a").replace(20)
        assert journal_bytes(world) < 21 * 10_000 + 20 * 300


async def test_a_journal_that_is_full_by_bytes_refuses_the_next_step() -> None:
    async with World(Crawl, limits=limits(max_journal_bytes=100_000)) as world:
        said = await world.app.object(Crawl, "a").big(100)
        assert said.startswith("5: The journal of this invocation has 100,") and "max_journal_bytes" in said
        await world.restart()
        assert await world.app.object(Crawl, "b").big(4) == "all"


async def test_bytes_count_and_not_characters() -> None:
    class Wide(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> int:
            done = 0
            try:
                for _ in range(100):
                    await ctx.run(wide)
                    done += 1
            except JournalTooLong:
                pass
            return done

    async with World(Wide, limits=limits(max_journal_bytes=20_000)) as world:
        assert 9 <= await world.app.object(Wide, "a").go() <= 10


async def test_an_object_at_rest_keeps_nothing_to_encode_its_list_with() -> None:
    def known() -> int:
        return sum(type(one) is KnownText for one in gc.get_objects())

    async with World(Crawl) as world:
        handle = await world.app.object(Crawl, "a").go.send(60, True)
        await world.settle(200)
        assert known() == 1, "while its handler may add to it"
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, "go on")
        assert await world.outcome(handle) == 60
        assert known() == 0


@pytest.mark.parametrize("name", ["max_journal_bytes"])
def test_the_limit_of_bytes_is_checked_like_the_others(name: str) -> None:
    with pytest.raises(TerminalError, match=name):
        Limits(**{name: 0})


async def test_the_view_shows_what_has_changed() -> None:
    async with World(Crawl) as world:
        await world.app.object(Crawl, "a").go(5)
        rows = world.disk.query("SELECT entry, name, value FROM journal WHERE entry LIKE '%state' ORDER BY position")
        assert [entry for entry, *_ in rows] == ["set state"] * 2 + ["change state"] * 3
        ((place, removed, inserted),) = json.loads(rows[-1][2])
        assert (place, removed) == (len('["' + '","'.join("x" * 100 for _ in range(4)) + '"'), "")
        assert inserted == ',"' + "00004" * 20 + '"'


# --- what is read by an earlier or a later process ------------------------------------------------------------------------


def as_written_before(world: World) -> None:
    """Give the journals of open invocations the form they had: the whole text before and after each write."""
    for seq, service, key, flags in world.disk.query(
        "SELECT seq, service, key, flags FROM invocation WHERE status < 6"
    ):
        state = dict(
            world.disk.query("SELECT name, value FROM object_state WHERE service = ? AND key = ?", service, key)
        )
        rows = world.disk.query("SELECT * FROM journal_entry WHERE invocation = ? ORDER BY idx", seq)
        journal = Journal.restored([JournalRow._make(row) for row in rows])
        texts = {**state} if flags & Flag.APART else journal.undone(state)
        for entry in journal.writes():
            assert entry.name is not None
            before = texts.get(entry.name)
            text = after(entry, before)
            texts[entry.name] = text
            world.disk.connection.execute(
                "UPDATE journal_entry SET kind = ?, value = ?, before = ? WHERE invocation = ? AND idx = ?",
                (1 if text is not None else 2, text, before, seq, entry.idx),
            )


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_journal_replays_whichever_version_has_written_it(old: bool, times: int) -> None:
    async with World(Crawl) as world:
        await world.app.object(Crawl, "a").go(3)
        handle = await world.app.object(Crawl, "a").go.send(8, True)
        await world.settle(20)
        for _ in range(times):
            await world.crash()
            if old:
                as_written_before(world)
            await world.start()
            await world.settle()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "go")
        assert await world.outcome(handle) == 11
        assert await world.app.object(Crawl, "a").add() == 12


@pytest.mark.expects_log("differs from the value that the journal of this invocation has recorded")
@pytest.mark.parametrize("change", ["'[\"other\"]'", "'[\"99999' || substr(value, 8)"])
async def test_a_state_that_was_changed_in_the_file_pauses_what_has_written_it(change: str) -> None:
    async with World(Crawl) as world:
        await world.app.object(Crawl, "a").go(3)
        handle = await world.app.object(Crawl, "a").go.send(3, True)
        await world.settle(20)
        await world.crash()
        world.disk.query(f"UPDATE object_state SET value = {change} WHERE name = 'results'")
        await world.start()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "go")
        await world.settle(5)
        described = await world.app.describe(handle.id)
        assert described.status == "paused" and "'results' differs from the value" in str(described.reason)
        await world.app.kill(handle.id)
        assert await outcome(world.app.invocation(handle.id)) is InvocationKilled
        assert await world.app.object(Crawl, "a").add() in (2, 7)


async def test_a_restart_notices_that_another_invocation_has_changed_a_long_text() -> None:
    async with World(Crawl) as world:
        await world.app.object(Crawl, "a").go(5)
        handle = await world.app.object(Crawl, "a").go.send(5)
        await world.settle(20)
        await world.app.object(Crawl, "a").add()
        with pytest.raises(CannotKeep, match="has changed 'results' since"):
            await world.app.restart(handle.id, keep=5)


def release(number: int) -> type[VirtualObject]:
    """Each migration forgets the lines, so nothing of them can be told from the state that a replay begins with."""

    class Lines(VirtualObject, name="Lines", version=number):
        lines: list[str] = []
        rest: list[str] = []

        @handler
        async def fill(self) -> None:
            self.lines = ["x" * 100] * 5

        @handler
        async def go(self, ctx: Context, stops: int) -> list[str]:
            for stop in range(stops):
                self.rest.append("r" * 100)
                for i in range(3):
                    self.lines = ["x" * 100] * 5 + [f"{stop} {i}"]
                    await ctx.run(str)
                    self.lines.append("y")
                    await ctx.run(str)
                await ctx.awakeable(str)
            return self.lines

        if number > 1:

            @migration(from_version=1)
            @staticmethod
            def second(state: dict[str, Any]) -> dict[str, Any]:
                return {**state, "lines": ["second"]}

        if number > 2:

            @migration(from_version=2)
            @staticmethod
            def third(state: dict[str, Any]) -> dict[str, Any]:
                return {**state, "lines": ["third"]}

    return Lines


async def test_what_an_older_version_has_written_is_told_apart_from_what_was_migrated() -> None:
    async with World(release(1)) as world:
        one: Any = world.app.object(cast(Any, world.classes[0]), "a")
        await one.fill()
        handle = await one.go.send(3)
        await world.settle(20)
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "go")
        await world.settle(20)
        for number in (2, 3):
            world.classes = (release(number),)
            await world.restart()
            (info,) = await world.app.awakeables()
            await world.settle(5)
            await world.app.resolve_awakeable(info.id, "go")
            await world.settle(20)
        assert await world.outcome(handle) == ["x" * 100] * 5 + ["2 2", "y"]
        assert "change state" in {entry for (entry,) in world.disk.query("SELECT entry FROM journal")}


class Holder(VirtualObject):
    """Its state holds ids of its own, which a restart gives others instead; equal parts of two ids may be what has not changed."""

    ids: list[str] = []

    @handler
    async def go(self, ctx: Context) -> bool:
        self.ids = ["x" * 300, ctx.invocation_id, ""]
        await ctx.run(str)
        promises = [ctx.awakeable(str) for _ in range(3)]
        for promise in promises:
            self.ids[2] = promise.id
            await ctx.run(str)
        self.ids.append(ctx.invocation_id)
        await ctx.run(str)
        return self.ids == ["x" * 300, ctx.invocation_id, promises[-1].id, ctx.invocation_id]


async def test_ids_inside_of_a_long_text_are_those_of_the_new_invocation_after_a_restart() -> None:
    async with World(Holder) as world:
        await world.app.object(Holder, "a").go()
        handle = await world.app.object(Holder, "a").go.send()
        await world.settle(20)
        ((length,),) = world.disk.query("SELECT max(idx) FROM journal_entry WHERE invocation = 2")
        for keep in range(length, 1, -1):
            handle = await world.app.restart(handle.id, keep=keep)
            await world.settle(20)
            assert await world.outcome(handle) is True
            await world.restart()
            stored = await world.app.state(Holder, "a")
            assert stored.values["ids"][1::2] == [handle.id, handle.id]
