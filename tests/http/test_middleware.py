"""ASGI middleware of an app: `HttpOptions(middleware=[...])`."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from actors import App, VirtualObject, handler
from actors.errors import DefinitionError
from actors.http_options import HttpOptions
from tests.http.asgi import ask


class Counter(VirtualObject):
    @handler
    async def add(self, n: int) -> int:
        return n


def naming(name: str) -> Any:
    """A middleware that writes its name behind those inside of it."""

    def factory(app: Any) -> Any:
        async def around(scope: Any, receive: Any, send: Any) -> None:
            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (f"x-{name}".encode(), b"1")]
                await send(message)

            await app(scope, receive, sent if scope["type"] == "http" else send)

        return around

    return factory


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["x-passed"] = "yes"
        return answer


async def test_the_first_middleware_is_outermost_and_starlettes_kind_works() -> None:
    own = [naming("outer"), Middleware(Passing), naming("inner"), lambda app: GZipMiddleware(app, minimum_size=1)]
    async with App(Counter, storage="sqlite://", http=HttpOptions(middleware=own)) as app:
        answer = await ask(app, "POST", "/Counter/a/add", b"5", accept_encoding="gzip")
        assert answer.headers["content-encoding"] == "gzip"
        assert [name for name in answer.headers if name in ("x-outer", "x-passed", "x-inner")] == [
            "x-inner",
            "x-passed",
            "x-outer",
        ]


async def test_a_plain_request_does_not_go_around_the_middleware() -> None:
    """`begin` is what `actors serve` asks first, to spare a request its task."""
    scope = {"type": "http", "method": "POST", "path": "/Counter/a/add", "raw_path": b"/Counter/a/add", "headers": []}
    scope |= {"query_string": b""}
    async with App(Counter, storage="sqlite://") as app:
        assert app.begin(dict(scope), b"5", lambda reply: None) is not None
    async with App(Counter, storage="sqlite://", http=HttpOptions(middleware=[naming("own")])) as app:
        assert app.begin(dict(scope), b"5", lambda reply: None) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [(5, "a list of callables"), ("x", "a list of callables"), ([5], "holds 5"), (["x"], "holds 'x'")],
)
def test_what_is_not_a_list_of_middleware_is_refused(given: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        HttpOptions(middleware=given)


@pytest.mark.parametrize(("factory", "words"), [(lambda app: 5, "returned 5"), (lambda: None, "failed")])
async def test_a_middleware_that_cannot_be_made_keeps_the_app_from_starting(factory: Any, words: str) -> None:
    app = App(Counter, storage="sqlite://", http=HttpOptions(middleware=[factory]))
    with pytest.raises(DefinitionError, match=words):
        await app.start()
    assert app._partition is None
