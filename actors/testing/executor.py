"""Executors without threads, for tests that must run the same way each time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

from actors.testing.loop import VirtualLoop

T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs each function at once, on the caller's thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class LoopExecutor(Executor):
    """Runs each function on the loop's thread at a moment of its own, `takes_s()` seconds later."""

    def __init__(self, loop: VirtualLoop, takes_s: Callable[[], float]) -> None:
        self._loop = loop
        self._takes_s = takes_s

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                self._loop.run_as_thread(lambda: fn(*args, **kwargs), ends)

        def ends(value: T | None, error: BaseException | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("T", value))

        self._loop.call_later(self._takes_s(), run)
        return future
