"""The declared result type of a step's function, and the name it has in the journal.

Promise: the type that `typing.get_type_hints` gives at the time of the call, with everything in Annotated, at a fraction of the
cost. Nothing is cached by function, because many functions are created anew for each call and hold what they close over; names
in an annotation are looked up each time, because they may be defined, or replaced, between two calls.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import typing
import weakref
from collections.abc import Callable
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any, ForwardRef, TypeVar

from actors.serde import Codec, codec_for

log = logging.getLogger("actors")

_NO_ANNOTATIONS: dict[str, Any] = {}
_KNOWN: dict[
    Any, Codec | None
] = {}  # by annotation, without annotations that hold names only their function can resolve


def unwrapped(function: Any) -> Any:
    """The function inside any `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether the function is executed on the loop, and not in a thread."""
    function = unwrapped(function)
    if type(function) is FunctionType and function.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # most: the questions below take three times as long
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def step_name(function: Any) -> str:
    function = unwrapped(function)
    return getattr(function, "__qualname__", type(function).__qualname__).rpartition("<locals>.")[2]


def result_codec(function: Any) -> Codec | None:
    """The codec of the function's declared return type; None, for msgpack, if it declares none.

    Raises DefinitionError for a type whose values cannot be stored.
    """
    function = unwrapped(function)
    annotation = getattr(function, "__annotations__", _NO_ANNOTATIONS).get("return", Any)
    if annotation is Any and isinstance(call := vars(type(function)).get("__call__"), FunctionType):
        function = call  # `function` is a callable object
        annotation = function.__annotations__.get("return", Any)
    if annotation is Any or annotation is None:
        return None
    if getattr(function, "__type_params__", None) or hasattr(function, "__no_type_check__"):
        return _resolved(function)
    try:
        if type(annotation) is str:
            annotation = eval(_compiled(annotation), _globals(function))
        return _KNOWN[annotation]
    except Exception:  # new, unhashable, or with an undefined name: _resolved handles all of these
        codec = _resolved(function)
    if not _holds_names(annotation):
        with contextlib.suppress(TypeError):  # unhashable, such as Annotated[..., a list]
            _KNOWN[annotation] = codec
    return codec


def _resolved(function: Any) -> Codec | None:
    if hasattr(function, "__no_type_check__"):
        return None
    # The return type alone: a parameter whose type exists for checkers only must not keep it from being resolved.
    alone = SimpleNamespace(
        __annotations__={"return": function.__annotations__["return"]},
        __type_params__=getattr(function, "__type_params__", ()),
    )
    try:
        names = _globals(function)
        declared = typing.get_type_hints(alone, names, _closed_over(function), include_extras=True)["return"]
    except (NameError, TypeError, AttributeError) as error:
        _tell(function, error)
        return None
    if declared is Any or declared is object or isinstance(declared, TypeVar):
        return None
    return codec_for(declared, f"the return type of {step_name(function)}")


@functools.lru_cache(1024)
def _compiled(annotation: str) -> CodeType:
    return compile(annotation, "<annotation>", "eval")


def _globals(function: Any) -> dict[str, Any]:
    """The namespace in which get_type_hints looks names up: the module of the innermost function that decorators have wrapped."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    found: dict[str, Any] = function.__globals__
    return found


def _closed_over(function: Any) -> dict[str, Any] | None:
    """The variables of enclosing functions that its body uses; None if there are none."""
    cells = getattr(function, "__closure__", None)
    if not cells:
        return None
    names = function.__code__.co_freevars
    with contextlib.suppress(ValueError):  # a variable has no value yet
        return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
    return None


_warned: weakref.WeakSet[CodeType] = weakref.WeakSet()  # functions whose type was not found, by their code


def _tell(function: Any, error: Exception) -> None:
    """Warn, once, that the declared return type of the function is ignored."""
    code = getattr(function, "__code__", None)
    if code is not None and code not in _warned:
        _warned.add(code)
        log.warning(
            "The return type of the step %r cannot be resolved (%s), so its result is stored as a plain value and not checked. "
            "Define or import the type at module level, also outside of TYPE_CHECKING, or name it: ctx.step(type=...).run(...)",
            step_name(function),
            error,
        )


def _holds_names(annotation: Any) -> bool:
    """Whether the annotation holds a text, such as list["Order"], whose meaning depends on the module of its function."""
    if isinstance(annotation, (str, ForwardRef)):
        return True
    return any(map(_holds_names, typing.get_args(annotation)))
