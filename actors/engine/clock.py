"""Time as the runtime sees it: a seam, so that tests can control it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Wall-clock milliseconds since the epoch, and a way to be called later."""

    def now_ms(self) -> int:
        """The current time, rounded down to whole milliseconds."""
        ...

    def due_ms(self, after_ms: int) -> int:
        """The first whole millisecond at which `after_ms` have passed, so that a wait never ends early.

        `now_ms() + after_ms` would be up to a millisecond too soon.
        """
        ...

    def call_at(self, due_ms: int, callback: Callable[[], None]) -> Cancellable:
        """Call once at or after `due_ms`, perhaps early: the caller checks the time and calls `call_at` again."""
        ...


class SystemClock:
    """The machine's clock. Durable deadlines are wall-clock times, because they outlive the process.

    `time_ns` returns the time in nanoseconds since the epoch.
    """

    # The loop's timer does not notice when the wall clock is set or the machine sleeps; looking again every minute does.
    LONGEST_WAIT_S = 60.0

    def __init__(self, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._time_ns = time_ns

    def now_ms(self) -> int:
        return self._time_ns() // 1_000_000

    def due_ms(self, after_ms: int) -> int:
        return -(-self._time_ns() // 1_000_000) + after_ms

    def call_at(self, due_ms: int, callback: Callable[[], None]) -> Cancellable:
        wait_s = (due_ms * 1_000_000 - self._time_ns()) / 1e9
        return asyncio.get_running_loop().call_later(min(max(wait_s, 0.0), self.LONGEST_WAIT_S), callback)
