"""Typed values as JSON text, and back, exactly.

Promise: `Codec.encode` returns text from which `decode` restores an equal value of the same type, or it
raises SerializationError. Nothing is changed silently. msgspec does the conversion; this module adds the
check, because msgspec alone would turn a tuple into a list or a time zone into an offset.

Two things count as the same: an int where a float is declared (typing lets it pass; it comes back as a float), and
a fixed UTC offset of pydantic's own class (it comes back as datetime.timezone, inside a model the other way round).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import reprlib
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

import msgspec

from actors.errors import DefinitionError, SerializationError

# Values that cannot change in place: the same object means the same value.
ATOMS = frozenset(
    {int, str, float, bool, type(None), bytes, datetime.datetime, datetime.date, datetime.time}
    | {datetime.timedelta, decimal.Decimal, uuid.UUID}
)
# Equal and of the same type is all there is to say about these. (msgspec keeps the sign of -0.0, and refuses NaN.)
_EXACT_ATOMS = ATOMS - {datetime.datetime, datetime.time, decimal.Decimal}

# Far below the interpreter's recursion limit: what was stored from a shallow stack must load on a deep one.
MAX_DEPTH = 200


class Codec:
    """JSON conversion for one declared type. `dump` is quick and trusts; `encode` also proves the way back.

    `atoms` are the immutable types whose values a reload gives back as they are, so that the very object may stand for
    its text. `floats` tells that an int may be loaded as a float, `hidden` that equal texts do not prove equal values.
    """

    __slots__ = ("_decoder", "atoms", "dump", "encode", "floats", "hidden", "name", "scalar", "type", "unordered")

    def __init__(self, declared: Any) -> None:
        self.type = declared
        self.name = type_name(declared)
        infos = _contained(msgspec.inspect.type_info(declared))
        models = [info.cls for info in infos if isinstance(info, msgspec.inspect.CustomType)]
        self.unordered = bool(models) or any(
            isinstance(info, (msgspec.inspect.SetType, msgspec.inspect.FrozenSetType)) for info in infos
        )
        self.floats = bool(models) or any(isinstance(info, msgspec.inspect.FloatType) for info in infos)
        self.hidden = any(map(_model_hides, models)) or any(map(_has_room_for_more, infos))
        self.atoms = ATOMS - {datetime.datetime, datetime.time} - ({int} if self.floats else set())
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(declared, dec_hook=_decode_model)
        scalar = _SCALARS.get(declared) if isinstance(declared, type) or declared is None else None
        self.scalar = scalar is not None
        # Scalars skip the proof: their dump is exact by its own type check. This is the hot path of most handlers.
        self.dump: Callable[[Any], str] = scalar if scalar is not None else self._dump
        self.encode: Callable[[Any], str] = scalar if scalar is not None else self._encode

    def decode(self, text: str) -> Any:
        """The value in `text`. Raises SerializationError, which names the place, if it does not fit the type."""
        try:
            return self._decoder.decode(text)
        except Exception as error:  # also what a user's __post_init__ or validator may raise
            raise SerializationError(f"{shortened(text)} does not fit {self.name}: {_said(error)}") from None

    def equal(self, one: str, other: str) -> bool:
        """Whether two texts hold the same value. Only sets may differ in text: their order is not part of it."""
        if one == other:
            return True
        if not self.unordered:
            return False
        try:
            return _same(self.decode(one), self.decode(other))
        except (SerializationError, _TooDeep):
            return False

    def verify(self, value: Any, text: str) -> Any:
        """What `text` restores. Raises SerializationError unless that is `value`, exactly."""
        try:
            restored = self._decoder.decode(text)
        except Exception as error:
            raise SerializationError(
                f"{shortened(value)} is not a valid {self.name}: {_said(error)}. {_ADVICE}"
            ) from None
        try:
            if _same(value, restored):
                return restored
            reason = _difference(value, restored)
        except (_TooDeep, RecursionError):
            reason = f"it is nested more than {MAX_DEPTH} levels deep"
        except Exception as error:  # a user's __eq__, or an attribute that was deleted
            reason = f"it cannot be compared with what was stored: {_said(error)}"
        raise SerializationError(f"{shortened(value)} cannot be stored as {self.name}: {reason}. {_ADVICE}")

    def _dump(self, value: Any) -> str:
        try:
            return _encoder.encode(value).decode()
        except Exception as error:
            raise SerializationError(
                f"{shortened(value)} cannot be stored as {self.name}: {_said(error)}. {_ADVICE}"
            ) from None

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


def codec_named(name: str | None) -> Codec | None:
    """The codec whose type has this name, if this process has met exactly one: a journal keeps the name only."""
    for plain in (
        bool,
        int,
        float,
        str,
        bytes,
        datetime.datetime,
        datetime.date,
        datetime.timedelta,
        uuid.UUID,
        decimal.Decimal,
    ):
        codec_for(plain, "a type")
    found = [codec for codec in _CACHE.values() if codec.name == name]
    return found[0] if len(found) == 1 else None


_PLAIN = (type(None), bool, int, float, str, list, dict)


def value_codec(value: Any) -> Codec:
    """The codec for a value nobody declared a type for: that of its own class, unless any JSON reader knows it."""
    if type(value) in _PLAIN:
        return ANY
    try:
        return codec_for(type(value), "the value")
    except DefinitionError:
        return ANY  # which refuses it, and says what it accepts


def _build(declared: Any, where: str) -> Codec:
    if isinstance(declared, (str, ForwardRef)):
        raise DefinitionError(
            f"{where}: the annotation {declared!r} cannot be resolved. Import or define the type first."
        )
    try:
        infos = _contained(msgspec.inspect.type_info(declared))
        reason = next((found for info in infos if (found := _unsupported(info)) is not None), None)
        if reason is None:
            return Codec(declared)
    except NameError as error:
        reason = f"an annotation inside {type_name(declared)} cannot be resolved ({error}): define what it names at module level"
    except Exception as error:
        reason = f"values of type {type_name(declared)} cannot be stored: {_said(error)}"
    raise DefinitionError(f"{where}: {reason}. {_ADVICE}") from None


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
        if value - value == 0.0:  # neither infinite nor NaN: JSON has no text for those
            return repr(value)
        raise SerializationError(f"{value!r} has no JSON form. Store None, or a str, for a missing or infinite number.")
    raise _wrong(value, "float")


def _wrong(value: Any, expected: str) -> SerializationError:
    return SerializationError(
        f"Expected {expected}, got {shortened(value)} of type {type(value).__name__}. Convert the value, or change the annotation."
    )


_SCALARS: dict[Any, Callable[[Any], str]] = {
    int: _dump_int,
    str: _dump_str,
    bool: _dump_bool,
    float: _dump_float,
    None: _dump_none,
    type(None): _dump_none,
}


# --- pydantic, if it is in use at all -----------------------------------------------------------------------------------


def _encode_model(value: Any) -> Any:
    """msgspec asks here for what it does not know. Models are written by field name, whatever their aliases."""
    if _is_model(type(value)):
        return value.model_dump(mode="json", round_trip=True, by_alias=False, warnings=False)
    raise TypeError(f"values of type {type(value).__name__} are not supported")


def _decode_model(declared: type, value: Any) -> Any:
    if not _is_model(declared):
        raise TypeError(f"values of type {type_name(declared)} are not supported")
    pydantic = sys.modules["pydantic"]
    # Both spellings: ours has field names, what arrives from outside may have aliases. Older releases know only the latter.
    names = {"by_alias": True, "by_name": True} if _release(pydantic) >= (2, 11) else {}
    try:
        # As JSON, so that a strict model accepts the text forms of dates and the like.
        return declared.model_validate_json(msgspec.json.encode(value), **names)  # type: ignore[attr-defined]
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise ValueError(
            "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".lstrip(": ") for problem in problems)
        ) from None


def _is_model(declared: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(declared, type) and issubclass(declared, pydantic.BaseModel)


def _release(pydantic: Any) -> tuple[int, int]:
    major, minor = pydantic.VERSION.split(".")[:2]
    return int(major), int(minor)


def _model_hides(declared: Any) -> bool:
    """Whether the model, or one inside it, holds what its JSON does not show."""
    seen: set[Any] = set()

    def look(hint: Any) -> bool:
        if not _is_model(hint):
            return any(map(look, get_args(hint)))
        if hint in seen:
            return False
        seen.add(hint)
        fields = hint.model_fields.values()
        return bool(hint.__private_attributes__) or any(f.exclude or look(f.annotation) for f in fields)

    return look(declared)


_encoder = msgspec.json.Encoder(enc_hook=_encode_model)


# --- what a declared type contains ----------------------------------------------------------------------------------------


def _contained(root: Any) -> list[Any]:
    """msgspec's description of a type, and those of all types inside it."""
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
    """Why no value of this type can be stored, or None."""
    if isinstance(info, msgspec.inspect.CustomType) and not _is_model(info.cls):
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


