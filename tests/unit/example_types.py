"""Example types of every kind the contract lists, shared by the tests of this folder."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Size(enum.StrEnum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Mixed(enum.Enum):
    TEXT = "text"
    NUMBER = 1


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Point3(Point):
    z: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Money:
    amount: decimal.Decimal
    currency: str = "EUR"


@dataclasses.dataclass
class Line:
    sku: str
    price: Money
    tags: set[str] = dataclasses.field(default_factory=set)
    at: datetime.datetime | None = None


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Item(msgspec.Struct):
    name: str
    counts: list[int] = []


class FrozenItem(msgspec.Struct, frozen=True):
    name: str


class OpenStruct(msgspec.Struct, dict=True):
    name: str


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: tuple[str, ...] = ()


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class User(pydantic.BaseModel):
    id: int
    name: str = "anonymous"
    born: datetime.date | None = None
    seen: datetime.datetime | None = None


class StrictUser(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    id: uuid.UUID
    roles: tuple[str, ...] = ()
    groups: frozenset[int] = frozenset()
    limits: dict[int, decimal.Decimal] = {}
    born: datetime.date | None = None
    boss: StrictUser | None = None


class Team(pydantic.BaseModel):
    members: list[User] = []
    by_role: dict[str, User] = {}
    note: Any = None


class Aliased(pydantic.BaseModel):
    order_id: int = pydantic.Field(alias="orderId")
    total: float = pydantic.Field(default=0.0, validation_alias="in", serialization_alias="out")


class WithPrivate(pydantic.BaseModel):
    a: int
    _cache: int = pydantic.PrivateAttr(default=0)


class WithExcluded(pydantic.BaseModel):
    a: int
    hidden: int = pydantic.Field(default=0, exclude=True)


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    a: int


class FrozenUser(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    id: int
