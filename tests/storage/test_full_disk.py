"""A full disk: a clear error, nothing half-written, and the same file goes on once there is space."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.storage import Batch, SqliteStore, StorageError, StorageFull
from tests.storage.rows import OpenStore, batch, column, create, invocation, shell


def big(number: int) -> Batch:
    return batch(number, invocations=[invocation(number)], state=[("Order", f"k{number}", "note", "x" * 20_000)])


async def fill(store: SqliteStore) -> int:
    """Commit until the disk is full; the number of the last batch that got through."""
    for number in range(1, 1000):
        try:
            await store.commit(big(number))
        except StorageFull:
            return number - 1
    raise AssertionError("the disk never got full")


async def check_whole(store: OpenStore, last: int) -> None:
    assert column(await store.query("SELECT seq FROM invocation ORDER BY seq")) == list(range(1, last + 1))
    assert await store.query("SELECT count(*) FROM object_state") == [(last,)]
    assert await store.query("PRAGMA integrity_check") == [("ok",)]


async def test_a_batch_that_does_not_fit_is_refused_as_a_whole_and_the_next_one_that_fits_is_not(
    tmp_path: Path,
) -> None:
    """A limit on the pages of the file: what SQLite then does is what it does on a full disk."""
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.query("PRAGMA max_page_count = 400")
        last = await fill(store)
        assert last > 5
        with pytest.raises(StorageFull, match=r"app\.db is full.*Free space"):
            await store.commit(big(last + 1))
        await check_whole(store, last)
        await store.query("PRAGMA max_page_count = 100000")
        await store.commit(big(last + 1))
        await check_whole(store, last + 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte. Mounting one takes root on Linux."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def use_up(ballast: Path, left: int = 0) -> None:
    """Write to this file until its disk is full, but for `left` bytes."""
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, ballast.stat().st_size - left)


async def test_a_store_on_a_full_disk_keeps_what_it_acknowledged_and_goes_on_when_there_is_space(
    small_disk: Path,
) -> None:
    path = small_disk / "app.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))  # once gone, there is room for the log and for its copy in the file
    async with OpenStore(str(path)) as store:
        last = await fill(store)
        await check_whole(store, last)
    ballast.unlink()
    async with OpenStore(str(path)) as store:
        await check_whole(store, last)
        await store.commit(big(last + 1))
    async with OpenStore(str(path)) as store:
        await check_whole(store, last + 1)


@pytest.mark.parametrize("left", [0, 4096, 3 * 4096, 8 * 4096, 12 * 4096])
async def test_opening_on_a_full_disk_says_so_and_works_later(left: int, small_disk: Path) -> None:
    path = small_disk / "app.db"
    ballast = small_disk / "ballast"
    use_up(ballast, left)
    with pytest.raises(StorageFull, match="Free space"):
        await SqliteStore(str(path)).open()
    ballast.unlink()
    async with OpenStore(str(path)) as store:
        assert store.opened.epoch == 1
        await store.commit(big(1))
        await check_whole(store, 1)


async def test_an_existing_database_on_a_full_disk_is_left_as_it_is(small_disk: Path) -> None:
    path = small_disk / "app.db"
    await create(path, big(1))
    before = path.read_bytes()
    ballast = small_disk / "ballast"
    use_up(ballast)
    with pytest.raises(StorageFull):
        await SqliteStore(str(path)).open()
    assert path.read_bytes() == before
    ballast.unlink()
    async with OpenStore(str(path)) as store:
        await check_whole(store, 1)


LIMITED = """
import asyncio, resource, signal, sys
from actors.storage import Batch, SqliteStore, StorageError

async def main() -> None:
    store = SqliteStore(sys.argv[1])
    await store.open()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        for number in range(1, 1000):
            await store.commit(Batch(number, state=[("Order", f"k{number}", "note", "x" * 20_000)]))
    except StorageError as error:
        print(number - 1, type(error).__name__, error)
    await store.close()

asyncio.run(main())
"""


def test_a_limit_on_the_size_of_files_stops_the_store_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    acknowledged = int(done.stdout.split()[0])
    assert acknowledged > 2 and "Start the app again" in done.stdout
    with shell(path) as connection:
        assert column(connection.execute("SELECT count(*) FROM object_state")) == [acknowledged]
        assert column(connection.execute("PRAGMA integrity_check")) == ["ok"]


def test_a_full_disk_is_a_storage_error_with_a_code_of_its_own() -> None:
    assert issubclass(StorageFull, StorageError)
    assert StorageFull.error == "storage_full"
