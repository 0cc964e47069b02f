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

from actors import App, Context, Limits, TerminalError, VirtualObject, handler, shared
from actors.errors import DefinitionError, DeterminismError
from actors.fastapi import mount
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


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("POST", "/Counter/h/hold", b"", "outcome_pending"),
        ("POST", "/restate/call/Counter/h/hold", b"", "outcome_pending"),
        ("GET", "/restate/invocation/{id}/attach", b"", "app_not_running"),
    ],
)
async def test_a_server_that_gives_a_request_up_answers_it(method: str, path: str, body: bytes, error: str) -> None:
    """uvicorn cancels what it does not want to wait for any more. Who waits is told whether to ask again."""
    async with App(Counter, storage="sqlite://") as app:
        held = await app.object(Counter, "held").hold.send()
        while not await app.awakeables():
            pass
        before = len(await app.invocations())
        asking = asyncio.create_task(ask(app, method, path.format(id=held.id), body))
        while error == "outcome_pending" and len(await app.awakeables()) < 2:
            pass
        await asyncio.sleep(0)
        asking.cancel("Task cancelled, timeout graceful shutdown exceeded")
        answer = await asking
        assert (answer.status, answer.json["error"]) == (503, error)
        assert ("retry-after" in answer.headers) == (error == "app_not_running")
        if error == "outcome_pending":
            info = await app.describe(answer.headers["x-restate-id"])
            assert (info.key, info.status, len(await app.invocations())) == ("h", "blocked", before + 1)
        keyed = asyncio.create_task(ask(app, "POST", "/Counter/held/add", b"1", idempotency_key="k"))
        while len(await app.invocations(handler="add")) < 1:
            pass
        keyed.cancel("Task cancelled, timeout graceful shutdown exceeded")
        assert (await keyed).json["error"] == "app_not_running"


# --- actors.fastapi ---------------------------------------------------------------------------------------------------------


class Failing(VirtualObject):
    @handler
    async def fail(self, code: int) -> None:
        raise TerminalError("sold out", code, {"left": "0"})

    @handler
    async def hold(self, ctx: Context) -> int:
        return await ctx.awakeable(int)


def fastapi_host(lifespan: Any = None) -> Any:
    return fastapi.FastAPI(lifespan=lifespan)


def starlette_host(lifespan: Any = None) -> Any:
    return Starlette(lifespan=lifespan)


MAKERS = pytest.mark.parametrize("make", [fastapi_host, starlette_host])


def with_routes(api: Any, app: App) -> Any:
    async def fail(request: Any) -> Any:
        await app.object(Failing, "a").fail(int(request.query_params["code"]))

    async def hold(_: Any) -> Any:
        return PlainTextResponse((await app.object(Failing, "h").hold.send()).id)

    async def broken(_: Any) -> Any:
        raise DeterminismError("not for strangers")

    for function in (fail, hold, broken):
        api.router.routes.append(Route(f"/{function.__name__}", function))
    return api


@MAKERS
async def test_mount_starts_the_app_serves_it_and_answers_its_errors(make: Any) -> None:
    app = App(Counter, Failing, storage="sqlite://", limits=Limits(max_pending=1))
    api = with_routes(make(), app)
    mount(api, app, "/actors")
    answer = await ask(api, "GET", "/fail?code=409")
    assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, "app_not_running", "1")
    async with started(api):
        assert (await ask(api, "POST", "/actors/Counter/a/add", b"5")).json == 5
        for code in (409, 418, 500):
            answer = await ask(api, "GET", f"/fail?code={code}")
            assert (answer.status, answer.json["message"], answer.json["metadata"]) == (code, "sold out", {"left": "0"})
            assert answer.headers["content-type"] == "application/json"
        await ask(api, "GET", "/hold")
        while not await app.awakeables():
            pass
        await ask(api, "GET", "/hold")
        full = await ask(api, "GET", "/hold")
        assert (full.status, full.json["error"], full.headers["retry-after"]) == (429, "mailbox_full", "1")
    assert (await ask(api, "POST", "/actors/Counter/a/add", b"5")).status == 503


@MAKERS
@pytest.mark.expects_log("GET /broken was answered with 500")
async def test_an_error_of_the_inside_is_logged_and_not_told(make: Any) -> None:
    app = App(Failing, storage="sqlite://")
    api = with_routes(make(), app)
    mount(api, app, None)
    async with started(api):
        answer = await ask(api, "GET", "/broken")
        assert answer.status == 500 and b"strangers" not in answer.body
        assert (await ask(api, "POST", "/actors/Failing/a/fail", b"5")).status == 404  # nothing is mounted


@MAKERS
async def test_the_app_runs_around_the_lifespan_of_its_host(make: Any) -> None:
    app = App(Counter, storage="sqlite://")
    seen: list[int] = []

    @contextlib.asynccontextmanager
    async def own(_: Any) -> AsyncIterator[dict[str, str]]:
        seen.append(await app.object(Counter, "a").add(1))
        yield {"own": "state"}
        seen.append(await app.object(Counter, "a").add(1))

    api = make(own)
    mount(api, app)
    async with started(api):
        assert seen == [1]
    assert seen == [1, 2] and app._partition is None


@pytest.mark.parametrize("prefix", ["", "actors", "/", "/actors/", 5, b"/a"])
def test_a_prefix_that_makes_no_sense_is_refused(prefix: Any) -> None:
    with pytest.raises(DefinitionError, match="prefix"):
        mount(fastapi.FastAPI(), App(Counter, storage="sqlite://"), prefix)


def test_what_is_no_host_and_what_is_no_app_are_refused() -> None:
    app: Any = App(Counter, storage="sqlite://")
    with pytest.raises(DefinitionError, match="FastAPI or Starlette"):
        mount(app, app)
    with pytest.raises(DefinitionError, match="requires an App"):
        mount(fastapi.FastAPI(), Counter)  # type: ignore[arg-type]
