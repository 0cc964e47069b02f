"""A coroutine that has begun: it takes its first step when a `Begun` is created, and the others when that is awaited, once.

Promise: everything the coroutine does before it first waits is done at once, as with an eager task of Python 3.12, and costs no
task. An exception from there is raised at the await.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


class Begun:
    __slots__ = ("_coroutine", "_ended", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._ended: BaseException | None = None
        self._waits_for: Any = None
        try:
            self._waits_for = coroutine.send(None)
        except BaseException as error:
            self._ended = error

    def __await__(self) -> Generator[Any, None, None]:
        while self._ended is None:
            try:
                yield self._waits_for
            except BaseException as error:  # the waiter is cancelled, for example
                self._take_step(self._coroutine.throw, error)
            else:
                self._take_step(self._coroutine.send, None)
        if not isinstance(self._ended, StopIteration):
            raise self._ended

    def _take_step(self, go_on: Any, argument: BaseException | None) -> None:
        try:
            self._waits_for = go_on(argument)
        except BaseException as error:
            self._ended = error
