"""How often, and how fast, failing work is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from actors.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off: attempt n + 1 starts `initial_interval * factor**(n - 1)` s after attempt n failed,
    at most `max_interval` s, give or take a fifth, so that many failures at once do not come back at once.

    `max_attempts` counts all attempts, the first included; `max_duration` (seconds) runs from the first failure.
    None means no limit.
    """

    initial_interval: float = 0.1
    factor: float = 2.0
    max_interval: float = 60.0
    max_attempts: int | None = 70
    max_duration: float | None = None

    def __post_init__(self) -> None:
        if not (self.initial_interval >= 0 and self.factor >= 1 and self.max_interval >= 0):
            raise DefinitionError("RetryPolicy: intervals must not be negative and factor must be at least 1.")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise DefinitionError("RetryPolicy: max_attempts counts the first attempt too, so it must be at least 1.")

    def exhausted(self, failures: int, elapsed_ms: int = 0) -> bool:
        """Whether no attempt is left after `failures` of them failed, the first one `elapsed_ms` ago."""
        return (self.max_attempts is not None and failures >= self.max_attempts) or (
            self.max_duration is not None and elapsed_ms >= self.max_duration * 1000
        )

    def delay_ms(self, failures: int, rng: Random) -> int:
        """How long to wait after the `failures`-th failure (1 for the first)."""
        # The exponent is capped before the power is taken: 2.0**2000 would overflow.
        base_s = min(self.initial_interval * self.factor ** min(failures - 1, 64), self.max_interval)
        return round(base_s * 1000 * rng.uniform(0.8, 1.2))
