"""From one version of the tables to the next: all of a step, or nothing of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from actors.storage import DatabaseTooNew, StorageError
from actors.storage.inspection import Header
from actors.storage.schema import APPLICATION_ID, MIGRATIONS, steps
from tests.storage.rows import OpenStore, batch, column, create, image, invocation, shell

STEP_2 = """
-- A step may hold several statements; a semicolon in text; is not an end.
ALTER TABLE invocation ADD COLUMN tenant TEXT NOT NULL DEFAULT 'none; really';
CREATE TABLE tag (name TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO tag SELECT DISTINCT service FROM invocation;
"""
STEP_3 = "CREATE TABLE broken (name TEXT); INSERT INTO nowhere VALUES (1);\n"


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
        assert (header.application_id, header.user_version) == (APPLICATION_ID, len(MIGRATIONS))


async def test_a_step_changes_the_tables_and_keeps_the_records(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    async with migrated(path, STEP_2) as store:
        assert store.opened.epoch == 2
        assert await store.query("SELECT seq, tenant FROM invocation") == [(1, "none; really")]
        assert await store.query("SELECT name FROM tag") == [("Order",)]
    assert version(path) == 2


async def test_the_file_itself_says_its_new_version_at_once(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path)
    async with migrated(path, STEP_2):
        assert path.read_bytes()[60:64] == (2).to_bytes(4, "big")


async def test_a_step_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    for _ in range(2):
        async with migrated(path, STEP_2) as store:
            assert await store.query("SELECT name FROM tag") == []
    assert version(path) == 2


async def test_a_new_file_takes_all_steps(tmp_path: Path) -> None:
    async with migrated(tmp_path / "app.db", STEP_2) as store:
        assert store.opened.epoch == 1
    assert version(tmp_path / "app.db") == 2


async def test_a_failing_step_leaves_the_old_version_with_all_records(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    before = image(path)
    with pytest.raises(StorageError, match="nowhere"):
        async with migrated(path, STEP_2, STEP_3):
            pass
    assert image(path).keys() == before.keys()
    assert version(path) == 1
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 2, "the failed opening did not count"
        assert await store.invocation(1) == invocation(1)
        assert await store.query("SELECT name FROM sqlite_schema WHERE name IN ('tag', 'broken')") == []


async def test_the_release_before_refuses_the_migrated_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with migrated(path, STEP_2):
        pass
    with pytest.raises(DatabaseTooNew, match="schema 2, this one knows 1"):
        async with OpenStore(str(path)):
            pass


async def test_an_interrupted_creation_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with shell(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # a process died just after this: one page, no table, no mark
    assert path.stat().st_size > 0
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 1


def test_there_is_nothing_to_do_at_the_newest_version() -> None:
    assert steps(len(MIGRATIONS)) == []


def test_every_prefix_of_the_steps_is_valid_sql() -> None:
    for count in range(1, len(MIGRATIONS) + 1):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in steps(0, MIGRATIONS[:count]):
            connection.execute(statement)
        assert column(connection.execute("PRAGMA user_version")) == [count]
        connection.close()
