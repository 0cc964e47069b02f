"""Typed values as JSON text, and back, exactly.

Promise: `Codec.encode` returns text from which `decode` restores an equal value of the same type, or it
raises SerializationError. Nothing is changed silently. msgspec does the conversion; this module adds the
check, because msgspec alone would turn a tuple into a list or a time zone into an offset.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import sys
import uuid
from collections.abc import Callable
from typing import Any, ForwardRef, TypeVar, get_args, get_origin

import msgspec

from actors.errors import DefinitionError, SerializationError

# Values that cannot change in place: the same object means the same value.
ATOMS = frozenset(
    {int, str, float, bool, type(None), bytes, datetime.datetime, datetime.date, datetime.time}
    | {datetime.timedelta, decimal.Decimal, uuid.UUID}
)
_EXACT_ATOMS = ATOMS - {datetime.datetime, datetime.time, float}


class Codec:
    """JSON conversion for one declared type. `dump` is quick and trusts; `encode` also proves the way back."""

    __slots__ = ("_decoder", "dump", "encode", "name", "type", "unordered")

    def __init__(self, declared: Any) -> None:
        self.type = declared
        self.name = type_name(declared)
        self.unordered = _holds_set(declared)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(declared, dec_hook=_decode_model)
        scalar = _SCALARS.get(declared) if isinstance(declared, type) or declared is None else None
        # Scalars skip the proof: their dump is exact by its own type check. This is the hot path of most handlers.
        self.dump: Callable[[Any], str] = scalar if scalar is not None else self._dump
        self.encode: Callable[[Any], str] = scalar if scalar is not None else self._encode

    def decode(self, text: str) -> Any:
        """The value in `text`. Raises SerializationError, which names the place, if it does not fit the type."""
        try:
            return self._decoder.decode(text)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise SerializationError(f"{_short(text)} does not fit {self.name}: {error}") from None

    def equal(self, one: str, other: str) -> bool:
        """Whether two texts hold the same value. Only sets may differ in text: their order is not part of it."""
        return one == other or (self.unordered and bool(self.decode(one) == self.decode(other)))

    def verify(self, value: Any, text: str) -> None:
        """Raise SerializationError unless `text` restores `value` exactly."""
        try:
            restored = self._decoder.decode(text)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise SerializationError(f"{_short(value)} is not a valid {self.name}: {error}. {_ADVICE}") from None
        if not _same(value, restored):
            raise SerializationError(
                f"{_short(value)} ({type(value).__name__}) would come back as {_short(restored)} "
                f"({type(restored).__name__}) when stored as {self.name}. {_ADVICE}"
            )

    def _dump(self, value: Any) -> str:
        try:
            return _encoder.encode(value).decode()
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise SerializationError(f"{_short(value)} cannot be stored as {self.name}: {error}. {_ADVICE}") from None

    def _encode(self, value: Any) -> str:
        text = self._dump(value)
        self.verify(value, text)
        return text


_ADVICE = (
    "Use JSON types, bytes, datetime, date, timedelta, UUID, Decimal, Enum, set, tuple, dataclass, TypedDict, "
    "NamedTuple, msgspec.Struct or a pydantic model, and declare the exact type in the annotation."
)


def codec_for(declared: Any, where: str) -> Codec:
    """The codec of a type annotation. Raises DefinitionError, naming `where`, if values of it cannot be stored."""
    try:
        cached = _CACHE.get(declared)
    except TypeError:  # an unhashable annotation, such as Annotated[..., a list]
        return _build(declared, where)
    if cached is None:
        cached = _CACHE[declared] = _build(declared, where)
    return cached


_CACHE: dict[Any, Codec] = {}


def _build(declared: Any, where: str) -> Codec:
    if isinstance(declared, (str, ForwardRef, TypeVar)):
        raise DefinitionError(
            f"{where}: the annotation {declared!r} cannot be resolved. Import or define the type first."
        )
    try:
        unsupported = _unsupported(msgspec.inspect.type_info(declared), set())
        if unsupported is None:
            return Codec(declared)
    except (TypeError, NameError, RecursionError) as error:
        raise DefinitionError(
            f"{where}: values of type {type_name(declared)} cannot be stored: {error}. {_ADVICE}"
        ) from None
    raise DefinitionError(
        f"{where}: values of type {type_name(unsupported)} cannot be stored. {_ADVICE} "
        "A plain class becomes storable by making it a dataclass."
    )


def _dump_int(value: Any) -> str:
    if type(value) is int:
        try:
            return int.__repr__(value)
        except ValueError as error:
            raise SerializationError(f"This int is too long to be stored as text: {error}.") from None
    raise _wrong(value, "int")


def _dump_str(value: Any) -> str:
    if type(value) is str:
        try:
            return _encoder.encode(value).decode()
        except UnicodeEncodeError as error:
            raise SerializationError(f"{_short(value)} is not valid Unicode text: {error}.") from None
    raise _wrong(value, "str")


def _dump_bool(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise _wrong(value, "bool")


def _dump_none(value: Any) -> str:
    if value is None:
        return "null"
    raise _wrong(value, "None")


def _dump_float(value: Any) -> str:
    if type(value) is float or (type(value) is int and float(value) == value):  # typing lets an int pass for a float
        value = float(value)
        if value - value == 0.0:  # neither infinite nor NaN: JSON has no text for those
            return repr(value)
        raise SerializationError(f"{value!r} has no JSON form. Store None, or a str, for a missing or infinite number.")
    raise _wrong(value, "float")


def _wrong(value: Any, expected: str) -> SerializationError:
    return SerializationError(
        f"Expected {expected}, got {_short(value)} of type {type(value).__name__}. Convert the value, or change the annotation."
    )


_SCALARS: dict[Any, Callable[[Any], str]] = {
    int: _dump_int,
    str: _dump_str,
    bool: _dump_bool,
    float: _dump_float,
    None: _dump_none,
    type(None): _dump_none,
}


def _encode_model(value: Any) -> Any:
    """msgspec asks here for what it does not know: pydantic models, if pydantic is in use at all."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", round_trip=True)
    raise TypeError(f"values of type {type(value).__name__} are not supported")


