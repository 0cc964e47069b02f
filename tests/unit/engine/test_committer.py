"""What is handed over, looked at and acknowledged, in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.engine.committer import Committer
from actors.errors import OutcomePending
from actors.storage import Batch, DatabaseReplaced
from actors.testing import ManualClock


class Disk:
    """Each commit is over when `finish` says so. `replaced` is what lies at the path from now on."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.replaced = False
        self._under_way: asyncio.Future[None] | None = None

    async def commit(self, batch: Batch) -> None:
        self.events.append(f"commit {batch.number}")
        self._under_way = asyncio.get_running_loop().create_future()
        await self._under_way

    def verify(self) -> None:
        self.events.append("verified")
        if self.replaced:
            raise DatabaseReplaced("app.db was replaced by another file.")

    async def finish(self) -> None:
        assert self._under_way is not None
        self._under_way.set_result(None)
        for _ in range(4):
            await asyncio.sleep(0)


class Desk:
    """A committer, and callers who note when they are answered."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.failures: list[BaseException] = []
        store: Any = self.disk
        loop = asyncio.get_running_loop()
        self.committer = Committer(
            store, ManualClock(), loop, self.failures.append, lambda: None, lambda about, error: error
        )

    def ask(self, name: str) -> asyncio.Future[None]:
        """Something to write, and a caller who waits for it. `name` is noted when it is answered."""
        committer = self.committer
        committer.batch.state["Order", "k", "note"] = f'"{name}"'
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: self.disk.events.append(f"answered {name}"))
        about: Any = None
        committer.reply(future, about, False, committer.batch.number)
        committer.kick()
        return future


async def test_the_next_batch_is_on_its_way_before_the_one_before_is_answered() -> None:
    desk = Desk()
    desk.ask("first")
    await asyncio.sleep(0)
    desk.ask("second")
    await desk.disk.finish()
    await desk.disk.finish()
    assert desk.disk.events == [
        *("commit 1", "commit 2", "verified", "answered first"),
        *("verified", "answered second"),
    ]


@pytest.mark.parametrize("others", ["nothing more to write", "more to write", "a step that waits"])
async def test_nothing_is_answered_or_begun_once_the_file_is_another_one(others: str) -> None:
    desk = Desk()
    futures, begun = [desk.ask("first")], list[str]()
    if others == "a step that waits":
        desk.committer.gate(lambda: begun.append("step"))
    await asyncio.sleep(0)
    if others == "more to write":
        futures.append(desk.ask("second"))
    desk.disk.replaced = True
    await desk.disk.finish()
    assert [type(future.exception()) for future in futures] == [DatabaseReplaced] * len(futures)
    assert not begun and len(desk.failures) == 1
    with pytest.raises(DatabaseReplaced):
        await desk.committer.flushed()
    with pytest.raises(OutcomePending):
        await desk.committer.acknowledged()


async def test_waiters_of_one_turn_share_a_commit_and_later_ones_get_another() -> None:
    desk = Desk()
    for number in (1, 2):
        desk.committer.batch.state["Order", "k", "note"] = str(number)
        waiting = [asyncio.create_task(desk.committer.flushed()) for _ in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert desk.disk.events[-1] == f"commit {number}" and not any(task.done() for task in waiting)
        await desk.disk.finish()
        await asyncio.gather(*waiting)
    assert desk.disk.events == ["commit 1", "verified", "commit 2", "verified"]
