"""The floor is honest: it leaves the rows the runtime leaves, as durably, and answers no sooner."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors import App
from actors.storage import Batch, SqliteStore, StorageFull
from benchmarks.floor import AircraftOnFloor, AirportOnFloor, ApprovalOnFloor, CounterOnFloor, Floor, StepperOnFloor
from benchmarks.measure import MeasuredStore
from benchmarks.objects import Aircraft, Airport, Approval, Counter, Stepper
from benchmarks.throughput import awakeable, awakeable_on_floor

ADDITIONS = [("a", 1), ("b", -7), ("a", 2**40), ("ключ/\"x'", 5), ("b", 7), ("a", -1)]
FLIGHTS = [("N14228", 1400, 2), ("N24211", 1416, -4), ("N14228", 1089, 0)]


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a file holds, without the numbers and times that no two runs share. A blob or a number is no text here."""
    connection = sqlite3.connect(path)
    try:
        numbers = {"seq", "position", "accepted_ms", "ended_ms"}
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(invocation)") if name not in numbers]
        typed = ", ".join(f"{name}, typeof({name})" for name in columns)
        return {
            "invocation": connection.execute(f"SELECT {typed} FROM invocation ORDER BY seq").fetchall(),
            "state": connection.execute("SELECT *, typeof(value) FROM object_state ORDER BY 1, 2, 3").fetchall(),
            # Each invocation by its place: numbers are not shared, but what belongs together is.
            "journal": connection.execute(
                "SELECT (SELECT count(*) FROM invocation i WHERE i.seq <= e.invocation), idx, kind, name, ref, value, "
                "typeof(value), before FROM journal_entry e ORDER BY 1, 2"
            ).fetchall(),
            "timer": connection.execute("SELECT * FROM timer").fetchall(),
        }
    finally:
        connection.close()