# --- the proof ------------------------------------------------------------------------------------------------------------


class _TooDeep(Exception):
    pass


def _same(value: Any, restored: Any, depth: int = 0) -> bool:
    """Equal, and of the same types all the way down, except for what the module's docstring names."""
    kind = type(value)
    if kind is not type(restored):
        return kind is int and type(restored) is float and value == restored
    if kind in _EXACT_ATOMS:
        return bool(value == restored)
    if depth >= MAX_DEPTH:
        raise _TooDeep
    compare = _COMPARISONS.get(kind)
    if compare is None:
        compare = _COMPARISONS[kind] = _comparison(kind)
    return compare(value, restored, depth + 1)


def _same_items(value: Any, restored: Any, depth: int) -> bool:
    if len(value) != len(restored):
        return False
    kinds = list(map(type, value))
    if _EXACT_ATOMS.issuperset(kinds) and kinds == list(map(type, restored)):
        return bool(value == restored)  # most containers, compared without a call for each item
    return all(map(_same, value, restored, itertools.repeat(depth)))


def _same_pairs(value: dict[Any, Any], restored: dict[Any, Any], depth: int) -> bool:
    return _same_items(list(value), list(restored), depth) and _same_items(
        list(value.values()), list(restored.values()), depth
    )


def _same_members(value: Any, restored: Any, depth: int) -> bool:
    members = {member: member for member in restored}
    return len(value) == len(members) and all(
        member in members and _same(member, members[member], depth) for member in value
    )


