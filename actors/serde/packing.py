"""Untyped values as msgpack, and back, exactly.

The results of `ctx.run` often have no declared type. msgpack is self-describing, so with a few extension types such a
value is restored with its type: bytes stay bytes, a tuple stays a tuple. Other values are refused when they are written.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import msgpack

from actors.errors import SerializationError

_TUPLE, _SET, _FROZENSET, _DATETIME, _DATE, _TIMEDELTA, _UUID, _DECIMAL, _INT, _TIME = range(1, 11)

# Below the limits of msgpack and of the interpreter: a value packed on a shallow stack must unpack on a deep stack.
MAX_DEPTH = 200


def pack(value: Any) -> bytes:
    """`value` as msgpack. Raises SerializationError for a value that would not be restored exactly."""
    if type(value) not in _LEAVES:
        _check(value, 1)
    try:
        return _packed(value)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        raise SerializationError(f"This value cannot be stored: {error}. {_ADVICE}") from None


def unpack(data: bytes) -> Any:
    """The value in `data`. Raises SerializationError if `pack` did not write it."""
    try:
        return msgpack.unpackb(data, ext_hook=_restored, list_hook=_collected, strict_map_key=False)
    except Exception as error:
        raise SerializationError(f"The stored bytes are damaged: {type(error).__name__}: {error}") from None


_ADVICE = (
    "Without a declared type a step may return JSON types, bytes, tuple, set, frozenset, datetime, date, time, timedelta, "
    "UUID and Decimal. For anything else annotate the function's return type, or use ctx.step(type=...)."
)

_LEAVES = frozenset(
    {type(None), bool, int, float, str, bytes, datetime.date, datetime.timedelta, uuid.UUID, decimal.Decimal}
)


def _check(value: Any, depth: int) -> None:
    """Refuse values that msgpack would write but change: subclasses, bytearrays, its own extension types, named zones."""
    kind = type(value)
    if kind is datetime.datetime or kind is datetime.time:
        _check_zone(value)
        return
    if kind not in _CONTAINERS:
        raise SerializationError(f"A value of type {kind.__name__} cannot be stored without a declared type. {_ADVICE}")
    if depth > MAX_DEPTH:
        raise SerializationError(f"This value is nested more than {MAX_DEPTH} levels deep and cannot be stored.")
    for part in (value, value.values()) if kind is dict else (value,):
        if not _LEAVES.issuperset(map(type, part)):
            for item in part:
                if type(item) not in _LEAVES:
                    _check(item, depth + 1)


_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


def _check_zone(value: Any) -> None:
    zone = value.tzinfo
    if zone is None:
        return
    # A fixed offset may have a name, such as "CET".
    if type(zone) is datetime.timezone and zone.tzname(None) == datetime.timezone(zone.utcoffset(None)).tzname(None):
        return
    raise SerializationError(
        f"{value!r} has a named time zone, which would be lost. Use value.astimezone(timezone.utc)."
    )


def _packed(value: Any) -> bytes:
    data: Any = msgpack.packb(value, strict_types=True, default=_extension)
    return bytes(data)


def _extension(value: Any) -> Any:
    kind = type(value)
    if kind in _MARKS:
        # An array that begins with a mark, not an extension type with msgpack inside: the C decoder takes 40 KB of stack
        # for each call, so a few hundred nested ones would crash the process.
        return [_MARKS[kind], *value]
    code, write = _WRITERS[kind]
    return msgpack.ExtType(code, write(value))


def _moment(value: datetime.datetime | datetime.time) -> bytes:
    """The local time, a star for the second of two equal local times, and the UTC offset in microseconds, if there is one.

    `fromisoformat` would read an offset of less than a second as UTC.
    """
    zone = value.tzinfo
    offset = zone.utcoffset(None) if zone is not None else None
    text = value.replace(tzinfo=None).isoformat() + "*" * value.fold
    return (text if offset is None else f"{text}|{offset // datetime.timedelta(microseconds=1)}").encode()


def _restored_moment(kind: Any, data: bytes) -> Any:
    text, bar, offset = data.decode().partition("|")
    zone = datetime.timezone(datetime.timedelta(microseconds=int(offset))) if bar else None
    return kind.fromisoformat(text.rstrip("*")).replace(tzinfo=zone, fold=text.endswith("*"))


_MARKS: dict[type, msgpack.ExtType] = {
    tuple: msgpack.ExtType(_TUPLE, b""),
    set: msgpack.ExtType(_SET, b""),
    frozenset: msgpack.ExtType(_FROZENSET, b""),
}

_WRITERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    datetime.datetime: (_DATETIME, _moment),
    datetime.time: (_TIME, _moment),
    datetime.date: (_DATE, lambda v: v.isoformat().encode()),
    datetime.timedelta: (_TIMEDELTA, lambda v: f"{v.days} {v.seconds} {v.microseconds}".encode()),
    uuid.UUID: (_UUID, lambda v: v.bytes),
    decimal.Decimal: (_DECIMAL, lambda v: str(v).encode()),
    int: (_INT, lambda v: v.to_bytes(v.bit_length() // 8 + 1, "big", signed=True)),  # beyond 64 bits
}

# Reading a mark gives the type itself, which is unambiguous because types cannot be packed as values.
_READERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple,
    _SET: lambda data: set,
    _FROZENSET: lambda data: frozenset,
    _DATETIME: lambda data: _restored_moment(datetime.datetime, data),
    _DATE: lambda data: datetime.date.fromisoformat(data.decode()),
    _TIME: lambda data: _restored_moment(datetime.time, data),
    _TIMEDELTA: lambda data: datetime.timedelta(*map(int, data.split())),
    _UUID: lambda data: uuid.UUID(bytes=data),
    _DECIMAL: lambda data: decimal.Decimal(data.decode()),
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
}


def _restored(code: int, data: bytes) -> Any:
    return _READERS[code](data)


def _collected(items: list[Any]) -> Any:
    if items and type(items[0]) is type:
        kind: type = items.pop(0)
        return kind(items)
    return items
