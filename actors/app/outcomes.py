"""What a transport gets for a request: its acceptance, its call, the outcome of an invocation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from actors.attempt.invocation import Invocation
from actors.engine.partition import Partition
from actors.errors import ProgrammingError, TerminalError
from actors.model.definitions import HandlerDefinition
from actors.serde import Codec


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation has ended: `text` is the value as JSON, unless there is a `failure`.

    `codec` is the codec of the value, None if its class is not served any more. `expires_ms` is how long the outcome is kept, if
    the request had an idempotency key.
    """

    id: str
    text: str
    failure: TerminalError | None
    codec: Codec | None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A message that was taken in: `new` unless its idempotency key was taken, `due_ms` if it is for later."""

    id: str
    new: bool
    due_ms: int | None


@dataclass(frozen=True, slots=True)
class BegunCall:
    """A call that was accepted. `future` is done once its outcome is durable."""

    partition: Partition
    target: HandlerDefinition
    invocation: Invocation
    future: asyncio.Future[Any]

    def forget(self) -> None:
        """The caller has gone; the call goes on."""
        self.future.cancel()
        waiters = self.invocation.waiters
        if waiters is not None and self.future in waiters:
            waiters.remove(self.future)

    def outcome(self) -> Outcome:
        """Of one whose future is done. Raises what has kept it from ending: OutcomePending, or AppNotRunning or a StorageError
        if nothing has happened."""
        invocation, codec = self.invocation, self.target.returns
        failure = self.future.exception()
        if failure is None:
            # Without one it was evicted while it waited, and ended as another object of this process.
            text = invocation.outcome if invocation.outcome is not None else codec.encode(self.future.result())
        elif isinstance(failure, TerminalError):
            text = ""
        else:
            raise failure
        return Outcome(
            self.partition.ids.invocation(invocation.seq), text, shown_failure(self.partition, failure), codec
        )


def shown_failure(partition: Partition, failure: TerminalError | None) -> TerminalError | None:
    """The failure as it goes out: tracebacks stay here, unless the app has debug now."""
    if isinstance(failure, ProgrammingError) and not partition.env.debug:
        return ProgrammingError(failure.message, failure.code)
    return failure
