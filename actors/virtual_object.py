"""Keyed objects as classes: what a class body declares, checked once, when the class is made."""

from __future__ import annotations

import abc
import copyreg
import sys
from collections.abc import Callable, Container, Iterable
from types import BuiltinMethodType, FrameType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, Union, get_args, get_origin

from actors.annotations import annotations_of, bound, is_constant, resolved, scopes, type_arguments
from actors.constants import refuse_mutable_values
from actors.errors import DefinitionError, StateWriteInStep, StateWriteRefused, UnknownHandler, UnsetState, WrongKind
from actors.fields import FieldDefinition, default_of
from actors.handlers import BoundHandler, Dispatcher, Handler, HandlerDefinition, InvocationHandle, Options
from actors.inside import inside_step
from actors.migrations import Migration, Migrations, checked_version
from actors.references import Reference, reference_class
from actors.retry import RetryPolicy
from actors.schedules import schedules_of
from actors.serde.exactness import ATOMS
from actors.serde.type_names import shortened
from actors.spelling import refuse_unknown

T = TypeVar("T")


class ServiceDefinition:
    """A class as the runtime sees it. Handlers and state by name; everything about types was checked.

    `annotations` are those of the class itself, `inline` what a handler means on an object of the class, also one that is
    overridden and called through super(). `containers` are the fields, by name with their position, whose values can change in
    place. Handlers work on instances of `worker`, which become instances of `guarded` with their first step; shared handlers on
    those of `reader`.
    """

    __slots__ = (
        "annotations",
        "cls",
        "containers",
        "fields",
        "fields_by_name",
        "guarded",
        "handlers",
        "inline",
        "kind",
        "migrations",
        "name",
        "private",
        "reader",
        "reference",
        "retry",
        "schedules",
        "version",
        "worker",
    )

    def __init__(self, cls: type[Served], namespace: dict[str, Any]) -> None:
        self.cls = cls
        self.kind: Kind = cls.__kind__
        self.name: str = cls.__dict__.get("__service_name__") or cls.__name__
        self.retry: RetryPolicy | None = cls.__retry__
        self.private: bool = cls.__private__
        check_name(self.name, f"class {cls.__qualname__}")
        self.annotations = annotations_of(cls, cls, namespace)
        handlers, owners = _handlers_of(cls)
        self.version: int = cls.__state_version__
        self.migrations = Migrations.of(cls, self.version)
        bindings = type_arguments(cls)
        states: dict[str, Any] = {}
        annotated = {base: self._annotated(base, namespace) for base in reversed(cls.__mro__)}
        for base, declarations in annotated.items():
            for name, annotation in declarations.items():
                if not is_constant(annotation):
                    states[name] = bound(annotation, bindings.get(base))
        for name in states:
            if name in handlers or name in _RESERVED:
                raise DefinitionError(
                    f"class {cls.__qualname__}: the state attribute {name!r} has the name of a handler or of "
                    "something the runtime uses. Rename one of them."
                )
        ours = [base for base in cls.__mro__ if base is Served or "__kind__" in base.__dict__]
        refuse_mutable_values(cls, states, ours, annotated)
        self.fields = [
            FieldDefinition(cls.__qualname__, name, annotation, default_of(cls, name))
            for name, annotation in states.items()
        ]
        self.fields_by_name = {declared.name: declared for declared in self.fields}
        self.inline: dict[Handler[Any, Any, Any], HandlerDefinition] = {}
        for declared, owner in owners.items():
            if declared.hints is None:
                where = declared.function.__qualname__
                declared.hints = resolved(declared.function, scopes(owner, cls, namespace), where)
            hints = {name: bound(hint, bindings.get(owner)) for name, hint in declared.hints.items()}
            self.inline[declared] = HandlerDefinition(self, declared, hints)
        self.handlers: dict[str, HandlerDefinition] = {}
        for declared in handlers.values():
            if declared.name in self.handlers:
                raise DefinitionError(
                    f"class {cls.__qualname__}: two handlers are named {declared.name!r}. "
                    "Rename one, or give one another name with @handler(name='...')."
                )
            self.handlers[declared.name] = self.inline[declared]
        self.schedules = schedules_of(self, handlers.values())
        self.containers = {
            declared.name: position for position, declared in enumerate(self.fields) if _can_change(declared.codec.type)
        }
        self.worker = _worker_class(cls, self.containers)
        self.guarded = _guarded_class(self.worker)
        self.reader = _reader_class(self.worker)
        self.reference = reference_class(self, handlers)

    def classes(self) -> tuple[type[Served], ...]:
        """All classes that `type(self)` may be in a handler, and the one that was written."""
        return self.cls, self.worker, self.guarded, self.reader

    def handler(self, name: str, run: bool) -> HandlerDefinition | None:
        """The handler an invocation was accepted for; `run` if as the run of a workflow, whose handler may be renamed."""
        found = self.handlers.get(name)
        if found is None and run:
            return next((handler for handler in self.handlers.values() if handler.once), None)
        return found

    def keyed(self, dispatcher: Dispatcher, key: str) -> Reference:
        """A reference to one object or workflow. Raises WrongKind for a service."""
        if self.kind == "service":
            raise WrongKind(
                f"{self.name} is a Service, which has no key. Address it with .service({self.cls.__name__})."
            )
        return self.reference(dispatcher, key)

    def keyless(self, dispatcher: Dispatcher) -> Reference:
        """A reference to a service. Raises WrongKind for what has keys."""
        if self.kind != "service":
            raise WrongKind(
                f"{self.name} is a {'Workflow' if self.kind == 'workflow' else 'VirtualObject'}, not a Service. Address it by key "
                f"with .object({self.cls.__name__}, key)."
            )
        return self.reference(dispatcher, "")

    def _annotated(self, base: type, namespace: dict[str, Any]) -> dict[str, Any]:
        """The annotations in the body of `base`. They were resolved where it was written, if it is an object class too."""
        if base is self.cls:
            return self.annotations
        known = base.__dict__.get("__actors__")
        if isinstance(known, ServiceDefinition):
            return known.annotations
        if base in (object, Served, Generic) or "__kind__" in base.__dict__:
            return {}
        return annotations_of(base, self.cls, namespace)


