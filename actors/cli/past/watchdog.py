"""Ends a command whose handler neither ends nor waits: an endless loop, or a call that blocks.

Promise: no command hangs on the code that it executes. The output of that code goes to stderr.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from actors.storage.records import InvocationRow

LOOK_EVERY_S = 0.05
GRACE_S = 1.0  # beyond the time limit: a replay that only waits ends by itself

Watch = Callable[[InvocationRow | None], None]


class _Watchdog(threading.Thread):
    """Looks from time to time at which invocation is executed, and since when."""

    def __init__(self, timeout_s: float, stuck: Callable[[InvocationRow], None]) -> None:
        super().__init__(daemon=True, name="actors-watchdog")
        self._timeout_s = timeout_s
        self._stuck = stuck
        self._over = threading.Event()
        self._number = 0
        self._row: InvocationRow | None = None

    def watch(self, row: InvocationRow | None) -> None:
        self._number += 1
        self._row = row

    def end(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        number, since = 0, time.monotonic()
        while not self._over.wait(LOOK_EVERY_S):
            row = self._row
            if row is None or self._number != number:
                number, since = self._number, time.monotonic()
            elif time.monotonic() - since > self._timeout_s + GRACE_S:
                self._stuck(row)


@contextlib.contextmanager
def guarded(timeout_s: float, named: Callable[[InvocationRow], str], code: int) -> Iterator[Watch]:
    """While handlers run: a function to call with each invocation. The process ends with `code` if an invocation blocks it."""

    def stuck(row: InvocationRow) -> None:
        said = (
            f"Error: {named(row)} did not end within {timeout_s:g} s and blocked the event loop: an endless loop, or a "
            "blocking call. Run blocking or CPU-heavy work in ctx.run(...).\n"
        )
        os.write(2, said.encode("ascii", "backslashreplace"))
        os._exit(code)

    watchdog = _Watchdog(timeout_s, stuck)
    logger = logging.getLogger("actors")
    level = logger.level
    watchdog.start()
    logger.setLevel(logging.CRITICAL + 1)  # what the runtime says of a handler was logged when it first ran
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield watchdog.watch
    finally:
        logger.setLevel(level)
        watchdog.end()
