"""Keyed objects as classes: `VirtualObject`, and its common base with services and workflows."""

from __future__ import annotations

import abc
import sys
from types import BuiltinMethodType, FrameType
from typing import TYPE_CHECKING, Any, ClassVar

from actors.errors import DefinitionError, UnknownHandler, UnsetState
from actors.model import builder
from actors.model.bound_handler import BoundHandler
from actors.model.calls import InvocationHandle
from actors.model.definitions import HandlerDefinition, Kind, ServiceDefinition, definition_of
from actors.model.handlers import Handler
from actors.model.instances import Instance
from actors.model.kinds import Keyed, Keyless
from actors.model.migrations import Migration, checked_version
from actors.model.names import check_declared_name
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.model.spelling import refuse_unknown


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


class Served(Instance, metaclass=_Meta):
    """Base of all classes that an app can serve. Derive from VirtualObject, Service or Workflow instead."""

    __slots__ = ()
    __kind__: ClassVar[Kind]
    __service_name__: ClassVar[str | None] = None
    __retry__: ClassVar[RetryPolicy | None] = None
    __private__: ClassVar[bool] = False
    __history__: ClassVar[bool] = False
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
        history: bool | None = None,
        **kwargs: Any,
    ) -> None:
        # A base class may take options of its own, or pass on unknown options; `object` takes no options.
        if isinstance(super().__init_subclass__, BuiltinMethodType):
            refuse_unknown(f"class {cls.__qualname__}", kwargs, ("name", "retry", "version", "private", "history"))
        super().__init_subclass__(**kwargs)
        if "__actors_runtime__" in cls.__dict__ or "__kind__" in cls.__dict__:
            return
        if name is not None:
            check_declared_name(name, f"class {cls.__qualname__}")
        cls.__service_name__ = name
        if retry is not None:
            if not isinstance(retry, RetryPolicy):
                raise DefinitionError(f"class {cls.__qualname__}: retry= requires a RetryPolicy, got {retry!r}.")
            cls.__retry__ = retry
        if private is not None:
            cls.__private__ = bool(private)
        if history is not None:
            if not isinstance(history, bool):
                raise DefinitionError(
                    f"class {cls.__qualname__}: history= requires True or False, got {history!r}. How long invocations are kept, "
                    "and their changes with them, is Limits(retention=...)."
                )
            cls.__history__ = history
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
        cls.__actors__ = builder.definition(cls, namespace, _FRAMEWORK)
        cls._check_kind(cls.__actors__)

    @classmethod
    def _check_kind(cls, definition: ServiceDefinition) -> None:
        """Raise DefinitionError for anything that this kind of class cannot have."""

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
            # Names the missing attribute; or, if a property raised AttributeError, repeats that error.
            return object.__getattribute__(self, name)

    def __getstate__(self) -> Any:
        """A copy holds the same values, and is not an object of an app: changing the copy does not change state."""
        return dict(vars(self))

    def _bind_inline(self, declared: Handler[Any, Any, Any]) -> BoundHandler[Any, Any]:
        definition = type(self).__actors__.inline[declared]
        return BoundHandler(_Inline(self, definition), definition, "")


class VirtualObject(Served, Keyed):
    """Base class of keyed objects. Each key has its own state; an object exists as soon as it is addressed.

    Annotated attributes are durable state. Methods decorated with `@handler` or `@shared` can be invoked.
    The version in `class Order(VirtualObject, version=2)` counts the forms that its stored state has had; `@migration` leads
    from each form to the next. Subclasses inherit version and migrations, and count on from there.
    With `history=True` every change of state is recorded in the journal of the invocation that makes it, with the value before,
    for as long as invocations are kept: see `Limits(retention=)`. Without it, only what handlers that use their context write is.
    Instances are made by the runtime; `Order()` makes an instance with default state, for plain unit tests of its methods.
    """

    __slots__ = ()
    __kind__: ClassVar[Kind] = "object"


_FRAMEWORK = (Instance, Served, Keyed, Keyless)


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
        if not target.takes_context:
            return target.function(self._instance, *args, **kwargs)
        return target.function(self._instance, self._context(), *args, **kwargs)

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        context = self._context()
        # A message goes to a name, so super().handler.send(...) reaches the overriding handler.
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
