"""Files that are not ours, or no longer whole: refused with advice, and never changed."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.storage import DatabaseForeign, DatabaseTooNew, SqliteStore, StorageError
from actors.storage.sqlite.schema import APPLICATION_ID
from tests.storage.rows import OpenStore, batch, create, image, invocation, shell

KILLED = """
import asyncio, os, signal, sys
from actors.storage import Batch, SqliteStore

async def main() -> None:
    store = SqliteStore(sys.argv[1])
    await store.open()
    for number in range(1, 1 + int(sys.argv[3])):
        await store.commit(Batch(number, state=[("Order", f"k{number}", "note", '"' + sys.argv[2] * 3000 + '"')]))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def refused(path: Path, error: type[StorageError]) -> str:
    """Open `path`, expect `error` and not a byte changed; the message."""
    before = image(path)
    store = SqliteStore(str(path))
    try:
        with pytest.raises(error) as caught:
            await store.open()
    finally:
        await store.close()
    assert image(path) == before
    return str(caught.value)


@pytest.fixture(scope="module")
def closed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of ours of several pages that was closed in order: all of it is in one file."""
    path = tmp_path_factory.mktemp("closed") / "app.db"
    run_killed(path)
    with shell(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="module")
def killed_file(closed_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of ours whose last owner was killed: the newest pages are in its log."""
    path = tmp_path_factory.mktemp("killed") / "app.db"
    shutil.copy(closed_file, path)
    run_killed(path, "y", 5)
    assert (path.parent / "app.db-wal").stat().st_size > 20_000
    return path


def run_killed(path: Path, letter: str = "x", batches: int = 40) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, str(path), letter, str(batches)], check=False)
    assert process.returncode == -signal.SIGKILL


def copy(path: Path, folder: Path) -> Path:
    for name in (path.name, path.name + "-wal"):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, folder / name)
    return folder / path.name


async def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Buy milk.\n" * 1000)
    assert "not an SQLite database" in await refused(path, DatabaseForeign)


async def test_a_few_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"SQLite format 3\x00")
    await refused(path, DatabaseForeign)


async def test_an_empty_file_becomes_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.touch()
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 1


async def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with shell(path) as connection:
        connection.execute("CREATE TABLE recipe (name TEXT)")
    assert "another program" in await refused(path, DatabaseForeign)


async def test_the_database_of_another_program_in_use_is_refused_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with shell(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE recipe (name TEXT)")
        assert "app.db-wal" in image(path)
        assert "another program" in await refused(path, DatabaseForeign)
    # And after its owner was killed: opening it with SQLite would write its log into it.


async def test_the_killed_database_of_another_program_is_left_for_that_program_to_recover(tmp_path: Path) -> None:
    source, path = tmp_path / "live.db", tmp_path / "app.db"
    with shell(source) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE recipe (name TEXT)")
        shutil.copy(source, path)
        shutil.copy(str(source) + "-wal", str(path) + "-wal")
    assert "another program" in await refused(path, DatabaseForeign)
    assert (tmp_path / "app.db-wal").stat().st_size > 0


@pytest.mark.parametrize("pragma", ["application_id = 77", "user_version = 77"])
async def test_a_database_another_program_has_marked_as_its_own_is_refused_even_without_tables(
    pragma: str, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    with shell(path) as connection:
        connection.execute(f"PRAGMA {pragma}")
    assert "another program" in await refused(path, DatabaseForeign)


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.db").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        await SqliteStore(str(tmp_path / "app.db")).open()
    assert [found.name for found in tmp_path.iterdir()] == ["app.db"]


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"folder .*nowhere does not exist"):
        await SqliteStore(str(tmp_path / "nowhere" / "app.db")).open()
    assert list(tmp_path.iterdir()) == []


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path)
    with shell(path) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.execute("PRAGMA journal_mode = DELETE")
    assert "Upgrade the package" in await refused(path, DatabaseTooNew)


async def test_a_newer_schema_that_is_still_in_the_log_is_refused(killed_file: Path, tmp_path: Path) -> None:
    path = copy(killed_file, tmp_path)
    with shell(path) as connection:
        connection.execute("PRAGMA user_version = 999")
        other = tmp_path / "other"
        other.mkdir()
        path = copy(path, other)
    assert path.read_bytes()[60:64] != (999).to_bytes(4, "big"), "the new version is in the log only"
    assert "Upgrade the package" in await refused(path, DatabaseTooNew)


