"""What doctors and monitors read of a file: the mailbox of a key, what is stopped, how many invocations are open.

Promise: each query is answered by an index of open invocations, or walks through the open invocations once. None looks at ended
invocations, however many are kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from actors.storage.records import InvocationRow, Status
from actors.storage.sqlite.reads import IS_RUNNABLE, SqliteReads

_MAILBOX = "FROM invocation WHERE service = ? AND key = ? AND status < 6 AND status > 0 AND shared != 1"

_OPEN = (
    "SELECT service, status, count(*), min(CASE status WHEN 1 THEN CASE seq WHEN position THEN accepted_ms END END) "
    "FROM invocation INDEXED BY invocation_mailbox WHERE status < 6 GROUP BY service, status"
)
_AWAKEABLES = (
    "SELECT i.service, count(*), min(a.at_ms) FROM invocation i INDEXED BY invocation_mailbox CROSS JOIN journal_entry a "
    "ON a.invocation = i.seq AND a.kind = 5 WHERE i.status < 6 AND NOT EXISTS "
    "(SELECT 1 FROM journal_entry c WHERE c.invocation = a.invocation AND c.kind >= 20 AND c.ref = a.idx) GROUP BY i.service"
)
_DEEPEST = (
    "SELECT service, max(waiting) FROM (SELECT service, count(*) AS waiting FROM invocation INDEXED BY invocation_runnable "
    "WHERE status = 1 AND shared = 0 GROUP BY service, key) GROUP BY service"
)


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
            f"SELECT service, key, count(*) AS number FROM invocation WHERE {IS_RUNNABLE} AND status = 1 AND shared = 0 "
            "GROUP BY service, key ORDER BY number DESC, service, key LIMIT ?",
            (limit,),
        )
        return [(service, key, count) for service, key, count in found]

    async def stopped(self, status: int, limit: int) -> list[InvocationRow]:
        """The open invocations with a status, oldest first."""
        indexed = f"{IS_RUNNABLE} AND " if status in (1, 2, 5) else ""
        seq = (
            "seq" if status == Status.BACKING_OFF else "+seq"
        )  # the plus: not by a walk through all invocations by number
        found = await self._read(
            f"SELECT * FROM invocation WHERE {indexed}status < 6 AND status = {int(status)} ORDER BY {seq} LIMIT ?",
            (limit,),
        )
        return [InvocationRow._make(row) for row in found]

    async def retries(self, seqs: Sequence[int]) -> dict[int, int]:
        """When the next attempts of these invocations are due, by number."""
        return dict(
            await self._read(
                "SELECT t.invocation, t.due_ms FROM json_each(?) asked CROSS JOIN timer t "
                "ON t.invocation = asked.value AND t.idx = -1",
                (json.dumps(seqs),),
            )
        )

    async def open_counts(self) -> list[tuple[str, int, int, int | None]]:
        """(service, status, how many, when the oldest that has never begun was accepted) of all open invocations."""
        return [tuple(row) for row in await self._read(_OPEN)]

    async def awakeable_counts(self) -> dict[str, tuple[int, int]]:
        """How many awakeables are open, and since when the oldest is, by service."""
        return {service: (count, since_ms) for service, count, since_ms in await self._read(_AWAKEABLES)}

    async def longest_mailboxes(self) -> dict[str, int]:
        """How many wait in the longest mailbox, by service."""
        return dict(await self._read(_DEEPEST))
