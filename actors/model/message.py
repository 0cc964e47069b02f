"""A message on its way into a mailbox, and what its idempotency key claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import BadArguments
from actors.storage.records import RUN

if TYPE_CHECKING:
    from actors.model.definitions import HandlerDefinition
    from actors.model.options import Options

Claim = tuple[
    str, str, str, str
]  # service, key, handler, idempotency key: the first message with it becomes an invocation


class Message:
    """What is to become an invocation. Raises BadArguments for an idempotency key where the key of the workflow is it."""

    __slots__ = ("args_text", "idempotency_key", "key", "options", "target", "values")

    def __init__(
        self, target: HandlerDefinition, key: str, args_text: str, values: tuple[Any, ...] | None, options: Options
    ) -> None:
        self.target = target
        self.key = key
        self.args_text = args_text
        self.values = values
        self.options = options
        self.idempotency_key = options.idempotency_key
        if target.once:
            if self.idempotency_key is not None:
                raise BadArguments(
                    f"{target.target} runs once for each key of the workflow: that key is its idempotency key. Remove idempotency_key=."
                )
            self.idempotency_key = RUN

    @property
    def claim(self) -> Claim:
        assert self.idempotency_key is not None
        if self.target.once:
            return run_claim(self.target.service.name, self.key)
        return self.target.service.name, self.key, self.target.name, self.idempotency_key


def run_claim(service: str, key: str) -> Claim:
    """What the run of a workflow takes: its whole key, so that it may be renamed."""
    return service, key, "", RUN
