"""A message on its way into a mailbox, and the claim of its idempotency key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import BadArguments
from actors.storage.records import RUN

if TYPE_CHECKING:
    from actors.model.definitions import HandlerDefinition
    from actors.model.options import Options

# Service, key, handler, idempotency key. The first message with a claim becomes an invocation.
Claim = tuple[str, str, str, str]


class Message:
    """A request that is to become an invocation. Raises BadArguments for the run of a workflow with an idempotency key."""

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
    """The claim of a workflow's run: the whole key, without the name of the handler, which may be renamed."""
    return service, key, "", RUN
