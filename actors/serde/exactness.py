"""Whether a value was restored exactly: equal, and of the same types all the way down.

Two differences are allowed: an int where a float is declared (typing accepts it; it is restored as a float), and a fixed
UTC offset of pydantic's own class (it is restored as datetime.timezone; inside a model the reverse).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from actors.serde.pydantic_models import is_model
from actors.serde.type_names import shortened

# Types whose values cannot change in place: the same object means the same value.
ATOMS = frozenset(
    {int, str, float, bool, type(None), bytes, datetime.datetime, datetime.date, datetime.time}
    | {datetime.timedelta, decimal.Decimal, uuid.UUID}
)
# For these types, equal and of the same type is enough. (msgspec keeps the sign of -0.0, and refuses NaN.)
_EXACT_ATOMS = ATOMS - {datetime.datetime, datetime.time, decimal.Decimal}

# Far below the interpreter's recursion limit: a value stored on a shallow stack must load on a deep stack.
MAX_DEPTH = 200


class TooDeep(Exception):
    """The value is nested more than MAX_DEPTH levels deep, or contains itself."""


def same(value: Any, restored: Any, depth: int = 0) -> bool:
    """Whether the values are equal, and of the same types all the way down, except as the module's docstring allows."""
    kind = type(value)
    if kind is not type(restored):
        return kind is int and type(restored) is float and value == restored
    if kind in _EXACT_ATOMS:
        return bool(value == restored)
    if depth >= MAX_DEPTH:
        raise TooDeep
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
    return all(map(same, value, restored, itertools.repeat(depth)))


def _same_pairs(value: dict[Any, Any], restored: dict[Any, Any], depth: int) -> bool:
    return _same_items(list(value), list(restored), depth) and _same_items(
        list(value.values()), list(restored.values()), depth
    )


def _same_members(value: Any, restored: Any, depth: int) -> bool:
    members = {member: member for member in restored}
    return len(value) == len(members) and all(
        member in members and same(member, members[member], depth) for member in value
    )


def _same_moment(value: Any, restored: Any, depth: int) -> bool:
    # An equal instant is not enough: a named zone would come back as a bare offset and lose its rules.
    return bool(value == restored and value.fold == restored.fold) and _same_zone(value.tzinfo, restored.tzinfo)


def _same_zone(zone: Any, restored: Any) -> bool:
    if zone is restored:
        return True
    if zone is None or restored is None or zone.utcoffset(None) != restored.utcoffset(None):
        return False
    if type(zone) is datetime.timezone:  # which may have a name, such as "CET"
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
    """How to compare two instances of a user's class: by all of their attributes, whatever their __eq__ does."""
    if issubclass(kind, enum.Enum):
        return lambda value, restored, depth: value is restored
    if issubclass(kind, tuple):  # NamedTuple
        return lambda value, restored, depth: (
            _same_items(tuple(value), tuple(restored), depth) and not _extra(value, ())
        )
    if is_model(kind):
        return _same_models
    names = _declared(kind)
    if names is None:
        return lambda value, restored, depth: bool(value == restored)
    return lambda value, restored, depth: (
        not _extra(value, names) and all(same(getattr(value, name), getattr(restored, name), depth) for name in names)
    )


def _declared(kind: Any) -> tuple[str, ...] | None:
    """The names of the attributes that make up an instance, or None if only its == can compare it."""
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(attribute.name for attribute in kind.__attrs_attrs__)
    return tuple(kind.model_fields) if is_model(kind) else None


def _same_models(value: Any, restored: Any, depth: int) -> bool:
    names = type(value).model_fields
    return (
        same({name: value.__dict__[name] for name in names}, {name: restored.__dict__[name] for name in names}, depth)
        and same(value.__pydantic_extra__ or {}, restored.__pydantic_extra__ or {}, depth)
        and same(value.__pydantic_private__ or {}, restored.__pydantic_private__ or {}, depth)  # not in its JSON
    )


def _extra(value: Any, names: Iterable[str]) -> set[str]:
    """Attributes of an instance that its class does not declare: they would be lost."""
    return (
        set(getattr(value, "__dict__", ())).difference(names).union(getattr(value, "__pydantic_private__", None) or ())
    )


def difference(value: Any, restored: Any) -> str:
    """Where and how `restored` differs from `value`, for a message."""
    place, found = "", True
    while found:
        found = False
        for step, one, other in _parts(value, restored):
            if not same(one, other):
                place, value, restored, found = place + step, one, other, True
                break
    subject = f"{shortened(value)} at {place.lstrip('.')!r}" if place else "it"
    if hasattr(value, "get_secret_value"):
        return (
            f"{subject} writes a mask instead of its secret. Declare str, keep the secret elsewhere, or give the model a "
            "field_serializer that writes it"
        )
    if type(value) is type(restored) and (names := _extra(value, _declared(type(value)) or ())):
        return (
            f"{subject} has attributes that are not fields of its class and would be lost: {', '.join(sorted(names))}"
        )
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
