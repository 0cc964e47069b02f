"""A visitor beside the owner: reads whether an app runs or not, changes nothing but requests, and is never in the way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.storage import (
    DatabaseForeign,
    DatabaseInUse,
    DatabaseTooNew,
    DatabaseTooOld,
    RequestRow,
    SqliteStore,
    StorageError,
    Visitor,
)
from actors.storage.sqlite.lock import FileLock, held
from actors.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS, steps
from tests.storage.rows import OpenStore, batch, column, create, entry, image, invocation, shell

NEWEST = len(MIGRATIONS)
both = pytest.mark.parametrize("asks", [False, True])


def visitor(path: Path) -> Visitor:
    return Visitor(str(path))


@contextlib.asynccontextmanager
async def visiting(path: Path, *, asks: bool) -> AsyncIterator[Visitor]:
    guest = visitor(path)
    await guest.enter(asks=asks)
    try:
        yield guest
    finally:
        await guest.close()


@both
async def test_a_missing_file_is_refused_and_not_created(asks: bool, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        await visitor(tmp_path / "none.db").enter(asks=asks)
    with pytest.raises(StorageError, match="is a folder"):
        await visitor(tmp_path).enter(asks=asks)
    assert list(tmp_path.iterdir()) == []


@both
async def test_files_that_are_not_ours_or_too_new_or_too_old_are_refused_as_they_lie_there(
    asks: bool, tmp_path: Path
) -> None:
    text, foreign, old, new = (tmp_path / name for name in ("a.txt", "foreign.db", "old.db", "new.db"))
    text.write_text("no database" * 100)
    with shell(foreign) as connection:
        connection.execute("CREATE TABLE request (number)")
    for path, count in ((old, NEWEST - 1), (new, NEWEST)):
        with shell(path) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            for statement in steps(0, MIGRATIONS[:count]):
                connection.execute(statement)
    with shell(new) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
    for path, error in (
        (text, DatabaseForeign),
        (foreign, DatabaseForeign),
        (old, DatabaseTooOld),
        (new, DatabaseTooNew),
    ):
        before = image(path)
        with pytest.raises(error, match=r"Start the app once" if error is DatabaseTooOld else None):
            await visitor(path).enter(asks=asks)
        assert image(path) == before


@both
async def test_an_empty_file_is_refused(asks: bool, tmp_path: Path) -> None:
    (tmp_path / "app.db").touch()
    with pytest.raises(StorageError, match="is empty"):
        await visitor(tmp_path / "app.db").enter(asks=asks)


@both
async def test_a_visitor_reads_beside_the_owner_and_keeps_nobody_from_the_file(asks: bool, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    async with visiting(path, asks=asks) as guest:
        assert not guest.owned()
        async with OpenStore(str(path)) as store:
            assert guest.owned()
            await store.commit(batch(2, invocations=[invocation(2)]))
            assert [row.seq for row in await guest.listed(None, None, None, [], 99, 9)] == [2, 1]
            assert sorted(tmp_path.glob("*.lock")) == [Path(f"{path}.lock")]
        assert not guest.owned()


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    async with visiting(path, asks=False) as guest:
        with pytest.raises(StorageError):
            await guest.ask([("kill", "x", None)], 0)
    with shell(path) as connection:
        assert column(connection.execute("SELECT count(*) FROM request")) == [0]


DIES = """
import asyncio, os, sys
from tests.storage.rows import OpenStore, batch, invocation

async def main():
    store = OpenStore(sys.argv[1])
    await store.open()
    await store.commit(batch(1, invocations=[invocation(1)]))
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
LOOKS = """
import sys, time
from actors.storage.sqlite.lock import held

print(flush=True)
while True:
    held(sys.argv[1])
    time.sleep(0.0005)
"""


def process(code: str, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)


