"""Keyless services: handlers that do not belong to an object."""

from __future__ import annotations

from typing import ClassVar

from actors.errors import DefinitionError
from actors.model.definitions import Kind, ServiceDefinition
from actors.model.kinds import Keyless
from actors.model.virtual_object import Served


class Service(Served, Keyless):
    """Base class of keyless services: no key, no state, any number of invocations at the same time.

    Each invocation is as durable as an invocation of an object, and has the same life: it is journaled, retried, suspended,
    and can be cancelled, paused or restarted. No invocation waits for another. `app.service(Mailer).deliver("a@b")` calls a handler.
    """

    __slots__ = ()
    __kind__: ClassVar[Kind] = "service"

    @classmethod
    def _check_kind(cls, definition: ServiceDefinition) -> None:
        where = f"class {cls.__qualname__}"
        for name in definition.fields_by_name:
            raise DefinitionError(
                f"{where}: a Service has no state, but {name!r} is annotated. Make it a ClassVar if it is a constant, or "
                "derive from VirtualObject, which keeps state by key."
            )
        if definition.version != 1:
            raise DefinitionError(f"{where}: a Service has no state, so it has no version. Remove version=.")
        if definition.history:
            raise DefinitionError(f"{where}: a Service has no state, so it has no history. Remove history=.")
        for handler in definition.handlers.values():
            if handler.shared:
                raise DefinitionError(
                    f"{where}: the invocations of a Service never wait for each other, so {handler.name!r} cannot be @shared. "
                    "Decorate it with @handler."
                )
            if handler.atomic:
                raise DefinitionError(
                    f"{where}: a Service has no state to roll back, so {handler.name!r} cannot be atomic. Remove "
                    "atomic=."
                )
