"""Pykka: an actor in a thread for each key, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pykka  # pyright: ignore[reportMissingImports]

from benchmarks.peers.harness import AddBlocking, Peer


class Counter(pykka.ThreadingActor):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.value = 0

    def add(self) -> int:
        self.value += 1
        return self.value


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[AddBlocking]:
    counters: dict[str, Any] = {f"key-{number}": Counter.start().proxy() for number in range(1000)}

    def add(key: str) -> int:
        return int(counters[key].add().get())

    try:
        yield add
    finally:
        pykka.ActorRegistry.stop_all()


def peer() -> Peer:
    return Peer("pykka", version("pykka"), "nothing: in memory", _opened, blocking=True)
