"""One process of a simulated machine: the app, the disk as it sees it, and how it is paced.

Promise: nothing of a dead process reaches the disk, and no caller waits for what the process will never answer.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from actors.attempt.invocation import Invocation, Running
from actors.engine.memory.eviction import Eviction
from actors.engine.operating.state_access import StateInfo
from actors.engine.partition import Parts
from actors.engine.progress import Progress
from actors.engine.turns import Turns
from actors.errors import ActorsError
from actors.journal.entries import Entry
from actors.model.virtual_object import Served, VirtualObject
from actors.storage.records import Batch, OpenedDatabase
from actors.storage.sqlite.database import AsyncConnection, WriterConnection
from actors.storage.sqlite.store import SqliteStore
from actors.tasks.places import place_of
from actors.testing.chances import Chances
from actors.testing.disk import Disk, InlineConnection
from actors.testing.loop import PROCESS
from actors.transport.served import App

T = TypeVar("T")


class Killed(Exception):
    """The process was killed before it had answered."""


class Process:
    """One life of an app. Its code runs in `variables`, by which the loop knows it.

    Life: `begin` any work in it, `until_killed` waits for that; `die` once. `keep_running` as soon as its database may fail.
    """

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        self.variables = contextvars.Context()
        self.variables.run(PROCESS.set, number)
        self.app: App | None = None
        self.is_up = self.dead = False
        self._loop = loop
        # Of callers who would not learn of its death: in order, because they make their requests again in that order.
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._keeper: asyncio.Task[None] | None = None

    def begin(self, make: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Make something, and await it, in a task of this process."""
        return asyncio.Task(_awaiting(make), loop=self._loop, context=self.variables.copy())

    def keep_running(self, runs_again: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        """Start the app again whenever its database has failed, as `actors serve` does. `failed` is called if that is not possible."""
        if self._keeper is None:
            self._keeper = self.begin(functools.partial(self._keep_running, runs_again, failed))

    async def _keep_running(self, runs_again: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        assert self.app is not None
        try:
            while True:
                await self.app._stopped()
                await self.app.recover()
                runs_again()
        except ActorsError as error:
            failed(error)

    def leave(self) -> None:
        """Its app is about to be closed: do not start it again."""
        if self._keeper is not None:
            self._keeper.cancel()

    @property
    def may_refuse(self) -> bool:
        """Whether its database has failed before: requests get the errors that say whether to ask again."""
        return self._keeper is not None and not self._keeper.done()

    @property
    def recovers(self) -> bool:
        """Whether its app has stopped, and will start again by itself."""
        return self.may_refuse and self.app is not None and not self.app._gateway.running()

    def die(self) -> None:
        """From now on it is dead, and its callers learn of that."""
        self.dead = True
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_result(None)

    async def until_killed(self, task: asyncio.Task[T]) -> T:
        """The result of a task of the process. Raises Killed if the process died first."""
        ended: asyncio.Future[None] = self._loop.create_future()

        def end(_: object) -> None:
            if not ended.done():
                ended.set_result(None)

        task.add_done_callback(end)
        self._waiting[ended] = None
        if self.dead:
            end(None)
        try:
            await ended
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            del self._waiting[ended]
        if not task.done():
            raise Killed()
        return task.result()


async def _awaiting(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


class ProcessStore(SqliteStore):
    """The disk as one process sees it: one operation after the other, in the order asked.

    `begins` is called with each commit before it is written, `written` after it; either may kill the process.
    """

    def __init__(
        self,
        disk: Disk,
        process: Process,
        chances: Chances,
        begins: Callable[[Batch], None],
        written: Callable[[Batch], None],
    ) -> None:
        super().__init__(":memory:")
        self._disk = disk
        self._process = process
        self._chances = chances
        self._begins = begins
        self._written = written
        self._turn = asyncio.Lock()  # first come, first served
        if disk.connection.in_transaction:  # the process before died while it opened the file
            disk.connection.rollback()
        disk.connection.handed_over.clear()

    async def _connect(self) -> tuple[AsyncConnection, WriterConnection]:
        return InlineConnection(self._disk.connection), self._disk.connection

    async def open(self, secret: bytes | None = None) -> OpenedDatabase:
        connection = self._disk.connection
        connection.spare = connection.full and self._chances.opens_on_full_disk()
        try:
            return await super().open(secret)
        finally:
            connection.spare = False

    async def commit(self, batch: Batch) -> None:
        async with self._turn:
            await self._takes("commit takes ms")
            self._begins(batch)
            await self._alive()
            await super().commit(batch)
            self._written(batch)
            await self._alive()

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        async with self._turn:
            await self._alive()
            rows = await super()._read(sql, parameters)
        await self._takes("read takes ms")
        return rows

    async def _takes(self, what: str) -> None:
        if self._process.is_up:  # no request waits for what happens before, so its order does not matter
            await self._chances.takes(what)
        await self._alive()

    async def _alive(self) -> None:
        """Does not return if the process is dead: code outside of it, such as the test, may still call it."""
        if self._process.dead:
            await asyncio.get_running_loop().create_future()


class PacedApp(App):
    """An app made of these parts, which does not end with its loop: a killed process does not end at all.

    `operated` is called with the address of an object whose state was set, and with None when an invocation was purged: the file does
    not tell.
    """

    _closes_with_loop = False

    def __init__(
        self,
        paced: Parts,
        operated: Callable[[tuple[str, str] | None], None],
        *classes: type[Served],
        **options: Any,
    ) -> None:
        self._parts = paced  # type: ignore[misc]
        self._operated = operated
        super().__init__(*classes, **options)

    async def patch_state(self, cls: type[VirtualObject] | str, key: str, **changes: Any) -> StateInfo:
        self._operated((self._stateful(cls).name, key))
        return await super().patch_state(cls, key, **changes)

    async def purge(self, id: str) -> None:
        self._operated(None)
        await super().purge(id)


class _PacedTurns(Turns):
    """With `prompt`, the open batch is handed over before the next handler goes on.

    No warning of a slow turn: a debugger may be in charge.
    """

    __slots__ = ("prompt",)
    SLOW_S = float("inf")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.prompt = False

    def _turn(self) -> None:
        self._hand_over()
        super()._turn()

    def run_now(self, attempt: Running, run: Callable[[], None]) -> None:
        if not self.in_turn:
            self._hand_over()
        super().run_now(attempt, run)

    def _hand_over(self) -> None:
        prompt, self.prompt = self.prompt, False
        if prompt:
            self._after()


class _FineTurns(_PacedTurns):
    """One attempt makes a turn, so that what two attempts do is in two commits."""

    __slots__ = ()
    ATTEMPTS = 1


def paced(chances: Chances, fine: bool, places: dict[int, str | None]) -> Parts:
    """The parts of an app whose facts reach the disk one by one, if `fine`, or in the batches that the chances make.

    `places` receives where the handlers wait that are evicted, by number of the invocation.
    """

    class WatchedEviction(Eviction):
        __slots__ = ()

        def suspend(self, attempt: Running) -> None:
            places[attempt.invocation.seq] = place_of(getattr(attempt, "_coroutine", None))
            super().suspend(attempt)

    class PacedProgress(Progress):
        """A completion may be handed over before its handler goes on, as when a commit ends between the two.

        Not here and now: what the runtime records without an await in between is in one batch, and no crash can divide it.
        """

        __slots__ = ()

        def tell(self, invocation: Invocation, entry: Entry) -> None:
            super().tell(invocation, entry)
            if fine or chances.handed_over_at_once():
                assert isinstance(self._turns, _PacedTurns)
                self._turns.prompt = True

    return Parts(eviction=WatchedEviction, progress=PacedProgress, turns=_FineTurns if fine else _PacedTurns)
