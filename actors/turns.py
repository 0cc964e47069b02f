"""Turns of the event loop: each runs every handler that can go on, then hands the open batch over.

These classes declare what `Partition` is made of; its constructor sets all of it. They are bases and not parts because
everything here is on the way of every message.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from actors.attempt.invocation import Invocation, Running
from actors.clock import Clock
from actors.committer import Committer
from actors.journal.entries import Entry
from actors.journal.ids import IdMint

if TYPE_CHECKING:
    from actors.attempt.invocation import Mailbox

T = TypeVar("T")

log = logging.getLogger("actors")

SLOW_S = 0.5  # a turn that takes longer is worth a warning
STEPS_PER_TURN = 512  # then a batch is handed over, and other callbacks of the loop get their chance
NUMBERS_RESERVED = 1_000_000  # see next_number


class Mark:
    """Stands in the queue of attempts for a caller that waits for those before it."""

    __slots__ = ("passed",)

    def __init__(self, passed: asyncio.Future[None]) -> None:
        self.passed = passed

    def run(self) -> None:
        if not self.passed.done():
            self.passed.set_result(None)


class Turns:
    """Runs what can go on."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    committer: Committer
    ids: IdMint
    turn_ms: int
    _ready: deque[Running | Mark]
    _revived: list[Running]
    _turn_scheduled: bool
    _in_turn: bool
    _held: bool
    variables: contextvars.Context

    def fail(self, error: BaseException) -> None:
        """An internal error: stop at once."""
        raise NotImplementedError

    def make_ready(self, attempt: Running) -> None:
        self._ready.append(attempt)
        if not self._turn_scheduled:
            self._schedule_turn()

    def touch(self) -> None:
        if not self._turn_scheduled:
            self._schedule_turn()

    def _schedule_turn(self) -> None:
        self._turn_scheduled = True
        self.loop.call_soon(self._turn, context=self.variables)

    def _turn(self) -> None:
        ready = self._ready
        left = STEPS_PER_TURN
        self.turn_ms = self.clock.now_ms()
        self._in_turn = True
        began, last = perf_counter(), None
        try:
            while ready and left:
                left -= 1
                last = ready.popleft()
                last.run()
            if last is not None and (seconds := perf_counter() - began) > SLOW_S:
                self._was_slow(last, seconds, STEPS_PER_TURN - left)
        except Exception as error:  # an internal error: what handlers raise does not come this far
            self.fail(error)
        finally:
            self._in_turn = False
            self.committer.kick()
            if ready:
                self.loop.call_soon(self._turn, context=self.variables)
            else:
                self._turn_scheduled = False

    def run_now(self, attempt: Running, run: Callable[[], None]) -> None:
        """Let one handler go on within this callback of the loop.

        Tasks of asyncio go on in the order in which they were called back. The main line of a handler that has tasks must
        keep to that order: behind a turn it would come earlier or later, by what other handlers do.
        """
        if attempt.ended:
            return
        if self._held and attempt not in self._revived:
            self.call_soon(self.run_now, attempt, run)
            return
        nested = self._in_turn
        self.turn_ms = self.clock.now_ms()
        self._in_turn = True
        try:
            run()
        except Exception as error:  # an internal error
            self.fail(error)
        finally:
            self._in_turn = nested
            if not nested:
                self.committer.kick()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the runtime's own, also if a handler is the cause: it is none of that handler's tasks."""
        return asyncio.Task(work, loop=self.loop, context=self.variables.copy())

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Within the next turn of the loop, and not in the variables of the caller."""
        self.loop.call_soon(callback, *arguments, context=self.variables)

    def _was_slow(self, last: Running | Mark, seconds: float, count: int) -> None:
        """Handlers share the loop with everything else: say so when one holds it."""
        who = self.label(last.invocation) if not isinstance(last, Mark) else "a handler"
        if count > 1:
            who = f"One or more of {count:,} handlers, the last of them {who},"
        log.warning(
            "%s held the event loop for %.1f s: nothing else ran meanwhile. Run blocking or CPU-heavy work in "
            "ctx.run(function, ...), which uses a thread.",
            who,
            seconds,
        )

    def now_ms(self) -> int:
        """The time to record: within a turn that of its beginning."""
        return self.turn_ms if self._in_turn else self.clock.now_ms()

    async def turn_taken(self) -> None:
        """Return when every handler that can go on now has done so."""
        if self._held:
            mark = Mark(self.loop.create_future())
            self.loop.call_soon(self._replay_revived, mark, context=self.variables)
            await mark.passed
        elif self._ready:
            mark = Mark(self.loop.create_future())
            self._ready.append(mark)
            await mark.passed

    def _replay_revived(self, mark: Mark) -> None:
        """While turns are held, at the start: no code goes on, but what was revived is replayed to where it waits."""
        again = [attempt for attempt in self._revived if attempt.scheduled]  # some let the loop go first on their way
        try:
            for attempt in again:
                if attempt in self._ready:
                    self._ready.remove(attempt)
                attempt.run()
        except Exception as error:
            self.fail(error)
        mark.run()

    def label(self, invocation: Invocation) -> str:
        return f"{invocation.address} ({self.ids.invocation(invocation.seq)})"


