"""A histogram of durations: how many lay within each bound, and their sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

# Upper bounds in seconds: from a warm call without load to the time after which users give up.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Durations:
    """One histogram. Adding a duration costs a search among 15 bounds."""

    __slots__ = ("_numbers", "seconds")

    def __init__(self) -> None:
        self._numbers = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0  # the sum of all durations

    def add(self, seconds: float) -> None:
        self._numbers[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> Iterator[tuple[str, float]]:
        """(bound, how many durations lay within it); the last bound is +Inf."""
        within = 0
        for bound, number in zip((*map(str, BOUNDS_S), "+Inf"), self._numbers, strict=True):
            within += number
            yield bound, within
