"""A private copy of a database, to be read while the original stays unchanged.

Promise: `take` changes no byte of the database or its log, and opens them for reading only. Everything later, including a
newer schema, affects only the copy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from actors.storage.errors import DatabaseForeign, StorageError, translated, translated_os
from actors.storage.records import Batch, OpenedDatabase
from actors.storage.sqlite import schema
from actors.storage.sqlite.bond import refuse_stale
from actors.storage.sqlite.bystander import Bystander
from actors.storage.sqlite.inspection import immutable, inspect
from actors.storage.sqlite.lock import FileLock, noted
from actors.storage.sqlite.store import SqliteStore


def take(path: str, target: str) -> None:
    """Copy the database at `path` to `target`, which must not exist, including the log left by a killed process.

    Meanwhile the file is locked as an app would lock it. The copy is verified. Raises DatabaseInUse, which names the owner's pid,
    DatabaseForeign, DatabaseTooNew, or StorageError.
    """
    path = os.path.realpath(path)
    if not os.path.isfile(path):
        raise StorageError(f"The database {path} does not exist. Give the path of a database that an app has used.")
    try:
        lock = FileLock(path, reader=True)
    except OSError as error:
        raise translated_os(error, path) from error
    try:
        _check(path, lock)
        _copy(path, target)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    except OSError as error:
        raise translated_os(error, path) from error
    finally:
        lock.release()


def _check(path: str, lock: FileLock) -> None:
    inspect(path, lock.database, schema.APPLICATION_ID, len(schema.MIGRATIONS))
    refuse_stale(path, lock.database, noted(path))
    if os.path.getsize(path) == 0:
        raise DatabaseForeign(f"{path} is empty: no app has used it yet. Choose another file.")


def _copy(path: str, target: str) -> None:
    # Without a log no process has the file open, and SQLite need not create a log to read it.
    alone = not os.path.exists(path + "-wal") or os.path.getsize(path + "-wal") == 0
    before = _stamp(path)
    with (
        Bystander(path) as bystander,
        contextlib.closing(sqlite3.connect(immutable(path) if alone else bystander.uri(), uri=True)) as source,
    ):
        (application,) = source.execute("PRAGMA application_id").fetchone()
        if application != schema.APPLICATION_ID:
            raise DatabaseForeign(f"{path} holds nothing: its creation was interrupted. Choose another file.")
        try:
            with contextlib.closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            raise translated(error, target) from error
    with contextlib.closing(sqlite3.connect(target)) as copy:
        ((found,),) = copy.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        problem = " ".join(found.split())
        raise DatabaseForeign(f"{path} is damaged ({problem}). Restore it from a backup; it was left as it is.")
    if alone and _stamp(path) != before:
        raise StorageError(
            f"{path} was changed while it was copied. Close the program that writes to it, and try again."
        )


def _stamp(path: str) -> tuple[int, int, bool]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0


class Snapshot(SqliteStore):
    """A copy made by `take`. It is migrated to the schema of this release when it is opened, and then only read.

    `original` is the copied file, if errors are to name that file.
    """

    def __init__(self, path: str, original: str | None = None) -> None:
        super().__init__(path)
        self._original = original

    async def open(self, secret: bytes | None = None) -> OpenedDatabase:
        try:
            return await super().open(secret)
        except StorageError as error:
            raise self._of_original(error) from error

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Sequence[Any]:
        try:
            return await super()._read(sql, parameters)
        except StorageError as error:
            raise self._of_original(error) from error

    def _of_original(self, error: StorageError) -> StorageError:
        cause = error.__cause__
        if self._original is None or not isinstance(cause, sqlite3.Error):
            return error
        return translated(cause, self._original)

    async def commit(self, batch: Batch) -> None:
        raise StorageError("A snapshot cannot be written.")

    async def services(self) -> list[str]:
        """The names of all classes that have state or open invocations."""
        found = await self._read(
            "SELECT DISTINCT service FROM object_state UNION SELECT DISTINCT service FROM invocation WHERE status < 6"
        )
        return [service for (service,) in found]

    async def totals(self) -> tuple[int, int]:
        """How many objects have state, and how many invocations are open."""
        ((objects,),) = await self._read("SELECT count(*) FROM (SELECT DISTINCT service, key FROM object_state)")
        ((invocations,),) = await self._read("SELECT count(*) FROM invocation WHERE status < 6")
        return objects, invocations

    async def objects(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """(service, key) of the next objects after `after` that have state or open invocations, in order."""
        found = await self._read(
            "SELECT DISTINCT service, key FROM object_state WHERE (service, key) > (?, ?) UNION "
            "SELECT DISTINCT service, key FROM invocation WHERE status < 6 AND (service, key) > (?, ?) "
            "ORDER BY service, key LIMIT ?",
            (*after, *after, limit),
        )
        return [(service, key) for service, key in found]
