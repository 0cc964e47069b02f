"""Values in class bodies: those that can change are declared, those that cannot are constants."""

from __future__ import annotations

import abc
import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import logging
import math
import pathlib
import re
import types
import uuid
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import msgspec
import pydantic
import pytest

from actors import Service, VirtualObject, Workflow, field, handler
from actors.errors import DefinitionError
from tests.world import World

T = TypeVar("T")


@dataclasses.dataclass
class Point:
    x: int = 0


@dataclasses.dataclass(eq=False)
class Unequal:
    x: int = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    items: tuple[int, ...] | list[int] = ()


class Struct(msgspec.Struct):
    x: int = 0


class Model(pydantic.BaseModel):
    x: int = 0


class Counter:
    def __init__(self) -> None:
        self.n = 0


class Missing:
    pass


class Color(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    left: Any


class Descriptor:
    def __init__(self) -> None:
        self.values: list[int] = []

    def __get__(self, instance: Any, owner: Any) -> int:
        return 1


class Called:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> int:
        return self.n


MUTABLE: dict[str, Callable[[], Any]] = {
    "list": list,
    "dict": lambda: {"a": 1},
    "set": set,
    "bytearray": bytearray,
    "deque": collections.deque,
    "defaultdict": lambda: collections.defaultdict(list),
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "UserList": collections.UserList,
    "array": lambda: array.array("i"),
    "dataclass": Point,
    "dataclass without eq": Unequal,
    "frozen dataclass with a list": lambda: Frozen([1]),
    "Struct": Struct,
    "pydantic model": Model,
    "tuple with a list": lambda: ([],),
    "NamedTuple with a list": lambda: Pair([]),
    "object with attributes": Counter,
}

CONSTANT: dict[str, Callable[[], Any]] = {
    "int": lambda: 3,
    "str": lambda: "a",
    "None": lambda: None,
    "float": lambda: math.inf,
    "bytes": lambda: b"a",
    "complex": lambda: 1j,
    "Decimal": lambda: decimal.Decimal(1),
    "datetime": lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "timedelta": lambda: datetime.timedelta(1),
    "UUID": lambda: uuid.UUID(int=1),
    "Enum": lambda: Color.RED,
    "tuple": lambda: (1, ("a", None)),
    "frozenset": lambda: frozenset({1}),
    "range": lambda: range(3),
    "slice": lambda: slice(3),
    "NamedTuple": lambda: Pair(1),
    "frozen dataclass": lambda: Frozen((1,)),
    "pattern": lambda: re.compile("a"),
    "Path": lambda: pathlib.Path("a"),
    "mapping that cannot be changed": lambda: types.MappingProxyType({"a": 1}),
    "a sentinel": object,
    "a sentinel of a class of its own": Missing,
    "class": lambda: Counter,
    "type": lambda: list[int],
    "function": lambda: lambda self: 1,
    "partial": lambda: functools.partial(int, "3"),
    "callable object": Called,
    "property": lambda: property(lambda self: 1),
    "cached property": lambda: functools.cached_property(lambda self: 1),
    "staticmethod": lambda: staticmethod(int),
    "classmethod": lambda: classmethod(lambda cls: 1),
    "descriptor": Descriptor,
    "module": lambda: math,
    "logger": lambda: logging.getLogger("a"),
}


def direct(value: Any) -> Any:
    class Cart(VirtualObject):
        items = value

        @handler
        async def add(self) -> int:
            return 1

    return Cart


def mixin(value: Any) -> Any:
    class Mixin:
        items = value

    class Cart(Mixin, VirtualObject):
        @handler
        async def add(self) -> int:
            return 1

    return Cart


def base_of_base(value: Any) -> Any:
    class Lowest(abc.ABC):  # noqa: B024
        items = value

    class Base(Lowest, Generic[T]):
        pass

    class Cart(VirtualObject, Base[int]):
        @handler
        async def add(self) -> int:
            return 1

    return Cart


def service(value: Any) -> Any:
    class Cart(Service):
        _items = value

        @handler
        async def add(self) -> int:
            return 1

    return Cart


def workflow(value: Any) -> Any:
    class Cart(Workflow):
        items = value

        @handler
        async def run(self) -> int:
            return 1

    return Cart


PLACES = [direct, mixin, base_of_base, service, workflow]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", MUTABLE)
def test_a_value_that_can_change_is_refused_without_an_annotation(kind: str, place: Callable[[Any], Any]) -> None:
    with pytest.raises(DefinitionError, match=r"items(?s:.*)declare its type(?s:.*)ClassVar\["):
        place(MUTABLE[kind]())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", CONSTANT)
def test_what_cannot_change_needs_no_annotation(kind: str, place: Callable[[Any], Any]) -> None:
    place(CONSTANT[kind]())


def test_the_message_names_the_class_the_value_and_both_ways_out() -> None:
    with pytest.raises(DefinitionError) as caught:
        mixin([])
    message = str(caught.value)
    assert "Mixin: items = [] has no annotation" in message
    assert "items: list = ..." in message and "items: ClassVar[list] = ..." in message


@pytest.mark.parametrize("made", [field, dataclasses.field])
def test_a_field_without_an_annotation_is_refused(made: Any) -> None:
    with pytest.raises(DefinitionError, match=r"items: list\[str\] = field"):
        direct(made(default_factory=list))


def test_what_is_declared_as_belonging_to_the_class_may_change() -> None:
    class Registry:
        known = {"a": 1}  # of somebody else's: declared below

    class Cart(Registry, VirtualObject):
        rates: ClassVar[dict[str, int]] = {}
        bare: ClassVar = []  # type: ignore[var-annotated]
        fixed: Final = [1]
        noted: Annotated[ClassVar[list[int]], "a note"] = []  # type: ignore[valid-type]
        known: ClassVar[dict[str, int]]  # type: ignore[misc]
        items: list[int] = []

        class Meta:
            tags = ["a"]

        @handler
        async def add(self) -> None: ...

    assert [declared.name for declared in Cart.__actors__.fields] == ["items"]


def test_a_subclass_may_give_state_another_default_without_annotation() -> None:
    class Cart(VirtualObject):
        items: list[str] = []

        @handler
        async def add(self) -> None: ...

    class Filled(Cart):
        items = ["a"]

    assert Filled().items == ["a"]


async def test_keys_share_nothing_that_can_change() -> None:
    class Cart(VirtualObject):
        items: list[str] = []
        LIMIT = 3

        @handler
        async def add(self, item: str) -> list[str]:
            self.items.append(item)
            return self.items[: self.LIMIT]

    async with World(Cart) as world:
        await world.app.object(Cart, "alice").add("a ring")
        assert await world.app.object(Cart, "bob").add("a book") == ["a book"]
