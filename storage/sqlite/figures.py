"""Figures about a whole file, for monitoring an app.

Promise: reading the figures never delays a commit. A separate connection on its own thread reads the file. It sees the last
commit and stays open as long as the file: opening and closing a database beside its owner could drop the owner's locks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from actors.storage.errors import translated
from actors.storage.records import Figures

# Indexes of open invocations only: ended invocations cost nothing, however many are kept.
_OPEN = (
    "SELECT service, status, count(*), min(CASE status WHEN 1 THEN CASE seq WHEN position THEN accepted_ms END END) "
    "FROM invocation INDEXED BY invocation_mailbox WHERE status < 6 GROUP BY service, status"
)
_AWAKEABLES = (
    "SELECT i.service, count(*) FROM invocation i INDEXED BY invocation_mailbox CROSS JOIN journal_entry a "
    "ON a.invocation = i.seq AND a.kind = 5 WHERE i.status < 6 AND NOT EXISTS "
    "(SELECT 1 FROM journal_entry c WHERE c.invocation = a.invocation AND c.kind >= 20 AND c.ref = a.idx) GROUP BY i.service"
)
_DEEPEST = (
    "SELECT service, max(waiting) FROM (SELECT service, count(*) AS waiting FROM invocation INDEXED BY invocation_runnable "
    "WHERE status = 1 AND shared = 0 GROUP BY service, key) GROUP BY service"
)

Read = Callable[[str], Awaitable[Sequence[Any]]]


async def read_figures(read: Read, path: str) -> Figures:
    """Read the figures. Raises the errors of `read`."""
    return Figures(
        [tuple(row) for row in await read(_OPEN)],
        dict(await read(_AWAKEABLES)),
        dict(await read(_DEEPEST)),
        *_sizes(path),
    )


def _sizes(path: str) -> tuple[int | None, int | None]:
    if path == ":memory:":
        return None, None
    try:
        size = os.stat(path).st_size
    except OSError:
        return None, None
    try:
        return size, os.stat(path + "-wal").st_size
    except OSError:  # there is no log before the first commit
        return size, 0


class Onlooker:
    """The separate connection. Life: `opened`, any number of reads, one at a time, `close`."""

    def __init__(self, path: str, handle: aiosqlite.Connection) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    async def opened(cls, path: str) -> Onlooker:
        try:
            return cls(path, await aiosqlite.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, isolation_level=None))
        except sqlite3.Error as error:
            raise translated(error, path) from error

    async def read(self, sql: str) -> Sequence[Any]:
        try:
            return list(await self._handle.execute_fetchall(sql))
        except (sqlite3.Error, ValueError) as error:  # ValueError: the connection was closed meanwhile
            raise translated(sqlite3.OperationalError(str(error)), self._path) from error

    async def close(self) -> None:
        """Close the connection; a read under way ends."""
        with contextlib.suppress(sqlite3.Error, ValueError):
            await self._handle.interrupt()
        await self._handle.close()
