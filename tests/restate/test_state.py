"""The state of an object on Restate: read when touched, written at durable points, migrated before the handler begins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import Context, TerminalError, VirtualObject, handler, migration, shared
from actors.errors import PayloadTooLarge, SerializationError, StateWriteInStep
from actors.model.limits import Limits
from actors.transport.restate.state_commands import VERSION
from tests.restate.machine_world import AttemptFailed, Invocation, World

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


class Cart(VirtualObject):
    n: int = 0
    items: list[str] = []
    tags: set[str] = set()
    note: str

    @handler
    async def nothing(self, ctx: Context) -> None:
        await ctx.sleep(1)

    @handler
    async def read(self) -> int:
        return self.n + self.n

    @handler
    async def write(self, ctx: Context, n: int) -> None:
        self.n = n
        await ctx.sleep(1)

    @handler
    async def increase(self, ctx: Context) -> int:
        self.n += 1
        await ctx.sleep(1)
        self.n += 1
        return self.n

    @handler
    async def append(self, ctx: Context, item: str) -> list[str]:
        self.items.append(item)
        await ctx.sleep(1)
        self.items.append(item + item)
        return self.items

    @handler
    async def write_too_large(self, ctx: Context, then: str | None) -> str:
        del self.items
        self.n, self.note = 5, "x" * 200
        try:
            await ctx.sleep(1)
        except PayloadTooLarge:
            if then is not None:
                self.note = then
        return "went on"

    @handler
    async def delete(self, ctx: Context) -> list[Any]:
        del self.n
        del self.items
        await ctx.sleep(1)
        return [self.n, self.items]

    @handler
    async def unset(self) -> str:
        return self.note

    @handler
    async def in_order(self, ctx: Context) -> None:
        self.tags = {"b", "a", "c"}
        self.items = ["x"]
        await ctx.sleep(1)

    @handler
    async def unstorable(self, ctx: Context) -> str:
        self.items = ["kept"]
        self.n = "x"  # type: ignore[assignment]
        try:
            await ctx.sleep(1)
        except SerializationError:
            self.n = 7
        await ctx.sleep(1)
        return "went on"

    @handler
    async def large(self) -> None:
        self.items = ["x" * 200]

    @handler
    async def in_step(self, ctx: Context) -> Any:
        def step() -> int:
            self.n = 5
            return 5

        return await ctx.run(step)

    @handler
    async def reads_in_step(self, ctx: Context) -> int:
        return await ctx.run(lambda: self.n + len(self.items))

    @handler
    async def by_name(self, ctx: Context) -> list[Any]:
        ctx.set("other", {"a": 1})
        ctx.set("n", 4)
        found = [ctx.get("other"), ctx.get("n"), self.n, ctx.get("missing", default="d"), ctx.state_keys()]
        ctx.clear("other")
        return [*found, ctx.state_keys(), ctx.get("other")]

    @handler
    async def clears(self, ctx: Context) -> list[str]:
        ctx.clear_all()
        return ctx.state_keys()

    @handler
    async def awkward(self, ctx: Context) -> None:
        ctx.set("tagged", {"b", "a", "c"}, set[str])

    @shared
    async def look(self, ctx: Context) -> list[Any]:
        first = self.n
        await ctx.sleep(1)
        return [first, self.n, self.items, ctx.state_keys()]

    @handler(atomic=True)
    async def atomic(self, ctx: Context, fails: bool) -> list[Any]:
        self.n += 1
        self.items.append("a")
        await ctx.sleep(1)
        ctx.set("other", 1)
        self.n += 1
        await ctx.sleep(1)
        if fails:
            raise TerminalError("no")
        return [self.n, ctx.get("other"), ctx.state_keys()]


MODES = [(True, True), (True, False), (False, True), (False, False)]


@pytest.fixture(params=MODES, ids=lambda mode: f"streams={mode[0]} partial={mode[1]}")
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    streams, partial = request.param
    async with World(Cart, Account, streams=streams, partial=partial, limits=Limits(max_payload=150)) as made:
        yield made


def touched(invocation: Invocation) -> list[str]:
    """The names that were read and written, in order."""
    return [
        f"{command.kind.removesuffix(' state')} {command.compared['name']}"
        for command in invocation.commands()
        if command.kind.endswith(" state")
    ]


async def done(world: World, name: str, *args: Any) -> tuple[Any, Invocation]:
    invocation = world.invocation("Cart", "a", name, *args)
    return await world.outcome(invocation), invocation


# --- reading and writing --------------------------------------------------------------------------------------------------


async def test_an_attribute_that_is_not_touched_costs_nothing(world: World) -> None:
    world.store("Cart", "a", n=5, items=["x"])
    _, invocation = await done(world, "nothing")
    assert touched(invocation) == []


async def test_an_attribute_is_read_once(world: World) -> None:
    world.store("Cart", "a", n=5)
    value, invocation = await done(world, "read")
    assert value == 10 and touched(invocation) == ["get n"]


async def test_a_write_needs_no_read(world: World) -> None:
    world.store("Cart", "a", n=5)
    _, invocation = await done(world, "write", 5)
    assert touched(invocation) == ["set n"] and world.stored("Cart", "a") == {"n": 5}


async def test_what_has_not_changed_is_not_written(world: World) -> None:
    world.store("Cart", "a", n=5)
    _, invocation = await done(world, "reads_in_step")
    assert not [name for name in touched(invocation) if name.startswith("set")]


async def test_changes_are_recorded_at_each_durable_point(world: World) -> None:
    world.store("Cart", "a", n=5)
    value, invocation = await done(world, "increase")
    assert value == 7 and invocation.kinds() == ["get state", "set state", "sleep", "set state", "output"]
    assert [command.compared["value"] for command in invocation.commands("set state")] == [b"6", b"7"]


async def test_a_change_in_place_is_noticed(world: World) -> None:
    world.store("Cart", "a", items=["x"])
    value, invocation = await done(world, "append", "y")
    assert value == ["x", "y", "yy"] == world.stored("Cart", "a")["items"]
    assert touched(invocation) == ["get items", "set items", "set items"]


async def test_a_default_is_not_shared_between_objects(world: World) -> None:
    await done(world, "append", "y")
    assert await world.call("Cart", "b", "append", "z") == ["z", "zz"]


async def test_a_deleted_attribute_has_its_default_again(world: World) -> None:
    world.store("Cart", "a", n=5, items=["x"])
    value, _ = await done(world, "delete")
    assert value == [0, []] and world.stored("Cart", "a") == {}


async def test_an_attribute_without_a_value_cannot_be_read(world: World) -> None:
    with pytest.raises(TerminalError, match="note"):
        await done(world, "unset")


async def test_writes_stand_in_the_order_of_declaration(world: World) -> None:
    _, invocation = await done(world, "in_order")
    assert touched(invocation) == ["set items", "set tags"]
    assert invocation.commands("set state")[1].compared["value"] == b'["a","b","c"]'
    _, invocation = await done(world, "awkward")
    assert invocation.commands("set state")[0].compared["value"] == b'["a","b","c"]'


async def test_a_value_that_cannot_be_stored_is_refused_at_its_await(world: World) -> None:
    value, _ = await done(world, "unstorable")
    assert value == "went on" and world.stored("Cart", "a") == {"n": 7, "items": ["kept"]}


async def test_a_refused_write_is_refused_again_at_the_end(world: World) -> None:
    world.store("Cart", "a", n=1, items=["a"])
    with pytest.raises(PayloadTooLarge, match="The state 'note'"):
        await done(world, "write_too_large", "y" * 200)
    assert world.stored("Cart", "a") == {"n": 1, "items": ["a"]}


async def test_a_refused_write_that_stays_is_refused_at_the_end(world: World) -> None:
    with pytest.raises(PayloadTooLarge, match="The state 'note'"):
        await done(world, "write_too_large", None)
    assert world.stored("Cart", "a") == {}


async def test_what_was_changed_beside_a_refused_write_is_kept(world: World) -> None:
    world.store("Cart", "a", n=1, items=["a"])
    value, _ = await done(world, "write_too_large", "short")
    assert (value, world.stored("Cart", "a")) == ("went on", {"n": 5, "note": "short"})


async def test_a_value_that_is_too_large_is_refused(world: World) -> None:
    with pytest.raises(PayloadTooLarge, match="The state 'items'"):
        await done(world, "large")
    assert world.stored("Cart", "a") == {}


async def test_an_assignment_inside_a_step_is_refused(world: World) -> None:
    with pytest.raises(StateWriteInStep):
        await done(world, "in_step")


async def test_a_step_may_read_what_it_can_reach(world: World) -> None:
    world.store("Cart", "a", n=5, items=["x"])
    value, _ = await done(world, "reads_in_step")
    assert value == 6


async def test_state_by_name_and_attributes_are_one(world: World) -> None:
    world.store("Cart", "a", items=["x"])
    value, _ = await done(world, "by_name")
    keys = ["items", "n", "other"]
    assert value == [{"a": 1}, 4, 4, "d", keys, ["items", "n"], None]
    assert world.stored("Cart", "a") == {"items": ["x"], "n": 4}


async def test_all_state_can_be_cleared(world: World) -> None:
    world.store("Cart", "a", n=5, other=[1])
    value, _ = await done(world, "clears")
    assert value == [] and world.stored("Cart", "a") == {}


# --- shared and atomic ----------------------------------------------------------------------------------------------------


async def test_a_shared_handler_reads_one_snapshot(world: World) -> None:
    world.store("Cart", "a", n=5, other=1)
    invocation = world.invocation("Cart", "a", "look")
    while "sleep" not in invocation.kinds():
        if world.streams:
            world.later(invocation, "signal", None, 0)
        await world.attempt(invocation)
        if invocation.awaited is not None and "sleep" not in invocation.kinds():
            assert world.goes_on(invocation)
    world.store("Cart", "a", n=6, items=["later"])
    assert await world.outcome(invocation) == [5, 5, [], ["n", "other"]]


@pytest.mark.parametrize("fails", [False, True])
async def test_an_atomic_handler_writes_with_its_outcome_only(world: World, fails: bool) -> None:
    world.store("Cart", "a", n=5)
    invocation = world.invocation("Cart", "a", "atomic", fails)
    if fails:
        with pytest.raises(TerminalError, match="no"):
            await world.outcome(invocation)
        assert world.stored("Cart", "a") == {"n": 5} and not invocation.commands("set state")
        return
    assert await world.outcome(invocation) == [7, 1, ["items", "n", "other"]]
    assert world.stored("Cart", "a") == {"n": 7, "items": ["a"], "other": 1}
    kinds = invocation.kinds()
    assert "set state" not in kinds[: len(kinds) - 4], "all of them right before the outcome"


# --- migrations -----------------------------------------------------------------------------------------------------------


class Account(VirtualObject, version=3):
    cents: int = 0
    owner: str = ""

    @migration(from_version=1)
    @staticmethod
    def to_cents(state: dict[str, Any]) -> dict[str, Any]:
        if state.get("euros") == "broken":
            raise ValueError("what a sum")
        state["cents"] = state.pop("euros", 0) * 100
        return state

    @migration(from_version=2)
    @staticmethod
    def to_owner(state: dict[str, Any]) -> dict[str, Any]:
        state["owner"] = "unknown"
        return state

    @handler
    async def add(self, ctx: Context, cents: int) -> list[Any]:
        await ctx.sleep(1)
        self.cents += cents
        return [self.cents, self.owner]

    @handler
    async def nothing(self) -> None: ...

    @shared
    async def look(self) -> list[Any]:
        return [self.cents, self.owner]


async def test_older_state_is_migrated_before_the_first_line(world: World) -> None:
    world.store("Account", "a", euros=5, other="kept")
    invocation = world.invocation("Account", "a", "add", 1)
    assert await world.outcome(invocation) == [501, "unknown"]
    assert world.stored("Account", "a") == {VERSION: 3, "cents": 501, "owner": "unknown", "other": "kept"}
    written = [name for name in touched(invocation) if not name.startswith("get")]
    assert written == [f"set {VERSION}", "clear euros", "set cents", "set owner", "set cents"]
    assert invocation.kinds().index("set state") < invocation.kinds().index("sleep")


async def test_state_is_migrated_from_its_own_version(world: World) -> None:
    world.store("Account", "a", **{VERSION: 2, "cents": 5})
    assert await world.call("Account", "a", "add", 1) == [6, "unknown"]


async def test_current_state_is_not_migrated_again(world: World) -> None:
    world.store("Account", "a", **{VERSION: 3, "cents": 5, "owner": "me"})
    invocation = world.invocation("Account", "a", "add", 1)
    assert await world.outcome(invocation) == [6, "me"]
    assert touched(invocation) == [f"get {VERSION}", "get cents", "get owner", "set cents"]


async def test_the_version_is_written_with_the_first_state(world: World) -> None:
    await world.call("Account", "a", "nothing")
    assert world.stored("Account", "a") == {}
    await world.call("Account", "a", "add", 1)
    assert world.stored("Account", "a") == {VERSION: 3, "cents": 1}


async def test_a_shared_handler_migrates_in_memory(world: World) -> None:
    world.store("Account", "a", euros=5)
    assert await world.call("Account", "a", "look") == [500, "unknown"]
    assert world.stored("Account", "a") == {"euros": 5}


async def test_the_version_is_not_among_the_names(world: World) -> None:
    world.store("Cart", "a", **{VERSION: 1, "n": 1})
    assert await world.call("Cart", "a", "clears") == []
    assert world.stored("Cart", "a") == {VERSION: 1}


@pytest.mark.expects_log("an attempt failed")
@pytest.mark.parametrize("state", [{"euros": "broken"}, {VERSION: 4, "cents": 5}, {VERSION: 2, "cents": "x"}])
async def test_a_migration_that_fails_leaves_the_state(world: World, state: dict[str, Any]) -> None:
    world.store("Account", "a", **state)
    with pytest.raises(AttemptFailed, match="StateDecodeError"):
        await world.call("Account", "a", "add", 1)
    assert world.stored("Account", "a") == state


@pytest.mark.expects_log("an attempt failed")
async def test_stored_state_that_does_not_fit_fails_the_attempt(world: World) -> None:
    world.store("Cart", "a", n="x")
    invocation = world.invocation("Cart", "a", "read")
    with pytest.raises(AttemptFailed, match="no longer fits its type"):
        await world.outcome(invocation)
    assert world.stored("Cart", "a") == {"n": "x"} and invocation.outcome is None