class HeldStore(MeasuredStore):
    """Commits wait for `let_go`; `handed_over` has what they were given."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.let_go = asyncio.Event()
        self.handed_over: list[Batch] = []

    async def commit(self, batch: Batch) -> None:
        self.handed_over.append(batch)
        await self.let_go.wait()
        await super().commit(batch)


async def turns_of_the_loop() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("at_once", [False, True])
async def test_counter_calls_leave_the_same_rows_on_the_floor_and_in_the_runtime(tmp_path: Path, at_once: bool) -> None:
    answers: list[list[int]] = []
    async with App(Counter, store=SqliteStore(str(tmp_path / "app.db"))) as app:
        for key in {key for key, _ in ADDITIONS}:
            await app.object(Counter, key).get()  # loads the object, and leaves no row
        calls = [app.object(Counter, key).add(n) for key, n in ADDITIONS] if at_once else []
        answers.append([await call for call in calls] or [await app.object(Counter, k).add(n) for k, n in ADDITIONS])
    async with Floor(SqliteStore(str(tmp_path / "floor.db"))) as floor:
        futures = [floor.object(CounterOnFloor, key).add(n) for key, n in ADDITIONS] if at_once else []
        answers.append(
            [await future for future in futures] or [await floor.object(CounterOnFloor, k).add(n) for k, n in ADDITIONS]
        )
    assert answers[0] == answers[1] == [1, -7, 1 + 2**40, 5, 0, 2**40]
    found = rows(tmp_path / "floor.db")
    assert found == rows(tmp_path / "app.db")
    assert len(found["invocation"]) == len(ADDITIONS) and len(found["state"]) == 3


async def test_flights_leave_the_same_rows_on_the_floor_and_in_the_runtime(tmp_path: Path) -> None:
    async with App(Aircraft, Airport, store=SqliteStore(str(tmp_path / "app.db"))) as app:
        for tail, miles, delay in FLIGHTS:
            await app.object(Aircraft, tail).fly(miles)
            await app.object(Airport, "EWR").depart(delay)
    async with Floor(SqliteStore(str(tmp_path / "floor.db"))) as floor:
        for tail, miles, delay in FLIGHTS:
            await floor.object(AircraftOnFloor, tail).fly(miles)
            await floor.object(AirportOnFloor, "EWR").depart(delay)
    found = rows(tmp_path / "floor.db")
    assert found == rows(tmp_path / "app.db")
    assert len(found["invocation"]) == 6 and len(found["state"]) == 6


async def test_steps_leave_the_same_rows_on_the_floor_and_in_the_runtime(tmp_path: Path) -> None:
    calls = [("a", 1), ("b", 2), ("a", 2**40), ("a", -3)]
    answers = []
    async with App(Stepper, store=SqliteStore(str(tmp_path / "app.db"))) as app:
        answers.append(await asyncio.gather(*(app.object(Stepper, key).work(n) for key, n in calls)))
    async with Floor(SqliteStore(str(tmp_path / "floor.db"))) as floor:
        answers.append(await asyncio.gather(*(floor.object(StepperOnFloor, key).work(n) for key, n in calls)))
    assert answers == [[2, 4, 2**41, -6]] * 2
    found = rows(tmp_path / "floor.db")
    assert found == rows(tmp_path / "app.db")
    assert len(found["invocation"]) == 4 and len(found["journal"]) == 8


async def test_awakeables_leave_the_same_rows_on_the_floor_and_in_the_runtime(tmp_path: Path) -> None:
    async with App(Approval, store=SqliteStore(str(tmp_path / "app.db"))) as app:
        ask: Any = awakeable(app)
        assert [await ask(key) for key in "aba"] == [0, 1, 2]
    async with Floor(SqliteStore(str(tmp_path / "floor.db"))) as floor:
        ask = awakeable_on_floor(floor)
        assert [await ask(key) for key in "aba"] == [0, 1, 2]
    found, of_app = rows(tmp_path / "floor.db"), rows(tmp_path / "app.db")
    for tables in found, of_app:  # an id can be answered before the step that has handed it out is over, or after that
        tables["journal"] = sorted(((of, *rest) for of, _, *rest in tables["journal"]), key=repr)
    assert found == of_app
    assert len(found["invocation"]) == 3 and len(found["journal"]) == 12


async def test_a_step_of_the_floor_starts_once_it_is_on_disk_and_answers_once_its_result_is(tmp_path: Path) -> None:
    store = HeldStore(str(tmp_path / "floor.db"))
    async with Floor(store) as floor:
        call = asyncio.ensure_future(floor.object(StepperOnFloor, "a").work(1))
        next_one = asyncio.ensure_future(floor.object(StepperOnFloor, "a").work(2))
        await turns_of_the_loop()
        assert [len(batch.journal) for batch in store.handed_over] == [1], "the result is not there yet"
        assert [len(batch.plain) for batch in store.handed_over] == [2], "both are accepted, one has begun"
        store.let_go.set()
        assert [await call, await next_one] == [2, 4]
    assert [row[2] for batch in store.handed_over for row in batch.journal] == [3, 20, 3, 20]


async def test_an_id_leaves_the_floor_once_its_awakeable_is_on_disk(tmp_path: Path) -> None:
    store = HeldStore(str(tmp_path / "floor.db"))
    async with Floor(store) as floor:
        Approval.outbox[7] = left = asyncio.get_running_loop().create_future()
        call = asyncio.ensure_future(floor.object(ApprovalOnFloor, "a").ask(7))
        await turns_of_the_loop()
        assert not left.done() and len(store.handed_over) == 1
        store.let_go.set()
        acknowledged = floor.resolve(await left, 5)
        assert not acknowledged.done()
        with pytest.raises(KeyError):
            floor.resolve(left.result(), 6)
        await acknowledged
        assert await call == 5
    del Approval.outbox[7]


async def test_the_rows_are_counted_alike_on_the_floor_and_in_the_runtime(tmp_path: Path) -> None:
    app_store, floor_store = MeasuredStore(str(tmp_path / "app.db")), MeasuredStore(str(tmp_path / "floor.db"))
    async with App(Counter, store=app_store) as app, Floor(floor_store) as floor:
        for key, n in ADDITIONS:
            await app.object(Counter, key).add(n)
            await floor.object(CounterOnFloor, key).add(n)
    assert app_store.account() == floor_store.account()


async def test_the_floor_commits_with_synchronous_full_in_the_wal(tmp_path: Path) -> None:
    pragmas: list[Any] = []

    class AskedStore(SqliteStore):
        async def commit(self, batch: Batch) -> None:
            await super().commit(batch)
            pragmas.extend(await self._read("PRAGMA synchronous"))
            pragmas.extend(await self._read("PRAGMA journal_mode"))

    async with Floor(AskedStore(str(tmp_path / "floor.db"))) as floor:
        await floor.object(CounterOnFloor, "a").add(1)
    assert [value for (value,) in pragmas] == [2, "wal"]  # 2 is FULL


async def test_an_answered_call_is_in_the_file(tmp_path: Path) -> None:
    async with Floor(SqliteStore(str(tmp_path / "floor.db"))) as floor:
        await floor.object(CounterOnFloor, "a").add(3)
        assert rows(tmp_path / "floor.db")["state"] == [("Counter", "a", "count", "3", "text")]


async def test_no_reply_leaves_before_its_commit_and_the_next_batch_fills_meanwhile(tmp_path: Path) -> None:
    store = HeldStore(str(tmp_path / "floor.db"))
    async with Floor(store) as floor:
        first = [floor.object(CounterOnFloor, "a").add(1), floor.object(CounterOnFloor, "b").add(1)]
        await turns_of_the_loop()
        later = [floor.object(CounterOnFloor, "a").add(1), floor.object(CounterOnFloor, "a").add(1)]
        await turns_of_the_loop()
        assert not any(future.done() for future in (*first, *later))
        assert len(store.handed_over) == 1
        store.let_go.set()
        assert [await future for future in (*first, *later)] == [1, 1, 2, 3]
    assert [len(batch.plain) for batch in store.handed_over] == [2, 2]
    assert [batch.state for batch in store.handed_over] == [
        [("Counter", "a", "count", "1"), ("Counter", "b", "count", "1")],
        [("Counter", "a", "count", "3")],
    ]


async def test_a_failed_commit_answers_nobody_and_stops_the_floor(tmp_path: Path) -> None:
    class FullStore(SqliteStore):
        async def commit(self, batch: Batch) -> None:
            raise StorageFull("no space")

    async with Floor(FullStore(str(tmp_path / "floor.db"))) as floor:
        with pytest.raises(StorageFull):
            await floor.object(CounterOnFloor, "a").add(1)
        with pytest.raises(StorageFull):
            floor.object(CounterOnFloor, "a").add(1)


async def test_a_file_opened_again_gives_out_no_number_twice(tmp_path: Path) -> None:
    for _ in range(2):
        async with Floor(SqliteStore(str(tmp_path / "floor.db"))) as floor:
            await floor.object(CounterOnFloor, "a").add(1)
    assert len(rows(tmp_path / "floor.db")["invocation"]) == 2
