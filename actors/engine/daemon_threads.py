"""The threads that run the blocking functions of steps, unless an app has its own executor.

Promise: no thread keeps the process from ending. `concurrent.futures.ThreadPoolExecutor` waits for its threads when the
interpreter ends, so a step that hangs would keep a server from stopping. A function that is cut off here ends as after kill -9.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")
_Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class DaemonThreads(Executor):
    """Up to `limit` threads, each created when a function finds no idle thread. Further functions wait in order."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._idle = 0  # threads without a function; negative: functions without a thread
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("These threads were shut down.")
            if self._idle <= 0 and len(self._threads) < self._limit:
                self._start()
            self._idle -= 1
            self._queue.put((future, fn, args, kwargs))
        return future

    def _start(self) -> None:
        """Start another thread. Raises RuntimeError if the system refuses it, and no other thread can call the function."""
        thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return
        self._threads.append(thread)
        self._idle += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
            waiting: list[_Work] = []
            while cancel_futures:
                try:
                    work = self._queue.get_nowait()
                except queue.Empty:
                    break
                if work is not None:
                    waiting.append(work)
            for future, *_ in waiting:
                future.cancel()
            for _ in self._threads:
                self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            future, function, args, kwargs = work
            if future.set_running_or_notify_cancel():
                try:
                    result = function(*args, **kwargs)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del work, future, function, args, kwargs  # they must not stay alive until the next function comes
            with self._lock:
                self._idle += 1
