"""One SQLite connection on aiosqlite's thread, and the single way rows get into it.

Promise: `WriterConnection.commit` writes the batch it was handed in one transaction, and refuses once
another process has taken the file over.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import aiosqlite

from actors.storage.errors import OwnershipLost
from actors.storage.sqlite.packed import NOT_OWNER, STATEMENTS, PackedBatch

LONGEST_PAUSE_S = 0.05  # of a commit that gives way: reads wait behind it

# Rows go in as few large INSERTs: SQLite's thread takes the GIL for every statement it starts, so 64 rows in one
# statement beat 64 statements of one row by a third (measured at 64 and 1,024 rows a commit).
_CHUNKS = (128, 64, 32, 16, 8, 4, 2, 1)

_INVOCATION = (
    "INSERT INTO invocation VALUES {} ON CONFLICT (seq) DO UPDATE SET status = excluded.status, "
    "args = excluded.args, shared = excluded.shared, "  # of a tick that was placed by older code
    "position = excluded.position, attempts = excluded.attempts, ended_ms = excluded.ended_ms, "
    "outcome = excluded.outcome, reason = excluded.reason, flags = excluded.flags, "
    "failing_since_ms = excluded.failing_since_ms",
    20,
)
# Most invocations need 13 of the 20 columns, and each value bound costs time with the GIL held.
_PLAIN = (
    "INSERT INTO invocation (attempts, seq, service, key, handler, shared, status, position, args, parent, "
    "parent_index, accepted_ms, ended_ms, outcome) VALUES {} ON CONFLICT (seq) DO UPDATE SET "
    "status = excluded.status, position = excluded.position, ended_ms = excluded.ended_ms, outcome = excluded.outcome",
    13,
)
_JOURNAL = ("INSERT INTO journal_entry VALUES {}", 8)
_STATE = ("INSERT INTO object_state VALUES {} ON CONFLICT DO UPDATE SET value = excluded.value", 4)
_TIMER = ("INSERT INTO timer VALUES {}", 4)

_STATEMENTS = {
    (template, size): template.format(
        ", ".join(["(" + ("0, " if template is _PLAIN[0] else "") + ", ".join("?" * width) + ")"] * size)
    )
    for template, width in (_INVOCATION, _PLAIN, _JOURNAL, _STATE, _TIMER)
    for size in _CHUNKS
}
CACHED_STATEMENTS = len(_STATEMENTS) + len(STATEMENTS) + 64

# What happens to a whole workflow. Few of these are in a batch, and their order matters: they are executed one by one,
# before the rest, because a run that begins anew writes into what was forgotten in the same batch.
WORKFLOW_FACTS = {
    "completed": "INSERT INTO promise VALUES (?, ?, ?, ?, ?, ?, ?)",
    "claimed": "UPDATE promise SET unclaimed = 0 WHERE service = ? AND key = ? AND name = ?",
    "expired": "DELETE FROM promise WHERE service = ? AND key = ? AND name = ?",
    "promises forgotten": "DELETE FROM promise WHERE service = ? AND key = ?",
    "state forgotten": "DELETE FROM object_state WHERE service = ? AND key = ?",
    "replaced": "UPDATE invocation SET idempotency_key = NULL WHERE seq = ?",
}


class AsyncConnection(Protocol):
    """The part of aiosqlite.Connection the store uses; `actors.testing` has one that runs inline."""

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] = ...) -> Iterable[Any]: ...

    async def commit(self) -> None: ...

    async def close(self) -> None: ...


class WriterConnection(sqlite3.Connection):
    """A connection whose `commit` is a group commit. It lives on one thread, aiosqlite's.

    aiosqlite makes one hop between threads for each public call. Overriding `commit`, rather than awaiting BEGIN,
    each INSERT and COMMIT, makes a batch cost one hop, and leaves no moment at which half a batch could be
    committed because an earlier statement of it failed. Each `commit` writes the batch that has waited longest in
    `handed_over`. With `leaves_log` its end neither copies the log into the database nor removes what lies in its place.
    `gives_way` is how long a commit waits before it begins, as a multiple of the time that the one before it took.
    """

    epoch: int | None = None
    leaves_log: bool = False
    gives_way: float = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handed_over: deque[PackedBatch] = deque()
        self._took_s = 0.0

    def commit(self) -> None:
        if self.gives_way:
            time.sleep(min(self.gives_way * self._took_s, LONGEST_PAUSE_S))
        began = time.perf_counter()
        self._write(self.handed_over.popleft())
        self._took_s = time.perf_counter() - began

    def _write(self, whole: PackedBatch) -> None:
        batch = whole.batch
        try:
            statements = whole.statements(self.epoch)
            if whole.alone():  # a transaction by itself
                self.execute(*statements[0])
                return
            self.execute("BEGIN IMMEDIATE")
            for fact, parameters in batch.workflows:
                self.execute(WORKFLOW_FACTS[fact], parameters)
            for statement in statements:
                self.execute(*statement)
            self._insert(_PLAIN, whole.plain)
            self._insert(_INVOCATION, batch.invocations)
            self._insert(_STATE, whole.state)
            self._insert(_JOURNAL, whole.journal)
            self._insert(_TIMER, batch.timers)
            if batch.tries:
                self.executemany(
                    "UPDATE journal_entry SET ref = ?, before = ? WHERE invocation = ? AND idx = ?", batch.tries
                )
            if batch.fired:
                self.executemany("DELETE FROM timer WHERE due_ms = ? AND seq = ?", batch.fired)
            if batch.stopped:
                self.executemany("DELETE FROM timer WHERE due_ms = ? AND invocation = ? AND idx = ?", batch.stopped)
            if batch.cleared:
                self.executemany("DELETE FROM object_state WHERE service = ? AND key = ? AND name = ?", batch.cleared)
            if batch.attached:
                self.executemany("INSERT OR IGNORE INTO attachment VALUES (?, ?, ?)", batch.attached)
            if batch.detached:
                self.executemany(
                    "DELETE FROM attachment WHERE target = ? AND caller = ? AND caller_index = ?", batch.detached
                )
            if batch.purged:
                # One statement for all: each that is stepped to takes the GIL anew.
                asked = _numbers(batch.purged)
                self.execute(
                    "DELETE FROM journal_entry WHERE invocation IN (SELECT i.seq FROM json_each(?) asked "
                    "CROSS JOIN invocation i ON i.seq = asked.value AND i.status >= 6)",
                    (asked,),
                )
                self.execute(
                    "DELETE FROM invocation WHERE seq IN (SELECT value FROM json_each(?)) AND status >= 6", (asked,)
                )
            if batch.reserve_to is not None:
                self.execute("UPDATE meta SET value = ? WHERE name = 'next_number'", (batch.reserve_to,))
            if batch.answered:
                self.executemany("UPDATE request SET answer = ?, answered_ms = ? WHERE number = ?", batch.answered)
            self.execute("COMMIT")
        except BaseException as error:
            if self.in_transaction:
                self.execute("ROLLBACK")
            if NOT_OWNER in str(error):
                raise self._ownership_lost() from None
            raise

    def close(self) -> None:
        if self.leaves_log and sys.version_info >= (3, 12):  # before that only the locks of the watch prevent it
            self.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        super().close()

    def _ownership_lost(self) -> OwnershipLost:
        (epoch,) = self.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        return OwnershipLost(
            f"This process opened the database as owner number {self.epoch}, but owner number {epoch} has taken "
            "it over since. Nothing of this batch was written; stop this process."
        )

    def _insert(self, statement: tuple[str, int], rows: list[tuple[Any, ...]]) -> None:
        template, _ = statement
        start, left = 0, len(rows)
        while left:
            size = next(size for size in _CHUNKS if size <= left)
            parameters: list[Any] = []
            for row in rows[start : start + size]:
                parameters += row
            self.execute(_STATEMENTS[template, size], parameters)
            start += size
            left -= size


def pragmas(synchronous: str, busy_timeout_ms: int, *, copies_log: bool) -> Iterator[str]:
    """`copies_log` says that SQLite is to copy the log back by itself."""
    # A shell in a write transaction should delay us, not stop us at once.
    yield f"PRAGMA busy_timeout = {busy_timeout_ms}"
    # Set while the file is empty. Keys in use are scattered over the tree, so each dirties a page of its own: with pages
    # of 1 KiB a commit over a million keys costs what it costs over a thousand (4 KiB: twice as much CPU).
    yield "PRAGMA page_size = 1024"
    # WAL: readers (a shell, a dashboard) never block the writer, and a commit is one sequential append.
    yield "PRAGMA journal_mode = WAL"
    # FULL: fsync the log at each commit. NORMAL would survive kill -9 but lose acknowledged work at power loss.
    yield f"PRAGMA synchronous = {synchronous}"
    # 16 MiB of log before it is copied back: a hot page is then copied once for many commits.
    yield f"PRAGMA wal_autocheckpoint = {16000 if copies_log else 0}"
    # What a long reader has made of the log is cut off when it is begun anew: twice what it usually grows to, because writing
    # over a part of a file costs less than appending to it.
    yield "PRAGMA journal_size_limit = 33554432"
    # Room for the inner pages of the trees of a million objects; the others are in the system's cache. More costs time: SQLite
    # walks all of it at each commit in which a page was given another number, which is each one once old rows are deleted
    # (64 MiB: 10 us more for each call).
    yield "PRAGMA cache_size = -4096"
    # Sorting for recovery queries must not create files beside the database.
    yield "PRAGMA temp_store = MEMORY"


class ThreadedConnection:
    """aiosqlite's handle, which lets its thread go first.

    The thread needs the GIL for a moment to take what it was asked for, and again for each row it gives; a loop that goes on
    computing keeps it waiting for the switch interval each time, 5 ms. So the loop stands still for a moment, which gives the
    GIL away: once for a batch, which needs it little, and between its next callbacks for a read.
    """

    GIVE_WAY_S = 20e-6
    TURNS_OF_READS = 8

    def __init__(self, handle: aiosqlite.Connection) -> None:
        self._handle = handle
        self.close = handle.close
        self._loop = asyncio.get_running_loop()
        self._reads = 0  # under way
        self._turns = 0  # of the loop, before each of which it still gives way

    async def commit(self) -> None:
        self._loop.call_soon(time.sleep, self.GIVE_WAY_S)
        await self._handle.commit()

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] = ()) -> Iterable[Any]:
        if not self._turns:
            self._loop.call_soon(self._give_way)
        self._turns = self.TURNS_OF_READS
        self._reads += 1
        try:
            return await self._handle.execute_fetchall(sql, parameters)
        finally:
            self._reads -= 1

    def _give_way(self) -> None:
        time.sleep(self.GIVE_WAY_S)
        self._turns = self._turns - 1 if self._reads else 0
        if self._turns:
            self._loop.call_soon(self._give_way)


async def connect(path: str) -> tuple[AsyncConnection, WriterConnection]:
    """Open `path` on a thread of its own: aiosqlite's handle, and the connection object to hand batches to."""
    opened: list[WriterConnection] = []

    def factory(*args: Any, **kwargs: Any) -> WriterConnection:
        connection = WriterConnection(*args, **kwargs)
        opened.append(connection)
        return connection

    handle = await aiosqlite.connect(path, isolation_level=None, factory=factory, cached_statements=CACHED_STATEMENTS)
    return ThreadedConnection(handle), opened[0]


def rows(result: Iterable[Any]) -> Sequence[Any]:
    return result if isinstance(result, list) else list(result)


def _numbers(rows: Sequence[tuple[int]]) -> str:
    """They as a JSON array. Refuses others as SQLite would."""
    try:
        return json.dumps([number for (number,) in rows])
    except TypeError as error:
        raise sqlite3.InterfaceError(str(error)) from None
