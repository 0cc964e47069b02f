"""What the bytes of a database file and of its log say, before SQLite may touch either.

Promise: a file that is not ours, too new, or no longer whole is refused as it lies there. SQLite itself would
write another program's log into its database, delete the log of a database that was cut to nothing, and
find a missing page only when it is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import FileIO

from actors.storage.errors import DatabaseForeign, DatabaseTooNew

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_LOG_MAGICS = (0x377F0682, 0x377F0683)
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a database header we need. Offsets: section 1.3 of SQLite's file format document."""

    page_size: int
    pages: int
    user_version: int
    application_id: int

    @classmethod
    def parsed(cls, data: bytes) -> Header | None:
        """None if this is not the beginning of an SQLite database."""
        if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
            return None
        page_size = _number(data, 16, 2)
        return cls(65536 if page_size == 1 else page_size, _number(data, 28), _number(data, 60), _number(data, 68))


class Log:
    """The write-ahead log beside a database: which pages it holds, and the newest header among them.

    Checksums are not computed, so a frame that was torn by a power failure counts like the whole ones before it. That
    can only make this check milder; SQLite itself leaves such frames out.
    """

    def __init__(self, path: str) -> None:
        self.committed: bool = False
        self.pages: set[int] = set()
        self.header: Header | None = None
        try:
            with open(path, "rb", buffering=0) as file:
                self._read(file)
        except FileNotFoundError:
            pass

    def _read(self, file: FileIO) -> None:
        start = file.read(_LOG_HEADER_BYTES)
        if len(start) < _LOG_HEADER_BYTES or _number(start, 0) not in _LOG_MAGICS:
            return
        page_size, salts = _number(start, 8), start[16:24]
        position, header_at = _LOG_HEADER_BYTES, None
        size = os.fstat(file.fileno()).st_size
        while position + _FRAME_HEADER_BYTES + page_size <= size:
            file.seek(position)
            frame = file.read(_FRAME_HEADER_BYTES)
            if frame[8:16] != salts:
                return  # left over from before the log was begun anew
            page = _number(frame, 0)
            self.pages.add(page)
            if page == 1:
                header_at = position + _FRAME_HEADER_BYTES
            if _number(frame, 4):  # the last frame of a transaction
                self.committed = True
                if header_at is not None:
                    file.seek(header_at)
                    self.header, header_at = Header.parsed(file.read(_HEADER_BYTES)), None
            position += _FRAME_HEADER_BYTES + page_size


def inspect(path: str, application_id: int, version: int) -> None:
    """Raise DatabaseForeign or DatabaseTooNew for a file that must not be opened. A missing or empty file is fine."""
    size = os.path.getsize(path) if os.path.exists(path) else 0
    log = Log(path + "-wal")
    if size == 0:
        if log.committed:
            raise DatabaseForeign(
                f"{path} is {'empty' if os.path.exists(path) else 'missing'}, but {path}-wal holds records that belong to "
                "it. Restore it from a backup; to start anew, move the -wal file away."
            )
        return
    with open(path, "r+b") as file:  # for writing too: SQLite would fall back to a connection that can only read
        own = Header.parsed(file.read(_HEADER_BYTES))
    creation_interrupted = os.path.exists(path + "-journal")  # SQLite undoes it when it opens the file
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
        raise DatabaseForeign(
            f"{path} is a database of another program. Choose another file; this one was left as it is."
        )
    if header.user_version > version:
        raise DatabaseTooNew(
            f"{path} was written by a newer release (schema {header.user_version}, this one knows {version}). "
            "Upgrade the package; the file was left as it is."
        )
    missing = _missing_pages(own, size, log)
    if missing and not creation_interrupted:
        raise DatabaseForeign(
            f"{path} is shorter than its header says: it was truncated and {missing} pages are gone. Restore it from a "
            "backup; it was left as it is."
        )


def _missing_pages(header: Header, size: int, log: Log) -> int:
    """Pages the file once had and has no more. A crash while the log was copied into it leaves them in the log."""
    present = size // header.page_size
    lock_page = 2**30 // header.page_size + 1  # never written
    return sum(page not in log.pages and page != lock_page for page in range(present + 1, header.pages + 1))


def _number(data: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(data[offset : offset + size], "big")
