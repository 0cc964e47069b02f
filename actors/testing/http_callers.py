"""Callers that reach the app over HTTP, by the client that users have.

Promise: what a caller receives is taken down as it arrives. A request without an idempotency key carries a header of its own, so that
one that was done twice is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from actors.errors import TerminalError, UnexpectedAnswer
from actors.model.bound_handler import BoundHandler
from actors.model.calls import Call, InvocationHandle
from actors.model.definitions import HandlerDefinition, key_for
from actors.model.futures import mark_seen
from actors.model.names import address
from actors.model.options import Options
from actors.testing.clients import Clients, Receipt
from actors.testing.connection import client_of
from actors.testing.machine import Machine
from actors.testing.survivors import SurvivingCall, SurvivingHandle
from actors.testing.world import World
from actors.transport.client import Client, calls
from actors.transport.client.answers import Answer
from actors.transport.client.calls import Ask
from actors.transport.client.remote_handle import RemoteHandle

T = TypeVar("T")

REQUEST = "exploring-request"  # the header by which a request without an idempotency key is known


@contextlib.asynccontextmanager
async def over_http(world: World) -> AsyncIterator[HttpCallers]:
    """The way in to a world over HTTP."""
    async with client_of(world.machine, {}, travels=True) as client:
        yield HttpCallers(world.machine, world.clients, client)


class HttpCallers:
    """A way in over HTTP, for all callers of a world. Its `client` is in use."""

    def __init__(self, machine: Machine, clients: Clients, client: Client) -> None:
        self._machine = machine
        self._clients = clients
        self._client = client
        self._requests = 0
        self._unexpected: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- as a dispatcher of references -----------------------------------------------------------------------------------------

    def handler(self, target: HandlerDefinition, key: str) -> BoundHandler[..., Any]:
        """A handler, to call or to send to."""
        return BoundHandler(self, target, key_for(target, key))

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Call[Any]:
        receipt = self._clients.calls(target, key, options, args, kwargs)
        ask = calls.call(target, key, args, kwargs, self._marked(target, options))
        return SurvivingCall(self._task(self._called(ask, receipt)))

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        receipt = self._clients.calls(target, key, options, args, kwargs)
        ask = calls.send(target, key, args, kwargs, self._marked(target, options))

        async def accepted() -> tuple[int, bool]:
            told = await self._ask(ask)
            seq = self._machine.ids.read_invocation(told.id)
            self._clients.accepted(receipt, seq, options.delay_ms > 0)
            return seq, not told.new

        def answer_of(seq: int) -> Awaitable[Any]:
            path = calls.invocation_path(self._machine.ids.invocation(seq))
            handle = RemoteHandle[Any](self._ask, path, target.returns)
            return self._answered(handle.result(), receipt, lambda: seq)

        return SurvivingHandle(self._machine, self._task(accepted()), answer_of)

    async def _called(self, ask: Ask[Any], receipt: Receipt) -> Any:
        seqs: list[int] = []

        def read(answer: Answer) -> Any:
            if (id := answer.headers.get("x-restate-id")) is not None:
                seqs.append(self._machine.ids.read_invocation(id))
            return ask.read(answer)

        asked = self._ask(dataclasses.replace(ask, read=read))
        return await self._answered(asked, receipt, lambda: seqs[-1] if seqs else None)

    async def _ask(self, ask: Ask[T]) -> T:
        try:
            return await self._client.ask(ask)
        except UnexpectedAnswer as error:
            self._unexpected.append(f"{ask.method} {ask.path}: {error}")
            raise

    async def _answered(self, asked: Awaitable[T], receipt: Receipt, seq: Callable[[], int | None]) -> T:
        """What was received, taken down. A client that has no answer knows nothing."""
        try:
            value = await asked
        except TerminalError as error:
            self._clients.answered(receipt, seq(), error=error)
            raise
        self._clients.answered(receipt, seq(), value)
        return value

    def _marked(self, target: HandlerDefinition, options: Options) -> Options:
        if options.idempotency_key is not None or target.once:
            return options
        self._requests += 1
        return Options(options.delay_ms, {**(options.headers or {}), REQUEST: str(self._requests)})

    def _task(self, work: Awaitable[T]) -> asyncio.Task[T]:
        caller = asyncio.current_task()
        task = asyncio.ensure_future(work)
        if caller is not None:
            task.set_name(caller.get_name())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        mark_seen(task)

    # --- people and operators --------------------------------------------------------------------------------------------------

    async def resolve(self, id: str, value: Any) -> None:
        """Complete an awakeable with a value."""
        await self._ask(calls.resolve(id, value))

    async def reject(self, id: str, reason: str) -> None:
        """Reject an awakeable."""
        await self._ask(calls.reject(id, reason))

    async def cancel(self, id: str) -> None:
        """Cancel an invocation."""
        await self._ask(calls.operate("cancel", id))

    # --- at the end --------------------------------------------------------------------------------------------------------------

    def findings(self) -> Iterator[str]:
        """A line for each answer of a server that failed, and for each request that was made once and done more often."""
        yield from self._unexpected
        for service, key, handler, number, count in self._machine.disk.query(
            "SELECT min(service), min(CASE shared WHEN 2 THEN '' ELSE key END), min(handler), "
            "json_extract(headers, ?) AS number, count(*) FROM invocation WHERE number IS NOT NULL "
            "GROUP BY number HAVING count(*) > 1 ORDER BY min(seq)",
            f'$."{REQUEST}"',
        ):
            name = address(service, key, handler)
            yield f"{name} was requested once, without an idempotency key (request {number}), and done {count} times."