LONGEST_NAME = 255  # characters of the name of a class or handler: it is stored with each message

_RESERVED = frozenset(
    {
        "_actors_attempt",
        "_actors_keeper",
        "_bind_inline",
        "_check_kind",
        "__actors__",
        "__kind__",
        "__service_name__",
        "__retry__",
        "__private__",
    }
    | {"__dict__", "__weakref__"}
    | {"__state_version__", "__actors_advice__", ""}  # the empty name is that of the version in the database
)
_RESERVED_FOR_HANDLERS = _RESERVED | {"_definition", "_dispatcher", "_key"}  # what references are made of


class _Namespace(dict[str, Any]):
    """The class body while it is executed: a second handler of one name would silently replace the first."""

    def __setitem__(self, name: str, value: Any) -> None:
        previous = self.get(name)
        if isinstance(previous, (Handler, Migration)):
            kind = "handler" if isinstance(previous, Handler) else "migration"
            raise DefinitionError(
                f"{name!r} is defined twice in one class body and the first is a {kind}: it would be lost. Rename one."
            )
        super().__setitem__(name, value)


class _Meta(abc.ABCMeta):
    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> _Namespace:
        return _Namespace()


Kind = Literal["object", "service", "workflow"]


_inside_step = inside_step.get


def _refuse_in_step(instance: Served, name: str, done: str) -> None:
    """Raise StateWriteInStep, unless the instance is a copy: that is not an object of an app."""
    if not hasattr(instance, "_actors_attempt"):
        return
    raise StateWriteInStep(
        f"{type(instance).__name__}.{name} was {done} inside a step. A replay uses the recorded result of the "
        "step and does not repeat this: return the value from the step, and assign it in the handler."
    )