async def test_what_a_killed_app_left_in_its_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    process(DIES, path).communicate()
    assert os.path.getsize(f"{path}-wal") > 0
    async with visiting(path, asks=False) as guest:
        assert [row.seq for row in await guest.listed(None, None, None, [], 99, 9)] == [1]
        assert not guest.owned()


async def test_requests_are_taken_once_in_order_and_then_not_withdrawn(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with OpenStore(str(path)) as store, visiting(path, asks=True) as guest:
        numbers = await guest.ask([("kill", "a", None), ("restart", "b", "3"), ("purge", "c", None)], 5)
        assert await guest.withdraw(numbers[2:]) == {numbers[2]}
        taken = await store.take_requests(0)
        assert taken == [RequestRow(numbers[0], "kill", "a", None), RequestRow(numbers[1], "restart", "b", "3")]
        assert await store.take_requests(0) == []
        assert await guest.withdraw(numbers) == set() and len(await guest.requests()) == 2
        await store.commit(batch(1, answered=[("yes", 7, numbers[1])]))
        assert await guest.answers(numbers) == {numbers[1]: "yes"}
        assert await guest.answers(numbers) == {}, "an answer is given once"
        (later,) = await guest.ask([("kill", "d", None)], 6)
        assert later > numbers[2], "a number is never used twice"
    async with OpenStore(str(path)) as store:
        left = [RequestRow(numbers[0], "kill", "a", None), RequestRow(later, "kill", "d", None)]
        assert store.opened.requests == left, "the next process takes what nobody has answered"
        assert await store.take_requests(0) == []
        await store.commit(batch(1, answered=[("yes", 7, numbers[0]), ("no", 9, later)]))
        assert await store.take_requests(8) == []
        assert await store.query("SELECT number FROM request") == [(later,)], "old answers are removed"


async def test_requests_are_left_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path)
    async with visiting(path, asks=True) as guest:
        with pytest.raises(StorageError):
            await guest.ask([("kill", "a", None), ("kill", None, None)], 0)  # type: ignore[list-item]
        assert not await guest.requests()


async def test_the_journal_and_the_awakeables_read_as_the_views_say(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    rows = [invocation(1, status=3), invocation(2, "l", status=3)]
    journal = [entry(1, 1, 5, name="str", ref=1_700_000_000_000), entry(2, 1, 5), entry(2, 2, 20, ref=1)]
    await create(path, batch(invocations=rows, journal=journal))
    async with visiting(path, asks=False) as guest:
        assert [line[1:3] for line in await guest.story(1)] == [(0, "input"), (1, "awakeable")]
        found = await guest.open_awakeables(service="Order", key=None)
        assert [(one[0], one[1], one[5], one[7]) for one in found] == [(1, 1, "str", "2023-11-14T22:13:20.000Z")]
        assert await guest.open_awakeables(service="Stock") == []
        assert await guest.open_awakeables(invocation=2) == []


async def test_looking_whether_an_app_runs_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    """Whoever looks holds the lock for a moment: a start at that very moment looks again."""
    path = str(tmp_path / "app.db")
    await create(tmp_path / "app.db")
    looking = process(LOOKS, tmp_path / "app.db")
    try:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(1000):  # enough to meet it many times
            FileLock(path).release()
        store = SqliteStore(path)
        await store.open()
        assert held(path)
        await store.close()
    finally:
        looking.kill()
        looking.communicate()
    assert not held(path)


async def test_a_file_that_is_owned_is_still_refused_to_a_second_owner(tmp_path: Path) -> None:
    path = str(tmp_path / "app.db")
    lock = FileLock(path)
    assert held(path) and held(path)
    with pytest.raises(DatabaseInUse):
        FileLock(path)
    lock.release()
    assert not held(path) and not held(str(tmp_path / "other.db"))


async def test_a_visitor_that_cannot_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'secret'")
    connection.close()
    with pytest.raises(DatabaseForeign, match="secret"):
        await visitor(path).enter(asks=False)
