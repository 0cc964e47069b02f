"""Shorter runs that fail the same way.

Promise: first fewer unusual choices, in blocks of halves and then one by one; then smaller values. What is returned has failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from actors.testing.choices import Unusual

Given = tuple[Unusual, ...]

RUNS = 400
SECONDS = 10.0


class Shrinker:
    """`fails` runs these choices and returns those that turned out unusual, if that failed the same way; else None.

    `tried` counts its calls; after `RUNS` of them, or `SECONDS`, the shortest choices so far are taken.
    """

    def __init__(self, fails: Callable[[Given], Given | None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fails = fails
        self._monotonic = monotonic
        self._until = monotonic() + SECONDS
        self._seen: set[Given] = set()
        self.tried = 0

    def shrunk(self, given: Given) -> Given:
        """The shortest of the choices tried."""
        before = None
        while given != before and not self._over():
            before = given
            given = self._smaller(self._fewer(given))
        return given

    def _fewer(self, given: Given) -> Given:
        size = max(len(given) // 2, 1)
        while size and given:
            at = 0
            while at < len(given):
                better = self._try(given[:at] + given[at + size :])
                if better is not None:
                    given = better
                else:
                    at += size
            size = min(size, len(given)) // 2
        return given

    def _smaller(self, given: Given) -> Given:
        for at in range(len(given)):
            # Down to 1, else by as much as still fails: a duration is a value of thousands, too many to try one by one.
            less = given[at].value - 1 if at < len(given) else 0
            while less:
                value = given[at].value - less
                better = (
                    self._try((*given[:at], replace(given[at], value=value), *given[at + 1 :])) if value > 0 else None
                )
                if better is not None and len(better) == len(given):
                    given = better
                    less = min(less, given[at].value - 1)
                else:
                    less //= 2
        return given

    def _try(self, candidate: Given) -> Given | None:
        if candidate in self._seen or self._over():
            return None
        self._seen.add(candidate)
        self.tried += 1
        turned_out = self._fails(candidate)
        # Other choices may have become reachable; what is not shorter could be tried for ever.
        return turned_out if turned_out is not None and len(turned_out) <= len(candidate) else None

    def _over(self) -> bool:
        return self.tried >= RUNS or self._monotonic() > self._until
