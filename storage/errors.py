"""What can go wrong with the database file. Every message says what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys


class ActorsError(Exception):
    """Base of all errors of this framework. `error` is the stable code, `code` its HTTP-like number.

    Defined in the lowest layer, so that the errors of all layers can derive from it.
    """

    error: str = "actors_error"
    code: int = 500


class StorageError(ActorsError):
    """The database could not be read or written. The app has stopped; everything that was acknowledged is safe.

    `transient` means that the cause may go away by itself: a lock of another program, a full disk, an I/O error. Then the
    app can be started again, as `App.recover` and `actors serve` do.
    """

    error = "storage_error"
    code = 503
    transient: bool = False


class StorageFull(StorageError):
    """The disk is full. Free space, then start the app again: it recovers from the file."""

    error = "storage_full"
    transient = True


class LookRefused(StorageError):
    """A look into the file was refused or given up. The app goes on; nothing has changed."""

    error = "look_refused"


class TooManyLooks(LookRefused):
    """Too many requests wait to look into the file. Try again in a moment."""

    error = "too_many_looks"


class LookTooLong(LookRefused):
    """A look into the file has taken too long, and was given up. Ask for less."""

    error = "look_too_long"


class DatabaseInUse(StorageError):
    """Another process owns this file. One file has one owner; `pid` is the owner's process id.

    `another_name` means that the owner has opened the file under another name, a hard link or a mount.
    """

    error = "database_in_use"

    def __init__(self, path: str, pid: int | None, *, another_name: bool = False) -> None:
        self.path = path
        self.pid = pid
        by = ", under another name of the same file" if another_name else ""
        other = "or give this app a file of its own with App(..., storage='sqlite:///other.db')."
        if pid == os.getpid():
            super().__init__(
                f"{path} is in use by another App of this process{by}. One database file belongs to one running app: share that "
                f"app, close it before this one starts (await app.close()), {other}"
            )
            return
        if pid is not None and _is_other_worker(pid):
            super().__init__(
                f"{path} is in use by process {pid}{by}, which has the same parent process as this one: this looks like several "
                "workers of one server (uvicorn --workers, gunicorn -w, WEB_CONCURRENCY). One database file belongs to one "
                "running app: start the server with one worker, which serves many requests at the same time."
            )
            return
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{path} is in use by {owner}{by}. One database file belongs to one running app: stop that process, {other}"
        )


class DatabaseForeign(StorageError):
    """The file is not a database of this framework, or it is damaged. The file has not been changed."""

    error = "database_foreign"


class StaleLog(DatabaseForeign):
    """The -wal beside the file belongs to another database: the file was replaced. Neither file has been changed."""

    error = "stale_log"


class LogElsewhere(StorageError):
    """The last commits of this file are in a -wal beside another name of it. Neither file has been changed."""

    error = "log_elsewhere"


class DatabaseTooNew(StorageError):
    """A newer release wrote this file. Upgrade the package; the file has not been changed."""

    error = "database_too_new"


class DatabaseTooOld(StorageError):
    """An older release wrote this file, and commands do not migrate it. The app migrates the file when it starts."""

    error = "database_too_old"


class OwnershipLost(StorageError):
    """This process no longer owns the file, because another process has taken it over. This process writes no more."""

    error = "ownership_lost"


class DatabaseReplaced(OwnershipLost):
    """The file, or its log, was deleted, moved, replaced or overwritten while the app was running.

    Nothing was acknowledged afterwards. Find the cause, then start the app again: it goes on with the file that it finds.
    """

    error = "database_replaced"


def _is_other_worker(pid: int) -> bool:
    """Whether this process and process `pid` seem to be workers of one server, and not two separate programs."""
    process = sys.modules.get("multiprocessing.process")
    if "gunicorn" not in sys.modules and (process is None or process.parent_process() is None):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # After the name of the program, which may hold spaces and parentheses: the state and the parent.
            return int(file.read().rpartition(b")")[2].split()[1]) == os.getppid()
    except (OSError, ValueError, IndexError):
        return True  # a system without this information


def translated(error: sqlite3.Error, path: str) -> StorageError:
    """The error of this layer for an error of SQLite, with advice."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    if name == "SQLITE_FULL" or name == "SQLITE_IOERR_SHMSIZE":  # the log's index could not grow
        return _full(path, str(error))
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return DatabaseForeign(
            f"{path} cannot be read as a database ({error}). Restore it from a backup or choose another file; "
            "it was left as it is."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _transient(
            f"{path} is locked by another program ({error}). Close the program that writes to it (for example a "
            "database shell with an open transaction) and start the app again."
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return _transient(
            f"{path} cannot be written ({error}). Give this user permission to write it and its folder, or choose another path."
        )
    text = f"{path}: {error} ({name}). Start the app again once it is fixed."
    if name.startswith(("SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_PROTOCOL", "SQLITE_INTERRUPT")):
        return _transient(text)
    return StorageError(text)


def translated_os(error: OSError, path: str) -> StorageError:
    """The error of this layer for an error of the operating system."""
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path, text)
    message = f"{path} cannot be opened ({text}). Give this user permission to write it and its folder, or choose another path."
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG):
        return StorageError(message)
    return _transient(message)


def _transient(message: str) -> StorageError:
    error = StorageError(message)
    error.transient = True
    return error


def _full(path: str, text: str) -> StorageFull:
    return StorageFull(f"The disk that holds {path} is full ({text}). Free space and start the app again.")
