"""Looking at files that cannot be written, in folders that cannot be written: on media that were mounted to be read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import App, VirtualObject, handler
from actors.check import check
from actors.storage import DatabaseInUse, SqliteStore, StorageError, Visitor
from actors.storage.sqlite.backup import backup
from actors.storage.sqlite.lock import FileLock
from actors.storage.sqlite.reading import query
from tests.storage.rows import OpenStore, batch, create, invocation
from tests.storage.test_backup import run_killed

LOOK = """
import asyncio, os, sys
from actors.storage import Visitor
from actors.storage.sqlite.reading import query
from actors.storage.sqlite.snapshot import take

async def main(path, copy):
    if os.geteuid() == 0:
        os.seteuid(65534)  # permissions do not bind root
    visitor = Visitor(path)
    await visitor.enter(asks=False)
    print([row.seq for row in await visitor.listed(None, None, None, [], 99, 9)], visitor.owned())
    await visitor.close()
    print(query(path, "SELECT invocation FROM invocations ORDER BY 1", 9).rows)
    take(path, copy)

asyncio.run(main(*sys.argv[1:]))
"""


class Order(VirtualObject):
    @handler
    async def add(self) -> None: ...


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Path]:
    """A read-only file system with `closed.db`, and with `killed.db`, which has records in its log. Mounting takes root."""
    source, mounted = tmp_path / "source", tmp_path / "medium"
    source.mkdir()
    mounted.mkdir()
    run_killed(source / "killed.db", source / "closed.db")
    for found in (*source.glob("*.lock"), *source.glob("*-shm")):
        found.unlink()
    try:
        subprocess.run(["mount", "--bind", str(source), str(mounted)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(mounted)], check=True, capture_output=True)
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.parametrize(("name", "seqs"), [("closed.db", [1]), ("killed.db", [1, 2])])
async def test_files_on_a_read_only_medium_can_be_looked_at(
    name: str, seqs: list[int], medium: Path, tmp_path: Path
) -> None:
    path = medium / name
    visitor = Visitor(str(path))
    await visitor.enter(asks=False)
    assert [row.seq for row in await visitor.listed(None, None, None, [], 99, 9)] == seqs[::-1] and not visitor.owned()
    await visitor.close()
    assert query(str(path), "SELECT invocation FROM invocations ORDER BY 1", 9).rows == [(seq,) for seq in seqs]
    assert (await check(App(Order), str(path))).ok
    backup(str(path), str(tmp_path / "copy.db"))
    async with OpenStore(str(tmp_path / "copy.db")) as store:
        assert await store.query("SELECT seq FROM invocation ORDER BY 1") == [(seq,) for seq in seqs]
    for refused in (SqliteStore(str(path)).open(), Visitor(str(path)).enter(asks=True)):
        with pytest.raises(StorageError, match="permission"):
            await refused


def look(path: Path, copy: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path), str(copy)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("name", ["closed.db", "killed.db"])
async def test_files_and_folders_without_permission_to_write_can_be_looked_at(name: str, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as public:  # pytest's own are closed to other users
        folder, copies = Path(public) / "data", Path(public) / "copies"
        folder.mkdir()
        copies.mkdir()
        copies.chmod(0o777)
        Path(public).chmod(0o755)
        run_killed(folder / "killed.db", folder / "closed.db")
        for found in folder.iterdir():
            found.chmod(0o444)
        folder.chmod(0o555)
        seqs = [1] if name == "closed.db" else [1, 2]
        assert look(folder / name, copies / "copy.db") == f"{seqs[::-1]} False\n{[(seq,) for seq in seqs]}\n"
        shutil.copy(copies / "copy.db", tmp_path / "copy.db")
        async with OpenStore(str(tmp_path / "copy.db")) as store:
            assert await store.query("SELECT seq FROM invocation ORDER BY 1") == [(seq,) for seq in seqs]


async def test_readers_of_a_file_keep_its_app_out_and_not_each_other(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    await create(path, batch(invocations=[invocation(1)]))
    reader = FileLock(str(path), reader=True)
    with pytest.raises(DatabaseInUse):
        await SqliteStore(str(path)).open()
    reader.release()
    async with OpenStore(str(path)):
        with pytest.raises(DatabaseInUse):
            FileLock(str(path), reader=True)
