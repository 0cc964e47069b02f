"""Whether the open database and its log are still the files at the path.

Promise: `look` raises DatabaseReplaced once the database or its log was deleted, moved, replaced or overwritten. So a caller
that looks between a commit and its acknowledgement never acknowledges data that is only in a lost file. One case goes
unnoticed: the database was overwritten in place by a file of the same size with the same first two pages. A copy made since
the app started can be such a file, if no page was added or freed meanwhile; each start changes the second page. To notice that
too, the whole file would have to be read.

While it watches, no other process and no other SQLite in this process can remove the log. SQLite removes the log when it
closes a database as the last user, which it detects by a lock; the store's connection loses that lock when any code in this
process opens and closes the file (a copy, a checksum). So the watch holds the same locks a second time, where the system has
locks that are not lost that way (range_locks): on the database until `let_go`, and on the index of the log, which the first
process that opens it would otherwise truncate.

On Windows an open file can be neither deleted nor replaced, and no lock is lost that way: there is nothing to watch.
"""

from __future__ import annotations

import os
import sys

from actors.storage.errors import DatabaseReplaced
from actors.storage.sqlite import range_locks
from actors.storage.sqlite.bond import note
from actors.storage.sqlite.lock import FileLock

# SQLite's locks: os_unix.c, SHARED_FIRST and SHARED_SIZE, UNIX_SHM_DMS.
_SHARED_AT, _SHARED_BYTES = 0x40000002, 510
_DEAD_MAN_AT = 128

# The index of the log: section 2 of SQLite's WAL-mode file format document. Two copies of the header, then how much was copied.
_HEADER = slice(0, 48)
_COPY = slice(48, 96)
_PAGE_SIZE = slice(14, 16)
_FRAMES = slice(16, 20)  # numbers are in the byte order of the machine
_SALTS = slice(32, 40)
_BACKFILLED = slice(96, 100)
_BACKFILL_ATTEMPTED = slice(128, 132)
_INDEX_BYTES = 136
_SALTS_OF_LOG_AT, _SALTS_BYTES = 16, 8
_PAGES_COMPARED = 2  # of the database: the header and the schema, and the table `meta`, which each start changes
_FRAME_HEADER_BYTES = 24


class Watch:
    """Watches the locked database and its log after SQLite has opened both. Call `let_go` before SQLite closes them.

    `intact` is false once the open files no longer hold everything that was committed.
    """

    def __init__(self, lock: FileLock, database: int) -> None:
        self.path = lock.path
        self.intact = True
        self.log_bytes = 0  # bytes of the log in use at the last look
        self._database = database
        self._log_path = lock.path + "-wal"
        self._log = lock.open_beside("-wal")
        self._index = lock.open_beside("-shm")
        self._log_name = _Name(self._log, self._log_path)
        self._database_file = _file(os.fstat(database))
        range_locks.take(database, _SHARED_AT, _SHARED_BYTES, shared=True)
        range_locks.take(self._index, _DEAD_MAN_AT, 1, shared=True)
        index = os.pread(self._index, _INDEX_BYTES, 0)
        page_size = int.from_bytes(index[_PAGE_SIZE], sys.byteorder)
        self._frame_bytes = _FRAME_HEADER_BYTES + (65536 if page_size == 1 else page_size)
        self._head_bytes = _PAGES_COMPARED * (self._frame_bytes - _FRAME_HEADER_BYTES)
        self._remember(index)

    def note(self) -> str:
        """The text that tells a later owner that database and log belong together: see bond. No process may be writing the
        database.
        """
        return note(os.fstat(self._database), os.fstat(self._log))

    def _remember(self, index: bytes) -> None:
        self._stamp = _stamp(os.fstat(self._database))
        self._head = os.pread(self._database, self._head_bytes, 0)
        self._copied = _copied(index)

    def look(self) -> bool:
        """Whether the database was written since the last look. Raises DatabaseReplaced.

        Costs four system calls, which read nothing from a disk.
        """
        try:
            database = os.stat(self.path)
            log_is_there = self._log_name.holds()
        except FileNotFoundError as error:
            raise self._replaced(f"{error.filename} was deleted or moved") from None
        if _file(database) != self._database_file:
            raise self._replaced(f"{self.path} was replaced by another file")
        if not log_is_there:
            raise self._replaced(f"{self._log_path} was replaced by another file")
        index = os.pread(self._index, _INDEX_BYTES, 0)
        while self._differs_from_log(index):
            # Another process may have begun the log anew between the two reads. It writes the index first.
            before, index = index, os.pread(self._index, _INDEX_BYTES, 0)
            if index == before:
                self.intact = False
                raise self._replaced(f"{self._log_path} was overwritten or cut")
        self.log_bytes = self.size_of(int.from_bytes(index[_FRAMES], sys.byteorder))
        if _stamp(database) == self._stamp:
            return False
        self._look_inside(index, database.st_size)
        return True

    def _differs_from_log(self, index: bytes) -> bool:
        settled = any(index[_FRAMES]) and index[_HEADER] == index[_COPY]  # else another process is writing right now
        return settled and os.pread(self._log, _SALTS_BYTES, _SALTS_OF_LOG_AT) != index[_SALTS]

    def size_of(self, frames: int) -> int:
        """The size of a log with so many frames, in bytes."""
        return frames * self._frame_bytes

    def _look_inside(self, index: bytes, size: int) -> None:
        """Check a database that was written. Only copying the log may write it, and the index of the log shows whether the
        log was copied.
        """
        begun, done = (int.from_bytes(index[part], sys.byteorder) for part in (_BACKFILL_ATTEMPTED, _BACKFILLED))
        touched = size == self._stamp[1] and os.pread(self._database, self._head_bytes, 0) == self._head
        if begun <= done and _copied(index) == self._copied and not touched:
            self.intact = False
            raise self._replaced(f"{self.path} was overwritten")
        self._remember(index)

    def _replaced(self, what: str) -> DatabaseReplaced:
        if self.intact:
            then = (
                "Everything that was acknowledged is in the database file that was open, wherever it is now: put it back before "
                "you start the app again, or start the app to go on with the file that is there."
            )
        else:
            then = (
                "A database and a -wal that do not belong together cannot be used. Before you start the app "
                "again, run `actors restore` with a backup, or put back a database file and remove "
                f"{self._log_path}."
            )
        return DatabaseReplaced(
            f"{what} while the app was running. The app has stopped; later commits were not acknowledged. {then}"
        )

    def let_go(self) -> None:
        """Let SQLite remove the log when it closes the database. Not called when the files are no longer those at the path."""
        range_locks.free(self._database, _SHARED_AT, _SHARED_BYTES)


class _Name:
    """Whether a path still names the file of a descriptor, according to the system's name for the open file.

    `stat` would work too, but slows down the next write to the file: Linux must then give the file a distinct time (multigrain
    timestamps), which the commit must also write.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._link = f"/proc/self/fd/{descriptor}"
        self._called = self._now_called()

    def _now_called(self) -> str | None:
        try:
            return os.readlink(self._link)
        except OSError:  # there is no /proc
            return None

    def holds(self) -> bool:
        """Whether the path still names the file. Raises FileNotFoundError if no file has that name."""
        called = self._now_called()
        if called is None or called != self._called:
            if _file(os.stat(self._path)) != _file(os.fstat(self._descriptor)):
                return False
            self._called = called
        return True


def _file(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_mtime_ns, found.st_size


def _copied(index: bytes) -> tuple[bytes, bytes, bytes]:
    return index[_SALTS], index[_BACKFILLED], index[_BACKFILL_ATTEMPTED]
