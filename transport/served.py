"""The app as its users know it: the runtime, and an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from actors.app.app import App as Runtime
from actors.errors import DefinitionError
from actors.transport.http.ingress import Ingress
from actors.transport.http.replies import Header, Reply
from actors.transport.http.requests import Receive, Scope, Send


class App(Runtime):
    """Serves classes of virtual objects, services and workflows from one database file: `async with App(Order) as app: ...`.

    `storage` is a URL: `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` for memory only. `retry` is the
    policy for handlers that have none of their own. `on_paused` is called with an InvocationInfo when an invocation is paused
    after its last attempt. `limits` bounds what is kept and accepted. `executor` runs the blocking functions given to `ctx.run`
    (default: 32 threads). `poll` is the interval, in seconds, at which the app looks for requests of the command line (default:
    0.25 if `storage` is a file, else 0: never). `http` holds the options of HTTP. `watcher` is notified of what happens, for
    example `actors.tracing.Tracing()`; a list of watchers is notified in its order. With `debug` (default: ACTORS_DEBUG of the
    environment) a NameError, TypeError and the like ends the invocation after three attempts, and its caller gets the traceback.
    `on_stopped` is called with the error when the app has stopped because its database failed; it may `await app.recover()`, as
    `actors serve` does. `on_trouble` is called once for each root cause that has lasted for a minute and needs a person, with
    the cause as `GET /restate/admin/trouble` shows it. `clock`, `random` and `store` are seams for tests. An App belongs to the
    event loop it is started on; one process can run several, each with a file of its own.
    """

    _ingress: Ingress | None = None
    _application: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Open the database and continue all open invocations. Raises StorageError or a subclass."""
        self._wrapped()  # a faulty middleware fails at once
        await super().start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the app: `uvicorn module:app`, or mount it in another ASGI application, whose lifespan then starts it."""
        await self._wrapped()(scope, receive, send)

    def _wrapped(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """This application inside its middleware, which is created once."""
        application = self._application
        if application is None:
            application = self._answer
            for factory in reversed(self.http.middleware):
                try:
                    made: Any = factory(application)
                except Exception as error:
                    raise DefinitionError(f"HttpOptions: the middleware {factory!r} failed: {error}") from error
                if not callable(made):
                    raise DefinitionError(
                        f"HttpOptions: the middleware {factory!r} returned {made!r}, not an application."
                    )
                application = made
            self._application = application
        return application

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._served().answer(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": "This server supports HTTP only."})
        else:
            raise RuntimeError(f"This ASGI application does not support the scope type {kind!r}.")

    def begin(self, scope: Scope, body: bytes, answer: Callable[[Reply], None]) -> Callable[[], object] | None:
        """The way past a task for simple calls under `actors serve`; see `Ingress.begin`."""
        return None if self.http.middleware else self._served().begin(scope, body, answer)

    def cross_origin(self, scope: Scope) -> tuple[Header, ...]:
        """The headers that let a page of another origin read a refusal by the server itself."""
        return self._served().cross_origin.headers(scope)

    def _served(self) -> Ingress:
        ingress = self._ingress
        if ingress is None:
            ingress = self._ingress = Ingress(self._gateway, self.http)
        return ingress

    def _serve_alone(self) -> None:
        """No other code answers under the origin of this app."""
        self._served().serve_alone()

    def _end_streams(self) -> None:
        """End the streams of pages that watch, and begin no more: the server stops."""
        self._served().streams.end()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        own = False
        while True:
            message: Any = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    if self._partition is None:
                        await self.start()
                        own = True
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                try:
                    if own:
                        await self.close()
                except Exception as error:
                    await send({"type": "lifespan.shutdown.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.shutdown.complete"})
                return
