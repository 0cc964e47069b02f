"""The write-ahead log: copied back beside the commits, short again after a long reader, and read in pieces at a start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.storage.sqlite import checkpoints
from actors.storage.sqlite.inspection import Header, Log
from tests.storage.rows import OpenStore, batch, column, shell

needs_watch = pytest.mark.skipif(sys.platform == "win32", reason="SQLite itself copies the log there")
EVERY = 100_000  # bytes of log between two copies
BATCH = 10_000  # bytes that a batch writes, and a little more


def log_size(path: Path) -> int:
    return os.path.getsize(f"{path}-wal")


async def fill(store: OpenStore, count: int, first: int = 1) -> int:
    """Commit so many batches; how often the log was copied, or was tried to be."""
    tries = 0
    for number in range(first, first + count):
        await store.commit(batch(number, state=[("Order", "k", "note", note(number))]))
        tries += await copied(store)
    return tries


def note(number: int) -> str:
    """Another text in each of its pages: SQLite does not write a page whose content is the same."""
    return '"' + f"{number:05}" * (BATCH // 5) + '"'


async def copied(store: OpenStore) -> bool:
    """Wait for the copy that is under way, if one is."""
    task = store.copying
    if task is not None:
        await task
    return task is not None


@contextlib.contextmanager
def snapshot_of(path: Path) -> Iterator[sqlite3.Connection]:
    """A reader that keeps what it sees from being copied over: a shell that somebody has left open."""
    with shell(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM object_state").fetchone()
        yield reader


def open_store(path: Path, **options: object) -> OpenStore:
    return OpenStore(str(path), copy_every=EVERY, **options)  # type: ignore[arg-type]


@needs_watch
async def test_the_log_is_begun_anew_each_time_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with open_store(path) as store:
        tries = await fill(store, 100)
        assert 5 <= tries <= 100 * 2 * BATCH // EVERY
        assert log_size(path) < EVERY + 5 * BATCH
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as alone:
            note = alone.execute("SELECT value FROM object_state").fetchone()[0]
            assert int(note[1:6]) > 80, "most of it is in the database itself"


@needs_watch
async def test_the_log_is_short_again_when_a_long_reader_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with open_store(path) as store:
        await store.query("PRAGMA journal_size_limit = 200000")
        with snapshot_of(path) as reader:
            tries = await fill(store, 100)
            long = log_size(path)
            assert long > 100 * BATCH
            assert tries <= 4 * long // EVERY, "each try costs more the longer the log is"
            assert reader.execute("SELECT count(*) FROM object_state").fetchone() == (0,), "it sees what it saw"
        await fill(store, EVERY // BATCH + 2, first=101)
        assert log_size(path) <= 200_000
        await fill(store, 100, first=200)
        assert log_size(path) <= 200_000
    async with OpenStore(str(path)) as store:
        assert await store.query("PRAGMA integrity_check") == [("ok",)]
        assert (await store.state("Order", "k"))["note"][1:6] == "00299"


async def test_the_log_is_cut_to_twice_what_it_usually_grows_to(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        assert await store.query("PRAGMA journal_size_limit") == [(2 * checkpoints.COPY_EVERY,)]


@needs_watch
async def test_an_app_without_work_makes_the_log_short_too(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with open_store(path) as store:
        await store.query("PRAGMA journal_size_limit = 200000")
        with snapshot_of(path):
            await fill(store, 50)
            looks = [await look(store) for _ in range(2 * checkpoints.LOOKS_BETWEEN_TRIES)]
            assert sum(looks) == 2, "a few of the looks for requests try again"
            assert log_size(path) > 50 * BATCH
        for _ in range(checkpoints.LOOKS_BETWEEN_TRIES):
            await look(store)
        assert log_size(path) <= 200_000
        assert not any([await look(store) for _ in range(2 * checkpoints.LOOKS_BETWEEN_TRIES)]), "then it is done"


async def look(store: OpenStore) -> bool:
    await store.take_requests(0)
    return await copied(store)


@needs_watch
async def test_commits_and_reads_go_on_while_the_log_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with open_store(path) as store:
        seen = 0
        for number in range(1, 200):
            await store.commit(batch(number, state=[("Order", "k", "note", f'"{number:05}{"x" * BATCH}"')]))
            state = await store.state("Order", "k")
            assert int(state["note"][1:6]) == number
            seen += store.copying is not None
        assert seen > 2
        await copied(store)
        assert log_size(path) < 4 * EVERY
        assert await store.query("PRAGMA integrity_check") == [("ok",)]


class SlowDisk(OpenStore):
    """More is committed while its log is copied, less each time. `copies` are how much commits gave way, and how long the log was."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), copy_every=EVERY)
        self.copies: list[tuple[float, int]] = []
        self.meanwhile = 0
        self.number = 1000
        self._loop = asyncio.get_running_loop()

    def _copy_beside(self) -> int | None:
        assert self._writer is not None and self._watch is not None
        self.copies.append((self._writer.gives_way, self._watch.log_bytes))
        with snapshot_of(Path(self.path)):  # so that it is not begun anew, as it is not while commits come all the time
            copied = super()._copy_beside()
            if copied is not None:
                asyncio.run_coroutine_threadsafe(self._commit_more(), self._loop).result()
        return copied

    async def _commit_more(self) -> None:
        for _ in range(self.meanwhile):
            self.number += 1
            await self.commit(batch(self.number, state=[("Order", "k", "note", note(self.number))]))
        self.meanwhile //= 4


