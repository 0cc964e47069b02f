"""A thread that names the code which holds the event loop, while it does.

An endless loop in a handler stops everything on the loop that could name it: requests, timers, the doctor.

Promise: it only reads, once a second; it ends with its partition, and keeps no process from ending.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from time import perf_counter
from types import FrameType

from actors.attempt.invocation import Invocation
from actors.engine.turns import Mark, Turns
from actors.tasks.places import place_in

log = logging.getLogger("actors")

EVERY_S = 1.0
FIRST_S = 5.0  # then after twice the time, and so on, so that the log is not flooded


class LoopWatch:
    """Watches the turns of the loop that runs in the thread with this number. `seconds` and `frames` are seams for tests."""

    def __init__(
        self,
        turns: Turns,
        thread: int,
        label: Callable[[Invocation], str],
        seconds: Callable[[], float] = perf_counter,
        frames: Callable[[], Mapping[int, FrameType]] = sys._current_frames,
    ) -> None:
        self._turns = turns
        self._thread = thread
        self._label = label
        self._seconds = seconds
        self._frames = frames
        self._seen: tuple[object, float] = (None, 0.0)  # what ran at the look before, and when its turn had begun
        self._since_s = 0.0  # when that was seen first
        self._next_s = FIRST_S
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch until `stop`. A system that refuses another thread is not watched."""
        thread = threading.Thread(target=self._watch, name="actors-loop-watch", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.info("The event loop is not watched: %s", error)

    def stop(self) -> None:
        self._ended.set()

    def look(self) -> None:
        """Warn if a turn has taken too long, and has not ended."""
        current = self._turns.current
        seen = (current, self._turns.began_s)
        now_s = self._seconds()
        if seen != self._seen:
            self._seen, self._since_s, self._next_s = seen, now_s, FIRST_S
        held_s = now_s - self._since_s
        if current is None or isinstance(current, Mark) or held_s < self._next_s:
            return
        place = place_in(self._frames().get(self._thread))
        if current is not self._turns.current:
            return  # it has ended just now
        while self._next_s <= held_s:
            self._next_s *= 2
        log.warning(
            "%s has held the event loop for %.0f s, and still does%s: nothing else runs meanwhile, and no request is answered. "
            "Run blocking or CPU-heavy work in ctx.run(function, ...), which uses a thread.",
            self._label(current.invocation),
            held_s,
            f", at {place}" if place is not None else "",
        )

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.look()
