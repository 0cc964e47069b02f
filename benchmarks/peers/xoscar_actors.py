"""xoscar: an actor on an event loop for each key, in memory, in a pool in the process of its callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xoscar  # pyright: ignore[reportMissingImports]

from benchmarks.peers.harness import AddAsync, Peer


class Counter(xoscar.Actor):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.value = 0

    async def add(self) -> int:
        self.value += 1
        return self.value


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[AddAsync]:
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
    address = pool.external_address
    counters: dict[str, Any] = {
        f"key-{number}": await xoscar.create_actor(Counter, address=address, uid=f"key-{number}")
        for number in range(1000)
    }

    async def add(key: str) -> int:
        return int(await counters[key].add())

    try:
        yield add
    finally:
        await pool.stop()


def peer() -> Peer:
    return Peer("xoscar", version("xoscar"), "nothing: in memory", _opened)
