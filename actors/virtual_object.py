"""Keyed objects as classes: what a class body declares, checked once, when the class is made."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar, overload

from actors.errors import DefinitionError, SerializationError, StateWriteRefused
from actors.handlers import BoundHandler, Dispatcher, Handler, HandlerDefinition, InvocationHandle, Options
from actors.serde import ATOMS, Codec, codec_for

T = TypeVar("T")
_MISSING: Any = object()


class _Factory:
    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


@overload
def field(*, default: T) -> T: ...


@overload
def field(*, default_factory: Callable[[], T]) -> T: ...


def field(*, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None) -> Any:
    """A state attribute's default: a value, copied for each key, or a factory called for each key."""
    if (default is _MISSING) == (default_factory is None):
        raise DefinitionError("field() wants either default= or default_factory=.")
    return default if default_factory is None else _Factory(default_factory)


class FieldDefinition:
    """One durable attribute. `default_text` is the JSON of its default, None if it has none."""

    __slots__ = ("_constant", "codec", "default_text", "name")

    def __init__(self, where: str, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.codec: Codec = codec_for(annotation, f"{where}.{name}")
        self.default_text: str | None = None
        self._constant: Any = _MISSING
        if default is _MISSING:
            return
        value = default.make() if isinstance(default, _Factory) else default
        try:
            self.default_text = self.codec.encode(value)
            if isinstance(default, _Factory) and not self.codec.equal(
                self.default_text, self.codec.encode(default.make())
            ):
                raise DefinitionError(
                    f"{where}.{name}: default_factory returns something else each time, so the default of a key would change "
                    "whenever it is loaded. Assign such a value in a handler (ctx.uuid(), ctx.now()) instead."
                )
        except SerializationError as error:
            raise DefinitionError(f"{where}.{name}: the default does not fit its type: {error}") from None
        if type(value) in ATOMS:
            self._constant = value

    @property
    def has_default(self) -> bool:
        return self.default_text is not None

    def default(self) -> Any:
        """A default that shares nothing changeable with another key's."""
        if self._constant is not _MISSING:
            return self._constant
        assert self.default_text is not None
        return self.codec.decode(self.default_text)


class ServiceDefinition:
    """A class as the runtime sees it. Handlers and state by name; everything about types was checked."""

    __slots__ = ("cls", "fields", "fields_by_name", "handlers", "name", "reader", "reference")

    def __init__(self, cls: type[VirtualObject], namespace: dict[str, Any]) -> None:
        self.cls = cls
        self.name: str = cls.__dict__.get("__service_name__") or cls.__name__
        handlers = dict(_handlers_of(cls))
        annotations = _hints(cls, namespace, f"class {cls.__qualname__}")
        names = [name for name, annotation in annotations.items() if not _is_class_variable(annotation)]
        for state_name in names:
            if state_name in handlers or state_name in _RESERVED:
                raise DefinitionError(
                    f"class {cls.__qualname__}: the state attribute {state_name!r} has the name of a handler or of "
                    "something the runtime uses. Rename one of them."
                )
        self.fields = [
            FieldDefinition(cls.__qualname__, name, annotations[name], _default_of(cls, name)) for name in names
        ]
        self.fields_by_name = {declared.name: declared for declared in self.fields}
        self.handlers: dict[str, HandlerDefinition] = {}
        for attribute, declared_handler in handlers.items():
            if declared_handler.name in self.handlers:
                raise DefinitionError(
                    f"class {cls.__qualname__}: two handlers are named {declared_handler.name!r}. "
                    "Rename one, or give one another name with @handler(name='...')."
                )
            where = f"{cls.__qualname__}.{attribute}"
            hints = _hints(declared_handler.function, namespace, where)
            self.handlers[declared_handler.name] = HandlerDefinition(self, declared_handler, hints)
        self.reader = type(
            cls.__name__, (cls,), {"__setattr__": _refuse_set, "__delattr__": _refuse_delete, "__actors_reader__": True}
        )
        self.reference = _reference_class(self, handlers)


_RESERVED = frozenset({"_actors_attempt", "_bind_inline", "__actors__", "__service_name__", "__dict__", "__weakref__"})


class _Namespace(dict[str, Any]):
    """The class body while it is executed: a second handler of one name would silently replace the first."""

    def __setitem__(self, name: str, value: Any) -> None:
        previous = self.get(name)
        if isinstance(previous, Handler):
            raise DefinitionError(
                f"{name!r} is defined twice in one class body and the first is a handler: it would be lost. Rename one."
            )
        super().__setitem__(name, value)


class _Meta(type):
    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> _Namespace:
        return _Namespace()


class VirtualObject(metaclass=_Meta):
    """Base class of keyed objects. One instance of state for each key; it exists as soon as it is addressed.

    Annotated attributes are durable state. Methods decorated with `@handler` or `@shared` can be invoked.
    Instances are made by the runtime; `Order()` makes one with default state, for plain unit tests of its methods.
    """

    __slots__ = ("__dict__", "__weakref__", "_actors_attempt")
    __service_name__: ClassVar[str | None] = None
    __actors__: ClassVar[Any] = None

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__actors_reader__" in cls.__dict__:
            return
        if name is not None:
            check_name(name, f"class {cls.__qualname__}")
        cls.__service_name__ = name
        if "__init__" in cls.__dict__ or "__new__" in cls.__dict__ or "__setattr__" in cls.__dict__:
            raise DefinitionError(
                f"class {cls.__qualname__}: objects are made by the runtime, so __init__, __new__ and __setattr__ would not "
                "run when you expect. Give state attributes defaults, or use field(default_factory=...)."
            )
        frame = sys._getframe(1)
        namespace = {**frame.f_locals, cls.__name__: cls}
        cls.__actors__ = ServiceDefinition(cls, namespace)

    def __init__(self) -> None:
        values = self.__dict__
        for declared in definition_of(type(self)).fields:
            if declared.has_default:
                values[declared.name] = declared.default()

    def __getattr__(self, name: str) -> Any:
        declared = type(self).__actors__.fields_by_name.get(name) if type(self).__actors__ else None
        if declared is not None:
            raise AttributeError(
                f"{type(self).__name__}.{name} has no value yet and no default. Assign it first, or declare a default."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _bind_inline(self, declared: Handler[Any, Any, Any]) -> BoundHandler[Any, Any]:
        definition = type(self).__actors__.handlers[declared.name]
        return BoundHandler(_Inline(self, definition), definition, "")


class _Inline:
    """Dispatcher of `self.other_handler(...)` inside a handler: runs it in place, as part of the same invocation."""

    __slots__ = ("_definition", "_instance")

    def __init__(self, instance: VirtualObject, definition: HandlerDefinition) -> None:
        self._instance = instance
        self._definition = definition

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Any:
        if not target.wants_context:
            return target.function(self._instance, *args, **kwargs)
        return target.function(self._instance, self._context(), *args, **kwargs)

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        context = self._context()
        sent: InvocationHandle[Any] = context.dispatch_send(target, context.key, args, kwargs, options)
        return sent

    def _context(self) -> Any:
        attempt = getattr(self._instance, "_actors_attempt", None)
        if attempt is None:
            raise TypeError(
                f"{self._definition.target} needs a context, which only a running app can give. "
                "In tests call it through an App, for example one from actors.testing."
            )
        return attempt.context


class Reference:
    """Stands for one object of a class: `ref.handler(...)`, `ref.handler.send(...)`."""

    __slots__ = ("_dispatcher", "_key")
    _definition: ClassVar[ServiceDefinition]

    def __init__(self, dispatcher: Dispatcher, key: str) -> None:
        self._dispatcher = dispatcher
        self._key = key

    def __getattr__(self, name: str) -> Any:
        definition = self._definition
        if name in definition.fields_by_name:
            raise AttributeError(
                f"{definition.name}.{name} is state and lives with the object; a reference cannot read it. "
                "Write a @shared handler that returns it."
            )
        raise AttributeError(
            f"{definition.name} has no handler {name!r}. Its handlers: {', '.join(sorted(definition.handlers)) or 'none'}."
        )

    def __repr__(self) -> str:
        return f"<{self._definition.name}/{self._key}>"


class _ReferenceHandler:
    __slots__ = ("_definition",)

    def __init__(self, definition: HandlerDefinition) -> None:
        self._definition = definition

    def __get__(self, reference: Reference, owner: Any) -> BoundHandler[Any, Any]:
        return BoundHandler(reference._dispatcher, self._definition, reference._key)


def _reference_class(service: ServiceDefinition, handlers: dict[str, Handler[Any, Any, Any]]) -> type[Reference]:
    members: dict[str, Any] = {"__slots__": (), "_definition": service}
    for attribute, declared in handlers.items():
        members[attribute] = _ReferenceHandler(service.handlers[declared.name])
    return type(f"{service.cls.__name__}Reference", (Reference,), members)


def definition_of(cls: Any) -> ServiceDefinition:
    """The definition of a VirtualObject subclass. Raises DefinitionError for anything else."""
    if not isinstance(cls, type) or not issubclass(cls, VirtualObject) or cls is VirtualObject:
        raise DefinitionError(f"{cls!r} is not a class derived from VirtualObject.")
    definition: ServiceDefinition = cls.__actors__
    return definition


def check_name(name: str, where: str) -> None:
    if not isinstance(name, str) or not name or not all(c.isalnum() or c in "_.-" for c in name):
        raise DefinitionError(f"{where}: {name!r} is not a usable name. Use letters, digits, '_', '.' and '-'.")


def _handlers_of(cls: type) -> Iterator[tuple[str, Handler[Any, Any, Any]]]:
    """Handlers by attribute, those of base classes included; an override must be a handler again."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in base.__dict__.items():
            if isinstance(value, Handler):
                check_name(value.name, f"class {cls.__qualname__}")
                found[attribute] = value
            elif attribute in found:
                raise DefinitionError(
                    f"class {cls.__qualname__}: {attribute!r} overrides a handler with something that is none. "
                    "Decorate it with @handler or @shared, or rename it."
                )
    yield from found.items()


def _hints(of: Any, namespace: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(of, localns=namespace, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        raise DefinitionError(
            f"{where}: an annotation cannot be resolved ({error}). Define or import the type before this class; a name "
            "imported only under TYPE_CHECKING does not exist at run time."
        ) from None
    return hints


def _is_class_variable(annotation: Any) -> bool:
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _default_of(cls: type, name: str) -> Any:
    value = inspect.getattr_static(cls, name, _MISSING)
    if (
        isinstance(value, (property, staticmethod, classmethod))
        or inspect.isfunction(value)
        or inspect.isdatadescriptor(value)
    ):
        if inspect.ismemberdescriptor(value):
            return _MISSING
        raise DefinitionError(
            f"class {cls.__qualname__}: {name!r} is annotated as state but is a method or property. Rename one."
        )
    return value


def _refuse_set(self: Any, name: str, value: Any) -> None:
    if name == "_actors_attempt":
        object.__setattr__(self, name, value)
        return
    raise StateWriteRefused(
        f"{type(self).__name__}.{name} was assigned in a shared handler. Shared handlers only read; "
        "decorate this one with @handler if it must write."
    )


def _refuse_delete(self: Any, name: str) -> None:
    raise StateWriteRefused(f"{type(self).__name__}.{name} was deleted in a shared handler. Shared handlers only read.")
