"""The logger of a handler's context: a record appears once, however often the handler is replayed."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from actors.model.journaling import Journaling


class HandlerLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of the handler's module, which drops the records of a replay and names the invocation in all other records.

    No record is lost; after a crash or a failed attempt a record may appear twice.
    """

    def __init__(self, attempt: Journaling) -> None:
        super().__init__(logging.getLogger(attempt.handler.service.cls.__module__))
        self._attempt = attempt

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return super().isEnabledFor(level) and not self._attempt.replaying()

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        attempt = self._attempt
        names = {
            "invocation_id": attempt.invocation_id,
            "service": attempt.handler.service.name,
            "key": attempt.key,
            "handler": attempt.handler.name,
        }
        return msg, {**kwargs, "extra": {**names, **(kwargs.get("extra") or {})}}
