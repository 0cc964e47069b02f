"""The ASGI application that a restate-server discovers and calls."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from actors.errors import short_reason
from actors.model.definitions import HandlerDefinition
from actors.model.engine_options import EngineOptions
from actors.tasks.factory import TaskFactory, see_tasks
from actors.transport.restate.attempt import Attempt
from actors.transport.restate.channel import Channel, Disconnected, Receive, Send
from actors.transport.restate.machine import Headers, Machine, MachineError
from actors.transport.restate.manifest import VERSIONS, manifest
from actors.transport.restate.schedules import with_schedules
from actors.transport.restate.sdk import Sdk
from actors.transport.restate.served import ServedClasses

log = logging.getLogger("actors")

STEP_THREADS = 32
LOOK_EVERY_S = 0.02  # how often an endpoint that stops looks for handlers that only wait
SERVER = "virtual-actors"

_encode = msgspec.json.Encoder().encode


class Served(Protocol):
    def engine_options(self) -> EngineOptions: ...


def endpoint(app: Served, *, identity_keys: Sequence[str] = (), streams: bool | None = None) -> Endpoint:
    """An ASGI application that serves the classes of `app` to a restate-server; the app itself is not started.

    With `identity_keys` (`publickeyv1_…`) only signed requests are answered. `streams` says whether requests and responses go both
    ways at once; by default they do unless the server comes with HTTP/1.1. Raises ActorsError if restate-sdk is missing or
    unsupported, or a key is not valid; DefinitionError for a class with a name that is not available.
    """
    options = with_schedules(app.engine_options())
    sdk = Sdk()
    verifier = sdk.verifier(identity_keys) if identity_keys else None
    return Endpoint(options, sdk.machine, verifier.accepts if verifier is not None else None, streams, time.time)


class Endpoint:
    """`machine` makes the state machine of a request with these headers. `accepts` says whether a request was signed."""

    def __init__(
        self,
        options: EngineOptions,
        machine: Callable[[Headers], Machine],
        accepts: Callable[[Headers, str], bool] | None,
        streams: bool | None,
        now: Callable[[], float],
    ) -> None:
        self._threads = ThreadPoolExecutor(STEP_THREADS, "actors-step") if options.executor is None else None
        self._served = ServedClasses(options, options.executor or self._threads, now)
        self._machine = machine
        self._accepts = accepts
        self._streams = streams
        self._open: dict[asyncio.Task[Any], Attempt] = {}
        self._closing = False
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, TaskFactory] = weakref.WeakKeyDictionary()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            raise RuntimeError(f"The endpoint serves HTTP, not {scope['type']}.")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                self.close()
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    def close(self) -> None:
        """Let the loop and the threads go. Steps that are being executed end by themselves."""
        for loop, factory in list(self._loops.items()):
            factory.release(loop)
        self._loops.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def drain(self, grace_s: float) -> None:
        """Take no more requests. Handlers that wait are left at once, those that execute steps after `grace_s`: the server asks
        another endpoint, or this one again.
        """
        self._closing = True
        deadline = time.monotonic() + grace_s
        while self._open:
            over = time.monotonic() >= deadline
            for task, attempt in list(self._open.items()):
                if over or not attempt.busy:
                    task.cancel()
            await asyncio.sleep(LOOK_EVERY_S)

    def discovery(self, version: int, streams: bool) -> dict[str, Any]:
        """The discovery document."""
        served = self._served
        return manifest(served.catalog, served.limits, served.retry, version, streams)

    async def _request(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path, headers = scope["path"], _headers(scope)
        if path.endswith("/health"):
            await _answer(send, 200, "application/json", b'{"status":"ok"}')
            return
        if self._accepts is not None and not self._accepts(headers, path):
            await _answer(send, 401, "text/plain", b"The request is not signed by a known key.")
            return
        streams = self._streams if self._streams is not None else scope.get("http_version", "1.1") != "1.1"
        if path.endswith("/discover"):
            await self._discover(headers, streams, send)
            return
        if self._closing:
            await _answer(send, 503, "text/plain", b"The endpoint stops. Ask again.")
            return
        handler = self._handler(path)
        if handler is None:
            await _answer(send, 404, "text/plain", b"This handler is not served here.")
            return
        try:
            machine = self._machine(headers)
        except MachineError as error:
            await _answer(send, 415, "text/plain", str(error).encode())
            return
        await self._invoke(handler, machine, Channel(receive, send, machine, SERVER), streams)

    async def _discover(self, headers: Headers, streams: bool, send: Send) -> None:
        accepted = ",".join(value for name, value in headers if name == "accept")
        for version in VERSIONS:
            kind = f"application/vnd.restate.endpointmanifest.v{version}+json"
            if kind in accepted:
                await _answer(send, 200, kind, _encode(self.discovery(version, streams)))
                return
        await _answer(send, 415, "text/plain", b"The endpoint requires restate-server 1.5 or newer.")

    def _handler(self, path: str) -> HandlerDefinition | None:
        parts = path.split("/")
        if len(parts) < 4 or parts[-3] != "invoke":
            return None
        service = self._served.catalog.services.get(parts[-2])
        return service.handlers.get(parts[-1]) if service is not None else None

    async def _invoke(self, handler: HandlerDefinition, machine: Machine, channel: Channel, streams: bool) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = see_tasks(loop)
        attempt = Attempt(self._served, handler, machine, channel)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = attempt
        try:
            try:
                await channel.begin()
                await attempt.run()
            except MachineError as error:
                log.warning("%s: %s", handler.target, error)
            except Disconnected:
                raise
            except Exception as error:  # a fault of this package must not break the stream
                log.exception("%s: the attempt has failed inside the framework", handler.target)
                machine.fail_attempt(short_reason(error), "")  # callers may see what the server is told
            await channel.end(streams)
        except Disconnected:
            pass  # the server asks again, here or elsewhere
        finally:
            del self._open[task]
            channel.close()


def _headers(scope: dict[str, Any]) -> Headers:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]


async def _answer(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
