"""What the running code is part of: a handler or step of which app, and whether it is a step."""

from __future__ import annotations

import contextvars

# The partition whose handler or step (or a task of these) is running. Set where handlers start, so a handler pays
# nothing for it.
inside: contextvars.ContextVar[object | None] = contextvars.ContextVar("inside", default=None)

# Set while the function of a step runs: what it did to its object, or asked of the context, no replay would do again.
inside_step: contextvars.ContextVar[bool] = contextvars.ContextVar("inside_step", default=False)
