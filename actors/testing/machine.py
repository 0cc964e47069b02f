"""One simulated machine: a disk, a wall clock, and the processes that run on it one after the other.

Promise: a process is the real runtime on the real SQL. It ends in order, or it is killed: then nothing of it runs any more and
nothing of it reaches the disk, and the next process finds what was committed. While the disk is full its app stops, refuses requests
and starts again by itself, as under `actors serve`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar

from actors.attempt.invocation import Invocation
from actors.engine import left_steps
from actors.engine.partition import Partition, Parts
from actors.errors import AppNotRunning, OutcomePending
from actors.journal.ids import IdMint
from actors.storage.errors import StorageError, StorageFull
from actors.storage.records import Batch
from actors.testing.chances import Chances
from actors.testing.disk import Disk
from actors.testing.executor import LoopExecutor
from actors.testing.loop import LoopClock, VirtualLoop, close_quietly
from actors.testing.process import Killed, PacedApp, Process, ProcessStore
from actors.testing.step_sources import StepSources
from actors.testing.story import Story
from actors.transport.served import App

T = TypeVar("T")

# What a caller gets of an app that stops because its database has failed.
UNANSWERED = (StorageError, AppNotRunning, OutcomePending)

LOGS = tuple(map(logging.getLogger, ("actors", "actors.http")))  # what is said to one is not heard by the other

START_MS = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC, the wall clock of a new machine
SUPERVISED_S = 1.0  # after this time a process that could not start is started again
SECRET = b"the same secret in each of them."  # of the disk: ids are made of it, and are the same in each run

# Makes the app of a process: of a class, the machine's own options, and limits of its memory.
Make = Callable[[Callable[..., App], dict[str, Any], dict[str, Any]], App]

# Something that goes on by itself and takes time: a pause before the next attempt, or before the next try of a step.
_GOES_ON = (
    "SELECT 1 FROM invocation WHERE status = 4 UNION ALL SELECT 1 FROM journal_entry e JOIN invocation i ON i.seq = e.invocation "
    "WHERE i.status IN (1, 2, 3) AND e.kind = 3 AND e.ref > 0 AND NOT EXISTS (SELECT 1 FROM journal_entry c "
    "WHERE c.invocation = e.invocation AND c.kind >= 20 AND c.ref = e.idx) LIMIT 1"
)

_TIMERS = "SELECT 1 FROM timer t JOIN invocation i ON i.seq = t.invocation WHERE i.flags & 16 = 0 LIMIT 1"


class Machine:
    """See the module. Set `make`; then `start`, and `kill` or `stop` and `start`, any number of times; at last `close`.

    Its apps are made of `parts`. `places` say where evicted handlers wait, by number of the invocation. `on_commit` is called after each commit, when it is durable and no caller has its answer. `changed`
    are the objects whose state an operator has set, by class and key; `purged` whether an operator has purged.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        chances: Chances,
        parts: Parts,
        places: Mapping[int, str | None],
        start_ms: int = START_MS,
        secret: bytes = SECRET,
    ) -> None:
        self.loop = loop
        self.chances = chances
        self.clock = LoopClock(loop, start_ms)
        self.disk = Disk(secret=secret)
        self.ids = IdMint(secret)
        self.story = Story(lambda: round(loop.time() * 1000))
        self.commits = 0
        self.processes: list[Process] = []
        self.process: Process | None = None  # that is up
        self.failure: BaseException | None = None  # of the start of a later process
        self.make: Make | None = None
        self.on_commit: Callable[[Batch], None] = lambda batch: None
        self.changed: set[tuple[str, str]] = set()
        self.purged = False
        self.places = places
        self._parts = parts
        self._secret = secret
        self._up: list[asyncio.Future[None]] = []

    def sources(self, name: str) -> StepSources:
        """What an execution of a step reads; `name` names it among all of this machine."""
        loop, start_ms = self.loop, self.clock.start_ms
        return StepSources(f"{self._secret!r} {name}", lambda: start_ms / 1000 + loop.moment(), loop.spend)

    # --- processes ----------------------------------------------------------------------------------------------------------

    async def renew(self, state: Iterable[tuple[str, str, str, str]], start_ms: int, secret: bytes) -> None:
        """End the process, and forget everything. `start` begins anew with this state, at this time, with ids of this secret."""
        await self.stop()
        self.processes.clear()
        self.disk.renew(state, secret)
        self._secret = secret
        self.ids.begin(secret)
        self.clock.start_ms = start_ms - round(self.loop.time() * 1000)
        self.story = Story(lambda: round(self.loop.time() * 1000))

    async def start(self) -> None:
        """Start a process, and wait until it is up. Raises what its start raises, unless the disk is full: then another one later."""
        while True:
            try:
                return await self._start()
            except StorageFull:
                self.processes[-1].die()
                self.story.tell("process", f"{len(self.processes)} has not started: the disk is full")
                await asyncio.sleep(SUPERVISED_S)

    async def _start(self) -> None:
        assert self.make is not None
        # Also those of other worlds, whose files have the same secret.
        left_steps.forget(self._secret)
        process = Process(len(self.processes) + 1, self.loop)
        options = {
            "store": ProcessStore(self.disk, process, self.chances, self._commit_begins, self._written),
            "clock": self.clock,
            "random": Random(process.number),
            "executor": LoopExecutor(self.loop, self.chances.step_takes_s),
            "poll": 0,
        }
        paced_app = functools.partial(PacedApp, self._parts, self._operated)
        process.app = self.make(paced_app, options, self.chances.memory(process.number))
        self.processes.append(process)
        try:
            await process.until_killed(process.begin(process.app.start))
        except Killed:
            return
        if process.dead:  # at a commit that its start had begun and did not wait for
            return
        process.is_up = True
        self.process = process
        self.story.tell("process", f"{process.number} is up")
        self._released(None)

    def kill(self, why: str, downtime_s: float = 0.0) -> None:
        """Kill the process that is up, or about to be. The next process starts after the downtime."""
        process = self.process if self.process is not None else self.processes[-1]
        if process.dead:
            return  # it is down already
        self.process = None
        self.story.tell("process", f"{process.number} is killed", why)
        self.loop.kill(process.number)
        self.chances.under_way = 0
        process.die()
        # In variables of its own: those of the dead process would be dead, too.
        again = asyncio.Task(self._start_again(downtime_s), loop=self.loop, context=contextvars.Context())
        again.add_done_callback(self._started)

    async def _start_again(self, downtime_s: float) -> None:
        if downtime_s:
            await asyncio.sleep(downtime_s)
        await self.start()

    def _started(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = error
            self._released(error)

    def _released(self, error: BaseException | None) -> None:
        waiting, self._up = self._up, []
        for one in waiting:
            if not one.done():
                one.set_result(None) if error is None else one.set_exception(error)

    async def stop(self) -> None:
        """End the process in order. Raises Killed if a choice kills it first."""
        process = self.process
        if process is not None and process.app is not None:
            process.leave()
            try:
                await process.until_killed(process.begin(process.app.close))
            except StorageFull:  # what it had acknowledged is on the disk
                self.story.tell("process", f"{process.number} cannot write its open work: the disk is full")
            self.process = None
            process.die()
            self.story.tell("process", f"{process.number} has ended")

    async def up(self) -> Process:
        """The process that is up and whose app runs, or the next process. Raises what its start raises."""
        while self.process is None or self.process.recovers:
            if self.failure is not None:
                raise self.failure
            waiting: asyncio.Future[None] = self.loop.create_future()
            self._up.append(waiting)
            await waiting
        return self.process

    async def ask(self, make: Callable[[App], Awaitable[T]]) -> T:
        """Await what `make` asks of the app; ask again if the process dies before it has answered, or its app stops and starts again."""
        while True:
            process = await self.up()
            assert process.app is not None
            try:
                return await process.until_killed(process.begin(functools.partial(make, process.app)))
            except Killed:
                continue
            except UNANSWERED:
                if not process.may_refuse:
                    raise

    def _operated(self, address: tuple[str, str] | None) -> None:
        """An operator has set the state of an object, or, without an address, purged an invocation."""
        if address is not None:
            self.changed.add(address)
        else:
            self.purged = True

    # --- commits --------------------------------------------------------------------------------------------------------------

    def _commit_begins(self, batch: Batch) -> None:
        number = self.commits = self.commits + 1
        if self.chances.killed(f"commit {number}: killed before"):
            self.story.committed(number, batch, "LOST: the process is killed")
            self.kill("before the commit is on disk", self.chances.stays_down_s())
            return
        connection = self.disk.connection
        if not connection.full and self.chances.finds_disk_full(number):
            connection.full = True
            self.story.tell("disk", "is full")
            # Not in the variables of the process, which may be killed.
            full_s = self.chances.stays_full_s()
            self.loop.call_later(full_s, self._has_space, context=contextvars.Context())
        if connection.full:
            self.story.committed(number, batch, "LOST: the disk is full")
            process = self.process if self.process is not None else self.processes[-1]
            process.keep_running(self._runs_again, self._fails)

    def _has_space(self) -> None:
        self.disk.connection.full = False
        self.story.tell("disk", "has space again")

    def _runs_again(self) -> None:
        self.story.tell("app", "runs again")
        self._released(None)

    def _fails(self, error: BaseException) -> None:
        self.failure = error
        self._released(error)

    def _written(self, batch: Batch) -> None:
        number = self.commits
        self.loop.turns = 0
        self.story.committed(number, batch)
        if self.chances.killed(f"commit {number}: killed after"):
            self.kill("after the commit, before any answer", self.chances.stays_down_s())
        self.on_commit(batch)

    # --- looking on -----------------------------------------------------------------------------------------------------------

    def goes_on(self) -> bool:
        """Whether something goes on by itself that takes time: a step, a pause before a retry, a start."""
        if self.process is None:
            return self.failure is None and bool(self.processes)
        partition = self._partition(self.process)
        if partition is None or partition.stopped:
            return self.process.recovers
        return bool(
            self.chances.under_way or self.chances.answers or partition.steps.executing or self.disk.query(_GOES_ON)
        )

    def only_ticks(self) -> bool:
        """Whether no timer is due at any time, other than those of schedules."""
        return not self.disk.query(_TIMERS) if self.process is not None else False

    def resident(self) -> dict[int, Invocation]:
        """The open invocations that are in memory, by number."""
        partition = self._partition(self.process) if self.process is not None else None
        return dict(partition.residents.open) if partition is not None else {}

    @staticmethod
    def _partition(process: Process) -> Partition | None:
        return process.app._partition if process.app is not None else None

    def close(self) -> None:
        """Nothing of the machine runs any more: close what its processes left."""
        with quiet():
            # On the loop: code that swallows its end and awaits once more would go on for ever without one.
            self.loop.run_until_complete(self._closed())

    async def _closed(self) -> None:
        for process in self.processes:
            process.dead = True
            partition = self._partition(process)
            for invocation in list(partition.residents.open.values()) if partition is not None else ():
                coroutine = getattr(invocation.attempt, "_coroutine", None)
                if coroutine is not None:
                    close_quietly(coroutine)
        self.loop.end()
        self.disk.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the log of the runtime: it logs each failed attempt, and what a closed process leaves undone."""
    before = [one.disabled for one in LOGS]
    for one in LOGS:
        one.disabled = True
    try:
        yield
    finally:
        for one, disabled in zip(LOGS, before, strict=True):
            one.disabled = disabled
