"""The values in a class body that are neither state nor handlers: all objects of the class share them.

Promise: these values are immutable. A list without an annotation would be one list for all keys, and would not be stored.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import types
from collections.abc import Collection
from typing import Any, Generic

from actors.errors import DefinitionError
from actors.model.annotations import is_constant
from actors.model.fields import Factory
from actors.serde.type_names import shortened, type_name

_SHARED_BY_DESIGN = (types.ModuleType, types.MappingProxyType, slice, logging.Logger, logging.LoggerAdapter)


def refuse_mutable_values(
    cls: type, states: Collection[str], ours: Collection[type], hints: dict[type, dict[str, Any]]
) -> None:
    """Raise DefinitionError for a mutable value without a declaration, in the class or in a base class.

    `states` holds the names of state, `ours` the base classes of the framework, `hints` the annotations by class.
    """
    declared = {name for found in hints.values() for name, annotation in found.items() if is_constant(annotation)}
    for base in cls.__mro__:
        if base in (object, Generic) or base in ours:
            continue
        for name, value in base.__dict__.items():
            if (
                name in states
                or name in declared
                or (name.startswith("__") and name.endswith("__"))
                or name == "_abc_impl"
            ):
                continue
            if isinstance(value, (Factory, dataclasses.Field)):
                raise DefinitionError(
                    f"class {base.__qualname__}: {name} = field(...) has no annotation, so it is not state. Declare its type: "
                    f"{name}: list[str] = field(...)"
                )
            if is_mutable(value):
                shown = type_name(type(value))
                raise DefinitionError(
                    f"class {base.__qualname__}: {name} = {shortened(value)} has no annotation, so all objects would share this "
                    f"value, and it would not be stored. If it is state, declare its type: {name}: {shown} = ... If it is a "
                    f"constant, say so: {name}: ClassVar[{shown}] = ..."
                )


def is_mutable(value: Any) -> bool:
    """Whether the value is mutable. An unhashable value counts as mutable, and so does a container of unhashable values."""
    if isinstance(value, _SHARED_BY_DESIGN) or callable(value) or _is_descriptor(value):
        return False
    cls = type(value)
    if dataclasses.is_dataclass(cls):
        frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        return not frozen or any(is_mutable(getattr(value, field.name, None)) for field in dataclasses.fields(cls))
    try:
        hash(value)
    except TypeError:
        return True
    except Exception:  # a user's own __hash__ may raise anything
        return False
    # An object that equals only itself is mutable if it has attributes of its own.
    by_identity: Any = object.__hash__
    return cls.__hash__ is by_identity and bool(getattr(value, "__dict__", None))


def _is_descriptor(value: Any) -> bool:
    return inspect.isdatadescriptor(value) or any(hasattr(type(value), name) for name in ("__get__", "__set_name__"))
