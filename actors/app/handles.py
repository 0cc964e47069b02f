"""Handles for calls and sends made outside of handlers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

from actors.app.entry import check_loop
from actors.attempt.invocation import Invocation
from actors.engine.partition import Partition
from actors.errors import AppNotRunning, MisusedFuture, NotReady, OutcomePending
from actors.model.calls import AwaitedOutside, Call, InvocationHandle
from actors.model.futures import is_cancelled
from actors.storage.records import Status

T = TypeVar("T")
R = TypeVar("R")

_this_thread = threading.get_ident


class Owner(Protocol):
    """The app that a handle belongs to: the handle outlives a partition that has stopped."""

    def _running(self) -> Partition: ...

    async def _result(self, seq: int) -> Any:
        """The outcome of the invocation, once it is durable."""
        ...

    async def cancel(self, id: str) -> None: ...


class ClientCall(AwaitedOutside, Call[R]):
    """A call made from outside, under way. Awaiting it gives the value once it is durable.

    Cancelling a waiter cancels its future, so every waiter gets its own.
    """

    __slots__ = ("_app", "_awaited", "_first", "_invocation", "_partition")

    def __init__(self, app: Owner, partition: Partition, invocation: Invocation, future: asyncio.Future[R]) -> None:
        self._app = app
        self._partition = partition
        self._invocation = invocation
        self._awaited: asyncio.Future[R] | None = future  # for the first await
        self._first = future

    def __await__(self) -> Generator[Any, None, R]:
        if _this_thread() != self._partition.thread:  # on the same one, asyncio itself refuses another loop's future
            check_loop(self._partition.loop)
        future, self._awaited = self._awaited, None
        return (future if future is not None else self._again()).__await__()

    async def _again(self) -> R:
        invocation = self._invocation
        if not invocation.ended:
            result: R = await self._app._result(invocation.seq)
            return result
        if not self._first.done() or self._first.cancelled() or self._first.exception() is not None:
            await self._partition.committer.flushed()  # of the life it has ended in: a commit that failed says so
        ended: R = invocation.result()
        return ended


class KeyedCall(AwaitedOutside, Call[R]):
    """A call under an idempotency key, under way: it may stand for an earlier one."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[R]) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, R]:
        return (yield from done(self._task, repeatable=True).__await__())


class ClientHandle(InvocationHandle[R]):
    """An invocation known by its id. Survives restarts: `app.invocation(id)` makes one again."""

    __slots__ = ("_accepted", "_app", "_ids", "_partition", "_seq")

    def __init__(self, app: Owner, partition: Partition, seq: int, accepted: asyncio.Future[None] | None) -> None:
        self._app = app
        self._seq = seq
        self._accepted = accepted
        self._ids = partition.ids
        self._partition = partition if accepted is not None else None  # None once the acceptance is durable

    @property
    def id(self) -> str:
        return self._ids.invocation(self._seq)  # not made unless it is asked for: few are, and it takes a hash

    def __await__(self) -> Generator[Any, None, ClientHandle[R]]:
        partition = self._partition
        if partition is not None and _this_thread() != partition.thread:
            check_loop(partition.loop)
        accepted, self._accepted = self._accepted, None
        if accepted is not None:
            yield from accepted.__await__()
            self._partition = None
        elif self._partition is not None:  # the future belongs to an earlier await, and is cancelled with it
            yield from self._partition.committer.flushed().__await__()
        return self

    async def result(self) -> R:
        """The outcome, once durable: the value, or the TerminalError. Raises UnknownInvocation if it is not kept any more."""
        result: R = await self._app._result(self._seq)
        return result

    async def output(self) -> R:
        """The outcome, without waiting for it. Raises NotReady, or UnknownInvocation if it is not kept any more."""
        output: R = await _output(self._app, self._seq)
        return output

    async def cancel(self) -> None:
        """Ask it to end: `App.cancel` with its id."""
        await self._app.cancel(self.id)


class KeyedHandle(InvocationHandle[R]):
    """A send under an idempotency key. Await it, then `id` and `previously_accepted` are known."""

    __slots__ = ("_app", "_ids", "_placed")

    def __init__(self, app: Owner, placed: asyncio.Task[tuple[int, bool]]) -> None:
        self._app = app
        self._ids = app._running().ids
        self._placed = placed

    @property
    def id(self) -> str:
        return self._ids.invocation(self._known()[0])

    @property
    def previously_accepted(self) -> bool:
        """Whether an earlier request had taken the key."""
        return not self._known()[1]

    def _known(self) -> tuple[int, bool]:
        if not self._placed.done():
            raise MisusedFuture(
                "This message has an idempotency key, so it may stand for an earlier one. Await the handle "
                "first; then its id is known."
            )
        return self._placed.result()

    def __await__(self) -> Generator[Any, None, KeyedHandle[R]]:
        yield from done(self._placed, repeatable=True).__await__()
        return self

    async def result(self) -> R:
        """The outcome of the invocation the key stands for."""
        seq, _ = await done(self._placed, repeatable=True)
        result: R = await self._app._result(seq)
        return result

    async def output(self) -> R:
        """The same without waiting for it. Raises NotReady."""
        seq, _ = await done(self._placed, repeatable=True)
        output: R = await _output(self._app, seq)
        return output

    async def cancel(self) -> None:
        """Ask it to end: `App.cancel` with its id."""
        await self
        await self._app.cancel(self.id)


async def _output(app: Owner, seq: int) -> Any:
    partition = app._running()
    partition.background.check_running()
    async with partition.committer.gated():
        if seq not in partition.residents.open:
            await partition.committer.flushed()
            row = await partition.store.invocation(seq)
            if row is None or row.status >= Status.SUCCEEDED:
                return await app._result(seq)
        raise NotReady()


async def done(task: asyncio.Task[T], *, repeatable: bool = False) -> T:
    """The task's result. The task goes on if its caller is cancelled; it is cancelled only when the app closes.

    Then the caller may simply ask again if the request is `repeatable`, that is, has no effect twice.
    """
    check_loop(task.get_loop())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled() and not is_cancelled():
            if repeatable:
                raise AppNotRunning("The app was closed before this was done. Try again when it runs.") from None
            raise OutcomePending(
                "The app was closed before this request was answered, so it may have been done or not. Check when the app runs "
                "again."
            ) from None
        raise
