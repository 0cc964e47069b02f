"""Classes change while their objects are stored, and while invocations are open: fields come and go, types migrate."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from actors import Context, Limits, TerminalError, VirtualObject, handler, migration, shared
from actors.errors import BadArguments, CannotKeep, OutcomePending, StorageError
from tests.world import World

State = dict[str, Any]


Answer: Any = str | None  # no plain type: to check a value against it, the handler is replayed


class Order(VirtualObject):
    """Version 1: euros as text."""

    total: Decimal = Decimal(0)
    status: str = "new"

    @handler
    async def add(self, ctx: Context, euros: int) -> str:
        self.total += euros
        return str(self.total)

    @handler
    async def checkout(self, ctx: Context) -> str:
        self.status = "waiting"
        answer = await ctx.awakeable(Answer)
        self.status = answer
        return f"{answer}: {self.total}"

    @handler(atomic=True)
    async def attempt(self, ctx: Context) -> str:
        self.status = "waiting"
        answer = await ctx.awakeable(Answer)
        self.status = answer
        raise TerminalError(f"failed at {self.total}")

    @handler
    async def empty(self, ctx: Context) -> str:
        ctx.clear_all()
        await ctx.awakeable(Answer)
        return f"empty: {self.total}"

    @shared
    async def look(self) -> str:
        return f"{self.status}: {self.total}"

    @shared
    async def follow(self, ctx: Context) -> str:
        before = str(self.total)
        await ctx.awakeable(Answer)
        return f"{before} then {self.total}"


FIRST = Order
calls: list[State] = []  # what the migrations were given


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


def cents(state: State) -> State:
    calls.append(dict(state))
    if "total" in state:
        state["total"] = int(Decimal(state["total"]) * 100)
    return state


def renamed(state: State) -> State:
    calls.append(dict(state))
    return {"sum" if name == "total" else name: value for name, value in state.items()}


def class_of(version: int, *steps: Callable[[State], State], name: str = "total", **more: Any) -> Any:
    """The class Order in a later version: its total is an int, called `name`."""
    body: dict[str, Any] = {"__module__": __name__, "__annotations__": {name: int, "status": str}}
    body |= {name: 0, "status": "new"}

    async def add(self: Any, ctx: Context, euros: int) -> str:
        setattr(self, name, getattr(self, name) + euros * 100)
        return str(getattr(self, name))

    async def checkout(self: Any, ctx: Context) -> str:
        self.status = "waiting"
        answer = await ctx.awakeable(Answer)
        self.status = answer
        return f"{answer}: {getattr(self, name)}"

    async def attempt(self: Any, ctx: Context) -> str:
        self.status = "waiting"
        answer = await ctx.awakeable(Answer)
        self.status = answer
        setattr(self, name, 7)
        raise TerminalError(f"failed at {getattr(self, name)}")

    async def empty(self: Any, ctx: Context) -> str:
        ctx.clear_all()
        await ctx.awakeable(Answer)
        return f"empty: {getattr(self, name)}"

    async def look(self: Any) -> str:
        return f"{self.status}: {getattr(self, name)}"

    async def follow(self: Any, ctx: Context) -> str:
        before = str(getattr(self, name))
        await ctx.awakeable(Answer)
        return f"{before} then {getattr(self, name)}"

    body |= {"add": handler(add), "checkout": handler(checkout), "attempt": handler(atomic=True)(attempt)}
    body |= {"empty": handler(empty), "look": shared(look), "follow": shared(follow)}
    body |= {f"step{place}": migration(from_version=place)(step) for place, step in enumerate(steps, 1)}
    metaclass: Any = type(VirtualObject)
    return metaclass("Order", (VirtualObject,), {**body, **more}, version=version)


def second() -> Any:
    return class_of(2, cents)


def third() -> Any:
    return class_of(3, cents, renamed, name="sum")


def stored(world: World, key: str = "o") -> dict[str, str]:
    """Every row of one object, the one that holds its version too."""
    return dict(world.disk.query("SELECT name, value FROM object_state WHERE key = ?", key))


async def deploy(world: World, *classes: Any) -> None:
    """The next release starts after the process was killed."""
    await world.crash()
    world.classes = classes
    await world.start()
    await world.settle()


async def wake(world: World, value: str = "paid") -> None:
    for info in await world.app.awakeables():
        await world.app.resolve_awakeable(info.id, value)
    await world.settle()


async def call(world: World, name: str, *args: Any, key: str = "o") -> Any:
    return await world.app.call("Order", key, name, *args)


async def reason(world: World, id: str) -> str:
    info = await world.app.describe(id)
    assert info.status == "paused", info
    return info.reason or ""


# --- fields come and go ------------------------------------------------------------------------------------------------


async def test_a_new_field_has_its_default_and_a_removed_one_stays_as_undeclared_state_until_it_is_cleared() -> None:
    class Order(VirtualObject):
        status: str = "new"
        notes: list[str] = ["none"]

        @handler
        async def note(self, word: str) -> list[str]:
            self.notes.append(word)
            return self.notes

        @handler
        async def old(self, ctx: Context) -> list[Any]:
            return [ctx.get("total"), str(ctx.get("total", Decimal)), ctx.state_keys()]

        @handler
        async def forget(self, ctx: Context) -> list[str]:
            ctx.clear("total")
            return ctx.state_keys()

    async with World(FIRST) as world:
        await call(world, "add", 5)
        await deploy(world, Order)
        assert await call(world, "note", "urgent") == ["none", "urgent"]
        assert await call(world, "old") == ["5", "5", ["notes", "total"]]
        assert world.disk.query("SELECT name, value FROM state") == [("notes", '["none","urgent"]'), ("total", '"5"')]
        await deploy(world, FIRST)  # the release before finds its value again
        assert await call(world, "add", 1) == "6"
        await deploy(world, Order)
        assert await call(world, "forget") == ["notes"]
        await deploy(world, FIRST)
        assert await call(world, "look") == "new: 0"


# --- types change --------------------------------------------------------------------------------------------------------


async def test_the_first_message_migrates_an_object_for_good() -> None:
    async with World(FIRST) as world:
        await call(world, "add", 5)
        assert stored(world) == {"total": '"5"'}
        await deploy(world, second())
        assert stored(world) == {"total": '"5"'}, "nothing is migrated before it is needed"
        assert await call(world, "add", 1) == "600"
        assert stored(world) == {"total": "600", "": "2"}
        await world.restart()
        assert await call(world, "add", 1) == "700"
        assert calls == [{"total": "5"}], "it is not migrated twice"


async def test_a_migration_is_written_even_by_a_handler_that_writes_nothing() -> None:
    async with World(FIRST) as world:
        await call(world, "add", 5)
        await deploy(world, second())
        handle = await world.app.send("Order", "o", "checkout")
        await world.settle()
        assert stored(world) == {"total": "500", "status": '"waiting"', "": "2"}
        await world.app.kill(handle.id)


async def test_readers_migrate_what_they_read_and_write_nothing() -> None:
    async with World(FIRST) as world:
        await call(world, "add", 5)
        await deploy(world, second())
        commits = world.disk.commits
        assert [await call(world, "look") for _ in range(3)] == ["new: 500"] * 3
        assert (world.disk.commits, stored(world)) == (commits, {"total": '"5"'})


async def test_versions_are_never_shown_and_never_written_for_ordinary_classes() -> None:
    class Order(VirtualObject, version=2):
        total: int = 0
        same = migration(from_version=1)(cents)

        @handler
        async def add(self, ctx: Context, n: int) -> list[str]:
            self.total += n
            return ctx.state_keys()

        @handler
        async def clear(self, ctx: Context) -> list[str]:
            ctx.clear_all()
            return ctx.state_keys()

        @shared
        async def look(self, ctx: Context) -> list[str]:
            return ctx.state_keys()

        @handler
        async def other(self, ctx: Context, what: str) -> None:
            if what == "set":
                ctx.set("", 3)
            elif what == "clear":
                ctx.clear("")
            else:
                ctx.get("")

    async with World(Order) as world:
        assert await call(world, "look") == []
        assert stored(world) == {}
        assert await call(world, "add", 1) == ["total"]
        assert await call(world, "look") == ["total"]
        assert stored(world) == {"total": "1", "": "2"}
        assert world.disk.query("SELECT name, value FROM state") == [("total", "1")]
        for what in ("get", "set", "clear"):
            with pytest.raises(BadArguments, match="1 to 1,000 characters"):
                await call(world, "other", what)
        assert await call(world, "clear") == []
        assert world.disk.query("SELECT * FROM state") == []
        await deploy(world, FIRST)  # nothing is stored, so it is of any version
        await call(world, "add", 1)
        assert stored(world) == {"total": '"1"', "": "1"}, "or its next upgrade would skip a step"
        await deploy(world, second())
        assert await call(world, "look") == "new: 100"
    async with World(FIRST) as world:
        await call(world, "add", 1)
        assert stored(world) == {"total": '"1"'}
    assert calls == [{"total": "1"}]


async def test_the_version_of_a_first_write_is_durable_with_it_before_the_handler_ends() -> None:
    async with World(second()) as world:
        await world.app.send("Order", "o", "checkout")
        await world.settle()
        assert stored(world) == {"status": '"waiting"', "": "2"}
        await deploy(world, third())
        await wake(world)
        assert calls == [{"status": "waiting"}], "from version 2, not from 1; and it began with nothing"
        assert stored(world) == {"status": '"paid"', "": "3"}


async def test_all_steps_are_taken_one_after_the_other() -> None:
    async with World(FIRST) as world:
        await call(world, "add", 5)
        await deploy(world, third())
        assert await call(world, "add", 1) == "600"
        assert calls == [{"total": "5"}, {"total": 500}]
        assert stored(world) == {"sum": "600", "": "3"}


async def test_a_subclass_migrates_with_the_steps_of_its_base() -> None:
    class Special(Order):
        gift: bool = False

    base: Any = second()

    class Newer(base, name="Special"):  # type: ignore[misc,call-arg]
        gift: bool = False

    async with World(Special) as world:
        await world.app.object(Special, "o").add(3)
        await deploy(world, Newer)
        assert await world.app.call("Special", "o", "look") == "new: 300"


# --- what cannot be migrated ----------------------------------------------------------------------------------------------


def _raising(state: State) -> State:
    raise ValueError("no total")


def _terminal(state: State) -> State:
    raise TerminalError("this ends nothing")


BROKEN: dict[str, tuple[Any, str]] = {
    "an exception": (
        _raising,
        r"Order/o cannot be migrated: _raising, from version 1 to 2, raised ValueError: no total ",
    ),
    "a terminal error": (_terminal, r"Order/o .*raised TerminalError: this ends nothing"),
    "nothing": (lambda state: None, r"Order/o .*returned None. It must return a dict"),
    "a list": (lambda state: [state], r"returned \[.*It must return a dict"),
    "no JSON": (
        lambda state: {"total": Decimal(1)},
        r"Order/o .*returned a value that is not plain JSON for the name 'total'",
    ),
    "a tuple": (lambda state: {"total": 1, "x": (1,)}, r"not plain JSON for the name 'x'"),
    "no number": (lambda state: {"total": float("nan")}, r"not plain JSON for the name 'total'"),
    "an empty name": (lambda state: {"": 5}, r"for the name '': .*non-empty str"),
    "no name": (lambda state: {7: 5}, r"for the name 7: .*non-empty str"),
    "no Unicode": (lambda state: {"\ud800": 5}, r"not plain JSON"),
    "a misfit": (
        lambda state: {"total": "5"},
        r"Order/o was migrated from version 1 to 2, and does not fit then: .*total",
    ),
    "a giant": (lambda state: {"status": "x" * 2000, "total": 1}, r"'status' would take 2,002 characters; max_payload"),
}


@pytest.mark.expects_log("is paused. It is tried again")
@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_migration_pauses_who_needs_it_changes_nothing_and_goes_on_once_mended(what: str) -> None:
    step, says = BROKEN[what]
    async with World(FIRST, limits=Limits(max_payload=1000, retention=None)) as world:
        await call(world, "add", 5)
        await deploy(world, class_of(2, step))
        first = await world.app.send("Order", "o", "add", 1)
        behind = await world.app.send("Order", "o", "add", 2)
        await world.settle()
        assert re.search(says, await reason(world, first.id)), await reason(world, first.id)
        assert stored(world) == {"total": '"5"'}
        assert (await world.app.describe(behind.id)).status == "pending", "nothing overtakes it"
        commits = world.disk.commits
        await world.pass_time(3600)
        assert world.disk.commits == commits, "no loop"
        await world.app.resume(first.id)
        await world.settle()
        assert re.search(says, await reason(world, first.id))
        await deploy(world, second())  # mended
        assert await world.app.invocation(first.id).result() == "600"
        assert await world.app.invocation(behind.id).result() == "800"


@pytest.mark.expects_log("is paused. It is tried again")
async def test_a_reader_of_what_cannot_be_migrated_is_paused_too() -> None:
    async with World(FIRST) as world:
        await call(world, "add", 5)
        await deploy(world, class_of(2, _raising))
        handle = await world.app.send("Order", "o", "look")
        await world.settle()
        assert "raised ValueError" in await reason(world, handle.id)
        await deploy(world, second())
        assert await world.app.invocation(handle.id).result() == "new: 500"


@pytest.mark.expects_log("is paused. It is tried again")
async def test_an_older_release_leaves_newer_state_alone_until_the_newer_one_is_back() -> None:
    async with World(second()) as world:
        await call(world, "add", 5)
        before = stored(world)
        await deploy(world, FIRST)
        writing, reading = await world.app.send("Order", "o", "add", 1), await world.app.send("Order", "o", "look")
        await world.settle()
        for handle in (writing, reading):
            assert "Order/o is of version 2, and the class of this process is of version 1" in await reason(
                world, handle.id
            )
        assert stored(world) == before
        await deploy(world, second())
        assert await world.app.invocation(writing.id).result() == "600"
        assert (await world.app.invocation(reading.id).result()).startswith("new: ")


# --- open invocations ---------------------------------------------------------------------------------------------------


async def blocked(world: World, name: str = "checkout", *, first: int = 5) -> str:
    """An order of 5 euros, and an invocation of `name` that has written and waits."""
    if first:
        await call(world, "add", first)
    handle = await world.app.send("Order", "o", name)
    await world.settle()
    return handle.id


def migrated_entries(world: World) -> list[tuple[int, dict[str, Any]]]:
    rows = world.disk.query("SELECT ref, value FROM journal_entry WHERE kind = 19 ORDER BY invocation, idx")
    return [(version, {n: json.loads(t) for n, t in json.loads(value).items()}) for version, value in rows]


async def test_an_invocation_open_across_an_upgrade_replays_from_its_initial_state_migrated() -> None:
    async with World(FIRST) as world:
        id = await blocked(world)
        await deploy(world, second())
        assert stored(world) == {"total": '"5"', "status": '"waiting"'}
        await wake(world)
        assert await world.app.invocation(id).result() == "paid: 500"
        assert migrated_entries(world) == [(2, {"total": 500})], "what it began with, without its own write"
        assert calls == [{"total": "5"}, {"total": "5", "status": "waiting"}], "the start, undone; and what is stored"
        assert stored(world) == {"total": "500", "status": '"paid"', "": "2"}
        journal = world.disk.query("SELECT entry, value FROM journal WHERE entry = 'migrated'")
        assert journal == [("migrated", '{"total":"500"}')]


async def test_an_invocation_that_has_written_nothing_needs_no_record_of_its_start() -> None:
    class Order(FIRST):
        @handler
        async def ask(self, ctx: Context) -> str:
            return f"{await ctx.awakeable(str)} {self.total}"

    async def ask(self: Any, ctx: Context) -> str:
        return f"{await ctx.awakeable(str)} {self.total}"

    async with World(Order) as world:
        id = await blocked(world, "ask")
        await deploy(world, class_of(2, cents, ask=handler(ask)))
        await wake(world, "is it")
        assert await world.app.invocation(id).result() == "is it 500"
        assert migrated_entries(world) == []


async def test_twice_upgraded_while_blocked() -> None:
    async with World(FIRST) as world:
        id = await blocked(world)
        await deploy(world, second())
        (info,) = await world.app.awakeables()
        with pytest.raises(BadArguments):  # asking for the type replays it, so it is migrated; then it waits on
            await world.app.resolve_awakeable(info.id, 7)
        await world.settle()
        assert stored(world) == {"total": "500", "status": '"waiting"', "": "2"}
        await deploy(world, third())
        await wake(world)
        assert await world.app.invocation(id).result() == "paid: 500"
        assert migrated_entries(world) == [(2, {"total": 500}), (3, {"sum": 500})]
        assert stored(world) == {"sum": "500", "status": '"paid"', "": "3"}


async def test_two_versions_at_once_while_blocked() -> None:
    async with World(FIRST) as world:
        id = await blocked(world)
        await deploy(world, third())
        await wake(world)
        assert await world.app.invocation(id).result() == "paid: 500"
        assert migrated_entries(world) == [(3, {"sum": 500})]


@pytest.mark.expects_log("is paused. It is tried again")
async def test_what_began_with_state_and_has_cleared_it_is_migrated_although_nothing_is_stored() -> None:
    async with World(FIRST) as world:
        id = await blocked(world, "empty")
        assert stored(world) == {}
        await deploy(world, second())
        await world.app.pause(id)
        await world.app.resume(id)
        await world.settle()
        assert migrated_entries(world) == [(2, {"total": 500})]
        await deploy(world, third())
        await wake(world)
        assert (await world.app.describe(id)).status == "paused", "the recorded 'clear total' is not 'clear sum'"
        assert migrated_entries(world)[-1] == (3, {"sum": 500})
        await deploy(world, second())
        assert "newer release" in await reason(world, id)


@pytest.mark.parametrize("written", [False, True])
async def test_a_crash_at_the_commit_of_two_upgrades_leaves_old_or_new_and_never_both(written: bool) -> None:
    expected = {
        "1": {"total": '"5"', "status": '"waiting"'},
        "2": {"total": "500", "status": '"waiting"', "": "2"},
        "3": {"sum": "500", "status": '"waiting"', "": "3"},
    }
    crashes = 0
    async with World(FIRST) as world:
        id = await blocked(world)
        behind = await world.app.send("Order", "o", "add", 1)
        await world.settle()
        (info,) = await world.app.awakeables()
        for newer, answer in ((second(), 7), (third(), 7), (third(), "paid")):  # 7 is refused, after it was replayed
            await world.crash()
            world.classes = (newer,)
            await world.start()
            world.store.crash_at_commit(1, written=written)  # one holds all of it
            with contextlib.suppress(OutcomePending, StorageError, BadArguments):
                await world.app.resolve_awakeable(info.id, answer)
            await world.settle()
            crashes += world.store.crashed
            found = stored(world)
            version = found.get("", "1")
            if found["status"] == '"waiting"':
                assert found == expected[version]
            entries = migrated_entries(world)
            assert (entries[-1][0] if entries else 1) == int(version), (
                "the start of the open invocation is of that version"
            )
        await world.restart()
        await wake(world)
        assert await world.app.invocation(id).result() == "paid: 500"
        assert await world.app.invocation(behind.id).result() == "600"
        assert stored(world) == {"sum": "600", "status": '"paid"', "": "3"}
        assert crashes


@pytest.mark.expects_log("is paused. It is tried again")
async def test_recorded_writes_that_no_longer_fit_pause_the_invocation_as_any_mismatch_does() -> None:
    class Order(VirtualObject):
        total: Decimal = Decimal(0)

        @handler
        async def add(self, ctx: Context, euros: int) -> str:
            self.total += euros
            return f"{await ctx.awakeable(str)}: {self.total}"

    class Newer(VirtualObject, version=2, name="Order"):
        total: int = 0
        in_cents = migration(from_version=1)(cents)

        @handler
        async def add(self, ctx: Context, euros: int) -> str:
            self.total += euros * 100
            return f"{await ctx.awakeable(str)}: {self.total}"

    async with World(Order) as world:
        handle = await world.app.object(Order, "o").add.send(5)
        await world.settle()
        await deploy(world, Newer)
        await wake(world)
        said = await reason(world, handle.id)
        assert "recorded was set state 'total' with \"5\"; requested now was set state 'total' with 500" in said
        assert stored(world) == {"total": "500", "": "2"}, "the object is migrated: readers can read it"
        await world.app.kill(handle.id)
        assert await world.app.object(Newer, "o").add.send(1)


async def test_a_reader_open_across_upgrades_reads_its_snapshot_in_the_newest_version() -> None:
    async with World(FIRST) as world:
        await call(world, "add", 5)
        handle = await world.app.send("Order", "o", "follow")
        await world.settle()
        await call(world, "add", 1)
        await deploy(world, second())
        await call(world, "add", 1)
        await deploy(world, third())
        later = await world.app.send("Order", "o", "follow")
        await world.settle()
        await deploy(world, third())
        await wake(world)
        assert await world.app.invocation(handle.id).result() == "500 then 500"
        assert await world.app.invocation(later.id).result() == "700 then 700"
        refs = world.disk.query("SELECT ref FROM journal_entry WHERE kind = 11 ORDER BY invocation")
        assert refs == [(None,), (3,)], "each snapshot says which version it is of"


async def test_what_the_replayed_handler_makes_of_the_migrated_start_is_the_state() -> None:
    """A migration may change what the handler has written since; then the handler, replayed by new code, is right."""

    class Order(VirtualObject):
        level: int = 1

        @handler
        async def go(self, ctx: Context) -> int:
            self.level = 3
            await ctx.awakeable(str)
            return self.level

        @shared
        async def look(self) -> int:
            return self.level

    def doubled(state: State) -> State:
        return {"level": state["level"] * 2} if "level" in state else state

    class Newer(Order, version=2, name="Order"):
        twice = migration(from_version=1)(doubled)

    async with World(Order) as world:
        handle = await world.app.object(Order, "o").go.send()
        await world.settle()
        await deploy(world, Newer)
        assert await world.app.object(Newer, "o").look() == 6
        await wake(world)
        assert await world.app.invocation(handle.id).result() == 3
        assert stored(world) == {"level": "3", "": "2"}, "not 6 on disk and 3 in memory"
        assert await world.app.object(Newer, "o").look() == 3
        await world.restart()
        assert await world.app.object(Newer, "o").look() == 3


# --- atomic handlers -------------------------------------------------------------------------------------------------------


async def test_an_atomic_handler_that_fails_after_an_upgrade_goes_back_to_the_migrated_start() -> None:
    async with World(FIRST) as world:
        id = await blocked(world, "attempt")
        await deploy(world, second())
        await wake(world)
        with pytest.raises(TerminalError, match="failed at 7"):
            await world.app.invocation(id).result()
        assert stored(world) == {"total": "500", "": "2"}
        assert await call(world, "look") == "new: 500"
        await world.restart()
        assert await call(world, "look") == "new: 500"


async def test_an_atomic_handler_killed_before_new_code_has_touched_it_goes_back_in_the_old_version() -> None:
    async with World(FIRST) as world:
        id = await blocked(world, "attempt")
        await deploy(world, second())
        await world.app.kill(id)
        await world.settle()
        assert stored(world) == {"total": '"5"'}
        assert await call(world, "look") == "new: 500"
        assert await call(world, "add", 1) == "600"


async def test_an_atomic_handler_killed_after_two_upgrades_goes_back_to_the_start_in_the_newest_version() -> None:
    async with World(FIRST) as world:
        id = await blocked(world, "attempt")
        for newer in (second(), third()):
            await deploy(world, newer)
            await world.app.pause(id)
            await world.app.resume(id)
            await world.settle()
        await world.restart()
        assert stored(world) == {"sum": "500", "": "3"}, "what it has written is in its journal alone"
        await world.app.kill(id)
        await world.settle()
        assert stored(world) == {"sum": "500", "": "3"}
        assert await call(world, "look") == "new: 500"


@pytest.mark.expects_log("is paused. It is tried again")
async def test_an_atomic_handler_that_no_longer_fits_after_an_upgrade_goes_back_in_the_new_version_when_killed() -> (
    None
):
    class Order(FIRST):
        @handler(atomic=True)
        async def raise_by_one(self, ctx: Context) -> None:
            self.total += 1
            await ctx.awakeable(str)

    async def raise_by_one(self: Any, ctx: Context) -> None:
        self.total += 100
        await ctx.awakeable(str)

    async with World(Order) as world:
        id = await blocked(world, "raise_by_one")
        await deploy(world, class_of(2, cents, raise_by_one=handler(atomic=True)(raise_by_one)))
        await wake(world)
        assert (
            "recorded was set state 'total' with \"6\"; requested now was set state 'total' with 600"
            in await reason(world, id)
        )
        assert stored(world) == {"total": "500", "": "2"}, "what it has written is in its journal alone"
        await world.app.kill(id)
        await world.settle()
        assert stored(world) == {"total": "500", "": "2"}, 'not "5", which its journal holds'
        assert await call(world, "look") == "new: 500"


async def test_an_atomic_handler_on_an_object_without_state_goes_back_to_none() -> None:
    async with World(FIRST) as world:
        id = await blocked(world, "attempt", first=0)
        await deploy(world, second())
        await wake(world)
        with pytest.raises(TerminalError):
            await world.app.invocation(id).result()
        assert world.disk.query("SELECT * FROM state") == []
        assert await call(world, "look") == "new: 0"


# --- restarts that keep a journal ---------------------------------------------------------------------------------------


async def begun(world: World) -> str:
    """An invocation of version 1 that has written, then waits; its id."""
    handle = await world.app.object(FIRST, "o").checkout.send()
    await world.settle()
    return handle.id


async def test_a_restart_keeps_no_write_of_state_that_was_migrated_since() -> None:
    async with World(FIRST) as world:
        id = await begun(world)
        await world.app.kill(id)
        await deploy(world, class_of(2, lambda state: state))  # what it wrote looks the same in version 2
        await call(world, "add", 0)
        with pytest.raises(CannotKeep, match=r"migrated to another version.*works is 0"):
            await world.app.restart(id, keep=1)


async def test_a_restart_keeps_writes_of_the_version_the_state_is_in() -> None:
    async with World(FIRST) as world:
        await deploy(world, second())
        await world.app.send("Order", "o", "checkout")
        await world.settle()
        (info,) = await world.app.invocations(status="blocked")
        await world.app.kill(info.id)
        again = await world.app.restart(info.id, keep=2)
        await world.settle()
        await wake(world)
        assert await again.result() == "paid: 0"
        assert stored(world) == {"": "2", "status": '"paid"'}


async def test_a_restart_keeps_nothing_from_beyond_a_migration() -> None:
    async with World(FIRST) as world:
        id = await begun(world)
        await deploy(world, second())
        await wake(world)
        assert (await world.app.describe(id)).status == "succeeded"
        positions = dict(world.disk.query("SELECT entry, position FROM journal"))
        with pytest.raises(CannotKeep, match=rf"another version.*works is {positions['migrated'] - 1}"):
            await world.app.restart(id, keep=positions["migrated"])