@needs_watch
async def test_commits_give_way_while_a_log_that_a_reader_left_long_is_copied(tmp_path: Path) -> None:
    async with SlowDisk(tmp_path / "app.db") as store:
        with snapshot_of(tmp_path / "app.db"):
            await fill(store, 100)
        long, store.copies, store.meanwhile = store.copies, [], 32
        assert not any(way for way, length in long if length <= checkpoints.LONG_LOG * EVERY)
        await fill(store, 10, first=200)
        ways = [way for way, length in store.copies if length > checkpoints.LONG_LOG * EVERY]
        assert len(ways) >= 3, "what came meanwhile is copied beside the commits too, until it is little"
        assert set(ways) == {checkpoints.GIVE_WAY}
        assert store._writer is not None and store._writer.gives_way == 0.0
        store.copies.clear()
        assert await fill(store, 40, first=300) and store.copies
        assert {way for way, _ in store.copies} == {0.0}, "a log of the usual length slows nothing down"


@needs_watch
@pytest.mark.expects_log("Commits are slowed down until that transaction ends.")
async def test_a_log_that_a_reader_makes_huge_is_reported_and_grows_more_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "app.db"
    async with OpenStore(str(path), copy_every=20_000) as store:
        assert store._writer is not None
        with snapshot_of(path):
            await fill(store, 40)
            assert store._writer.gives_way == 0.0
            await fill(store, 60, first=100)
            assert log_size(path) > checkpoints.HUGE_LOG * 20_000
            assert store._writer.gives_way == checkpoints.GIVE_WAY
        await fill(store, 3, first=200)
        assert store._writer.gives_way == 0.0
    assert caplog.text.count("slowed down") == 1


@needs_watch
async def test_the_log_is_copied_while_all_threads_of_the_loop_are_busy(tmp_path: Path) -> None:
    path, over = tmp_path / "app.db", threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, over.wait, 60)
    async with open_store(path) as store:
        assert await fill(store, 30) > 0
        assert log_size(path) < EVERY + 5 * BATCH
    over.set()
    assert await busy


@needs_watch
async def test_a_store_that_is_closed_while_it_copies_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with open_store(path) as store:
        number = 0
        while store.copying is None:
            number += 1
            await store.commit(batch(number, state=[("Order", "k", "note", f'"{number}{"x" * BATCH}"')]))
    assert not os.path.exists(f"{path}-wal")
    with shell(path) as connection:
        assert column(connection.execute("PRAGMA integrity_check")) == ["ok"]


