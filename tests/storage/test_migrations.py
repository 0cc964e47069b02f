"""From one version of the tables to the next: all of a step, or nothing of it."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.storage import DatabaseTooNew, InvocationRow, JournalRow, Status, StorageError, TimerRow
from actors.storage.sqlite.inspection import Header
from actors.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS, steps
from tests.storage.rows import AT_MS, OpenStore, batch, column, create, entry, image, invocation, shell

NEXT = """
-- A step may hold several statements; a semicolon in text; is not an end.
ALTER TABLE invocation ADD COLUMN tenant TEXT NOT NULL DEFAULT 'none; really';
CREATE TABLE tag (name TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO tag SELECT DISTINCT service FROM invocation;
"""
BROKEN = "CREATE TABLE broken (name TEXT); INSERT INTO nowhere VALUES (1);\n"
NEWEST = len(MIGRATIONS)


def migrated(path: Path, *further: str) -> OpenStore:
    return OpenStore(str(path), migrations=(*MIGRATIONS, *further))


def version(path: Path) -> int:
    with shell(path) as connection:
        (found,) = column(connection.execute("PRAGMA user_version"))
    return int(found)


async def test_a_new_file_gets_the_newest_version_and_says_so_in_its_own_header(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with OpenStore(str(path)):
        header = Header.parsed(path.read_bytes()[:100])
        assert header is not None
        assert (header.application_id, header.user_version) == (APPLICATION_ID, NEWEST)


async def test_a_step_changes_the_tables_and_keeps_the_records(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    async with migrated(path, NEXT) as store:
        assert store.opened.epoch == 2
        assert await store.query("SELECT seq, tenant FROM invocation") == [(1, "none; really")]
        assert await store.query("SELECT name FROM tag") == [("Order",)]
    assert version(path) == NEWEST + 1


async def test_the_file_itself_says_its_new_version_at_once(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path)
    async with migrated(path, NEXT):
        assert path.read_bytes()[60:64] == (NEWEST + 1).to_bytes(4, "big")


async def test_a_step_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    for _ in range(2):
        async with migrated(path, NEXT) as store:
            assert await store.query("SELECT name FROM tag") == []
    assert version(path) == NEWEST + 1


async def test_a_new_file_takes_all_steps(tmp_path: Path) -> None:
    async with migrated(tmp_path / "app.db", NEXT) as store:
        assert store.opened.epoch == 1
    assert version(tmp_path / "app.db") == NEWEST + 1


async def test_a_failing_step_leaves_the_old_version_with_all_records(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    before = image(path)
    with pytest.raises(StorageError, match="nowhere"):
        async with migrated(path, NEXT, BROKEN):
            pass
    assert image(path).keys() == before.keys()
    assert version(path) == NEWEST
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 2, "the failed opening did not count"
        assert await store.invocation(1) == invocation(1)
        assert await store.query("SELECT name FROM sqlite_schema WHERE name IN ('tag', 'broken')") == []


async def test_the_release_before_refuses_the_migrated_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with migrated(path, NEXT):
        pass
    with pytest.raises(DatabaseTooNew, match=f"schema {NEWEST + 1}; this release knows {NEWEST}"):
        async with OpenStore(str(path)):
            pass


V1_INVOCATIONS: list[tuple[Any, ...]] = [
    (1, "Order", "k", "add", 0, 6, 1, '["ä€𝄞"]', None, None, None, 0, AT_MS, AT_MS + 2000, '"paid"', None),
    (2, "Order", "k", "add", 1, 7, 2, "[]", '{"t":"a"}', 1, 3, 2, AT_MS, AT_MS + 1000, '{"code":500}', None),
    (3, "Order", "k", "add", 0, 2, 3, "[]", None, None, None, 0, AT_MS, None, None, None),
    (4, "Order", "k", "add", 0, 1, 4, "[4]", None, 3, 2, 0, AT_MS, None, None, None),
    (5, "Order", "paused", "add", 0, 5, 5, "[]", None, None, None, 70, AT_MS, None, None, "Traceback..."),
    (6, "Cart", "blocked", "buy", 0, 3, 6, "[]", None, None, None, 0, AT_MS, None, None, None),
    (7, "Cart", "failing", "buy", 0, 4, 7, "[]", None, None, None, 5, AT_MS, None, None, "no answer"),
    (8, "Cart", "later", "buy", 0, 0, 8, "[]", None, None, None, 0, AT_MS, None, None, None),
    (9, "Cart", "done", "buy", 0, 6, 9, "[]", None, None, None, 0, AT_MS, AT_MS + 1000, "null", None),
]
V1_JOURNAL: list[tuple[Any, ...]] = [
    (1, 1, 3, "charge", None, None, None, AT_MS),
    (1, 2, 20, None, 1, b"\x00\xff", None, AT_MS),
    (3, 1, 1, "total", None, "2", "1", AT_MS),
    (3, 2, 6, "Order/k/add", 4, "[4]", None, AT_MS),
    (6, 1, 5, "str", AT_MS + 9000, "9000", None, AT_MS),
]
V1_STATE = [("Cart", "blocked", "items", "[]"), ("Order", "k", "total", "2")]
V1_TIMERS = [(AT_MS + 1, 21, 8, -2), (AT_MS + 1, 22, 7, -1), (AT_MS + 9000, 20, 6, 1)]


def create_v1(path: Path) -> None:
    """A file as the release of version 1 left it, written without any code of today but the released step itself."""
    with shell(path) as connection:
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in steps(0, MIGRATIONS[:1]):
            connection.execute(statement)
        meta = {"secret": b"s" * 32, "epoch": 4, "next_number": 3_000_001, "owner": 77}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        for table, rows in (
            ("invocation", V1_INVOCATIONS),
            ("journal_entry", V1_JOURNAL),
            ("object_state", V1_STATE),
            ("timer", V1_TIMERS),
        ):
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


async def test_a_file_of_version_1_keeps_every_record(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    create_v1(path)
    assert version(path) == 1
    async with OpenStore(str(path)) as store:
        opened = store.opened
        assert (opened.secret, opened.epoch, opened.next_number) == (b"s" * 32, 5, 3_000_001)
        assert await store.query("SELECT * FROM invocation ORDER BY seq") == [
            (*row, 0, None, None, None) for row in V1_INVOCATIONS
        ]
        assert await store.query("SELECT * FROM journal_entry ORDER BY 1, 2") == V1_JOURNAL
        assert await store.query("SELECT * FROM object_state ORDER BY 1, 2, 3") == V1_STATE
        assert await store.query("SELECT * FROM timer ORDER BY 1, 2") == V1_TIMERS
        assert await store.query("PRAGMA integrity_check") == [("ok",)]
    assert version(path) == NEWEST


async def test_a_file_of_version_1_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    create_v1(path)
    async with OpenStore(str(path)) as store:
        assert sorted(store.opened.runnable) == [("Order", "k"), ("Order", "paused")]
        assert (store.opened.ended, store.opened.settled) == (3, [])
        order, cart = await store.load_objects([("Order", "k"), ("Cart", "blocked")])
        assert order.invocations == [InvocationRow(*V1_INVOCATIONS[2]), InvocationRow(*V1_INVOCATIONS[3])]
        assert order.journal == {3: [JournalRow(*V1_JOURNAL[2]), JournalRow(*V1_JOURNAL[3])]}
        assert (order.state, cart.state) == ({"total": "2"}, {"items": "[]"})
        assert await store.timers((0, 0), 10) == [TimerRow(*timer) for timer in V1_TIMERS]
        assert await store.ended(10, keyed=False) == [(2, AT_MS + 1000), (9, AT_MS + 1000), (1, AT_MS + 2000)]
        assert await store.ended(10, keyed=True) == []
        assert [row[:2] for row in await store.pending_awakeables(10)] == [(6, 1)]
        assert await store.query("SELECT status, cancellation FROM invocations WHERE invocation = 5") == [
            ("paused", None)
        ]
        held = InvocationRow(*V1_INVOCATIONS[4])._replace(flags=2)
        keyed = invocation(10, idempotency_key="once")
        await store.commit(batch(1, invocations=[held, keyed], journal=[entry(10, 1)], purged=[(1,)]))
        assert await store.invocation(5) == held
        assert await store.find("Order", "k", "add", "once") == keyed
        assert await store.invocation(1) is None and await store.journal(1) == []
    async with OpenStore(str(path)) as store:
        assert store.opened.runnable == [("Order", "k")]
        assert store.opened.ended == 2, "one was purged; the one under a key is not counted"


async def test_a_file_of_version_1_stays_one_when_a_later_step_fails(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    create_v1(path)
    with pytest.raises(StorageError, match="nowhere"):
        async with migrated(path, BROKEN):
            pass
    assert version(path) == 1
    with shell(path) as connection:
        assert connection.execute("SELECT * FROM invocation ORDER BY seq").fetchall() == V1_INVOCATIONS
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'attachment'").fetchall() == []
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 5
        assert len(await store.listed(None, None, None, (Status.SUCCEEDED,), 100, 100)) == 2


async def test_an_interrupted_creation_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with shell(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # a process died just after this: one page, no table, no mark
    assert path.stat().st_size > 0
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 1


def test_there_is_nothing_to_do_at_the_newest_version() -> None:
    assert steps(NEWEST) == []


def test_a_released_step_is_never_edited() -> None:
    released = ["17043d78793735d9b526e40bf6bd26d935e10518bd3c4361b96ca58c95ce908f"]
    steps_now = [hashlib.sha256(script.encode()).hexdigest() for script in MIGRATIONS]
    assert steps_now[: len(released)] == released


def test_every_prefix_of_the_steps_is_valid_sql() -> None:
    for count in range(1, NEWEST + 1):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in steps(0, MIGRATIONS[:count]):
            connection.execute(statement)
        assert column(connection.execute("PRAGMA user_version")) == [count]
        connection.close()
