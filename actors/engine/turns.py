"""Turns of the event loop: each runs every handler that can go on, then hands the open batch over."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, TypeVar

from actors.attempt.invocation import Invocation, Running
from actors.engine.clock import Clock

T = TypeVar("T")

log = logging.getLogger("actors")


class Mark:
    """Stands in the queue of attempts for a caller that waits for the attempts before it."""

    __slots__ = ("passed",)

    def __init__(self, passed: asyncio.Future[None]) -> None:
        self.passed = passed

    def run(self) -> None:
        if not self.passed.done():
            self.passed.set_result(None)


class Turns:
    """The queue of attempts that can go on. `after` is called when a turn has ended, `on_error` with an internal error.

    While `held`, no code goes on, apart from replays: requests from before this start are executed first. `current` is what
    is being run, since `began_s` at the latest; `long_s` is how long turns have taken that were too long.
    """

    ATTEMPTS = 512  # in one turn: then the batch is handed over, and other callbacks of the loop get their turn
    SLOW_S = 0.5  # a turn that takes longer is worth a warning

    __slots__ = (
        "_after",
        "_clock",
        "_label",
        "_on_error",
        "began_s",
        "current",
        "held",
        "in_turn",
        "long_s",
        "loop",
        "ready",
        "revived",
        "scheduled",
        "turn_ms",
        "variables",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        label: Callable[[Invocation], str],
        after: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.loop = loop
        self._clock = clock
        self._label = label
        self._after = after
        self._on_error = on_error
        self.variables = contextvars.copy_context()  # handlers start from these variables, not from those of a caller
        self.turn_ms = clock.now_ms()  # when this turn began: good enough for records, not for deadlines
        self.ready: deque[Running | Mark] = deque()
        self.revived: list[Running] = []  # while turns are held
        self.scheduled = self.in_turn = self.held = False
        self.current: Running | Mark | None = None
        self.began_s = self.long_s = 0.0  # by perf_counter

    def hold(self) -> None:
        """Let no code go on until `release`. Only before the first turn: a turn under way would end the hold."""
        self.held = self.scheduled = True

    def release(self) -> None:
        self.held = False
        self.revived.clear()
        self.schedule()

    def hold_back(self, attempt: Running) -> None:
        """While turns are held: replay this attempt only as far as its current wait."""
        if self.held:
            self.ready.remove(attempt)
            self.revived.append(attempt)

    def replayed(self, attempt: Running) -> None:
        """A revived attempt waits again: from now on a completion runs it in an ordinary turn."""
        if attempt in self.revived:
            self.revived.remove(attempt)
            if attempt.scheduled and attempt not in self.ready:
                self.ready.append(attempt)

    def stop(self) -> None:
        """Nothing goes on any more. Callers that wait for a turn are released."""
        for waiting in self.ready:
            if isinstance(waiting, Mark):
                waiting.run()
        self.ready.clear()
        self.revived.clear()

    def make_ready(self, attempt: Running) -> None:
        self.ready.append(attempt)
        if not self.scheduled:
            self.schedule()

    def touch(self) -> None:
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        self.scheduled = True
        self.loop.call_soon(self._turn, context=self.variables)

    def _turn(self) -> None:
        """Run the attempts that are ready, up to `ATTEMPTS`, then hand the batch over."""
        ready = self.ready
        left = self.ATTEMPTS
        self.turn_ms = self._clock.now_ms()
        self.in_turn = True
        self.began_s, last = perf_counter(), None
        try:
            while ready and left:
                left -= 1
                last = self.current = ready.popleft()
                last.run()
            if last is not None and (seconds := perf_counter() - self.began_s) > self.SLOW_S:
                self._was_slow(last, seconds, self.ATTEMPTS - left)
        except Exception as error:  # an internal error: exceptions of handlers do not come this far
            self._on_error(error)
        finally:
            self.in_turn = False
            self.current = None
            self._after()
            if ready:
                self.loop.call_soon(self._turn, context=self.variables)
            else:
                self.scheduled = False

    def run_now(self, attempt: Running, run: Callable[[], None]) -> None:
        """Let one handler go on within this callback of the loop.

        Tasks of asyncio go on in the order of their callbacks. The main line of a handler that has tasks must keep this order:
        within a turn it would come earlier or later, depending on other handlers.
        """
        if attempt.ended:
            return
        if self.held and attempt not in self.revived:
            self.call_soon(self.run_now, attempt, run)
            return
        nested, outer = self.in_turn, self.current
        self.turn_ms = self._clock.now_ms()
        self.in_turn = True
        if not nested:
            self.began_s = perf_counter()
        self.current = attempt
        try:
            run()
            if not nested and (seconds := perf_counter() - self.began_s) > self.SLOW_S:
                self._was_slow(attempt, seconds, 1)
        except Exception as error:  # an internal error
            self._on_error(error)
        finally:
            self.in_turn = nested
            self.current = outer
            if not nested:
                self._after()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the runtime, even if a handler is the cause: it does not count as a task of that handler."""
        return asyncio.Task(work, loop=self.loop, context=self.variables.copy())

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call within the next turn of the loop, not in the variables of the caller."""
        self.loop.call_soon(callback, *arguments, context=self.variables)

    def _was_slow(self, last: Running | Mark, seconds: float, count: int) -> None:
        """Handlers share the loop with everything else: warn when a turn holds it for long."""
        self.long_s += seconds
        who = self._label(last.invocation) if not isinstance(last, Mark) else "a handler"
        if count > 1:
            who = f"One or more of {count:,} handlers, the last of them {who},"
        log.warning(
            "%s held the event loop for %.1f s: nothing else ran meanwhile. Run blocking or CPU-heavy work in "
            "ctx.run(function, ...), which uses a thread.",
            who,
            seconds,
        )

    def now_ms(self) -> int:
        """The time to record: within a turn, the time of its beginning."""
        return self.turn_ms if self.in_turn else self._clock.now_ms()

    async def turn_taken(self) -> None:
        """Return when every handler that can go on now has done so."""
        if self.held:
            mark = Mark(self.loop.create_future())
            self.loop.call_soon(self._replay_revived, mark, context=self.variables)
            await mark.passed
        elif self.ready:
            mark = Mark(self.loop.create_future())
            self.ready.append(mark)
            await mark.passed

    def _replay_revived(self, mark: Mark) -> None:
        """While turns are held, at the start: no code goes on, but revived attempts are replayed to their current waits."""
        again = [attempt for attempt in self.revived if attempt.scheduled]  # some let the loop go first on their way
        try:
            for attempt in again:
                if attempt in self.ready:
                    self.ready.remove(attempt)
                attempt.run()
        except Exception as error:
            self._on_error(error)
        mark.run()
