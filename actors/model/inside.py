"""Where the running code belongs: the app whose handler or step it is, and whether it is a step."""

from __future__ import annotations

import contextvars

# The partition whose handler or step (or a task of these) is running. Set where handlers start, so a handler pays
# nothing for it.
inside: contextvars.ContextVar[object | None] = contextvars.ContextVar("inside", default=None)

# Set while the function of a step runs: no replay would repeat its changes to the object, or its requests of the context.
inside_step: contextvars.ContextVar[bool] = contextvars.ContextVar("inside_step", default=False)
