"""Values of declared types: each can be stored, constraints are kept, and a type without end ends."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import re
import typing
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import annotated_types
import msgspec
import pydantic
import pytest

from actors.serde import codec_for
from actors.testing.samples import CannotMake, samples

T = TypeVar("T")
TEXTS = ["a", "b"]


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclasses.dataclass
class Line:
    article: str
    color: Color
    count: int = 1
    total: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("odd")


@dataclasses.dataclass
class Node:
    left: Node | None
    children: list[Node]


class Limited(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(ge=100)]


class Box(msgspec.Struct, Generic[T]):
    value: T


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(gt=10)
    texts: list[str]


class Pair(NamedTuple):
    one: int
    other: str


class Row(TypedDict):
    one: int


Id = NewType("Id", int)


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        (int, [1, 2, 3, 0]),
        (bool, [False, True]),
        (str, TEXTS),
        (None, [None]),
        (Id, [1, 2, 3, 0]),
        (Color, [Color.RED, Color.GREEN]),
        (Literal["x", 1, "y", 2, "z"], ["x", 1, "y", 2, "z"]),
        (str | None, ["a", None, "b"]),
        (list[int], [[1], [], [1, 2]]),
        (collections.abc.Sequence[str], [["a"], [], ["a", "b"]]),
        (dict[str, int], [{}, {"a": 1}, {"a": 1, "b": 2}]),
        (set[str], [{"a"}, set(), {"a", "b"}]),
        (tuple[int, str], [(1, "a"), (2, "b"), (3, "a"), (0, "b")]),
        (tuple[int, ...], [(1,), (), (1, 2)]),
        (Even, [Even(2), Even(0)]),
        (Limited, [Limited(100), Limited(101), Limited(102)]),
        (Box[bool], [Box(False), Box(True)]),
        (Pair, [Pair(1, "a"), Pair(2, "b"), Pair(3, "a"), Pair(0, "b")]),
        (Row, [{"one": 1}, {"one": 2}, {"one": 3}, {"one": 0}]),
        (Annotated[int, annotated_types.Ge(50), annotated_types.Lt(52)], [50, 51]),
        (Annotated[int, pydantic.Field(gt=7)], [8, 9]),
        (Annotated[str, msgspec.Meta(min_length=3)], ["aaa", "bbb"]),
    ],
)
def test_a_type_has_a_few_values_the_usual_one_first(declared: Any, values: list[Any]) -> None:
    assert samples(declared, TEXTS) == values


@pytest.mark.parametrize(
    "declared",
    [
        *(
            float,
            bytes,
            datetime.datetime,
            datetime.date,
            datetime.time,
            datetime.timedelta,
            uuid.UUID,
            decimal.Decimal,
        ),
        *(Any, list, dict, Line, Model, Node, typing.Mapping[str, Line], list[Line | None]),
    ],
)
def test_each_value_can_be_stored_and_differs_from_the_others(declared: Any) -> None:
    codec = codec_for(declared, "the test")
    texts = [codec.encode(value) for value in samples(declared, TEXTS)]
    assert len(texts) == len(set(texts)) > 1


@pytest.mark.parametrize(
    ("declared", "name"),
    [(Annotated[str, msgspec.Meta(pattern="^x+$")], "pattern='^x+$'"), (typing.IO, "IO")],
)
def test_a_type_without_values_is_named(declared: Any, name: str) -> None:
    with pytest.raises(CannotMake, match=re.escape(name)):
        samples(declared, TEXTS)
