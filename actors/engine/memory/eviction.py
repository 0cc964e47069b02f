"""Decides what stays in memory: idle objects, handlers that wait, messages whose time has not come.

Promise: an object is evicted only after everything about it was handed to the disk, and every caller that waits for an outcome
in this process still receives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from actors.attempt.invocation import Invocation, Mailbox, Running
from actors.engine.background import Background
from actors.engine.clock import Cancellable
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.memory.residents import Residents
from actors.engine.turns import Turns
from actors.storage.records import Mode, Status


class Eviction:
    """Keeps `max_objects` idle objects and `max_waiting` waiting handlers; evicts a handler after `suspend_after_ms`.

    `evicted` is called with each evicted object; the wiring sets it.
    """

    evicted: Callable[[Mailbox], None]

    def __init__(
        self, env: Env, residents: Residents, turns: Turns, background: Background, committer: Committer
    ) -> None:
        limits = env.limits
        self._clock = env.clock
        self._residents = residents
        self._turns = turns
        self._background = background
        self._committer = committer
        self._max_objects = limits.max_objects
        self._max_waiting = limits.max_waiting
        self._suspend_after_ms = limits.suspend_after_ms
        self._circle: deque[Mailbox] = deque()
        # Since when, oldest first. Only handlers that wait for completions: nothing in this process is about to wake them.
        self.waiting: dict[Any, int] = {}
        self._leaving: deque[Invocation] = deque()
        self._scheduled: deque[Invocation] = deque()
        self._over: deque[Mailbox] = deque()
        self._alarm: Cancellable | None = None

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    # --- idle objects -----------------------------------------------------------------------------------------------------

    def entered(self, mailbox: Mailbox) -> None:
        """An object was loaded: make room, if there are too many.

        The hand of a clock goes round and evicts the objects that it twice finds unused. An object whose last change was not
        handed to the disk yet is passed over: loading it again would read the past.
        """
        self._circle.append(mailbox)
        looks = 4  # for each object loaded: the hand goes round faster than the circle grows
        while len(self._circle) > self._max_objects and looks:
            looks -= 1
            candidate = self._circle.popleft()
            if candidate.state is None:
                continue  # evicted already
            if candidate.recent or not self._evict(candidate):
                candidate.recent = False
                self._circle.append(candidate)

    def rests(self, invocation: Invocation) -> None:
        """An invocation backs off or is paused. If it is of a keyless service, evict it: no other invocation uses its object.

        So its mailbox need not be in the circle, where it would displace objects that are used.
        """
        if invocation.mode == Mode.KEYLESS:
            self._leaving.append(invocation)

    def sleeps(self, invocation: Invocation) -> None:
        """A reader was loaded with its object, and sleeps: it is evicted again unless it is needed."""
        self._leaving.append(invocation)

    def over(self, mailbox: Mailbox) -> None:
        """The only invocation of this mailbox has ended, so the mailbox is evicted once its end was handed to the disk."""
        self._over.append(mailbox)

    def _evict(self, mailbox: Mailbox) -> bool:
        """Evict an object that is idle, or whose invocation sleeps. False if it cannot be evicted yet."""
        handed_over = self._committer.handed_over
        current = mailbox.current
        if mailbox.readers or mailbox.pins or mailbox.written_in > handed_over:
            return False
        if current is not None and not _asleep(current, handed_over):
            return False
        waiting = mailbox.first
        while waiting is not None:
            if waiting.dirty_in > handed_over:
                return False
            waiting = waiting.following
        if current is not None:
            self._forget(current)
        while (invocation := mailbox.pop()) is not None:
            self._forget(invocation)
        mailbox.state = mailbox.current = None
        self._residents.forget(mailbox)
        self.evicted(mailbox)
        return True

    def _forget(self, invocation: Invocation) -> None:
        del self._residents.open[invocation.seq]
        if invocation.waiters is not None:
            self._residents.absent_waiters[invocation.seq] = invocation.waiters
            invocation.waiters = None

    # --- handlers that wait -----------------------------------------------------------------------------------------------

    def waits(self, attempt: Running) -> None:
        """A handler has begun to wait. `waiting` holds its attempt until it goes on or ends."""
        waiting = self.waiting
        waiting[attempt] = self._turns.turn_ms
        if len(waiting) > self._max_waiting:
            self._suspend_oldest()
        if self._alarm is None:
            self._arm()

    def _arm(self) -> None:
        self._alarm = None
        if self.waiting and not self._background.stopped:
            due = next(iter(self.waiting.values())) + self._suspend_after_ms
            self._alarm = self._clock.call_at(due, self._suspend_long_ones)

    def _suspend_long_ones(self) -> None:
        latest = self._clock.now_ms() - self._suspend_after_ms
        while self.waiting and next(iter(self.waiting.values())) <= latest:
            self._suspend_oldest()
        self._arm()

    def _suspend_oldest(self) -> None:
        oldest = next(iter(self.waiting))
        del self.waiting[oldest]
        self.suspend(oldest)

    def suspend(self, attempt: Running) -> None:
        """Evict the code of a waiting handler, and its object. The completion that it waits for loads both again."""
        if attempt.scheduled:
            return  # the handler is about to go on
        invocation = attempt.invocation
        invocation.attempt = None
        attempt.close()
        mailbox = invocation.mailbox
        assert mailbox is not None
        if not self._leave(invocation):
            self._leaving.append(invocation)

    def scheduled(self, invocation: Invocation) -> None:
        """A message for later: evict it as soon as it was handed to the disk."""
        self._scheduled.append(invocation)

    def handed_over(self) -> None:
        """A batch was handed to the disk: evict everything that waited for it."""
        handed_over = self._committer.handed_over
        scheduled = self._scheduled
        while scheduled and scheduled[0].dirty_in <= handed_over:
            invocation = scheduled.popleft()
            if invocation.status == Status.SCHEDULED and invocation.seq in self._residents.open:
                self._forget(invocation)
        for _ in range(len(self._over)):
            mailbox = self._over.popleft()
            if mailbox.state is not None and not self._evict(mailbox):
                self._over.append(mailbox)
        for _ in range(len(self._leaving)):
            invocation = self._leaving.popleft()
            if not self._leave(invocation):
                self._leaving.append(invocation)

    def released(self, mailbox: Mailbox) -> None:
        """The last pin on the mailbox was removed. If its invocation sleeps, evict it."""
        current = mailbox.current
        if mailbox.state is not None and current is not None and current.attempt is None and not self._leave(current):
            self._leaving.append(current)

    def _leave(self, invocation: Invocation) -> bool:
        """Evict a sleeping invocation with its object. True if it was evicted, or no longer sleeps."""
        mailbox = invocation.mailbox
        handed_over = self._committer.handed_over
        if mailbox is None or mailbox.state is None or invocation.seq not in self._residents.open:
            return True
        if invocation.attempt is not None or invocation.work or invocation.status not in _ASLEEP:
            # A step that an earlier attempt has begun: when it ends, nothing else would look again.
            return invocation.mode != Mode.KEYLESS or invocation.attempt is not None or not invocation.work
        if mailbox.pins:
            return not invocation.shared  # for the invocation that holds the object, `released` tries again
        if invocation.shared:
            if invocation.dirty_in > handed_over:
                return False
            mailbox.readers -= 1
            self._forget(invocation)
            if mailbox.current is None or mailbox.current.attempt is not None:
                return True
        # A reader that stays, or a message behind it that was not handed to the disk: evicted with them, or by the circle.
        return self._evict(mailbox) or max(mailbox.written_in, mailbox.current.dirty_in if mailbox.current else 0) <= (
            handed_over
        )


_ASLEEP = (Status.BLOCKED, Status.BACKING_OFF, Status.PAUSED)


def _asleep(invocation: Invocation, handed_over: int) -> bool:
    return (
        invocation.attempt is None
        and not invocation.work
        and invocation.dirty_in <= handed_over
        and invocation.status in _ASLEEP
    )
