"""The effects of due timers: a retry begins, a delayed message is delivered, a sleep or a deadline is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from actors.attempt.invocation import Invocation
from actors.engine.background import Background
from actors.engine.env import Env
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.timer_queue import DELIVER, RETRY, Timer, TimerQueue
from actors.errors import DurableTimeout
from actors.journal.entries import Kind
from actors.serde.failures import failure_text
from actors.storage.records import Flag, Status

LOADED_AT_ONCE = 1000  # cold invocations with due timers that one read brings into memory


class Timers:
    """Creates, cancels and fires the timers of a partition. Due timers fire strictly in order."""

    tick_due: Callable[[Invocation], None]  # the time of a tick has come; set by the wiring

    def __init__(
        self,
        env: Env,
        residents: Residents,
        ledger: Ledger,
        background: Background,
        eviction: Eviction,
        pins: Pins,
        progress: Progress,
        intake: Intake,
    ) -> None:
        self._clock = env.clock
        self._open = residents.open
        self._ledger = ledger
        self._background = background
        self._eviction = eviction
        self._pins = pins
        self._progress = progress
        self._intake = intake
        self._due: deque[Timer] = deque()
        self._loading = False

    def begin(self, timers: TimerQueue) -> None:
        """Set the queue of the next timers; it calls `timers_due`."""
        self._timers = timers

    async def open(self) -> None:
        await self._timers.open()

    def late_ms(self) -> int:
        """By how much the next timer is late; 0 if none is due."""
        next_ms = self._due[0][0] if self._due else self._timers.next_ms()
        return 0 if next_ms is None else max(0, self._clock.now_ms() - next_ms)

    def stop(self) -> None:
        self._timers.stop()

    def add(self, due_ms: int, invocation: Invocation, index: int) -> None:
        timer = (due_ms, self._ledger.next_number(), invocation.seq, index)
        self._ledger.timer(timer)
        self._timers.add(timer)

    def cancel(self, due_ms: int, seq: int, index: int) -> None:
        """Remove the timer of a command, which is not needed any more, from memory or from disk."""
        timer = self._timers.cancel(due_ms, seq, index)
        if timer is not None:
            self._ledger.timer_over(timer[0], timer[1])
        else:
            self._ledger.timer_stopped(due_ms, seq, index)

    def cancel_retry(self, seq: int) -> None:
        """Remove the timer of a retry. A timer that is not in memory stays: it finds nothing to do when it is due."""
        timer = self._timers.cancel(0, seq, RETRY)
        if timer is not None:
            self._ledger.timer_over(timer[0], timer[1])

    def deliver_later(self, due_ms: int, invocation: Invocation) -> None:
        """Deliver a message later: it need not stay in memory until then."""
        self.add(due_ms, invocation, DELIVER)
        self._eviction.scheduled(invocation)

    def timers_due(self, timers: list[Timer]) -> None:
        self._due.extend(timers)
        if not self._loading:
            self._fire_due()

    def _fire_due(self) -> None:
        """Fire due timers in order. A timer of a cold invocation loads it first, and later timers wait, so that none overtakes."""
        self._loading = False
        if self._background.stopped:
            return
        while self._due:
            if self._due[0][2] not in self._open:
                self._loading = True
                cold = [due[2] for due in islice(self._due, LOADED_AT_ONCE) if due[2] not in self._open]
                self._pins.hold_while(cold, self._fire_loaded)
                return
            self._fire(self._due.popleft())

    def _fire_loaded(self) -> None:
        if self._due and self._due[0][2] not in self._open:
            self._ledger.timer_over(*self._due.popleft()[:2])  # the invocation has ended
        self._fire_due()

    def _fire(self, timer: Timer) -> None:
        """Fire one timer of an invocation in memory."""
        self._ledger.timer_over(timer[0], timer[1])
        invocation, index = self._open[timer[2]], timer[3]
        if index == RETRY:
            if invocation.status == Status.BACKING_OFF:
                self._progress.start(invocation)
                # The timer is removed with this batch: after a crash nothing else would wake the invocation.
                self._ledger.mark(invocation)
        elif index == DELIVER:
            if invocation.status == Status.SCHEDULED:
                if invocation.has(Flag.TICK):
                    self.tick_due(invocation)
                else:
                    self._intake.deliver_scheduled(invocation)
        else:
            command = invocation.journal.command(index) if invocation.journal is not None else None
            if command is not None and command.kind == Kind.SLEEP:
                self._progress.complete(invocation, index, Kind.COMPLETED, None)
            elif command is not None:
                error = DurableTimeout(f"This awakeable was not completed within {int(command.value or 0) / 1000:g} s.")
                self._progress.complete(invocation, index, Kind.FAILED, failure_text(error))
