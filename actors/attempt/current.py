"""Which invocation is being executed, for the log and for whatever its code calls."""

from __future__ import annotations

import contextvars

from actors.attempt.invocation import Invocation
from actors.journal.ids import IdMint

# Inherited by the steps of a handler, its tasks, and their threads. Set for handlers that take a context, and by the first task of
# other handlers; otherwise the handler is identified by the current task.
invocation_of: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar("invocation_of", default=None)

# Set once for all handlers of an app: set together with the invocation it would cost an object for each waiting handler.
ids_of: contextvars.ContextVar[IdMint | None] = contextvars.ContextVar("ids_of", default=None)
