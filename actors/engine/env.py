"""The environment of a partition: the seams and options that all its parts may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from actors.attempt.invocation import Invocation
from actors.engine.clock import Clock
from actors.engine.watching import Counts, Watcher
from actors.journal.ids import IdMint
from actors.model.limits import Limits
from actors.model.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Env:
    """The seams to time, randomness and operators, and the options of the app."""

    ids: IdMint
    clock: Clock
    rng: Random
    limits: Limits
    retry: RetryPolicy
    watcher: Watcher | None
    counts: Counts
    on_paused: Callable[[Invocation], None] | None
    debug: bool

    def label(self, invocation: Invocation) -> str:
        """The name of an invocation in the log."""
        return f"{invocation.address} ({self.ids.invocation(invocation.seq)})"