def _same_moment(value: Any, restored: Any, depth: int) -> bool:
    # An equal instant is not enough: a named zone would come back as a bare offset and lose its rules.
    return bool(value == restored and value.fold == restored.fold) and _same_zone(value.tzinfo, restored.tzinfo)


def _same_zone(zone: Any, restored: Any) -> bool:
    if zone is restored:
        return True
    if zone is None or restored is None or zone.utcoffset(None) != restored.utcoffset(None):
        return False
    if type(zone) is datetime.timezone:  # which may have been given a name, such as "CET"
        return bool(zone.tzname(None) == datetime.timezone(zone.utcoffset(None)).tzname(None))
    return type(zone).__name__ == "TzInfo" and type(zone).__module__.startswith("pydantic_core")


def _same_decimal(value: Any, restored: Any, depth: int) -> bool:
    return bool(value.as_tuple() == restored.as_tuple())  # 1.0 is not 1.00 here, and a NaN is a NaN


_COMPARISONS: dict[type, Callable[[Any, Any, int], bool]] = {
    list: _same_items,
    tuple: _same_items,
    dict: _same_pairs,
    set: _same_members,
    frozenset: _same_members,
    datetime.datetime: _same_moment,
    datetime.time: _same_moment,
    decimal.Decimal: _same_decimal,
}


def _comparison(kind: type) -> Callable[[Any, Any, int], bool]:
    """How two instances of a user's class are compared: by all they hold, whatever their own __eq__ says."""
    if issubclass(kind, enum.Enum):
        return lambda value, restored, depth: value is restored
    if issubclass(kind, tuple):  # NamedTuple
        return lambda value, restored, depth: (
            _same_items(tuple(value), tuple(restored), depth) and not _extra(value, ())
        )
    if _is_model(kind):
        return _same_models
    names = _declared(kind)
    if names is None:
        return lambda value, restored, depth: bool(value == restored)
    return lambda value, restored, depth: (
        not _extra(value, names) and all(_same(getattr(value, name), getattr(restored, name), depth) for name in names)
    )


def _declared(kind: Any) -> tuple[str, ...] | None:
    """The names of the attributes that make up an instance, or None if only its own == can tell."""
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(attribute.name for attribute in kind.__attrs_attrs__)
    return tuple(kind.model_fields) if _is_model(kind) else None


