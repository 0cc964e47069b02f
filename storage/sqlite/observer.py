"""A second connection of the process that owns a file, on a thread of its own: for what people and monitors ask.

Promise: no commit waits for a look. A look sees the file as of one commit, and that commit is durable; it ends within its time; and
between two looks no transaction is open, so that the log can begin anew. The connection stays open as long as the owner's: opening
and closing a database beside its owner could drop the owner's locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from actors.storage.errors import LookTooLong, StorageError, TooManyLooks, translated
from actors.storage.sqlite.examination import Examination

LONGEST_S = 10.0
MOST_WAITING = 16
_CACHE_KIB = 8192
INTERRUPTS_EVERY_S = 0.01


class Observer(Examination):
    """Life: any number of looks, one after the other, and `close`. It connects when it is first used.

    A look that takes longer than `longest_s` is interrupted. At most `most_waiting` looks wait for their turn.
    """

    def __init__(self, path: str, *, longest_s: float = LONGEST_S, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(path)
        self._longest_s = longest_s
        self._most_waiting = most_waiting
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._connection: sqlite3.Connection | None = None  # only to interrupt it: all else is done on its thread
        self._time_is_up = False
        self._timer: asyncio.TimerHandle | None = None  # of the look, then of the interrupts
        self._begun = False  # a transaction may be open, or be opened by what its thread has still to do
        self._work: asyncio.Future[None] | None = None  # goes on when its look is cancelled
        self._closed = False

    @contextlib.asynccontextmanager
    async def look(self) -> AsyncIterator[Examination]:
        """One look: all reads in this block see the file as it is at the first of them.

        Raises TooManyLooks; the reads raise LookTooLong, or StorageError once the observer is closed.
        """
        if self._waiting >= self._most_waiting:
            raise TooManyLooks(
                f"{self._waiting} other requests wait to look into the file. Nothing was looked up: try again in a moment."
            )
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            if self._work is not None:  # of a look that was cancelled meanwhile
                await asyncio.wait([self._work])
            if self._handle is None and not self._closed:
                await self._whole(self._connect())
            if self._handle is None:
                raise StorageError(f"{self.path} is closed.")
            self._time_is_up = False
            self._timer = asyncio.get_running_loop().call_later(self._longest_s, self._give_up)
            self._begun = True
            try:
                await self._read("BEGIN")
                yield self
            finally:
                await self._whole(self._end())
        finally:
            self._turn.release()

    async def close(self) -> None:
        """Close the connection; a read under way fails."""
        self._closed = True
        handle, self._handle = self._handle, None
        if handle is not None:
            self._interrupt()
            await handle.close()
            self._connection = None
            self._stop_timer()
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _whole(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this to its end, even if the look is cancelled meanwhile: half of it would be in the way of the next look."""
        self._work = asyncio.ensure_future(work)
        self._work.add_done_callback(_retrieved)
        await asyncio.shield(self._work)

    async def _connect(self) -> None:
        opened: list[sqlite3.Connection] = []

        def factory(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            opened.append(sqlite3.Connection(*args, **kwargs))
            return opened[0]

        uri = f"{Path(self.path).as_uri()}?mode=ro"
        try:
            handle = await aiosqlite.connect(uri, uri=True, isolation_level=None, factory=factory)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        if self._closed:  # meanwhile
            await handle.close()
        else:
            self._handle, (self._connection,) = handle, opened
            await self._read(f"PRAGMA cache_size = -{_CACHE_KIB}")

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Sequence[Any]:
        try:
            if not self._time_is_up:
                return await super()._read(sql, parameters)
        except asyncio.CancelledError:
            self._interrupt()  # no caller waits for the query any more
            raise
        except ValueError:  # of aiosqlite: the connection was closed meanwhile
            raise StorageError(f"{self.path} is closed.") from None
        except StorageError:
            if not self._time_is_up:
                raise
        raise LookTooLong(
            f"This would have taken longer than {self._longest_s:g} s, and was given up. Ask for less: for one class, one key, open "
            "invocations only."
        )

    def _give_up(self) -> None:
        self._time_is_up = True
        self._interrupt()

    def _interrupt(self) -> None:
        """End the query that is under way or comes next, if one does: an interrupt before it begins has no effect."""
        self._stop_timer()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed on its thread, and close() goes on later
                self._connection.interrupt()
                self._timer = asyncio.get_running_loop().call_later(INTERRUPTS_EVERY_S, self._interrupt)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _end(self) -> None:
        """End the transaction, behind what its thread has still to do: a BEGIN whose look was cancelled, an interrupted query."""
        while self._begun and self._handle is not None and self._connection is not None:
            with contextlib.suppress(
                sqlite3.Error, ValueError
            ):  # interrupted as well; or none is open; or closed meanwhile
                await self._handle.execute_fetchall("ROLLBACK")
            if self._connection is not None:
                with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                    self._begun = self._connection.in_transaction
        if not self._closed:
            self._stop_timer()


def _retrieved(work: asyncio.Future[None]) -> None:
    """A look that was cancelled does not raise its error, and asyncio would log it."""
    if not work.cancelled():
        work.exception()
