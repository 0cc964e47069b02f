"""Backups: taken beside the owner, put back as a whole; and what lies beside a restored file is not mixed with it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.storage import (
    DatabaseForeign,
    DatabaseInUse,
    DatabaseTooNew,
    SqliteStore,
    StaleLog,
    StorageError,
    StorageFull,
    Visitor,
)
from actors.storage.sqlite.backup import KEPT, NUMBERS_SKIPPED, backup, restore
from actors.storage.sqlite.bond import UNKNOWN, note
from actors.storage.sqlite.reading import query
from actors.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS, steps
from actors.storage.sqlite.snapshot import take
from tests.storage.rows import OpenStore, batch, column, create, image, invocation, shell
from tests.storage.test_full_disk import small_disk

__all__ = ["small_disk"]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="nothing is noted here")

# It commits 1, has a backup made, commits 2, and dies with both in its log.
KILLED = """
import asyncio, os, signal, sys
from actors.storage.sqlite.backup import backup
from tests.storage.rows import OpenStore, batch, invocation

async def main(path, copy):
    store = OpenStore(path)
    await store.open()
    await store.commit(batch(1, invocations=[invocation(1)]))
    backup(path, copy)
    await store.commit(batch(2, invocations=[invocation(2)]))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


def run_killed(path: Path, copy: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(copy)]
    process = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=60, check=False)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The file of a killed app, in a folder of its own; its backup is `backup.db` beside the folder."""
    (tmp_path / "data").mkdir()
    run_killed(tmp_path / "data" / "app.db", tmp_path / "backup.db")
    return tmp_path / "data" / "app.db"


def create_older(path: Path, version: int) -> None:
    """A file as an earlier release left it."""
    with shell(path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in steps(0, MIGRATIONS[:version]):
            connection.execute(statement)
        meta = [("secret", bytes(32)), ("epoch", 1), ("next_number", 1), ("owner", 1)]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta)


async def seqs(path: Path | str) -> list[int]:
    async with OpenStore(str(path)) as store:
        assert await store.query("PRAGMA integrity_check") == [("ok",)]
        return column(await store.query("SELECT seq FROM invocation ORDER BY seq"))


async def look(path: Path) -> None:
    """As a command that only reads."""
    visitor = Visitor(str(path))
    await visitor.enter(asks=False)
    await visitor.close()


def names(folder: Path) -> set[str]:
    """Without what holds no data: SQLite leaves an empty log beside a file that it may only read."""
    return {
        found.name
        for found in folder.iterdir()
        if not found.name.endswith((".lock", "-shm")) and not (found.name.endswith("-wal") and not found.stat().st_size)
    }


# --- taking one -----------------------------------------------------------------------------------------------------------


async def test_a_backup_is_what_was_committed_when_it_began_whatever_the_app_does_then(tmp_path: Path) -> None:
    path, copy = tmp_path / "app.db", tmp_path / "copies" / "monday.db"
    copy.parent.mkdir()
    told: list[tuple[int, int]] = []
    with shell(path) as other:
        async with OpenStore(str(path)) as store:
            big = [("Order", f"k{n}", "note", '"' + "x" * 20_000 + '"') for n in range(300)]
            await store.commit(batch(1, invocations=[invocation(1)], state=big))

            def progress(copied: int, total: int) -> None:
                if not told:
                    other.execute(
                        "INSERT INTO promise VALUES ('a', 'b', 'c', 0, '1', 1, 0)"
                    )  # a commit between two steps
                told.append((copied, total))

            backup(str(path), str(copy), progress)
            await store.commit(batch(2, invocations=[invocation(2)]))
            assert [copied for copied, _ in told] == sorted({copied for copied, _ in told}) and len(told) > 1
            assert told[-1][0] == told[-1][1]
            secret = store.opened.secret
    assert names(copy.parent) == {"monday.db"}
    async with OpenStore(str(copy)) as store:
        assert column(await store.query("SELECT seq FROM invocation")) == [1]
        assert await store.query("SELECT * FROM promise") == [] and store.opened.secret == secret


async def test_what_a_killed_app_left_in_its_log_is_part_of_a_backup(killed: Path, tmp_path: Path) -> None:
    before = image(killed)
    backup(str(killed), str(tmp_path / "copy.db"))
    assert image(killed) == before
    assert await seqs(tmp_path / "copy.db") == [1, 2]
    assert await seqs(tmp_path / "backup.db") == [1]


async def test_a_backup_overwrites_nothing_and_is_not_put_beside_a_log(tmp_path: Path) -> None:
    await create(tmp_path / "app.db")
    for name in ("copy.db", "copy.db-wal", "copy.db-journal"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(StorageError, match=f"{name} exists, and a backup never overwrites a file"):
            backup(str(tmp_path / "app.db"), str(tmp_path / "copy.db"))
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "copy.db").symlink_to("nowhere.db")
    with pytest.raises(StorageError, match="exists"):
        backup(str(tmp_path / "app.db"), str(tmp_path / "copy.db"))
    assert names(tmp_path) == {"app.db"} | {"copy.db"}


async def test_a_file_that_comes_to_the_destination_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    await create(tmp_path / "app.db")
    copy = tmp_path / "copy.db"

    def progress(copied: int, total: int) -> None:
        copy.write_text("mine")

    with pytest.raises(StorageError, match="created meanwhile"):
        backup(str(tmp_path / "app.db"), str(copy), progress)
    assert copy.read_text() == "mine" and names(tmp_path) == {"app.db", "copy.db"}


async def test_what_is_not_the_file_of_an_app_is_not_backed_up(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("hello" * 1000)
    with shell(tmp_path / "foreign.db") as connection:
        connection.execute("CREATE TABLE mine (x)")
    await create(tmp_path / "app.db")
    content = bytearray((tmp_path / "app.db").read_bytes())
    content[2048:] = os.urandom(len(content) - 2048)
    (tmp_path / "damaged.db").write_bytes(content)
    before = names(tmp_path)
    for name, error in (
        ("none.db", StorageError),
        ("..", StorageError),
        ("empty.db", StorageError),
        ("text.db", DatabaseForeign),
        ("foreign.db", DatabaseForeign),
        ("damaged.db", DatabaseForeign),
    ):
        with pytest.raises(error):
            backup(str(tmp_path / name), str(tmp_path / "copy.db"))
    with pytest.raises(StorageError, match="does not exist"):
        backup(str(tmp_path / "app.db"), str(tmp_path / "nowhere" / "copy.db"))
    assert names(tmp_path) == before


async def test_a_backup_that_does_not_fit_or_is_interrupted_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    big = [("Order", f"k{n}", "note", '"' + "x" * 20_000 + '"') for n in range(300)]
    await create(tmp_path / "app.db", batch(1, state=big))
    with pytest.raises(StorageFull, match=r"holds .*copy\.db is full; the partial copy was removed"):
        backup(str(tmp_path / "app.db"), str(small_disk / "copy.db"))
    assert names(small_disk) == set()

    def interrupt(copied: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(str(tmp_path / "app.db"), str(tmp_path / "copy.db"), interrupt)
    assert "copy.db" not in names(tmp_path) and not list(tmp_path.glob("*.part*"))


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be cut there")
async def test_a_source_that_cannot_be_read_is_named_not_the_destination(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.close()
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("CREATE TABLE filler AS SELECT zeroblob(20000000)")
    with pytest.raises(StorageError) as caught:
        backup(str(path), str(tmp_path / "new.db"), lambda copied, total: os.truncate(f"{path}-wal", 10_000))
    assert str(caught.value).startswith(f"{path}: disk I/O error")
    assert not (tmp_path / "new.db").exists()
    writer.close()


async def test_a_file_that_is_being_migrated_is_backed_up_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    create_older(path, 2)
    with shell(path) as migrating:
        migrating.execute("BEGIN IMMEDIATE")
        migrating.execute("CREATE TABLE half (done)")
        backup(str(path), str(tmp_path / "copy.db"))
        migrating.execute("ROLLBACK")
    with shell(tmp_path / "copy.db") as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (2,)
    assert await seqs(tmp_path / "copy.db") == [], "and the next start brings it up to date"


# --- going back -----------------------------------------------------------------------------------------------------------


async def test_a_restored_file_has_the_old_ids_and_numbers_nobody_has_seen(killed: Path, tmp_path: Path) -> None:
    async with OpenStore(str(killed)) as store:
        given_out = store.opened.next_number + 1_000_000
        secret = store.opened.secret
    for _ in range(2):
        kept = restore(str(tmp_path / "backup.db"), str(killed))
        assert kept == str(killed) + KEPT
        async with OpenStore(str(killed)) as store:
            assert column(await store.query("SELECT seq FROM invocation")) == [1]
            assert store.opened.secret == secret
            assert store.opened.next_number > max(given_out, NUMBERS_SKIPPED)
        assert kept is not None and await seqs(kept) in ([1, 2], [1])
        Path(kept).unlink()
    assert names(killed.parent) == {"app.db"}, "no log, and nothing half done"
    assert await seqs(tmp_path / "backup.db") == [1], "the backup is as it was"


async def test_what_lay_there_is_kept_with_what_was_in_its_log(killed: Path, tmp_path: Path) -> None:
    kept = restore(str(tmp_path / "backup.db"), str(killed))
    assert kept is not None and await seqs(kept) == [1, 2] and await seqs(killed) == [1]
    with pytest.raises(StorageError, match="exists: an earlier restore kept it"):
        restore(str(tmp_path / "backup.db"), str(killed))
    assert restore(str(tmp_path / "backup.db"), str(tmp_path / "new.db")) is None
    assert await seqs(tmp_path / "new.db") == [1]


async def test_a_damaged_file_is_replaced_and_kept_with_its_log(killed: Path, tmp_path: Path) -> None:
    killed.write_bytes(os.urandom(5000))
    log = killed.with_name("app.db-wal").read_bytes()
    kept = restore(str(tmp_path / "backup.db"), str(killed))
    assert kept is not None and Path(kept + "-wal").read_bytes() == log
    assert await seqs(killed) == [1]


async def test_the_file_of_a_running_app_is_not_replaced(killed: Path, tmp_path: Path) -> None:
    async with OpenStore(str(killed)) as store:
        before = image(killed)
        with pytest.raises(DatabaseInUse) as caught:
            restore(str(tmp_path / "backup.db"), str(killed))
        assert caught.value.pid == os.getpid() and image(killed) == before
        with pytest.raises(DatabaseInUse):
            restore(str(killed), str(tmp_path / "new.db"))  # nor is it a backup
        await store.commit(batch(3, invocations=[invocation(3)]))
    assert await seqs(killed) == [1, 2, 3]
    assert names(tmp_path) == {"data", "backup.db"}


async def test_what_cannot_be_restored_leaves_the_file_as_it_is(killed: Path, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello" * 1000)
    with shell(tmp_path / "foreign.db") as connection:
        connection.execute("CREATE TABLE mine (x)")
    newer = SqliteStore(str(tmp_path / "newer.db"), migrations=(*MIGRATIONS, "CREATE TABLE more (x);"))
    await newer.open()
    await newer.close()
    content = bytearray((tmp_path / "backup.db").read_bytes())
    content[2048:] = os.urandom(len(content) - 2048)
    (tmp_path / "damaged.db").write_bytes(content)
    before = image(killed)
    for name, error in (
        ("none.db", StorageError),
        ("text.db", DatabaseForeign),
        ("foreign.db", DatabaseForeign),
        ("damaged.db", DatabaseForeign),
        ("newer.db", DatabaseTooNew),
        ("data/app.db", StorageError),  # itself
    ):
        with pytest.raises(error):
            restore(str(tmp_path / name), str(killed))
        assert image(killed) == before
    with shell(tmp_path / "theirs.db") as connection:
        connection.execute("PRAGMA application_id = 77")
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(DatabaseForeign, match="not replaced"):
        restore(str(tmp_path / "backup.db"), str(tmp_path / "theirs.db"))
    with pytest.raises(StorageError, match="does not exist"):
        restore(str(tmp_path / "backup.db"), str(tmp_path / "nowhere" / "app.db"))


async def test_a_restored_file_keeps_the_permissions_of_the_one_it_replaces(killed: Path, tmp_path: Path) -> None:
    killed.chmod(0o640)
    (tmp_path / "backup.db").chmod(0o600)
    restore(str(tmp_path / "backup.db"), str(killed))
    assert killed.stat().st_mode & 0o777 == 0o640
    backup(str(killed), str(tmp_path / "copy.db"))
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_a_dump_is_told_from_another_program_and_brought_in_order(version: int, tmp_path: Path) -> None:
    path, dumped = tmp_path / "app.db", tmp_path / "dumped.db"
    create_older(path, version)
    with shell(path) as source, shell(dumped) as target:
        source.execute("INSERT INTO object_state VALUES ('Order', 'k', 'total', '1')")
        target.executescript("\n".join(source.iterdump()))
    with pytest.raises(DatabaseForeign, match=rf"made from a dump.*actors restore {dumped} NEW\.db"):
        await SqliteStore(str(dumped)).open()
    for asks in (True, False):
        with pytest.raises(DatabaseForeign, match="made from a dump"):
            await Visitor(str(dumped)).enter(asks=asks)
    restore(str(dumped), str(tmp_path / "new.db"))
    async with OpenStore(str(tmp_path / "new.db")) as new:
        assert await new.state("Order", "k") == {"total": "1"}
        assert await new.query("PRAGMA user_version") == [(len(MIGRATIONS),)]


# --- a log beside another database ----------------------------------------------------------------------------------------


def copied_over(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def copied_over_with_its_times(path: Path, other: Path) -> None:
    shutil.copy2(other, path)


def moved_over(path: Path, other: Path) -> None:
    shutil.copy2(other, path.with_name("moving"))
    path.with_name("moving").replace(path)


def unlinked_first(path: Path, other: Path) -> None:
    path.unlink()
    shutil.copy(other, path)


Replacing = Callable[[Path, Path], None]


def closed_copy_of(path: Path) -> Path:
    """The file as it was before it was last used: not a byte of it differs while nothing was copied back."""
    older = path.parent.parent / "older.db"
    shutil.copy(path, older)
    return older


@linux_only
@pytest.mark.parametrize("replace", [copied_over, copied_over_with_its_times, moved_over, unlinked_first])
@pytest.mark.parametrize("which", ["backup", "older copy", "other"])
async def test_the_log_of_a_killed_app_does_not_undo_a_restored_file(
    replace: Replacing, which: str, killed: Path, tmp_path: Path
) -> None:
    other = {"backup": tmp_path / "backup.db", "older copy": tmp_path / "older.db", "other": tmp_path / "other.db"}[
        which
    ]
    await create(tmp_path / "other.db", batch(invocations=[invocation(9)]))
    closed_copy_of(killed)
    replace(killed, other)
    before = image(killed)
    with pytest.raises(StaleLog, match=r"To go on with .* move .*-wal away; `actors restore`"):
        await SqliteStore(str(killed)).open()
    with pytest.raises(StaleLog):
        await SqliteStore(str(killed)).open()  # and again
    for asks in (True, False):
        with pytest.raises(StaleLog):
            await Visitor(str(killed)).enter(asks=asks)
    for look in (
        lambda: take(str(killed), str(tmp_path / "snapshot.db")),
        lambda: query(str(killed), "SELECT 1", 1),
        lambda: backup(str(killed), str(tmp_path / "copy.db")),
        lambda: restore(str(killed), str(tmp_path / "copy.db")),
    ):
        with pytest.raises(StaleLog):
            look()
    assert image(killed) == before
    restore(str(other), str(killed))
    assert await seqs(killed) == {"backup": [1], "older copy": [], "other": [9]}[which]


@linux_only
async def test_a_log_beside_its_own_database_is_read_wherever_both_are_moved(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed.parent, tmp_path / "copied")
    killed.parent.rename(tmp_path / "moved")
    for folder in ("copied", "moved"):
        assert await seqs(tmp_path / folder / "app.db") == [1, 2]


@linux_only
async def test_a_note_counts_only_for_the_log_and_the_run_of_the_machine_it_was_made_in(killed: Path) -> None:
    lock = Path(f"{killed}.lock")
    noted = lock.read_text()
    assert noted.split()[1:] == note(killed.stat(), Path(f"{killed}-wal").stat()).split()
    shutil.copy(killed, killed.with_name("same"))
    killed.with_name("same").replace(killed)  # another inode
    for changed in (noted.replace(noted.split()[1], "0" * 36), noted[:64], f"{noted.split()[0]}\n"):
        lock.write_text(changed)
        await look(killed)
    lock.write_text(noted)
    with pytest.raises(StaleLog):
        await Visitor(str(killed)).enter(asks=False)
    lock.unlink()
    assert await seqs(killed) == [1, 2] and UNKNOWN == ""


@linux_only
async def test_a_log_that_others_have_copied_beside_the_app_stays_its_own(tmp_path: Path) -> None:
    """A shell copies it; the app, which has no work, notes that at its next look for requests."""
    path = tmp_path / "app.db"
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        before = Path(f"{path}.lock").read_text()
        with shell(path) as other:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")
        await store.take_requests(0)
        noted = Path(f"{path}.lock").read_text()
        assert noted != before
        assert noted.split()[1:] == note(path.stat(), Path(f"{path}-wal").stat()).split()
    assert await seqs(path) == [1]


@linux_only
@pytest.mark.may_log("has grown to")
async def test_nothing_is_noted_while_the_database_is_written(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    create_older(path, 1)
    seen: list[str] = []

    class Seen(OpenStore):
        async def _read(self, sql: str, parameters: Any = ()) -> Any:
            if "checkpoint(" in sql:
                seen.append(Path(f"{path}.lock").read_text().strip())
            return await super()._read(sql, parameters)

    async with Seen(str(path), copy_every=1) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        assert store.copying is not None
        await store.copying
        assert len(Path(f"{path}.lock").read_text().split()) == 6
    assert seen == [str(os.getpid())] * 2, "by a migration, and by a copy"
    assert Path(f"{path}.lock").read_text().split() == [str(os.getpid())], "nor when it is closed"


LITESTREAM = (
    "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
    "CREATE TABLE _litestream_lock (id INTEGER)",
    "INSERT INTO _litestream_seq VALUES (1, 1)",
)
COUNT = "UPDATE _litestream_seq SET seq = seq + 1"
COPY = "PRAGMA wal_checkpoint(PASSIVE)"
ASK = "INSERT INTO request (operation, target, asked_ms) VALUES ('kill', 'x', 1)"


@linux_only
@pytest.mark.parametrize(
    "statements",
    [[COPY], [ASK, COPY], [*LITESTREAM, COPY], [*LITESTREAM, COPY, COUNT], [*LITESTREAM, COPY, COUNT, COPY, COUNT]],
    ids=["copied", "written and copied", "with tables", "begun anew", "and again"],
)
async def test_a_log_that_others_have_copied_after_a_kill_stays_its_own(statements: list[str], killed: Path) -> None:
    """They keep the file open, so the log stays. Litestream copies it, and begins it anew by counting in a table of its own."""
    with shell(killed) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        for statement in statements:
            other.execute(statement).fetchall()
        assert Path(f"{killed}-wal").stat().st_size
        await look(killed)
        assert await seqs(killed) == [1, 2]


@linux_only
@pytest.mark.parametrize(
    "statements", [[COPY, ASK], [*LITESTREAM, COPY, ASK, COUNT], [COPY, LITESTREAM[0]], ["BEGIN", ASK, COPY]]
)
async def test_a_log_that_holds_more_than_was_copied_after_a_kill_is_refused(
    statements: list[str], killed: Path
) -> None:
    """A backup that was copied over the file looks the same."""
    with shell(killed) as reader, shell(killed) as other:
        reader.execute("SELECT * FROM meta").fetchall()
        other.execute("PRAGMA wal_autocheckpoint = 0")
        if statements[0] == "BEGIN":
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM meta").fetchall()  # what comes now cannot be copied
        for statement in statements[statements[0] == "BEGIN" :]:
            other.execute(statement).fetchall()
        with pytest.raises(StaleLog):
            await SqliteStore(str(killed)).open()
        if reader.in_transaction:
            reader.execute("COMMIT")
        other.execute(COPY).fetchall()
        assert await seqs(killed) == [1, 2]


@linux_only
async def test_a_longer_file_in_the_place_of_a_killed_one_is_refused(killed: Path) -> None:
    with shell(killed) as other:
        other.execute(COPY).fetchall()
        with killed.open("ab") as file:
            file.write(bytes(1024))
        with pytest.raises(StaleLog):
            await SqliteStore(str(killed)).open()


async def test_a_shell_that_has_recovered_the_file_leaves_it_usable(killed: Path) -> None:
    with sqlite3.connect(killed) as connection:
        assert column(connection.execute("SELECT seq FROM invocation")) == [1, 2]
    connection.close()
    assert await seqs(killed) == [1, 2]
