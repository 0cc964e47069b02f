"""A stored invocation once more: `actors replay`, in the debugger too, and `actors capture`, as a test."""
