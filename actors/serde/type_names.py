"""How types and values are shown to users."""

from __future__ import annotations

import dataclasses
import reprlib
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

import msgspec


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
        return f"Annotated[{type_name(args[0])}, {', '.join(map(note_text, declared.__metadata__))}]"
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is Union or type(declared).__name__ == "UnionType":
        return " | ".join(map(type_name, args))
    inner = ", ".join(", ".join(map(type_name, arg)) if isinstance(arg, list) else type_name(arg) for arg in args)
    return f"{type_name(origin)}[{inner or '()'}]"


def note_text(note: Any) -> str:
    """Metadata of an annotation as a person would write it: without defaults, and the same in each process."""
    if type(note).__name__ == "FieldInfo":  # of pydantic
        given = {name: value for name, value in getattr(note, "_attributes_set", {}).items() if name != "annotation"}
        parts = [f"{name}={_short(value)}" for name, value in given.items()]
        return f"Field({', '.join(parts + list(map(note_text, getattr(note, 'metadata', ()))))})"
    if dataclasses.is_dataclass(note) and not isinstance(note, type):
        given = {field.name: getattr(note, field.name, None) for field in dataclasses.fields(note)}
        shown = (f"{name}={_short(value)}" for name, value in given.items() if _is_given(value))
        return f"{type(note).__name__}({', '.join(shown)})"
    return _short(note)


def _is_given(value: Any) -> bool:
    return value is not None and type(value).__name__ != "PydanticUndefinedType"


def _short(value: Any) -> str:
    if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
        return str(value.__qualname__)
    return repr(value)


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


def advice(value: Any, otherwise: str) -> str:
    """What to do about a misplaced value: advice for its class, or `otherwise`."""
    own = getattr(type(value), "__actors_advice__", None)
    if own is None and type(value).__name__ == "FieldInfo":
        return "Put pydantic.Field into the annotation, and the default after it: n: Annotated[int, Field(gt=0)] = 1."
    return own if isinstance(own, str) else otherwise


def said(error: BaseException) -> str:
    """The message of an exception, with its class where that is not obvious."""
    try:
        text = str(error).rstrip(".")
    except Exception:
        text = ""
    if isinstance(error, (msgspec.MsgspecError, ValueError, TypeError, RecursionError)) and text:
        return text
    return f"{type(error).__name__}: {text}"
