"""Which log belongs to which database file: noted in the lock file while an app runs.

A log does not name the database it was written for, and SQLite copies it into any database beside it. So a backup put
in the place of a killed app's file would be undone or damaged by the log left there. The owner notes the state of both
files each time the database has been written; the next start sees whether anything else has written the database or
replaced it.

The note is valid until the machine restarts: a power failure may keep the note and lose the data, or the other way
round. On systems other than Linux a restart cannot be detected, and nothing is noted.
"""

from __future__ import annotations

import os

from actors.storage.errors import StaleLog


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


_BOOT = _boot()
UNKNOWN = ""  # while the database is being written: a process that dies meanwhile leaves no note


def note(database: os.stat_result, log: os.stat_result) -> str:
    """The note for these two files."""
    if not _BOOT:
        return UNKNOWN
    return f"{_BOOT} {log.st_ino} {database.st_ino} {database.st_size} {database.st_mtime_ns}"


def refuse_stale(path: str, database: int | None, noted: str) -> None:
    """Raise StaleLog if the log beside `path` holds records of another database, according to the note `noted`.

    The note says nothing if both files were replaced or moved together.
    """
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
