"""A connection beside the owner's, for commands: it reads, and leaves requests for the owner of the file.

Promise: a visitor creates, locks and migrates nothing. Reading works whether an app runs or not; the only rows that it writes
or deletes are requests.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import aiosqlite

from actors.storage.errors import (
    DatabaseForeign,
    DatabaseTooOld,
    StorageError,
    translated,
    translated_os,
)
from actors.storage.records import InvocationRow
from actors.storage.sqlite import schema
from actors.storage.sqlite.bystander import Bystander
from actors.storage.sqlite.inspection import inspect
from actors.storage.sqlite.lock import held
from actors.storage.sqlite.store import SqliteStore


class Visitor(SqliteStore):
    """Life: `enter` instead of `open`, any number of reads and requests, `close`."""

    _bystander: Bystander | None = None

    async def enter(self, *, asks: bool) -> bytes:
        """Connect, read-only unless it `asks`; returns the secret of the ids. Raises StorageError or a subclass."""
        known = len(self._migrations)
        try:
            self._bystander = bystander = Bystander(self.path, writes=asks)
            if asks and bystander.descriptor is not None:
                inspect(self.path, bystander.descriptor, schema.APPLICATION_ID, known)
            uri = bystander.uri()
            self._handle = await aiosqlite.connect(uri, uri=True, isolation_level=None)
            # The owner copies its log back when it has time; a visitor doing so would keep the owner waiting.
            await self._read("PRAGMA wal_autocheckpoint = 0")
            version = await self._version()
            if not version:
                raise StorageError(f"{self.path} is empty. Start the app on it, or give the path of an app's database.")
            if version < known:
                raise DatabaseTooOld(
                    f"{self.path} was last used by an older release (schema {version}; this release knows {known}). Start "
                    "the app once with this release to migrate the file. Commands do not change it."
                )
            found = await self._read("SELECT value FROM meta WHERE name = 'secret'")
            if not found:
                raise DatabaseForeign(f"{self.path} has lost the secret of its ids. Restore it from a backup.")
        except sqlite3.Error as error:
            await self.close()
            raise translated(error, self.path) from error
        except OSError as error:
            await self.close()
            raise translated_os(error, self.path) from error
        except BaseException:
            await self.close()
            raise
        return bytes(found[0][0])

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            bystander, self._bystander = self._bystander, None
            if bystander is not None:
                bystander.close()

    def owned(self) -> bool:
        """Whether a process owns the file now."""
        return held(self.path)

    # --- reading --------------------------------------------------------------------------------------------------------

    async def ahead(self, row: InvocationRow) -> tuple[int, InvocationRow | None]:
        """How many exclusive invocations of the object come before this invocation, and the first of them."""
        among = "FROM invocation WHERE service = ? AND key = ? AND status < 6 AND status > 0 AND shared = 0 AND position < ? "
        of = (row.service, row.key, row.position)
        ((count,),) = await self._read(f"SELECT count(*) {among}", of)
        first = await self._read(f"SELECT * {among} ORDER BY position LIMIT 1", of)
        return int(count), InvocationRow._make(first[0]) if first else None

    async def open_awakeables(self, limit: int = -1, **wanted: str | int | None) -> list[tuple[Any, ...]]:
        """(invocation, position, service, key, handler, type, since, deadline) of the view `awakeables`, oldest first.

        `wanted` are values that columns must have; None allows any value.
        """
        given = {name: value for name, value in wanted.items() if value is not None}
        conditions = " AND ".join([f"{name} = ?" for name in given]) or "1"
        return [
            tuple(row)
            for row in await self._read(
                "SELECT invocation, position, service, key, handler, type, since, deadline FROM awakeables "
                f"WHERE {conditions} ORDER BY invocation, position LIMIT ?",
                (*given.values(), limit),
            )
        ]

    async def state_of(self, service: str, key: str) -> list[tuple[str, str]]:
        """(name, JSON text) of the state of an object."""
        return [
            (str(name), str(value))
            for name, value in await self._read(
                "SELECT name, value FROM state WHERE service = ? AND key = ?", (service, key)
            )
        ]

    # --- requests -------------------------------------------------------------------------------------------------------

    async def ask(self, requests: Sequence[tuple[str, str, str | None]], asked_ms: int) -> list[int]:
        """Leave requests (operation, target, argument) for the owner, all or none; returns their numbers."""
        numbers: list[int] = []
        await self._read("BEGIN IMMEDIATE")
        try:
            for operation, target, argument in requests:
                ((number,),) = await self._read(
                    "INSERT INTO request (operation, target, argument, asked_ms) VALUES (?, ?, ?, ?) RETURNING number",
                    (operation, target, argument, asked_ms),
                )
                numbers.append(number)
            await self._read("COMMIT")
        except BaseException:
            with contextlib.suppress(StorageError):  # SQLite itself has rolled back when the disk is full
                await self._read("ROLLBACK")
            raise
        return numbers

    async def requests(self) -> list[tuple[Any, ...]]:
        """(number, operation, target, argument, asked_ms, taken) of the requests that are not answered, in order."""
        return [
            tuple(row)
            for row in await self._read(
                "SELECT number, operation, target, argument, asked_ms, taken FROM request WHERE answer IS NULL "
                "ORDER BY number"
            )
        ]

    async def answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """The available answers, by number. Each answer is returned once, and removed."""
        among = "number IN (SELECT value FROM json_each(?)) AND answer IS NOT NULL"
        asked = json.dumps(numbers)
        if not await self._read(f"SELECT 1 FROM request WHERE {among} LIMIT 1", (asked,)):
            return {}
        return dict(await self._read(f"DELETE FROM request WHERE {among} RETURNING number, answer", (asked,)))

    async def withdraw(self, numbers: Sequence[int]) -> set[int]:
        """Withdraw the requests that no app has taken: they have no effect. The others will be executed."""
        gone = await self._read(
            "DELETE FROM request WHERE number IN (SELECT value FROM json_each(?)) AND taken IS NULL RETURNING number",
            (json.dumps(numbers),),
        )
        return {number for (number,) in gone}
