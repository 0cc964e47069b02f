"""The classes that an app serves, by name and by class."""

from __future__ import annotations

from typing import Any

from actors.errors import UnknownHandler, UnknownService
from actors.model.definitions import HandlerDefinition, ServiceDefinition, definition_of


class Catalog:
    """The served classes. Immutable."""

    __slots__ = ("_by_class", "services")

    def __init__(self, services: dict[str, ServiceDefinition]) -> None:
        self.services = services
        # Inside a shared handler, type(self) is the class's reader.
        self._by_class = {cls: known for known in services.values() for cls in known.classes()}

    def handler(self, service: str, name: str, run: bool = False) -> HandlerDefinition:
        """A handler by name. With `run`, the handler of an invocation that was accepted as the run of a workflow: see
        `ServiceDefinition.handler`. Raises UnknownService or UnknownHandler.
        """
        definition = self.services.get(service)
        if definition is None:
            served = ", ".join(sorted(self.services)) or "none"
            raise UnknownService(f"No service {service!r} in this app. Served: {served}. Add the class to App(...).")
        handler = definition.handler(name, run)
        if handler is None:
            known = ", ".join(sorted(definition.handlers)) or "none"
            raise UnknownHandler(f"{service} has no handler {name!r}. Its handlers: {known}.")
        return handler

    def definition(self, cls: Any) -> ServiceDefinition:
        """The definition of a served class. Raises UnknownService, or DefinitionError for any other class."""
        definition = self._by_class.get(cls)
        if definition is None:
            definition_of(cls)
            raise UnknownService(
                f"class {cls.__qualname__} is not served by this app. Add it: App({cls.__name__}, ...)."
            )
        return definition
