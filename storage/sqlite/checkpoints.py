"""Copies the write-ahead log into the database, beside the commits.

Promise: no commit waits for the whole of a long log; a log that a reader keeps long is copied again and again until it is
short, and slows commits down before it fills the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from actors.storage.errors import StorageError
from actors.storage.sqlite.bond import UNKNOWN
from actors.storage.sqlite.database import WriterConnection
from actors.storage.sqlite.lock import FileLock
from actors.storage.sqlite.watch import Watch

log = logging.getLogger("actors")

COPY_EVERY = 1 << 24  # bytes: a hot page is copied once for many commits
LONG_LOG = 4  # times `every`: while a longer log is copied, commits give way
HUGE_LOG = 32  # times `every`: commits give way to a longer log too, so that it grows more slowly
GIVE_WAY = 3.0  # how long such a commit waits, as a multiple of the duration of the commit before it
LOOKS_BETWEEN_TRIES = 8  # looks for requests of an idle app, while a reader prevents the log from starting anew

# Any commit starts a copied log anew. A commit that changes no byte would not be written.
_COUNT_COPIES = "INSERT INTO meta VALUES ('copies', 1) ON CONFLICT DO UPDATE SET value = value + 1"


class Checkpoints:
    """The copies of the log of one open file. Life: begins with the store's opening, ends with `close`.

    The log is copied whenever it has grown by `every` bytes. `read` runs a statement on the connection of the commits, between
    two of them; `copy_beside`, on a thread, copies what no reader needs.
    """

    def __init__(
        self,
        path: str,
        every: int,
        lock: FileLock,
        writer: WriterConnection,
        watch: Watch,
        read: Callable[[str], Coroutine[Any, Any, Any]],
        copy_beside: Callable[[], int | None],
    ) -> None:
        self._path = path
        self._every = every
        self._lock = lock
        self._writer = writer
        self._watch = watch
        self._read = read
        self._copy_beside = copy_beside
        self.task: asyncio.Task[None] | None = None  # the copy that is under way
        self._huge = False  # whether the log is huge
        self._tried_at = 0  # length of the log at the last attempt to copy it
        self._looks = 0
        self._copier: ThreadPoolExecutor | None = None

    def begin_if_due(self, *, idle: bool = False) -> None:
        """Begin to copy the log into the database when the log has grown enough since the last copy, or attempt.

        Frames that a reader still needs stay in the log, so the log keeps growing and copying is tried again: each time the
        log has grown by a quarter of `every`, less often for a longer log, because each attempt reads all of it; and
        at every few looks for requests (`idle`), so that the log does not stay long when there is no work.
        """
        watch = self._watch
        if self.task is not None:
            return
        self._slow_down()
        if watch.log_bytes < self._tried_at:
            self._tried_at = 0  # the log started anew
        again = self._tried_at > 0
        if again and idle:
            self._looks += 1
        step = max(self._every // 4, watch.log_bytes // 64) if again else self._every
        due = watch.log_bytes - self._tried_at >= step
        if due or (again and idle and self._looks % LOOKS_BETWEEN_TRIES == 0):
            self._tried_at = watch.log_bytes
            self.task = asyncio.get_running_loop().create_task(self._copy_log())

    def _slow_down(self) -> None:
        """Slow commits down while the log is huge: a log that a reader blocks fills the disk, and takes long to copy."""
        watch = self._watch
        huge = watch.log_bytes > HUGE_LOG * self._every
        if huge is not self._huge:
            self._huge = huge
            self._writer.gives_way = GIVE_WAY if huge else 0.0
            if huge:
                log.warning(
                    "%s-wal has grown to %d MB, because a program keeps a transaction open that reads %s: a shell, for example. "
                    "Commits are slowed down until that transaction ends.",
                    self._path,
                    watch.log_bytes // 1_000_000,
                    self._path,
                )

    async def _copy_log(self) -> None:
        """Copy most of the log beside the commits, and the newer rest between two commits; then a commit starts the log anew.

        That commit also cuts a log that is longer than usual because of a reader (journal_size_limit). While a long log is
        copied the commits are slowed down, and the newer rest is copied beside the commits too, as long as it shrinks, so
        that no commit waits for all of it at once.
        """
        lock, writer, watch = self._lock, self._writer, self._watch
        try:
            watch.look()
            lock.note(UNKNOWN)
            if watch.log_bytes > LONG_LOG * self._every:
                writer.gives_way = GIVE_WAY
            left = watch.log_bytes
            loop = asyncio.get_running_loop()
            if self._copier is None:  # not one of the loop's threads, which may all be busy with steps
                self._copier = ThreadPoolExecutor(1, "actors-log")
            while (frames := await loop.run_in_executor(self._copier, self._copy_beside)) is not None:
                before, left = left, watch.log_bytes - watch.size_of(frames)
                if left > self._every // 4 and left < before // 2:
                    continue
                ((busy, frames, copied),) = await self._read("PRAGMA wal_checkpoint(PASSIVE)")
                if not busy and frames == copied:
                    await self._read(_COUNT_COPIES)
                    watch.look()
                break
            lock.note(watch.note())
        except (StorageError, sqlite3.Error, OSError):
            pass  # for example a full disk: the log is safe, and the next commit reports the problem
        finally:
            writer.gives_way = GIVE_WAY if self._huge else 0.0
            self.task = None

    async def settled(self) -> None:
        """Wait for the copy that is under way, if there is one."""
        if self.task is not None:
            await asyncio.wait([self.task])

    def close(self) -> None:
        """Let the thread go. To be called when no copy is under way."""
        if self._copier is not None:
            self._copier.shutdown(wait=False)


def copy_beside(path: str) -> int | None:
    """Copy the frames that no reader needs into the database, on a separate connection. Not for the loop's thread.

    Returns the number of frames in the log at the start if all of them are in the database now; else None.
    """
    with contextlib.closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=rw", uri=True)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()  # a connection has no log before its first read
        busy, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return frames if not busy and frames == copied else None
