"""Rows, stores and shells for the tests of the storage layer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from actors.storage import Batch, InvocationRow, JournalRow, OpenedDatabase, SqliteStore, Status
from actors.storage.records import PlainRow
from actors.storage.sqlite.database import AsyncConnection, WriterConnection

AT_MS = 1_700_000_000_123  # 2023-11-14T22:13:20.123Z


def invocation(seq: int, key: str = "k", status: int = Status.SUCCEEDED, **other: Any) -> InvocationRow:
    row = InvocationRow(
        seq=seq,
        service="Order",
        key=key,
        handler="add",
        shared=0,
        status=status,
        position=seq,
        args='["book"]',
        headers=None,
        parent=None,
        parent_index=None,
        attempts=0,
        accepted_ms=AT_MS,
        ended_ms=AT_MS + 1000 if status >= Status.SUCCEEDED else None,
        outcome="1" if status >= Status.SUCCEEDED else None,
        reason=None,
    )
    return row._replace(**other)


def plain(row: InvocationRow) -> PlainRow:
    """What is left of a row without the columns most invocations do not need."""
    return PlainRow(*(getattr(row, name) for name in PlainRow._fields))


def entry(invocation: int, idx: int, kind: int = 3, **other: Any) -> JournalRow:
    row = JournalRow(invocation, idx, kind, name=None, ref=None, value=None, before=None, at_ms=AT_MS)
    return row._replace(**other)


def batch(number: int = 1, **rows: Any) -> Batch:
    return Batch(number, **rows)


class OpenStore(SqliteStore):
    """A real store that also answers questions on its own connection, which nobody outside can ask."""

    opened: OpenedDatabase

    async def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.connection.execute_fetchall(sql, parameters)]

    @property
    def copying(self) -> asyncio.Task[None] | None:
        """The copy of the log that is under way."""
        return self._checkpoints.task if self._checkpoints is not None else None

    async def commit(self, batch: Batch) -> None:
        """And what comes before its acknowledgement."""
        try:
            await super().commit(batch)
            self.verify()
        finally:
            if self._rescuing is not None:
                await asyncio.wait([self._rescuing])

    async def _connect(self) -> tuple[AsyncConnection, WriterConnection]:
        self.connection, writer = await super()._connect()
        return self.connection, writer

    async def __aenter__(self) -> Self:
        self.opened = await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


@contextlib.contextmanager
def shell(path: Path | str) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else: a plain sqlite3 shell."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def column(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The only column of a result."""
    return [value for (value,) in rows]


async def create(path: Path, *batches: Batch) -> None:
    """A database of ours at `path`, closed again."""
    async with OpenStore(str(path)) as store:
        for one in batches:
            await store.commit(one)


def image(path: Path) -> dict[str, bytes]:
    """All bytes at and beside `path`, except the lock and the shared-memory index, which hold no data."""
    return {
        found.name: found.read_bytes()
        for found in sorted(path.parent.glob(path.name + "*"))
        if found.is_file() and not found.name.endswith((".lock", "-shm"))
    }
