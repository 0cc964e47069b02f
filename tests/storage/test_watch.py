"""The files of a running app: what is acknowledged is in the files that lie at the path, whatever is done to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors import App, VirtualObject, handler
from actors.check import check
from actors.errors import AppNotRunning, OutcomePending
from actors.storage import (
    DatabaseInUse,
    DatabaseReplaced,
    OwnershipLost,
    SqliteStore,
    StorageError,
    Visitor,
)
from actors.storage.sqlite import range_locks
from actors.storage.sqlite.lock import held
from tests.storage.rows import OpenStore, batch, column, create, image, invocation, shell

needs_watch = pytest.mark.skipif(sys.platform == "win32", reason="open files can neither be deleted nor replaced")
needs_range_locks = pytest.mark.skipif(not range_locks.AVAILABLE, reason="the log is watched here, but not kept")

# --- what this process does beside the app ------------------------------------------------------------------------------

# It commits, does something to the file, lets another process look at it and close it as the last one, commits, and dies.
CARELESS = """
import asyncio, hashlib, os, shutil, signal, subprocess, sys
import apsw
from tests.storage.rows import OpenStore, batch, invocation

LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM meta').fetchall(); c.close()"

def reads(path):
    with open(path, "rb") as file:
        file.read(100)

def copies(path):
    shutil.copy(path, path + ".copy")

def copies_folder(path):
    shutil.copytree(os.path.dirname(path), os.path.dirname(path) + ".copy", dirs_exist_ok=True)

def computes_checksum(path):
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")

def looks_with_another_sqlite(path):
    connection = apsw.Connection(path)
    connection.execute("SELECT * FROM meta").fetchall()
    connection.close()

async def main(path, careless):
    store = OpenStore(path)
    await store.open()
    for number in range(1, 6):
        await store.commit(batch(number, invocations=[invocation(number)]))
        if number % 2:
            careless(path)
        subprocess.run([sys.executable, "-c", LOOK, path], check=True)
    print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], globals()[sys.argv[2]]))
"""


def run_careless(path: Path, careless: str) -> tuple[bytes, int]:
    command = [sys.executable, "-c", CARELESS, str(path), careless]
    process = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, timeout=60, check=False)
    return process.stdout, process.returncode


@needs_range_locks
@pytest.mark.parametrize(
    "careless", ["reads", "copies", "copies_folder", "computes_checksum", "looks_with_another_sqlite"]
)
async def test_the_log_outlives_a_process_that_opens_its_own_file(careless: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / "app.db"
    path.parent.mkdir()
    assert run_careless(path, careless) == (b"5\n", -signal.SIGKILL)
    async with OpenStore(str(path)) as store:
        assert column(await store.query("SELECT seq FROM invocation ORDER BY seq")) == [1, 2, 3, 4, 5]
        assert await store.query("PRAGMA integrity_check") == [("ok",)]


opened: list[str] = []
_listening = False


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _listening and event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


sys.addaudithook(_hear)


@contextlib.contextmanager
def opened_by_us() -> Iterator[list[str]]:
    """The paths that Python opens meanwhile. What SQLite opens is not among them, and closed by it when that does no harm."""
    global _listening
    opened.clear()
    _listening = True
    try:
        yield opened
    finally:
        _listening = False


class Counter(VirtualObject):
    n: int = 0

    @handler
    async def add(self) -> int:
        self.n += 1
        return self.n


async def test_our_own_code_opens_no_file_that_this_process_owns(storage: str, tmp_path: Path) -> None:
    path, link = tmp_path / "app.db", tmp_path / "link.db"
    async with App(Counter, storage=storage) as app:
        await app.object(Counter, "a").add()
        link.symlink_to(path)
        with opened_by_us() as paths:
            for name in (path, link):
                with pytest.raises(DatabaseInUse):
                    await check(app, str(name))
                with pytest.raises(DatabaseInUse):
                    await App(Counter, storage=f"sqlite:///{name}").start()
                for asks in (True, False):
                    visitor = Visitor(str(name))
                    await visitor.enter(asks=asks)
                    assert visitor.owned()
                    await visitor.close()
            assert held(str(path))
        assert not {path, link} & {Path(name) for name in paths}
        assert await app.object(Counter, "a").add() == 2


# --- what others do to the files ----------------------------------------------------------------------------------------


def delete_log(path: Path) -> None:
    path.with_name("app.db-wal").unlink()


def delete_all(path: Path) -> None:
    for found in path.parent.glob("app.db*"):
        found.unlink()


def replace_log(path: Path) -> None:
    shutil.copy(path.with_name("app.db-wal"), path.with_name("copy"))
    path.with_name("copy").replace(path.with_name("app.db-wal"))


def delete_database(path: Path) -> None:
    path.unlink()


def rename_database(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace_database(path: Path) -> None:
    shutil.copy(path.parent.parent / "backup.db", path.with_name("copy"))
    path.with_name("copy").replace(path)


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def restore_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    shutil.copytree(path.parent.with_name("restored"), path.parent)


def overwrite_database(path: Path) -> None:
    shutil.copy(path.parent.parent / "backup.db", path)


def overwrite_all(path: Path) -> None:
    shutil.copytree(path.parent.with_name("restored"), path.parent, dirs_exist_ok=True)


def cut_log(path: Path) -> None:
    os.truncate(path.with_name("app.db-wal"), 0)


def overwrite_log(path: Path) -> None:
    shutil.copy(path.parent.with_name("restored") / "app.db-wal", path.with_name("app.db-wal"))


KEEPS = [
    delete_log,
    replace_log,
    rename_database,
    replace_database,
    rename_folder,
    restore_folder,
    delete_database,
    delete_all,
]
LOSES = [overwrite_database, overwrite_all, cut_log, overwrite_log]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Of an app that is to be. Beside its folder lie a backup, and the folder `restored` of an app that was killed."""
    await create(
        tmp_path / "backup.db", *(batch(n, state=[("Old", f"k{n}", "s", '"' + "o" * 9000 + '"')]) for n in (1, 2))
    )
    (tmp_path / "restored").mkdir()
    async with OpenStore(str(tmp_path / "killed.db")) as store:
        await store.commit(batch(invocations=[invocation(77)]))
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"killed.db{suffix}", tmp_path / "restored" / f"app.db{suffix}")
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "app.db"


