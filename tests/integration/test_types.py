"""Types through a running app: arguments, state, results and steps come back exactly, also after a restart."""

from __future__ import annotations

import datetime
import decimal
import json
import sqlite3
import types
import uuid
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from actors import App, Context, RetryPolicy, TerminalError, VirtualObject, handler, shared
from actors.errors import BadArguments, DefinitionError, SerializationError, StateWriteRefused
from actors.model.definitions import definition_of
from tests.unit.example_types import (
    Aliased,
    Box,
    Cat,
    Color,
    Dog,
    Item,
    Level,
    Line,
    Money,
    Movie,
    Pair,
    Point,
    Size,
    StrictUser,
    Team,
    Tree,
    User,
)

NOW = datetime.datetime(
    2024, 6, 1, 12, 30, 0, 123456, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))
)

# One attribute and one value of every kind; the annotations are what is tested.
VALUES: dict[str, Any] = {
    "a_bool": True,
    "an_int": 10**40,
    "a_float": -0.0,
    "a_text": "ü\x00😀",
    "a_list": [1, "a", None, {"b": [1.5]}],
    "some_bytes": b"\x00\xff",
    "a_datetime": NOW,
    "a_date": NOW.date(),
    "a_time": NOW.time(),
    "a_timedelta": datetime.timedelta(days=-3, microseconds=1),
    "a_uuid": uuid.UUID(int=5),
    "a_decimal": decimal.Decimal("1.10"),
    "a_color": Color.GREEN,
    "a_size": Size.LARGE,
    "a_level": Level.HIGH,
    "a_set": {3, 1, 2},
    "a_frozenset": frozenset({"a", "b"}),
    "a_tuple": (1, "a", 2.0),
    "a_row": (1, 2, 3),
    "a_line": Line("sku", Money(decimal.Decimal("9.90")), {"t"}, NOW),
    "lines": [Line("a", Money(decimal.Decimal(1))), Line("b", Money(decimal.Decimal(2)))],
    "a_tree": Tree(1, [Tree(2), Tree(3, [Tree(4)])]),
    "a_movie": {"title": "t", "year": 1999},
    "a_pair": Pair(1, "x"),
    "an_item": Item("i", [1, 2]),
    "a_pet": Dog(("sit",)),
    "a_box": Box([1, 2]),
    "a_user": User(id=1, name="n", born=NOW.date()),
    "a_strict_user": StrictUser(id=uuid.UUID(int=1), roles=("a",), groups=frozenset({1}), limits={1: decimal.Decimal("1.5")}),
    "a_team": Team(members=[User(id=1)], by_role={"boss": User(id=2)}),
    "an_alias": Aliased.model_validate({"orderId": 5}),
    "maybe": None,
    "by_int": {2: "b", 1: "a"},
    "by_uuid": {uuid.UUID(int=1): [1]},
    "by_color": {Color.GREEN: 1, Color.RED: 2},
}  # fmt: skip


class Holder(VirtualObject):
    a_bool: bool | None = None
    an_int: int | None = None
    a_float: float | None = None
    a_text: str | None = None
    a_list: list[Any] | None = None
    some_bytes: bytes | None = None
    a_datetime: datetime.datetime | None = None
    a_date: datetime.date | None = None
    a_time: datetime.time | None = None
    a_timedelta: datetime.timedelta | None = None
    a_uuid: uuid.UUID | None = None
    a_decimal: decimal.Decimal | None = None
    a_color: Color | None = None
    a_size: Size | None = None
    a_level: Level | None = None
    a_set: set[int] | None = None
    a_frozenset: frozenset[str] | None = None
    a_tuple: tuple[int, str, float] | None = None
    a_row: tuple[int, ...] | None = None
    a_line: Line | None = None
    lines: list[Line] | None = None
    a_tree: Tree | None = None
    a_movie: Movie | None = None
    a_pair: Pair | None = None
    an_item: Item | None = None
    a_pet: Cat | Dog | None = None
    a_box: Box[list[int]] | None = None
    a_user: User | None = None
    a_strict_user: StrictUser | None = None
    a_team: Team | None = None
    an_alias: Aliased | None = None
    maybe: int | None = 5
    by_int: dict[int, str] | None = None
    by_uuid: dict[uuid.UUID, list[int]] | None = None
    by_color: dict[Color, int] | None = None

    @handler
    async def fill(self) -> None:
        for name, value in VALUES.items():
            setattr(self, name, value)

    @shared
    async def compare(self) -> list[str]:
        return [name for name, value in VALUES.items() if not same(getattr(self, name), value)]


def same(one: Any, other: Any) -> bool:
    """Equal and shown alike, so of the same types inside; sets may be shown in another order."""
    shown = sorted(repr(one)) == sorted(repr(other))
    return bool(type(one) is type(other) and one == other and shown)


T = TypeVar("T")


