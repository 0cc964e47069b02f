"""The annotations of class bodies: names are resolved where they were written, type variables are bound."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar

from actors.errors import DefinitionError


def annotations_of(owner: type, cls: type, namespace: dict[str, Any]) -> dict[str, Any]:
    """The annotations in the body of `owner`, resolved while `cls`, which is `owner` or a subclass, is created."""
    holder = type(
        owner.__name__, (), {"__annotations__": inspect.get_annotations(owner), "__module__": owner.__module__}
    )
    return resolved(holder, scopes(owner, cls, namespace), f"class {owner.__qualname__}")


def scopes(owner: type, cls: type, namespace: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The names for annotations, besides the module of `owner`: around its class statement, then in its body.

    `namespace`, the names around `cls`, comes last if `cls` is a subclass: there the same name may mean another type.
    """
    yield namespace if owner is cls else {}
    module = getattr(sys.modules.get(owner.__module__), "__dict__", {})
    yield {**vars(owner), **module, **(namespace if owner is cls else {})}
    yield namespace


def resolved(of: Any, scopes: Iterator[dict[str, Any]], where: str) -> dict[str, Any]:
    """The type hints of a class or function. Raises DefinitionError, naming `where`."""
    reason: Exception | None = None
    for names in scopes:
        try:
            return typing.get_type_hints(of, localns=names, include_extras=True)
        except Exception as error:  # evaluating an annotation may raise anything
            reason = error
    raise DefinitionError(
        f"{where}: an annotation cannot be resolved ({reason}). Define or import the type before this class; a name "
        "imported only under TYPE_CHECKING does not exist at run time."
    )


def is_constant(annotation: Any) -> bool:
    """Whether the annotation declares an attribute of the class, not of its objects."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    return (typing.get_origin(annotation) or annotation) in (ClassVar, Final)


Bindings = dict[Any, Any]  # type variables and their types


def type_arguments(cls: type) -> dict[type, Bindings]:
    """For each direct or indirect base class, the types of its type variables in `cls`."""
    bindings: dict[type, Bindings] = {}

    def look(derived: type, known: Bindings) -> None:
        for base in derived.__dict__.get("__orig_bases__", derived.__bases__):
            origin = typing.get_origin(base) or base
            if origin in (Generic, typing.Protocol):
                continue
            arguments = typing.get_args(base)
            parameters = getattr(origin, "__parameters__", ()) if arguments else ()
            bindings[origin] = {p: bound(a, known) for p, a in zip(parameters, arguments, strict=False)}
            look(origin, bindings[origin])

    look(cls, {})
    return bindings


def bound(hint: Any, known: Bindings | None) -> Any:
    """`hint` with its type variables replaced by their known types."""
    if not known:
        return hint
    if isinstance(hint, TypeVar):
        return known.get(hint, hint)
    parameters = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    if not parameters:
        return hint
    generic: Any = hint
    return generic[tuple(known.get(p, p) for p in parameters)]
