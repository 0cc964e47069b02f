"""The threads that run blocking steps: which steps wait for a thread, and for how long.

Promise: a step that waits longer than a second for a thread is counted, and a warning says what the threads do. Steps that wait
for other invocations' steps can take all threads, and then none of them ever ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from actors.engine.clock import Cancellable, Clock
from actors.model.inside import inside_step

log = logging.getLogger("actors")

LONG_MS = 1000  # a longer wait for a thread is counted
SILENT_MS = 60_000  # between two warnings
NAMED = 3  # steps that a warning names


class Execution:
    """One call of a step's function in a thread. `begun` is True once a thread has taken it."""

    __slots__ = ("begun", "counted", "function", "job", "queued_ms", "step")

    job: Future[Any]

    def __init__(self, step: object, function: Callable[[], Any], queued_ms: int) -> None:
        self.step = step
        self.function = function
        self.queued_ms = queued_ms
        self.begun = self.counted = False

    def __call__(self) -> Any:
        self.begun = True
        inside_step.set(True)
        try:
            return self.function()
        except StopIteration as stop:
            # A future cannot hold StopIteration: asyncio would drop it, and the step would never end.
            raise RuntimeError("The step raised StopIteration.") from stop

    def withdraw(self) -> bool:
        """Withdraw the call if no thread has taken it. Returns whether it was withdrawn."""
        if self.job.cancel():
            self.begun = True  # it no longer waits
            return True
        return False


def _nothing() -> None: ...


class StepThreads:
    """Hands functions to the executor, and checks the waiting functions once a second."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self._executor = executor
        self._clock = clock
        self._queue: deque[Execution] = deque()  # in order; executions that have begun are dropped when they come first
        self._alarm: Cancellable | None = None
        self._silent_until_ms = 0
        self._stopped = False
        self.running: set[Execution] = set()  # handed to the executor, and not over
        self.waited_long = 0  # executions that waited for more than a second, since the app started

    def submit(self, execution: Execution, run: Callable[[Callable[[], Any]], Any]) -> None:
        """Have a thread call `run(execution)`. Raises what the executor raises."""
        queue = self._queue
        while queue and queue[0].begun:
            queue.popleft()
        try:
            execution.job = self._executor.submit(run, execution)
        except BaseException:
            # A ThreadPoolExecutor that cannot start a thread raises, and still calls the refused function when another thread
            # is free.
            execution.function = _nothing
            raise
        self.running.add(execution)
        if not execution.begun:
            queue.append(execution)
            if self._alarm is None and not self._stopped:
                self._alarm = self._clock.call_at(execution.queued_ms + LONG_MS, self._look)

    def stop(self) -> None:
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    def waiting(self) -> list[Execution]:
        """The executions that no thread has taken yet, oldest first."""
        return [execution for execution in self._queue if not execution.begun]

    def _look(self) -> None:
        """Count the executions that have waited for long, and warn, at most once in `SILENT_MS`."""
        self._alarm = None
        now = self._clock.now_ms()
        waiting = self.waiting()
        self._queue = deque(waiting)
        late = [execution for execution in waiting if execution.queued_ms + LONG_MS <= now]
        for execution in late:
            if not execution.counted:
                execution.counted = True
                self.waited_long += 1
        if late and now >= self._silent_until_ms:
            self._silent_until_ms = now + SILENT_MS
            self._warn(late, now)
        if waiting and not self._stopped:
            self._alarm = self._clock.call_at(max(waiting[0].queued_ms, now) + LONG_MS, self._look)

    def _warn(self, late: list[Execution], now: int) -> None:
        busy = [execution for execution in self.running if execution.begun]
        log.warning(
            "%d step%s waited for a thread for more than a second, %s for %.1f s. All %d threads are busy, with %s. "
            "A step that waits for an invocation whose steps need a thread too, over HTTP for example, may wait for ever: "
            "call that invocation in the handler, with ctx.object(...), or write the step as async def. For more threads: "
            "App(executor=ThreadPoolExecutor(100)).",
            len(late),
            " has" if len(late) == 1 else "s have",
            late[0].step,
            (now - late[0].queued_ms) / 1000,
            len(busy),
            ", ".join(sorted(str(execution.step) for execution in busy)[:NAMED]) + (", …" if len(busy) > NAMED else ""),
        )