async def commit_until_refused(store: SqliteStore, first: int) -> DatabaseReplaced:
    with pytest.raises(
        DatabaseReplaced, match=r"was running.*start the app again|was running.*start the app"
    ) as caught:
        await store.commit(batch(first, invocations=[invocation(first)]))
    with pytest.raises(DatabaseReplaced):
        await store.commit(batch(first + 1))
    with pytest.raises(DatabaseReplaced):
        await store.load_objects([("Order", "k")])
    return caught.value


@needs_watch
@pytest.mark.parametrize("harm", [*KEEPS, *LOSES])
async def test_nothing_is_acknowledged_once_the_files_are_others(harm: Callable[[Path], None], path: Path) -> None:
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        harm(path)
        error = await commit_until_refused(store, 2)
        assert error.error == "database_replaced" and isinstance(error, OwnershipLost)
        assert str(path.parent) in str(error)


@needs_watch
async def test_a_copy_of_an_earlier_run_is_told_although_its_header_is_the_same(path: Path, tmp_path: Path) -> None:
    for n in (1, 2):
        async with OpenStore(str(path)) as store:
            await store.commit(batch(n, state=[("Order", "k", "n", str(n))]))
        shutil.copy(path, tmp_path / f"{n}.db")
    headers = [(tmp_path / f"{n}.db").read_bytes()[:100] for n in (1, 2)]
    assert headers[0] == headers[1]
    async with OpenStore(str(path)) as store:
        await store.commit(batch(3, state=[("Order", "k", "n", "3")]))
        shutil.copy(tmp_path / "1.db", path)
        await commit_until_refused(store, 4)


@needs_watch
async def test_a_database_that_others_have_made_longer_is_told(path: Path) -> None:
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        os.truncate(path, path.stat().st_size + 4096)
        await commit_until_refused(store, 2)


@needs_watch
async def test_a_copy_made_since_the_app_started_goes_unnoticed_if_no_page_has_been_added(
    path: Path, tmp_path: Path
) -> None:
    """To notice it the whole file would have to be read. The page of limits says so."""
    async with OpenStore(str(path)) as store:
        for n in (1, 2):
            await store.commit(batch(n, state=[("Order", "k", "n", str(n))]))
            with shell(path) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            store.verify()
            shutil.copy(path, tmp_path / f"{n}.db")
        assert (tmp_path / "1.db").read_bytes() != path.read_bytes()
        shutil.copy(tmp_path / "1.db", path)
        await store.commit(batch(3, timers=[(3, 3, 3, -1)]))
        store.verify()


@needs_watch
@pytest.mark.parametrize("harm", KEEPS)
async def test_what_was_acknowledged_is_in_the_database_that_was_open(
    harm: Callable[[Path], None], path: Path, tmp_path: Path
) -> None:
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        path.with_name("kept.db").hardlink_to(path)
        harm(path)
        await commit_until_refused(store, 2)
    (kept,) = tmp_path.glob("*/kept.db")
    kept.rename(tmp_path / "kept.db")
    async with OpenStore(str(tmp_path / "kept.db")) as store:
        assert await store.invocation(1) == invocation(1)
        assert await store.query("PRAGMA integrity_check") == [("ok",)]


