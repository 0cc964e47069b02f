"""The end of a partition: what has stopped it is said once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from random import Random

import pytest

from actors import Limits, RetryPolicy, VirtualObject, handler
from actors.engine.env import Env
from actors.engine.partition import Partition
from actors.engine.watching import Counts
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of
from actors.storage import StorageError
from actors.testing import Disk, InlineExecutor, ManualClock


class Idle(VirtualObject):
    @handler
    async def rest(self) -> None: ...


@pytest.fixture
def disk() -> Iterator[Disk]:
    with contextlib.closing(Disk()) as disk:
        yield disk


def partition(disk: Disk, stopped: list[BaseException]) -> Partition:
    env = Env(IdMint(bytes(32)), ManualClock(), Random(0), Limits(), RetryPolicy(), None, Counts(), None, debug=False)
    catalog = Catalog({"Idle": definition_of(Idle)})
    return Partition(env, catalog, disk.store(), asyncio.get_running_loop(), InlineExecutor(), stopped.append)


@pytest.mark.expects_log("The app has stopped: broken")
async def test_a_failure_that_stops_a_partition_is_reported_once(disk: Disk) -> None:
    stopped: list[BaseException] = []
    running = partition(disk, stopped)
    first = StorageError("broken")
    running.fail(first)
    running.fail(StorageError("broken again"))
    assert stopped == [first] and running.failure is first


async def test_a_partition_that_was_halted_reports_no_failure(disk: Disk) -> None:
    """Its owner has stopped it: a commit that fails afterwards is not a reason to recover."""
    stopped: list[BaseException] = []
    running = partition(disk, stopped)
    running.halt(StorageError("halted"))
    running.fail(StorageError("too late"))
    assert stopped == []
