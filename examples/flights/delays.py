"""How punctual a group of flights was."""

from __future__ import annotations

from dataclasses import dataclass

LATE = 15  # minutes; the limit the US Department of Transportation counts by


@dataclass
class Delays:
    """Running figures over delays in minutes; an early flight has a negative one."""

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