def cuts(size: int) -> list[int]:
    return [1, 15, 16, 60, 99, 100, 511, 512, 1023, *range(1024, size, 1024 * 7), size - 1024, size - 1023, size - 1]


async def test_a_database_cut_at_any_length_is_refused(closed_file: Path, tmp_path: Path) -> None:
    path = copy(closed_file, tmp_path)
    whole = path.read_bytes()
    for length in cuts(len(whole)):
        path.write_bytes(whole[:length])
        message = await refused(path, DatabaseForeign)
        assert "Restore it from a backup" in message or "another file" in message


async def test_a_database_cut_at_any_length_is_refused_although_its_log_is_there(
    killed_file: Path, tmp_path: Path
) -> None:
    path = copy(killed_file, tmp_path)
    whole, log = path.read_bytes(), path.with_name("app.db-wal").read_bytes()
    accepted = 0
    for length in [0, *cuts(len(whole))]:
        path.write_bytes(whole[:length])
        path.with_name("app.db-wal").write_bytes(log)
        try:
            await refused(path, DatabaseForeign)
        except pytest.fail.Exception:
            accepted += 1
            await check_whole(path)  # all that was cut off is in the log
    assert accepted <= 1
    path.unlink()
    path.with_name("app.db-wal").write_bytes(log)
    assert "-wal" in await refused(path, DatabaseForeign)


async def check_whole(path: Path) -> None:
    async with OpenStore(str(path)) as store:
        counts = await store.query("SELECT substr(value, 2, 3), count(*) FROM object_state GROUP BY 1 ORDER BY 1")
        assert counts == [("xxx", 35), ("yyy", 5)]
        assert await store.query("PRAGMA integrity_check") == [("ok",)]


async def test_a_whole_database_with_the_log_of_a_killed_owner_is_recovered(killed_file: Path, tmp_path: Path) -> None:
    await check_whole(copy(killed_file, tmp_path))


async def test_a_cut_log_gives_back_whole_batches_only(tmp_path: Path) -> None:
    """A log that was cut looks like one whose end had not reached the disk: what is there are the first n batches."""
    source = tmp_path / "source"
    source.mkdir()
    run_killed(source / "app.db")
    log = (source / "app.db-wal").read_bytes()
    seen = []
    for length in range(0, len(log) + 1, len(log) // 25):
        folder = tmp_path / str(length)
        folder.mkdir()
        path = copy(source / "app.db", folder)
        path.with_name("app.db-wal").write_bytes(log[:length])
        async with OpenStore(str(path)) as store:
            keys = {int(key[1:]) for (key,) in await store.query("SELECT key FROM object_state")}
            assert keys == set(range(1, len(keys) + 1))
            assert await store.query("PRAGMA integrity_check") == [("ok",)]
            seen.append(len(keys))
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] >= 38


async def test_a_database_damaged_inside_says_so_when_the_damage_is_met(closed_file: Path, tmp_path: Path) -> None:
    path = copy(closed_file, tmp_path)
    content = bytearray(path.read_bytes())
    content[1024:] = os.urandom(len(content) - 1024)
    path.write_bytes(content)
    await refused(path, DatabaseForeign)


READ_ONLY = """
import asyncio, os, sys
from actors.storage import SqliteStore, StorageError

async def main() -> None:
    store = SqliteStore(sys.argv[1])
    if os.geteuid() == 0:
        os.seteuid(65534)  # permissions do not bind root
    try:
        await store.open()
    except StorageError as error:
        print(error)

asyncio.run(main())
"""


def open_without_permission(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(path)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder everybody may write to: pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


async def test_a_file_without_write_permission_is_named(public_folder: Path) -> None:
    path = public_folder / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    (public_folder / "app.db.lock").unlink()
    path.chmod(0o444)
    before = image(path)
    answer = open_without_permission(path)
    assert "app.db" in answer and "permission" in answer
    assert image(path) == before


async def test_a_folder_without_write_permission_is_named(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    answer = open_without_permission(public_folder / "app.db")
    assert "app.db" in answer and "permission" in answer
    assert list(public_folder.iterdir()) == []


async def test_a_file_locked_by_a_shell_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path)
    with shell(path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        store = SqliteStore(str(path), busy_timeout_ms=1)
        with pytest.raises(StorageError, match="locked by another program"):
            await store.open()
        connection.execute("ROLLBACK")
    async with OpenStore(str(path)):
        pass


def test_the_mark_of_our_files_is_readable_in_the_header() -> None:
    assert APPLICATION_ID.to_bytes(4, "big") == b"ACTR"
    assert sqlite3.sqlite_version_info >= (3, 37)
