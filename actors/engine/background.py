"""Whether a partition runs, the failure that has stopped it, and its own tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from actors.errors import AppNotRunning, with_code
from actors.storage.errors import StorageError

log = logging.getLogger("actors")


class Background:
    """The life of a partition: it runs until its owner or a failure stops it. `on_failure` is called with every failure.

    An error in a task stops the partition: an internal error must not leave it half alive.
    """

    __slots__ = ("_on_failure", "_spawn", "_tasks", "closing", "failure", "stopped")

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._spawn = spawn
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = False
        self.closing = False  # stopped by its owner: accepted messages are still written
        self.failure: BaseException | None = None

    def check_running(self) -> None:
        """Raises the failure, or AppNotRunning."""
        if self.stopped:
            if self.failure is not None:
                raise self.failure.with_traceback(None)  # raised often: each time would add to the traceback
            raise AppNotRunning("This app is not running. Use it inside 'async with app:'.")

    def fail(self, error: BaseException) -> None:
        """The database cannot be read or written, or there is an internal error: stop at once."""
        if not isinstance(error, (StorageError, AppNotRunning)):
            stopped = AppNotRunning(
                f"The app stopped after an internal error: {error!r}. Start it again: it recovers from the file."
            )
            stopped.__cause__ = error
            error = stopped
        if self.failure is None:
            self.failure = error
            log.error("The app has stopped: %s", with_code(error), exc_info=error)
        self._on_failure(self.failure)

    def failed(self, error: Exception) -> None:
        """Stop because of an error in a task; once the partition has stopped, such an error is a consequence and is ignored."""
        if not self.stopped:
            self.fail(error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure stops the partition; the caller may cancel it."""
        task = self._spawn(self._guarded(work))
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began
        return task

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task until it ends or the partition stops. Its failure stops the partition."""
        task = self.spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.failed(error)

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