class Ledger(Turns):
    """Writes into the open batch."""

    _next: int
    _reserve_at: int

    def next_number(self) -> int:
        """A number never given out before, not even by a process that crashed before it wrote anything down.

        The file holds a bound far above; it is raised, in an ordinary batch, long before it is reached.
        """
        number = self._next
        self._next = number + 1
        if number >= self._reserve_at:
            self._reserve_at = number + NUMBERS_RESERVED // 2
            self.committer.batch.reserve_to = number + NUMBERS_RESERVED
            self.touch()
        return number

    def mark(self, invocation: Invocation) -> None:
        """The invocation's row of the end of this batch is to be written."""
        batch = self.committer.batch
        if invocation.dirty_in != batch.number:
            invocation.dirty_in = batch.number
            batch.invocations.append(invocation)
            if not self._turn_scheduled:
                self._schedule_turn()

    def write_state(self, invocation: Invocation, name: str, text: str | None) -> None:
        batch = self.committer.batch
        batch.state[invocation.service, invocation.key, name] = text
        mailbox = invocation.mailbox
        assert mailbox is not None
        mailbox.written_in = batch.number
        if mailbox.state is not None and mailbox.state.behind is not None:
            mailbox.state.behind.pop(name, None)

    def write_behind(self, mailbox: Mailbox) -> None:
        """The rows of its state are to be up to date with this batch."""
        state, batch = mailbox.state, self.committer.batch
        if state is not None and state.behind is not None:
            behind, state.behind = state.behind, None
            for name in behind:
                batch.state[mailbox.service, mailbox.key, name] = state.stored.get(name)
                mailbox.written_in = batch.number
            self.touch()

    def write_tries(self, invocation: Invocation, entry: Entry) -> None:
        """A step has failed: the entry of its command holds how often."""
        batch = self.committer.batch
        if invocation.shared:
            self.mark(invocation)
        else:
            invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]
        batch.tries[invocation.seq, entry.idx] = (entry.ref, entry.before, invocation.seq, entry.idx)
        self.touch()

    def write_entry(self, invocation: Invocation, entry: Entry) -> None:
        batch = self.committer.batch
        if invocation.shared:
            # A journal needs its invocation, and a shared call may not have been written yet; nor may it be evicted
            # before its journal is written.
            self.mark(invocation)
        else:
            invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]
        batch.journal.append(
            (invocation.seq, entry.idx, entry.kind, entry.name, entry.ref, entry.value, entry.before, entry.at_ms)
        )
        if not self._turn_scheduled:
            self._schedule_turn()
