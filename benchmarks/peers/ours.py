"""This project: an app in the process of its callers, and the same class behind `actors serve`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from actors import App, VirtualObject, handler
from benchmarks.http import served as server
from benchmarks.peers.harness import AddAsync, HttpCallers, Peer

FSYNC = "SQLite, fsync before each answer"


class Counter(VirtualObject):
    value: int = 0

    @handler
    async def add(self) -> int:
        self.value += 1
        return self.value


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[AddAsync]:
    async with App(Counter, storage=f"sqlite:///{folder / 'counter.db'}") as app:

        async def add(key: str) -> int:
            return await app.object(Counter, key).add()

        yield add


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[AddAsync]:
    with server(str(folder / "counter.db")) as port:
        callers = HttpCallers(port, "/Counter/{key}/add")
        yield callers.add
        callers.close()


def in_process() -> Peer:
    return Peer("actors", version("virtual-actors"), FSYNC, _opened)


def served() -> Peer:
    return Peer("actors-http", version("virtual-actors"), FSYNC, _served)
