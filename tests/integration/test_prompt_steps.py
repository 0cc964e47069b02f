"""A short step does not wait for a commit that holds nothing of it, and a long one keeps no commit waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from actors import App, Context, VirtualObject, handler
from actors.storage import Batch, SqliteStore

waiting: list[asyncio.Event] = []


async def short() -> int:
    return 1


async def long() -> int:
    await waiting[-1].wait()
    return 2


class Steps(VirtualObject):
    count: int = 0

    @handler
    async def short(self, ctx: Context) -> int:
        return await ctx.run(short)

    @handler
    async def long(self, ctx: Context) -> int:
        return await ctx.run(long)

    @handler
    async def add(self) -> int:
        self.count += 1
        return self.count


class CountingStore(SqliteStore):
    """Commits wait until they are let go."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.let_go = asyncio.Event()
        self.batches: list[Batch] = []

    async def commit(self, batch: Batch) -> None:
        self.batches.append(batch)
        await self.let_go.wait()
        await super().commit(batch)


async def rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_result_of_a_short_step_goes_into_the_very_next_batch(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path / "app.db"))
    store.let_go.set()
    async with App(Steps, store=store) as app:
        await asyncio.gather(app.object(Steps, "a").add(), app.object(Steps, "b").add())
        store.batches.clear()
        store.let_go.clear()
        step = asyncio.ensure_future(_awaited(app.object(Steps, "a").short()))
        await rest()
        other = asyncio.ensure_future(_awaited(app.object(Steps, "b").add()))
        await rest()
        assert len(store.batches) == 1
        store.let_go.set()
        assert await step == 1 and await other == 2
        assert len(store.batches) == 2, "the other call and the result of the step"


async def test_a_step_that_takes_its_time_keeps_no_commit_waiting(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path / "app.db"))
    store.let_go.set()
    waiting.append(asyncio.Event())
    async with App(Steps, store=store) as app:
        step = asyncio.ensure_future(_awaited(app.object(Steps, "a").long()))
        await rest()
        assert await app.object(Steps, "b").add() == 1
        assert not step.done()
        waiting[-1].set()
        assert await step == 2


async def _awaited(call: Any) -> Any:
    return await call
