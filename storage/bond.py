"""Which log belongs to which database file: noted in the lock file while an app runs.

A log does not tell which database it was written for, and SQLite copies it into whichever it finds beside it. So a backup that is
put in the place of the file of a killed app would be undone by the log that was left there, or be damaged by it. The owner
notes what both files look like each time the database has been written, so that the next start sees whether anything
else has written it, or put another one there, since.

The note counts only until the machine starts anew: a power failure may keep it and lose what it speaks of, or the other way
round. Elsewhere than on Linux there is no way to tell, and nothing is noted.
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
UNKNOWN = ""  # while the database is being written: a process that dies meanwhile leaves no word


def note(database: os.stat_result, log: os.stat_result) -> str:
    """What is to be noted of the two."""
    if not _BOOT:
        return UNKNOWN
    return f"{_BOOT} {log.st_ino} {database.st_ino} {database.st_size} {database.st_mtime_ns}"


def refuse_stale(path: str, database: int | None, noted: str) -> None:
    """Raise StaleLog if there are records in the log beside `path` that belong to another database, by what was `noted`.

    If both files were replaced, or moved together, the note tells nothing of them.
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
