"""What operators ask for: invocations by target and status, newest first, without reading the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.storage import InvocationRow, Mode, SqliteStore, Status
from tests.storage.rows import OpenStore, batch, invocation

OPEN = tuple(range(Status.SUCCEEDED))
ALL = 2**62  # above every number
# Numbers in an order of their own, so that neither the mailbox nor the time of acceptance can stand in for them.
ROWS = [
    invocation(
        seq,
        service="Order" if seq % 2 else "Cart",
        key=str(seq) if seq % 7 == 0 else f"k{seq % 3}",
        shared=Mode.KEYLESS if seq % 7 == 0 else seq % 2,
        handler="add" if seq % 5 else "buy",
        status=seq % 8,
        position=100 - seq,
        accepted_ms=1000 - seq,
        idempotency_key=f"i{seq}" if seq % 4 == 0 else None,
    )
    for seq in range(1, 49)
]


@pytest.mark.parametrize("service", [None, "Order", "order"])
@pytest.mark.parametrize("key", [None, "k1", "", "14"])
@pytest.mark.parametrize("handler", [None, "buy"])
async def test_a_listing_holds_what_matches_all_it_was_asked_for(
    service: str | None, key: str | None, handler: str | None, tmp_path: Path
) -> None:
    asked: list[tuple[int, ...]] = [(), OPEN, (Status.PAUSED,), (6, 7), (7,), (Status.PENDING, Status.FAILED)]
    async with OpenStore(str(tmp_path / "app.db"), synchronous="OFF") as store:
        await store.commit(batch(invocations=ROWS))
        for statuses in asked:
            expected = [
                row
                for row in reversed(ROWS)
                if service in (None, row.service)
                and key in (None, "" if row.shared == Mode.KEYLESS else row.key)
                and handler in (None, row.handler)
                and (not statuses or row.status in statuses)
            ]
            assert await store.listed(service, key, handler, statuses, ALL, 100) == expected, statuses


@pytest.mark.parametrize("statuses", [(), OPEN, (6, 7), (0, 7)], ids=str)
async def test_a_listing_is_read_in_pages_from_the_newest_on(statuses: tuple[int, ...], tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(invocations=ROWS))
        pages, before = list[list[InvocationRow]](), ALL
        while page := await store.listed(None, None, None, statuses, before, 5):
            assert page[0].seq < before
            pages.append(page)
            before = page[-1].seq
        matching = [row for row in reversed(ROWS) if not statuses or row.status in statuses]
        assert [row for page in pages for row in page] == matching
        assert {len(page) for page in pages[:-1]} == {5}
        oldest = matching[-1].seq
        assert await store.listed(None, None, None, statuses, oldest, 5) == [], "`before` itself is not in the page"
        assert await store.listed(None, None, None, statuses, ALL, 0) == []


async def test_invocations_are_found_by_number_those_that_are_missing_left_out(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(invocations=ROWS))
        assert await store.invocations([5, 48, 99, 1, 5]) == {5: ROWS[4], 48: ROWS[47], 1: ROWS[0]}
        assert await store.invocations([]) == {}
        assert await store.invocation(99) is None


class ListeningStore(OpenStore):
    """Keeps what it asks SQLite."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Sequence[Any]:
        values = tuple(parameters)
        self.asked.append((sql, values))
        return await super()._read(sql, values)

    async def plan(self, part: str) -> list[str]:
        """How SQLite goes about the only question with `part` in it."""
        ((sql, values),) = [asked for asked in self.asked if asked[0].startswith("SELECT") and part in asked[0]]
        return [row[3] for row in await self.query(f"EXPLAIN QUERY PLAN {sql}", values)]


