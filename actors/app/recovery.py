"""Starts an app again that has stopped because its database failed.

Promise: everything acknowledged is there, because it is read from the file; a permanent failure is raised, not tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from actors.errors import StorageError

if TYPE_CHECKING:
    from actors.engine.clock import Clock

log = logging.getLogger("actors")

FIRST_PAUSE_MS = 100
LONGEST_PAUSE_MS = 2_000  # a try costs little, and callers wait
SOUND_AFTER_MS = 60_000  # an app that ran this long begins again with the first pause


class Recovery:
    """One per app. `start` opens the file anew. Pauses grow until a start has lasted, not until it has succeeded: on a full
    disk the file can often be opened, and the first commit fails.
    """

    def __init__(self, clock: Clock, name: Callable[[], str], start: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._name = name
        self._start = start
        self._tries = 0
        self._started_ms: int | None = None
        self.count = 0  # how often the app was started again

    async def run(self, failure: BaseException) -> None:
        """Return once the app runs again. Raises the failure, or that of a start, unless it goes away by itself."""
        if self._started_ms is not None and self._clock.now_ms() - self._started_ms >= SOUND_AFTER_MS:
            self._tries = 0
        while isinstance(failure, StorageError) and failure.transient:
            pause_ms = min(FIRST_PAUSE_MS * 2 ** min(self._tries, 10), LONGEST_PAUSE_MS)
            self._tries += 1
            log.warning("The app on %s starts again in %g s: %s", self._name(), pause_ms / 1000, failure)
            await self._pause(pause_ms)
            try:
                await self._start()
            except StorageError as error:
                failure = error
                continue
            self._started_ms = self._clock.now_ms()
            self.count += 1
            log.warning("The app on %s runs again. It has recovered from the file.", self._name())
            return
        raise failure

    async def _pause(self, pause_ms: int) -> None:
        over = asyncio.Event()
        alarm = self._clock.call_at(self._clock.due_ms(pause_ms), over.set)
        try:
            await over.wait()
        finally:
            alarm.cancel()
