"""The simulated store keeps the promise of the real one: what is asked for takes effect in that order."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors import Limits, VirtualObject, handler
from actors.errors import OutcomePending
from actors.storage import Batch, StorageError
from actors.storage.sqlite.store import SqliteStore
from actors.testing import Disk, SimulatedCrash, SimulatedStore
from tests.world import World

SEEDS = range(40)


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[int | None], SimulatedStore]]:
    """Makes a store, not yet opened, on a disk of its own."""
    disks: list[Disk] = []

    def make(seed: int | None) -> SimulatedStore:
        disks.append(Disk())
        return disks[-1].store(None if seed is None else Random(seed))

    yield make
    for disk in disks:
        disk.close()


Make = Callable[[int | None], SimulatedStore]


def written(number: int) -> Batch:
    return Batch(number, state=[("Order", "k", "n", str(number))])


async def read(store: SimulatedStore) -> str | None:
    (record,) = await store.load_objects([("Order", "k")])
    return record.state.get("n")


@pytest.mark.parametrize("seed", [None, *SEEDS])
async def test_operations_take_effect_in_the_order_they_were_asked_for(opened: Make, seed: int | None) -> None:
    store = opened(seed)
    await store.open()
    rng = Random(seed)
    reads: list[tuple[asyncio.Task[str | None], int]] = []
    commits: list[asyncio.Task[None]] = []
    for _ in range(30):
        if rng.random() < 0.5:
            commits.append(asyncio.ensure_future(store.commit(written(len(commits) + 1))))
        else:
            reads.append((asyncio.ensure_future(read(store)), len(commits)))
        for _ in range(rng.randint(0, 3)):
            await asyncio.sleep(0)
    found = [int(await task or 0) for task, _ in reads]
    await asyncio.gather(*commits)
    assert found == [asked for _, asked in reads]
    await store.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_closing_waits_for_what_was_asked_for_before(opened: Make, seed: int) -> None:
    store = opened(seed)
    await store.open()
    commits = [asyncio.ensure_future(store.commit(written(number))) for number in (1, 2)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*commits)
    with pytest.raises(StorageError, match="closed"):
        await read(store)
    assert store._disk.query("SELECT value FROM object_state") == [("2",)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("before", [False, True])
async def test_a_crash_at_a_commit_loses_all_that_was_asked_for_after_it(opened: Make, seed: int, before: bool) -> None:
    store = opened(seed)
    await store.open()
    store.crash_at_commit(2, written=before)
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(store.commit(written(n))) for n in (1, 2, 3)]
    tasks.append(asyncio.ensure_future(read(store)))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, SimulatedCrash) for outcome in outcomes[1:])
    assert store.crashed
    assert store._disk.commits == 1 + before
    assert store._disk.query("SELECT value FROM object_state") == [(str(1 + before),)]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_crash_loses_what_was_not_written_and_all_answers_under_way(opened: Make, seed: int) -> None:
    store = opened(seed)
    await store.open()
    await store.commit(written(1))
    tasks = [asyncio.ensure_future(read(store)), asyncio.ensure_future(store.commit(written(2)))]
    store.crash()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, SimulatedCrash) for outcome in outcomes)
    assert store._disk.query("SELECT value FROM object_state") == [("1",)]


async def test_answers_still_come_late_and_not_all_at_the_same_time(opened: Make) -> None:
    turns = set()
    for seed in SEEDS:
        store = opened(seed)
        await store.open()
        task = asyncio.ensure_future(read(store))
        count = 0
        while not task.done():
            count += 1
            await asyncio.sleep(0)
        turns.add(count)
        await store.close()
    assert len(turns) >= 4


class Sum(VirtualObject):
    total: int = 0

    @handler
    async def put(self, x: int) -> int:
        self.total += x
        return self.total


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_object_that_leaves_memory_and_comes_back_finds_its_last_state(seed: int) -> None:
    rng = Random(seed)
    world = World(Sum, limits=Limits(max_objects=1))
    world.rng = Random(seed)
    async with world:
        tasks = []
        for number in range(30):
            tasks.append(asyncio.ensure_future(world.app.object(Sum, "abc"[number % 3]).put(1)))
            for _ in range(rng.randint(0, 5)):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert [await world.app.object(Sum, key).put(0) for key in "abc"] == [10] * 3


async def test_a_crash_ends_commits_that_are_held() -> None:
    async with World(Sum) as world:
        world.store.hold_commits()
        call = asyncio.ensure_future(world.app.object(Sum, "a").put(1))
        await world.settle()
        await asyncio.wait_for(world.restart(), 5)
        with pytest.raises(OutcomePending):
            await call
        assert world.statuses() == []


async def test_a_disk_with_the_image_of_another_goes_on_from_it() -> None:
    first, second = Disk(), None
    store = first.store()
    await store.open()
    await store.commit(written(1))
    try:
        second = Disk(first.image())
        assert second.query("SELECT value FROM state") == [("1",)]
        other = second.store()
        await other.open()
        await other.commit(written(2))
        assert (first.query("SELECT value FROM state"), second.query("SELECT value FROM state")) == ([("1",)], [("2",)])
    finally:
        first.close()
        if second is not None:
            second.close()


async def test_ids_of_two_files_differ() -> None:
    secrets = set()
    for _ in range(2):
        disk = Disk()
        secrets.add((await disk.store().open()).secret)
        disk.close()
    assert len(secrets) == 2


async def test_a_new_disk_is_what_a_store_makes_of_an_empty_file(tmp_path: Path) -> None:
    made = SqliteStore(str(tmp_path / "app.db"))
    await made.open()
    disk = Disk(secret=bytes(range(32)))
    assert (await disk.store().open()).secret == bytes(range(32))
    with contextlib.closing(sqlite3.connect(tmp_path / "app.db")) as file:
        for sql in (
            "SELECT type, name, sql FROM sqlite_schema ORDER BY name",
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT name, value FROM meta WHERE name != 'secret' ORDER BY name",
        ):
            assert disk.query(sql) == file.execute(sql).fetchall()
    disk.close()
    await made.close()
