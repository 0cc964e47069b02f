"""A look into the file beside its owner: of one commit, in its time, and no commit waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.storage import StorageError
from actors.storage.errors import LookTooLong, TooManyLooks
from actors.storage.port import Records
from actors.storage.sqlite.observer import INTERRUPTS_EVERY_S, Observer
from tests.storage.rows import OpenStore, batch, invocation

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


class AnyQuery(Observer):
    """With a query that never ends, and a thread that can be kept busy."""

    async def never_ends(self) -> None:
        await self._read(ENDLESS)

    async def look_without_end(self, asked: asyncio.Event, busy_until: threading.Event | None = None) -> None:
        async with self.look():
            busy = self.keep_busy(busy_until) if busy_until is not None else None
            await asyncio.sleep(0)  # so that its thread has that first
            asked.set()
            try:
                await self.never_ends()
            finally:
                if busy is not None:
                    await busy

    def keep_busy(self, until: threading.Event) -> asyncio.Future[bool]:
        """What is asked from now on does not begin before that."""
        handle: Any = self._handle
        busy: asyncio.Future[bool] = asyncio.ensure_future(handle._execute(until.wait))
        return busy

    def is_in_a_look(self) -> bool:
        """Whether a transaction is open."""
        return self._connection is not None and self._connection.in_transaction

    def wait_until_its_thread_has_closed_it(self, longest_s: float) -> None:
        assert self._connection is not None
        until = time.monotonic() + longest_s
        with contextlib.suppress(sqlite3.ProgrammingError):
            while time.monotonic() < until:
                self._connection.total_changes  # noqa: B018
            pytest.fail("It is not closed.")


Observing = Callable[..., AnyQuery]


@pytest.fixture
async def observing() -> AsyncIterator[Observing]:
    """Makes observers that are closed when a test has failed as well: their threads keep the process alive."""
    made: list[AnyQuery] = []

    def observer(path: str, **options: Any) -> AnyQuery:
        made.append(AnyQuery(path, **options))
        return made[-1]

    yield observer
    for one in made:
        await one.close()


async def count(records: Records) -> int:
    return len(await records.invocations(list(range(100))))


async def test_a_look_sees_one_commit_and_no_commit_waits_for_it(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(invocations=[invocation(1)]))
        async with store.look() as records:
            assert await count(records) == 1
            await store.commit(batch(invocations=[invocation(2)], number=2))
            assert await count(records) == 1
        async with store.look() as records:
            assert await count(records) == 2


async def test_looks_take_turns(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        began: list[int] = []

        async def look(number: int) -> None:
            async with store.look():
                began.append(number)

        async with store.look():
            others = [asyncio.create_task(look(number)) for number in range(3)]
            await asyncio.sleep(0)
            assert began == []
        await asyncio.gather(*others)
        assert began == [0, 1, 2]


async def test_more_looks_than_may_wait_are_refused(tmp_path: Path, observing: Observing) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path, most_waiting=2)

        async def look() -> None:
            async with observer.look() as records:
                await count(records)

        async with observer.look():
            waiting = [asyncio.create_task(look()) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(TooManyLooks, match="2 other requests wait to look into the file"):
                await asyncio.wait_for(look(), 5)  # it waits for this block if it is not refused
        await asyncio.gather(*waiting)
        await look()


async def test_a_look_that_takes_too_long_is_given_up_and_the_next_works(tmp_path: Path, observing: Observing) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path, longest_s=0.01)
        with pytest.raises(LookTooLong, match=r"longer than 0\.01 s, and was given up. Ask for less"):
            async with observer.look():
                await observer.never_ends()
        async with observer.look():
            for _ in range(2):  # its time is up for all further reads too
                with pytest.raises(LookTooLong):
                    await observer.never_ends()
        patient = observing(store.path)
        async with patient.look() as records:
            assert await count(records) == 0


async def test_a_query_that_begins_when_its_time_is_up_is_given_up_too(tmp_path: Path, observing: Observing) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path, longest_s=0.01)
        free = threading.Event()
        async with observer.look():
            busy = observer.keep_busy(free)
            await asyncio.sleep(0)  # so that its thread has that first
            asked = asyncio.ensure_future(observer.never_ends())
            asyncio.get_running_loop().call_later(0.02, free.set)
            with pytest.raises(LookTooLong):
                await asked
            await busy


@pytest.mark.parametrize("begun", [True, False])
async def test_a_look_whose_caller_is_cancelled_ends_at_once(begun: bool, tmp_path: Path, observing: Observing) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path)
        asked, free = asyncio.Event(), threading.Event()
        task = asyncio.create_task(observer.look_without_end(asked, None if begun else free))
        await asked.wait()
        await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, free.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        async with observer.look() as records:
            assert await count(records) == 0


@pytest.mark.parametrize("cancelled_twice", [False, True])
@pytest.mark.parametrize("connected", [False, True])
async def test_a_look_that_is_cancelled_at_any_moment_leaves_nothing_behind(
    connected: bool, cancelled_twice: bool, tmp_path: Path, observing: Observing
) -> None:
    async def look(observer: AnyQuery) -> int:
        async with observer.look() as records:
            return await count(records)

    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path)
        for moment in range(60):
            if not connected:
                observer = observing(store.path)
            task = asyncio.ensure_future(look(observer))
            for _ in range(moment):
                await asyncio.sleep(0)
            task.cancel()
            if cancelled_twice:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            assert await look(observer) == 0, moment
            assert not observer.is_in_a_look(), moment
            if not connected:
                await observer.close()


async def test_a_transaction_whose_look_is_cancelled_twice_ends(tmp_path: Path, observing: Observing) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path)
        asked, free = asyncio.Event(), threading.Event()
        task = asyncio.create_task(observer.look_without_end(asked))
        await asked.wait()
        task.cancel()
        await asyncio.sleep(0)  # it is being ended
        task.cancel()
        await asyncio.wait([task])
        free.set()
        async with asyncio.timeout(20):
            while observer.is_in_a_look():
                await asyncio.wait([observer.keep_busy(free)])  # no other look comes


async def test_closing_ends_a_query_that_has_not_begun(tmp_path: Path, observing: Observing) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path)
        async with observer.look():
            pass
        asked, free = asyncio.Event(), threading.Event()
        task = asyncio.create_task(observer.look_without_end(asked, free))
        await asked.wait()
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(observer.close())
        asyncio.get_running_loop().call_later(0.01, free.set)
        await closing
        with pytest.raises(StorageError):
            await task


async def test_an_interrupt_that_is_due_while_its_connection_closes_is_late(
    tmp_path: Path, observing: Observing
) -> None:
    loop = asyncio.get_running_loop()
    failed: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failed.append(context))
    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = observing(store.path)
        async with observer.look():
            pass
        closing = asyncio.ensure_future(observer.close())
        await asyncio.sleep(0)
        observer.wait_until_its_thread_has_closed_it(5)  # and the loop has not heard of that
        due = loop.time() + 2 * INTERRUPTS_EVERY_S
        while loop.time() < due:
            pass
        await closing
        assert failed == []


async def test_closing_the_store_ends_a_look_and_refuses_others(tmp_path: Path, observing: Observing) -> None:
    store = await OpenStore(str(tmp_path / "app.db")).__aenter__()
    async with store.look():
        pass
    observer = observing(store.path)
    begins = asyncio.Event()
    task = asyncio.create_task(observer.look_without_end(begins))
    await begins.wait()
    await observer.close()
    with pytest.raises(StorageError):
        await task
    with pytest.raises(StorageError, match="is closed"):
        await observer.look_without_end(begins)
    await store.close()
    with pytest.raises(StorageError, match="is closed"):
        async with store.look():
            pass
    assert not (tmp_path / "app.db-wal").exists(), "the log was copied and removed: no connection is left"


async def test_between_two_looks_the_log_can_begin_anew(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(invocations=[invocation(1)]))
        async with store.look() as records:
            await count(records)
        ((busy, left, copied),) = await store.query("PRAGMA wal_checkpoint(RESTART)")
        assert busy == 0 and left == copied


async def test_a_look_can_change_nothing(tmp_path: Path) -> None:
    class Writing(Observer):
        async def write(self) -> None:
            await self._read("DELETE FROM invocation")

    async with OpenStore(str(tmp_path / "app.db")) as store:
        observer = Writing(store.path)
        with pytest.raises(StorageError):
            async with observer.look():
                await observer.write()
        await observer.close()


async def test_the_locks_of_the_owner_survive_looks(tmp_path: Path, observing: Observing) -> None:
    """Another program that writes must wait for the owner, also after the observer has come and gone."""
    path = tmp_path / "app.db"
    async with OpenStore(str(path)) as store:
        await store.commit(batch(invocations=[invocation(1)]))
        observer = observing(store.path)
        async with observer.look() as records:
            await count(records)
        await observer.close()
        await store.query("BEGIN IMMEDIATE")
        try:
            with sqlite3.connect(path, timeout=0) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("DELETE FROM invocation")
        finally:
            await store.query("ROLLBACK")


async def test_a_database_in_memory_is_read_by_its_only_connection() -> None:
    async with OpenStore(":memory:") as store:
        await store.commit(batch(invocations=[invocation(1)]))
        async with store.look() as records:
            await store.commit(batch(invocations=[invocation(2)], number=2))
            assert await count(records) == 2
