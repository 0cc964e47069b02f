"""A simulated machine whose disk does one thing after the other, in the order asked, and takes its time for each.

That is what one SQLite thread does. A plain SimulatedStore lets a read pass a commit that is still on its way, which the
engine need not expect, and which shows as soon as objects leave memory and come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from actors.model.virtual_object import Served
from actors.storage import Batch
from actors.testing import Disk, SimulatedStore
from tests.world import World


class QueuedStore(SimulatedStore):
    def __init__(self, disk: QueuedDisk, rng: Random | None) -> None:
        super().__init__(disk, rng)
        self._machine_disk = disk
        self._queue = asyncio.Lock()  # first come, first served

    async def commit(self, batch: Batch) -> None:
        async with self._queue:
            if batch.purged:
                self._machine_disk.before_purge([seq for (seq,) in batch.purged])
            await super().commit(batch)

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        async with self._queue:
            return await super()._read(sql, parameters)


class QueuedDisk(Disk):
    def __init__(self) -> None:
        super().__init__()
        self.before_purge: Callable[[list[int]], None] = lambda seqs: None  # their records are still there

    def store(self, rng: Random | None = None) -> QueuedStore:
        super().store(None)  # for what it does to the process before
        return QueuedStore(self, rng)


class Machine(World):
    def __init__(self, *classes: type[Served], **options: Any) -> None:
        super().__init__(*classes, **options)
        self.disk.close()
        self.disk: QueuedDisk = QueuedDisk()
