"""The past of an object: what is known of its states, how, and why not, where records end or versions change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from actors import Context, Limits, TerminalError, VirtualObject, Workflow, handler, migration
from actors.check.effects import ABSENT
from actors.check.past import EXECUTED, RECORDED, Change, Past
from actors.check.reading import read_past
from actors.testing import World
from tests.property.test_past import reads_of


class Order(VirtualObject, history=True):
    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def checkout(self, ctx: Context) -> str:
        self.status = "waiting"
        self.status = await ctx.awakeable(str)
        return self.status

    @handler(atomic=True)
    async def refuse(self, ctx: Context) -> None:
        self.status = "refusing"
        await ctx.sleep(1)
        raise TerminalError("no")

    @handler
    async def fail(self) -> None:
        self.status = "failed"
        raise TerminalError("no")

    @handler
    async def label(self, status: str) -> None:
        self.status = status

    @handler
    async def pack(self, ctx: Context) -> None:
        self.status = "packing"
        await ctx.sleep(1)
        raise TerminalError("no")


class Renamed(VirtualObject, name="Order", history=True, version=2):
    state: str = "new"
    items: list[str] = []

    @migration(from_version=1)
    @staticmethod
    def renamed(state: dict[str, Any]) -> dict[str, Any]:
        return {"state": state.pop("status", "new"), **state}

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def look(self) -> str:
        return self.state

    @handler(atomic=True)
    async def settle(self, ctx: Context) -> None:
        self.state = "settling"
        await ctx.sleep(600)
        self.state = "settled"


class Plain(VirtualObject, name="Order"):
    """The same class without a history: only handlers that use their context leave a record."""

    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def step(self, ctx: Context, status: str) -> None:
        self.status = status
        await ctx.sleep(1)


class Changed(VirtualObject, name="Order"):
    """Another release: it counts otherwise."""

    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items += [item, item]
        return len(self.items)


class Loud(VirtualObject, name="Order"):
    """Another release: it answers the same, and leaves another state."""

    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item.upper())
        return len(self.items)


class Approval(Workflow, history=True):
    status: str = "new"

    @handler
    async def run(self, ctx: Context) -> str:
        self.status = "asked"
        await ctx.sleep(1)
        self.status = "given"
        return self.status


async def past(world: World, executed: bool = False, target: str = "Order/o") -> Past:
    service, _, key = target.partition("/")
    return await read_past(reads_of(world.machine.disk), service, key, world.app if executed else None)


def now_ms(world: World) -> int:
    return round(world.now.timestamp() * 1000)


def states(past: Past) -> list[dict[str, str] | None]:
    """The states before and after each invocation, and now."""
    return [moment.state.texts if moment.state is not None else None for moment in past.moments]


def told(change: Change) -> tuple[Any, ...]:
    return change.name, change.before, change.after, change.by.handler if change.by else change.cause


async def test_with_a_history_each_state_is_recorded(world: World) -> None:
    await world.serve(Order)
    order = world.object(Order, "o")
    await order.add("book")
    with pytest.raises(TerminalError):
        await order.fail()
    with pytest.raises(TerminalError):
        await order.refuse()
    found = await past(world)
    one, failed = {"items": '["book"]'}, {"items": '["book"]', "status": '"failed"'}
    assert states(found) == [{}, one, one, failed, failed, failed, failed]
    assert {moment.how for moment in found.moments} == {RECORDED}
    assert [change.by.handler for change in found.changes() if change.by] == ["add", "fail"]


async def test_a_time_between_two_writes_shows_the_first_of_them(world: World) -> None:
    await world.serve(Order)
    sent = await world.object(Order, "o").checkout.send()
    approval = await world.awakeable()
    await world.pass_time(hours=1)
    waited_ms = round(world.now.timestamp() * 1000) - 1000
    await approval.resolve("approved")
    await sent.result()
    await world.pass_time(hours=1)
    found = await past(world)
    assert found.at(waited_ms).state.texts == {"status": '"waiting"'}  # type: ignore[union-attr]
    assert found.at(waited_ms + 3_000_000).state.texts == {"status": '"approved"'}  # type: ignore[union-attr]
    assert [told(change) for change in found.changes()][-1] == ("status", '"waiting"', '"approved"', "checkout")
    assert (await past(world, executed=True)).at(0).state.texts == {}  # type: ignore[union-attr]
    assert found.at(0).state is None, "without the app, nothing says that this was the first"


async def test_an_open_invocation_has_a_state_before_it_only(world: World) -> None:
    await world.serve(Order)
    order = world.object(Order, "o")
    await order.add("book")
    open = await order.checkout.send()
    waiting = await order.add.send("pen")
    approval = await world.awakeable()
    found = await past(world)
    passage = found.passages[-1]
    assert passage.before.state is not None and passage.before.state.texts == {"items": '["book"]'}
    assert passage.after.state is None and "has not ended" in str(passage.after.why)
    assert found.now.texts == {"items": '["book"]', "status": '"waiting"'}
    pending = found.passage(world.app._running().ids.read_invocation(waiting.id))
    assert pending is not None and "has not begun" in str(pending.before.why)
    assert found.passage(12345) is None
    await approval.resolve("approved")
    assert await open.result() == "approved" and await waiting.result() == 2


async def test_what_an_operator_changed_is_shown_between_its_neighbours(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Order)
    order = world.object(Order, "o")
    await order.add("book")
    await world.app.patch_state(Order, "o", set={"items": ["pen", "ink"]})
    await order.add("paper")
    found = await past(world)
    assert (
        states(found)
        == [{}, {"items": '["book"]'}, {"items": '["pen","ink"]'}] + [{"items": '["pen","ink","paper"]'}] * 2
    )
    assert told(list(found.changes())[1]) == ("items", '["book"]', '["pen","ink"]', "outside")


async def test_a_change_at_an_unknown_moment_makes_no_state_up(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Order)
    order = world.object(Order, "o")
    await order.fail.send()
    await world.settle()
    await order.add("book")
    await world.app.patch_state(Order, "o", set={"status": "mended"})  # no later invocation has written it
    found = await past(world)
    assert states(found)[1] == {"status": '"failed"'} or states(found)[1] is None
    assert states(found)[2] is None and "not recorded" in str(found.moments[2].why)
    assert ("status", '"failed"', '"mended"', "outside") in [told(change) for change in found.changes()]


async def test_a_state_is_not_shown_where_a_change_may_have_been_made(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Order)
    order = world.object(Order, "o")
    await order.label("waiting")
    await world.pass_time(hours=1)
    await world.app.patch_state(Order, "o", set={"status": "mended"})
    await world.pass_time(hours=1)
    between_ms = now_ms(world)
    await world.pass_time(hours=1)
    await order.add("book")
    await order.label("sent")  # its journal has the text that it found
    found = await past(world)
    assert states(found)[1:3] == [{"status": '"waiting"'}, None]
    assert found.at(between_ms).state is None and "not recorded" in str(found.at(between_ms).why)


async def test_kept_writes_are_as_old_as_their_restart(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Order)
    order = world.object(Order, "o")
    sent = await order.pack.send()
    with pytest.raises(TerminalError):
        await sent.result()
    await world.pass_time(hours=1)
    await order.add("book")
    await world.pass_time(hours=1)
    between_ms = now_ms(world)
    await world.pass_time(hours=1)
    again = await world.app.restart(sent.id, keep=1)
    with pytest.raises(TerminalError):
        await again.result()
    found = await past(world)
    assert [row.handler for row in found.rows] == ["pack", "add", "pack"]
    assert found.last_until(between_ms) == 1
    assert found.at(between_ms).state in (None, found.moments[3].state)
    copied = [change for change in found.changes() if change.by is found.rows[2]]
    assert all((change.at_ms or 0) > between_ms for change in copied)


async def test_a_change_before_a_migration_is_from_outside(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Order)
    await world.object(Order, "o").label("waiting")
    await world.app.patch_state(Order, "o", set={"status": "mended"})
    await world.serve(Renamed)
    await world.object(Renamed, "o").look()
    found = await past(world)
    changes = [told(change) for change in found.changes()]
    assert ("status", '"waiting"', '"mended"', "outside") in changes
    assert ("state", ABSENT, '"mended"', "look") in changes


async def test_an_atomic_handler_changes_nothing_before_its_outcome(world: World) -> None:
    await world.serve(Order)
    await world.object(Order, "o").label("waiting")
    await world.serve(Renamed)
    settling = await world.object(Renamed, "o").settle.send()
    await world.pass_time(minutes=5)
    amid_ms = now_ms(world)
    await world.pass_time(hours=1)
    await settling.result()
    state = (await past(world)).at(amid_ms).state
    assert state is not None and "settling" not in str(state.texts)


async def test_a_migration_is_a_change_with_both_states(world: World) -> None:
    await world.serve(Order)
    await world.object(Order, "o").fail.send()
    await world.settle()
    await world.serve(Renamed)
    await world.object(Renamed, "o").look()
    await world.object(Renamed, "o").add("book")
    found = await past(world)
    old, new, last = {"status": '"failed"'}, {"state": '"failed"'}, {"items": '["book"]', "state": '"failed"'}
    assert states(found) == [{}, old, old, new, new, last, last]
    assert [found.moments[n].state.version for n in (2, 3)] == [1, 2]  # type: ignore[union-attr]
    changes = [(change.name, change.cause, change.by.handler if change.by else None) for change in found.changes()]
    assert ("state", "migration", "look") in changes and ("status", "migration", "look") in changes


async def test_without_a_history_its_code_tells_and_is_proved(world: World) -> None:
    await world.serve(Plain)
    order = world.object(Plain, "o")
    await order.add("book")
    await order.step("packed")
    await order.add("pen")
    found = await past(world)
    assert [state is not None for state in states(found)] == [False] * 5 + [True] * 2
    assert "add (inv_1" in str(found.moments[4].why) and "without a record" in str(found.moments[4].why)
    assert [told(change) for change in found.changes()] == [("status", ABSENT, '"packed"', "step")]
    found = await past(world, executed=True)
    one, packed = {"items": '["book"]'}, {"items": '["book"]', "status": '"packed"'}
    assert states(found)[:6] == [{}, one, one, packed, packed, {"items": '["book","pen"]', "status": '"packed"'}]
    assert {moment.how for moment in found.moments} == {RECORDED, EXECUTED}


async def test_code_that_answers_otherwise_is_named(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Plain)
    await world.object(Plain, "o").add("book")
    await world.object(Plain, "o").add("pen")
    await world.serve(Changed)
    found = await past(world, executed=True)
    assert states(found)[1:3] == [None, None]
    why = str(found.moments[1].why)
    assert why.startswith("add (inv_1") and "gives another answer with the current code" in why and "ran then" in why


async def test_answers_alone_do_not_prove_a_state(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Plain)
    await world.object(Plain, "o").add("book")
    await world.object(Plain, "o").add("pen")
    await world.serve(Loud)
    found = await past(world, executed=True)
    assert states(found)[1:3] == [None, None] and "on disk" in str(found.moments[1].why)


async def test_a_single_invocation_is_not_given_a_change_from_outside(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Plain)
    await world.object(Plain, "o").add("book")
    world.machine.disk.connection.execute("UPDATE object_state SET value = '[\"forged\"]'")
    found = await past(world, executed=True)
    assert states(found) == [{}, None, {"items": '["forged"]'}]
    assert 'leave ["book"]' in str(found.moments[1].why)
    assert [change.by for change in found.changes()] == [None]


async def test_a_known_state_stays_known_where_code_answers_otherwise(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Plain)
    order = world.object(Plain, "o")
    sent = await order.step.send("packed")
    await sent.result()
    await order.add("book")
    await (await world.app.restart(sent.id, keep=1)).result()
    await world.serve(Changed)
    recorded, executed = await past(world), await past(world, executed=True)
    assert recorded.moments[4].state is not None
    assert executed.moments[3].state is None
    assert executed.moments[4].state == recorded.moments[4].state


async def test_what_clean_up_forgot_is_not_made_up(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Plain, limits=Limits(retention=timedelta(hours=1), idempotency_retention=timedelta(days=9)))
    order = world.object(Plain, "o")
    await order.add.options(idempotency_key="k").send("book")
    await world.settle()
    await order.add("forgotten")
    await world.pass_time(hours=2)
    await order.step("packed")
    await world.settle()
    found = await past(world, executed=True)
    assert [row.handler for row in found.rows] == ["add", "step"]
    assert found.moments[1].state is None and "forgotten" in str(found.moments[1].why)
    assert states(found)[2] == {"items": '["book","forgotten"]'}


async def test_what_was_forgotten_sooner_for_its_key_is_not_made_up(world: World) -> None:
    world.unchecked("replay")
    await world.serve(Order, limits=Limits(retention=timedelta(days=9), idempotency_retention=timedelta(hours=1)))
    order = world.object(Order, "o")
    await order.label("waiting")
    await order.add.options(idempotency_key="k").send("forgotten")
    await world.pass_time(hours=2)
    await order.label("sent")
    found = await past(world, executed=True)
    assert [row.handler for row in found.rows] == ["label", "label"]
    assert states(found)[1] is None and "forgotten" in str(found.moments[1].why)


async def test_a_run_of_a_workflow_begins_empty(world: World) -> None:
    await world.serve(Approval)
    await world.object(Approval, "a").run()
    assert states(await past(world, target="Approval/a"))[:2] == [{}, {"status": '"given"'}]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journal_entry SET idx = idx + 7",
        "UPDATE journal_entry SET value = NULL WHERE kind IN (1, 18)",
        "UPDATE journal_entry SET value = '[[99999,\"x\",\"y\"]]', before = 'a b', kind = 18 WHERE kind = 1",
        "UPDATE journal_entry SET kind = 19, value = 'no state'",
    ],
)
async def test_a_damaged_journal_tells_nothing(world: World, damage: str) -> None:
    world.unchecked("replay")
    await world.serve(Order)
    await world.object(Order, "o").add("book")
    await world.object(Order, "o").add("pen")
    world.machine.disk.connection.execute(damage)
    found = await past(world)
    assert found.now.texts == {"items": '["book","pen"]'}
    assert states(found)[0] is None
    assert (await past(world, executed=True)).now == found.now


async def test_an_object_that_was_never_used_has_no_past(world: World) -> None:
    await world.serve(Order)
    found = await past(world)
    assert found.passages == [] and found.now.texts == {} and not list(found.changes())
