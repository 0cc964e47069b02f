"""What a handler logs through its context: once, however often the handler is replayed."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.attempt import Attempt


class HandlerLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of the handler's module, which drops the lines of a replay and names the invocation in all others.

    No record is lost; after a crash or a failed attempt a record may appear twice.
    """

    def __init__(self, attempt: Attempt) -> None:
        invocation = attempt.invocation
        assert invocation.handler is not None
        super().__init__(logging.getLogger(invocation.handler.service.cls.__module__))
        self._attempt = attempt

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return super().isEnabledFor(level) and not self._attempt.replaying()

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        invocation = self._attempt.invocation
        names = {
            "invocation_id": self._attempt.partition.ids.invocation(invocation.seq),
            "service": invocation.service,
            "key": invocation.shown_key,
            "handler": invocation.handler_name,
        }
        return msg, {**kwargs, "extra": {**names, **(kwargs.get("extra") or {})}}
