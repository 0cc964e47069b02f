"""The life of an app: it opens its file, recovers from the file, stops, and is closed.

Promise: the file is always released: by `close`, with the event loop, or when nothing refers to the app any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import logging
import os
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from random import Random
from typing import Any

from actors.app.entry import check_entry
from actors.app.listing import InvocationInfo
from actors.app.partitions import Partitions, done
from actors.app.recovery import Recovery
from actors.attempt.invocation import Invocation
from actors.engine import left_steps
from actors.engine.clock import Clock, SystemClock
from actors.engine.daemon_threads import DaemonThreads
from actors.engine.env import Env
from actors.engine.loop_watch import LoopWatch
from actors.engine.partition import Partition, Parts
from actors.engine.watching import Counts, Watcher
from actors.errors import AppNotRunning
from actors.journal.ids import IdMint
from actors.model.futures import mark_seen
from actors.model.retry import RetryPolicy
from actors.storage.errors import DatabaseInUse
from actors.storage.port import Store
from actors.storage.records import InvocationRow
from actors.storage.sqlite.lock import held
from actors.storage.sqlite.store import SqliteStore

log = logging.getLogger("actors")

FORGOTTEN_CLOSES_S = 5  # the time that an App without references may take to write open work
STEP_THREADS = 32  # functions of ctx.run that block at the same time; further functions queue


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an app, besides its classes and its limits."""

    clock: Clock
    rng: Random
    retry: RetryPolicy
    executor: Executor | None
    watcher: Watcher | None
    on_paused: Callable[[InvocationInfo], Any] | None
    on_stopped: Callable[[BaseException], Any] | None
    debug: bool
    parts: Parts
    closes_with_loop: bool = (
        True  # not if a test ends the process without an end: to close it would run `finally` blocks
    )
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None  # runs for as long as a partition does


