"""Durable timers in memory: one heap, one alarm.

Promise: timers fire in order of (due time, acceptance). `number` is drawn from the partition's single counter when
the timer is made, so two of the same millisecond never swap, before or after a restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from actors.clock import Cancellable, Clock

RETRY = -1  # `index` of the timer that starts the next attempt
DELIVER = -2  # `index` of the timer that puts a delayed message into its mailbox

Timer = tuple[int, int, int, int]  # (due_ms, number, seq of the invocation, index of the command)


class Timers:
    """Holds what is due when. `on_due` gets the due timers in order; the owner removes them from disk."""

    def __init__(self, clock: Clock, on_due: Callable[[list[Timer]], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._heap: list[Timer] = []
        self._live: dict[tuple[int, int], Timer] = {}  # by (seq, index); the heap may hold cancelled ones too
        self._alarm: Cancellable | None = None
        self._stopped = False

    @property
    def live(self) -> int:
        """How many timers have neither fired nor been cancelled."""
        return len(self._live)

    def load(self, timers: list[Timer]) -> None:
        """Take over what was on disk, sorted by due time and number."""
        self._heap = timers
        self._live = {(timer[2], timer[3]): timer for timer in timers}
        self._arm()

    def add(self, timer: Timer) -> None:
        self._live[timer[2], timer[3]] = timer
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._arm()

    def cancel(self, seq: int, index: int) -> Timer | None:
        """Forget the timer of a command, if it has one that did not fire. The owner removes it from disk."""
        timer = self._live.pop((seq, index), None)
        if timer is not None and self._heap[0] is timer:
            self._arm()
        return timer

    def stop(self) -> None:
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    def _arm(self) -> None:
        if self._stopped:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._heap and self._live.get((self._heap[0][2], self._heap[0][3])) is not self._heap[0]:
            heapq.heappop(self._heap)
        if self._heap:
            self._alarm = self._clock.call_at(self._heap[0][0], self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock.now_ms()
        due: list[Timer] = []
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)
            if self._live.get((timer[2], timer[3])) is timer:
                del self._live[timer[2], timer[3]]
                due.append(timer)
        self._arm()
        if due:
            self._on_due(due)
