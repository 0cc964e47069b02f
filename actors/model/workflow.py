"""Workflows: one handler that runs once for each key, and shared handlers beside it."""

from __future__ import annotations

from typing import ClassVar

from actors.errors import DefinitionError
from actors.model.definitions import Kind, ServiceDefinition
from actors.model.virtual_object import VirtualObject


class Workflow(VirtualObject):
    """Base class of workflows. The one `@handler`, under any name, is the workflow itself: it runs once for each key.

    A second call or send with the same arguments gets the outcome of the first, with other arguments IdempotencyMismatch, as
    long as the run is kept: until `Limits.idempotency_retention` after its end, or `app.purge`. Then the state and the promises
    are forgotten with the run, and the key may run again. `@shared` handlers read the state before, during and after the run,
    and communicate with it through `ctx.promise(name, type)`.
    """

    __slots__ = ()
    __kind__: ClassVar[Kind] = "workflow"

    @classmethod
    def _check_kind(cls, definition: ServiceDefinition) -> None:
        runs = [handler.name for handler in definition.handlers.values() if handler.once]
        if not runs:
            raise DefinitionError(
                f"class {cls.__qualname__}: a Workflow has one @handler, which runs once for each key, and this "
                "class has none. Decorate it; in a base class make it abstract too (@handler above "
                "@abstractmethod)."
            )
        if len(runs) > 1:
            raise DefinitionError(
                f"class {cls.__qualname__}: a Workflow runs one @handler once for each key, and this class has "
                f"{len(runs)}: {', '.join(runs)}. Make the others @shared (they may complete and await promises), "
                "or derive from VirtualObject."
            )
