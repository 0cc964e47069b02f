"""Which log belongs to which database file: noted in the lock file while an app runs.

A log does not name its database, and SQLite copies a log into any database beside it. So a backup that replaces a killed
app's file would be undone or damaged by the log left there. The owner notes the state of both files whenever the database has
been written; the next start sees whether another program has written or replaced the database.

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
import sys

from actors.storage.errors import LogElsewhere, StaleLog

_ATTRIBUTE = "user.actors.log"


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


def refuse_stale(path: str, database: int | None, noted: str) -> None:
    """Raise StaleLog if the log beside `path` holds records of another database, according to the note `noted`.

    The note says nothing if both files were replaced or moved together. Raises LogElsewhere if the log lies beside another
    name of the database.
    """
    if database is not None:
        _refuse_elsewhere(path, database)
    try:
        log = os.stat(path + "-wal")
    except FileNotFoundError:
        return
    if database is None or not log.st_size or not noted.startswith(f"{_BOOT} {log.st_ino} ") or not _BOOT:
        return
    if noted != note(os.fstat(database), log):
        raise StaleLog(
            f"{path} was replaced or changed after {path}-wal was written, so the two do not belong together. "
            f"Perhaps a backup was copied over the file of an app that had been killed. To go on with {path} as "
            f"it is now, move {path}-wal away; `actors restore` does that by itself. To go on with the contents "
            f"of the -wal, put the earlier {path} back. If only the modification time of {path} has changed, "
            f"remove {path}.lock."
        )