class Served(metaclass=_Meta):
    """What all classes are that an app can serve: a VirtualObject, a Service or a Workflow. Derive from one of those."""

    __slots__ = ("__dict__", "__weakref__", "_actors_attempt")
    __kind__: ClassVar[Kind]
    __service_name__: ClassVar[str | None] = None
    __retry__: ClassVar[RetryPolicy | None] = None
    __private__: ClassVar[bool] = False
    __actors__: ClassVar[Any] = None
    __state_version__: ClassVar[int] = 1
    __actors_advice__: ClassVar[str] = (
        "It is the object itself: pass its key, and address it there with ctx.object(...)."
    )

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        version: int | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> None:
        # A base class may take options of its own, or pass on what it does not know; `object` takes none.
        if isinstance(super().__init_subclass__, BuiltinMethodType):
            refuse_unknown(f"class {cls.__qualname__}", kwargs, ("name", "retry", "version", "private"))
        super().__init_subclass__(**kwargs)
        if "__actors_runtime__" in cls.__dict__ or "__kind__" in cls.__dict__:
            return
        if name is not None:
            check_name(name, f"class {cls.__qualname__}")
        cls.__service_name__ = name
        if retry is not None:
            if not isinstance(retry, RetryPolicy):
                raise DefinitionError(f"class {cls.__qualname__}: retry= requires a RetryPolicy, got {retry!r}.")
            cls.__retry__ = retry
        if private is not None:
            cls.__private__ = bool(private)
        inherited = max(getattr(base, "__state_version__", 1) for base in cls.__bases__)
        cls.__state_version__ = inherited if version is None else checked_version(version, inherited, cls)
        for method in ("__init__", "__new__", "__setattr__", "__getattribute__", "__delattr__"):
            if getattr(cls, method) is not getattr(Served, method):
                raise DefinitionError(
                    f"class {cls.__qualname__}: objects are made by the runtime, so {method} would not run when you expect. "
                    "Give state attributes defaults, or use field(default_factory=...)."
                )
        kinds = [base.__name__ for base in cls.__mro__ if "__kind__" in base.__dict__]
        if "Service" in kinds and len(kinds) > 1:
            raise DefinitionError(f"class {cls.__qualname__} derives from {' and '.join(kinds)}. Keep one of them.")
        if "__slots__" in cls.__dict__:
            raise DefinitionError(f"class {cls.__qualname__}: state cannot be kept in __slots__. Remove them.")
        namespace = {**_defining_frame().f_locals, cls.__name__: cls}
        cls.__actors__ = ServiceDefinition(cls, namespace)
        cls._check_kind(cls.__actors__)

    @classmethod
    def _check_kind(cls, definition: ServiceDefinition) -> None:
        """Raise DefinitionError for what its kind of class cannot have."""

    def __init__(self) -> None:
        values = vars(self)
        for declared in definition_of(type(self)).fields:
            if declared.has_default:
                values[declared.name] = declared.default()

    if not TYPE_CHECKING:  # a checker that sees it would accept any attribute of an object, and of a reference

        def __getattr__(self, name: str) -> Any:
            definition = type(self).__actors__
            if definition is not None and name in definition.fields_by_name:
                raise UnsetState(
                    f"{type(self).__name__}.{name} has no value yet and no default. Assign it first, or declare a default."
                )
            # Says what is missing; or, if a property raised AttributeError, what that was about.
            return object.__getattribute__(self, name)

    def __getstate__(self) -> Any:
        """A copy holds the same values, and is not an object of an app: what happens to it does not change state."""
        return dict(vars(self))

    def _bind_inline(self, declared: Handler[Any, Any, Any]) -> BoundHandler[Any, Any]:
        definition = type(self).__actors__.inline[declared]
        return BoundHandler(_Inline(self, definition), definition, "")


class VirtualObject(Served):
    """Base class of keyed objects. One instance of state for each key; it exists as soon as it is addressed.

    Annotated attributes are durable state. Methods decorated with `@handler` or `@shared` can be invoked.
    `class Order(VirtualObject, version=2)` counts the forms its stored state has had; `@migration` leads from each to the
    next. Subclasses inherit version and migrations, and count on from there.
    Instances are made by the runtime; `Order()` makes one with default state, for plain unit tests of its methods.
    """

    __slots__ = ()
    __kind__: ClassVar[Kind] = "object"


def _defining_frame() -> FrameType:
    """The frame of the class statement that is being executed: above those of metaclasses and __init_subclass__."""
    frame = sys._getframe(1)
    while frame.f_code.co_name in ("__init_subclass__", "__new__") and frame.f_back is not None:
        frame = frame.f_back
    return frame


