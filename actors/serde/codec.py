"""Typed values as JSON text, and back, exactly.

Promise: `Codec.encode` returns text from which `decode` restores an equal value of the same type, or raises
SerializationError. Nothing is changed silently. msgspec converts; `exactness` verifies, because msgspec alone would turn a
tuple into a list or a time zone into an offset. Pydantic converts types with constraints that msgspec does not know, and types
with a union of models.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ForwardRef, get_origin

import msgspec

from actors.errors import DefinitionError, SerializationError
from actors.serde.constraints import pydantic_strictness
from actors.serde.exactness import ATOMS, MAX_DEPTH, TooDeep, difference, same
from actors.serde.pydantic_models import Adapter, decode_model, encode_model, is_model, model_hides
from actors.serde.type_names import advice, said, shortened, type_name

_encoder = msgspec.json.Encoder(enc_hook=encode_model)

_PLAIN_TYPES: dict[str | None, Any] = {
    "Any": Any,
    **{plain.__name__: plain for plain in (bool, int, float, str, bytes)},
}


class Codec:
    """JSON conversion for one declared type. `dump` is quick and unchecked; `encode` also verifies the restored value.

    `atoms` are the immutable types whose values a reload restores unchanged, so that an object may stand for its text. `floats`:
    an int may be loaded as a float. `hidden`: equal texts do not prove equal values. `grows`: items added at the end only add to
    the text. `adapter` is set if pydantic converts.
    """

    __slots__ = (
        "_advice",
        "_read",
        "_write",
        "adapter",
        "atoms",
        "dump",
        "encode",
        "floats",
        "grows",
        "hidden",
        "name",
        "scalar",
        "type",
        "unordered",
    )

    def __init__(self, declared: Any, infos: Sequence[Any] = (), adapter: Adapter | None = None) -> None:
        self.type = declared
        self.adapter = adapter
        self.name = type_name(declared)
        if _PLAIN_TYPES.get(self.name, declared) is not declared:  # a user's class with the name of a plain type
            self.name = f"{declared.__module__}.{self.name}"
        self._read: Callable[[str], Any]
        self._write: Callable[[Any], bytes]
        if adapter is None:
            models = [info.cls for info in infos if isinstance(info, msgspec.inspect.CustomType)]
            self.unordered = bool(models) or any(
                isinstance(info, (msgspec.inspect.SetType, msgspec.inspect.FrozenSetType)) for info in infos
            )
            self.floats = bool(models) or any(isinstance(info, msgspec.inspect.FloatType) for info in infos)
            self.hidden = any(map(model_hides, models)) or any(map(_has_room_for_more, infos))
            self.grows = bool(infos) and _grows(infos[0])
            self._read = msgspec.json.Decoder(declared, dec_hook=decode_model).decode
            self._write = _encoder.encode
            self._advice = _ADVICE
        else:
            self.unordered = self.floats = self.hidden = True  # the cautious assumption
            self.grows = False
            self._read = adapter.decode
            self._write = adapter.encode
            self._advice = _ADVICE_FOR_VALIDATORS
        self.atoms = ATOMS - {datetime.datetime, datetime.time} - ({int} if self.floats else set())
        scalar = _SCALARS.get(declared) if isinstance(declared, type) or declared is None else None
        self.scalar = scalar is not None
        # Scalars skip the verification: their dump is exact by its own type check. This is the hot path of most handlers.
        self.dump: Callable[[Any], str] = scalar if scalar is not None else self._dump
        self.encode: Callable[[Any], str] = scalar if scalar is not None else self._encode

    def decode(self, text: str) -> Any:
        """The value in `text`. Raises SerializationError, which names the place, if the text does not fit the type."""
        try:
            return self._read(text)
        except Exception as error:  # also what a user's __post_init__ or validator may raise
            raise SerializationError(f"{shortened(text)} does not fit {self.name}: {said(error)}") from None

    def equal(self, one: str, other: str) -> bool:
        """Whether two texts hold the same value. Only sets may differ in text, because they have no order."""
        if one == other:
            return True
        if not self.unordered:
            return False
        try:
            return same(self.decode(one), self.decode(other))
        except (SerializationError, TooDeep):
            return False

    def verify(self, value: Any, text: str) -> Any:
        """The value that `text` restores. Raises SerializationError unless it is exactly `value`."""
        try:
            restored = self._read(text)
        except Exception as error:
            raise SerializationError(
                f"{shortened(value)} is not a valid {self.name}: {said(error)}. {advice(value, self._advice)}"
            ) from None
        try:
            if same(value, restored):
                return restored
            reason = difference(value, restored)
        except (TooDeep, RecursionError):
            reason = f"it is nested more than {MAX_DEPTH} levels deep"
        except Exception as error:  # a user's __eq__, or an attribute that was deleted
            reason = f"it cannot be compared with what was stored: {said(error)}"
        raise SerializationError(
            f"{shortened(value)} cannot be stored as {self.name}: {reason}. {advice(value, self._advice)}"
        )

    def _dump(self, value: Any) -> str:
        try:
            return self._write(value).decode()
        except Exception as error:
            raise SerializationError(
                f"{shortened(value)} cannot be stored as {self.name}: {said(error)}. {advice(value, self._advice)}"
            ) from None

    def _encode(self, value: Any) -> str:
        text = self._dump(value)
        self.verify(value, text)
        return text


_ADVICE = (
    "Use JSON types, bytes, datetime, date, timedelta, UUID, Decimal, Enum, set, tuple, dataclass, TypedDict, "
    "NamedTuple, msgspec.Struct or a pydantic model, and declare the exact type in the annotation."
)


_ADVICE_FOR_VALIDATORS = (
    "Pass a value of exactly this type. A validator must accept its own result unchanged, because it is applied again."
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


def plain_codec(name: str | None) -> Codec | None:
    """The codec whose type has this name, if it is a plain type: no other type has such a name."""
    declared = _PLAIN_TYPES.get(name)
    return codec_for(declared, "a type") if declared is not None else None


def codec_named(name: str | None) -> Codec | None:
    """The codec whose type has this name, if this process has seen exactly one: a journal keeps only the name."""
    plain = plain_codec(name)
    if plain is not None:
        return plain
    for known in (datetime.datetime, datetime.date, datetime.timedelta, uuid.UUID, decimal.Decimal):
        codec_for(known, "a type")
    found = [codec for codec in _CACHE.values() if codec.name == name]
    return found[0] if len(found) == 1 else None


_PLAIN = (type(None), bool, int, float, str, list, dict)


def value_codec(value: Any) -> Codec:
    """The codec for a value without a declared type: the codec of its class, unless it has a plain JSON type."""
    if type(value) in _PLAIN:
        return ANY
    try:
        return codec_for(type(value), "the value")
    except DefinitionError:
        return ANY  # refuses the value, and says which types it accepts


def _build(declared: Any, where: str) -> Codec:
    if isinstance(declared, (str, ForwardRef)):
        raise DefinitionError(
            f"{where}: the annotation {declared!r} cannot be resolved. Import or define the type first."
        )
    advice = _ADVICE
    try:
        try:
            strict = pydantic_strictness(declared)
        except ValueError as error:
            advice = ""
            raise TypeError(str(error)) from None
        if strict is not None:
            return Codec(declared, adapter=Adapter(declared, strict))
        infos = _contained(msgspec.inspect.type_info(declared))
        reason = next((found for info in infos if (found := _unsupported(info)) is not None), None)
        if reason is None:
            return Codec(declared, infos)
    except NameError as error:
        reason = f"an annotation inside {type_name(declared)} cannot be resolved ({error}): define the names in it at module level"
    except Exception as error:
        reason = f"values of type {type_name(declared)} cannot be stored: {said(error)}"
    raise DefinitionError(f"{where}: {reason}. {advice}".rstrip()) from None


def _dump_int(value: Any) -> str:
    if type(value) is int:
        try:
            return str(value)
        except ValueError as error:
            raise SerializationError(f"This int is too long to be stored as text: {error}.") from None
    raise _wrong(value, "int")


def _dump_str(value: Any) -> str:
    if type(value) is str:
        try:
            return _encoder.encode(value).decode()
        except UnicodeEncodeError as error:
            raise SerializationError(f"{shortened(value)} is not valid Unicode text: {error}.") from None
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
    if type(value) is int:  # typing lets an int pass for a float
        try:
            exact = float(value) == value
        except OverflowError:
            exact = False
        if not exact:
            raise SerializationError(f"{shortened(value)} is not exact as a float. Round it, or declare int.")
        value = float(value)
    if type(value) is float:
        if value - value == 0.0:  # neither infinite nor NaN, which JSON cannot express
            return repr(value)
        raise SerializationError(f"{value!r} has no JSON form. Store None, or a str, for a missing or infinite number.")
    raise _wrong(value, "float")


def _wrong(value: Any, expected: str) -> SerializationError:
    return SerializationError(
        f"Expected {expected}, got {shortened(value)} of type {type(value).__name__}. "
        + advice(value, "Convert the value, or change the annotation.")
    )


_SCALARS: dict[Any, Callable[[Any], str]] = {
    int: _dump_int,
    str: _dump_str,
    bool: _dump_bool,
    float: _dump_float,
    None: _dump_none,
    type(None): _dump_none,
}


def _contained(root: Any) -> list[Any]:
    """msgspec's description of a type, and of all types inside it."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        info = waiting.pop()
        if id(info) not in seen:
            seen.add(id(info))
            found.append(info)
            waiting.extend(reversed(_children(info)))
    return found


