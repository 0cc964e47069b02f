"""What is read of a file: the queries of the runtime, on any connection.

All reads go through one connection in the order of the calls.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from actors.storage.errors import DatabaseReplaced, StorageError, translated
from actors.storage.records import (
    Extent,
    InvocationRow,
    JournalRow,
    KeptObject,
    ObjectRecord,
    PlaceRow,
    PromiseRow,
    Status,
    TimerRow,
)
from actors.storage.sqlite.database import AsyncConnection, rows
from actors.storage.sqlite.object_records import OBJECTS, OBJECTS_OF, fill

_ENDED = {
    True: "SELECT seq, ended_ms FROM invocation WHERE status >= 6 AND idempotency_key IS NOT NULL AND flags & 16 = 0 "
    "ORDER BY ended_ms, seq LIMIT ?",
    # The first of either index; the caller puts them in order.
    False: "SELECT * FROM (SELECT seq, ended_ms FROM invocation WHERE status >= 6 AND idempotency_key IS NULL "
    "ORDER BY ended_ms, seq LIMIT ?) UNION ALL SELECT * FROM (SELECT seq, ended_ms FROM invocation "
    "WHERE flags & 16 AND ended_ms >= 0 AND idempotency_key IS NOT NULL ORDER BY ended_ms, seq LIMIT ?)",
}
_KEYS_BETWEEN = (
    "SELECT asked.key, i.idempotency_key FROM json_each(?) asked CROSS JOIN invocation i "
    "ON {} AND i.service = json_extract(asked.value, '$[0]') AND i.handler = json_extract(asked.value, '$[2]') "
    "AND i.idempotency_key > json_extract(asked.value, '$[3]') AND i.idempotency_key < json_extract(asked.value, '$[4]') "
    "AND i.idempotency_key IS NOT NULL"
)
_TICK_KEYS = (
    _KEYS_BETWEEN.format("i.key = json_extract(asked.value, '$[1]')")
    + " UNION ALL "
    + _KEYS_BETWEEN.format("json_extract(asked.value, '$[1]') = '' AND i.shared = 2")
)
# The indexes by number of what is rare among millions of others.
RARE = {Status.BACKING_OFF: "invocation_failing", Status.FAILED: "invocation_failed"}
_RUNNABLE = {Status.PENDING, Status.RUNNING, Status.PAUSED}
IS_RUNNABLE = "(status = 1 OR status = 2 OR status = 5)"  # the words of the index `invocation_runnable`
_NEWEST = 20_000


def of_target(service: str | None, key: str | None, handler: str | None) -> tuple[list[str], list[str]]:
    """Conditions on an invocation's target, and their values. An empty `key` means a keyless service."""
    conditions, values = [], []
    for column, wanted in (("service", service), ("key", key), ("handler", handler)):
        if wanted is not None:
            conditions.append(f"{column} = ?")
            values.append(wanted)
            if column == "key":
                conditions[-1] = "shared != 2 AND key = ?" if wanted else "shared = 2 AND ? = ''"
    return conditions, values


