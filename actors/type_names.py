"""How types and values are shown to people."""

from __future__ import annotations

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


def advice(value: Any, otherwise: str) -> str:
    """What to do about a value that does not belong where it is: what its own class says, or `otherwise`."""
    own = getattr(type(value), "__actors_advice__", None)
    return own if isinstance(own, str) else otherwise


def said(error: BaseException) -> str:
    """What an exception says, with its class when that is not obvious."""
    try:
        text = str(error).rstrip(".")
    except Exception:
        text = ""
    if isinstance(error, (msgspec.MsgspecError, ValueError, TypeError, RecursionError)) and text:
        return text
    return f"{type(error).__name__}: {text}"