def _decode_model(declared: type, value: Any) -> Any:
    if _is_model(declared):
        # As JSON, so that a strict model accepts the text forms of dates and the like.
        return declared.model_validate_json(msgspec.json.encode(value))  # type: ignore[attr-defined]
    raise TypeError(f"values of type {type_name(declared)} are not supported")


def _is_model(declared: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(declared, type) and issubclass(declared, pydantic.BaseModel)


_encoder = msgspec.json.Encoder(enc_hook=_encode_model)


def _children(info: Any) -> list[Any]:
    """The type infos directly inside one of msgspec's type infos."""
    if not isinstance(info, msgspec.Struct):
        return []
    found: list[Any] = []
    for name in info.__struct_fields__:
        value = getattr(info, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, msgspec.inspect.Field):
                found.append(item.type)
            elif isinstance(item, msgspec.inspect.Type):
                found.append(item)
    return found


def _unsupported(info: Any, seen: set[int]) -> Any:
    """The first type inside `info` that nobody can convert, or None."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        return None if _is_model(info.cls) else info.cls
    if isinstance(info, (msgspec.inspect.RawType, msgspec.inspect.ExtType)):
        return type(info)
    return next((bad for child in _children(info) if (bad := _unsupported(child, seen)) is not None), None)


def _holds_set(declared: Any) -> bool:
    seen: set[int] = set()

    def look(info: Any) -> bool:
        if id(info) in seen:
            return False
        seen.add(id(info))
        sets = (msgspec.inspect.SetType, msgspec.inspect.FrozenSetType, msgspec.inspect.CustomType)
        return isinstance(info, sets) or any(map(look, _children(info)))

    return look(msgspec.inspect.type_info(declared))


def _same(value: Any, restored: Any) -> bool:
    """Equal, and of the same types all the way down. An int may stand for an equal float, as in typing."""
    kind = type(value)
    if kind is not type(restored):
        return kind is int and type(restored) is float and value == restored
    if kind in _EXACT_ATOMS:
        return bool(value == restored)
    if kind is float:
        return bool(value == restored)
    if kind is datetime.datetime or kind is datetime.time:
        # An equal instant is not enough: a named zone would come back as a bare offset and lose its rules.
        zone = value.tzinfo
        fixed = zone is None or type(zone) is datetime.timezone or zone == datetime.UTC
        return bool(value == restored and fixed and value.fold == restored.fold)
    if kind is list or kind is tuple:
        return len(value) == len(restored) and all(map(_same, value, restored))
    if kind is dict:
        return list(value) == list(restored) and all(
            _same(one, other) and _same(value[one], restored[other]) for one, other in zip(value, restored, strict=True)
        )
    if kind is set or kind is frozenset:
        return bool(value == restored) and {type(v) for v in value} == {type(v) for v in restored}
    if isinstance(value, enum.Enum):
        return value is restored
    if isinstance(value, tuple):  # NamedTuple
        return len(value) == len(restored) and all(map(_same, value, restored))
    if isinstance(value, msgspec.Struct):
        return all(_same(getattr(value, name), getattr(restored, name)) for name in value.__struct_fields__)
    if dataclasses.is_dataclass(value):
        return _same_attributes(value, restored, {field.name for field in dataclasses.fields(value)})
    return bool(value == restored)


def _same_attributes(value: Any, restored: Any, names: set[str]) -> bool:
    extra = set(getattr(value, "__dict__", ())) - names  # set by hand on an instance: would be lost
    return not extra and all(_same(getattr(value, name), getattr(restored, name)) for name in names)


def type_name(declared: Any) -> str:
    """A type as a person would write it."""
    if declared is None or declared is type(None):
        return "None"
    if get_origin(declared) is None and isinstance(declared, type):
        return declared.__qualname__
    if get_args(declared) or isinstance(declared, str):
        return str(declared).replace("typing.", "")
    return str(getattr(declared, "__name__", declared))


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 120 else text[:117] + "..."


ANY = codec_for(Any, "Any")


def copied(codec: Codec, value: Any) -> Any:
    """A copy of `value` that shares nothing changeable with it."""
    return value if type(value) in ATOMS else codec.decode(codec.encode(value))


def join(texts: list[str]) -> str:
    """A JSON array of values that are JSON text already."""
    return "[" + ",".join(texts) + "]"


_raw_array = msgspec.json.Decoder(list[msgspec.Raw])


def split(array: str) -> list[str]:
    """The elements of a JSON array, each as JSON text."""
    return [bytes(raw).decode() for raw in _raw_array.decode(array)]


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
