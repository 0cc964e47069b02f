"""A machine for programs: one disk, a clock that stands still, and an app that crashes and starts again on them."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Executor
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Self

from actors.errors import StorageError
from actors.model.calls import InvocationHandle
from actors.model.limits import Limits
from actors.model.retry import RetryPolicy
from actors.model.virtual_object import Served
from actors.testing.clock import ManualClock
from actors.testing.disk import Disk, SimulatedStore
from actors.testing.executor import InlineExecutor
from actors.transport.served import App

TURNS = 60  # of the loop; more than what needs no time takes to come to rest


class ManualWorld:
    """`async with ManualWorld(Order) as world:` starts an app on a disk in memory and a clock that stands still, on any event loop.

    `world.app` is the running app, `world.clock` its ManualClock, `world.disk` its Disk. Steps run on the loop, one after the
    other, random numbers are seeded, and a failing handler gets five attempts unless `retry` says otherwise. All other options
    are those of App. In tests, `World` does more: ask pytest for the fixture `world`. It is one machine: what `restart` starts is the next process on the same disk.
    """

    _app_class: ClassVar[type[App]] = App

    def __init__(
        self,
        *classes: type[Served],
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        executor: Executor | None = None,
        **options: Any,
    ) -> None:
        self.classes = classes
        self.disk = Disk()
        self.clock = ManualClock()
        self.retry = retry or RetryPolicy(max_attempts=5)
        self.limits = limits or Limits()
        self.executor = executor or InlineExecutor()
        self.options = options
        self.rng: Random | None = None
        self.app: App = None  # type: ignore[assignment]
        self.store: SimulatedStore = None  # type: ignore[assignment]

    async def start(self) -> App:
        """Start a process on the disk."""
        self.store = self.disk.store(self.rng)
        self.app = self._app_class(
            *self.classes,
            store=self.store,
            clock=self.clock,
            random=Random(0),
            executor=self.executor,
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
        """Kill the process, and start its successor on the same disk."""
        await self.crash()
        await self.start()
        await self.settle()
        return self.app

    async def settle(self, rounds: int = 1) -> None:
        """Let everything happen that needs no time to pass; what goes through memory and disk often needs more rounds."""
        for _ in range(rounds * TURNS):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Let this much time pass, and everything happen that is due then."""
        self.clock.advance(seconds)
        await self.settle()

    async def result(self, handle: InvocationHandle[Any], within_s: float = 5) -> Any:
        """The outcome of an invocation; the handle may be from before a restart. Raises TimeoutError if it hangs."""
        return await asyncio.wait_for(self.app.invocation(handle.id).result(), within_s)

    async def status(self, handle: InvocationHandle[Any]) -> str:
        """The status of an invocation, as `InvocationInfo.status`."""
        return (await self.app.describe(handle.id)).status

    def statuses(self) -> list[str]:
        """The statuses of all invocations on the disk, the oldest first."""
        return [row[0] for row in self.disk.query("SELECT status FROM invocations ORDER BY invocation")]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.app.close()
        self.disk.close()