class Echo(VirtualObject, Generic[T]):
    """To be derived from with a type: its handlers take, keep and return a value of it."""

    kept: T | None = None

    @handler
    async def keep(self, ctx: Context, value: T, more: T) -> T:
        assert same(value, more)
        self.kept = value
        await ctx.sleep(0)
        return more

    @shared
    async def read(self) -> T | None:
        return self.kept

    @handler
    async def through_a_step(self, ctx: Context, value: T) -> T:
        declared = definition_of(type(self)).handlers["keep"].returns.type
        return await ctx.step(type=declared).run(lambda: value)

    @handler
    async def through_another(self, ctx: Context, value: T) -> T:
        return await ctx.object(type(self), ctx.key + "'").keep(value, value)


def echo_class(annotation: Any) -> type[Echo[Any]]:
    return types.new_class("Echoes", (Echo[annotation],))


async def test_state_of_every_kind_is_the_same_after_a_restart(storage: str) -> None:
    async with App(Holder, storage=storage) as app:
        await app.object(Holder, "h").fill()
        assert await app.object(Holder, "h").compare() == []
    async with App(Holder, storage=storage) as app:
        assert await app.object(Holder, "h").compare() == []


@pytest.mark.parametrize("name", VALUES)
async def test_arguments_results_and_steps_of_every_kind_come_back_exactly(name: str) -> None:
    annotation, value = Holder.__annotations__[name].removesuffix(" | None"), VALUES[name]
    if value is None:
        annotation = "int | None"
    echo = echo_class(eval(annotation, globals()))
    async with App(echo, storage="sqlite://") as app:
        ref = app.object(echo, "k")
        for result in (
            await ref.keep(value, value),
            await ref.read(),
            await ref.through_a_step(value),
            await ref.through_another(value),
            await app.object(echo, "k'").read(),
            await (await ref.keep.send(value, more=value)).result(),
        ):
            assert same(result, value)


