"""State read and changed from outside: one step of the object, durable, typed, and never inside an invocation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import App, Context, Service, VirtualObject, Workflow, handler, migration, shared
from actors.errors import (
    AppNotRunning,
    BadArguments,
    BadKey,
    CannotPatch,
    ObjectBusy,
    OutcomePending,
    PayloadTooLarge,
    StateChanged,
    TerminalError,
    UnknownService,
    WrongKind,
)
from tests.world import World, limits

broken = False


class Cart(VirtualObject):
    total: int = 0
    items: list[str] = []
    note: str | None = None

    @handler
    async def add(self, item: str) -> int:
        if broken:
            raise OSError("not now")
        self.items.append(item)
        self.total += 1
        return self.total

    @handler
    async def wait(self, ctx: Context) -> int:
        self.total += 10
        self.total += await ctx.awakeable(int)
        return self.total

    @handler
    async def linger(self, turns: int) -> int:
        before = self.total
        for _ in range(turns):
            await asyncio.sleep(0)  # nothing of this is in the journal
        self.total = before + 1
        return self.total

    @handler
    async def keep(self, ctx: Context, name: str, value: int) -> None:
        ctx.set(name, value)

    @shared
    async def read(self) -> tuple[int, list[str]]:
        return self.total, self.items


class Tool(Service):
    @handler
    async def use(self) -> None: ...


class Flow(Workflow):
    stage: int = 0

    @handler
    async def run(self) -> int:
        self.stage += 1
        return self.stage

    @shared
    async def peek(self) -> int:
        return self.stage


@pytest.fixture(autouse=True)
def _sound() -> None:
    global broken
    broken = False


async def test_a_hot_object_goes_on_with_what_was_set() -> None:
    async with World(Cart) as world:
        cart = world.app.object(Cart, "a")
        await cart.add("pen")
        changed = await world.app.patch_state(Cart, "a", set={"total": 41, "items": ["ink"]})
        assert changed.values == {"total": 41, "items": ["ink"]}
        assert await cart.read() == (41, ["ink"])
        assert await cart.add("pad") == 42
        assert (await world.app.state("Cart", "a")).values == {"total": 42, "items": ["ink", "pad"]}


async def test_a_cold_object_is_changed_and_a_name_is_cleared() -> None:
    async with World(Cart) as world:
        await world.app.object(Cart, "a").add("pen")
        await world.restart()
        changed = await world.app.patch_state(Cart, "a", set={"note": None}, clear=["items"])
        assert changed.values == {"total": 1, "note": None}
        assert await world.app.object(Cart, "a").read() == (1, [])


@pytest.mark.parametrize("written", [False, True])
async def test_a_change_is_wholly_there_or_not_at_all_after_a_crash_and_acknowledged_only_when_durable(
    written: bool,
) -> None:
    async with World(Cart) as world:
        await world.app.object(Cart, "a").add("pen")
        world.store.crash_at_commit(1, written=written)
        with pytest.raises(OutcomePending):
            await world.app.patch_state(Cart, "a", set={"total": 7, "items": []})
        await world.restart()
        expected = (7, []) if written else (1, ["pen"])
        assert await world.app.object(Cart, "a").read() == expected


async def test_what_was_acknowledged_survives_a_crash() -> None:
    async with World(Cart) as world:
        await world.app.patch_state(Cart, "a", set={"total": 7})
        await world.restart()
        assert await world.app.object(Cart, "a").add("pen") == 8


async def test_an_object_is_busy_from_the_first_line_of_an_invocation_to_its_outcome() -> None:
    async with World(Cart) as world:
        sent = await world.app.object(Cart, "a").wait.send()
        await world.settle()
        for _ in range(2):
            with pytest.raises(ObjectBusy, match="Cart/a/wait"):
                await world.app.patch_state(Cart, "a", set={"total": 5})
            await world.restart()
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, 1)
        assert await world.outcome(sent) == 11
        await world.app.patch_state(Cart, "a", set={"total": 5})
        assert await world.app.object(Cart, "a").read() == (5, [])


async def test_an_object_is_busy_while_code_runs_that_has_recorded_nothing_yet() -> None:
    async with World(Cart) as world:
        await world.app.object(Cart, "a").add("pen")
        call = asyncio.ensure_future(world.app.object(Cart, "a").linger(50))
        for _ in range(5):
            await asyncio.sleep(0)
        with pytest.raises(ObjectBusy, match="Cart/a/linger"):
            await world.app.patch_state(Cart, "a", set={"total": 5})
        assert await call == 2


@pytest.mark.expects_log("failed, next in")
async def test_a_change_comes_before_an_invocation_that_has_left_nothing_behind() -> None:
    global broken
    async with World(Cart) as world:
        broken = True
        sent = await world.app.object(Cart, "a").add.send("pen")
        await world.settle()
        assert await world.status(sent) == "backing-off"
        await world.app.patch_state(Cart, "a", set={"total": 5})
        broken = False
        await world.pass_time(60)
        assert await world.outcome(sent) == 6


async def test_it_is_one_step_among_concurrent_calls() -> None:
    async with World(Cart) as world:
        calls = [world.app.object(Cart, "a").add(str(n)) for n in range(20)]
        totals, _ = await asyncio.gather(asyncio.gather(*calls), world.app.patch_state(Cart, "a", set={"total": 100}))
        info = await world.app.state(Cart, "a")
        assert len(info.values["items"]) == 20
        assert info.values["total"] == 100 + sum(total > 100 for total in totals)
        await world.restart()
        assert (await world.app.state(Cart, "a")) == info


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"set": {"total": "x"}}, BadArguments),
        ({"set": {"total": None}}, BadArguments),
        ({"set": {"items": [1]}}, BadArguments),
        ({"set": {"tottal": 1}}, BadArguments),
        ({"set": {"": 1}}, BadArguments),
        ({"clear": [""]}, BadArguments),
        ({"set": {"total": 1}, "clear": ["total"]}, BadArguments),
        ({"set": {"total": 1, "items": ["x" * 2000]}}, PayloadTooLarge),
        ({"set": {"total": 1}, "if_tag": "0"}, StateChanged),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    change: dict[str, Any], error: type[TerminalError]
) -> None:
    async with World(Cart, limits=limits(max_payload=1000)) as world:
        await world.app.object(Cart, "a").add("pen")
        with pytest.raises(error):
            await world.app.patch_state(Cart, "a", **change)
        assert (await world.app.state(Cart, "a")).values == {"total": 1, "items": ["pen"]}


async def test_a_tag_holds_until_the_state_is_another() -> None:
    async with World(Cart) as world:
        first = await world.app.patch_state(Cart, "a", set={"total": 1})
        assert (await world.app.state(Cart, "a")).tag == first.tag
        second = await world.app.patch_state(Cart, "a", set={"total": 2}, if_tag=first.tag)
        with pytest.raises(StateChanged):
            await world.app.patch_state(Cart, "a", set={"total": 3}, if_tag=first.tag)
        assert second.tag != first.tag and second.values == {"total": 2}


async def test_undeclared_names_are_set_if_they_are_there_or_it_is_said() -> None:
    async with World(Cart) as world:
        await world.app.object(Cart, "a").keep("extra", 1)
        await world.app.patch_state(Cart, "a", set={"extra": {"n": 2}})
        await world.app.patch_state(Cart, "a", set={"more": 3}, undeclared=True)
        assert (await world.app.state(Cart, "a")).values == {"extra": {"n": 2}, "more": 3}


async def test_only_what_has_state_is_read_or_changed() -> None:
    async with World(Cart, Tool) as world:
        for cls, key, error in (("Nobody", "a", UnknownService), ("Tool", "a", WrongKind), ("Cart", "\x01", BadKey)):
            with pytest.raises(error):
                await world.app.state(cls, key)
            with pytest.raises(error):
                await world.app.patch_state(cls, key, set={})
        assert (await world.app.state(Cart, "new")).values == {}


async def test_the_state_of_a_workflow_is_changed_as_long_as_its_run_is_kept() -> None:
    async with World(Flow) as world:
        with pytest.raises(CannotPatch, match="no run"):
            await world.app.patch_state(Flow, "w", set={"stage": 5})
        assert await world.app.object(Flow, "w").run() == 1
        await world.app.patch_state(Flow, "w", set={"stage": 5})
        assert await world.app.object(Flow, "w").peek() == 5
        (info,) = await world.app.invocations()
        await world.app.purge(info.id)
        assert (await world.app.state(Flow, "w")).values == {}


class NewCart(VirtualObject, version=2, name="Cart"):
    total: str = ""

    @migration(from_version=1)
    @staticmethod
    def worded(state: dict[str, Any]) -> dict[str, Any]:
        return {"total": str(state["total"]), "items": state.get("items", [])}

    @shared
    async def read(self) -> str:
        return self.total


async def test_state_of_an_older_version_is_migrated_with_the_change() -> None:
    async with World(Cart) as world:
        await world.app.object(Cart, "a").add("pen")
        await world.crash()
        world.classes = (NewCart,)
        await world.start()
        assert (await world.app.state(NewCart, "a")).version == 1
        changed = await world.app.patch_state(NewCart, "a", clear=["items"])
        assert (changed.version, changed.values) == (2, {"total": "1"})
        await world.restart()
        assert (await world.app.state(NewCart, "a")) == changed
        assert await world.app.object(NewCart, "a").read() == "1"


async def test_an_app_that_does_not_run_refuses() -> None:
    app = App(Cart, storage="sqlite://")
    with pytest.raises(AppNotRunning):
        await app.state(Cart, "a")
