"""What a request gets wrong at its edges is refused, on every route: it would have no effect, or another one than was meant."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import pytest

from actors import App, Context, VirtualObject, Workflow, handler
from tests.http.asgi import Answer, ask


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @handler
    async def hold(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Flow(Workflow):
    @handler
    async def run(self) -> int:
        return 1


# (method, path, body, parameters that are known there)
ROUTES = [
    ("POST", "/Counter/a/add", b"1", "delay"),
    ("GET", "/Flow/a/run", b"", "delay"),
    ("POST", "/Counter/a/add/send", b"1", "delay"),
    ("POST", "/restate/call/Counter/a/add", b"1", "delay"),
    ("POST", "/restate/send/Counter/a/add", b"1", "delay"),
    ("GET", "/restate/invocation/{id}/attach", b"", ""),
    ("GET", "/restate/invocation/{id}/output", b"", ""),
    ("GET", "/restate/attach/{id}", b"", ""),
    ("GET", "/restate/output/{id}", b"", ""),
    ("GET", "/restate/invocation/Counter/a/add/k/attach", b"", ""),
    ("GET", "/restate/workflow/Flow/w/output", b"", ""),
    ("POST", "/restate/awakeables/{awakeable}/resolve", b'"x"', ""),
    ("POST", "/restate/a/{awakeable}/reject", b"no", ""),
    ("GET", "/restate/admin/invocations", b"", "status"),
    ("GET", "/restate/admin/invocations/{id}", b"", "limit"),
    ("POST", "/restate/admin/invocations/{id}/restart", b"", "keep"),
    ("POST", "/restate/admin/invocations/{id}/kill", b"", ""),
    ("GET", "/restate/admin/awakeables", b"", "limit"),
    ("GET", "/restate/admin/state/Counter/a", b"", ""),
]


class Served:
    """An app with one ended invocation, and one that waits."""

    def __init__(self) -> None:
        self.app = App(Counter, Flow, storage="sqlite://")
        self.names: dict[str, str] = {}

    async def __aenter__(self) -> Served:
        await self.app.start()
        key = self.app.object(Counter, "a").add.options(idempotency_key="k")
        await key(1)
        self.names["id"] = (await key.send(1)).id
        await self.app.object(Flow, "w").run()
        await self.app.object(Counter, "held").hold.send()
        while not (found := await self.app.awakeables()):
            pass
        self.names["awakeable"] = found[0].id
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.close()

    async def asked(
        self, method: str, path: str, body: bytes, query: str, headers: Sequence[tuple[str, str]] = ()
    ) -> Answer:
        return await ask(self.app, method, path.format(**self.names) + query, body, pairs=headers)

    async def untouched(self) -> bool:
        """Whether nothing has happened but what `__aenter__` did."""
        counted = await self.app.state(Counter, "a")
        return (
            counted.texts == {"count": "1"}
            and len(await self.app.awakeables()) == 1
            and len(await self.app.invocations()) == 3
        )


@pytest.mark.parametrize(("method", "path", "body", "known"), ROUTES)
async def test_a_query_parameter_that_is_not_known_is_refused(method: str, path: str, body: bytes, known: str) -> None:
    async with Served() as served:
        near = known[:2] + known[3:] if known else "x"
        for query in (f"?{near}=5s", "?utm=1", "?%ff=1", f"?{known or 'x'}=1&{known or 'x'}x=2"):
            answer = await served.asked(method, path, body, query)
            assert (answer.status, answer.json["error"]) == (400, "bad_arguments"), query
        answer = await served.asked(method, path, body, f"?{near}=5s")
        assert (f"Did you mean '{known}'?" in answer.json["message"]) == bool(known)
        assert await served.untouched()


@pytest.mark.parametrize("path", ["/restate/health", "/docs", "/openapi.json", "/metrics"])
async def test_pages_take_no_parameters_and_ignore_them_on_purpose(path: str) -> None:
    """Those who watch a service append one to get around caches."""
    async with Served() as served:
        assert (await served.asked("GET", path, b"", "?t=123")).status == 200


@pytest.mark.parametrize("query", ["?delay=1s&delay=2s", "?delay=1s&delay=1s", "?delay=&delay=1s", "?delay"])
async def test_a_delay_that_is_given_twice_or_empty_is_refused(query: str) -> None:
    async with Served() as served:
        assert (await served.asked("POST", "/Counter/a/add/send", b"1", query)).status == 400
        assert await served.untouched()


@pytest.mark.parametrize("path", ["/Counter/a/add", "/Counter/a/add/send"])
@pytest.mark.parametrize(
    "headers",
    [
        [("idempotency-key", "x"), ("idempotency-key", "y")],
        [("idempotency-key", "x"), ("idempotency-key", "x")],
        [("content-type", "application/json"), ("content-type", "text/plain")],
    ],
)
async def test_a_header_that_counts_once_is_not_given_twice(path: str, headers: list[tuple[str, str]]) -> None:
    async with Served() as served:
        answer = await served.asked("POST", path, b"1", "", headers)
        assert (answer.status, answer.json["error"]) == (400, "repeated_header")
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope["headers"] = [(name.encode(), value.encode()) for name, value in headers]
        assert served.app.begin(scope, b"1", lambda reply: None) is None
        assert await served.untouched()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip", "identity, gzip", "x"])
@pytest.mark.parametrize(("method", "path", "body", "known"), [route for route in ROUTES if route[2]])
async def test_an_encoded_body_is_refused(method: str, path: str, body: bytes, known: str, coding: str) -> None:
    async with Served() as served:
        for sent in (gzip.compress(body), body):
            answer = await served.asked(method, path, sent, "", [("content-encoding", coding)])
            assert (answer.status, answer.json["error"]) == (415, "unsupported_coding")
            assert answer.headers["accept-encoding"] == "identity"
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
        scope["headers"] = [(b"content-encoding", coding.encode())]
        assert served.app.begin(scope, body, lambda reply: None) is None
        assert await served.untouched()
        answer = await served.asked(method, path, body, "", [("content-encoding", "identity")])
        assert answer.status in (200, 202)
