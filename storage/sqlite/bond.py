"""Which log belongs to which database file: noted in the lock file while an app runs.

A log does not name its database, and SQLite copies a log into any database beside it. So a backup that replaces a killed
app's file would be undone or damaged by the log left there. The owner notes the state of both files whenever the database has
been written; the next start sees whether another program has written or replaced the database. A log that is in the database
as a whole can neither undo nor damage anything: so it does not matter that another program, which keeps the file open, has
copied the log since the app was killed. Litestream does, and then begins the log anew by writing to a table of its own.

Conversely, a file may have several names (a hard link, a mount, a new name), and SQLite finds the log beside only one of them.
So the path of the log is noted on the file itself, in an extended attribute, while an app runs. A killed app leaves the
attribute behind, and a start under another name does not go on without the last commits.

The note is valid until the machine restarts: a power failure may keep the note and lose the data, or vice versa. On systems
other than Linux a restart cannot be detected, and nothing is noted.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from pathlib import Path

from actors.storage.errors import LogElsewhere, StaleLog

_ATTRIBUTE = "user.actors.log"
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


_BOOT = _boot()
UNKNOWN = ""  # the note while the database is being written: if the process dies then, nothing is known


def note(database: os.stat_result, log: os.stat_result) -> str:
    """The note for this database and this log."""
    if not _BOOT:
        return UNKNOWN
    return f"{_BOOT} {log.st_ino} {database.st_ino} {database.st_size} {database.st_mtime_ns}"


def place(database: int, log_path: str, log: os.stat_result) -> None:
    """Note on the database where its log is. Has no effect on file systems without extended attributes."""
    if sys.platform == "linux":
        noted = [os.path.abspath(log_path), log.st_dev, log.st_ino, os.fstat(database).st_ino]
        with contextlib.suppress(OSError):
            os.setxattr(database, _ATTRIBUTE, json.dumps(noted).encode())


def forget_place(database: int) -> None:
    """Remove the noted place: the log was copied into the database."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.removexattr(database, _ATTRIBUTE)


def _refuse_elsewhere(path: str, database: int) -> None:
    if sys.platform != "linux":
        return
    try:
        log_path, *log, inode = json.loads(os.getxattr(database, _ATTRIBUTE))
        elsewhere = os.stat(log_path)
    except (OSError, ValueError, TypeError):
        return  # there is no note, or the log is gone: a shell copied and removed it
    if inode != os.fstat(database).st_ino or log != [elsewhere.st_dev, elsewhere.st_ino] or not elsewhere.st_size:
        return  # the note was copied along with the file; or the log was copied into the database
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(path + "-wal"), elsewhere):
            return
    raise LogElsewhere(
        f"The last app on this file was killed while it used the name {log_path.removesuffix('-wal')}, and what it acknowledged "
        f"last is in {log_path}. Under the name {path} it would be missing. Start the app under that name; or move "
        f"the log to {path}-wal, if the file was moved without it."
    )


def _is_copied(path: str, database: int) -> bool:
    """Whether everything in the log is in the database too, but for tables of Litestream: it copies the log, and then counts."""
    newest: dict[int, int] = {}  # where in the log the last copy of each page is
    pages = 0  # of the database, after the last transaction in the log
    with open(path + "-wal", "rb") as log:
        header = log.read(_LOG_HEADER_BYTES)
        page_size, salts = int.from_bytes(header[8:12], "big"), header[16:24]
        transaction: dict[int, int] = {}
        while len(frame := log.read(_FRAME_HEADER_BYTES)) == _FRAME_HEADER_BYTES and frame[8:16] == salts:
            transaction[int.from_bytes(frame[:4], "big")] = log.tell()
            log.seek(page_size, os.SEEK_CUR)
            if any(frame[4:8]):  # the end of a transaction
                pages = int.from_bytes(frame[4:8], "big")
                newest |= transaction
                transaction.clear()
        differing = {
            number
            for number, at in newest.items()
            if os.pread(log.fileno(), page_size, at) != os.pread(database, page_size, (number - 1) * page_size)
        }
    return os.fstat(database).st_size == pages * page_size and differing <= _pages_of_litestream(path)


def _pages_of_litestream(path: str) -> set[int]:
    """Its tables have one row at most, so each has one page."""
    uri = f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"  # the database without its log
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            found = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name GLOB '_litestream_*'").fetchall()
    except sqlite3.Error:
        return set()
    return {page for (page,) in found}


def refuse_stale(path: str, database: int | None, noted: str) -> None:
    """Raise StaleLog if the log beside `path` holds records of another database, according to the note `noted`.

    The note says nothing if both files were replaced or moved together, and does not matter if the database already holds all
    records of the log. Raises LogElsewhere if the log lies beside another name of the database.
    """
    if database is not None:
        _refuse_elsewhere(path, database)
    try:
        log = os.stat(path + "-wal")
    except FileNotFoundError:
        return
    if database is None or not log.st_size or not noted.startswith(f"{_BOOT} {log.st_ino} ") or not _BOOT:
        return
    if noted != note(os.fstat(database), log) and not _is_copied(path, database):
        raise StaleLog(
            f"{path} was replaced or changed after {path}-wal was written, so the two do not belong together. "
            f"Perhaps a backup was copied over the file of an app that had been killed. To go on with {path} as "
            f"it is now, move {path}-wal away; `actors restore` does that by itself. To go on with the contents "
            f"of the -wal, put the earlier {path} back. If only the modification time of {path} has changed, "
            f"remove {path}.lock."
        )
