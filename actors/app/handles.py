"""Handles for calls and sends made outside of handlers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any, TypeVar

from actors.app.entry import check_loop
from actors.app.gateway import Gateway
from actors.app.partitions import done
from actors.attempt.invocation import Invocation
from actors.engine.partition import Partition
from actors.errors import MisusedFuture
from actors.model.calls import AwaitedOutside, Call, InvocationHandle

R = TypeVar("R")

_this_thread = threading.get_ident


class ClientCall(AwaitedOutside, Call[R]):
    """A call from outside of handlers, under way. Awaiting it gives the value once that is durable.

    Cancelling a waiter cancels its future, so every waiter gets its own.
    """

    __slots__ = ("_awaited", "_first", "_gateway", "_invocation", "_partition")

    def __init__(
        self, gateway: Gateway, partition: Partition, invocation: Invocation, future: asyncio.Future[R]
    ) -> None:
        self._gateway = gateway
        self._partition = partition
        self._invocation = invocation
        self._awaited: asyncio.Future[R] | None = future  # for the first await
        self._first = future

    def __await__(self) -> Generator[Any, None, R]:
        if _this_thread() != self._partition.thread:  # on the same thread, asyncio refuses a future of another loop
            check_loop(self._partition.loop)
        future, self._awaited = self._awaited, None
        return (future if future is not None else self._again()).__await__()

    async def _again(self) -> R:
        invocation = self._invocation
        if not invocation.ended:
            result: R = await self._gateway.result(invocation.seq)
            return result
        if not self._first.done() or self._first.cancelled() or self._first.exception() is not None:
            await self._partition.committer.flushed()  # of the partition the call ended in: a failed commit raises
        ended: R = invocation.result()
        return ended


class KeyedCall(AwaitedOutside, Call[R]):
    """A call under an idempotency key, under way: it may stand for an earlier call."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[R]) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, R]:
        return (yield from done(self._task, repeatable=True).__await__())


class ClientHandle(InvocationHandle[R]):
    """An invocation known by its id. The id survives restarts: `app.invocation(id)` creates a handle again."""

    __slots__ = ("_accepted", "_gateway", "_ids", "_partition", "_seq")

    def __init__(self, gateway: Gateway, partition: Partition, seq: int, accepted: asyncio.Future[None] | None) -> None:
        self._gateway = gateway
        self._seq = seq
        self._accepted = accepted
        self._ids = partition.ids
        self._partition = partition if accepted is not None else None  # None once the acceptance is durable

    @property
    def id(self) -> str:
        return self._ids.invocation(self._seq)  # made only when it is read: few ids are, and each takes a hash

    def __await__(self) -> Generator[Any, None, ClientHandle[R]]:
        partition = self._partition
        if partition is not None and _this_thread() != partition.thread:
            check_loop(partition.loop)
        accepted, self._accepted = self._accepted, None
        if accepted is not None:
            yield from accepted.__await__()
            self._partition = None
        elif self._partition is not None:  # the future belongs to an earlier await, and is cancelled with that
            yield from self._partition.committer.flushed().__await__()
        return self

    async def result(self) -> R:
        """The outcome, once durable: the value, or the TerminalError. Raises UnknownInvocation if it is no longer kept."""
        result: R = await self._gateway.result(self._seq)
        return result

    async def output(self) -> R:
        """The outcome, without waiting for it. Raises NotReady, or UnknownInvocation if the invocation is no longer kept."""
        output: R = await self._gateway.output_value(self._seq)
        return output

    async def cancel(self) -> None:
        """Ask the invocation to end: `App.cancel` with its id."""
        await self._gateway.cancel(self.id)


class KeyedHandle(InvocationHandle[R]):
    """A send under an idempotency key. Await it, then `id` and `previously_accepted` are known."""

    __slots__ = ("_gateway", "_ids", "_placed")

    def __init__(self, gateway: Gateway, placed: asyncio.Task[tuple[int, bool]]) -> None:
        self._gateway = gateway
        self._ids = gateway.partitions.entered().ids
        self._placed = placed

    @property
    def id(self) -> str:
        return self._ids.invocation(self._known()[0])

    @property
    def previously_accepted(self) -> bool:
        """Whether an earlier request had used the key."""
        return not self._known()[1]

    def _known(self) -> tuple[int, bool]:
        if not self._placed.done():
            raise MisusedFuture(
                "This message has an idempotency key, so it may stand for an earlier message. Await the handle "
                "first; then its id is known."
            )
        return self._placed.result()

    def __await__(self) -> Generator[Any, None, KeyedHandle[R]]:
        yield from done(self._placed, repeatable=True).__await__()
        return self

    async def result(self) -> R:
        """The outcome of the invocation that the key stands for."""
        seq, _ = await done(self._placed, repeatable=True)
        result: R = await self._gateway.result(seq)
        return result

    async def output(self) -> R:
        """The outcome of the invocation that the key stands for, without waiting for it. Raises NotReady."""
        seq, _ = await done(self._placed, repeatable=True)
        output: R = await self._gateway.output_value(seq)
        return output

    async def cancel(self) -> None:
        """Ask the invocation to end: `App.cancel` with its id."""
        await self
        await self._gateway.cancel(self.id)
