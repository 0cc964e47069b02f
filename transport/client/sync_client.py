"""The client for programs without an event loop: a thin layer over a `Client` that runs on a loop in its own thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from actors.errors import BadArguments, ClientClosed
from actors.model.bound_handler import BoundHandler
from actors.model.calls import InvocationHandle
from actors.model.definitions import HandlerDefinition
from actors.model.options import Options
from actors.model.service import Service
from actors.model.virtual_object import VirtualObject
from actors.transport.client.client import Client, NamedHandler

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K", bound=VirtualObject)
S = TypeVar("S", bound=Service)


class SyncClient:
    """`with SyncClient("http://localhost:8080") as client: client.call(client.object(Order, "o1").add, "book")`.

    Takes the arguments of Client. References only name a handler: `client.call(order.add, "book")` calls it, and
    `client.send(order.add, "book")` sends to it. `run` reaches the other methods of Client. Threads may share a client.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", **options: Any) -> None:
        self._client = Client(url, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise ClientClosed("This client is already in use. Make another client.")
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="actors-client", daemon=True)
        try:
            thread.start()
        except BaseException:
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        try:
            self.run(Client.__aenter__)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(_closed)
        finally:
            self._stop()

    def _stop(self) -> None:
        assert self._loop is not None and self._thread is not None
        loop, self._loop = self._loop, None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run `work` with the Client and wait for its value: `client.run(lambda c: c.cancel(id))`. Ctrl-C cancels the work."""
        if self._loop is None:
            raise ClientClosed("This client is not in use. Use it inside 'with client:'.")

        async def worked() -> T:
            return await work(self._client)

        future = asyncio.run_coroutine_threadsafe(worked(), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosed("The client was closed by another thread. The request may have been done.") from None
        except BaseException:
            future.cancel()
            raise

    def object(self, cls: type[K], key: str) -> K:
        """A typed reference to an object or workflow, for `call` and `send`. Raises the errors of Client.object."""
        reference = self._client.object(cls, key)
        return type(reference)(self, key)  # type: ignore[call-arg]

    def service(self, cls: type[S]) -> S:
        """A typed reference to a Service, for `call` and `send`."""
        reference = self._client.service(cls)
        return type(reference)(self, "")  # type: ignore[call-arg]

    def handler(self, service: str, key: str, name: str) -> NamedHandler:
        """A handler by name, optionally with options, for `call` and `send`."""
        return self._client.handler(service, key, name)

    @overload
    def call(self, handler: BoundHandler[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def call(self, handler: NamedHandler, /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def call(self, service: str, key: str, handler: str, /, *args: Any, **kwargs: Any) -> Any: ...

    def call(self, handler: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a handler, given as a reference's handler or by (service, key, handler), and wait for its value."""
        if isinstance(handler, (BoundHandler, NamedHandler)):
            bound: Any = self._bound(handler) if isinstance(handler, BoundHandler) else handler
            return self.run(lambda client: bound(*args, **kwargs))
        return self.run(lambda client: client.call(handler, *args, **kwargs))

    @overload
    def send(self, handler: BoundHandler[P, T], /, *args: P.args, **kwargs: P.kwargs) -> SyncHandle[T]: ...

    @overload
    def send(self, handler: NamedHandler, /, *args: Any, **kwargs: Any) -> SyncHandle[Any]: ...

    @overload
    def send(self, service: str, key: str, handler: str, /, *args: Any, **options: Any) -> SyncHandle[Any]: ...

    def send(self, handler: Any, /, *args: Any, **kwargs: Any) -> SyncHandle[Any]:
        """Send one way; returns once the message is durable."""
        if isinstance(handler, (BoundHandler, NamedHandler)):
            bound: Any = self._bound(handler) if isinstance(handler, BoundHandler) else handler
            return SyncHandle(self, self.run(lambda client: bound.send(*args, **kwargs)))
        return SyncHandle(self, self.run(lambda client: client.send(handler, *args, **kwargs)))

    def invocation(self, id: str, type: Any = Any) -> SyncHandle[Any]:
        """The handle of an invocation by its id."""
        return SyncHandle(self, self._client.invocation(id, type))

    def invocation_of(self, handler: BoundHandler[..., T]) -> SyncHandle[T]:
        """The handle of the invocation with an idempotency key: see Client.invocation_of."""
        return SyncHandle(self, self._client.invocation_of(handler))

    def resolve_awakeable(self, id: str, value: Any = None) -> None:
        self.run(lambda client: client.resolve_awakeable(id, value))

    def reject_awakeable(self, id: str, reason: str) -> None:
        self.run(lambda client: client.reject_awakeable(id, reason))

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Any:
        raise BadArguments(f"SyncClient has no event loop to await on: use client.call(reference.{target.name}, ...).")

    def dispatch_send(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Any:
        raise BadArguments(f"SyncClient has no event loop to await on: use client.send(reference.{target.name}, ...).")

    def _bound(self, handler: BoundHandler[P, T]) -> BoundHandler[P, T]:
        return BoundHandler(self._client, handler._definition, handler._key, handler._options)


class SyncHandle(Generic[T]):
    """An invocation on a server, with blocking methods."""

    __slots__ = ("_client", "_handle")

    def __init__(self, client: SyncClient, handle: InvocationHandle[T]) -> None:
        self._client = client
        self._handle = handle

    @property
    def id(self) -> str:
        return self._handle.id

    @property
    def previously_accepted(self) -> bool:
        return self._handle.previously_accepted

    def result(self) -> T:
        """Wait for the outcome."""
        return self._client.run(lambda client: self._handle.result())

    def output(self) -> T:
        """The outcome, without waiting. Raises NotReady if there is none yet."""
        return self._client.run(lambda client: self._handle.output())

    def cancel(self) -> None:
        """Request cancellation of the invocation."""
        self._client.run(lambda client: self._handle.cancel())


async def _closed(client: Client) -> None:
    """Close the client, and cancel the requests of other threads: the loop is about to stop."""
    await client.__aexit__(None, None, None)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