@needs_range_locks
@pytest.mark.parametrize("harm", [replace_database, restore_folder, overwrite_all, overwrite_database])
async def test_what_was_put_in_the_place_of_the_file_is_left_alone(harm: Callable[[Path], None], path: Path) -> None:
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        harm(path)
        before = path.read_bytes()
        log = path.with_name("app.db-wal").read_bytes()
        await commit_until_refused(store, 2)
    assert path.read_bytes() == before
    if harm is restore_folder:
        assert path.with_name("app.db-wal").read_bytes() == log
        async with OpenStore(str(path)) as restored:
            assert await restored.invocation(77) == invocation(77)


@needs_watch
async def test_other_processes_may_write_and_copy_the_log_back(path: Path) -> None:
    """A shell that writes, copies the log into the database and has it begun anew, and one that only touches the file."""
    async with OpenStore(str(path)) as store:
        for number in range(1, 40):
            await store.commit(
                batch(number, invocations=[invocation(number)], state=[("Order", "k", "n", str(number))])
            )
            if number % 3:
                with shell(path) as connection:
                    connection.execute("INSERT INTO request (operation, target, asked_ms) VALUES ('kill', 'x', 1)")
                    if number % 3 == 1:
                        connection.execute(f"PRAGMA wal_checkpoint({['PASSIVE', 'FULL', 'TRUNCATE'][number % 9 // 3]})")
            else:
                os.utime(path)
        assert len(await store.query("SELECT seq FROM invocation")) == 39


async def test_a_closed_app_leaves_no_log_and_a_file_that_can_be_replaced(path: Path, tmp_path: Path) -> None:
    await create(path, batch(invocations=[invocation(1)]))
    assert set(image(path)) == {"app.db"}
    shutil.copy(tmp_path / "backup.db", path)
    async with OpenStore(str(path)) as store:
        assert await store.invocation(1) is None


@needs_watch
@pytest.mark.parametrize("harm", [*KEEPS, *LOSES])
async def test_an_app_stops_before_it_answers_for_a_file_that_is_gone(
    harm: Callable[[Path], None], path: Path, expect_log: Callable[[str], None]
) -> None:
    expect_log("The app has stopped")
    app = App(Counter, storage=f"sqlite:///{path}", poll=0)
    await app.start()
    try:
        assert await app.object(Counter, "a").add() == 1
        harm(path)
        with pytest.raises(OutcomePending) as caught:
            await app.object(Counter, "a").add()
        assert isinstance(caught.value.__cause__, DatabaseReplaced)
        with pytest.raises((StorageError, AppNotRunning)):
            await app.object(Counter, "a").add()
    finally:
        with contextlib.suppress(StorageError):
            await app.close()


@needs_watch
async def test_a_look_at_the_log_leaves_the_time_of_its_last_reading_alone(path: Path) -> None:
    """Reading it would change that, and the next commit would have to write it."""
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        long_ago = 1_000_000_000 * 10**9
        for name in (f"{path}-wal", f"{path}-shm"):
            os.utime(name, ns=(long_ago, os.stat(name).st_mtime_ns))
        store.verify()
        assert [os.stat(f"{path}{suffix}").st_atime_ns for suffix in ("-wal", "-shm")] == [long_ago, long_ago]


@contextlib.contextmanager
def after_the_first_read(does: Callable[[], object]) -> Iterator[None]:
    """Another program acts between the first read of a look and the next."""
    read: list[None] = []

    def seen(frame: object, event: str, argument: object) -> None:
        if event == "c_return" and argument is os.pread and not read:
            read.append(None)
            does()

    sys.setprofile(seen)
    try:
        yield
    finally:
        sys.setprofile(None)
    assert read


@needs_watch
async def test_a_log_that_is_begun_anew_between_two_reads_of_a_look_is_not_reported(path: Path) -> None:
    """As a program does that copies the log and writes to it, such as Litestream."""
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        with shell(path) as other:

            def writes() -> None:
                other.execute("INSERT INTO request (operation, target, asked_ms) VALUES ('kill', 'x', 1)")

            def cuts() -> None:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")

            for does in (writes, cuts):
                other.execute("PRAGMA wal_checkpoint(PASSIVE)")
                with after_the_first_read(does):
                    store.verify()
                await store.commit(batch(store.opened.epoch + 1))


@needs_watch
async def test_a_log_that_is_overwritten_between_two_reads_of_a_look_is_reported(path: Path) -> None:
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=[invocation(1)]))
        with after_the_first_read(lambda: cut_log(path)), pytest.raises(DatabaseReplaced):
            store.verify()
