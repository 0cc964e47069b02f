"""Where the running code belongs: the app whose handler or step it is, and whether it is a step."""

from __future__ import annotations

import contextvars
from typing import Protocol

# The partition whose handler or step (or a task of these) is running. Set where handlers start, so a handler pays
# nothing for it.
inside: contextvars.ContextVar[object | None] = contextvars.ContextVar("inside", default=None)

# Set while the function of a step runs: no replay would repeat its changes to the object, or its requests of the context.
inside_step: contextvars.ContextVar[bool] = contextvars.ContextVar("inside_step", default=False)


class Elsewhere(Protocol):
    """An invocation whose journal another engine keeps, as the log sees it."""

    def log_names(self) -> dict[str, str]:
        """Its `invocation_id`, `service`, `key` and `handler`."""
        ...

    def replaying(self) -> bool: ...


# Set while such an invocation runs, for its tasks and steps too. Invocations of an app in this process have more: see
# `attempt.current`.
elsewhere: contextvars.ContextVar[Elsewhere | None] = contextvars.ContextVar("elsewhere", default=None)
