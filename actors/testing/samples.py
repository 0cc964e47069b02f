"""A few values of a declared type, for random requests.

Promise: the same type gives the same values in each process, few enough that requests collide, and each of them can be stored.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from actors.errors import ActorsError
from actors.model.annotations import bound
from actors.serde import codec_for
from actors.serde.type_names import type_name

MOST = 4  # values of a type that has no end of them
DEEPEST = 4  # types within types
_UTC = datetime.UTC
_DAY = datetime.datetime(2024, 2, 29, 12, tzinfo=_UTC)

_PLAIN: dict[Any, list[Any]] = {
    type(None): [None],
    bool: [False, True],
    int: [1, 2, 3, 0],
    float: [1.0, 2.5, 0.0],
    bytes: [b"a", b""],
    datetime.datetime: [_DAY, _DAY.replace(tzinfo=None)],
    datetime.date: [_DAY.date(), datetime.date(2024, 3, 1)],
    datetime.time: [datetime.time(12), datetime.time(23, 59)],
    datetime.timedelta: [datetime.timedelta(seconds=1), datetime.timedelta(days=1)],
    uuid.UUID: [uuid.UUID(int=1), uuid.UUID(int=2)],
    decimal.Decimal: [decimal.Decimal("1.50"), decimal.Decimal(2)],
}
_BOUNDS = ("ge", "gt", "le", "lt", "multiple_of")
_LENGTHS = ("min_length", "max_length")


class CannotMake(Exception):
    """No value of this type could be made. The message names the type."""


def samples(declared: Any, texts: Sequence[str]) -> list[Any]:
    """Values of a type, at least one, the usual one first. Texts are those of `texts`. Raises CannotMake."""
    made = _Samples(texts).of(declared, 0)
    if not made:
        raise CannotMake(type_name(declared))
    return made


class _Samples:
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)

    def of(self, declared: Any, depth: int, notes: tuple[Any, ...] = ()) -> list[Any]:
        """Values that can be stored as this type; none beyond `DEEPEST`, where a type that holds itself ends."""
        if depth > DEEPEST:
            return []
        whole = typing.Annotated[(declared, *notes)] if notes else declared
        try:
            encode = codec_for(whole, "a sample").encode
        except ActorsError:
            return []
        found: dict[str, Any] = {}
        closed = _is_closed(declared)
        for value in self._candidates(declared, depth, notes):
            try:
                found.setdefault(encode(value), value)
            except ActorsError:
                continue  # a constraint of the type, or a validator, refuses it
            if len(found) == MOST and not closed:
                break
        return list(found.values())

    def _candidates(self, declared: Any, depth: int, notes: tuple[Any, ...]) -> Iterator[Any]:
        origin, args = get_origin(declared), get_args(declared)
        if origin is typing.Annotated:
            yield from self.of(args[0], depth, (*declared.__metadata__, *notes))
        elif (inner := getattr(declared, "__supertype__", None) or getattr(declared, "__value__", None)) is not None:
            yield from self.of(inner, depth, notes)  # a NewType, or a type alias
        elif declared is None:
            yield None
        elif declared is Any or declared is object:
            yield from (1, *self._texts[:1], None)
        elif declared is str:
            yield from self._strings(notes)
        elif declared in (int, float):
            yield from _PLAIN[declared]
            yield from _numbers(declared, notes)
        elif origin is Literal:
            yield from args
        elif origin in (Union, types.UnionType):
            yield from _in_turn([self.of(arg, depth + 1) for arg in args])
        elif isinstance(declared, type) and issubclass(declared, enum.Enum):
            yield from declared
        elif declared in _PLAIN:
            yield from _PLAIN[declared]
        else:
            yield from self._composed(origin or declared, args, depth)

    def _strings(self, notes: tuple[Any, ...]) -> Iterator[str]:
        yield from self._texts
        for length in _noted(notes, _LENGTHS):
            yield from (text.ljust(int(length), text[:1] or "a")[: int(length)] for text in self._texts)

    def _composed(self, cls: Any, args: tuple[Any, ...], depth: int) -> Iterator[Any]:
        if not isinstance(cls, type):
            return
        if _has_fields(cls):
            yield from self._instances(cls, args, depth)
        elif issubclass(cls, tuple):
            if len(args) == 2 and args[1] is ...:
                yield from map(tuple, self._lists(args[0], depth))
            else:
                yield from map(tuple, _combined([self.of(arg, depth + 1) for arg in args]))
        elif issubclass(cls, collections.abc.Mapping):
            key, value = args or (str, Any)
            keys, values = self.of(key, depth + 1), self.of(value, depth + 1)
            yield from ({}, dict(zip(keys[:1], values, strict=False)), dict(zip(keys, values, strict=False)))
        elif issubclass(cls, collections.abc.Set):
            yield from map(
                frozenset if issubclass(cls, frozenset) else set, self._lists(args[0] if args else Any, depth)
            )
        elif issubclass(cls, collections.abc.Collection) and not issubclass(cls, (str, bytes, bytearray)):
            yield from self._lists(args[0] if args else Any, depth)

    def _lists(self, item: Any, depth: int) -> Iterator[list[Any]]:
        items = self.of(item, depth + 1)
        yield from (items[:1], [], items[:2]) if items else ([],)

    def _instances(self, cls: type, args: tuple[Any, ...], depth: int) -> Iterator[Any]:
        """Values of a class with fields: each field has one of its values, or its default if none can be made."""
        known = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
        hints = {name: bound(hint, known) for name, hint in typing.get_type_hints(cls, include_extras=True).items()}
        names = [name for name in _fields(cls) if name in hints]
        columns = {name: self.of(hints[name], depth + 1, _notes_of(cls, name)) for name in names}
        columns = {name: values for name, values in columns.items() if values}
        make: Callable[..., Any] = cls
        for values in _combined(list(columns.values())):
            try:
                yield make(**dict(zip(columns, values, strict=True)))
            except Exception:  # of a user's __post_init__ or validator, or because a field without a value is required
                continue


def _has_fields(cls: type) -> bool:
    return (
        dataclasses.is_dataclass(cls)
        or issubclass(cls, msgspec.Struct)
        or any(hasattr(cls, sign) for sign in ("_fields", "__total__", "model_fields"))
    )


def _fields(cls: Any) -> list[str]:
    """The names of the fields that a constructor takes."""
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls) if field.init]
    if issubclass(cls, msgspec.Struct):
        return list(cls.__struct_fields__)
    if hasattr(cls, "model_fields"):
        return list(cls.model_fields)
    return list(cls._fields if hasattr(cls, "_fields") else cls.__annotations__)


def _notes_of(cls: Any, name: str) -> tuple[Any, ...]:
    """The constraints of a field that are not in its annotation: `n: int = Field(gt=0)` of a pydantic model."""
    return tuple(cls.model_fields[name].metadata) if hasattr(cls, "model_fields") else ()


def _numbers(cls: type, notes: tuple[Any, ...]) -> Iterator[Any]:
    for number in _noted(notes, _BOUNDS):
        yield from (cls(number + more) for more in (0, 1, 2, -1))


def _noted(notes: tuple[Any, ...], names: tuple[str, ...]) -> Iterator[Any]:
    """The numbers under these names in constraints of msgspec, annotated_types or pydantic."""
    for note in notes:
        for one in (note, *getattr(note, "metadata", ())):
            for name in names:
                number = getattr(one, name, None)
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    yield number


def _is_closed(declared: Any) -> bool:
    """Whether the type itself lists its values, so that all of them are taken."""
    return get_origin(declared) is Literal or (isinstance(declared, type) and issubclass(declared, enum.Enum))


def _combined(columns: list[list[Any]]) -> Iterator[list[Any]]:
    """Rows of one value from each column, in which each value occurs. One empty row without columns; none if a column is empty."""
    if not all(columns):
        return
    for number in range(max(map(len, columns), default=1)):
        yield [column[number % len(column)] for column in columns]


def _in_turn(columns: list[list[Any]]) -> Iterator[Any]:
    for number in range(max(map(len, columns), default=0)):
        yield from (column[number] for column in columns if number < len(column))
