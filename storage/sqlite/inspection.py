"""Checks of the bytes of a database file and of its log, before SQLite may touch either.

Promise: a file that belongs to another program, is too new, or is truncated is refused and left unchanged. SQLite
itself would write another program's log into its database, delete the log of a database that was cut to nothing, and
notice a missing page only when that page is read.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import sqlite3
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from actors.storage.errors import DatabaseForeign, DatabaseTooNew
from actors.storage.sqlite import schema

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_LOG_MAGICS = (0x377F0682, 0x377F0683)
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a database header that are used here. Offsets: section 1.3 of SQLite's file format document."""

    page_size: int
    pages: int
    user_version: int
    application_id: int

    @classmethod
    def parsed(cls, data: bytes) -> Header | None:
        """The header, or None if `data` is not the beginning of an SQLite database."""
        if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
            return None
        page_size = _number(data, 16, 2)
        return cls(65536 if page_size == 1 else page_size, _number(data, 28), _number(data, 60), _number(data, 68))


class Log:
    """The write-ahead log beside a database: which pages it holds, and the newest header among them.

    Checksums are not computed, so a frame that was torn by a power failure counts like an intact frame. That can only make
    this check milder; SQLite itself ignores such frames.

    A log may have half a million frames, so they are not read one by one: columns of their headers are sliced from large
    pieces.
    """

    def __init__(self, path: str) -> None:
        self.committed: bool = False
        self.header: Header | None = None
        self._path = path
        self._frames = 0  # valid frames; after them come left-overs from before the log started anew
        self._size = 0  # bytes of a frame with its header
        try:
            with open(path, "rb", buffering=0) as file:
                self._read(file)
        except FileNotFoundError:
            pass

    def _read(self, file: FileIO) -> None:
        start = file.read(_LOG_HEADER_BYTES)
        if len(start) < _LOG_HEADER_BYTES or _number(start, 0) not in _LOG_MAGICS:
            return
        self._size = _FRAME_HEADER_BYTES + _number(start, 8)
        every = range((os.fstat(file.fileno()).st_size - _LOG_HEADER_BYTES) // self._size)

        def is_left_over(frame: int) -> bool:
            file.seek(_LOG_HEADER_BYTES + frame * self._size)
            return file.read(_FRAME_HEADER_BYTES)[8:16] != start[16:24]

        self._frames = bisect.bisect_left(every, True, key=is_left_over)
        for first, piece in self._pieces(file, backwards=True):
            end = len(piece)
            if not self.committed:  # the last frame of a transaction holds the size of the database in pages
                last = max(len(piece[offset :: self._size].rstrip(b"\0")) for offset in range(4, 8))
                self.committed, end = last > 0, last * self._size
            at = self._last_of_page_1(piece, end)
            if at is not None:
                file.seek(_LOG_HEADER_BYTES + first * self._size + at + _FRAME_HEADER_BYTES)
                self.header = Header.parsed(file.read(_HEADER_BYTES))
                return

    def _last_of_page_1(self, piece: bytes, end: int) -> int | None:
        """The offset in the piece of the last frame of page 1 before `end`."""
        low = piece[3 : end : self._size]
        frame = len(low)
        while (frame := low.rfind(1, 0, frame)) >= 0:
            if _number(piece, frame * self._size) == 1:
                return frame * self._size
        return None

    def _pieces(self, file: FileIO, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        """All frames in large pieces, each piece with the number of its first frame."""
        many = max(1, _PIECE_BYTES // (self._size or 1))
        starts = range(0, self._frames, many)
        for first in reversed(starts) if backwards else starts:
            file.seek(_LOG_HEADER_BYTES + first * self._size)
            piece = file.read(min(many, self._frames - first) * self._size)
            yield first, piece[: len(piece) // self._size * self._size]

    def pages(self) -> set[int]:
        """The numbers of the pages in the log."""
        found: set[int] = set()
        if not self._frames:
            return found
        with open(self._path, "rb", buffering=0) as file:
            for _, piece in self._pieces(file):
                column = bytearray(len(piece) // self._size * 4)
                for offset in range(4):
                    column[offset::4] = piece[offset :: self._size]
                numbers = array("I", column)
                if sys.byteorder == "little":
                    numbers.byteswap()
                found.update(numbers)
        return found


def inspect(path: str, database: int | None, application_id: int, version: int) -> None:
    """Raise DatabaseForeign or DatabaseTooNew for a file that must not be opened. A missing or empty file is fine.

    `database` is the open file: opening and closing it once more would drop the locks that SQLite may have on it.
    """
    size = os.fstat(database).st_size if database is not None else 0
    log = Log(path + "-wal")
    if database is None or size == 0:
        if log.committed:
            raise DatabaseForeign(
                f"{path} is {'empty' if database is not None else 'missing'}, but {path}-wal holds records that belong to "
                "it. Restore the database from a backup; to start anew, move the -wal file away."
            )
        return
    os.lseek(database, 0, os.SEEK_SET)
    own = Header.parsed(os.read(database, _HEADER_BYTES))
    creation_interrupted = os.path.exists(path + "-journal")  # SQLite undoes the creation when it opens the file
    if own is None:
        if creation_interrupted:
            return
        raise DatabaseForeign(
            f"{path} is not an SQLite database. Choose another file, or restore this one from a backup; it was left as it is."
        )
    header = log.header or own
    # A file whose creation was interrupted has one page, without any mark.
    unmarked = header.application_id == 0 and header.user_version == 0 and header.pages <= 1
    if header.application_id != application_id and not unmarked:
        raise foreign(path)
    if header.user_version > version:
        raise DatabaseTooNew(
            f"{path} was written by a newer release (schema {header.user_version}; this release knows {version}). "
            "Upgrade the package; the file was left as it is."
        )
    missing = _missing_pages(own, size, log)
    if missing and not creation_interrupted:
        raise DatabaseForeign(
            f"{path} is shorter than its header says: it was truncated, and {missing} pages are missing. Restore it from a "
            "backup; it was left as it is."
        )


def foreign(path: str) -> DatabaseForeign:
    """The error for a database that does not carry the mark of an app."""
    if _is_dump(path):
        return DatabaseForeign(
            f"{path} was made from a dump, which lacks the mark of an app's database. Turn it into one with: "
            f"actors restore {path} NEW.db"
        )
    return DatabaseForeign(f"{path} is a database of another program. Choose another file; this one was left as it is.")


def immutable(path: str) -> str:
    """The URI for reading a database that no process writes: SQLite then ignores the log, and creates no file."""
    return f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"


def _is_dump(path: str) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(immutable(path), uri=True)) as connection:
            marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            return marks == [0, 0] and schema.version_of(connection) is not None
    except sqlite3.Error:
        return False


def _missing_pages(header: Header, size: int, log: Log) -> int:
    """How many pages the file has lost. Pages that are in the log do not count: a crash while the log was copied leaves
    them there."""
    absent = range(size // header.page_size + 1, header.pages + 1)
    if not absent:
        return 0
    lock_page = 2**30 // header.page_size + 1  # never written
    return len(absent) - sum(page in absent for page in log.pages() | {lock_page})


def _number(data: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(data[offset : offset + size], "big")
