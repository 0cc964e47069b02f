"""A simulated machine for tests: one disk, one clock, and apps that crash and start again on them."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Executor
from random import Random
from types import TracebackType
from typing import Any

from actors import App, Limits, RetryPolicy, TerminalError
from actors.model.calls import InvocationHandle
from actors.model.virtual_object import Served
from actors.storage import StorageError
from actors.testing import Disk, InlineExecutor, ManualClock, SimulatedStore

TURNS = 60  # of the loop; more than any test here needs to come to rest


def limits(**others: Any) -> Limits:
    """Limits that keep everything, if these do not say otherwise: tests look at what has ended."""
    return Limits(**{"retention": None, "idempotency_retention": None, **others})


async def outcome(handle: InvocationHandle[Any]) -> Any:
    """The value, or the class of the error. With a limit: what hangs is to fail here, not by the limit of the test."""
    try:
        return await asyncio.wait_for(handle.result(), 5)
    except TerminalError as error:
        return type(error)


_KEPT = limits()


class World:
    """`async with World(Cls) as world:` starts an app; `world.crash()` and `world.start()` kill and restart it."""

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
        self.limits = limits or _KEPT
        self.executor = executor or InlineExecutor()
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
        """Kill the process and start the next one on the same disk."""
        await self.crash()
        await self.start()
        await self.settle()
        return self.app

    async def settle(self, rounds: int = 1) -> None:
        """Let everything happen that needs no time to pass; what goes through memory and disk often needs more rounds."""
        for _ in range(rounds * TURNS):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settle()

    async def outcome(self, handle: InvocationHandle[Any]) -> Any:
        """The same as `outcome`, by the id of the invocation: a restart has ended the handle."""
        return await outcome(self.app.invocation(handle.id))

    async def status(self, handle: InvocationHandle[Any]) -> str:
        return (await self.app.describe(handle.id)).status

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