# The operation, a part of its SQL, the index that must serve it, and whether that index must also give the order.
QUESTIONS: dict[str, tuple[tuple[Any, ...], str, str, bool]] = {
    "open": ((SqliteStore.listed, None, None, None, OPEN, ALL, 9), "seq IN (SELECT", "INDEX invocation_mailbox", False),
    "open among the newest": (
        (SqliteStore.listed, None, None, None, OPEN, ALL, 9),
        "max(seq)",
        "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        True,
    ),
    "paused": ((SqliteStore.listed, None, None, "add", (5,), 70, 9), "LIMIT", "INDEX invocation_runnable", False),
    "paused and pending of a class": (
        (SqliteStore.listed, "Order", None, None, (5, 1), 70, 9),
        "LIMIT",
        "INDEX invocation_runnable (service=?)",
        False,
    ),
    "backing off": (
        (SqliteStore.listed, None, None, None, (4,), 70, 9),
        "LIMIT",
        "INDEX invocation_failing (seq<?)",
        True,
    ),
    "failed": (
        (SqliteStore.listed, "Order", "k", None, (7, 7), 70, 9),
        "LIMIT",
        "INDEX invocation_failed (seq<?)",
        True,
    ),
    "stopped": ((SqliteStore.stopped, 5, 9), "LIMIT", "INDEX invocation_runnable", False),
    "stopped by failures": ((SqliteStore.stopped, 4, 9), "LIMIT", "INDEX invocation_failing", True),
    "the next attempts": ((SqliteStore.retries, [1, 2]), "json_each", "INDEX timer_retry (invocation=?)", True),
    "awakeables": (
        (SqliteStore.pending_awakeables, 9),
        "LIMIT",
        "INDEX journal_awakeable ((invocation,idx)>(?,?))",
        True,
    ),
    "mailbox": (
        (SqliteStore.mailbox, "Order", "k", 2),
        "LIMIT",
        "INDEX invocation_mailbox (service=? AND key=?)",
        True,
    ),
    "crowded": ((SqliteStore.crowded, 9), "LIMIT", "INDEX invocation_runnable", False),
    "open of an object": (
        (SqliteStore.listed, "Order", "k", None, OPEN, ALL, 9),
        "LIMIT",
        "INDEX invocation_mailbox (service=? AND key=?)",
        False,
    ),
    "all": ((SqliteStore.listed, None, None, None, (), ALL, 9), "LIMIT", "INTEGER PRIMARY KEY (rowid<?)", True),
    "ended": ((SqliteStore.ended, 9, False), "LIMIT", "INDEX invocation_ended", True),
    "ended ticks": ((SqliteStore.ended, 9, False), "LIMIT", "INDEX invocation_tick (ended_ms>?)", True),
    "ended under a key": ((SqliteStore.ended, 9, True), "LIMIT", "INDEX invocation_ended_keyed", True),
    "open ticks": ((SqliteStore.ticks,), "ended_ms IS NULL", "INDEX invocation_tick (ended_ms=?)", True),
    "timers": ((SqliteStore.timers, (5, 5), 9), "LIMIT", "PRIMARY KEY ((due_ms,seq)>(?,?))", True),
    "find": (
        (SqliteStore.find, "Order", "k", "add", "i"),
        "idempotency_key = ?",
        "INDEX invocation_idempotency (service=? AND key=? AND handler=? AND idempotency_key=?)",
        True,
    ),
    "ended ticks at the start": ((), "count(*) FROM invocation", "INDEX invocation_tick (ended_ms>?)", True),
    "ticks of a schedule": (
        (SqliteStore.tick_keys, [("Order", "k", "add", "i1", "i2")]),
        "json_each",
        "INDEX invocation_idempotency (service=? AND key=? AND handler=? AND idempotency_key>? AND idempotency_key<?)",
        True,
    ),
    "by number": ((SqliteStore.invocations, [1, 2]), "json_each", "INTEGER PRIMARY KEY (rowid=?)", True),
    "attached": ((SqliteStore.attached, 1), "FROM attachment WHERE", "PRIMARY KEY (target=?)", True),
    "journal": ((SqliteStore.journal, 1), "FROM journal_entry", "PRIMARY KEY (invocation=?)", True),
    "runnable at the start": ((), "status = 1 OR status = 2", "INDEX invocation_runnable", True),
    "settled at the start": ((), "LEFT JOIN invocation", "INTEGER PRIMARY KEY (rowid=?)", False),
    "kept at the start": ((), "count(*) FROM invocation", "INDEX invocation_ended", True),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_is_answered_from_its_index(question: str, tmp_path: Path) -> None:
    operation, part, index, ordered = QUESTIONS[question]
    async with ListeningStore(str(tmp_path / "app.db")) as store:
        if operation:
            method, *values = operation
            await method(store, *values)
        plan = await store.plan(part)
    assert any(re.search(re.escape(index) + r"(?!\w)", line) for line in plan), plan
    if ordered:
        assert not any("TEMP B-TREE FOR ORDER BY" in line for line in plan), plan
    assert [
        line for line in plan if re.match(r"SCAN (TABLE )?(invocation|i|journal_entry|timer)\b(?!.*INDEX)", line)
    ] == []
