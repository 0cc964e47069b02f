"""What a doctor reads of a file: the mailbox of a key, what is stopped, what waits longest.

Promise: each query is answered by an index of open invocations, or walks through the open invocations or the timers once. None looks
at ended invocations.
"""

from __future__ import annotations

from actors.storage.records import InvocationRow
from actors.storage.sqlite.reads import SqliteReads

_MAILBOX = "FROM invocation WHERE service = ? AND key = ? AND status < 6 AND status > 0 AND shared != 1"
# The first words are those of the index `invocation_runnable`.
_RUNNABLE = "(status = 1 OR status = 2 OR status = 5)"


class Examination(SqliteReads):
    """The queries of a doctor, on any connection."""

    async def mailbox(self, service: str, key: str, limit: int) -> list[InvocationRow]:
        """The exclusive invocations of an object that are open, in order; the first holds the key."""
        found = await self._read(f"SELECT * {_MAILBOX} ORDER BY position LIMIT ?", (service, key, limit))
        return [InvocationRow._make(row) for row in found]

    async def mailbox_length(self, service: str, key: str) -> int:
        """How many exclusive invocations of an object are open."""
        ((count,),) = await self._read(f"SELECT count(*) {_MAILBOX}", (service, key))
        return int(count)

    async def crowded(self, limit: int) -> list[tuple[str, str, int]]:
        """(service, key, how many wait) of the objects with the most invocations in their mailboxes, without the first."""
        found = await self._read(
            f"SELECT service, key, count(*) AS number FROM invocation WHERE {_RUNNABLE} AND status = 1 AND shared = 0 "
            "GROUP BY service, key ORDER BY number DESC, service, key LIMIT ?",
            (limit,),
        )
        return [(service, key, count) for service, key, count in found]

    async def stopped(self, status: int, limit: int) -> list[InvocationRow]:
        """The open invocations with a status, oldest first."""
        indexed = f"{_RUNNABLE} AND " if status in (1, 2, 5) else "status < 6 AND "
        found = await self._read(
            f"SELECT * FROM invocation WHERE {indexed}status = {int(status)} ORDER BY +seq LIMIT ?", (limit,)
        )
        return [InvocationRow._make(row) for row in found]

    async def retries(self) -> dict[int, int]:
        """When the next attempts are due, by number of the invocation. Walks through all timers, which have no index by invocation."""
        return dict(await self._read("SELECT invocation, due_ms FROM timer WHERE idx = -1"))
