"""`history=True`: each invocation that changes state records its changes, and the file says from which invocation on."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Context, Service, TerminalError, VirtualObject, Workflow, handler, migration, shared
from actors.errors import DefinitionError
from actors.testing import World, crash_everywhere


class Cart(VirtualObject, history=True):
    items: list[str] = []
    note: str | None = None

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def write(self, note: str | None) -> None:
        self.note = note

    @handler
    async def empty(self, ctx: Context) -> None:
        ctx.clear_all()

    @handler
    async def decide(self, ctx: Context) -> str:
        self.note = "asked"
        decided = await ctx.awakeable(str)
        self.note = decided
        return decided

    @handler(atomic=True)
    async def fail(self) -> None:
        self.note = "never"
        raise TerminalError("no")

    @handler
    async def fail_after(self) -> None:
        self.note = "kept"
        raise TerminalError("no")

    @shared
    async def peek(self) -> int:
        return len(self.items)


class Silent(VirtualObject, name="Cart"):
    """The same class without a history."""

    items: list[str] = []
    note: str | None = None

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)


class Noted(VirtualObject, name="Cart", history=True, version=2):
    """The next version of the class."""

    items: list[str] = []
    note: str = ""

    @migration(from_version=1)
    @staticmethod
    def without_none(state: dict[str, Any]) -> dict[str, Any]:
        return state | {"note": state.get("note") or "none"}

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)


def recorded(world: World) -> list[tuple[Any, ...]]:
    """(handler, entry, name, value, text before) of all journals."""
    return world.query(
        "SELECT i.handler, j.entry, j.name, j.value, e.before FROM journal j JOIN invocation i ON i.seq = j.invocation "
        "JOIN journal_entry e ON e.invocation = j.invocation AND e.idx = j.position ORDER BY j.invocation, j.position"
    )


def since(world: World) -> dict[str, int]:
    return dict(world.query("SELECT substr(name, 9), value FROM meta WHERE name GLOB 'history *'"))


async def test_each_change_is_recorded_with_the_value_before(world: World) -> None:
    await world.serve(Cart)
    cart = world.object(Cart, "c")
    await cart.add("book")
    await cart.add("pen")
    await cart.write("gift")
    await cart.write("gift")  # changes nothing
    await cart.peek()
    await cart.empty()
    assert recorded(world) == [
        ("add", "set state", "items", '["book"]', None),
        ("add", "set state", "items", '["book","pen"]', '["book"]'),
        ("write", "set state", "note", '"gift"', None),
        ("empty", "clear state", "items", None, '["book","pen"]'),
        ("empty", "clear state", "note", None, '"gift"'),
    ]


async def test_what_a_handler_keeps_when_it_fails_is_recorded(world: World) -> None:
    await world.serve(Cart)
    for failing in (world.object(Cart, "c").fail, world.object(Cart, "c").fail_after):
        with pytest.raises(TerminalError, match="no"):
            await failing()
    assert recorded(world) == [("fail_after", "set state", "note", '"kept"', None)]


@crash_everywhere
async def test_a_crash_at_any_moment_records_no_change_twice(world: World) -> None:
    await world.serve(Cart)
    sent = await world.object(Cart, "c").decide.send()
    waiting = await world.awakeable()
    added = await world.object(Cart, "c").add.send("book")
    await waiting.resolve("yes")
    assert await sent.result() == "yes" and await added.result() == 1
    entries = [
        (handler, name, value, before) for handler, entry, name, value, before in recorded(world) if "set" in entry
    ]
    assert entries == [
        ("decide", "note", '"asked"', None),
        ("decide", "note", '"yes"', None),  # what it replaces is in the entry before it
        ("add", "items", '["book"]', None),
    ]


async def test_the_file_says_from_which_invocation_on_all_is_recorded(world: World) -> None:
    await world.serve(Silent)
    await world.object(Silent, "c").add("book")
    assert since(world) == {}
    await world.serve(Cart)
    first = since(world)["Cart"]
    sent = await world.object(Cart, "c").add.send("pen")
    await sent.result()
    (last,) = world.query("SELECT max(seq) FROM invocation")[0]
    assert 1 < first <= last
    await world.crash()
    await world.object(Cart, "c").add("cup")
    assert since(world) == {"Cart": first}


async def test_a_release_without_a_history_takes_the_note_back(world: World) -> None:
    await world.serve(Cart)
    first = since(world)["Cart"]
    await world.serve(Silent)
    await world.object(Silent, "c").add("book")
    assert since(world) == {} and recorded(world) == []
    await world.serve(Cart)
    assert since(world)["Cart"] > first


async def test_an_app_that_does_not_serve_the_class_leaves_the_note(world: World) -> None:
    class Other(VirtualObject):
        @handler
        async def work(self) -> None: ...

    await world.serve(Cart)
    noted = since(world)
    await world.serve(Other)
    assert since(world) == noted


async def test_a_migration_is_recorded_with_the_state_before_it(world: World) -> None:
    await world.serve(Cart)
    await world.object(Cart, "c").add("book")
    await world.serve(Noted)
    assert await world.object(Noted, "c").add("pen") == 2
    kinds = world.query("SELECT kind, value, before, ref FROM journal_entry ORDER BY invocation DESC, idx LIMIT 2")
    assert kinds == [
        (19, '{"items":"[\\"book\\"]","note":"\\"none\\""}', '{"items":"[\\"book\\"]"}', 2),
        (1, '["book","pen"]', '["book"]', 2),
    ]


async def test_a_workflow_records_its_changes(world: World) -> None:
    class Signup(Workflow, history=True):
        status: str = "new"

        @handler
        async def start(self) -> None:
            self.status = "done"

    await world.serve(Signup)
    await world.object(Signup, "s").start()
    assert recorded(world) == [("start", "set state", "status", '"done"', None)]


def test_a_history_is_true_or_false_and_needs_state() -> None:
    for value in (1, "yes", 30, None.__class__):
        with pytest.raises(DefinitionError, match=r"history= requires True or False, got .* Limits\(retention=...\)"):
            type("Cart", (VirtualObject,), {}, history=value)
    with pytest.raises(DefinitionError, match="a Service has no state, so it has no history"):
        type("Mailer", (Service,), {}, history=True)


async def test_a_subclass_has_the_history_of_its_base(world: World) -> None:
    class Special(Cart):
        pass

    class Plain(Cart, history=False):
        pass

    await world.serve(Special, Plain)
    await world.object(Special, "c").add("book")
    await world.object(Plain, "c").add("book")
    assert list(since(world)) == ["Special"] and len(recorded(world)) == 1