class Lifecycle:
    """Creates the partition of `partitions`, and a new one after a database failure. `store` is the user's own, or None."""

    def __init__(self, partitions: Partitions, options: Options, store: Store | None, path: str, poll_ms: int) -> None:
        self._partitions = partitions
        self.options = options
        self.store = store
        self.path = path
        self.poll_ms = poll_ms
        self.file: str | None = None  # the path of the open file, if known
        self._outside = contextvars.Context()
        self._threads: DaemonThreads | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._loop_watch: LoopWatch | None = None
        self._end_of_loop: AsyncGenerator[None, None] | None = None
        self._hooks: set[asyncio.Task[Any]] = set()  # coroutines of `on_stopped`: they may start the app again
        self.recoveries = Recovery(options.clock, lambda: getattr(self.store, "path", self.path), self._open_again)
        self._recovering: asyncio.Task[None] | None = None
        self._stops: asyncio.Event | None = None  # set when the app has stopped by itself

    async def start(self) -> None:
        """Open the database and go on with everything that was open. Raises StorageError or a subclass."""
        if self._partitions.current is not None:
            raise AppNotRunning("This app is already running.")
        self._stops = asyncio.Event()
        self._outside = contextvars.copy_context()
        await self._open(None)
        if self.options.closes_with_loop:
            self._end_of_loop = self._close_with_the_loop()
            await anext(self._end_of_loop)

    async def _open(self, before: Partition | None) -> None:
        """Open the file and start a partition. `before` is the stopped partition of the same file, if there was one."""
        store: Store = self.store or SqliteStore(self.path)
        loop = asyncio.get_running_loop()
        executor: Executor | None = self.options.executor or self._threads
        if executor is None:
            executor = self._threads = DaemonThreads(STEP_THREADS, "actors-step")
        env = Env(
            IdMint(bytes(32)),  # until the file gives the secret
            self.options.clock,
            self.options.rng,
            self._partitions.limits,
            self.options.retry,
            self.options.watcher,
            before.env.counts if before is not None else Counts(),
            self._tell_paused if self.options.on_paused is not None else None,
            self.options.debug,
        )
        partition = Partition(
            env,
            self._partitions.catalog,
            store,
            loop,
            executor,
            _weakly(self._has_stopped),
            self.options.parts,
        )
        if before is not None:
            partition.residents.paused_here.update(before.residents.paused_here)
        secret = before.steps.secret if before is not None else None
        try:
            opened = await store.open(secret)
        except DatabaseInUse as error:
            if error.pid != os.getpid() or not await self._former_closed(error.path):
                raise
            opened = await store.open(secret)
        self.file = getattr(store, "path", None)
        _apps.add(weakref.ref(self, _apps.discard))
        try:
            await store.record_changes(
                {service.name: service.history for service in partition.catalog.services.values()}, opened.next_number
            )
            await partition.begin(opened)
            if partition.failure is not None:
                raise partition.failure
        except BaseException:
            partition.halt(AppNotRunning("The app could not start."))
            await store.close()
            raise
        self._partitions.current = partition
        partition.requests.begin(self.poll_ms)
        self._recovery = loop.create_task(partition.loader.recover(opened.runnable))
        if isinstance(self.options.clock, SystemClock):  # no thread in a simulation
            self._loop_watch = LoopWatch(partition.turns, partition.thread, env.label)
            self._loop_watch.start()
        if self.options.beside is not None:
            self._outside.copy().run(self._partitions.task, self.options.beside())

    async def _former_closed(self, path: str) -> bool:
        """Whether an earlier App of this process has released this file, when a cell of a notebook is run again.

        An App without references closes by itself. In an interactive session the last cell, or its traceback, may still refer
        to the earlier App; then the new App takes its place.
        """
        former = [reference for reference in _apps.copy() if _has_opened(reference(), path) and reference() is not self]
        gc.collect()
        for reference in former:
            app = reference()
            if app is None:
                for _ in range(FORGOTTEN_CLOSES_S * 100):
                    if not held(path):
                        return True
                    await asyncio.sleep(0.01)
            elif (
                hasattr(sys, "ps1")
                and app._partitions.current is not None
                and app._partitions.current.loop is asyncio.get_running_loop()
            ):
                log.warning("Closed the earlier App on %s: the new App takes its place.", path)
                await app.close()
                return True
        return False

    async def recover(self) -> None:
        """Start again after the app has stopped because its database failed. All open invocations go on.

        Tries until the file can be used, with pauses of up to two seconds. References and handles stay valid. Concurrent
        callers share one recovery; it goes on if their await is cancelled, and `close` ends it. Does nothing while the app
        runs. Raises a failure that lasts: the file is owned by another process, was replaced or is damaged, or an internal
        error. Raises AppNotRunning if the app was not started, or is closed meanwhile.
        """
        partition = self._partitions.entered()
        recovering = self._recovering
        if recovering is None:
            if not partition.stopped:
                return
            recovering = self._recovering = partition.loop.create_task(self._recover(partition))
            recovering.add_done_callback(self._recovered)
        await done(recovering, repeatable=True)

    async def _recover(self, partition: Partition) -> None:
        assert partition.failure is not None
        if self.store is None and self.path == ":memory:":
            raise partition.failure  # it is all there is
        await self._leave(partition)
        try:
            await partition.store.close()
        except Exception as error:  # unwritable data cannot be closed in order; recovery goes by the file
            log.warning("Closing the database %s after its failure failed too: %r", self.path, error)
        await self.recoveries.run(partition.failure)

    def _recovered(self, task: asyncio.Task[None]) -> None:
        self._recovering = None
        mark_seen(task)

    async def _open_again(self) -> None:
        await self._open(self._partitions.entered())

    def _has_stopped(self, error: BaseException) -> None:
        """The partition has stopped by itself: notify the waiters and `on_stopped`."""
        assert self._stops is not None
        self._stops.set()
        if self.options.on_stopped is not None:
            asyncio.get_running_loop().call_soon(self._tell_stopped, error, context=self._outside.copy())

    def _tell_stopped(self, error: BaseException) -> None:
        assert self.options.on_stopped is not None
        if self._partitions.current is None or not self._partitions.current.stopped:
            return
        try:
            hook = self.options.on_stopped(error)
            if inspect.isawaitable(hook):
                task = self._partitions.current.loop.create_task(
                    _logged(hook, "on_stopped raised; the app stays stopped")
                )
                self._hooks.add(task)
                task.add_done_callback(self._hooks.discard)
        except Exception:
            log.exception("on_stopped raised; the app stays stopped")

    async def stopped(self) -> None:
        """Return once the app has stopped by itself."""
        assert self._stops is not None
        while self._partitions.current is None or not self._partitions.current.stopped:
            self._stops.clear()  # a start that did not succeed may have set it
            await self._stops.wait()

    async def _close_with_the_loop(self) -> AsyncGenerator[None, None]:
        """asyncio ends this generator along with its loop: an App that was not closed would keep the process from ending."""
        try:
            yield
        finally:
            if self._partitions.current is not None:
                log.warning(
                    "The app on %s was not closed before its event loop ended, or before the last reference to it was dropped. Use "
                    "'async with app:', or await app.close().",
                    self.path,
                )
                self._end_of_loop = None
                await self._close()  # the garbage collector may have called this from a handler

    async def close(self) -> None:
        """Accept no more work, leave handlers where they are, write open work, release the file. The handlers go on at the next start."""
        partition = self._partitions.current
        if partition is not None and not partition.loop.is_closed():
            check_entry(partition)
        await self._close()

    async def _close(self) -> None:
        recovering = self._recovering
        if recovering is not None:
            recovering.cancel()
            await asyncio.wait([recovering])
        partition, self._partitions.current = self._partitions.current, None
        if partition is None:
            return
        end_of_loop, self._end_of_loop = self._end_of_loop, None
        if end_of_loop is not None:
            await end_of_loop.aclose()
        partition.background.closing = True
        partition.halt(
            AppNotRunning("The app was closed before this call had its outcome. It goes on when the app starts again.")
        )
        if partition.steps_left:
            log.info(
                "The app on %s was closed while %d %s: %s. The next start executes them again, except those that still run in "
                "this process.",
                self.path,
                len(partition.steps_left),
                "step was running" if len(partition.steps_left) == 1 else "steps were running",
                ", ".join(sorted(partition.steps_left)[:5]),
            )
        try:
            await self._leave(partition)
            if partition.committer.failed is None:
                await partition.committer.flushed()
        finally:
            threads, self._threads = self._threads, None
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)
            left_steps.closed(partition.steps.secret)
            await partition.store.close()

    def executing(self) -> list[str]:
        """The steps whose functions run, or wait for a thread."""
        return (
            [str(step) for step in self._partitions.current.steps.executing]
            if self._partitions.current is not None
            else []
        )

    async def drain(self, timeout_s: float) -> None:
        """Begin no more steps: the next start begins them. Running steps may end, and their results are recorded."""
        if self._partitions.current is not None:
            self._partitions.current.steps.draining = True
            running = [
                step.executing for step in self._partitions.current.steps.executing if step.executing is not None
            ]
            if running and timeout_s > 0:
                await asyncio.wait(running, timeout=timeout_s)

    async def _leave(self, partition: Partition) -> None:
        """End the tasks of a partition that has stopped."""
        if self._recovery is not None:
            self._recovery.cancel()
        if self._loop_watch is not None:
            self._loop_watch.stop()
        self._partitions.cancel_tasks()
        await partition.loader.stop()
        await partition.pins.stop()
        await partition.background.stop()
        await partition.left()
        if partition.committer.failed is not None:
            await partition.committer.settled()

    def _tell_paused(self, invocation: Invocation) -> None:
        assert self.options.on_paused is not None
        if self._partitions.current is None or invocation.extras is None:
            return
        self._outside.copy().run(self._tell_paused_outside, invocation)

    def _tell_paused_outside(self, invocation: Invocation) -> None:
        """Call `on_paused`, which may use the app, although a handler may have led here."""
        assert self.options.on_paused is not None
        try:
            hook = self.options.on_paused(
                InvocationInfo.of(InvocationRow(*invocation.row()), self._partitions.entered().ids)
            )
            if inspect.isawaitable(hook):
                self._partitions.task(_logged(hook, "on_paused raised; the invocation stays paused"))
        except Exception:
            log.exception("on_paused raised; the invocation stays paused")


# The lives of Apps that have opened a file, as long as anything refers to them. Apps on other threads add themselves, which a
# WeakSet cannot bear during an iteration: iterate over a copy.
_apps: set[weakref.ref[Lifecycle]] = set()


def _has_opened(app: Lifecycle | None, path: str) -> bool:
    return app is not None and app.file == path


def _weakly(method: Callable[[BaseException], None]) -> Callable[[BaseException], None]:
    """Timers and tasks hold a partition while it runs, but not the life of its App: an App without references closes."""
    reference = weakref.WeakMethod(method)

    def call(error: BaseException) -> None:
        alive = reference()
        if alive is not None:
            alive(error)

    return call


async def _logged(hook: Awaitable[Any], otherwise: str) -> None:
    """Await the coroutine of a hook; if it raises, log the error with the text `otherwise`."""
    try:
        await hook
    except Exception:
        log.exception(otherwise)