class _Inline:
    """Dispatcher of `self.other_handler(...)` inside a handler: runs it in place, as part of the same invocation."""

    __slots__ = ("_definition", "_instance")

    def __init__(self, instance: Served, definition: HandlerDefinition) -> None:
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
        # A message goes to a name, so super().handler.send(...) reaches what overrides it.
        known = target.service.handlers.get(target.name)
        if known is None:
            raise UnknownHandler(
                f"{target.target} is overridden under another name, so no message reaches it. Call it without .send."
            )
        sent: InvocationHandle[Any] = context.dispatch_send(known, context.key, args, kwargs, options)
        return sent

    def _context(self) -> Any:
        attempt = getattr(self._instance, "_actors_attempt", None)
        if attempt is None:
            raise TypeError(
                f"{self._definition.target} requires a context, which only a running app can give. In tests call "
                "it through an App, for example one from actors.testing."
            )
        return attempt.context


def definition_of(cls: Any) -> ServiceDefinition:
    """The definition of a served class. Raises DefinitionError for anything else, and for an abstract class."""
    definition = getattr(cls, "__actors__", None)
    if type(definition) is not ServiceDefinition or cls not in definition.classes():
        raise DefinitionError(f"{cls!r} is not a class derived from VirtualObject, Service or Workflow.")
    if cls.__abstractmethods__:
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise DefinitionError(f"class {cls.__qualname__} is abstract ({missing}). Serve a subclass that implements it.")
    return definition


def check_name(name: str, where: str) -> None:
    """Raise DefinitionError unless `name` can stand in a URL as one segment of its path."""
    if not isinstance(name, str) or not name.strip(".") or not all(c.isalnum() or c in "_.-" for c in name):
        raise DefinitionError(f"{where}: {name!r} is not a usable name. Use letters, digits, '_', '.' and '-'.")
    if len(name) > LONGEST_NAME:
        raise DefinitionError(f"{where}: the name {shortened(name)} is longer than {LONGEST_NAME} characters.")


def _handlers_of(cls: type) -> tuple[dict[str, Handler[Any, Any, Any]], dict[Handler[Any, Any, Any], type]]:
    """Handlers by attribute, base classes included; and all of these and those they override, with the class of each."""
    found: dict[str, Handler[Any, Any, Any]] = {}
    owners: dict[Handler[Any, Any, Any], type] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in base.__dict__.items():
            if isinstance(value, Handler):
                check_name(value.name, f"class {cls.__qualname__}")
                if attribute in _RESERVED_FOR_HANDLERS:
                    raise DefinitionError(
                        f"class {cls.__qualname__}: the runtime uses {attribute!r}. Rename the handler."
                    )
                found[attribute] = value
                owners[value] = base
            elif attribute in found:
                raise DefinitionError(
                    f"class {cls.__qualname__}: {attribute!r} overrides a handler with something else. Decorate "
                    "it with @handler or @shared, or rename it."
                )
            elif isinstance(getattr(value, "__func__", None), Handler):
                raise DefinitionError(
                    f"class {cls.__qualname__}: the handler {attribute!r} is a static or class method. Make it a "
                    "method."
                )
    return found, owners


class Keeper(Protocol):
    """Holds the containers of instances back until their handlers read them: what was never read cannot have changed in place."""

    def held_back(self, instance: Any) -> Container[str]:
        """The names whose values the instance has not got yet."""
        ...

    def hand_out(self, instance: Any, name: str) -> Any:
        """Put the value of a field that is held back into the instance."""
        ...

    def hand_out_all(self, instance: Any) -> None: ...


# Sets the attempt past a `__setattr__` written in Python, which those of guarded classes and of readers have.
set_attempt: Callable[[Any, Any], None] = Served.__dict__["_actors_attempt"].__set__

# The attributes an instance really has: those of a worker show all that is held back too.
values_of: Callable[[Any], dict[str, Any]] = Served.__dict__["__dict__"].__get__
_set_values = Served.__dict__["__dict__"].__set__


class _HeldBack:
    """A container on the class of workers. Python finds it there only while the instance has no value of this name."""

    __slots__ = ("_cls", "_name")

    def __init__(self, cls: type[Served], name: str) -> None:
        self._cls = cls
        self._name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return getattr(self._cls, self._name)  # as if this were not here
        keeper = getattr(instance, "_actors_keeper", None)
        if keeper is not None and self._name in keeper.held_back(instance):
            return keeper.hand_out(instance, self._name)
        field = self._cls.__actors__.fields_by_name[self._name]
        if not field.has_default:
            raise AttributeError(self._name)
        # It was deleted. What is in the class body belongs to all objects, and a change of it would not be the state of
        # any object.
        value = values_of(instance)[self._name] = field.default()
        return value


