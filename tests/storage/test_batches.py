"""A batch is written as a whole, in order, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.storage import Batch, Status, StorageError
from actors.storage.database import WriterConnection
from actors.storage.schema import steps
from tests.storage.rows import OpenStore, batch, column, create, entry, invocation, shell

TABLES = ("invocation", "journal_entry", "object_state", "timer", "meta")


def contents(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 255, 5000])
async def test_a_batch_of_any_size_is_written_completely_and_in_order(size: int, tmp_path: Path) -> None:
    rows = [invocation(n, key=f"k{n}") for n in range(size)]
    entries = [entry(n // 3, n % 3, value=f"v{n}") for n in range(size)]
    state = [("Order", f"k{n}", "total", str(n)) for n in range(size)]
    timers = [(n, n, n, -1) for n in range(size)]
    async with OpenStore(str(tmp_path / "app.db"), synchronous="OFF") as store:
        await store.commit(batch(invocations=rows, journal=entries, state=state, timers=timers))
        assert await store.query("SELECT * FROM invocation ORDER BY seq") == rows
        assert await store.query("SELECT * FROM journal_entry ORDER BY invocation, idx") == entries
        assert await store.query("SELECT * FROM object_state ORDER BY CAST(value AS INT)") == state
        assert await store.query("SELECT * FROM timer ORDER BY due_ms, seq") == timers


async def test_an_empty_batch_is_committed(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(Batch(1))


async def test_a_later_row_of_an_invocation_replaces_what_can_change_of_the_earlier_one(tmp_path: Path) -> None:
    accepted = invocation(1, status=Status.PENDING)
    ended = invocation(1, status=Status.FAILED, position=9, attempts=3, outcome='{"code":500}', reason="why")
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[accepted]))
        assert await store.invocation(1) == accepted
        await store.commit(batch(2, invocations=[ended]))
        assert await store.invocation(1) == ended


async def test_state_is_replaced_and_cleared(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, state=[("Order", "k", "a", "1"), ("Order", "k", "b", "2")]))
        await store.commit(batch(2, state=[("Order", "k", "a", "3")], cleared=[("Order", "k", "b")]))
        (record,) = await store.load_objects([("Order", "k")])
        assert record.state == {"a": "3"}


async def test_timers_that_fired_are_gone_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    timers = [(50, 1, 7, -1), (50, 2, 8, 3), (40, 3, 9, -2)]
    await create(path, batch(1, timers=timers), batch(2, fired=[(50, 1)]))
    async with OpenStore(str(path)) as store:
        assert store.opened.timers == [(40, 3, 9, -2), (50, 2, 8, 3)], "in order of due time, then acceptance"


async def test_a_journal_value_comes_back_as_the_text_or_the_bytes_it_was(tmp_path: Path) -> None:
    entries = [
        entry(1, 1, 20, value='{"a": "ä€𝄞"}', ref=3),
        entry(1, 2, 20, value=b"\x00\xff\x82", ref=4),
        entry(1, 3, 20, value="", ref=5),
        entry(1, 4, 20, value=b"", ref=6),
        entry(1, 5, 1, name="n", value=None, before="1"),
    ]
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(invocations=[invocation(1)], journal=entries))
        assert await store.journal(1) == entries
        assert [type(found.value) for found in await store.journal(1)] == [str, bytes, str, bytes, type(None)]


async def test_reads_see_every_batch_handed_over_before_them(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        tasks: list[asyncio.Task[Any]] = []
        async with asyncio.TaskGroup() as group:
            for number in range(1, 31):
                group.create_task(store.commit(batch(number, state=[("Order", "k", "n", str(number))])))
                tasks.append(group.create_task(store.load_objects([("Order", "k")])))
        assert [task.result()[0].state["n"] for task in tasks] == [str(number) for number in range(1, 31)]


async def test_batches_handed_over_at_once_are_all_written_in_order(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        batches = [batch(n, invocations=[invocation(n)], state=[("Order", "k", "n", str(n))]) for n in range(1, 51)]
        await asyncio.gather(*map(store.commit, batches))
        assert column(await store.query("SELECT seq FROM invocation ORDER BY seq")) == list(range(1, 51))
        (record,) = await store.load_objects([("Order", "k")])
        assert record.state == {"n": "50"}


async def test_a_batch_given_up_by_its_caller_does_not_shift_the_ones_behind_it(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        given_up = asyncio.create_task(store.commit(batch(1, invocations=[invocation(1)])))
        await asyncio.sleep(0)
        given_up.cancel()
        await store.commit(batch(2, invocations=[invocation(2)]))
        assert await store.invocation(2) is not None
        await store.commit(batch(3, invocations=[invocation(3)]))
        assert await store.invocation(3) is not None
        with pytest.raises(asyncio.CancelledError):
            await given_up


# One row or value in each part of a batch that the database or its driver refuses.
REFUSED: dict[str, dict[str, Any]] = {
    "an invocation": {"invocations": [invocation(10), invocation(11)._replace(args=None)]},  # type: ignore[arg-type]
    "an invocation in a second statement": {"invocations": [*map(invocation, range(10, 140)), ("too", "few")]},
    "a journal entry": {"journal": [entry(1, 1), entry(1, 1)]},
    "a journal entry that is there": {"journal": [entry(9, 1)]},
    "a state value": {"state": [("Order", "k", "n", "2"), ("Order", "k", "m", None)]},
    "a timer": {"timers": [(1, 2, 3, 4), (1, 2, 5, 6)]},
    "a fired timer": {"fired": [(5, 5), (object(), 1)]},
    "a cleared value": {"cleared": [("Order", "k", "n"), ("Order", "k", object())]},
    "the bound of numbers": {"reserve_to": object()},
}


@pytest.mark.parametrize("part", REFUSED)
async def test_one_refused_row_leaves_nothing_of_its_batch(part: str, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    sound: dict[str, Any] = {
        "invocations": [invocation(2)],
        "journal": [entry(2, 1)],
        "state": [("Order", "k", "n", "5")],
        "timers": [(7, 7, 2, -1)],
        "fired": [(5, 5)],
        "cleared": [("Order", "other", "n")],
        "reserve_to": 5_000_000,
    }
    async with OpenStore(str(path)) as store:
        await store.commit(
            batch(
                1,
                invocations=[invocation(9)],
                journal=[entry(9, 1)],
                state=[("Order", "k", "n", "1"), ("Order", "other", "n", "1")],
                timers=[(5, 5, 9, -1)],
            )
        )
        with shell(path) as connection:
            before = contents(connection)
            with pytest.raises(StorageError):
                await store.commit(batch(2, **{**sound, **REFUSED[part]}))
            assert contents(connection) == before
            await store.commit(batch(3, **sound))
            assert contents(connection) != before, "the store still works"


@pytest.fixture
def writer() -> Iterator[WriterConnection]:
    connection = WriterConnection(":memory:", isolation_level=None, cached_statements=200)
    for statement in steps(0):
        connection.execute(statement)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("epoch", 1), ("next_number", 1)])
    connection.epoch = 1
    yield connection
    connection.close()


def test_a_batch_stopped_at_any_moment_leaves_nothing_of_it(writer: WriterConnection) -> None:
    """SQLite is interrupted after every n-th step of its virtual machine, for all n until the batch gets through."""
    rows: dict[str, Any] = {
        "invocations": [invocation(n) for n in range(3)],
        "journal": [entry(n, 1) for n in range(3)],
        "state": [("Order", "k", str(n), "1") for n in range(3)],
        "timers": [(n, n, n, -1) for n in range(3)],
        "fired": [(100, 100), (101, 101)],
        "cleared": [("Order", "k", "old")],
        "reserve_to": 2_000_000,
    }
    writer.executemany("INSERT INTO timer VALUES (?, ?, 0, 0)", [(100, 100), (101, 101)])
    writer.execute("INSERT INTO object_state VALUES ('Order', 'k', 'old', '1')")
    before = contents(writer)
    steps_left = 0
    while contents(writer) == before:
        steps_left += 1
        writer.handed_over.append(batch(1, **rows))
        writer.set_progress_handler(Interruption(steps_left), 1)
        with contextlib.suppress(sqlite3.OperationalError):
            writer.commit()
        writer.set_progress_handler(None, 0)
        assert not writer.in_transaction
    assert steps_left > 200
    after = contents(writer)
    assert [len(after[table]) for table in TABLES] == [3, 3, 3, 3, 2], "the batch that got through is whole"


class Interruption:
    """Stops SQLite once, after so many steps, and lets the rollback through."""

    def __init__(self, steps_left: int) -> None:
        self.steps_left = steps_left

    def __call__(self) -> int:
        self.steps_left -= 1
        return self.steps_left == 0


def test_a_batch_fits_the_number_of_parameters_sqlite_allows(writer: WriterConnection) -> None:
    # 32,766 since SQLite 3.32, but a distribution may lower it; 999 was the limit before.
    assert writer.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) > 128 * 16
