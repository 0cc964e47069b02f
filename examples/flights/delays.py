"""How punctual a group of flights was."""

from __future__ import annotations

from dataclasses import dataclass

LATE = 15  # minutes; the limit used by the US Department of Transportation


@dataclass
class Delays:
    """Running figures over delays in minutes; the delay of an early flight is negative."""

    flights: int = 0
    late: int = 0
    minutes: int = 0
    worst: int | None = None

    def add(self, delay: int) -> None:
        self.flights += 1
        self.minutes += delay
        if delay >= LATE:
            self.late += 1
        if self.worst is None or delay > self.worst:
            self.worst = delay
