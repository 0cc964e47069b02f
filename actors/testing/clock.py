"""A clock that stands still until a test moves it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

_MS = 1_000_000  # nanoseconds


class _Alarm:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Wall-clock time for `App(clock=...)`. It outlives the apps that use it, as real time outlives a process."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ns = start_ms * _MS
        self._alarms: list[tuple[int, int, _Alarm]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return self._now_ns // _MS

    def now_ns(self) -> int:
        return self._now_ns

    def due_ms(self, after_ms: int) -> int:
        return -(-self._now_ns // _MS) + after_ms

    def call_at(self, due_ms: int, callback: Callable[[], None]) -> _Alarm:
        alarm = _Alarm(callback)
        heapq.heappush(self._alarms, (due_ms, next(self._order), alarm))
        return alarm

    def next_due_ms(self) -> int | None:
        """When the next alarm is due; None if nothing waits for time to pass."""
        while self._alarms and self._alarms[0][2].cancelled:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`, to the nanosecond, and ring the alarms that become due, in order."""
        self._move_to(self._now_ns + round(seconds * 1e9))

    def move_to(self, target_ms: int) -> None:
        """Move forward to `target_ms`. Never backwards."""
        self._move_to(target_ms * _MS)

    def _move_to(self, target_ns: int) -> None:
        while (due_ms := self.next_due_ms()) is not None and due_ms * _MS <= target_ns:
            _, _, alarm = heapq.heappop(self._alarms)
            self._now_ns = max(self._now_ns, due_ms * _MS)
            alarm.callback()
        self._now_ns = max(self._now_ns, target_ns)

    def set_to(self, target_ms: int, *, noticed: bool = True) -> None:
        """Set the clock, back or ahead, as a user does, or a machine that was suspended.

        Alarms ring, perhaps early, as with the machine's clock within a minute: at once, or, if the change is not `noticed`
        yet, at the next call of this method.
        """
        self._now_ns = target_ms * _MS
        if not noticed:
            return
        waiting, self._alarms = sorted(self._alarms), []
        for _, _, alarm in waiting:
            if not alarm.cancelled:
                alarm.callback()

    def skip(self) -> bool:
        """Move forward to the next alarm. False if there is none."""
        due_ms = self.next_due_ms()
        if due_ms is None:
            return False
        self.move_to(due_ms)
        return True
