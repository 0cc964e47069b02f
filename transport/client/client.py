"""A client of a served app: the same typed references, over HTTP.

Promise: a request is repeated only if sending it twice has the effect of sending it once, or if nothing was sent; and a
caller that stops waiting does not cancel an invocation.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from random import Random
from types import TracebackType
from typing import Any, Never, Self, TypeVar

from actors.errors import BadArguments, ClientClosed, RequestTimedOut, ServerUnreachable
from actors.model.bound_handler import BoundHandler
from actors.model.calls import Call
from actors.model.definitions import HandlerDefinition, definition_of, key_for
from actors.model.durations import milliseconds, remaining
from actors.model.futures import mark_seen
from actors.model.names import checked_key
from actors.model.options import Options, checked_headers
from actors.model.references import keyed, keyless
from actors.model.retry import RetryPolicy
from actors.model.service import Service
from actors.model.spelling import refuse_unknown
from actors.model.virtual_object import VirtualObject
from actors.serde import ANY, Codec, codec_for
from actors.transport.client import calls
from actors.transport.client.answers import LONGEST_PAUSE_S, Answer, refused_for_now, retry_after_s
from actors.transport.client.calls import Accepted, Ask, Operation
from actors.transport.client.connection import NO_TIMEOUT, RemoteCall, checked_url, headers_with, said, sockets
from actors.transport.client.remote_handle import RemoteHandle

try:
    import httpx
except ModuleNotFoundError as missing:
    if missing.name != "httpx":
        raise
    raise ModuleNotFoundError(
        "The client requires httpx. Install it: pip install 'virtual-actors[client]'", name="httpx"
    ) from None

T = TypeVar("T")
K = TypeVar("K", bound=VirtualObject)
S = TypeVar("S", bound=Service)

ANSWER_TIMEOUT_S = 30.0  # for requests that do not wait for an invocation
RETRY = RetryPolicy(max_attempts=5, max_interval=5.0)


class Client:
    """Calls a served app: `async with Client("http://localhost:8080") as client: await client.object(Order, "o1").add("book")`.

    `url` is where the app is served, with the prefix it is mounted under; `uds` the Unix socket of its server. `token` is sent
    as a bearer token. `timeout` (seconds) is how long a call or `result()` waits; by default, as long as the invocation is
    open. All other requests wait for 30 seconds, or for `timeout` if that is less. `retry` says how often, and after which
    pauses, a request is repeated when no connection can be made. A GET, a workflow's run, the completion of an awakeable, and
    a request with an idempotency key are also repeated when the connection breaks, and after an answer of 429, 502, 503 or
    504, with the pause that its Retry-After names.

    `app` calls an ASGI application in this process instead, which must be running: no socket is needed. `transport` (of httpx),
    `random` and `sleep` are seams. A client belongs to the event loop it was entered on. The number of connections is not
    limited: a thousand waiting calls must not block the call that would let them continue.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        token: str | None = None,
        timeout: float | None = None,
        retry: RetryPolicy = RETRY,
        uds: str | None = None,
        app: Callable[..., Awaitable[None]] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **unknown: Never,
    ) -> None:
        refuse_unknown(
            "Client(...)", unknown, ("token", "timeout", "retry", "uds", "app", "transport", "random", "sleep")
        )
        self._url = checked_url(url)
        self._headers = headers_with(token)
        self._timeout = milliseconds(timeout, "timeout") / 1000 if timeout is not None else None
        if self._timeout == 0:
            raise BadArguments("timeout=0 leaves no time for an answer. Use seconds, or None for no limit.")
        self._retry = retry
        self._uds = uds
        self._app = app
        self._transport = transport
        self._random = random or Random()
        self._sleep = sleep
        self._http: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Client of {self._url}>"

    async def __aenter__(self) -> Self:
        if self._http is not None:
            raise ClientClosed("This client is already in use. Make another client.")
        transport = self._transport
        if transport is None:
            transport = httpx.ASGITransport(self._app) if self._app is not None else sockets(self._uds)
        # The environment is ignored: a proxy configured there for the web must not be used for a server nearby.
        self._http = httpx.AsyncClient(transport=transport, trust_env=False, timeout=NO_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        http, self._http = self._http, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if http is not None:
            await http.aclose()

    # --- messages -------------------------------------------------------------------------------------------------------

    def object(self, cls: type[K], key: str) -> K:
        """A typed reference to one object or workflow. Raises BadKey, or WrongKind for a Service."""
        return keyed(definition_of(cls), self, checked_key(key))  # type: ignore[no-any-return]

    def service(self, cls: type[S]) -> S:
        """A typed reference to a Service. Raises WrongKind for a class with keys."""
        return keyless(definition_of(cls), self)  # type: ignore[no-any-return]

    def handler(self, service: str, key: str, name: str) -> NamedHandler:
        """A handler by name, if its class cannot be imported here, to call or send to. The key of a Service is ""."""
        return NamedHandler(self, service, key, name)

    def call(self, service: str, key: str, handler: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call a handler by name, if its class cannot be imported here; the key of a Service is "".

        Arguments are stored by their own types; the value is returned as JSON types, or as bytes.
        """
        return self.handler(service, key, handler)(*args, **kwargs)

    def send(
        self,
        service: str,
        key: str,
        handler: str,
        /,
        *args: Any,
        delay: float | datetime.timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> RemoteHandle[Any]:
        """Send one way by name, to be delivered `delay` seconds later.

        If parameters of the handler have the names of these options: `client.handler(...).options(...).send(...)`.
        """
        named = self.handler(service, key, handler)
        return named.options(delay=delay, idempotency_key=idempotency_key, headers=headers).send(*args, **kwargs)

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Call[Any]:
        return self._under_way(calls.call(target, key, args, kwargs, options))

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> RemoteHandle[Any]:
        return self._accepted(calls.send(target, key, args, kwargs, options), target.returns)

    # --- invocations and awakeables ---------------------------------------------------------------------------------------

    def invocation(self, id: str, type: Any = Any) -> RemoteHandle[Any]:
        """The handle of an invocation by its id; `type` is the type of its value."""
        return RemoteHandle(self.ask, calls.invocation_path(id), codec_for(type, "type"), id)

    def invocation_of(self, handler: BoundHandler[..., T]) -> RemoteHandle[T]:
        """The handle of the invocation with the idempotency key in a handler's options, or of a workflow's run.

        `client.invocation_of(order.add.options(idempotency_key="k"))`. Raises BadArguments without a key.
        """
        target, key = handler._definition, key_for(handler._definition, handler._key)
        idempotency_key = handler._options.idempotency_key
        if idempotency_key is not None:
            path = calls.keyed_path(target.service.name, key, target.name, idempotency_key)
        elif target.once:
            path = calls.run_path(target.service.name, key)
        else:
            raise BadArguments(f"{target.target}: identify the invocation with .options(idempotency_key=...).")
        return RemoteHandle(self.ask, path, target.returns)

    def invocation_by_key(
        self, service: str, key: str, handler: str, idempotency_key: str, type: Any = Any
    ) -> RemoteHandle[Any]:
        """The handle of the invocation with an idempotency key, by the names of its class and handler."""
        path = calls.keyed_path(service, key, handler, idempotency_key)
        return RemoteHandle(self.ask, path, codec_for(type, "type"))

    async def cancel(self, id: str) -> None:
        """Request cancellation of an invocation, as `App.cancel` does. A route for operators: it may require a token."""
        await self.operate("cancel", id)

    async def operate(self, operation: Operation, id: str) -> None:
        """Cancel, kill, pause, resume or purge an invocation, like the App methods of these names."""
        await self.ask(calls.operate(operation, id))

    async def restart(self, id: str, keep: int = 0, type: Any = Any) -> RemoteHandle[Any]:
        """Repeat an ended invocation, as `App.restart` does; `type` is the type of its value."""
        return self.invocation(await self.ask(calls.restart(id, keep)), type)

    async def state(self, service: str, key: str) -> dict[str, Any]:
        """The state of an object, by name, as JSON types. A route for operators."""
        return await self.ask(calls.state(service, key))

    async def resolve_awakeable(self, id: str, value: Any = None) -> None:
        """Complete an awakeable, as `App.resolve_awakeable` does and with its errors."""
        await self.ask(calls.resolve(id, value))

    async def reject_awakeable(self, id: str, reason: str) -> None:
        """Make the awaiting handler fail with AwakeableRejected(reason)."""
        await self.ask(calls.reject(id, reason))

    # --- requests ---------------------------------------------------------------------------------------------------------

    async def ask(self, ask: Ask[T]) -> T:
        """The value of one request of `actors.transport.client.calls`. Raises the error in the answer, or ServerUnreachable,
        RequestTimedOut, UnexpectedAnswer or ClientClosed."""
        http = self._http
        if http is None:
            raise ClientClosed("This client is not in use. Use it inside 'async with client:'.")
        seconds = self._timeout if ask.waits else min(ANSWER_TIMEOUT_S, self._timeout or ANSWER_TIMEOUT_S)
        unsent: list[ServerUnreachable] = []  # why the last try sent nothing
        try:
            async with asyncio.timeout(seconds) as limit:
                answer = await self._answer(http, ask, unsent)
        except TimeoutError:
            if not limit.expired():
                raise
            if unsent:
                raise unsent[-1] from None
            advice = "Ask again." if ask.repeatable else "With an idempotency key a repeated request is not done twice."
            raise RequestTimedOut(
                f"{self._url} did not answer within {seconds:g} s. A call that the server has accepted goes on. {advice}"
            ) from None
        return ask.read(answer)

    async def _answer(self, http: httpx.AsyncClient, ask: Ask[Any], unsent: list[ServerUnreachable]) -> Answer:
        failures = 0
        sent = False
        while True:
            pause_s: float | None = None
            error: ServerUnreachable | None = None
            answer: Answer | None = None
            again = ask.repeatable
            if self._http is not http:
                raise ClientClosed("The client was closed before the answer came. The request may have been done.")
            try:
                got = await http.request(
                    ask.method, self._url + ask.path, content=ask.body, headers=[*self._headers, *ask.headers]
                )
                unsent.clear()
                answer = Answer(got.status_code, got.headers, got.content)
                if not again or not refused_for_now(answer):
                    return answer
                pause_s = retry_after_s(answer, datetime.datetime.now(datetime.UTC))
            except (httpx.ConnectError, httpx.ConnectTimeout) as refused:
                again = True  # nothing was sent
                error = ServerUnreachable(
                    f"No server answers at {self._url} ({said(refused)}). "
                    + ("The earlier request may have been done." if sent else "Nothing was done.")
                    + " Start the server, or correct the URL."
                )
                unsent.append(error)
            except httpx.TransportError as broken:
                sent = True
                unsent.clear()
                error = ServerUnreachable(
                    f"{self._url} closed the connection before it answered ({said(broken)}). The request may "
                    "have been done. "
                    + ("Ask again." if again else "With an idempotency key a repeated request is not done twice.")
                )
            except httpx.InvalidURL as invalid:
                raise BadArguments(f"The name cannot be part of a URL: {invalid}.") from None
            except httpx.DecodingError as unreadable:
                return Answer(502, {}, f"the body cannot be decompressed: {said(unreadable)}".encode())
            failures += 1
            if not again or self._retry.exhausted(failures) or (pause_s or 0.0) > LONGEST_PAUSE_S:
                if answer is not None:
                    return answer
                assert error is not None
                raise error
            backoff_s = self._retry.delay_ms(failures, self._random) / 1000
            await self._sleep(max(backoff_s, pause_s or 0.0))

    def _under_way(self, ask: Ask[T]) -> RemoteCall[T]:
        return RemoteCall(self._task(ask))

    def _accepted(self, ask: Ask[Accepted], codec: Codec) -> RemoteHandle[Any]:
        return RemoteHandle(self.ask, None, codec, accepted=self._task(ask))

    def _task(self, ask: Ask[T]) -> asyncio.Task[T]:
        if self._http is None:
            raise ClientClosed("This client is not in use. Use it inside 'async with client:'.")
        task = asyncio.get_running_loop().create_task(self.ask(ask))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        mark_seen(task)


class NamedHandler:
    """A handler by name, if its class cannot be imported here: call it, send to it, or set options first."""

    __slots__ = ("_client", "_options", "_target")

    def __init__(self, client: Client, service: str, key: str, handler: str, options: Options | None = None) -> None:
        self._client = client
        self._target = (service, key, handler)
        self._options = options or Options()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call the handler now; the value is returned as JSON types, or as bytes."""
        if self._options.delay_ms:
            raise BadArguments("delay= goes with send: a call waits for its answer. Use .options(delay=...).send(...).")
        body, kind = calls.arguments(args, kwargs)
        return self._client._under_way(calls.call_by_name(*self._target, body, kind, self._options))

    def send(self, /, *args: Any, **kwargs: Any) -> RemoteHandle[Any]:
        """One way."""
        body, kind = calls.arguments(args, kwargs)
        return self._client._accepted(calls.send_by_name(*self._target, body, kind, self._options), ANY)

    def options(
        self,
        *,
        delay: float | datetime.timedelta | None = None,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        **unknown: Never,
    ) -> NamedHandler:
        """The same handler with options, which are those of a typed reference's handler."""
        if unknown:
            refuse_unknown(".options(...)", unknown, ("delay", "headers", "idempotency_key"))
        options = Options(
            remaining(delay, "delay") if delay is not None else self._options.delay_ms,
            checked_headers(headers) if headers is not None else self._options.headers,
            idempotency_key if idempotency_key is not None else self._options.idempotency_key,
        )
        return NamedHandler(self._client, *self._target, options)
