"""The ASGI application: routes, refusals, and how it stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import Context, Limits, RetryPolicy, VirtualObject, handler
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of
from actors.model.engine_options import EngineOptions
from actors.testing import InlineExecutor
from actors.transport.restate.endpoint import Endpoint
from actors.transport.restate.machine import Headers, Input, Machine, MachineError
from tests.restate.fake_machine import Failed, FakeMachine, Start, Suspension, packed, unpacked

seen: list[str] = []
gates: list[asyncio.Event] = []  # the one that a step waits at


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


class Desk(VirtualObject):
    @handler
    async def add(self, by: int) -> int:
        return by

    @handler
    async def waits(self, ctx: Context) -> None:
        try:
            await ctx.awakeable(str)
        finally:
            seen.append("left")

    @handler
    async def executes(self, ctx: Context) -> None:
        async def step() -> None:
            await gates[-1].wait()

        await ctx.run(step)


class Exchange:
    """A request, and what is answered."""

    def __init__(self, endpoint: Endpoint, path: str, headers: Headers = (), http_version: str = "2") -> None:
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        scope = {"type": "http", "path": path, "headers": encoded, "http_version": http_version}
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.task = asyncio.ensure_future(endpoint(scope, self.requests.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def begin(self, body: bytes = b"", more: bool = True) -> None:
        start = Start(Input("inv_1x", "a", [("content-type", "application/json")], body, 1), 0, {}, False, 0)
        self.requests.put_nowait({"type": "http.request", "body": packed(start), "more_body": more})

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def kind(self) -> str:
        kind: bytes = dict(self.sent[0]["headers"])[b"content-type"]
        return kind.decode()

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def messages(self) -> list[Any]:
        return unpacked(self.body)[0]


class Made:
    def __init__(self) -> None:
        self.accepts = True
        self.machine: type[FakeMachine] = FakeMachine
        options = EngineOptions(
            Catalog({"Desk": definition_of(Desk)}), Limits(), RetryPolicy(), InlineExecutor(), False
        )
        self.endpoint = Endpoint(options, self._machine, lambda headers, path: self.accepts, None, lambda: 0.0)

    def _machine(self, headers: Headers) -> Machine:
        if ("content-type", "application/other") in headers:
            raise MachineError("unsupported")
        return self.machine()

    async def get(self, path: str, *headers: tuple[str, str], http_version: str = "2") -> Exchange:
        exchange = Exchange(self.endpoint, path, headers, http_version)
        await exchange.task
        return exchange

    def invoke(self, name: str, more: bool = True, body: bytes = b"") -> Exchange:
        exchange = Exchange(self.endpoint, f"/invoke/Desk/{name}")
        exchange.begin(body, more)
        return exchange


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    gates.append(asyncio.Event())
    found = Made()
    yield found
    found.endpoint.close()


async def turns() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


V4 = "application/vnd.restate.endpointmanifest.v4+json"
V3 = "application/vnd.restate.endpointmanifest.v3+json"


async def test_health_needs_no_signature(made: Made) -> None:
    made.accepts = False
    for path in ("/health", "/prefix/health"):
        found = await made.get(path)
        assert found.status == 200 and json.loads(found.body) == {"status": "ok"}


@pytest.mark.parametrize("path", ["/discover", "/invoke/Desk/add", "/x"])
async def test_what_is_not_signed_gets_nothing_else(made: Made, path: str) -> None:
    made.accepts = False
    assert (await made.get(path, ("accept", V4))).status == 401


@pytest.mark.parametrize(("accept", "kind"), [(V4, V4), (V3, V3), (f"{V3}, {V4}", V4), (f"text/html, {V3}", V3)])
async def test_the_newest_document_that_is_accepted_is_sent(made: Made, accept: str, kind: str) -> None:
    found = await made.get("/discover", ("Accept", accept))
    assert (found.status, found.kind) == (200, kind)
    (service,) = json.loads(found.body)["services"]
    assert service["name"] == "Desk"
    assert ("retryPolicyMaxAttempts" in service["handlers"][0]) == (kind == V4)


async def test_a_server_that_is_too_old_is_refused(made: Made) -> None:
    for headers in ([], [("accept", "application/vnd.restate.endpointmanifest.v1+json")]):
        found = await made.get("/discover", *headers)
        assert found.status == 415 and b"restate-server 1.5" in found.body


@pytest.mark.parametrize(("version", "mode"), [("2", "BIDI_STREAM"), ("1.1", "REQUEST_RESPONSE")])
async def test_requests_go_as_the_version_of_http_allows(made: Made, version: str, mode: str) -> None:
    found = await made.get("/discover", ("accept", V4), http_version=version)
    assert json.loads(found.body)["protocolMode"] == mode


@pytest.mark.parametrize("path", ["/invoke/Desk/none", "/invoke/None/add", "/Desk/add", "/invoke", "/", "/invoke/Desk"])
async def test_what_is_not_served_is_not_found(made: Made, path: str) -> None:
    assert (await made.get(path)).status == 404


async def test_a_protocol_that_is_not_spoken_is_refused(made: Made) -> None:
    found = await made.get("/invoke/Desk/add", ("Content-Type", "application/other"))
    assert found.status == 415 and found.body == b"unsupported"


async def test_a_handler_is_invoked_below_any_prefix(made: Made) -> None:
    exchange = Exchange(made.endpoint, "/a/prefix/invoke/Desk/add")
    exchange.begin(b"5", more=False)
    await exchange.task
    assert exchange.status == 200 and exchange.messages[0].compared == {"result": b"5"}


async def test_anything_but_http_is_an_error(made: Made) -> None:
    exchange = Exchange(made.endpoint, "/")
    await exchange.task
    with pytest.raises(RuntimeError, match="not websocket"):
        await made.endpoint({"type": "websocket"}, exchange.requests.get, exchange._send)


async def test_the_lifespan_of_a_server_is_answered(made: Made) -> None:
    exchange = Exchange(made.endpoint, "/health")
    await exchange.task
    exchange.sent.clear()
    for kind in ("lifespan.startup", "lifespan.shutdown"):
        exchange.requests.put_nowait({"type": kind})
    await made.endpoint({"type": "lifespan"}, exchange.requests.get, exchange._send)
    assert [message["type"] for message in exchange.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.expects_log("the input is not complete")
async def test_a_request_that_ends_too_early_is_answered(made: Made) -> None:
    exchange = Exchange(made.endpoint, "/invoke/Desk/add")
    exchange.requests.put_nowait({"type": "http.request", "body": b"\x00\x00", "more_body": False})
    await exchange.task
    assert isinstance(exchange.messages[0], Failed) and exchange.sent[-1]["more_body"] is False


async def test_a_server_that_hangs_up_leaves_nothing(made: Made) -> None:
    exchange = made.invoke("waits")
    await turns()
    exchange.requests.put_nowait({"type": "http.disconnect"})
    await exchange.task
    await turns()
    assert seen == ["left"] and not made.endpoint._open


class Garbled(FakeMachine):
    def add_input(self, data: bytes) -> None:
        raise self._fail("the frame is not valid")


class Faulty(FakeMachine):
    def input(self) -> Input:
        raise ValueError("a fault")


@pytest.mark.expects_log("the frame is not valid")
async def test_input_that_the_machine_refuses_is_answered(made: Made) -> None:
    made.machine = Garbled
    exchange = made.invoke("add", more=False)
    await exchange.task
    assert isinstance(exchange.messages[0], Failed) and exchange.sent[-1]["more_body"] is False


@pytest.mark.expects_log("the attempt has failed inside the framework")
async def test_a_fault_of_the_framework_fails_the_attempt_only(made: Made) -> None:
    made.machine = Faulty
    exchange = made.invoke("add", more=False)
    await exchange.task
    (failed,) = exchange.messages
    assert failed.message == "ValueError('a fault')"
    assert failed.stacktrace == "", "a caller may see it; the log has it"


# --- stopping -------------------------------------------------------------------------------------------------------------


async def test_an_endpoint_that_stops_takes_nothing_new(made: Made) -> None:
    await made.endpoint.drain(0)
    assert (await made.get("/invoke/Desk/add")).status == 503
    assert (await made.get("/health")).status == 200
    assert (await made.get("/discover", ("accept", V4))).status == 200


async def test_handlers_that_wait_are_left_at_once(made: Made) -> None:
    exchange = made.invoke("waits")
    await turns()
    await made.endpoint.drain(3600)
    await turns()
    assert exchange.task.cancelled() and seen == ["left"]
    assert not [one for one in exchange.messages if isinstance(one, Suspension | Failed)], "the server asks again"


async def test_steps_that_are_executed_may_end(made: Made) -> None:
    exchange = made.invoke("executes")
    await turns()
    draining = asyncio.ensure_future(made.endpoint.drain(3600))
    await turns()
    assert not exchange.task.done() and not draining.done()
    gates[-1].set()
    await draining
    assert exchange.messages[1].value, "its result was proposed"


async def test_steps_are_left_when_the_time_is_up(made: Made) -> None:
    exchange = made.invoke("executes")
    await turns()
    await made.endpoint.drain(0)
    assert exchange.task.cancelled() and len(exchange.messages) == 1


async def test_the_factory_of_tasks_is_given_back(made: Made) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    exchange = made.invoke("add", more=False, body=b"5")
    await exchange.task
    assert loop.get_task_factory() is not before
    made.endpoint.close()
    assert loop.get_task_factory() is before
