"""A simulated machine for tests: one disk, one clock, and apps that crash and start again on them."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from types import TracebackType
from typing import Any

from actors import App, Limits, RetryPolicy
from actors.storage import StorageError
from actors.testing import Disk, InlineExecutor, ManualClock, SimulatedStore
from actors.virtual_object import Served

TURNS = 60  # of the loop; more than any test here needs to come to rest


class World:
    """`async with World(Cls) as world:` starts an app; `world.crash()` and `world.start()` kill and restart it."""

    def __init__(
        self,
        *classes: type[Served],
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.classes = classes
        self.disk = Disk()
        self.clock = ManualClock()
        self.retry = retry or RetryPolicy(max_attempts=5)
        # By default everything is kept: tests look at what has ended.
        self.limits = limits or Limits(retention=None, idempotency_retention=None)
        self.options = options
        self.rng: Random | None = None
        self.app: App = None  # type: ignore[assignment]
        self.store: SimulatedStore = None  # type: ignore[assignment]

    async def start(self) -> App:
        self.store = self.disk.store(self.rng)
        self.app = App(
            *self.classes,
            store=self.store,
            clock=self.clock,
            random=Random(0),
            executor=InlineExecutor(),
            retry=self.retry,
            limits=self.limits,
            **self.options,
        )
        await self.app.start()
        return self.app

    async def crash(self) -> None:
        """Kill the process now; what was not committed is gone."""
        self.store.crash()
        with contextlib.suppress(StorageError):  # the dying process cannot write what was open
            await self.app.close()

    async def restart(self) -> App:
        """Kill the process and start the next one on the same disk."""
        await self.crash()
        await self.start()
        await self.settle()
        return self.app

    async def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settle()

    def statuses(self) -> list[str]:
        return [row[0] for row in self.disk.query("SELECT status FROM invocations ORDER BY invocation")]

    async def __aenter__(self) -> World:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.app.close()
        self.disk.close()