@needs_watch
async def test_a_start_on_a_long_log_copies_nothing_before_it_has_begun(tmp_path: Path) -> None:
    path, killed = tmp_path / "app.db", tmp_path / "killed.db"
    async with OpenStore(str(path)) as store:
        with snapshot_of(path):
            for number in range(1, 21):  # more than SQLite itself would leave
                await store.commit(batch(number, state=[("Order", "k", "note", '"' + f"{number:05}" * 200_000 + '"')]))
            for suffix in ("", "-wal"):
                Path(f"{killed}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    before = killed.read_bytes()
    async with OpenStore(str(killed)) as store:
        assert killed.read_bytes() == before
        await store.commit(batch(21, state=[("Order", "k", "note", '"21"')]))
        assert await copied(store)
        assert killed.read_bytes() != before and (await store.state("Order", "k"))["note"] == '"21"'


# --- the inspection of a log ----------------------------------------------------------------------------------------------


def frame_by_frame(content: bytes) -> tuple[bool, set[int], Header | None]:
    """What a log holds, by the letter of the format: whether anything is committed, which pages, the newest header."""
    committed, pages, header, newest = False, set[int](), None, None
    page_size, salts, position = int.from_bytes(content[8:12], "big"), content[16:24], 32
    while position + 24 + page_size <= len(content) and content[position + 8 : position + 16] == salts:
        page = int.from_bytes(content[position : position + 4], "big")
        pages.add(page)
        if page == 1:
            newest = Header.parsed(content[position + 24 : position + 124])
        if any(content[position + 4 : position + 8]):
            committed = True
            header = newest or header
        position += 24 + page_size
    return committed, pages, header


def random_log(rng: random.Random, page_size: int) -> bytes:
    """Frames of few pages, transactions of few frames, with what was left from before the log was begun anew."""
    salts, stale = rng.randbytes(8), rng.randbytes(8)
    content = bytearray(
        (0x377F0682).to_bytes(4, "big") + bytes(4) + page_size.to_bytes(4, "big") + bytes(4) + salts + bytes(8)
    )
    whole = rng.choice([0, 1, 2, rng.randrange(40), rng.randrange(3000)])
    often = rng.choice([1, 2, 50, 5000])  # frames of a transaction
    many = rng.choice([1, 3, 257, 70_000])  # pages
    for number in range(whole + rng.randrange(30)):
        page = rng.randint(1, many)
        is_last = rng.randrange(often) == 0
        content += page.to_bytes(4, "big") + (rng.randint(1, 2**31) if is_last else 0).to_bytes(4, "big")
        content += (salts if number < whole else stale) + bytes(8)
        header = b"SQLite format 3\0" + page_size.to_bytes(2, "big") + bytes(10) + rng.randbytes(72)
        content += (header if page == 1 else b"").ljust(page_size, b"\1")
    return bytes(content[: len(content) - rng.choice([0, 0, 1, 30, 600])])


@pytest.mark.parametrize("seed", range(60))
def test_a_log_is_read_in_pieces_as_if_it_were_read_frame_by_frame(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    content = random_log(rng, rng.choice([512, 1024, 4096]))
    (tmp_path / "app.db-wal").write_bytes(content)
    log = Log(str(tmp_path / "app.db-wal"))
    assert (log.committed, log.pages(), log.header) == frame_by_frame(content)


def test_a_missing_or_foreign_log_holds_nothing(tmp_path: Path) -> None:
    for content in (None, b"", b"short", bytes(5000), b"hello, this is no log " * 500):
        if content is not None:
            (tmp_path / "app.db-wal").write_bytes(content)
        log = Log(str(tmp_path / "app.db-wal"))
        assert (log.committed, log.pages(), log.header) == (False, set(), None)
