"""The app inside FastAPI and Starlette, below a prefix."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from actors import App, Context, VirtualObject, handler, shared
from tests.http.asgi import ask


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @handler
    async def hold(self, ctx: Context) -> int:
        self.count = await ctx.awakeable(int)
        return self.count

    @shared
    async def get(self) -> int:
        return self.count


Host = Callable[[App, str, list[Any]], Any]


def _lifespan(app: App) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with app:
            yield

    return lifespan


def in_fastapi(app: App, prefix: str, middleware: list[Any]) -> Any:
    api = fastapi.FastAPI(lifespan=_lifespan(app), middleware=middleware)

    @api.get("/own")
    async def own() -> int:
        return await app.object(Counter, "own").add(1)

    api.mount(prefix, app)
    return api


def in_starlette(app: App, prefix: str, middleware: list[Any]) -> Any:
    async def own(_: Any) -> PlainTextResponse:
        return PlainTextResponse(str(await app.object(Counter, "own").add(1)))

    routes = [Route("/own", own), Mount(prefix, app)]
    return Starlette(routes=routes, lifespan=_lifespan(app), middleware=middleware)


HOSTS = pytest.mark.parametrize("host", [in_fastapi, in_starlette])


@contextlib.asynccontextmanager
async def started(api: Any) -> AsyncIterator[None]:
    """Run the lifespan of the host, as a server does."""
    asked, told = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
    task = asyncio.create_task(api({"type": "lifespan", "state": {}}, asked.get, told.put))
    asked.put_nowait({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        asked.put_nowait({"type": "lifespan.shutdown"})
        assert (await told.get())["type"] == "lifespan.shutdown.complete"
        await task


@HOSTS
@pytest.mark.parametrize("prefix", ["/actors", "/api/v1", "/with space"])
async def test_it_is_called_below_the_prefix_and_started_by_the_hosts_lifespan(host: Host, prefix: str) -> None:
    app = App(Counter, storage="sqlite://")
    api = host(app, prefix, [])
    path = prefix.replace(" ", "%20")
    async with started(api):
        assert (await ask(api, "POST", f"{path}/Counter/a/add", b"5")).json == 5
        assert (await ask(api, "GET", "/own")).json == 1
        assert (await ask(api, "GET", f"{path}/restate/health")).json["status"] == "ok"
        assert (await ask(api, "GET", f"{path}/docs")).status == 200
        document = (await ask(api, "GET", f"{path}/openapi.json")).json
        assert document["servers"] == [{"url": path}] and "/Counter/{key}/add" in document["paths"]
        assert (await ask(api, "POST", "/Counter/a/add", b"5")).status == 404
    assert (await ask(api, "POST", f"{path}/Counter/a/add", b"5")).status == 503


@HOSTS
@pytest.mark.parametrize(("key", "path"), [("a/b", "a%2Fb"), ("%2F", "%252F"), ("ä ?", "%C3%A4%20%3F"), ("..", "..")])
async def test_a_key_is_the_same_mounted_or_not(host: Host, key: str, path: str) -> None:
    app = App(Counter, storage="sqlite://")
    api = host(app, "/api", [])
    async with started(api):
        assert (await ask(api, "POST", f"/api/Counter/{path}/add", b"1")).json == 1
        assert (await ask(app, "POST", f"/Counter/{path}/add", b"1")).json == 2
        assert await app.object(Counter, key).get() == 2


@HOSTS
@pytest.mark.parametrize("raw", ["whole", "stripped", "absent"])
async def test_servers_that_tell_the_raw_path_in_another_way_are_understood(host: Host, raw: str) -> None:
    """`root_path` set by the server itself, behind a proxy, comes in front of the prefix of the mount."""
    app = App(Counter, storage="sqlite://")
    api = host(app, "/api", [])

    async def server(scope: Any, receive: Any, send: Any) -> None:
        scope = dict(scope)
        scope["path"] = scope["root_path"] + scope["path"]
        if raw == "absent":
            del scope["raw_path"]
        elif raw == "whole":
            scope["raw_path"] = scope["root_path"].encode() + scope["raw_path"]
        await api(scope, receive, send)

    async with started(api):
        answer = await ask(server, "POST", "/api/Counter/a%20b/add", b"1", root_path="/proxied")
        assert answer.json == 1
        assert await app.object(Counter, "a b").get() == 1
        document = (await ask(server, "GET", "/api/openapi.json", root_path="/proxied")).json
        assert document["servers"] == [{"url": "/proxied/api"}]


class _Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["x-passed"] = "yes"
        return answer


@HOSTS
async def test_a_middleware_that_cancels_its_request_cancels_no_invocation(host: Host) -> None:
    app = App(Counter, storage="sqlite://")
    api = host(app, "/api", [Middleware(_Passing)])
    async with started(api):
        answer = await ask(api, "POST", "/api/Counter/a/add", b"5")
        assert (answer.json, answer.headers["x-passed"]) == (5, "yes")
        task = asyncio.create_task(ask(api, "POST", "/api/Counter/h/hold"))
        while not (found := await app.awakeables()):
            pass
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await ask(api, "POST", f"/api/restate/awakeables/{found[0].id}/resolve", b"7")).status == 202
        (info,) = await app.invocations(handler="hold")
        assert await app.invocation(info.id).result() == 7


@HOSTS
async def test_whoever_hangs_up_behind_a_middleware_changes_nothing_and_raises_nothing(host: Host) -> None:
    app = App(Counter, storage="sqlite://")
    api = host(app, "/api", [Middleware(_Passing)])
    async with started(api):
        # Starlette's middleware itself raises for an application that gives no answer, or keeps it for itself.
        with contextlib.suppress(ConnectionError, RuntimeError):
            await ask(api, "POST", "/api/Counter/a/add", [])
        assert await app.object(Counter, "a").get() == 0