async def test_state_is_text_that_a_plain_shell_can_query(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with App(Holder, storage=f"sqlite:///{path}") as app:
        await app.object(Holder, "h").fill()
    with sqlite3.connect(path) as shell:
        names = [row[1] for row in shell.execute("select * from pragma_table_info('state')")]
        rows = shell.execute(f"select {names[2]}, {names[3]} from state where {names[1]} = 'h'").fetchall()
        cities = shell.execute(
            f"select json_extract({names[3]}, '$.price.amount') from state where {names[2]} = 'a_line'"
        ).fetchall()
    shell.close()
    texts = {name: json.loads(text) for name, text in rows}
    assert texts["a_user"] == {"id": 1, "name": "n", "born": "2024-06-01", "seen": None}
    assert texts["a_datetime"] == "2024-06-01T12:30:00.123456+05:30"
    assert cities == [("9.90",)]


class Writer(VirtualObject):
    number: int = 0
    items: list[int] = []
    prices: list[float] = []
    at: datetime.datetime | None = None
    tags: set[str] = set()

    @handler
    async def write(self, what: str) -> None:
        bad: dict[str, Any] = {
            "bool": lambda: setattr(self, "number", True),
            "tuple": lambda: setattr(self, "items", ()),
            "undeclared": lambda: setattr(self, "typo", 1),
            "nan": lambda: self.prices.append(float("nan")),
            "inside": lambda: self.items.append("x"),  # type: ignore[arg-type]
        }
        self.number += 1
        bad[what]()

    @handler
    async def fail_then_go_on(self, ctx: Context) -> str:
        self.number = 7
        self.items.append("x")  # type: ignore[arg-type]
        try:
            await ctx.sleep(0)
        except SerializationError as error:
            self.items.pop()
            self.tags.add("mended")
            await ctx.sleep(0)
            return error.message
        return "not refused"

    @handler
    async def returns_nonsense(self) -> int:
        self.number += 1
        return "x"  # type: ignore[return-value]

    @handler
    async def price(self, price: float) -> str:
        self.prices.append(price)
        return str(self.prices)

    @handler
    async def price_as_int(self) -> str:
        self.prices.append(1)
        return str(self.prices)

    @shared
    async def look(self) -> tuple[int, list[int], list[float], set[str]]:
        return self.number, self.items, self.prices, self.tags

    @shared
    async def meddle(self) -> None:
        self.items.append(1)


@pytest.mark.parametrize("what", ["bool", "tuple", "undeclared", "nan", "inside"])
async def test_a_write_that_cannot_be_stored_fails_the_invocation_and_leaves_the_object_usable(what: str) -> None:
    async with App(Writer, storage="sqlite://") as app:
        writer = app.object(Writer, "w")
        with pytest.raises(TerminalError, match=r"Writer\.(number|items|prices|typo)"):
            await writer.write(what)
        assert await writer.look() == (0, [], [], set())
        assert await writer.price(1.5) == "[1.5]"


async def test_a_handler_that_mends_what_was_refused_loses_nothing(storage: str) -> None:
    async with App(Writer, storage=storage) as app:
        assert "Writer.items" in await app.object(Writer, "w").fail_then_go_on()
    async with App(Writer, storage=storage) as app:
        assert await app.object(Writer, "w").look() == (7, [], [], {"mended"})


async def test_a_result_of_the_wrong_type_is_a_failure() -> None:
    async with App(Writer, storage="sqlite://") as app:
        with pytest.raises(SerializationError, match=r"Writer\.returns_nonsense returned .* Expected int"):
            await app.object(Writer, "w").returns_nonsense()


async def test_an_int_among_floats_is_a_float_from_the_next_invocation_on(storage: str) -> None:
    async with App(Writer, storage=storage) as app:
        writer = app.object(Writer, "w")
        assert await writer.price_as_int() == "[1]"
        assert await writer.price(2) == "[1.0, 2.0]"
        assert await writer.look() == (0, [], [1.0, 2.0], set())
    async with App(Writer, storage=storage) as app:
        assert await app.object(Writer, "w").price(2) == "[1.0, 2.0, 2.0]"


async def test_a_shared_handler_that_changes_state_in_place_fails() -> None:
    async with App(Writer, storage="sqlite://") as app:
        with pytest.raises(StateWriteRefused):
            await app.object(Writer, "w").meddle()
        assert await app.object(Writer, "w").look() == (0, [], [], set())


class FirstVersion(VirtualObject, name="Evolving"):
    point: dict[str, int] = {}
    ratios: list[int] = []

    @handler
    async def set(self) -> None:
        self.point, self.ratios = {"x": 3}, [1, 2]


class SecondVersion(VirtualObject, name="Evolving"):
    point: Point = Point(0)
    ratios: list[float] = []
    added: Tree = Tree(0)

    @shared
    async def read(self) -> str:
        return f"{self.point} {self.ratios} {self.added}"

    @handler
    async def wait(self, ctx: Context) -> str:
        before = ctx.state_keys()
        await ctx.sleep(0)
        assert ctx.state_keys() == before
        return await self.read()


async def test_state_that_an_older_class_wrote_is_read_without_being_written(storage: str) -> None:
    async with App(FirstVersion, storage=storage) as app:
        await app.object(FirstVersion, "e").set()
    async with App(SecondVersion, storage=storage) as app:
        assert await app.object(SecondVersion, "e").read() == "Point(x=3, y=0.0) [1.0, 2.0] Tree(value=0, children=[])"
        assert await app.object(SecondVersion, "e").wait() == await app.object(SecondVersion, "e").read()


class Steps(VirtualObject):
    @handler
    async def untyped(self, ctx: Context, what: str) -> bool:
        values: dict[str, Any] = {
            "nested": {"a": ({1, 2}, [NOW, (b"x", frozenset({(1, "2")}))]), 5: decimal.Decimal("1.0")},
            "deep": None,
            "object": Point(1),
        }
        if what == "deep":
            deep: Any = ()
            for _ in range(199):
                deep = (deep,)
            values["deep"] = deep

        def step():  # type: ignore[no-untyped-def]
            return values[what]

        return bool(await ctx.run(step) == values[what])


async def test_results_of_untyped_steps_come_back_exactly_or_are_refused() -> None:
    async with App(Steps, storage="sqlite://") as app:
        assert await app.object(Steps, "s").untyped("nested")
        assert await app.object(Steps, "s").untyped("deep")
        with pytest.raises(SerializationError, match="annotate the function's return type"):
            await app.object(Steps, "s").untyped("object")


class Unstorable:
    pass


def make_unstorable() -> Unstorable:
    return Unstorable()


class Mistaken(VirtualObject):
    @handler
    async def mistake(self, ctx: Context, what: str) -> None:
        mistakes: dict[str, Any] = {
            "awakeable": lambda: ctx.awakeable(Unstorable),
            "run": lambda: ctx.run(make_unstorable),
            "step": lambda: ctx.step(type=list[Unstorable]).run(make_unstorable),
            "object": lambda: ctx.object(Unstorable, "k"),  # type: ignore[type-var]
            "set": lambda: ctx.set("name", 1, Unstorable),
            "policy": lambda: RetryPolicy(factor=0),
        }
        await mistakes[what]()


@pytest.mark.parametrize("what", ["awakeable", "run", "step", "object", "set", "policy"])
async def test_a_type_that_cannot_be_stored_is_a_failure_at_once_and_not_a_loop(what: str) -> None:
    async with App(Mistaken, storage="sqlite://") as app:
        with pytest.raises(DefinitionError):
            await app.object(Mistaken, "m").mistake(what)


async def test_an_object_that_cannot_be_stored_is_refused_before_it_is_accepted() -> None:
    async with App(Holder, Writer, storage="sqlite://") as app:
        with pytest.raises(BadArguments, match="argument 'price'"):
            app.object(Writer, "w").price(float("nan"))
        with pytest.raises(BadArguments, match="argument 'what'"):
            app.object(Writer, "w").write.send(Size.SMALL)
