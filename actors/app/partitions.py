"""The partition of a key or an id. Today a process has one partition; callers need not change when it has several."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from actors.app.entry import check_entry, check_loop
from actors.engine.partition import Partition
from actors.errors import AppNotRunning, OutcomePending
from actors.model.catalog import Catalog
from actors.model.futures import is_cancelled, mark_seen
from actors.model.inside import inside
from actors.model.limits import Limits

T = TypeVar("T")

_inside = inside.get
_this_thread = threading.get_ident


class Partitions:
    """`current` is the partition that runs, or that has stopped; None before the start and after the end."""

    def __init__(self, catalog: Catalog, limits: Limits) -> None:
        self.catalog = catalog
        self.limits = limits
        self.current: Partition | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def entered(self) -> Partition:
        """The partition, which may have stopped. Raises AppNotRunning, or MisusedApp if the caller must not use it from here."""
        partition = self.current
        if partition is None:
            raise AppNotRunning("This app is not running. Use it inside 'async with app:'.")
        if _inside() is partition or _this_thread() != partition.thread or not partition.loop.is_running():
            check_entry(partition)
        return partition

    def running(self) -> Partition:
        """The partition, which runs. Raises the failure that has stopped it."""
        partition = self.entered()
        if partition.stopped:
            partition.background.check_running()
        return partition

    def of_key(self, service: str, key: str) -> Partition:
        """The partition that owns an object."""
        return self.running()

    def of_invocation(self, id: str) -> tuple[Partition, int]:
        """The partition of an invocation, and its number there. Raises BadId."""
        partition = self.entered()
        return partition, partition.ids.read_invocation(id)

    def of_awakeable(self, id: str) -> tuple[Partition, int, int]:
        """The partition of an awakeable, the number of its invocation, and the index of its command. Raises BadId."""
        partition = self.entered()
        return partition, *partition.ids.read_awakeable(id)

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that goes on if its caller is cancelled, until the app closes. Await it with `done`."""
        task = self.entered().loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        mark_seen(task)

    def cancel_tasks(self) -> None:
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()


async def done(task: asyncio.Task[T], *, repeatable: bool = False) -> T:
    """The task's result. The task goes on if its caller is cancelled; it is cancelled only when the app closes.

    Then the caller may repeat the request if it is `repeatable`, that is, has no effect twice.
    """
    check_loop(task.get_loop())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled() and not is_cancelled():
            if repeatable:
                raise AppNotRunning("The app was closed before this was done. Try again when it runs.") from None
            raise OutcomePending(
                "The app was closed before this request was answered, so it may have been done or not. Check when the app runs "
                "again."
            ) from None
        raise