def _same_models(value: Any, restored: Any, depth: int) -> bool:
    names = type(value).model_fields
    return (
        _same({name: value.__dict__[name] for name in names}, {name: restored.__dict__[name] for name in names}, depth)
        and _same(value.__pydantic_extra__ or {}, restored.__pydantic_extra__ or {}, depth)
        and _same(value.__pydantic_private__ or {}, restored.__pydantic_private__ or {}, depth)  # not in its JSON
    )


def _extra(value: Any, names: Iterable[str]) -> set[str]:
    """Attributes set on this one instance, beyond what its class declares: they would be lost."""
    return (
        set(getattr(value, "__dict__", ())).difference(names).union(getattr(value, "__pydantic_private__", None) or ())
    )


def _difference(value: Any, restored: Any) -> str:
    """Where and how `restored` differs from `value`, for a message."""
    place, found = "", True
    while found:
        found = False
        for step, one, other in _parts(value, restored):
            if not _same(one, other):
                place, value, restored, found = place + step, one, other, True
                break
    subject = f"{shortened(value)} at {place.lstrip('.')!r}" if place else "it"
    if type(value) is type(restored) and (names := _extra(value, _declared(type(value)) or ())):
        return f"{subject} has attributes that are no fields of its class and would be lost: {', '.join(sorted(names))}"
    reason = f"{subject} ({type(value).__name__}) would come back as {shortened(restored)} ({type(restored).__name__})"
    if isinstance(value, (datetime.datetime, datetime.time)) and (value.fold or value.tzinfo is not None):
        reason += ". Only fixed offsets and unambiguous times are kept: use value.astimezone(timezone.utc)"
    return reason


def _parts(value: Any, restored: Any) -> Iterable[tuple[str, Any, Any]]:
    if type(value) is not type(restored):
        return ()
    if isinstance(value, dict):
        same_keys = list(value) == list(restored)
        return [(f"[{shortened(key)}]", item, restored[key]) for key, item in value.items()] if same_keys else ()
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", one, other) for i, (one, other) in enumerate(zip(value, restored, strict=False))]
    names = _declared(type(value)) or ()
    return [(f".{name}", getattr(value, name), getattr(restored, name)) for name in names]


# --- names and texts ------------------------------------------------------------------------------------------------------


def type_name(declared: Any) -> str:
    """A type as a person would write it, without modules: the same wherever it was imported from."""
    if declared is None or declared is type(None):
        return "None"
    if declared is ...:
        return "..."
    origin, args = get_origin(declared), get_args(declared)
    if origin is None:
        if isinstance(declared, (str, ForwardRef)):
            return repr(declared)
        return str(getattr(declared, "__qualname__", getattr(declared, "__name__", declared))).removeprefix("typing.")
    if origin is Annotated:
        return f"Annotated[{type_name(args[0])}, {', '.join(map(repr, declared.__metadata__))}]"
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is Union or type(declared).__name__ == "UnionType":
        return " | ".join(map(type_name, args))
    inner = ", ".join(", ".join(map(type_name, arg)) if isinstance(arg, list) else type_name(arg) for arg in args)
    return f"{type_name(origin)}[{inner or '()'}]"


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 100
_repr.maxlist = _repr.maxtuple = _repr.maxset = _repr.maxdict = 8
_repr.maxlevel = 4


def shortened(value: Any) -> str:
    """The repr of a value for a message: short, and never an error."""
    try:
        text = _repr.repr(value)
    except Exception:  # a user's __repr__
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 160 else text[:157] + "..."


def _said(error: BaseException) -> str:
    """What an exception says, with its class when that is not obvious."""
    try:
        text = str(error).rstrip(".")
    except Exception:
        text = ""
    if isinstance(error, (msgspec.MsgspecError, ValueError, TypeError, RecursionError)) and text:
        return text
    return f"{type(error).__name__}: {text}"


ANY = codec_for(Any, "Any")


def join(texts: list[str]) -> str:
    """A JSON array of values that are JSON text already."""
    return "[" + ",".join(texts) + "]"


_raw_array = msgspec.json.Decoder(list[msgspec.Raw])


def split(array: str) -> list[str]:
    """The elements of a JSON array, each as JSON text. Raises SerializationError if it is none."""
    try:
        return [bytes(raw).decode() for raw in _raw_array.decode(array)]
    except msgspec.MsgspecError as error:
        raise SerializationError(f"{shortened(array)} is not a JSON array: {error}") from None
