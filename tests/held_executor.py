"""An executor whose threads a test moves: nothing begins, and nothing ends, before it says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class HeldExecutor(Executor):
    """`threads` functions are taken at once, others wait. One that is taken is called when it is told to end."""

    def __init__(self, threads: int = 1000) -> None:
        self.threads = threads
        self.queue: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.taken: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        # A thread that takes a step calls its Execution, the argument of Context.run.
        (execution,) = args
        function, execution.function = execution.function, lambda: None
        self.queue.append((future, function))
        future.begin = lambda: fn(execution)  # type: ignore[attr-defined]
        self._take()
        return future

    def _take(self) -> None:
        while self.queue and len(self.taken) < self.threads:
            future, function = self.queue.pop(0)
            if future.set_running_or_notify_cancel():
                future.begin()  # type: ignore[attr-defined]
                self.taken.append((future, function))

    def end(self, count: int = 1) -> None:
        """Let the functions taken first do their work."""
        for _ in range(count):
            future, function = self.taken.pop(0)
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            self._take()