def _worker_class(cls: type[Served], containers: Iterable[str]) -> type[Served]:
    """What handlers see: the same class, which tells when one of its containers is read for the first time.

    All other ways to it (`vars(self)`, `del self.name`, a copy) hand it out too. A class without containers is its own.
    """
    members: dict[str, Any] = {name: _HeldBack(cls, name) for name in containers}
    if not members:
        return cls
    members |= {"__slots__": ("_actors_keeper",), "__dict__": property(_all_values, _replace_values)}
    members |= {"__delattr__": _delete, "__reduce_ex__": _reduce, "__actors_runtime__": True}
    members |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    metaclass: Any = type(cls)
    worker: type[Served] = metaclass(cls.__name__, (cls,), members)
    return worker


def _all_values(self: Any) -> dict[str, Any]:
    keeper = getattr(self, "_actors_keeper", None)
    if keeper is not None:
        keeper.hand_out_all(self)
    return values_of(self)


def _replace_values(self: Any, values: dict[str, Any]) -> None:
    _all_values(self)
    _set_values(self, values)


def _delete(self: Any, name: str) -> None:
    keeper = getattr(self, "_actors_keeper", None)
    if keeper is not None and name in keeper.held_back(self):
        keeper.hand_out(self, name)
    object.__delattr__(self, name)


def _reduce(self: Any, protocol: Any) -> Any:
    """For copy and pickle. Pickle finds a class by its name, and by that of a worker it finds the class itself."""
    reduced: Any = object.__reduce_ex__(self, protocol)
    if reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return reduced  # as the user's own class says
    return _like_a_worker, (type(self).__actors__.cls,), *reduced[2:]


def _like_a_worker(cls: type[Served]) -> Served:
    return object.__new__(definition_of(cls).worker)


def _can_change(declared: Any) -> bool:
    """Whether values of this type may change in place."""
    kinds = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    return not all(kind is None or (isinstance(kind, type) and kind in ATOMS) for kind in kinds)


def _guarded_class(cls: type[Served]) -> type[Served]:
    """What a handler sees from its first step on: the same class, but an assignment inside a step is refused at its line.

    A class of its own, because a `__setattr__` written in Python makes each assignment three times as slow.
    """
    set_attribute, delete_attribute = cls.__setattr__, cls.__delattr__

    def set_unless_in_step(self: Any, name: str, value: Any) -> None:
        if _inside_step():
            _refuse_in_step(self, name, "assigned")
        set_attribute(self, name, value)

    def delete_unless_in_step(self: Any, name: str) -> None:
        if _inside_step():
            _refuse_in_step(self, name, "deleted")
        delete_attribute(self, name)

    members = {"__setattr__": set_unless_in_step, "__delattr__": delete_unless_in_step, "__actors_runtime__": True}
    members |= {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    metaclass: Any = type(cls)
    guarded: type[Served] = metaclass(cls.__name__, (cls,), members)
    return guarded


def _reader_class(cls: type[Served]) -> type[Served]:
    """What shared handlers see: the same class, but an assignment is refused at the line that does it."""
    members = {"__setattr__": _refuse_set, "__delattr__": _refuse_delete, "__actors_runtime__": True}
    members |= {"__reduce_ex__": _reduce}
    members |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    metaclass: Any = type(cls)
    reader: type[Served] = metaclass(cls.__name__, (cls,), members)
    return reader


def _refuse_set(self: Any, name: str, value: Any) -> None:
    if name in ("_actors_attempt", "_actors_keeper"):
        object.__setattr__(self, name, value)
        return
    raise StateWriteRefused(
        f"{type(self).__name__}.{name} was assigned in a shared handler. Shared handlers only read; "
        "decorate this one with @handler if it must write."
    )


def _refuse_delete(self: Any, name: str) -> None:
    raise StateWriteRefused(f"{type(self).__name__}.{name} was deleted in a shared handler. Shared handlers only read.")
