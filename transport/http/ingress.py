"""The app over HTTP: a raw ASGI application.

Promise: an answer of 200 or 202 is sent only after its content is durable, and a client that hangs up cancels nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from time import perf_counter
from typing import Any, NoReturn, TypeVar, assert_never

from actors.app.gateway import Gateway
from actors.errors import AppNotRunning, BadArguments, OutcomePending, TerminalError
from actors.http_options import Cors, HttpOptions
from actors.transport.http.access import Access
from actors.transport.http.admin import AdminRoutes
from actors.transport.http.arguments import is_json, json_fault, read_arguments
from actors.transport.http.console import Console, moved
from actors.transport.http.cors import CrossOrigin
from actors.transport.http.durations import delay_ms
from actors.transport.http.metrics import RequestCounts, metrics_reply
from actors.transport.http.pages import Pages
from actors.transport.http.replies import (
    NOT_READY,
    Header,
    Reply,
    acceptance_reply,
    error_reply,
    json_reply,
    outcome_reply,
    refusal,
    wrong_method,
)
from actors.transport.http.requests import Disconnected, Receive, Request, Scope, Send
from actors.transport.http.routes import (
    Admin,
    Attach,
    AttachByKey,
    BadRoute,
    Complete,
    ConsoleFile,
    Invoke,
    Kind,
    Moved,
    Page,
    Route,
    route,
)
from actors.transport.http.streams import Stream, Streams

log = logging.getLogger("actors.http")

T = TypeVar("T")


class Ingress:
    """One per app. Independent of sockets: any ASGI server calls it, or another ASGI app that it is mounted in."""

    def __init__(self, gateway: Gateway, options: HttpOptions) -> None:
        self._gateway = gateway
        self._options = options
        self._access = Access(options)
        self.cross_origin = CrossOrigin(options.cors if isinstance(options.cors, Cors) else None)
        self.streams = Streams()
        self._admin = AdminRoutes(gateway, self.streams)
        self._counts = RequestCounts()
        self._pages = Pages(gateway.services.values(), self._access.guarded)
        self._console = Console()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the scope type `http`."""
        began = perf_counter()
        handler = "", ""
        added = self.cross_origin.headers(scope)
        reply: Reply | Stream | None = self._access.oversized(scope)
        if reply is None and (reply := self.cross_origin.preflight(scope)):
            added = ()
        if reply is None:
            request = Request(scope, receive, self._options.body_timeout)
            try:
                reply = await self._reply(request)
            except Disconnected:
                return
            except asyncio.CancelledError as error:
                if GIVEN_UP not in str(error):
                    raise  # by code around this: it waits for the cancellation to arrive
                reply = _given_up(request)
            handler = request.handler
        if isinstance(reply, Stream):
            refused = self.streams.full() or _without_chunks(scope)
            if refused is None:
                await self._stream(reply, request, send, added)
                return
            reply = refused
        self._counts.add(*handler, reply.status, perf_counter() - began)
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [*reply.headers, *added, *_length(reply)],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def serve_alone(self) -> None:
        """No other code answers under the origin of this app, so its console is known by its origin."""
        self._access.alone = True

    async def _stream(self, stream: Stream, request: Request, send: Send, added: Iterable[Header]) -> None:
        """Send a stream until it ends, or its client hangs up."""
        request.set_streamed()
        self.streams.open.add(stream)  # no await since it was found that there is room
        start = {"type": "http.response.start", "status": 200, "headers": [*stream.headers, *added]}
        sending = asyncio.ensure_future(_sent(start, stream, send))
        gone = asyncio.ensure_future(request.gone())
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.streams.open.discard(stream)
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    def begin(self, scope: Scope, body: bytes, answer: Callable[[Reply], None]) -> Callable[[], object] | None:
        """Accept a plain call that has arrived completely, without a task of its own; `answer` receives the reply.

        Call the returned function if the client hangs up. Returns None for all other requests, and for a call that must be
        refused: then nothing has happened, and the method `answer` handles the request, or refuses it.
        """
        began = perf_counter()
        if self._access.guarded or self._access.oversized(scope) is not None:
            return None
        request = Request(scope, _never, 0)
        if request.idempotency_key is not None or request.method != "POST" or scope["query_string"]:
            return None
        if request.refused is not None or request.content_coding or request.cross_site:
            return None
        gateway = self._gateway
        try:
            asked = route(request.path, self._kind_of)
            if type(asked) is not Invoke or asked.send or len(body) > gateway.max_payload:
                return None
            target = gateway.target(asked.service, asked.key, asked.handler)
            if target.once:
                return None
            args, kwargs = read_arguments(target, body, request.content_type)
            begun = gateway.begin_call(target, asked.key, args, kwargs, request.passed_on)
        except Exception:
            return None

        def ended(future: asyncio.Future[Any]) -> None:
            if future.cancelled():  # the client is gone
                return
            try:
                reply = outcome_reply(begun.outcome())
            except BaseException as error:
                reply = _failed(error)
            self._counts.add(target.service.name, target.name, reply.status, perf_counter() - began)
            if self.cross_origin.open:
                reply.headers += self.cross_origin.headers(scope)
            answer(reply)

        begun.future.add_done_callback(ended)
        return begun.forget

    async def _reply(self, request: Request) -> Reply | Stream:
        try:
            if self._access.guarded and (refused := self._access.unknown(request)):
                return refused
            if request.refused is not None:
                raise request.refused
            return await self._routed(request, route(request.path, self._kind_of))
        except (BadRoute, TerminalError) as error:
            return error_reply(error, "ingress")
        except Disconnected:
            raise
        except Exception as error:
            return _failed(error)

    def _kind_of(self, service: str) -> Kind | None:
        definition = self._gateway.services.get(service)
        return definition.kind if definition is not None else None

    async def _routed(self, request: Request, asked: Route) -> Reply | Stream:
        if isinstance(asked, (Attach, AttachByKey, Complete)):
            request.query()
        if request.cross_site and isinstance(asked, (Invoke, Complete)):
            self.cross_origin.check(request)
        match asked:
            case Invoke():
                return await self._invoke(request, asked)
            case Complete():
                return await self._complete(request, asked)
            case Attach():
                return wrong_method(request.method, "GET") or await self._attach(request, asked.id, asked.wait)
            case AttachByKey():
                if refused := wrong_method(request.method, "GET"):
                    return refused
                if asked.handler is not None and asked.idempotency_key is not None:
                    id = await self._gateway.find(asked.service, asked.key, asked.handler, asked.idempotency_key)
                else:
                    id = await self._gateway.find_run(asked.service, asked.key)
                return await self._attach(request, id, asked.wait)
            case Page():
                return wrong_method(request.method, "GET", "HEAD") or await self._page(request, asked.name)
            case ConsoleFile():
                return (
                    wrong_method(request.method, "GET", "HEAD")
                    or self._access.console()
                    or self._console.reply(request, asked.name)
                )
            case Moved():
                return wrong_method(request.method, "GET", "HEAD") or self._access.console() or moved(asked.to)
            case Admin():
                if refused := self._access.admin(request):
                    return refused
                if request.method != "GET":
                    return await self._admin.reply(request, asked.segments)
                await request.body(self._gateway.max_payload)
                return await _unless_gone(request, self._admin.reply(request, asked.segments))
            case _:
                assert_never(asked)

    # --- handlers -----------------------------------------------------------------------------------------------------------

    async def _invoke(self, request: Request, asked: Invoke) -> Reply:
        gateway = self._gateway
        if (
            refused := wrong_method(request.method, "POST")
            if asked.send
            else wrong_method(request.method, "POST", "GET")
        ):
            return refused
        target = gateway.target(asked.service, asked.key, asked.handler)
        request.handler = target.service.name, target.name
        (delay,) = request.query("delay").get("delay", [None])
        if delay is not None and not asked.send:
            raise BadArguments("delay goes with /send: a call waits for its answer.")
        args, kwargs = read_arguments(target, await request.body(gateway.max_payload), request.content_type)
        request.once_only = request.idempotency_key is None and not target.once
        if asked.send:
            after_ms = delay_ms(delay) if delay is not None else 0
            accepted = await gateway.send(
                target, asked.key, args, kwargs, request.passed_on, request.idempotency_key, after_ms
            )
            return acceptance_reply(accepted)
        return outcome_reply(
            await _unless_gone(
                request,
                gateway.call(
                    target, asked.key, args, kwargs, request.passed_on, request.idempotency_key, request.set_accepted
                ),
            )
        )

    async def _attach(self, request: Request, id: str, wait: bool) -> Reply:
        if wait:
            await request.body(self._gateway.max_payload)
            return outcome_reply(await _unless_gone(request, self._gateway.attach(id)))
        outcome = await self._gateway.output(id)
        if outcome is None:
            return refusal(
                NOT_READY,
                "not_ready",
                "This invocation has no outcome yet. Attach to it to wait for the outcome.",
                (b"x-restate-id", id.encode()),
            )
        return outcome_reply(outcome)

    # --- awakeables ---------------------------------------------------------------------------------------------------------

    async def _complete(self, request: Request, asked: Complete) -> Reply:
        if refused := wrong_method(request.method, "POST"):
            return refused
        body = await request.body(self._gateway.max_payload)
        if not asked.resolve:
            await self._gateway.reject(asked.id, _reason(body))
        elif not body:
            await self._gateway.resolve(asked.id, value=None)
        elif request.content_type == "application/octet-stream":
            await self._gateway.resolve(asked.id, value=body)
        elif is_json(request.content_type):
            try:
                text = body.decode()
            except UnicodeDecodeError as error:
                raise BadArguments(f"The body is not UTF-8: {error}. Send bytes as application/octet-stream.") from None
            try:
                await self._gateway.resolve(asked.id, text=text)
            except BadArguments:
                if fault := json_fault(text):
                    raise BadArguments(
                        f"The body is not valid JSON: {fault}. Send JSON; a text stands in double quotes. The awakeable "
                        "stays open."
                    ) from None
                raise
        else:
            raise BadArguments(
                f"The body has the content-type {request.content_type[:100]!r}. Send application/json, or bytes as "
                "application/octet-stream."
            )
        return Reply(202)

    # --- pages that are the same for all clients ----------------------------------------------------------------------------

    async def _page(self, request: Request, name: str) -> Reply:
        if found := self._pages.page(name, request.prefix):
            return found
        if name == "health":
            public = [
                (one, sorted(name for name, handler in one.handlers.items() if not handler.private))
                for one in self._gateway.services.values()
            ]
            services = [
                {"name": one.name, "kind": one.kind, "handlers": handlers} for one, handlers in public if handlers
            ]
            running = self._gateway.running()
            if not self._access.knows(request):  # a load balancer has no token, and needs no names
                services = []
            return json_reply(
                200 if running else 503, {"status": "ok" if running else "not running", "services": services}
            )
        if name == "metrics":
            return await metrics_reply(self._gateway, self._counts)
        raise BadRoute(404, "unknown_path", "Not found.")


