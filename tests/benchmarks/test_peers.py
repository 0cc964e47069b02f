"""The loop that calls every peer counts what was answered, and refuses a counter that counts wrongly."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import harness


def peer(blocking: bool, lost: int = 0) -> harness.Peer:
    """A counter in memory, which loses that many additions."""
    values: Counter[str] = Counter({"key-0": -lost})

    def add(key: str) -> int:
        values[key] += 1
        return values[key]

    async def add_async(key: str) -> int:
        return add(key)

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Any]:
        yield add if blocking else add_async

    return harness.Peer("memory", "1", "nothing", opened, blocking)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "WARM_UP_S", 0.01)


@pytest.mark.parametrize("blocking", [False, True])
async def test_figures_are_of_the_measured_calls(blocking: bool, tmp_path: Path) -> None:
    cell = await harness.measure(peer(blocking), tmp_path, callers=1, keys=3, seconds=0.02)
    assert cell["calls"] > 0
    assert cell["calls_per_s"] == pytest.approx(cell["calls"] / 0.02, rel=0.9)
    assert 0 < cell["p50_ms"] <= cell["p99_ms"]


async def test_a_lost_addition_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(harness.WrongCount, match="key-0 was called"):
        await harness.measure(peer(False, lost=1), tmp_path, callers=2, keys=1, seconds=0.01)


def test_cpu_time_includes_children() -> None:
    before = harness.cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"], check=True)
    assert harness.cpu_seconds() > before
