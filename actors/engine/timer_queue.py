"""Durable timers: the next timers are in memory, in one heap with one alarm; the others stay on disk until their time is near.

Promise: timers fire in order of (due time, acceptance). `number` is drawn from the partition's single counter when the timer is
created, so two timers of the same millisecond never swap, before or after a restart.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from actors.engine.background import Background
from actors.engine.clock import Cancellable, Clock
from actors.engine.committer import Committer
from actors.storage.port import Store

RETRY = -1  # `index` of the timer that starts the next attempt
DELIVER = -2  # `index` of the timer that puts a delayed message into its mailbox

Timer = tuple[int, int, int, int]  # (due_ms, number, seq of the invocation, index of the command)


class TimerQueue:
    """Holds the timers that are due next. `on_due` receives due timers in order; the owner removes them from disk.

    Every timer up to `_horizon`, a (due_ms, number), is in memory. Later timers are on disk only, or in a batch on its way
    there, and are read when the heap runs low.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: Committer,
        background: Background,
        most: int,
        longest_retry_ms: int,
        on_due: Callable[[list[Timer]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._committer = committer
        self._background = background
        self._longest_retry_ms = longest_retry_ms
        self._on_due = on_due
        self._most = most
        self._read_size = max(1, self._most // 3)  # per read; also how many stay in memory when there are too many
        self._heap: list[Timer] = []
        self._live: dict[tuple[int, int], Timer] = {}  # by (seq, index); the heap may hold cancelled timers too
        self._horizon: tuple[int, int] | None = (0, 0)
        self._reading: asyncio.Task[None] | None = None
        # During a read: timers added behind the horizon, which the read may miss, and timers removed, which it may still see.
        self._added: list[Timer] = []
        self._cancelled: set[tuple[int, int, int]] = set()
        self._alarm: Cancellable | None = None
        self._seen_ms = 0  # the latest time seen
        self._stopped = False

    async def open(self) -> None:
        """Read the first timers."""
        await self._read()
        self._seen_ms = self._clock.now_ms()
        if overlong := self._overlong_retries(self._seen_ms):
            self._on_due(overlong)

    def add(self, timer: Timer) -> None:
        """Add a timer, which the open batch writes. A timer behind the horizon stays on disk only."""
        if self._horizon is not None and timer[:2] > self._horizon:
            if self._reading is not None:
                self._added.append(timer)
            return
        self._live[timer[2], timer[3]] = timer
        heapq.heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._arm()
        if len(self._heap) > self._most:
            self._trim()

    def cancel(self, due_ms: int, seq: int, index: int) -> Timer | None:
        """Forget the timer of a command, if it has not fired. Returns the timer; None if it is on disk only, or has fired."""
        timer = self._live.pop((seq, index), None)
        if timer is not None:
            if self._heap and self._heap[0] is timer:
                self._arm()
            if len(self._heap) > 2 * len(self._live) + 16:  # cancelled timers, due far in the future, would pile up
                self._heap = list(self._live.values())
                heapq.heapify(self._heap)
        elif self._reading is not None:
            self._cancelled.add((due_ms, seq, index))
        return timer

    def next_ms(self) -> int | None:
        """The due time of the next timer in memory."""
        return self._heap[0][0] if self._heap else None

    def stop(self) -> None:
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def _trim(self) -> None:
        """Drop the later timers from memory: they are on disk, or in a batch, already."""
        kept = sorted(self._live.values())
        for timer in kept[self._read_size :]:
            del self._live[timer[2], timer[3]]
            if self._reading is not None:
                self._added.append(timer)
        self._heap = kept[: self._read_size]
        self._horizon = self._heap[-1][:2]

    def _arm(self) -> None:
        """Set the alarm for the next timer; read more timers when few are left in memory."""
        if self._stopped:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._heap and self._live.get((self._heap[0][2], self._heap[0][3])) is not self._heap[0]:
            heapq.heappop(self._heap)
        if self._heap:
            self._alarm = self._clock.call_at(self._heap[0][0], self._ring)
        if self._horizon is not None and len(self._heap) < max(1, self._read_size // 2) and self._reading is None:
            self._reading = self._background.spawn(self._read_on())

    def _ring(self) -> None:
        """Hand over all due timers, in order."""
        self._alarm = None
        now = self._clock.now_ms()
        due = self._overlong_retries(now) if now < self._seen_ms else []
        self._seen_ms = now
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)
            if self._live.get((timer[2], timer[3])) is timer:
                del self._live[timer[2], timer[3]]
                due.append(timer)
        self._arm()
        if due:
            self._on_due(due)

    def _overlong_retries(self, now: int) -> list[Timer]:
        """Retries that are further ahead than any policy allows: the clock was ahead when they were planned. They count as due."""
        latest = now + self._longest_retry_ms
        found = sorted(timer for timer in self._live.values() if timer[3] == RETRY and timer[0] > latest)
        for timer in found:
            del self._live[timer[2], timer[3]]
        return found

    async def _read_on(self) -> None:
        await self._committer.flushed()  # so that the read sees all timers that were added before
        await self._read()

    async def _read(self) -> None:
        """Read the timers behind the horizon."""
        horizon = self._horizon
        assert horizon is not None
        found = await self._store.timers(horizon, self._read_size)
        rows: list[Timer] = [(row.due_ms, row.seq, row.invocation, row.idx) for row in found]
        if self._horizon != horizon:  # trimmed meanwhile: the timers just read lie behind the horizon, or are in memory
            rows = []
        else:
            self._horizon = rows[-1][:2] if len(rows) == self._read_size else None
        added, self._added = self._added, []
        cancelled, self._cancelled = self._cancelled, set()
        self._reading = None
        known = {timer[1] for timer in rows}
        for timer in (*rows, *(timer for timer in added if timer[1] not in known)):
            if (timer[0], timer[2], timer[3]) in cancelled:
                continue
            if self._horizon is None or timer[:2] <= self._horizon:
                self._live[timer[2], timer[3]] = timer
                heapq.heappush(self._heap, timer)
        self._arm()
