"""The state attributes of a class and their defaults."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from actors.errors import DefinitionError, SerializationError
from actors.model.migrations import Migration
from actors.model.spelling import refuse_unknown
from actors.serde import Codec, codec_for

T = TypeVar("T")


MISSING: Any = object()


class Factory:
    """The object that `field(default_factory=...)` leaves in the class body."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


@overload
def field(*, default: T) -> T: ...


@overload
def field(*, default_factory: Callable[[], T]) -> T: ...


def field(*, default: Any = MISSING, default_factory: Callable[[], Any] | None = None, **unknown: Any) -> Any:
    """A state attribute's default: a value, copied for each key, or a factory called for each key."""
    refuse_unknown("field(...)", unknown, ("default", "default_factory"))
    if (default is MISSING) == (default_factory is None):
        raise DefinitionError("field() requires exactly one of default= and default_factory=.")
    return default if default_factory is None else Factory(default_factory)


class FieldDefinition:
    """A durable attribute. `default_text` is the JSON of its default, None without a default."""

    __slots__ = ("_constant", "codec", "default_text", "name")

    def __init__(self, where: str, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.codec: Codec = codec_for(annotation, f"{where}.{name}")
        self.default_text: str | None = None
        self._constant: Any = MISSING
        if default is MISSING:
            return
        if isinstance(default, dataclasses.Field):
            raise DefinitionError(f"{where}.{name}: this is dataclasses.field. Use 'from actors import field'.")
        try:
            value = default.make() if isinstance(default, Factory) else default
            self.default_text = self.codec.encode(value)
            again = self.codec.encode(default.make()) if isinstance(default, Factory) else self.default_text
        except SerializationError as error:
            raise DefinitionError(f"{where}.{name}: the default does not fit its type: {error}") from None
        except Exception as error:
            raise DefinitionError(f"{where}.{name}: default_factory raised {error!r}.") from error
        if not self.codec.equal(self.default_text, again):
            raise DefinitionError(
                f"{where}.{name}: default_factory returns a different value each time, so the default of a key "
                "would change whenever it is loaded. Assign such a value in a handler (ctx.uuid(), ctx.now()) "
                "instead."
            )
        value = self.codec.decode(self.default_text)
        self.default_text = self.codec.dump(value)
        if type(value) in self.codec.atoms:
            self._constant = value

    @property
    def has_default(self) -> bool:
        return self.default_text is not None

    def default(self) -> Any:
        """A fresh default, which shares no mutable value with the default of another key."""
        if self._constant is not MISSING:
            return self._constant
        assert self.default_text is not None
        return self.codec.decode(self.default_text)


def default_of(cls: type, name: str) -> Any:
    """The default in a class body. Raises DefinitionError for a value that is not a valid default."""
    value = inspect.getattr_static(cls, name, MISSING)
    if (
        isinstance(value, (property, staticmethod, classmethod, Migration))
        or inspect.isfunction(value)
        or inspect.isdatadescriptor(value)
    ):
        raise DefinitionError(
            f"class {cls.__qualname__}: {name!r} is annotated as state but is a method or property. Rename one."
        )
    return value
