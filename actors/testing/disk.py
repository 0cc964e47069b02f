"""A disk that outlives simulated crashes, and a store on it that crashes at a chosen commit."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import sqlite3
from collections.abc import Iterable
from random import Random
from typing import Any

from actors.storage.errors import StorageError
from actors.storage.records import Batch, OpenedDatabase
from actors.storage.sqlite import schema
from actors.storage.sqlite.database import CACHED_STATEMENTS, AsyncConnection, WriterConnection
from actors.storage.sqlite.store import SqliteStore


class SimulatedCrash(StorageError):
    """The simulated process died: nothing after this moment happened."""

    error = "simulated_crash"


def _without_log(image: bytes) -> bytes:
    """The image of a file with a write-ahead log, which memory cannot have: section 1.3.3 of SQLite's file format document."""
    return image[:18] + b"\x01\x01" + image[20:]


@functools.cache
def _new() -> bytes:
    """The image of a new database: to make its schema costs more than everything else of a start."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        for statement, parameters in schema.creation(bytes(32)):
            model.execute(statement, parameters)
        return model.serialize()


class DiskConnection(WriterConnection):
    """While the disk is `full`, a transaction that writes fails at its end, with the error of SQLite; `spare` is room for it nevertheless."""

    full = spare = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if self.full and not self.spare and _ends_transaction(sql, self.in_transaction):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        return super().execute(sql, parameters)


def _ends_transaction(sql: str, is_open: bool) -> bool:
    """Whether a statement makes changes durable: the end of a transaction, or a statement that is a transaction by itself."""
    return sql == "COMMIT" if is_open else sql.startswith(("INSERT", "UPDATE", "DELETE"))


class InlineConnection:
    """Like aiosqlite's connection, but on the loop's thread, so that a test runs the same way each time."""

    def __init__(self, connection: WriterConnection) -> None:
        self._connection = connection

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] = ()) -> Iterable[Any]:
        return self._connection.execute(sql, tuple(parameters)).fetchall()

    async def commit(self) -> None:
        self._connection.commit()

    async def close(self) -> None:
        pass  # the disk keeps the connection open


class Disk:
    """Real SQLite in memory. Each `store()` stands for one process; a new store ends the previous process.

    It begins as a new database, with this `secret` of 32 bytes or a random one, or as a copy of the disk, or file, with this `image`.
    """

    def __init__(self, image: bytes | None = None, secret: bytes | None = None) -> None:
        self.connection = DiskConnection(":memory:", isolation_level=None, cached_statements=CACHED_STATEMENTS)
        self.connection.deserialize(_new() if image is None else _without_log(image))
        if image is None:
            new_secret = secret or secrets.token_bytes(32)
            self.connection.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (new_secret,))
        self.commits = 0

    def image(self) -> bytes:
        """All bytes of the database, as of the last commit: `Disk(image)` has them too."""
        return self.connection.serialize()

    def renew(self, state: Iterable[tuple[str, str, str, str]], secret: bytes) -> None:
        """Forget everything. The database begins anew with another secret and this state: class, key, name and JSON text.

        That costs less than a new disk, whose statements SQLite has not prepared yet.
        """
        for table in ("invocation", "journal_entry", "object_state", "timer", "attachment", "promise", "request"):
            self.connection.execute(f"DELETE FROM {table}")
        self.connection.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (secret,))
        self.connection.execute("UPDATE meta SET value = 1 WHERE name = 'next_number'")
        self.connection.executemany("INSERT INTO object_state VALUES (?, ?, ?, ?)", state)

    def store(self, rng: Random | None = None) -> SimulatedStore:
        """A store for `App(store=...)`. With `rng` its answers arrive after a random number of turns of the loop."""
        if self.connection.in_transaction:  # the previous process died while it opened the database
            self.connection.rollback()
        return SimulatedStore(self, rng)

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a database shell would see."""
        return self.connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        self.connection.close()


class SimulatedStore(SqliteStore):
    """A SqliteStore on a Disk. It can crash at once (`crash`) or at a later commit (`crash_at_commit`), hold commits back
    (`hold_commits`), as well as answers of reads (`hold_reads`), and fail for a while (`break_down`).

    As in the real store, all calls take effect in their order: a read sees every earlier commit, however long that commit
    takes. Only the answers may arrive in another order.
    """

    LONGEST_DELAY_TURNS = 4

    def __init__(self, disk: Disk, rng: Random | None = None) -> None:
        super().__init__(":memory:")
        self._disk = disk
        self._rng = rng
        self._turn = asyncio.Lock()  # first come, first served
        self._commits_left: int | None = None
        self._write_before_crash = False
        self._may_commit = asyncio.Event()
        self._may_commit.set()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._failure: StorageError | None = None
        self._written = False
        self.crashed = False

    def break_down(self, failure: StorageError, *, written: bool = False) -> None:
        """From now on commits and openings fail, until `repair`: as with a locked file, or a full disk.

        With `written` a failing commit is in the file nevertheless, as when only its fsync fails.
        """
        self._failure, self._written = failure, written

    def repair(self) -> None:
        self._failure = None

    def crash(self) -> None:
        """Die now. Batches that are not written yet, also those that are held, are lost, as are all answers under way."""
        self.crashed = True
        self._may_commit.set()
        self._may_read.set()

    def hold_commits(self) -> None:
        """The next commit, and all later calls, wait for `release_commits`: nothing becomes durable."""
        self._may_commit.clear()

    def release_commits(self) -> None:
        self._may_commit.set()

    def hold_reads(self) -> None:
        """From now on reads are executed in their turn, and their answers wait for `release_reads`."""
        self._may_read.clear()

    def release_reads(self) -> None:
        self._may_read.set()

    def crash_at_commit(self, number: int, *, written: bool) -> None:
        """Die at the `number`-th commit from now (1 is the next), before or after the disk has it (`written`)."""
        self._commits_left = number
        self._write_before_crash = written

    async def _connect(self) -> tuple[AsyncConnection, WriterConnection]:
        return InlineConnection(self._disk.connection), self._disk.connection

    async def commit(self, batch: Batch) -> None:
        async with self._turn:
            await self._delay()
            await self._may_commit.wait()
            self._check()
            if self._commits_left is not None:
                self._commits_left -= 1
                if self._commits_left == 0:
                    self.crashed = True
                    if not self._write_before_crash:
                        self._check()
            if self._failure is None or self._written:
                await super().commit(batch)
                self._disk.commits += 1
            if self._failure is not None:
                raise self._failure
            self._check()
        await self._delay()
        self._check()

    async def open(self, secret: bytes | None = None) -> OpenedDatabase:
        if self._failure is not None:
            raise self._failure
        return await super().open(secret)

    async def close(self) -> None:
        async with self._turn:
            await super().close()

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        async with self._turn:
            self._check()
            rows = await super()._read(sql, parameters)
        await self._may_read.wait()
        await self._delay()
        self._check()
        return rows

    async def _delay(self) -> None:
        if self._rng is not None:
            for _ in range(self._rng.randint(0, self.LONGEST_DELAY_TURNS)):
                await asyncio.sleep(0)

    def _check(self) -> None:
        if self.crashed:
            raise SimulatedCrash("The simulated process has crashed.")
