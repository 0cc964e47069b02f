"""Values and calls as Python source, in the form that `ruff format` gives them.

Promise: what is written here is what `ruff format`, with its own settings, leaves as it is: 88 columns, double quotes, and one item a
line with a comma behind each where a line would be too long.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 88


@dataclass(frozen=True, slots=True)
class Source:
    """Source as it is: a name, for example."""

    text: str


@dataclass(frozen=True, slots=True)
class Invoked:
    """A call: `Run("mail", result=None)`. With `exploded`, each argument is on a line of its own."""

    name: str
    positional: Sequence[Any] = ()
    named: Sequence[tuple[str, Any]] = ()
    exploded: bool = False


def lines(value: Any, before: str = "", after: str = "", indent: int = 0) -> list[str]:
    """`before`, the value and `after`, on one line if that is not too long."""
    margin = " " * indent
    value = _as_call(value)
    flat = _flat(value)
    if flat is not None and len(f"{margin}{before}{flat}{after}") <= WIDTH:
        return [f"{margin}{before}{flat}{after}"]
    opening, closing, items = _parts(value)
    if not items:
        return [f"{margin}{before}{flat if flat is not None else opening + closing}{after}"]
    found = [f"{margin}{before}{opening}"]
    for name, item in items:
        found += lines(item, name, ",", indent + 4)
    return [*found, f"{margin}{closing}{after}"]


def _parts(value: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    """The brackets of a value that may stand on several lines, and what stands between them."""
    match value:
        case Invoked(name, positional, named):
            return f"{name}(", ")", [*(("", one) for one in positional), *((f"{key}=", one) for key, one in named)]
        case dict():
            return "{", "}", [(f"{literal(key)}: ", one) for key, one in value.items()]
        case list():
            return "[", "]", [("", one) for one in value]
        case tuple():
            return "(", ")", [("", one) for one in value]
        case set() if value:
            return "{", "}", [("", one) for one in value]
        case _:
            return "", "", []


def _as_call(value: Any) -> Any:
    """A value of the standard library as the call that makes it."""
    match value:
        case datetime.datetime():
            return _moment(
                "datetime", value, [value.year, value.month, value.day, value.hour, value.minute], value.tzinfo
            )
        case datetime.time():
            return _moment("time", value, [value.hour, value.minute], value.tzinfo)
        case datetime.timedelta():
            parts = [(name, getattr(value, name)) for name in ("days", "seconds", "microseconds")]
            return Invoked("datetime.timedelta", (), [(name, part) for name, part in parts if part])
        case frozenset():
            return Invoked("frozenset", [set(value)] if value else [])
        case _:
            return value


def _moment(name: str, value: Any, first: list[int], zone: datetime.tzinfo | None) -> Invoked:
    last = [value.second, value.microsecond]
    while last and not last[-1]:
        last.pop()
    named: list[tuple[str, Any]] = []
    if zone is not None:
        offset = zone.utcoffset(None)
        utc = offset is None or not offset
        zones = Source("datetime.timezone.utc") if utc else Invoked("datetime.timezone", [offset])
        named.append(("tzinfo", zones))
    if value.fold:
        named.append(("fold", value.fold))
    return Invoked(f"datetime.{name}", [*first, *last], named)


def _flat(value: Any) -> str | None:
    """The value on one line; None if it must not stand on one."""
    value = _as_call(value)
    match value:
        case Source(text):
            return text
        case Invoked(exploded=True):
            return None
        case Invoked() | dict() | list():
            opening, closing, items = _parts(value)
            texts = [_flat(item) for _, item in items]
            if any(text is None for text in texts):
                return None
            return opening + ", ".join(f"{name}{text}" for (name, _), text in zip(items, texts, strict=True)) + closing
        case tuple():
            return f"({_joined(value)}{',' if len(value) == 1 else ''})"
        case set() if value:
            return "{" + _joined(value) + "}"
        case _:
            return literal(value)


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(_flat(one) or "" for one in values)


def literal(value: Any) -> str:
    """One value as an expression. Names of the standard library are as `imports` imports them."""
    match value:
        case str():
            return _quoted(value)
        case bytes():
            return "b" + _quoted(value.decode("latin-1"), "".join)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case uuid.UUID() | decimal.Decimal():
            return f'{type(value).__name__}("{value}")'
        case float():
            return repr(value).replace("e+", "e")
        case set():
            return "set()"
        case _:
            return repr(value)


def _quoted(text: str, joined: Any = None) -> str:
    """A text in double quotes, unless single quotes need fewer escapes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    escaped = []
    for character in text:
        if character == quote or character == "\\":
            escaped.append("\\" + character)
        elif joined is not None and not " " <= character <= "~":
            escaped.append(repr(character.encode("latin-1"))[2:-1])
        elif character.isprintable():
            escaped.append(character)
        else:
            escaped.append(repr(character)[1:-1])
    return quote + "".join(escaped) + quote


def imports(values: Iterable[Any]) -> list[str]:
    """The imports of the standard library that the literals of these values require."""
    found: set[str] = set()

    def look(value: Any) -> None:
        match value:
            case datetime.date() | datetime.time() | datetime.timedelta():
                found.add("import datetime")
            case uuid.UUID():
                found.add("from uuid import UUID")
            case decimal.Decimal():
                found.add("from decimal import Decimal")
            case Invoked(_, positional, named):
                for one in [*positional, *(one for _, one in named)]:
                    look(one)
            case dict():
                for key, one in value.items():
                    look(key)
                    look(one)
            case list() | tuple() | set() | frozenset():
                for one in value:
                    look(one)
            case _:
                pass

    for value in values:
        look(value)
    return sorted(found, key=lambda line: (line.startswith("from"), line))
