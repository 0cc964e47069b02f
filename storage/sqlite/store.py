"""The operations that the runtime needs from its database, and nothing else.

All operations go through one connection in the order of the calls, so a read sees every batch handed over before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

from actors.storage.errors import (
    DatabaseInUse,
    DatabaseReplaced,
    DatabaseTooNew,
    OwnershipLost,
    StorageError,
    translated,
    translated_os,
)
from actors.storage.records import (
    Batch,
    Figures,
    OpenedDatabase,
    RequestRow,
)
from actors.storage.sqlite import schema
from actors.storage.sqlite.bond import UNKNOWN, forget_place, place, refuse_stale
from actors.storage.sqlite.checkpoints import COPY_EVERY, Checkpoints, copy_beside
from actors.storage.sqlite.database import (
    AsyncConnection,
    WriterConnection,
    connect,
    pragmas,
)
from actors.storage.sqlite.examination import Examination
from actors.storage.sqlite.figures import read_figures
from actors.storage.sqlite.inspection import foreign, inspect
from actors.storage.sqlite.lock import FileLock, is_alive, noted
from actors.storage.sqlite.observer import Observer
from actors.storage.sqlite.packed import SETUP, packed
from actors.storage.sqlite.watch import Watch

log = logging.getLogger("actors")

RESERVED_NUMBERS = 1_000_000
HISTORY = "history "  # begins the names of the notes in `meta`, before the name of a class: see `Store.record_changes`
LOCK_TRIES = 100  # 10 ms apart, while the lock belongs to a dead process


class SqliteStore(Examination):
    """One partition's file. Life: `open`, any number of `commit` and reads, `close`.

    `synchronous` is SQLite's setting: only FULL survives power loss. `busy_timeout_ms` is how long a shell in a write
    transaction may delay this store. `migrations` are the steps of the schema. The log is copied into the database whenever it
    has grown by `copy_every` bytes.
    """

    def __init__(
        self,
        path: str,
        *,
        synchronous: str = "FULL",
        busy_timeout_ms: int = 5000,
        migrations: Sequence[str] = schema.MIGRATIONS,
        copy_every: int = COPY_EVERY,
    ) -> None:
        super().__init__(path)
        self._synchronous = synchronous
        self._busy_timeout_ms = busy_timeout_ms
        self._migrations = migrations
        self._expected: bytes | None = None  # the secret of the file that must be found when the store is opened again
        self._lock: FileLock | None = None
        self._writer: WriterConnection | None = None
        self._watch: Watch | None = None
        self._observer: Observer | None = None  # made for the first look
        self._watches = self.path != ":memory:" and sys.platform != "win32"
        self._copy_every = copy_every
        self._checkpoints: Checkpoints | None = None
        self._rescuing: asyncio.Task[None] | None = None

    async def open(self, secret: bytes | None = None) -> OpenedDatabase:
        """Lock the file, check that it is an app's database, migrate it, become its owner, and say what must be woken.

        `secret` is the secret of the file that was open before: raises OwnershipLost if the file is another one now.
        Raises DatabaseInUse, DatabaseForeign, DatabaseTooNew or StorageError; then no record has changed.
        """
        self._expected = secret
        if self.path != ":memory:":
            await self._take_lock()
        try:
            if self._lock is None:
                self._handle, self._writer = await self._connect()
                return await self._become_owner()
            inspect(self.path, self._lock.database, schema.APPLICATION_ID, len(self._migrations))
            refuse_stale(self.path, self._lock.database, noted(self.path))
            database = self._lock.create()
            self._handle, self._writer = await self._connect()
            opened = await self._become_owner()
            if self._watches:
                self._watch = Watch(self._lock, database)
                self._checkpoints = Checkpoints(
                    self.path, self._copy_every, self._lock, self._writer, self._watch, self._read, self._copy_beside
                )
                self.verify()
                self._lock.note(self._watch.note())
                place(database, self.path + "-wal", os.stat(self.path + "-wal"))
            return opened
        except sqlite3.Error as error:
            await self.close()
            raise translated(error, self.path) from error
        except OSError as error:
            await self.close()
            raise translated_os(error, self.path) from error
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> tuple[AsyncConnection, WriterConnection]:
        return await connect(self.path)

    async def _take_lock(self) -> None:
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            raise StorageError(f"The folder {folder} does not exist. Create it, or choose another storage path.")
        if os.path.isdir(self.path):
            raise StorageError(f"{self.path} is a folder. storage= requires a file, for example 'sqlite:///app.db'.")
        for left in reversed(range(LOCK_TRIES)):
            try:
                self._lock = FileLock(self.path)
                return
            except OSError as error:
                raise translated_os(error, self.path + ".lock") from error
            except DatabaseInUse as error:
                # A process that is killed while it starts a program leaves its lock with that program for a moment.
                if not left or error.pid is None or is_alive(error.pid):
                    raise
            await asyncio.sleep(0.01)

    async def _become_owner(self) -> OpenedDatabase:
        version = await self._version()
        for pragma in pragmas(self._synchronous, self._busy_timeout_ms, copies_log=not self._watches):
            answer = await self._read(pragma)
            if "journal_mode" in pragma and answer[0][0] not in ("wal", "memory"):
                raise StorageError(
                    f"{self.path} lies on a file system without shared memory, which SQLite's write-ahead log "
                    "requires. Choose a path on a local disk."
                )
        await self._read("BEGIN IMMEDIATE")
        try:
            opened = await self._claim(version)
            await self._read("COMMIT")
        except BaseException:
            with contextlib.suppress(StorageError):  # a full disk has rolled back by itself
                await self._read("ROLLBACK")
            raise
        if version < len(self._migrations):  # so that the file itself, and not only its log, has the new schema
            if self._lock is not None:
                self._lock.note(UNKNOWN)
            await self._read("PRAGMA wal_checkpoint(TRUNCATE)")
        for statement in SETUP:
            await self._read(statement)
        assert self._writer is not None
        self._writer.epoch = opened.epoch
        return opened

    async def _version(self) -> int:
        """The schema version of the file, 0 for a new file. Changes nothing, whatever the file is."""
        ((application,),) = await self._read("PRAGMA application_id")
        ((version,),) = await self._read("PRAGMA user_version")
        ((tables,),) = await self._read("SELECT count(*) FROM sqlite_schema")
        if tables and application != schema.APPLICATION_ID:
            raise foreign(self.path)
        if version > len(self._migrations):
            raise DatabaseTooNew(
                f"{self.path} was written by a newer release (schema {version}; this release knows {len(self._migrations)}). "
                "Upgrade the package; the file was left as it is."
            )
        return int(version) if tables else 0

    def _check_expected(self, secret: bytes | None) -> None:
        if self._expected is not None and secret != self._expected:
            raise OwnershipLost(
                f"{self.path} is not the file that this app had open, which was removed or replaced. Put that file back, or "
                "restart the process to go on with the file that is there."
            )

    async def _claim(self, version: int) -> OpenedDatabase:
        if version == 0:
            self._check_expected(None)
            for statement, parameters in schema.creation(secrets.token_bytes(32), self._migrations):
                await self._read(statement, parameters)
        else:
            for statement in schema.steps(version, self._migrations):
                await self._read(statement)
        meta = dict(await self._read("SELECT name, value FROM meta"))
        self._check_expected(meta["secret"])
        epoch, first = meta["epoch"] + 1, meta["next_number"]
        changed = {"epoch": epoch, "owner": os.getpid(), "next_number": first + RESERVED_NUMBERS}
        for name, value in changed.items():
            await self._read("UPDATE meta SET value = ? WHERE name = ?", (value, name))
        runnable = await self._read(
            "SELECT DISTINCT service, key FROM invocation WHERE (status = 1 OR status = 2 OR status = 5) "
            "AND (status != 5 OR flags & 2 = 0)"
        )
        settled = await self._read(
            "SELECT DISTINCT a.target FROM attachment a LEFT JOIN invocation i ON i.seq = a.target "
            "WHERE i.seq IS NULL OR i.status >= 6"
        )
        ((ended,),) = await self._read(
            "SELECT (SELECT count(*) FROM invocation WHERE status >= 6 AND idempotency_key IS NULL) + "
            "(SELECT count(*) FROM invocation WHERE flags & 16 AND ended_ms >= 0 AND idempotency_key IS NOT NULL)"
        )
        # Also requests that an earlier process took: those it has executed have answers.
        await self._read("UPDATE request SET taken = ? WHERE answer IS NULL", (epoch,))
        requests = await self._read(
            "SELECT number, operation, target, argument FROM request WHERE answer IS NULL ORDER BY number"
        )
        return OpenedDatabase(
            meta["secret"],
            epoch,
            first,
            [(r[0], r[1]) for r in runnable],
            [target for (target,) in settled],
            ended,
            [RequestRow(*values) for values in requests],
        )

    async def record_changes(self, services: Mapping[str, bool], first: int) -> None:
        noted = dict(await self._read("SELECT name, value FROM meta WHERE name GLOB 'history *'"))
        for service, recorded in services.items():
            name = HISTORY + service
            if recorded and name not in noted:
                await self._read("INSERT INTO meta VALUES (?, ?)", (name, first))
            elif not recorded and name in noted:
                await self._read("DELETE FROM meta WHERE name = ?", (name,))

    async def take_requests(self, answered_before_ms: int) -> list[RequestRow]:
        """The new requests, in order; they can no longer be withdrawn. Answers older than `answered_before_ms` are
        removed.
        """
        waiting = await self._read(
            "SELECT 1 FROM request WHERE taken IS NULL OR answered_ms < ? LIMIT 1", (answered_before_ms,)
        )
        self.verify()  # so that an idle app, too, notices a replaced file, and notes changes by other programs
        if self._checkpoints is not None and self._watch is not None:
            self._checkpoints.begin_if_due(idle=True)
        if not waiting or self._writer is None:
            return []
        await self._read("DELETE FROM request WHERE answered_ms < ?", (answered_before_ms,))
        taken = await self._read(
            "UPDATE request SET taken = value FROM meta WHERE name = 'epoch' AND value = ? AND taken IS NULL "
            "RETURNING number, operation, target, argument",
            (self._writer.epoch,),
        )
        return sorted(RequestRow(*values) for values in taken)

    async def commit(self, batch: Batch) -> None:
        """Write the batch in one transaction. When this returns, the batch is durable in the open file: see `verify`.

        After an error nothing of the batch is in the database, unless the final fsync failed: then a later start may find
        the whole batch. In neither case may the batch be acknowledged.
        """
        if self._writer is None or self._handle is None:
            raise StorageError(f"{self.path} is closed.")
        if self._lost is not None:
            raise self._lost
        try:
            self._writer.handed_over.append(packed(batch))
            await self._handle.commit()
        except sqlite3.Error as error:
            self.verify()  # a replaced file may be the cause
            raise translated(error, self.path) from error

    def verify(self) -> None:
        """To be called between a commit and its acknowledgement: raises DatabaseReplaced if the file at the path was replaced.

        From then on all operations raise that error.
        """
        if self._lost is not None:
            raise self._lost
        watch, checkpoints = self._watch, self._checkpoints
        if watch is None or checkpoints is None:
            return
        try:
            if watch.look() and checkpoints.task is None and self._lock is not None:
                self._lock.note(watch.note())
        except DatabaseReplaced as error:
            self._lost = error
            self._watch = None  # so that it keeps its locks: SQLite must not remove a log at the path
            if self._writer is not None:
                self._writer.leaves_log = True
            self._rescuing = asyncio.get_running_loop().create_task(self._rescue(watch))
            raise
        checkpoints.begin_if_due()

    @contextlib.asynccontextmanager
    async def look(self) -> AsyncIterator[Examination]:
        """See `Store.look`. A database in memory has one connection, so there the reads are those of different moments."""
        if self._handle is None:
            raise StorageError(f"{self.path} is closed.")
        if self._lost is not None:
            raise self._lost
        if self.path == ":memory:":
            yield self
            return
        if self._observer is None:
            self._observer = Observer(self.path)
        async with self._observer.look() as records:
            yield records

    async def figures(self) -> Figures:
        """The open invocations and the size of the file, as of the last commit."""
        async with self.look() as records:
            return await read_figures(records)

    async def close(self) -> None:
        """Close the connection, then release the lock. Safe to call twice."""
        if self._rescuing is not None:
            await asyncio.wait([self._rescuing])
        checkpoints, self._checkpoints = self._checkpoints, None
        if checkpoints is not None:
            await checkpoints.settled()
            checkpoints.close()
        handle, self._handle, self._writer = self._handle, None, None
        watch, self._watch = self._watch, None
        observer, self._observer = self._observer, None
        try:
            if observer is not None:
                await observer.close()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        finally:
            await self._close(handle, watch)

    async def _close(self, handle: AsyncConnection | None, watch: Watch | None) -> None:
        try:
            if watch is not None and self._lock is not None:
                self._lock.note(UNKNOWN)  # SQLite copies the log while it closes, and a full disk may interrupt that
                watch.let_go()
            if handle is not None:
                await handle.close()
                if watch is not None and self._lock is not None and self._lock.database is not None:
                    forget_place(self._lock.database)
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _copy_beside(self) -> int | None:
        return copy_beside(self.path)

    async def _rescue(self, watch: Watch) -> None:
        """The files at the path were replaced: copy the log into the open database, wherever that file is now."""
        if self._checkpoints is not None:
            await self._checkpoints.settled()
        if watch.intact and self._lock is not None and self._handle is not None:
            self._lock.note(UNKNOWN)
            with contextlib.suppress(sqlite3.Error):
                await self._handle.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
