"""Typed JSON: what is declared is restored exactly, and what cannot be is refused when it is written."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import DefinitionError, SerializationError
from actors.serde import ANY, Codec, codec_for, codec_named, plain_codec, split
from actors.serde.exactness import MAX_DEPTH
from actors.serde.type_names import type_name
from tests.unit.example_types import (
    Access,
    Aliased,
    Box,
    Cat,
    Color,
    Dog,
    FrozenItem,
    FrozenUser,
    Item,
    Level,
    Line,
    Mixed,
    Money,
    Movie,
    Open,
    OpenStruct,
    Pair,
    Point,
    Point3,
    Size,
    StrictUser,
    Team,
    Tree,
    User,
    WithExcluded,
    WithPrivate,
)

BASE = datetime.datetime(2024, 6, 1, 2, 30, 0, 123456)
PARIS = ZoneInfo("Europe/Paris")


def codec(declared: Any) -> Codec:
    return codec_for(declared, "test")


def exact(value: Any) -> Any:
    """A form in which two values are equal only if they are the same down to types, order and signs."""
    if isinstance(value, dict):
        return (type(value), [(exact(k), exact(v)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [exact(v) for v in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), {repr(exact(v)) for v in value})
    if isinstance(value, enum.Enum):
        return (type(value), value.name)
    if isinstance(value, (datetime.datetime, datetime.time)):
        return (type(value), value.isoformat(), value.fold)
    if isinstance(value, pydantic.BaseModel):
        return (type(value), exact(dict(value)))
    if isinstance(value, msgspec.Struct):
        return (type(value), [exact(getattr(value, name)) for name in value.__struct_fields__])
    if dataclasses.is_dataclass(value):
        return (type(value), [exact(getattr(value, field.name)) for field in dataclasses.fields(value)])
    return (type(value), repr(value))


def restored(declared: Any, value: Any) -> Any:
    return codec(declared).decode(codec(declared).encode(value))


def assert_exact(declared: Any, value: Any) -> None:
    text = codec(declared).encode(value)
    json.loads(text)  # any JSON reader can read it
    assert exact(codec(declared).decode(text)) == exact(value)


def refusal(declared: Any, value: Any) -> str:
    with pytest.raises(SerializationError) as caught:
        codec(declared).encode(value)
    return caught.value.message


# --- what comes back as it was --------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.one_of(
    st.integers(), st.integers(-(2**70), 2**70), st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**1000])
)
floats = st.floats(allow_nan=False, allow_infinity=False)
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: datetime.timezone(datetime.timedelta(minutes=m)))
zones = st.one_of(st.none(), st.just(datetime.UTC), offsets)
datetimes = st.datetimes(timezones=zones, allow_imaginary=False).map(lambda d: d.replace(fold=0))
times = st.times(timezones=zones).map(lambda t: t.replace(fold=0))
decimals = st.one_of(
    st.decimals(), st.sampled_from([decimal.Decimal(t) for t in ("1.10", "-0", "0E-9", "1E+5", "NaN")])
)
moneys = st.builds(Money, decimals, texts)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, floats, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
users = st.builds(User, id=integers, name=texts, born=st.none() | st.dates(), seen=st.none() | datetimes)
trees = st.recursive(
    st.builds(Tree, integers), lambda inner: st.builds(Tree, integers, st.lists(inner, max_size=3)), max_leaves=8
)

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, integers),
    "float": (float, floats),
    "str": (str, texts),
    "bool": (bool, st.booleans()),
    "None": (None, st.none()),
    "Any": (Any, json_values),
    "list": (list, st.lists(json_values, max_size=4)),
    "dict": (dict, st.dictionaries(texts, json_values, max_size=4)),
    "bytes": (bytes, st.binary()),
    "bytearray": (bytearray, st.binary().map(bytearray)),
    "datetime": (datetime.datetime, datetimes),
    "date": (datetime.date, st.dates()),
    "time": (datetime.time, times),
    "timedelta": (datetime.timedelta, st.timedeltas()),
    "UUID": (uuid.UUID, st.uuids()),
    "Decimal": (decimal.Decimal, decimals),
    "Enum": (Color, st.sampled_from(Color)),
    "StrEnum": (Size, st.sampled_from(Size)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "Flag": (Access, st.sampled_from([Access(0), Access.READ, Access.WRITE, Access.READ | Access.WRITE])),
    "set of int": (set[int], st.sets(integers)),
    "set of datetime": (set[datetime.datetime], st.sets(st.datetimes().map(lambda d: d.replace(fold=0)))),
    "frozenset of str": (frozenset[str], st.frozensets(texts)),
    "set of tuples": (set[tuple[int, str]], st.sets(st.tuples(integers, texts))),
    "set of frozen dataclasses": (
        set[Money],
        st.sets(st.builds(Money, st.decimals(allow_nan=False), texts), max_size=3),
    ),
    "set of frozen models": (set[FrozenUser], st.sets(st.builds(FrozenUser, id=integers), max_size=3)),
    "fixed tuple": (tuple[int, str, bool], st.tuples(integers, texts, st.booleans())),
    "variadic tuple": (tuple[float, ...], st.lists(floats).map(tuple)),
    "empty tuple": (tuple[()], st.just(())),
    "dict of int": (dict[int, str], st.dictionaries(integers, texts)),
    "dict of float": (dict[float, str], st.dictionaries(floats, texts)),
    "dict of UUID": (dict[uuid.UUID, int], st.dictionaries(st.uuids(), integers)),
    "dict of Enum": (dict[Color, list[int]], st.dictionaries(st.sampled_from(Color), st.lists(integers))),
    "dict of IntEnum": (dict[Level, int], st.dictionaries(st.sampled_from(Level), integers)),
    "dict of date": (dict[datetime.date, int], st.dictionaries(st.dates(), integers)),
    "dict of datetime": (dict[datetime.datetime, int], st.dictionaries(datetimes, integers)),
    "dict of time": (dict[datetime.time, int], st.dictionaries(times, integers)),
    "dict of timedelta": (dict[datetime.timedelta, int], st.dictionaries(st.timedeltas(), integers)),
    "dict of Decimal": (dict[decimal.Decimal, int], st.dictionaries(st.decimals(allow_nan=False), integers)),
    "dict of bytes": (dict[bytes, int], st.dictionaries(st.binary(), integers)),
    "dict of Literal": (dict[Literal["a", "b"], int], st.dictionaries(st.sampled_from(["a", "b"]), integers)),
    "dataclass": (Point, st.builds(Point, integers, floats)),
    "frozen dataclass with slots": (Money, moneys),
    "nested dataclass": (Line, st.builds(Line, texts, moneys, st.sets(texts), st.none() | datetimes)),
    "list of dataclasses": (list[Line], st.lists(st.builds(Line, texts, moneys), max_size=3)),
    "recursive dataclass": (Tree, trees),
    "generic dataclass": (Box[list[int]], st.builds(Box, st.lists(integers))),
    "TypedDict": (Movie, st.fixed_dictionaries({"title": texts}, optional={"year": integers})),
    "NamedTuple": (Pair, st.builds(Pair, integers, texts)),
    "Struct": (Item, st.builds(Item, texts, st.lists(integers))),
    "tagged union of Structs": (Cat | Dog, st.one_of(st.builds(Cat, integers), st.builds(Dog, st.just(("sit",))))),
    "pydantic model": (User, users),
    "strict pydantic model": (
        StrictUser,
        st.builds(
            StrictUser,
            id=st.uuids(),
            roles=st.lists(texts, max_size=2).map(tuple),
            groups=st.frozensets(integers, max_size=3),
            limits=st.dictionaries(integers, st.decimals(allow_nan=False, allow_infinity=False, places=2), max_size=2),
            born=st.none() | st.dates(),
            boss=st.none() | st.builds(StrictUser, id=st.uuids(), boss=st.none()),
        ),
    ),
    "nested pydantic model": (
        Team,
        st.builds(
            Team,
            members=st.lists(users, max_size=2),
            by_role=st.dictionaries(texts, users, max_size=2),
            note=st.none() | texts,
        ),
    ),
    "list of models": (list[User], st.lists(users, max_size=3)),
    "optional model": (User | None, st.none() | users),
    "open model": (Open, st.builds(Open, a=integers, b=texts)),
    "optional": (int | None, st.none() | integers),
    "union": (int | str | None, st.one_of(st.none(), integers, texts)),
    "int or float": (int | float, st.one_of(integers.filter(lambda i: abs(i) < 2**60), floats)),
    "Literal": (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    "Annotated": (Annotated[int, msgspec.Meta(ge=0)], st.integers(min_value=0)),
    "NewType": (NewType("Sku", str), texts),
    "Sequence": (Sequence[int], st.lists(integers)),
    "Mapping": (Mapping[str, int], st.dictionaries(texts, integers)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_every_kind_come_back_exactly(kind: str) -> None:
    declared, values = KINDS[kind]

    @given(values)
    def comes_back(value: Any) -> None:
        assert_exact(declared, value)

    comes_back()


def test_the_order_of_a_dict_is_kept() -> None:
    assert list(restored(dict[str, int], {"b": 1, "a": 2, "c": 0})) == ["b", "a", "c"]
    assert list(restored(Movie, {"year": 1, "title": "t"})) == ["year", "title"]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (float, -0.0),
        (float | None, -0.0),
        (Any, -0.0),
        (list[float], [-0.0]),
        (set[float], {-0.0}),
        (dict[str, float], {"a": -0.0}),
        (dict[float, str], {-0.0: "a"}),
        (Point, Point(0, -0.0)),
    ],
)
def test_negative_zero_keeps_its_sign(declared: Any, value: Any) -> None:
    assert "-0.0" in repr(value)
    assert_exact(declared, value)


def test_an_int_may_stand_for_a_float_and_is_one_after_loading() -> None:
    assert exact(restored(float, 3)) == exact(3.0)
    assert exact(restored(list[float], [1, 2.5])) == exact([1.0, 2.5])
    assert exact(restored(Point, Point(1, 2))) == exact(Point(1, 2.0))
    assert exact(restored(set[float], {1})) == exact({1.0})


@pytest.mark.parametrize("declared", [float, list[float], float | None])
@pytest.mark.parametrize("number", [2**53 + 1, 10**400, -(10**400)])
def test_an_int_that_no_float_equals_is_refused_as_a_float(declared: Any, number: int) -> None:
    refusal(declared, [number] if declared == list[float] else number)


@pytest.mark.parametrize("make", [lambda n: n, lambda n: [n], lambda n: {"a": n}, lambda n: {"a": [None, n]}])
def test_a_huge_int_comes_back_or_is_refused(make: Callable[[int], Any]) -> None:
    assert_exact(Any, make(10**4000))
    assert "digits" in refusal(Any, make(10**5000))
    assert "digits" in refusal(int, 10**5000)


def test_a_utc_offset_of_pydantic_is_stored_and_comes_back_as_a_plain_one() -> None:
    parsed = User.model_validate_json('{"id": 1, "seen": "2024-01-01T00:00:00+05:30"}').seen
    assert parsed is not None
    back = restored(datetime.datetime, parsed)
    assert (back, back.utcoffset(), type(back.tzinfo)) == (parsed, parsed.utcoffset(), datetime.timezone)


# --- what is refused ------------------------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Rows(list[int]):
    pass


class NamedTwice(Pair):
    pass


def cycle() -> list[Any]:
    around: list[Any] = []
    around.append(around)
    return around


def with_attribute(value: Any, name: str = "extra") -> Any:
    setattr(value, name, 1)
    return value


def without_attribute(value: Any, name: str) -> Any:
    delattr(value, name)
    return value


REFUSED: list[tuple[str, Any, Any]] = [
    ("NaN", float, math.nan),
    ("infinity", float, math.inf),
    ("NaN in a list", list[float], [1.0, math.nan]),
    ("infinity in a dict", dict[str, float], {"a": -math.inf}),
    ("NaN in a set", set[float], {math.nan}),
    ("NaN as a key", dict[float, int], {math.nan: 1}),
    ("NaN in Any", Any, [math.nan]),
    ("NaN in a model", Team, Team(note=math.nan)),
    ("a lone surrogate", str, "\ud800"),
    ("a lone surrogate in a list", list[str], ["a", "\udfff"]),
    ("a lone surrogate as a key", dict[str, int], {"\ud800": 1}),
    ("a lone surrogate in Any", Any, {"a": "\ud800"}),
    ("a lone surrogate in a model", Team, Team(note="\ud800")),
    ("a tuple for a list", list[int], (1, 2)),
    ("a list for a tuple", tuple[int, ...], [1, 2]),
    ("a tuple for a sequence", Sequence[int], (1, 2)),
    ("a tuple in Any", Any, {"a": (1, 2)}),
    ("a tuple of the wrong length", tuple[int, int], (1,)),
    ("a set for a list", list[int], {1}),
    ("a list for a set", set[int], [1]),
    ("a set in Any", Any, {1}),
    ("a frozenset for a set", set[int], frozenset({1})),
    ("a str subclass", str, Text("x")),
    ("a str subclass in a list", list[str], [Text("x")]),
    ("a str subclass as a key", dict[str, int], {Text("x"): 1}),
    ("an int subclass", int, Number(1)),
    ("a list subclass", list[int], Rows([1])),
    ("an OrderedDict", dict[str, int], collections.OrderedDict(a=1)),
    ("a defaultdict", dict[str, int], collections.defaultdict(int, a=1)),
    ("a Counter", dict[str, int], collections.Counter("a")),
    ("a bool for an int", int, True),
    ("a bool for an int in a list", list[int], [1, True]),
    ("a bool for an int in a dataclass", Point, Point(True)),
    ("a bool for a float", float, True),
    ("a bool in a set of int", set[int], {True}),
    ("a bool for a literal 1", Literal[1], True),
    ("an IntEnum for an int", int, Level.LOW),
    ("an IntEnum for an int in a list", list[int], [Level.LOW]),
    ("a StrEnum for a str", str, Size.SMALL),
    ("a StrEnum for a str as a key", dict[str, int], {Size.SMALL: 1}),
    ("a StrEnum in Any", Any, [Size.SMALL]),
    ("a StrEnum for a literal", Literal["s"], Size.SMALL),
    ("a str for an Enum", Color, "red"),
    ("an int for an IntEnum", Level, 1),
    ("an int for a str", str, 1),
    ("a str for an int", int, "1"),
    ("a float for an int", int, 1.0),
    ("a float for an int in a list", list[int], [1.0]),
    ("an int for a bool", bool, 1),
    ("an int for None", None, 0),
    ("None for an int", int, None),
    ("an int for a Decimal", decimal.Decimal, 1),
    ("a float for a Decimal", decimal.Decimal, 1.5),
    ("a str for a UUID", uuid.UUID, str(uuid.UUID(int=1))),
    ("a str for a datetime", datetime.datetime, "2024-01-01T00:00:00"),
    ("a date for a datetime", datetime.datetime, datetime.date(2024, 1, 1)),
    ("a datetime for a date", datetime.date, BASE),
    ("a named zone", datetime.datetime, BASE.replace(tzinfo=PARIS)),
    ("the zone named UTC", datetime.datetime, BASE.replace(tzinfo=ZoneInfo("UTC"))),
    ("a named zone in a list", list[datetime.datetime], [BASE.replace(tzinfo=PARIS)]),
    ("a named zone in a set", set[datetime.datetime], {BASE.replace(tzinfo=PARIS)}),
    ("a named zone as a key", dict[datetime.datetime, int], {BASE.replace(tzinfo=PARIS): 1}),
    ("a named zone in a dataclass", Line, Line("a", Money(decimal.Decimal(1)), at=BASE.replace(tzinfo=PARIS))),
    ("a named zone in a model", User, User(id=1, seen=BASE.replace(tzinfo=PARIS))),
    ("a named zone of a time", datetime.time, datetime.time(1, tzinfo=PARIS)),
    ("an offset with a name", datetime.datetime, BASE.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1), "CET"))),
    ("an offset with seconds", datetime.datetime, BASE.replace(tzinfo=datetime.timezone(datetime.timedelta(seconds=30)))),
    ("an ambiguous time", datetime.datetime, BASE.replace(fold=1)),
    ("an ambiguous time in a model", User, User(id=1, seen=BASE.replace(fold=1))),
    ("an ambiguous time of day", datetime.time, datetime.time(2, 30, fold=1)),
    ("a bytearray for bytes", bytes, bytearray(b"x")),
    ("a memoryview for bytes", bytes, memoryview(b"x")),
    ("a str for bytes", bytes, "eA=="),
    ("bytes for a str", str, b"x"),
    ("bytes in Any", Any, b"x"),
    ("bytes in a list of Any", list[Any], [b"x"]),
    ("a bytearray in Any", Any, bytearray(b"x")),
    ("a UUID in Any", Any, uuid.UUID(int=1)),
    ("a Decimal in Any", Any, decimal.Decimal(1)),
    ("a datetime in Any", Any, BASE),
    ("a dataclass in Any", Any, Point(1)),
    ("a model in Any", Any, User(id=1)),
    ("a key that is no str in Any", Any, {1: "a"}),
    ("a key that is a bool in Any", Any, {True: "a"}),
    ("a key that is None in Any", Any, {None: "a"}),
    ("a key that is a tuple in Any", Any, {(1, 2): "a"}),
    ("an int key where a str may be", dict[int | str, int], {1: 1}),
    ("a bool key for an int", dict[int, int], {True: 1}),
    ("a missing item", Movie, {"year": 1}),
    ("an undeclared item", Movie, {"title": "t", "more": 1}),
    ("a plain tuple for a NamedTuple", Pair, (1, "a")),
    ("a NamedTuple for a tuple", tuple[int, str], Pair(1)),
    ("a NamedTuple with an extra attribute", NamedTwice, with_attribute(NamedTwice(1))),
    ("a dict for a dataclass", Point, {"x": 1, "y": 0.0}),
    ("a subclass for a dataclass", Point, Point3(1)),
    ("a subclass for a dataclass in a list", list[Point], [Point(1), Point3(1)]),
    ("a subclass for a model in a list", Team, Team(members=[type("Admin", (User,), {})(id=1)])),
    ("a dataclass with an extra attribute", Point, with_attribute(Point(1))),
    ("a dataclass without one of its attributes", Point, without_attribute(Point(1), "x")),
    ("a Struct with an extra attribute", OpenStruct, with_attribute(OpenStruct("a"))),
    ("a Struct without one of its attributes", Item, without_attribute(Item("a"), "name")),
    ("a model with a private attribute", WithPrivate, with_attribute(WithPrivate(a=1), "_cache")),
    ("a model with an excluded field", WithExcluded, WithExcluded(a=1, hidden=5)),
    ("a model that was not validated", User, User.model_construct(id="x")),
    ("a model of bytes that are no text", Team, Team(note=b"\xff")),
    ("a tuple in a field of Any", Team, Team(note=(1, 2))),
    ("a bool in a model of float", Box[float], Box(True)),
    ("a value out of range", Annotated[int, msgspec.Meta(ge=1)], 0),
    ("a value that no literal is", Literal["a"], "b"),
    ("an object", Any, object()),
    ("a function", Any, len),
    ("a class", Any, int),
    ("a generator", list[int], (n for n in range(3))),
    ("a complex number", Any, 1j),
    ("a list that contains itself", Any, cycle()),
    ("a typed list that contains itself", list[Any], cycle()),
    ("a model that contains itself", Team, with_attribute(Team(), "note") and Team(note=cycle())),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "value"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_value_that_would_change_is_refused(declared: Any, value: Any) -> None:
    assert refusal(declared, value)


def test_a_refusal_says_where_the_value_would_change() -> None:
    message = refusal(dict[str, list[Point]], {"a": [Point(1), Point(2, "x")]})  # type: ignore[arg-type]
    assert "[...]" in message and "Expected `float`, got `str`" in message
    message = refusal(Team, Team(by_role={"boss": User(id=1, seen=BASE.replace(tzinfo=PARIS))}))
    assert "by_role['boss'].seen" in message
    assert "astimezone(timezone.utc)" in message
    assert "not fields of its class and would be lost: extra" in refusal(list[Point], [with_attribute(Point(1))])
    assert "would be lost: _cache" in refusal(WithPrivate, with_attribute(WithPrivate(a=1), "_cache"))
    assert "(tuple) would come back as [1, 2] (list)" in refusal(Any, {"a": [(1, 2)]})


def test_a_cached_property_that_was_used_is_no_field() -> None:
    @dataclasses.dataclass
    class Square:
        side: int

        @functools.cached_property
        def area(self) -> int:
            return self.side**2

    square = Square(2)
    assert_exact(Square, square)
    assert square.area == 4
    assert "area" in refusal(Square, square)


@pytest.mark.parametrize("inside", ["list", "dict", "dataclass"])
def test_nesting_has_a_limit_far_below_the_recursion_limit(inside: str) -> None:
    def nested(levels: int) -> Any:
        value: Any = Tree(0) if inside == "dataclass" else [] if inside == "list" else {}
        for _ in range(levels - 1):
            value = Tree(0, [value]) if inside == "dataclass" else [value] if inside == "list" else {"a": value}
        return value

    declared = Tree if inside == "dataclass" else Any
    levels = MAX_DEPTH // 2 if inside == "dataclass" else MAX_DEPTH
    value = nested(levels)
    text = codec(declared).encode(value)
    assert "nested more than" in refusal(declared, nested(levels + 1))
    for depth in (400, 2_000, 50_000):
        assert "cannot be stored" in refusal(declared, nested(depth))

    def deeper(frames: int) -> Any:
        return deeper(frames - 1) if frames else codec(declared).decode(text)

    assert deeper(sys.getrecursionlimit() // 2) is not None


def test_what_a_class_raises_while_it_is_restored_is_a_refusal() -> None:
    @dataclasses.dataclass
    class Picky:
        n: int

        def __post_init__(self) -> None:
            if self.n == 5:
                raise KeyError("five")

    picky = Picky(1)
    picky.n = 5
    assert "five" in refusal(Picky, picky)
    with pytest.raises(SerializationError, match="five"):
        codec(Picky).decode('{"n": 5}')


def test_a_class_whose_construction_changes_the_value_is_refused() -> None:
    @dataclasses.dataclass
    class Counting:
        n: int

        def __post_init__(self) -> None:
            self.n += 1

    assert "would come back as 3" in refusal(Counting, Counting(1))

    class Rising(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def rise(cls, n: int) -> int:
            return n + 1

    assert "would come back as 3" in refusal(Rising, Rising(n=1))


def test_equality_of_a_class_of_its_own_is_not_trusted() -> None:
    @dataclasses.dataclass
    class Never:
        n: int

        def __eq__(self, other: object) -> bool:
            return False

    @dataclasses.dataclass
    class Always:
        at: datetime.datetime

        def __eq__(self, other: object) -> bool:
            return True

    assert restored(Never, Never(3)).n == 3
    refusal(Always, Always(BASE.replace(tzinfo=PARIS)))


def test_a_hostile_repr_does_not_hide_the_refusal() -> None:
    @dataclasses.dataclass
    class Hostile:
        n: int

        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Hostile" in refusal(Hostile, Hostile("x"))  # type: ignore[arg-type]


def test_a_refusal_stays_short_whatever_the_value() -> None:
    assert len(refusal(list[int], [*range(1_000_000), None])) < 1000
    assert len(refusal(Any, {"x" * 10_000_000: b""})) < 1000


# --- pydantic -------------------------------------------------------------------------------------------------------------


def test_a_model_with_aliases_is_stored_by_field_name_and_read_by_both() -> None:
    value = Aliased.model_validate({"orderId": 5, "in": 1.5})
    assert_exact(Aliased, value)
    assert json.loads(codec(Aliased).encode(value)) == {"order_id": 5, "total": 1.5}
    assert codec(Aliased).decode('{"orderId": 5, "in": 1.5}') == value


def test_computed_and_cached_properties_of_a_model_are_not_stored() -> None:
    class Area(pydantic.BaseModel):
        side: int

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def area(self) -> int:
            return self.side**2

        @functools.cached_property
        def volume(self) -> int:
            return self.side**3

    area = Area(side=2)
    assert area.volume == 8
    assert codec(Area).encode(area) == '{"side":2}'


def test_a_root_model_and_a_generic_model_come_back() -> None:
    class Ids(pydantic.RootModel[list[int]]):
        pass

    assert restored(Ids, Ids([1, 2])) == Ids([1, 2])
    assert codec(Ids).encode(Ids([1, 2])) == "[1,2]"


def test_what_does_not_fit_a_model_is_told_in_one_line() -> None:
    with pytest.raises(SerializationError) as caught:
        codec(list[User]).decode('[{"id": "x"}]')
    assert "id: Input should be a valid integer" in caught.value.message
    assert "\n" not in caught.value.message and "http" not in caught.value.message


# --- declarations ---------------------------------------------------------------------------------------------------------

LOOSE = TypeVar("LOOSE")
BOUND = TypeVar("BOUND", bound=int)


class Plain:
    pass


class BigEnum(enum.Enum):
    A = 2**70


class FloatEnum(enum.Enum):
    A = 1.5


@pytest.mark.parametrize(
    ("declared", "hint"),
    [
        (Plain, "dataclass"),
        (object, "object"),
        (type, "type"),
        (complex, "complex"),
        (Callable[[], None], "Callable"),
        (list[Plain], "Plain"),
        (dict[str, Plain | None], "Plain"),
        (collections.deque[int], "deque"),
        (memoryview, "use bytes"),
        (msgspec.Raw, "use bytes"),
        (Mixed, "all str or all int"),
        (FloatEnum, "all str or all int"),
        (BigEnum, "BigEnum"),
        (dict[bool, int], "list of pairs"),
        (dict[None, int], "list of pairs"),
        (dict[tuple[int, int], int], "keys of type tuple"),
        (dict[Money, int], "keys of type Money"),
        (list[dict[FrozenItem, int]], "keys of type FrozenItem"),
        (Point | Line, "one dataclass"),
        (datetime.datetime | str, "str-like"),
        (tuple[int, ...] | list[int], "array-like"),
        ("Missing", "cannot be resolved"),
        (list["Missing"], "Missing"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_a_type_that_cannot_be_stored_is_refused_when_it_is_declared(declared: Any, hint: str) -> None:
    with pytest.raises(DefinitionError, match=r"Order\.field") as caught:
        codec_for(declared, "Order.field")
    assert hint in str(caught.value)


def test_a_type_that_names_a_local_type_in_a_string_says_how_to_fix_it() -> None:
    @dataclasses.dataclass
    class Inner:
        n: int

    @dataclasses.dataclass
    class Outer:
        inner: Inner

    with pytest.raises(DefinitionError, match="module level"):
        codec_for(Outer, "Order.field")
    assert_exact(Inner, Inner(1))


def test_a_type_variable_stands_for_its_bound() -> None:
    assert_exact(LOOSE, {"a": [1]})
    assert_exact(list[LOOSE], [1, "a"])  # type: ignore[valid-type]
    assert_exact(BOUND, 3)
    refusal(BOUND, "x")


def test_an_unhashable_annotation_works() -> None:
    assert_exact(Annotated[int, ["a note"]], 3)


def test_types_are_named_without_modules() -> None:
    names = {
        int: "int",
        None: "None",
        Any: "Any",
        list[Point]: "list[Point]",
        dict[str, list[Point | None]]: "dict[str, list[Point | None]]",
        tuple[int, ...]: "tuple[int, ...]",
        tuple[()]: "tuple[()]",
        Literal["a", 1]: "Literal['a', 1]",
        Box[int]: "Box[int]",
        Annotated[int, "x"]: "Annotated[int, 'x']",
        Callable[[int], str]: "Callable[int, str]",
        BOUND: "BOUND",
    }
    assert {type_name(declared): type_name(declared) for declared in names} == {n: n for n in names.values()}


# --- comparing stored texts -----------------------------------------------------------------------------------------------


def test_the_order_of_a_set_is_not_part_of_its_value() -> None:
    assert codec(set[int]).equal("[1,2,3]", "[3,1,2]")
    assert codec(dict[str, set[str]]).equal('{"a":["x","y"]}', '{"a":["y","x"]}')
    assert codec(list[frozenset[int]]).equal("[[1,2],[3]]", "[[2,1],[3]]")
    assert codec(StrictUser).equal(
        '{"id":"00000000-0000-0000-0000-000000000001","groups":[1,2]}',
        '{"id":"00000000-0000-0000-0000-000000000001","groups":[2,1]}',
    )


@pytest.mark.parametrize(
    ("declared", "one", "other"),
    [
        (set[int], "[1,2]", "[1,3]"),
        (set[int], "[1]", "[1,2]"),
        (list[int], "[1,2]", "[2,1]"),
        (dict[str, set[int]], '{"a":[1],"b":[2]}', '{"b":[2],"a":[1]}'),
        (set[int | float], "[1.0]", "[1]"),
        (tuple[set[int], int | float], "[[1],1.0]", "[[1],1]"),
        (float, "0.0", "-0.0"),
        (Open, '{"a":1,"b":1}', '{"a":1,"b":true}'),
        (set[int], "[1,2]", '["no longer an int"]'),
    ],
)
def test_nothing_else_is(declared: Any, one: str, other: str) -> None:
    assert not codec(declared).equal(one, other)


@given(st.sets(integers, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_set_written_in_two_orders_is_equal(members: set[int], rng: Any) -> None:
    shuffled = sorted(members)
    rng.shuffle(shuffled)
    assert codec(set[int]).equal(codec(list[int]).encode(sorted(members)), codec(list[int]).encode(shuffled))


# --- texts from elsewhere -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "nul", "NaN", "[1,]", "1 2", "\ufeff1", '"\\ud800"', "1e400", '"\x01"', "{1:2}", "[" * 100_000]
)
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(SerializationError):
        ANY.decode(text)


@given(st.text())
def test_any_text_is_decoded_or_refused(text: str) -> None:
    for declared in (Any, int, list[Point], User, set[datetime.datetime]):
        with contextlib.suppress(SerializationError):
            codec(declared).decode(text)


def test_text_that_does_not_fit_the_type_is_refused_with_the_place() -> None:
    with pytest.raises(SerializationError, match=r"\$\[1\]\.x"):
        codec(list[Point]).decode('[{"x":1},{"x":"2"}]')


def test_an_array_is_split_into_the_texts_of_its_elements() -> None:
    assert split('[1, "a,b", {"a": [1]}, null]') == ["1", '"a,b"', '{"a": [1]}', "null"]
    assert split("[]") == []
    with pytest.raises(SerializationError):
        split("{}")


class Local(NamedTuple):
    a: set[int]


def test_the_objects_that_may_stand_for_their_text_are_those_a_reload_would_give() -> None:
    assert int in codec(int).atoms and str in codec(Any).atoms
    assert int not in codec(float).atoms and float in codec(float).atoms
    assert int not in codec(float | None).atoms
    assert datetime.datetime not in codec(datetime.datetime).atoms
    assert codec(Local).unordered and not codec(Pair).unordered
    assert codec(OpenStruct).hidden and codec(WithPrivate).hidden and codec(list[WithExcluded]).hidden
    assert not codec(Item).hidden and not codec(User).hidden and not codec(Pair).hidden


def test_a_class_that_is_called_like_a_plain_type_is_not_taken_for_it() -> None:
    """A journal keeps the name of a type only."""
    shadow = dataclasses.make_dataclass("int", [("n", str)])
    codec = codec_for(shadow, "here")
    assert codec.name == f"{shadow.__module__}.int"
    assert codec_named("int") is plain_codec("int") is codec_for(int, "here")
    assert codec_named(codec.name) is codec
    assert plain_codec(codec.name) is None
    assert plain_codec("Any") is ANY
    assert plain_codec(None) is None
