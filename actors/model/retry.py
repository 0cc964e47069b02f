"""How often, and after which pauses, failing work is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from actors.errors import DefinitionError
from actors.model.spelling import check_options


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off: attempt n + 1 starts `initial_interval * factor**(n - 1)` s after attempt n failed, plus or
    minus a fifth, so that simultaneous failures are not retried simultaneously, and at most `max_interval` s later.

    `max_attempts` counts all attempts, the first included; `max_duration` (seconds) runs from the first failure. None
    means no limit. When a limit is reached, `on_exhausted` says what happens to an invocation: "pause" keeps the
    invocation, and its key, until it is resumed or the app starts again, for example after the cause was fixed; "fail"
    ends the invocation with RetriesExhausted. A policy of a step always fails the step.
    """

    initial_interval: float = 0.1
    factor: float = 2.0
    max_interval: float = 60.0
    max_attempts: int | None = 70
    max_duration: float | None = None
    on_exhausted: Literal["pause", "fail"] = "pause"

    if not TYPE_CHECKING:

        def __new__(cls, *positional: Any, **given: Any) -> Any:
            check_options(cls, positional, given)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        _check("initial_interval", self.initial_interval, 0)
        _check("factor", self.factor, 1)
        _check("max_interval", self.max_interval, 0)
        if self.max_duration is not None:
            _check("max_duration", self.max_duration, 0)
        if self.max_attempts is not None and (type(self.max_attempts) is not int or self.max_attempts < 1):
            raise DefinitionError(
                f"RetryPolicy: max_attempts={self.max_attempts!r}. It counts the first attempt too: use None or "
                "an int of at least 1."
            )
        if self.on_exhausted not in ("pause", "fail"):
            raise DefinitionError(f'RetryPolicy: on_exhausted={self.on_exhausted!r}. It must be "pause" or "fail".')

    def exhausted(self, failures: int, elapsed_ms: int = 0) -> bool:
        """Whether no attempt is left after `failures` failed attempts, the first of them `elapsed_ms` ago."""
        return (self.max_attempts is not None and failures >= self.max_attempts) or (
            self.max_duration is not None and elapsed_ms >= self.max_duration * 1000
        )

    def delay_ms(self, failures: int, rng: Random) -> int:
        """How long to wait after the `failures`-th failure (1 for the first)."""
        spread = rng.uniform(0.8, 1.2)
        longest_s = self.max_interval / 1.2  # so that delays at the limit are spread too
        try:
            base_s = min(self.initial_interval * float(self.factor) ** (failures - 1), longest_s)
        except OverflowError:  # the power alone, beyond any float
            base_s = longest_s if self.initial_interval else 0.0
        return round(base_s * spread * 1000)


def _check(name: str, value: object, least: float) -> None:
    # The upper bound, 30 million years, keeps infinity out.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 1e15:
        raise DefinitionError(
            f"RetryPolicy: {name}={value!r}. It requires a number (seconds, for a time), at least {least}."
        )
