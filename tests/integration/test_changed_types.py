"""The type an awakeable, a promise or a result is declared with may change while its invocation is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest

from actors import App, Context, VirtualObject, Workflow, handler, shared
from actors.check import check
from actors.errors import BadArguments
from tests.unit import example_types
from tests.world import World, limits

# before, after, a value of before, and whether after accepts it
CHANGES: dict[str, tuple[Any, Any, Any, bool]] = {
    "wider": (int, int | str, 5, True),
    "another plain type": (int, str, 5, False),
    "a float": (int, float, 5, True),
    "constrained, and it fits": (int, pydantic.PositiveInt, 5, True),
    "constrained, and it does not": (int, pydantic.NegativeInt, 5, False),
    "no type": (int, Any, 5, True),
    "a type at last": (Any, int, 5, True),
    "the same under another name": (
        example_types.Point,
        Annotated[example_types.Point, "a note"],
        example_types.Point(1),
        True,
    ),
    "another class with the same fields": (example_types.Point, example_types.Point3, example_types.Point(1), True),
    "another class": (example_types.Point, example_types.Money, example_types.Point(1), False),
    "items": (list[int], list[str], [5], False),
}


def of_type(declared: Any, value: Any = None) -> Any:
    """An object and a workflow, as they are in one release of their code."""
    if TYPE_CHECKING:
        from typing import Any as Here
    else:
        Here = declared  # noqa: N806

    def step() -> Here:
        return value  # type: ignore[no-any-return, unused-ignore]

    step.__annotations__["return"] = declared

    class Order(VirtualObject):
        @handler
        async def give(self) -> Here:
            return value

        @handler
        async def awakeable(self, ctx: Context) -> str:
            found = await ctx.awakeable(declared)
            await ctx.sleep(60)
            return str(found)

        @handler
        async def last(self, ctx: Context) -> str:
            return str(await ctx.awakeable(declared))

        @handler
        async def step(self, ctx: Context) -> str:
            found = await ctx.run(step)
            await ctx.sleep(60)
            return str(found)

        @handler
        async def call(self, ctx: Context) -> str:
            found = await ctx.object(Order, "other").give()
            await ctx.sleep(60)
            return str(found)

    class Flow(Workflow):
        @handler
        async def run(self, ctx: Context) -> str:
            found = await ctx.promise("p", declared)
            await ctx.sleep(60)
            return str(found)

        @shared
        async def complete(self, ctx: Context) -> None:
            await ctx.promise("p", declared).resolve(value)

    return Order, Flow


def reference(world: World, place: int) -> Any:
    """The object, or the workflow."""
    cls: Any = world.classes[place]
    return world.app.object(cls, "k")


async def released(world: World, classes: Any) -> None:
    """The next process runs other code."""
    await world.crash()
    world.classes = classes
    await world.start()
    await world.settle()


@pytest.mark.parametrize("what", ["awakeable", "promise"])
@pytest.mark.parametrize("change", CHANGES)
async def test_one_that_is_open_waits_for_what_the_code_accepts_now(change: str, what: str) -> None:
    before, after, value, fits = CHANGES[change]
    if after is example_types.Point3:
        pytest.skip("only what is stored fits both")
    async with World(*of_type(before), limits=limits(suspend_after=0)) as world:
        handle = await (reference(world, 0).awakeable if what == "awakeable" else reference(world, 1).run).send()
        await world.settle(2)
        await released(world, of_type(after, value))
        assert await world.status(handle) == "blocked"
        if what == "promise":
            if fits:
                await reference(world, 1).complete()
        else:
            (open_one,) = await world.app.awakeables()
            if fits:
                await world.app.resolve_awakeable(open_one.id, value)
            elif before is not int:  # a plain type is taken at its word, and the code is not asked
                with pytest.raises(BadArguments):
                    await world.app.resolve_awakeable(open_one.id, value)
        await world.settle(3)
        assert await world.status(handle) == "blocked"
        if fits:
            await world.pass_time(60)
            await world.settle(2)
            assert await world.status(handle) == "succeeded"


@pytest.mark.parametrize(("before", "after", "value"), [(int, str, "x"), (str, list[int], [1]), (int, bool, True)])
async def test_a_value_that_the_old_type_refuses_is_accepted_by_the_new_one(
    before: Any, after: Any, value: Any
) -> None:
    async with World(*of_type(before), limits=limits(suspend_after=0)) as world:
        handle = await reference(world, 0).last.send()
        await world.settle(2)
        await released(world, of_type(after))
        (open_one,) = await world.app.awakeables()
        await world.app.resolve_awakeable(open_one.id, value)
        assert await world.outcome(handle) == str(value)


@pytest.mark.parametrize("what", ["awakeable", "last", "promise", "step", "call"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_recorded_value_that_does_not_fit_pauses_until_the_code_accepts_it(
    change: str, what: str, expect_log: Callable[[str], None]
) -> None:
    before, after, value, fits = CHANGES[change]
    if not fits:
        expect_log("no longer fits its declared type")
    if what == "step" and Any in (before, after):
        pytest.skip("without a type, the result of a step is stored in another form")
    async with World(*of_type(before, value)) as world:
        target = reference(world, int(what == "promise"))
        handle = await getattr(target, "run" if what == "promise" else what).send()
        await world.settle(2)
        if what == "promise":
            await target.complete()
        elif what in ("awakeable", "last"):
            (open_one,) = await world.app.awakeables()
            if what == "last":  # completed, and the process ends before the handler is told
                await world.app.pause(handle.id)
            await world.app.resolve_awakeable(open_one.id, value)
        await world.settle(2)
        await released(world, of_type(after, value))
        if what == "last":
            await world.app.resume(handle.id)
            await world.settle(2)
        else:
            await world.pass_time(60)
        if fits:
            assert await world.status(handle) == "succeeded"
            return
        info = await world.app.describe(handle.id)
        assert info.status == "paused"
        assert "no longer fits its declared type" in (info.reason or "")
        await released(world, of_type(before, value))
        await world.pass_time(60)
        assert await world.outcome(handle) == str(value)


async def test_a_type_that_a_handler_has_wrong_is_its_own_mistake_each_time() -> None:
    class Order(VirtualObject):
        @handler
        async def give(self) -> int:
            return 5

        @handler
        async def ask(self, ctx: Context) -> str:
            handle = ctx.object(Order, "other").give.send()
            try:
                await ctx.attach(handle.id, str)
            except TypeError:
                await ctx.sleep(60)
                return "told"
            return "?"

    async with World(Order) as world:
        handle = await world.app.object(Order, "k").ask.send()
        await world.settle(3)
        await world.restart()
        await world.pass_time(60)
        assert await world.outcome(handle) == "told"


def checked(classes: Any, storage: str) -> App:
    return App(*classes, storage=storage)


@pytest.mark.parametrize("what", ["awakeable", "promise", "step", "call"])
@pytest.mark.parametrize("change", [name for name in CHANGES if "type" not in name or name == "another plain type"])
async def test_a_check_tells_which_recorded_values_no_longer_fit(change: str, what: str, storage: str) -> None:
    before, after, value, fits = CHANGES[change]
    classes = of_type(before, value)
    async with App(*classes, storage=storage) as app:
        target: Any = app.object(classes[1] if what == "promise" else classes[0], "k")
        await getattr(target, "run" if what == "promise" else what).send()
        if what == "promise":
            await target.complete()
        elif what == "awakeable":
            await wait_for(app, lambda infos: bool(infos))
            (open_one,) = await app.awakeables()
            await app.resolve_awakeable(open_one.id, value)
        await wait_for(app, lambda infos: [info.status for info in infos if info.handler != "complete"] == ["blocked"])
    report = await check(checked(of_type(after, value), storage))
    assert [finding.kind for finding in report.findings] == ([] if fits else ["result"])
    if not fits:
        assert "does not fit" in report.findings[0].message and report.findings[0].index


async def wait_for(app: App, holds: Callable[[list[Any]], bool]) -> None:
    for _ in range(5000):
        infos = await app.invocations(status="open")
        if holds(infos) and infos[0].status == "blocked":
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not wait")
