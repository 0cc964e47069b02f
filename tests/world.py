"""The World of these tests: it keeps everything that has ended, because tests look at it."""

from __future__ import annotations

import asyncio
from typing import Any

from actors import Limits, TerminalError
from actors.model.calls import InvocationHandle
from actors.model.virtual_object import Served
from actors.testing import ManualWorld as Machine


def limits(**others: Any) -> Limits:
    """Limits that keep everything, if these do not say otherwise."""
    return Limits(**{"retention": None, "idempotency_retention": None, **others})


async def outcome(handle: InvocationHandle[Any]) -> Any:
    """The value, or the class of the error. With a limit: what hangs is to fail here, not by the limit of the test."""
    try:
        return await asyncio.wait_for(handle.result(), 5)
    except TerminalError as error:
        return type(error)


_KEPT = limits()


class World(Machine):
    def __init__(self, *classes: type[Served], limits: Limits | None = None, **options: Any) -> None:
        super().__init__(*classes, limits=limits or _KEPT, **options)

    async def outcome(self, handle: InvocationHandle[Any]) -> Any:
        """The same as `outcome`, by the id of the invocation: a restart has ended the handle."""
        return await outcome(self.app.invocation(handle.id))
