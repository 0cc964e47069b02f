"""What doctors and monitors read of a file: the mailbox of a key, what is stopped, how many invocations are open.

Promise: each query is answered by an index, walks through the open invocations once, or looks through a slice of all invocations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from actors.storage.records import InvocationRow, Slice, Status, Wanted
from actors.storage.sqlite.reads import IS_RUNNABLE, RARE, SqliteReads, of_target

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

# A call or send under an idempotency key is recorded without its number, which an entry "placed" holds.
# Each journal is read once: joined with itself, it would be read again for each of its commands.
_CALLED = (
    "WITH entry AS MATERIALIZED (SELECT asked.key AS place, c.invocation, c.idx, c.kind, c.ref, "
    "CASE c.kind WHEN 23 THEN CAST(c.value AS INTEGER) END AS placed FROM json_each(?) asked CROSS JOIN journal_entry c "
    "ON c.invocation = asked.value AND c.kind IN (6, 7, 12, 23)) "
    "SELECT c.invocation, c.idx, CASE c.kind WHEN 6 THEN 'call' WHEN 7 THEN 'send' ELSE 'attach' END, "
    "coalesce(c.ref, p.placed) FROM entry c LEFT JOIN entry p "
    "ON c.ref IS NULL AND p.kind = 23 AND p.invocation = c.invocation AND p.ref = c.idx "
    "WHERE c.kind <> 23 AND (c.ref IS NOT NULL OR p.placed IS NOT NULL) ORDER BY c.place, c.idx LIMIT ?"
)


SLICE = 10_000  # invocations that one part of a search looks through: some milliseconds, more if their texts are long


def _conditions(wanted: Wanted) -> Iterator[tuple[str, Any]]:
    """Conditions, each with the value of all its question marks."""
    named, names = of_target(wanted.service, wanted.key, wanted.handler)
    yield from zip(named, names, strict=True)
    if len(wanted.statuses) == 1:  # in the words of the indexes of rare ones
        yield f"status = {int(wanted.statuses[0])}", None
    elif wanted.statuses:
        yield f"status IN ({', '.join(str(int(status)) for status in wanted.statuses)})", None
    if wanted.error is not None:
        yield (
            "(instr(lower(reason), lower(?)) > 0 OR (status = 7 AND instr(lower(outcome), lower(?)) > 0))",
            wanted.error,
        )
    if wanted.text is not None:
        yield "(instr(lower(key), lower(?)) > 0 OR instr(lower(idempotency_key), lower(?)) > 0)", wanted.text
    if wanted.from_ms is not None:
        yield "accepted_ms >= ?", wanted.from_ms
    if wanted.to_ms is not None:
        yield "accepted_ms < ?", wanted.to_ms
    if wanted.roots:
        yield "parent IS NULL", None


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

    async def called(self, seqs: Sequence[int], limit: int) -> list[tuple[int, int, str, int]]:
        """(invocation, position, "call", "send" or "attach", the other invocation) of what these invocations have called, in order."""
        return [tuple(row) for row in await self._read(_CALLED, (json.dumps(seqs), limit))]

    async def journal_length(self, seq: int) -> int:
        """The position of the last entry of a journal; 0 if there is none."""
        ((last,),) = await self._read("SELECT max(idx) FROM journal_entry WHERE invocation = ?", (seq,))
        return int(last or 0)

    async def newer(
        self,
        after: int,
        statuses: Sequence[int],
        limit: int,
        *,
        service: str | None = None,
        key: str | None = None,
        handler: str | None = None,
    ) -> int:
        """How many invocations numbered above `after` match, `limit` at most, among the newest of ten times as many."""
        named, names = of_target(service, key, handler)
        conditions = ["seq > max(?, (SELECT max(seq) FROM invocation) - ?)", *named]
        if statuses:
            conditions.append(f"status IN ({', '.join(map(str, statuses))})")
        ((count,),) = await self._read(
            f"SELECT count(*) FROM (SELECT 1 FROM invocation WHERE {' AND '.join(conditions)} LIMIT ?)",
            (after, 10 * limit, *names, limit),
        )
        return int(count)

    async def searched(self, wanted: Wanted, before: int, limit: int, width: int = SLICE) -> Slice:
        """The first part of a search among the invocations numbered below `before`: `width` numbers, or so many of a rare status."""
        rare = RARE.get(wanted.statuses[0]) if len(wanted.statuses) == 1 else None
        ((newest, oldest),) = await self._read(
            "SELECT (SELECT max(seq) FROM invocation WHERE seq < ?), (SELECT min(seq) FROM invocation)", (before,)
        )
        if newest is None:
            return Slice([], 0, None)
        low = newest - width
        if rare is not None:
            ((first,),) = await self._read(
                f"SELECT min(seq) FROM (SELECT seq FROM invocation INDEXED BY {rare} "
                f"WHERE status = {wanted.statuses[0]:d} AND seq < ? ORDER BY seq DESC LIMIT ?)",
                (before, width),
            )
            if first is None:
                return Slice([], 0, None)
            low = first - 1
        conditions, values = ["seq < ?", "seq > ?"], [before, low]
        for condition, value in _conditions(wanted):
            conditions.append(condition)
            values += [value] * condition.count("?")
        index = f" INDEXED BY {rare}" if rare is not None else ""
        found = [
            InvocationRow._make(row)
            for row in await self._read(
                f"SELECT * FROM invocation{index} WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT ?",
                (*values, limit),
            )
        ]
        down_to = found[-1].seq if len(found) == limit else max(low + 1, 0)
        if down_to <= oldest:
            return Slice(found, 0, None)
        ((accepted_ms,),) = await self._read(
            "SELECT accepted_ms FROM invocation WHERE seq >= ? ORDER BY seq LIMIT 1", (down_to,)
        )
        return Slice(found, down_to, accepted_ms)

    async def open_counts(self) -> list[tuple[str, int, int, int | None]]:
        """(service, status, how many, when the oldest that has never begun was accepted) of all open invocations."""
        return [tuple(row) for row in await self._read(_OPEN)]

    async def awakeable_counts(self) -> dict[str, tuple[int, int]]:
        """How many awakeables are open, and since when the oldest is, by service."""
        return {service: (count, since_ms) for service, count, since_ms in await self._read(_AWAKEABLES)}

    async def longest_mailboxes(self) -> dict[str, int]:
        """How many wait in the longest mailbox, by service."""
        return dict(await self._read(_DEEPEST))
