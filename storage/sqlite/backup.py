"""Backups of a database while its app runs, and their restoration.

Promise: the file at the destination is complete and on the disk, or is unchanged. A restored database has the same ids as the
original, and gives out no number that the original may have given out since the backup.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator

from actors.storage.errors import DatabaseForeign, DatabaseTooNew, StorageError, StorageFull, translated, translated_os
from actors.storage.sqlite import schema
from actors.storage.sqlite.bond import UNKNOWN, refuse_stale
from actors.storage.sqlite.bystander import Bystander
from actors.storage.sqlite.inspection import Header, immutable, inspect
from actors.storage.sqlite.lock import FileLock, noted

Progress = Callable[[int, int], None]  # (pages copied, pages in total)

PAGES_PER_STEP = 4096  # Ctrl-C is noticed between two steps
# How far invocation numbers jump at a restore: more than an owner can have given out since the backup.
NUMBERS_SKIPPED = 1 << 40
KEPT = ".before-restore"


def backup(path: str, target: str, progress: Progress = lambda copied, total: None) -> None:
    """Copy the current contents of the database at `path` to the new file `target`. The app may run.

    Raises StorageError or a subclass. The copy holds a read snapshot, so the log of a busy app grows meanwhile.
    """
    target = os.path.abspath(target)
    for taken in (target, target + "-wal", target + "-journal"):
        if os.path.lexists(taken):
            raise StorageError(
                f"{taken} exists, and a backup never overwrites a file. Choose a new file, or move the existing "
                "one away."
            )
    with _translating(path), Bystander(path) as bystander, _new_file(target) as new:
        if bystander.descriptor is not None and not bystander.owned():
            inspect(bystander.path, bystander.descriptor, schema.APPLICATION_ID, _ANY_VERSION)
        with contextlib.closing(sqlite3.connect(bystander.uri(), uri=True, isolation_level=None)) as source:
            _refuse_foreign(source, bystander.path)
            _copy(source, new, target, progress)
        with _translating(target):
            _settle(new, bystander.path)
            try:
                os.link(new, target)  # a rename would replace a file that was created meanwhile
            except FileExistsError:
                raise StorageError(
                    f"{target} was created meanwhile, and a backup never overwrites a file. Choose a new file."
                ) from None
            except OSError:  # no links on this file system
                os.rename(new, target)
            _sync_folder(target)


def restore(source: str, path: str, progress: Progress = lambda copied, total: None) -> str | None:
    """Replace the database at `path`, whose app must not run, with a copy of the backup `source`.

    The old file is kept as `path` + KEPT, with its log; returns the path of the kept file, or None if there was no file. A
    database made from a dump is completed. Raises StorageError or a subclass; then nothing has changed at `path`.
    """
    path = os.path.realpath(path)
    kept = path + KEPT
    if not os.path.isdir(os.path.dirname(path)):
        raise StorageError(f"The folder {os.path.dirname(path)} does not exist. Create it, or choose another file.")
    if os.path.isdir(path):
        raise StorageError(f"{path} is a folder. Give the path of the database file to restore.")
    if os.path.exists(path) and os.path.exists(source) and os.path.samefile(source, path):
        raise StorageError(
            f"{source} and {path} are the same file. Give the backup first, then the database to replace."
        )
    if os.path.lexists(kept):
        raise StorageError(f"{kept} exists: an earlier restore kept it. Move or delete it, then restore again.")
    with _translating(path), _locked(path) as lock, _new_file(path) as new:
        _refuse_other_program(lock)
        with _translating(source), _locked(os.path.realpath(source), reader=True) as reader:
            _refuse_unusable(reader)
            with (
                Bystander(source) as bystander,
                contextlib.closing(sqlite3.connect(_uri(bystander), uri=True, isolation_level=None)) as connection,
            ):
                version = _version_of_dump(connection)
                if version is None:
                    _refuse_foreign(connection, source)
                _copy(connection, new, path, progress)
        had = lock.database is not None
        _make_ready(new, version)
        _settle(new, path if had else source)
        if had:
            _fold(lock)
            _keep(path, kept)
        for suffix in ("-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)
        os.replace(new, path)
        _sync_folder(path)
        lock.note(UNKNOWN)
    return kept if had else None


_ANY_VERSION = 1 << 31


@contextlib.contextmanager
def _translating(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path) from error
    except OSError as error:
        raise translated_os(error, path) from error


@contextlib.contextmanager
def _locked(path: str, *, reader: bool = False) -> Iterator[FileLock]:
    if reader and not os.path.isfile(path):
        raise StorageError(f"The file {path} does not exist. Give the path of a backup.")
    lock = FileLock(path, reader=reader)
    try:
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[str]:
    """A temporary file beside `path`. It is removed at the end, together with SQLite's files beside it."""
    if not os.path.isdir(os.path.dirname(path)):
        raise StorageError(f"The folder {os.path.dirname(path)} does not exist. Create it, or choose another file.")
    descriptor, new = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".part", dir=os.path.dirname(path))
    os.close(descriptor)
    try:
        yield new
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new + suffix)


