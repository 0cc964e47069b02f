"""Untyped values as msgpack, and back, exactly.

The results of `ctx.run` often have no declared type. msgpack describes itself, so with a few extension
types such a value comes back as what it was: bytes stay bytes, a tuple stays a tuple. What it cannot
describe is refused when it is written.
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


def pack(value: Any) -> bytes:
    """`value` as msgpack. Raises SerializationError for what would not come back the same."""
    try:
        return bytes(msgpack.packb(value, strict_types=True, default=_extension))
    except SerializationError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        raise SerializationError(f"This value cannot be stored: {error}. {_ADVICE}") from None


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=_restore, strict_map_key=False)


_ADVICE = (
    "Without a declared type a step may return JSON types, bytes, tuple, set, datetime, date, time, timedelta, UUID and "
    "Decimal. For anything else annotate the function's return type, or pass type= to ctx.run."
)


def _extension(value: Any) -> msgpack.ExtType:
    kind = type(value)
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, pack(list(value)))
    if kind is set:
        return msgpack.ExtType(_SET, pack(list(value)))
    if kind is frozenset:
        return msgpack.ExtType(_FROZENSET, pack(list(value)))
    if kind is datetime.datetime or kind is datetime.time:
        zone = value.tzinfo
        if (zone is None or type(zone) is datetime.timezone) and value.fold == 0:
            return msgpack.ExtType(_DATETIME if kind is datetime.datetime else _TIME, value.isoformat().encode())
        raise SerializationError(
            f"{value!r} has a named time zone, which would be lost. Use value.astimezone(timezone.utc)."
        )
    writer = _WRITERS.get(kind)
    if writer is not None:
        code, write = writer
        return msgpack.ExtType(code, write(value))
    raise SerializationError(f"A value of type {kind.__name__} cannot be stored without a declared type. {_ADVICE}")


_WRITERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    datetime.date: (_DATE, lambda v: v.isoformat().encode()),
    datetime.timedelta: (_TIMEDELTA, lambda v: pack([v.days, v.seconds, v.microseconds])),
    uuid.UUID: (_UUID, lambda v: v.bytes),
    decimal.Decimal: (_DECIMAL, lambda v: str(v).encode()),
    int: (_INT, lambda v: v.to_bytes(v.bit_length() // 8 + 1, "big", signed=True)),  # beyond 64 bits
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple(unpack(data)),
    _SET: lambda data: set(unpack(data)),
    _FROZENSET: lambda data: frozenset(unpack(data)),
    _DATETIME: lambda data: datetime.datetime.fromisoformat(data.decode()),
    _DATE: lambda data: datetime.date.fromisoformat(data.decode()),
    _TIME: lambda data: datetime.time.fromisoformat(data.decode()),
    _TIMEDELTA: lambda data: datetime.timedelta(*unpack(data)),
    _UUID: lambda data: uuid.UUID(bytes=data),
    _DECIMAL: lambda data: decimal.Decimal(data.decode()),
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
}


def _restore(code: int, data: bytes) -> Any:
    return _READERS[code](data)
