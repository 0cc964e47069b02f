"""What happens when a timer is due: a retry begins, a delayed message is delivered, a sleep or a deadline is over."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from actors.errors import DurableTimeout, failure_text
from actors.journal.entries import Kind
from actors.storage import Flag, Status
from actors.timers import DELIVER, RETRY, Timer, Timers

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation
    from actors.partition import Partition

LOADED_AT_ONCE = 1000  # cold invocations whose timers are due, brought into memory by one read


class Alarms:
    """Makes, cancels and fires the timers of a partition. Those that are due fire strictly in order."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._timers = Timers(partition, self._timers_due)
        self._due: deque[Timer] = deque()
        self._loading = False

    async def open(self) -> None:
        await self._timers.open()

    def late_ms(self) -> int:
        """By how much the next timer is late; 0 if none is due."""
        next_ms = self._due[0][0] if self._due else self._timers.next_ms()
        return 0 if next_ms is None else max(0, self._partition.clock.now_ms() - next_ms)

    def stop(self) -> None:
        self._timers.stop()

    def add(self, due_ms: int, invocation: Invocation, index: int) -> None:
        partition = self._partition
        timer = (due_ms, partition.next_number(), invocation.seq, index)
        partition.committer.batch.timers[timer[0], timer[1]] = timer
        self._timers.add(timer)
        partition.touch()

    def cancel(self, due_ms: int, seq: int, index: int) -> None:
        """The timer of a command is not needed any more, whether it is in memory or on disk only."""
        timer = self._timers.cancel(due_ms, seq, index)
        if timer is not None:
            self._remove(timer)
        else:
            self._partition.committer.batch.stopped.append((due_ms, seq, index))
            self._partition.touch()

    def cancel_retry(self, seq: int) -> None:
        """A retry that is not to come. One that is not in memory is far off; it finds nothing to do when it is due."""
        timer = self._timers.cancel(0, seq, RETRY)
        if timer is not None:
            self._remove(timer)

    def _remove(self, timer: Timer) -> None:
        batch = self._partition.committer.batch
        if batch.timers.pop((timer[0], timer[1]), None) is None:
            batch.fired.append((timer[0], timer[1]))
            self._partition.touch()

    def _timers_due(self, timers: list[Timer]) -> None:
        self._due.extend(timers)
        if not self._loading:
            self._fire_due()

    def _fire_due(self) -> None:
        """Fire in order. A timer of a cold invocation loads it first, and those behind it wait, so that none overtakes."""
        self._loading = False
        partition = self._partition
        if partition.stopped:
            return
        while self._due:
            if self._due[0][2] not in partition.open:
                self._loading = True
                cold = [due[2] for due in islice(self._due, LOADED_AT_ONCE) if due[2] not in partition.open]
                partition.loader.spawn(cold, self._fire_loaded)
                return
            self._fire(self._due.popleft())

    def _fire_loaded(self) -> None:
        if self._due and self._due[0][2] not in self._partition.open:
            self._remove(self._due.popleft())  # its invocation has ended
        self._fire_due()

    def _fire(self, timer: Timer) -> None:
        self._remove(timer)
        partition = self._partition
        invocation, index = partition.open[timer[2]], timer[3]
        if index == RETRY:
            if invocation.status == Status.BACKING_OFF:
                partition.start(invocation)
                # The timer is gone with this batch: after a crash nothing else would wake it.
                partition.mark(invocation)
        elif index == DELIVER:
            if invocation.status == Status.SCHEDULED:
                if invocation.has(Flag.TICK):
                    partition.ticks.due(invocation)
                else:
                    partition.deliver_scheduled(invocation)
        else:
            command = invocation.journal.command(index) if invocation.journal is not None else None
            if command is not None and command.kind == Kind.SLEEP:
                partition.complete(invocation, index, Kind.COMPLETED, None)
            elif command is not None:
                error = DurableTimeout(f"This awakeable was not completed within {int(command.value or 0) / 1000:g} s.")
                partition.complete(invocation, index, Kind.FAILED, failure_text(error))
