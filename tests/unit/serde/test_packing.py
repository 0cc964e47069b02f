"""Untyped msgpack: what is packed comes back the same to the last type, and nothing else is packed."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import enum
import math
import sys
import uuid
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SerializationError
from actors.serde.packing import MAX_DEPTH, pack, unpack
from tests.unit.example_types import Color, Item, Level, Movie, Pair, Point, Size, User

zones = st.one_of(
    st.none(),
    st.just(datetime.UTC),
    st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)).map(datetime.timezone),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=10),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
values = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables, max_size=4),
        st.dictionaries(hashables, inner, max_size=4),
    ),
    max_leaves=15,
)


def exact(value: Any) -> Any:
    """A form in which two values are equal only if they are the same down to types, order and signs."""
    if isinstance(value, dict):
        return (type(value), [(exact(k), exact(v)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [exact(v) for v in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(repr(exact(v)) for v in value))
    return (type(value), repr(value))


@given(values)
def test_what_is_packed_comes_back_the_same(value: Any) -> None:
    back = unpack(pack(value))
    assert back == value
    assert exact(back) == exact(value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.inf,
        math.nan,
        10**5000,
        -(10**5000),
        2**63,
        2**64,
        -(2**63) - 1,
        [10**30, {10**30: 1}],
        decimal.Decimal("1.10"),
        decimal.Decimal("-0"),
        decimal.Decimal("NaN"),
        decimal.Decimal("sNaN12"),
        decimal.Decimal("1E+999999"),
        datetime.timedelta(microseconds=-1),
        datetime.timedelta.min,
        datetime.timedelta.max,
        datetime.datetime.min,
        datetime.datetime.max,
        datetime.datetime(2024, 10, 27, 2, 30, 0, 1, fold=1),
        datetime.datetime(
            2024, 10, 27, 2, 30, tzinfo=datetime.timezone(datetime.timedelta(seconds=-30, microseconds=7))
        ),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(microseconds=1))),
        datetime.time(2, 30, fold=1),
        datetime.time(2, 30, tzinfo=datetime.UTC),
        {1: "a", "1": "b", False: "c", None: "d", (1, 2): "e", b"": "f"},
        {frozenset({(1, frozenset())}): {(): [()]}},
        {(datetime.date(2024, 1, 1), uuid.UUID(int=1)): {decimal.Decimal(1)}},
        [[], (), set(), frozenset(), {}, "", b"", None],
        "\x00\U0010ffff",
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_at_the_edges_come_back_the_same(value: Any) -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # only for the comparison: packing has no limit
    try:
        assert exact(unpack(pack(value))) == exact(value)
    finally:
        sys.set_int_max_str_digits(limit)


def test_the_order_of_a_dict_is_kept() -> None:
    assert list(unpack(pack({"b": 1, "a": 2, 3: 3}))) == ["b", "a", 3]


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Rows(list[int]):
    pass


class Day(datetime.date):
    pass


class Plain:
    pass


class Named(NamedTuple):
    a: int


def cycle(kind: Any = list) -> Any:
    around: list[Any] = []
    around.append(kind([around]))
    return around


PARIS = ZoneInfo("Europe/Paris")
REFUSED: dict[str, Any] = {
    "a lone surrogate": "\ud800",
    "a str subclass": Text("x"),
    "an int subclass": Number(1),
    "a float subclass": type("Ratio", (float,), {})(1.0),
    "a bytes subclass": type("Blob", (bytes,), {})(b""),
    "a list subclass": Rows([1]),
    "a dict subclass": collections.OrderedDict(a=1),
    "a defaultdict": collections.defaultdict(list),
    "a set subclass": type("Bag", (set,), {})(),
    "a date subclass": Day(2024, 1, 1),
    "a UUID subclass": type("Id", (uuid.UUID,), {})(int=1),
    "a NamedTuple": Named(1),
    "another NamedTuple": Pair(1),
    "an Enum": Color.RED,
    "a StrEnum": Size.SMALL,
    "an IntEnum": Level.LOW,
    "a Flag": enum.Flag("F", "A B").A,  # type: ignore[attr-defined]
    "a bytearray": bytearray(b"x"),
    "a memoryview": memoryview(b"x"),
    "a deque": collections.deque([1]),
    "a range": range(3),
    "a complex number": 1j,
    "a dataclass": Point(1),
    "a Struct": Item("a"),
    "a model": User(id=1),
    "a plain object": Plain(),
    "a class": Plain,
    "a function": len,
    "a generator": (n for n in range(3)),
    "a named zone": datetime.datetime(2024, 1, 1, tzinfo=PARIS),
    "the zone named UTC": datetime.datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")),
    "an offset with a name": datetime.datetime(
        2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "CET")
    ),
    "a time with a named zone": datetime.time(1, tzinfo=PARIS),
    "an extension type of msgpack": msgpack.ExtType(1, b"\x90"),
    "a foreign extension type": msgpack.ExtType(99, b""),
    "a timestamp of msgpack": msgpack.Timestamp(1, 2),
    "a list that contains itself": cycle(),
    "a tuple that contains itself": cycle(tuple),
    "an exception": ValueError("x"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("place", ["alone", "in a list", "in a tuple in a dict"])
def test_a_value_that_would_change_is_refused(name: str, place: str) -> None:
    value = REFUSED[name]
    if place == "in a list":
        value = [1, value]
    elif place == "in a tuple in a dict":
        value = {"a": (1, "b", value)}
    with pytest.raises(SerializationError):
        pack(value)


@pytest.mark.parametrize("key", ["\ud800", Text("x"), Named(1), Color.RED, (1, Size.SMALL), frozenset({Level.LOW})])
def test_a_key_or_a_member_that_would_change_is_refused(key: Any) -> None:
    for value in ({key: 1}, {key}, frozenset({key})):
        with pytest.raises(SerializationError):
            pack(value)


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(SerializationError, match=r"type Point .* annotate the function's return type"):
        pack([Point(1)])
    with pytest.raises(SerializationError, match=r"astimezone\(timezone\.utc\)"):
        pack(datetime.datetime(2024, 1, 1, tzinfo=PARIS))


@pytest.mark.parametrize("kind", [list, tuple, frozenset, dict])
def test_nesting_has_a_limit_far_below_the_recursion_limit(kind: Any) -> None:
    def nested(levels: int) -> Any:
        value: Any = kind()
        for _ in range(levels - 1):
            value = {"a": value} if kind is dict else kind([value])
        return value

    data = pack(nested(MAX_DEPTH))

    def deeper(frames: int) -> Any:
        return deeper(frames - 1) if frames else unpack(data)

    assert deeper(sys.getrecursionlimit() // 3) == nested(MAX_DEPTH)
    for levels in (MAX_DEPTH + 1, 600) if kind is frozenset else (MAX_DEPTH + 1, 600, 5_000, 100_000):
        with pytest.raises(SerializationError):
            pack(nested(levels))


@given(st.binary(max_size=60))
def test_damaged_bytes_are_refused_or_decoded_but_never_crash(data: bytes) -> None:
    with contextlib.suppress(SerializationError):
        unpack(data)


@given(values, st.data())
def test_a_truncated_record_is_refused(value: Any, data: Any) -> None:
    packed = pack(value)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(SerializationError):
        unpack(packed[:cut])


def test_a_typed_dict_is_a_dict() -> None:
    movie: Movie = {"title": "t"}
    assert unpack(pack(movie)) == {"title": "t"}