def _children(info: Any) -> list[Any]:
    found: list[Any] = []
    for name in info.__struct_fields__:
        value = getattr(info, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, msgspec.inspect.Field):
                found.append(item.type)
            elif isinstance(item, msgspec.inspect.Type):
                found.append(item)
    return found


_KEYS = "Any Str Int Float Bytes Enum Literal UUID Decimal DateTime Date Time TimeDelta"
_OPAQUE = (msgspec.inspect.RawType, msgspec.inspect.ExtType, msgspec.inspect.MemoryViewType)


def _unsupported(info: Any) -> str | None:
    """Why values of this type cannot be stored, or None if they can."""
    if isinstance(info, msgspec.inspect.CustomType) and not is_model(info.cls):
        return f"values of type {type_name(info.cls)} cannot be stored. A plain class becomes storable by making it a dataclass"
    if isinstance(info, _OPAQUE):
        return f"values of type {type(info).__name__.removesuffix('Type').lower()} cannot be stored; use bytes"
    if isinstance(info, msgspec.inspect.DictType):
        key = info.key_type
        for kind in key.types if isinstance(key, msgspec.inspect.UnionType) else (key,):
            plain = type(kind).__name__.removesuffix("Type")
            if plain not in _KEYS.split():
                cls = getattr(kind, "cls", None)
                shown = type_name(cls) if cls is not None else plain.lower()
                return (
                    f"keys of type {shown} cannot be stored, as the keys of a JSON object are text. Use a list of pairs"
                )
    return None


def _has_room_for_more(info: Any) -> bool:
    """Whether instances have a __dict__ that their JSON does not show."""
    if not isinstance(info, (msgspec.inspect.StructType, msgspec.inspect.NamedTupleType)):
        return False
    return any("__dict__" in base.__dict__ for base in (get_origin(info.cls) or info.cls).__mro__)


def _grows(info: Any) -> bool:
    """Whether the type is a list or dict whose items are validated independently."""
    growing = isinstance(info, (msgspec.inspect.ListType, msgspec.inspect.DictType))
    return growing and info.min_length is None and info.max_length is None


ANY = codec_for(Any, "Any")


def join(texts: list[str]) -> str:
    """A JSON array of values given as JSON text."""
    return "[" + ",".join(texts) + "]"


_raw_array = msgspec.json.Decoder(list[msgspec.Raw])


def split(array: str) -> list[str]:
    """The elements of a JSON array, each as JSON text. Raises SerializationError for any other text."""
    try:
        return [bytes(raw).decode() for raw in _raw_array.decode(array)]
    except msgspec.MsgspecError as error:
        raise SerializationError(f"{shortened(array)} is not a JSON array: {error}") from None
