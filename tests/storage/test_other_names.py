"""A file that was left by a killed app under one of its names, and is opened under another one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from actors.storage import LogElsewhere, SqliteStore, Visitor
from actors.storage.sqlite.backup import backup
from actors.storage.sqlite.reading import query
from actors.storage.sqlite.snapshot import take
from tests.storage.rows import OpenStore, batch, column, image, invocation

needs_attributes = pytest.mark.skipif(sys.platform != "linux", reason="the place of the log is not noted there")
pytestmark = needs_attributes

KILLED = """
import asyncio, os, signal, sys
from tests.storage.rows import OpenStore, batch, invocation

async def main(path):
    store = OpenStore(path)
    await store.open()
    await store.commit(batch(1, invocations=[invocation(1)]))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    path = tmp_path / "one" / "app.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2], timeout=60, check=False)
    return path


def linked(path: Path, other: Path) -> None:
    os.link(path, other)


def renamed(path: Path, other: Path) -> None:
    path.rename(other)


async def seen(path: Path) -> list[int]:
    async with OpenStore(str(path)) as store:
        return column(await store.query("SELECT seq FROM invocation"))


@pytest.mark.parametrize("give", [linked, renamed])
async def test_a_killed_apps_file_is_not_opened_without_its_log(
    give: Callable[[Path, Path], None], killed: Path, tmp_path: Path
) -> None:
    other = tmp_path / "two" / "app.db"
    give(killed, other)
    before = image(other)
    said = rf"what it acknowledged last is in {killed}-wal.*Start the app under that name; or move"
    for _ in range(2):
        with pytest.raises(LogElsewhere, match=said):
            await SqliteStore(str(other)).open()
    for asks in (True, False):
        with pytest.raises(LogElsewhere):
            await Visitor(str(other)).enter(asks=asks)
    looks: list[Callable[[], object]] = [
        lambda: take(str(other), str(tmp_path / "snapshot.db")),
        lambda: query(str(other), "SELECT 1", 1),
        lambda: backup(str(other), str(tmp_path / "copy.db")),
    ]
    for look in looks:
        with pytest.raises(LogElsewhere):
            look()
    assert image(other) == before
    os.rename(f"{killed}-wal", f"{other}-wal")
    assert await seen(other) == [1]


async def test_a_file_is_opened_under_any_name_once_it_was_closed(killed: Path, tmp_path: Path) -> None:
    other = tmp_path / "two" / "app.db"
    linked(killed, other)
    assert await seen(killed) == [1]
    for name in (other, killed, other):
        assert await seen(name) == [1]


async def test_a_log_that_a_shell_has_copied_is_not_missed(killed: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(killed)) as shell:
        assert shell.execute("SELECT count(*) FROM invocation").fetchone() == (1,)
    assert not os.path.exists(f"{killed}-wal")
    other = tmp_path / "two" / "app.db"
    renamed(killed, other)
    assert await seen(other) == [1]


async def test_a_copy_that_took_the_note_along_is_a_file_of_its_own(killed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "two" / "app.db"
    shutil.copy2(killed, copy)
    for name in os.listxattr(killed):
        os.setxattr(copy, name, os.getxattr(killed, name))
    assert await seen(copy) in ([], [1])  # what of it had been copied when it was killed


async def test_the_file_and_its_log_may_be_moved_together(killed: Path, tmp_path: Path) -> None:
    for suffix in ("", "-wal"):
        os.rename(f"{killed}{suffix}", tmp_path / "two" / f"app.db{suffix}")
    assert await seen(tmp_path / "two" / "app.db") == [1]


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"7", b'["/nowhere-wal", 1, 2, 3]', b"[null, 1, 2, 3]", b'["\\u0000", 1, 2, 3]']
)
async def test_a_note_that_nobody_can_read_keeps_nothing_from_starting(note: bytes, killed: Path) -> None:
    os.setxattr(killed, "user.actors.log", note)
    assert await seen(killed) == [1]
    assert not os.listxattr(killed)


async def test_an_app_whose_log_was_copied_may_be_killed_and_renamed(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        await store.query("PRAGMA wal_checkpoint(TRUNCATE)")
        os.link(tmp_path / "app.db", tmp_path / "other.db")
        noted = os.getxattr(tmp_path / "app.db", "user.actors.log")
    os.setxattr(tmp_path / "app.db", "user.actors.log", noted)
    (tmp_path / "app.db-wal").touch()
    assert await seen(tmp_path / "other.db") == [1]
