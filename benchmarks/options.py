"""The options of a run, and the base of every scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.measure import Progress

Result = dict[str, Any]  # one flat JSON object

GRIDS = ("http",)  # without --callers and --keys: all combinations that a full run measures


class Skipped(Exception):
    """This scenario cannot run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Options:
    """`ops` is the number of operations in a round; with None the scenario chooses, for about a second per round."""

    callers: int = 64
    keys: int = 1000
    ops: int | None = None
    rounds: int = 5
    ever: int = 1_000_000
    count: int = 100_000
    resume: int = 1000
    due: int = 10_000
    kind: str = "sleeps"
    seconds: int = 60
    held: int = 30
    megabytes: int = 400

    def ops_for(self, weight: float) -> int:
        """The operations of a round. `weight` is how many times quicker the scenario's operation is than a counter call."""
        if self.ops is not None:
            return self.ops
        return int(weight * max(min(20_000, 2000 + 300 * self.callers), 40 * self.callers))


class Scenario(Protocol):
    """One question. `asks` names the options that the scenario uses, `quick` the options in a run of all scenarios."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def asks(self) -> tuple[str, ...]: ...

    @property
    def quick(self) -> tuple[Options, ...]: ...

    def steps(self, options: Options) -> int:
        """How often `run` reports progress."""
        ...

    def run(self, options: Options, progress: Progress) -> Result:
        """Raises Skipped."""
        ...