class SqliteReads:
    """A file that is read. A subclass connects: `_handle` is the connection, None while there is none."""

    def __init__(self, path: str) -> None:
        self.path: str = path if path == ":memory:" else os.path.realpath(path)
        self._handle: AsyncConnection | None = None
        self._lost: DatabaseReplaced | None = None  # why nothing more may be read

    async def load_objects(self, keys: Sequence[tuple[str, str]]) -> list[ObjectRecord]:
        """The record of each object, in the order of `keys`; an empty record for an object never used."""
        (found,) = await self._read(OBJECTS, (json.dumps(keys),))
        records = {key: ObjectRecord() for key in keys}
        fill(records, *found)
        return [records[key] for key in keys]

    async def load_objects_of(self, seqs: Sequence[int]) -> tuple[list[PlaceRow], dict[tuple[str, str], ObjectRecord]]:
        """The places of those invocations that are open, and their objects by (service, key).

        A scheduled invocation is not in a mailbox yet, so its object is not loaded.
        """
        ((*found, of_seqs),) = await self._read(OBJECTS_OF, (json.dumps(seqs),))
        places = [PlaceRow._make(values) for values in json.loads(of_seqs)]
        records = {(place.service, place.key): ObjectRecord() for place in places if place.status != Status.SCHEDULED}
        fill(records, *found)
        return places, records

    async def timers(self, after: tuple[int, int], limit: int) -> list[TimerRow]:
        """The next timers after `after`, a pair of due time and number, in the order in which they fire."""
        found = await self._read(
            "SELECT due_ms, seq, invocation, idx FROM timer WHERE (due_ms, seq) > (?, ?) ORDER BY due_ms, seq LIMIT ?",
            (*after, limit),
        )
        return [TimerRow._make(values) for values in found]

    async def invocations(self, seqs: Sequence[int]) -> dict[int, InvocationRow]:
        """The stored invocations with these numbers, by seq."""
        found = await self._read(
            "SELECT i.* FROM json_each(?) asked CROSS JOIN invocation i ON i.seq = asked.value",
            (json.dumps(seqs),),
        )
        return {values[0]: InvocationRow._make(values) for values in found}

    async def invocation(self, seq: int) -> InvocationRow | None:
        return (await self.invocations([seq])).get(seq)

    async def find(self, service: str, key: str, handler: str, idempotency_key: str) -> InvocationRow | None:
        """The invocation that was accepted under this idempotency key.

        An empty `key` means any invocation of a keyless service; an empty idempotency key (RUN) means the run of a workflow,
        whatever the name of its handler was then.
        """
        condition, values = "service = ? AND key = ? AND idempotency_key = ?", [service, key, idempotency_key]
        if not key:
            condition, values[1] = "service = ? AND handler = ? AND idempotency_key = ? AND shared = 2", handler
        elif idempotency_key:
            condition, values = condition + " AND handler = ?", [*values, handler]
        found = await self._read(f"SELECT * FROM invocation WHERE {condition}", values)
        return InvocationRow(*found[0]) if found else None

    async def keyed(self, seqs: Sequence[int]) -> list[tuple[int, str, str, bool]]:
        """(seq, service, key, whether it is a workflow's run) of those invocations that have an idempotency key."""
        found = await self._read(
            "SELECT i.seq, i.service, i.key, i.idempotency_key = '' FROM json_each(?) asked "
            "CROSS JOIN invocation i ON i.seq = asked.value WHERE i.idempotency_key IS NOT NULL",
            (json.dumps(seqs),),
        )
        return [(seq, service, key, bool(is_run)) for seq, service, key, is_run in found]

    async def unclaimed_promises(self, limit: int) -> list[tuple[PromiseRow, bool]]:
        """The oldest completed promises without a known run, and whether their workflow has a run by now."""
        found = await self._read(
            "SELECT service, key, name, failed, value, completed_ms, EXISTS (SELECT 1 FROM invocation i WHERE "
            "i.service = p.service AND i.key = p.key AND i.idempotency_key = '') FROM promise p WHERE unclaimed = 1 "
            "ORDER BY completed_ms, service, key, name LIMIT ?",
            (limit,),
        )
        return [(PromiseRow(*values[:6]), bool(values[6])) for values in found]

    async def attached(self, target: int) -> list[tuple[int, int]]:
        """(caller, index of its command) of all callers attached to `target`."""
        found = await self._read("SELECT caller, caller_index FROM attachment WHERE target = ?", (target,))
        return [(caller, index) for caller, index in found]

    async def ended(self, limit: int, keyed: bool) -> list[tuple[int, int]]:
        """(seq, ended_ms) of the invocations that ended first, either of those with an idempotency key or of all others.

        Ticks of schedules count among the others.
        """
        found = await self._read(_ENDED[keyed], (limit,) if keyed else (limit, limit))
        oldest = sorted((ended_ms, seq) for seq, ended_ms in found)[:limit]
        return [(seq, ended_ms) for ended_ms, seq in oldest]

    async def ticks(self) -> list[InvocationRow]:
        """The open ticks of schedules."""
        found = await self._read("SELECT * FROM invocation WHERE flags & 16 AND ended_ms IS NULL ORDER BY seq")
        return [InvocationRow._make(row) for row in found]

    async def tick_keys(self, ranges: Sequence[tuple[str, str, str, str, str]]) -> list[tuple[int, str]]:
        """Idempotency keys of one handler of one object that lie between two texts.

        A range is (service, key, handler, low, high); the result is (position in `ranges`, idempotency key). An empty key
        means a keyless service.
        """
        asked = json.dumps(ranges)
        return [(place, key) for place, key in await self._read(_TICK_KEYS, (asked, asked))]

    async def listed(
        self,
        service: str | None,
        key: str | None,
        handler: str | None,
        statuses: Sequence[int],
        before: int,
        limit: int,
    ) -> list[InvocationRow]:
        """Invocations that match, the newest first, from those numbered below `before`.

        An empty `key` means invocations of keyless services; no other key does.
        """
        only_open = bool(statuses) and max(statuses) < Status.SUCCEEDED
        rare = RARE.get(statuses[0]) if len(set(statuses)) == 1 else None
        # The plus keeps SQLite from walking down all invocations by number.
        seq = "+seq" if only_open and rare is None else "seq"
        named, names = of_target(service, key, handler)
        conditions: list[str] = [f"{seq} < ?", *named]
        values: list[Any] = [before, *names]
        if rare is not None:
            conditions.append(f"status = {int(statuses[0])}")
        elif statuses:
            conditions.append(f"status IN ({', '.join(map(str, statuses))})")
        if rare is None and only_open:
            if limit and not set(statuses) <= _RUNNABLE and key is None:
                # Among the newest invocations there may be enough: that is so if many are open.
                newest = " AND ".join([*conditions, "seq >= (SELECT max(seq) FROM invocation WHERE seq < ?) - ?"])
                found = await self._read(
                    f"SELECT * FROM invocation WHERE seq < ? AND {newest} ORDER BY seq DESC LIMIT ?",
                    (before, *values, before, _NEWEST, limit),
                )
                if len(found) == limit:
                    return [InvocationRow._make(row) for row in found]
            # So that SQLite uses an index of open invocations: in the words of `invocation_runnable`, or of `invocation_mailbox`.
            conditions.append(IS_RUNNABLE if set(statuses) <= _RUNNABLE else "status < 6")
        where = f"WHERE {' AND '.join(conditions)} ORDER BY {seq} DESC LIMIT ?"
        if rare is not None or not only_open:
            index = f" INDEXED BY {rare}" if rare is not None else ""
            found = await self._read(f"SELECT * FROM invocation{index} {where}", (*values, limit))
        else:  # the numbers first: sorting whole rows takes ten times as long
            numbers = f"SELECT seq FROM invocation {where}"
            found = await self._read(
                f"SELECT * FROM invocation WHERE seq IN ({numbers}) ORDER BY seq DESC", (*values, limit)
            )
        return [InvocationRow._make(row) for row in found]

    async def state(self, service: str, key: str) -> dict[str, str]:
        """The state of an object as JSON text by name, including the version of the state."""
        found = await self._read("SELECT name, value FROM object_state WHERE service = ? AND key = ?", (service, key))
        return dict(found)

    async def story(self, seq: int, after: int = -1, limit: int = -1) -> list[tuple[Any, ...]]:
        """(at, position, entry, name, completes, called, value, due) of the view `journal`, in order, after position `after`."""
        return [
            tuple(row)
            for row in await self._read(
                "SELECT at, position, entry, name, completes, called, value, due FROM journal WHERE invocation = ? "
                "AND position > ? ORDER BY position LIMIT ?",
                (seq, after, limit),
            )
        ]

    async def journal(self, seq: int) -> list[JournalRow]:
        found = await self._read("SELECT * FROM journal_entry WHERE invocation = ? ORDER BY idx", (seq,))
        return [JournalRow._make(values) for values in found]

    async def open_steps(self, seq: int) -> list[tuple[int, str | None, int | None, str | None]]:
        """(position, name, ref, before) of the steps of an invocation that are not completed."""
        found = await self._read(
            "SELECT idx, name, ref, before FROM journal_entry WHERE invocation = ? AND kind = 3 AND idx NOT IN "
            "(SELECT ref FROM journal_entry WHERE invocation = ? AND kind IN (20, 21)) ORDER BY idx",
            (seq, seq),
        )
        return [(position, name, ref, before) for position, name, ref, before in found]

    async def pending_awakeables(
        self,
        limit: int,
        *,
        service: str | None = None,
        key: str | None = None,
        handler: str | None = None,
        after: tuple[int, int] = (-1, -1),
    ) -> list[tuple[Any, ...]]:
        """(invocation, idx, service, key, handler, since_ms, deadline_ms) of open awakeables, oldest first.

        Of one service, key or handler only, if given; `after` is the (invocation, idx) of the last awakeable of the page before.
        """
        conditions, values = "", list[Any](after)
        join = (
            "CROSS JOIN" if key is None else "JOIN"
        )  # by age, so that the limit ends the search; or by the mailbox of the key
        for column, wanted in (("service", service), ("key", key), ("handler", handler)):
            if wanted is not None:
                conditions += f" AND i.{column} = ?" + (" AND i.shared != 2" if column == "key" else "")
                values.append(wanted)
        return [
            tuple(found)
            for found in await self._read(
                "SELECT a.invocation, a.idx, i.service, CASE i.shared WHEN 2 THEN '' ELSE i.key END, i.handler, a.at_ms, "
                "a.ref FROM journal_entry a "
                f"{join} invocation i ON i.seq = a.invocation WHERE a.kind = 5 AND (a.invocation, a.idx) > (?, ?){conditions} "
                "AND i.status < 6 AND NOT EXISTS "
                "(SELECT 1 FROM journal_entry c WHERE c.invocation = a.invocation AND c.kind >= 20 AND c.ref = a.idx) "
                "ORDER BY a.invocation, a.idx LIMIT ?",
                (*values, limit),
            )
        ]

    @contextlib.asynccontextmanager
    async def at_once(self) -> AsyncIterator[None]:
        """All reads in this block see the file as it is at the first of them. Nothing is locked."""
        await self._read("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(StorageError):  # it would hide the error of the block
                await self._read("ROLLBACK")
            raise
        await self._read("COMMIT")

    async def secret(self) -> bytes:
        """The secret that all ids of the file are made with."""
        ((secret,),) = await self._read("SELECT value FROM meta WHERE name = 'secret'")
        return bytes(secret)

    async def kept_object(self, service: str, key: str) -> KeptObject:
        """Everything kept of one object. Without an index of ended invocations, this walks through all invocations once."""
        found = await self._read(
            "SELECT * FROM invocation WHERE service = ? AND key = ? AND shared = 0 ORDER BY position, seq",
            (service, key),
        )
        invocations = [InvocationRow._make(row) for row in found]
        journals = await self.journals([row.seq for row in invocations])
        return KeptObject(
            invocations,
            journals,
            await self.state(service, key),
            await self.recorded_from(service),
            await self.oldest_ms(),
        )

    async def in_order(self, service: str | None, key: str | None) -> list[int]:
        """The numbers of all kept invocations, object by object and in mailbox order: of one class, or one key, or all."""
        found = await self._read(
            "SELECT seq FROM invocation WHERE (? IS NULL OR service = ?) AND (? IS NULL OR (key = ? AND shared != 2)) "
            "ORDER BY service, key, position, seq",
            (service, service, key, key),
        )
        return [seq for (seq,) in found]

    async def with_state(self, service: str | None, key: str | None) -> list[tuple[str, str]]:
        """(service, key) of all objects that have state: of one class, or one key, or all."""
        found = await self._read(
            "SELECT DISTINCT service, key FROM object_state WHERE (? IS NULL OR service = ?) AND (? IS NULL OR key = ?)",
            (service, service, key, key),
        )
        return [(service, key) for service, key in found]

    async def recorded_from(self, service: str) -> int | None:
        """The number of the invocation from which on a class records all changes of state; None if it does not."""
        since = await self._read("SELECT value FROM meta WHERE name = ?", (f"history {service}",))
        return int(since[0][0]) if since else None

    async def oldest_ms(self) -> int:
        """When the oldest kept invocation without an idempotency key ended. See KeptObject."""
        oldest = await self.ended(1, False)
        return oldest[0][1] if oldest else 2**62

    async def journals(self, seqs: Sequence[int]) -> dict[int, list[JournalRow]]:
        """The journals of these invocations, by number; none for an invocation without a journal."""
        journals: dict[int, list[JournalRow]] = {}
        for values in await self._read(
            "SELECT j.* FROM json_each(?) asked CROSS JOIN journal_entry j ON j.invocation = asked.value "
            "ORDER BY j.invocation, j.idx",
            (json.dumps(seqs),),
        ):
            journals.setdefault(values[0], []).append(JournalRow._make(values))
        return journals

    async def extent(self) -> Extent | None:
        """How far the kept invocations reach; None if there are none."""
        first = await self._read("SELECT seq, accepted_ms FROM invocation ORDER BY seq LIMIT 1")
        if not first:
            return None
        ((last_ms,),) = await self._read(
            "SELECT max(ifnull((SELECT max(ended_ms) FROM invocation WHERE status >= 6 AND idempotency_key IS NULL), 0), "
            "ifnull((SELECT max(ended_ms) FROM invocation WHERE status >= 6 AND idempotency_key IS NOT NULL "
            "AND flags & 16 = 0), 0), ifnull((SELECT max(accepted_ms) FROM invocation WHERE status < 6), 0))"
        )
        ((last,),) = await self._read("SELECT max(seq) FROM invocation")
        return Extent(first[0][0], first[0][1], last_ms, last)

    async def count(self) -> int:
        """How many invocations are kept. This walks through all of them."""
        ((count,),) = await self._read("SELECT count(*) FROM invocation")
        return int(count)

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Sequence[Any]:
        if self._handle is None:
            raise StorageError(f"{self.path} is closed.")
        if self._lost is not None:
            raise self._lost
        try:
            return rows(await self._handle.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