def _without_chunks(scope: Scope) -> Reply | None:
    """The refusal of a stream for a client that does not know the only framing of an answer without a length."""
    if scope.get("http_version") != "1.0":
        return None
    return refusal(505, "bad_version", "A stream requires HTTP/1.1.")


async def _sent(start: dict[str, Any], stream: Stream, send: Send) -> None:
    await send(start)
    async for body in stream.events():
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _unless_gone(request: Request, waiting: Coroutine[Any, Any, T]) -> T:
    """The result of `waiting`. Raises Disconnected if the client hangs up first; then nothing of the wait is kept."""
    answered, gone = asyncio.ensure_future(waiting), asyncio.ensure_future(request.gone())
    try:
        await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answered.done() and gone.exception() is None:  # a failed `gone` is not a hang-up
            raise Disconnected()
        return await answered
    finally:
        for task in (answered, gone):
            task.cancel()
        await asyncio.gather(answered, gone, return_exceptions=True)


GIVEN_UP = (
    "timeout graceful shutdown exceeded"  # the message with which uvicorn cancels requests after its grace period
)


def _given_up(request: Request) -> Reply:
    """The answer when the server, and not the client, gives up on a request.

    Without this answer the client would get an unexplained 500, and the log a traceback.
    """
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()  # the task ends with its answer
    if not request.once_only:
        return error_reply(AppNotRunning(), "ingress")
    return error_reply(OutcomePending("", request.accepted), "ingress")


def _length(reply: Reply) -> tuple[Header, ...]:
    """The content-length header. An answer of 204 or 304 has no body, and no length."""
    return () if reply.status in (204, 304) else ((b"content-length", str(len(reply.body)).encode()),)


async def _never() -> NoReturn:
    raise AssertionError("The body of this request was read already.")


def _failed(error: BaseException) -> Reply:
    """The answer to an internal error, which is logged in full."""
    reply = error_reply(error, "ingress")
    if reply.status != 503:
        log.error("A request was answered with 500", exc_info=error)
    return reply


def _reason(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadArguments(f"The reason is not UTF-8 text: {error}.") from None
