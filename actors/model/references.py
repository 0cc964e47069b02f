"""References to objects: `ref.handler(...)` calls, `ref.handler.send(...)` sends."""

from __future__ import annotations

from typing import Any, ClassVar

from actors.errors import UnknownHandler, WrongKind
from actors.model.bound_handler import BoundHandler, Dispatcher
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.names import address


class Reference:
    """A reference to one object of a class: `ref.handler(...)`, `ref.handler.send(...)`."""

    __slots__ = ("_dispatcher", "_key")
    _definition: ClassVar[ServiceDefinition]
    _names: ClassVar[str]
    __actors_advice__ = "It is a reference: pass the key, and address the object there with ctx.object(...)."

    def __init__(self, dispatcher: Dispatcher, key: str) -> None:
        self._dispatcher = dispatcher
        self._key = key

    def __getattr__(self, name: str) -> Any:
        definition = type(self)._definition
        if name in definition.fields_by_name:
            raise UnknownHandler(
                f"{definition.name}.{name} is state and lives with the object; a reference cannot read it. "
                "Write a @shared handler that returns it."
            )
        raise UnknownHandler(f"{definition.name} has no handler {name!r}. Its handlers: {self._names}.")

    def __copy__(self) -> Reference:
        return self

    def __deepcopy__(self, memo: Any) -> Reference:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} belongs to a running app and cannot be pickled. Pass the key on, and make a reference from it there."
        )

    def __repr__(self) -> str:
        return f"<{address(type(self)._definition.name, self._key)}>"


class _ReferenceHandler:
    __slots__ = ("__doc__", "_definition")

    def __init__(self, definition: HandlerDefinition) -> None:
        self._definition = definition
        self.__doc__ = definition.function.__doc__

    def __get__(self, reference: Reference | None, owner: Any) -> Any:
        if reference is None:
            return self
        return BoundHandler(reference._dispatcher, self._definition, reference._key)


class _ReferenceState:
    """Refuses assignments to state; reading goes on to Reference.__getattr__, which explains why it is refused."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, reference: Reference | None, owner: Any) -> Any:
        raise AttributeError(self._name)

    def __set__(self, reference: Reference, value: Any) -> None:
        raise AttributeError(
            f"{reference._definition.name}.{self._name} is state and lives with the object; a reference cannot set it. "
            "Write a handler that sets it."
        )


def reference_class(service: ServiceDefinition, handlers: dict[str, str]) -> type[Reference]:
    """The class of references to objects of a class. `handlers`: the names of its handlers by attribute."""
    members: dict[str, Any] = {name: _ReferenceState(name) for name in service.fields_by_name}
    for attribute, name in handlers.items():
        members[attribute] = _ReferenceHandler(service.handlers[name])
    members |= {
        "__slots__": (),
        "__doc__": service.cls.__doc__,
        "_definition": service,
        "_names": ", ".join(sorted(handlers)) or "none",
    }
    return type(f"{service.cls.__name__}Reference", (Reference,), members)


def keyed(definition: ServiceDefinition, dispatcher: Dispatcher, key: str) -> Any:
    """A reference to one object or workflow. Raises WrongKind for a service."""
    if definition.kind == "service":
        raise WrongKind(
            f"{definition.name} is a Service, which has no key. Address it with .service({definition.cls.__name__})."
        )
    return definition.reference(dispatcher, key)


def keyless(definition: ServiceDefinition, dispatcher: Dispatcher) -> Any:
    """A reference to a service. Raises WrongKind for a class with keys."""
    if definition.kind != "service":
        raise WrongKind(
            f"{definition.name} is a {'Workflow' if definition.kind == 'workflow' else 'VirtualObject'}, not a Service. Address it by key "
            f"with .object({definition.cls.__name__}, key)."
        )
    return definition.reference(dispatcher, "")