def _uri(locked: Bystander) -> str:
    """The URI for SQLite. Without a log no process has the file open, and SQLite need not create a log to read it."""
    log = locked.path + "-wal"
    if os.path.exists(log) and os.path.getsize(log):
        return locked.uri()
    return immutable(locked.path)


# SQLite reports errors of both files in the same way. The new file is only created and written, never read.
_OF_THE_DESTINATION = (
    "SQLITE_FULL",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_FSYNC",
    "SQLITE_IOERR_TRUNCATE",
)


def _copy(source: sqlite3.Connection, new: str, target: str, progress: Progress) -> None:
    # In one transaction: otherwise a copy in steps would begin anew at each commit of the app.
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # the file is synced as a whole
            copy.execute("PRAGMA journal_mode = OFF")
            source.backup(
                copy, pages=PAGES_PER_STEP, progress=lambda _, remaining, total: progress(total - remaining, total)
            )
    except sqlite3.Error as error:
        if not (getattr(error, "sqlite_errorname", None) or "").startswith(_OF_THE_DESTINATION):
            raise
        known = translated(error, target)
        if isinstance(known, StorageFull):
            known = StorageFull(
                f"The disk that holds {target} is full; the partial copy was removed. Free space, or choose a file on "
                "another disk."
            )
        raise known from error
    source.execute("COMMIT")


def _settle(new: str, like: str) -> None:
    """Make sure that the copy is complete and on the disk. It gets the owner and permissions of the file `like`."""
    with contextlib.closing(sqlite3.connect(immutable(new), uri=True)) as connection:
        ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise DatabaseForeign(f"The database is damaged ({found}) and was not copied. Restore it from an older backup.")
    shutil.copymode(like, new)
    if hasattr(os, "chown"):
        owner = os.stat(like)
        with contextlib.suppress(OSError):  # only root gives files away
            os.chown(new, owner.st_uid, owner.st_gid)
    descriptor = os.open(new, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: str) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> None:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if not tables:
        raise StorageError(f"{path} is empty: no app has used it yet. Choose another file.")
    if application != schema.APPLICATION_ID:
        raise DatabaseForeign(f"{path} is a database of another program. Choose an app's database.")


def _refuse_other_program(lock: FileLock) -> None:
    if lock.database is None:
        return
    os.lseek(lock.database, 0, os.SEEK_SET)
    header = Header.parsed(os.read(lock.database, 100))
    if header is not None and header.application_id not in (0, schema.APPLICATION_ID):
        raise DatabaseForeign(
            f"{lock.path} is a database of another program and was not replaced. Choose another file."
        )


def _refuse_unusable(reader: FileLock) -> None:
    """Check the backup as a start would, except that a database made from a dump has no mark in its header."""
    refuse_stale(reader.path, reader.database, noted(reader.path))
    try:
        inspect(reader.path, reader.database, schema.APPLICATION_ID, len(schema.MIGRATIONS))
    except DatabaseTooNew:
        raise
    except DatabaseForeign:
        with contextlib.closing(sqlite3.connect(immutable(reader.path), uri=True)) as connection:
            try:
                dumped = _version_of_dump(connection) is not None
            except sqlite3.Error:
                dumped = False
        if not dumped:
            raise


def _version_of_dump(connection: sqlite3.Connection) -> int | None:
    """The schema version of a database made from a dump, which does not record that number; None for other databases."""
    marks = (
        connection.execute("PRAGMA application_id").fetchone() + connection.execute("PRAGMA user_version").fetchone()
    )
    return schema.version_of(connection) if marks == (0, 0) else None


def _make_ready(new: str, version_of_dump: int | None) -> None:
    """Write what the next start requires: the marks in the header, and invocation numbers that were never used."""
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        if version_of_dump is not None:
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version_of_dump}")
        connection.execute("UPDATE meta SET value = value + ? WHERE name = 'next_number'", (NUMBERS_SKIPPED,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fold(lock: FileLock) -> None:
    """Let SQLite copy the log of a killed app into the database that is to be replaced, if that database is intact."""
    with contextlib.suppress(StorageError, sqlite3.Error, OSError):
        inspect(lock.path, lock.database, schema.APPLICATION_ID, _ANY_VERSION)
        refuse_stale(lock.path, lock.database, noted(lock.path))
        lock.note(UNKNOWN)  # a full disk may interrupt the copying
        with contextlib.closing(sqlite3.connect(lock.path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _keep(path: str, kept: str) -> None:
    """Give the old database, and a log that could not be folded, a second name."""
    for suffix in ("", "-wal"):
        if suffix and not os.path.exists(path + suffix):
            continue
        try:
            os.link(path + suffix, kept + suffix)
        except OSError:  # no links on this file system
            os.rename(path + suffix, kept + suffix)
