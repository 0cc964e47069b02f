"""A commit that returned is on disk: the settings that make it so, and a disk that loses power to prove it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from actors.storage import Batch
from tests.storage.rows import OpenStore, batch, entry, invocation
from tests.storage.volatile_disk import VolatileDisk, VolatileStore

BATCHES = 25


async def test_every_commit_is_synced_and_readers_do_not_block_it(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        assert await store.query("PRAGMA synchronous") == [(2,)]  # FULL
        assert await store.query("PRAGMA journal_mode") == [("wal",)]
        assert await store.query("PRAGMA busy_timeout") == [(5000,)]
        assert await store.query("PRAGMA page_size") == [(1024,)]
        assert await store.query("PRAGMA temp_store") == [(2,)]  # memory


def numbered(number: int, rng: Random) -> Batch:
    """A batch that can be told from the rows it leaves: it counts up, makes the file grow, and frees pages too."""
    return batch(
        number,
        invocations=[invocation(number)],
        journal=[entry(number, 1, value="x" * rng.choice([10, 3000, 9000]))],
        state=[("Order", "k", "n", str(number)), ("Order", f"k{number}", "big", "y" * rng.choice([10, 5000]))],
        cleared=[("Order", f"k{number - 3}", "big"), ("Order", f"k{number - 4}", "big")],
        timers=[(number, number, number, -1)],
        fired=[(number - 2, number - 2)],
    )


Moment = tuple[Path, int]  # a folder with what was left, and the last batch acknowledged by then


def moments(folder: Path, seed: int, every: int, unplugged: bool, synchronous: str = "FULL") -> list[Moment]:
    """Run a store, and every few operations of its disk keep what would be left if that were its last moment."""
    rng, found = Random(seed), list[Moment]()

    def look(count: int) -> None:
        if count < 40 or count % every == seed % every:  # its creation is the delicate part
            image = folder / str(count)
            image.mkdir()
            if unplugged:
                disk.unplugged(image, rng)
            else:
                disk.killed(image)
            found.append((image, len(store.acknowledged)))

    async def run() -> None:
        await store.open()
        for number in range(1, BATCHES + 1):
            await store.commit(numbered(number, rng))
        await store.close()

    disk = VolatileDisk(look)
    store = VolatileStore(disk, synchronous)
    asyncio.run(run())
    disk.unregister()
    return found


async def survivors(folder: Path) -> list[int]:
    """The batches found by a start on the files in `folder`, after checking that each is whole."""
    async with OpenStore(str(folder / "app.db"), synchronous="OFF") as store:
        assert await store.query("PRAGMA integrity_check") == [("ok",)]
        numbers = [number for (number,) in await store.query("SELECT seq FROM invocation ORDER BY seq")]
        last = numbers[-1:]
        assert await store.query("SELECT invocation FROM journal_entry ORDER BY 1") == [(n,) for n in numbers]
        assert await store.query("SELECT CAST(value AS INT) FROM object_state WHERE key = 'k'") == [(n,) for n in last]
        assert await store.query("SELECT seq FROM timer ORDER BY 1") == [(n,) for n in numbers[-2:]]
    return numbers


def check(folder: Path, acknowledged: int) -> None:
    found = asyncio.run(survivors(folder))
    assert found == list(range(1, len(found) + 1))
    assert acknowledged <= len(found) <= acknowledged + 1


@pytest.mark.parametrize("seed", range(2))
def test_a_process_killed_at_any_write_leaves_every_acknowledged_batch_and_no_half_one(
    seed: int, tmp_path: Path
) -> None:
    images = moments(tmp_path, seed, every=5, unplugged=False)
    sizes = {(folder / "app.db").stat().st_size for folder, _ in images}
    assert len(sizes) > 5, "the log was copied into the file several times"
    for folder, acknowledged in images:
        check(folder, acknowledged)


@pytest.mark.parametrize("seed", range(2))
def test_a_power_failure_at_any_moment_loses_no_acknowledged_batch_and_leaves_no_half_one(
    seed: int, tmp_path: Path
) -> None:
    for folder, acknowledged in moments(tmp_path, seed, every=5, unplugged=True):
        check(folder, acknowledged)


def test_this_disk_would_show_a_commit_that_is_not_synced(tmp_path: Path) -> None:
    """With synchronous = NORMAL acknowledged batches are lost: the test above can fail."""
    images = moments(tmp_path, 0, every=5, unplugged=True, synchronous="NORMAL")
    assert any(len(asyncio.run(survivors(folder))) < acknowledged for folder, acknowledged in images)
