"""One SQLite connection on aiosqlite's thread, and the only way rows are written.

Promise: `WriterConnection.commit` writes its batch in one transaction, and refuses once another process has
taken the file over.
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

LONGEST_PAUSE_S = 0.05  # before a commit that gives way: reads wait behind the commit

# Rows are written in few large INSERTs: SQLite's thread takes the GIL for every statement, so 64 rows in one statement
# beat 64 statements of one row by a third (measured at 64 and 1,024 rows per commit).
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
_ENDED = "UPDATE invocation SET status = ?, ended_ms = ?, outcome = ? WHERE seq = ?"
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

# Facts about a whole workflow. A batch holds few of them, and their order matters: they are executed one by one, before the
# other rows, because a run that begins anew writes rows that the same batch deletes first.
WORKFLOW_FACTS = {
    "completed": "INSERT INTO promise VALUES (?, ?, ?, ?, ?, ?, ?)",
    "claimed": "UPDATE promise SET unclaimed = 0 WHERE service = ? AND key = ? AND name = ?",
    "expired": "DELETE FROM promise WHERE service = ? AND key = ? AND name = ?",
    "promises forgotten": "DELETE FROM promise WHERE service = ? AND key = ?",
    "state forgotten": "DELETE FROM object_state WHERE service = ? AND key = ?",
    "replaced": "UPDATE invocation SET idempotency_key = NULL WHERE seq = ?",
}


class AsyncConnection(Protocol):
    """The part of aiosqlite.Connection that the store uses; `actors.testing` has an inline version."""

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] = ...) -> Iterable[Any]: ...

    async def commit(self) -> None: ...

    async def close(self) -> None: ...


class WriterConnection(sqlite3.Connection):
    """A connection whose `commit` is a group commit. It is used on aiosqlite's thread only.

    aiosqlite makes one hop between threads for each public call. Overriding `commit`, rather than awaiting BEGIN, each INSERT
    and COMMIT, makes a batch cost one hop, and rules out that half a batch is committed after one of its statements failed.
    Each `commit` writes the oldest batch in `handed_over`. With `leaves_log` closing neither copies the log into the database
    nor removes the file in the place of the log. `gives_way` is how long a commit waits before it begins, as a multiple of the
    duration of the commit before it.
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
            if whole.ended:
                self.executemany(
                    _ENDED, [(status, ended_ms, outcome, seq) for seq, status, ended_ms, outcome in whole.ended]
                )
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
                # One statement for all rows: the thread takes the GIL anew for each statement.
                numbers = _numbers(batch.purged)
                self.execute(
                    "DELETE FROM journal_entry WHERE invocation IN (SELECT i.seq FROM json_each(?) asked "
                    "CROSS JOIN invocation i ON i.seq = asked.value AND i.status >= 6)",
                    (numbers,),
                )
                self.execute(
                    "DELETE FROM invocation WHERE seq IN (SELECT value FROM json_each(?)) AND status >= 6", (numbers,)
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
        if self.leaves_log and sys.version_info >= (3, 12):  # earlier releases have only the locks of the watch
            self.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        super().close()

    def _ownership_lost(self) -> OwnershipLost:
        (epoch,) = self.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        return OwnershipLost(
            f"This process opened the database as owner number {self.epoch}, but owner number {epoch} has "
            "taken it over. Nothing of this batch was written; stop this process."
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
    """The settings of a connection. `copies_log`: SQLite copies the log back by itself."""
    # A shell in a write transaction should delay a commit, not fail it at once.
    yield f"PRAGMA busy_timeout = {busy_timeout_ms}"
    # Set while the file is empty. Keys in use are scattered over the tree, so each key dirties its own page: with pages of
    # 1 KiB a commit over a million keys costs the same as over a thousand (4 KiB: twice as much CPU).
    yield "PRAGMA page_size = 1024"
    # WAL: readers (a shell, a dashboard) never block the writer, and a commit is one sequential append.
    yield "PRAGMA journal_mode = WAL"
    # FULL: fsync the log at each commit. NORMAL would survive kill -9 but lose acknowledged work at power loss.
    yield f"PRAGMA synchronous = {synchronous}"
    # The log is copied back after 16 MiB: a hot page is then copied once for many commits.
    yield f"PRAGMA wal_autocheckpoint = {16000 if copies_log else 0}"
    # A log that grew because of a long reader is cut when it starts anew, to twice its usual size, because overwriting a part
    # of a file costs less than appending to the file.
    yield "PRAGMA journal_size_limit = 33554432"
    # Room for the inner pages of the trees of a million objects; other pages are in the system's cache. A larger cache costs
    # time: SQLite walks all of it at each commit that moves a page, which is every commit once old rows are deleted (64 MiB:
    # 10 us more for each call).
    yield "PRAGMA cache_size = -4096"
    # Sorting for recovery queries must not create files beside the database.
    yield "PRAGMA temp_store = MEMORY"


class ThreadedConnection:
    """aiosqlite's handle, which lets SQLite's thread go first.

    The thread needs the GIL for a moment to take a request, and again for each row that it returns; a loop that keeps computing
    makes the thread wait for the switch interval each time, 5 ms. So the loop sleeps for a moment, which releases the GIL: once
    for a batch, which needs the GIL rarely, and between the next callbacks for a read.
    """

    GIVE_WAY_S = 20e-6
    TURNS_OF_READS = 8

    def __init__(self, handle: aiosqlite.Connection) -> None:
        self._handle = handle
        self.close = handle.close
        self._loop = asyncio.get_running_loop()
        self._reads = 0  # reads under way
        self._turns = 0  # how many more turns of the loop begin with a sleep

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
    """Open `path` on a new thread: aiosqlite's handle, and the connection object that receives batches."""
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
    """The numbers as a JSON array. Raises InterfaceError for other values, as SQLite does."""
    try:
        return json.dumps([number for (number,) in rows])
    except TypeError as error:
        raise sqlite3.InterfaceError(str(error)) from None
