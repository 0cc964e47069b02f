"""A request that comes as a whole is answered without a task of its own, and nobody can tell.

Two servers run the same classes, one of them without that short way: whatever is sent, in whatever pieces, both say the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import App, Context, Limits, TerminalError, VirtualObject, Workflow, handler
from actors.transport.server.protocol import Begin, ConnectionLimits
from actors.transport.server.server import Server
from actors.transport.server.sockets import bound


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @handler
    async def step(self, ctx: Context) -> str:
        return await ctx.run(lambda: "stepped")

    @handler
    async def refuse(self, code: int = 418) -> None:
        raise TerminalError("as asked", code=code, metadata={"a": "b"})

    @handler
    async def nothing(self) -> None: ...

    @handler
    async def echo(self, data: bytes) -> bytes:
        return data

    @handler
    async def seen(self, ctx: Context) -> dict[str, str]:
        return dict(sorted(ctx.headers.items()))

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def keep(self, size: int) -> None:
        self.count = size

    @handler
    async def kept(self) -> str:
        return "x" * self.count

    @handler(private=True)
    async def hidden(self) -> None: ...


class Once(Workflow):
    @handler
    async def run(self) -> str:
        return "ran"


@dataclass
class Running:
    port: int
    app: App
    server: Server
    taken: list[bool] = field(default_factory=list)  # of each request that was offered: whether it went the short way

    async def nobody(self) -> bool:
        """Whether no connection is open."""
        return not self.server.server_state.connections

    async def somebody(self) -> bool:
        return not await self.nobody()


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(20):
        got = await found()
        while not got:
            await asyncio.sleep(0)
            got = await found()
        return got


@contextlib.asynccontextmanager
async def running(
    short: bool = True, max_payload: int = 5000, keep_alive_s: int = 75, **limits: Any
) -> AsyncIterator[Running]:
    app = App(Counter, Once, storage="sqlite://", limits=Limits(max_payload=max_payload))
    await app.start()
    found: Running

    def begin(scope: Any, body: bytes, answer: Callable[[Any], None]) -> Callable[[], object] | None:
        taken = app.begin(scope, body, answer)
        found.taken.append(taken is not None)
        return taken

    chosen: Begin | None = begin if short else None
    sockets = bound("127.0.0.1", 0)
    listening = asyncio.Event()
    allowed = ConnectionLimits(**{"connections": 100, "head_bytes": 65_536, "half_open_s": 0.0, **limits})
    server = Server(app, chosen, allowed, keep_alive_s, 1.0, listening.set)
    found = Running(sockets[0].getsockname()[1], app, server)
    serving = asyncio.create_task(server.serve(sockets))
    await listening.wait()
    try:
        yield found
    finally:
        server.should_exit = True
        await serving


async def told(port: int, *pieces: bytes) -> bytes:
    """All that comes back until the server closes. The last request should ask it to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:  # it hung up in the middle
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


JSON = "content-type: application/json"
PLAIN = {
    "a call": request("/Counter/a/add", b"1", JSON),
    "a call with another path": request("/restate/call/Counter/a/add", b"1", JSON),
    "without a type": request("/Counter/a/add", b"2"),
    "in chunks": b"POST /Counter/a/add HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n3\r\n0\r\n\r\n",
    "with a step": request("/Counter/b/step"),
    "that fails": request("/Counter/a/refuse", b"409", JSON),
    "that fails by default": request("/Counter/a/refuse"),
    "that returns nothing": request("/Counter/a/nothing"),
    "of bytes": request("/Counter/a/echo", b"\x00\xff", "content-type: application/octet-stream"),
    "with headers": request("/Counter/a/seen", b"", "X-Tenant: a", "x-tenant: b", "cookie: c", "traceparent: 00-1"),
}
OTHERS = {
    "with a query": request("/Counter/a/add?x=1", b"1", JSON),
    "with a percent sign": request("/Counter/%61/add", b"1", JSON),
    "under an idempotency key": request("/Counter/a/add", b"1", JSON, "idempotency-key: k"),
    "one way": request("/Counter/a/add/send", b"1", JSON),
    "of a workflow": request("/Once/w/run"),
    "by GET": request("/Counter/a/nothing", method="GET"),
    "by HEAD": request("/restate/health", method="HEAD"),
    "by DELETE": request("/Counter/a/add", method="DELETE"),
    "by a host's name": request("http://x/Counter/a/add", b"1", JSON),
    "in an older HTTP": request("/Counter/a/add", b"1", JSON, "connection: keep-alive", version="1.0"),
    "that expects to be asked": request("/Counter/a/add", b"1", JSON, "expect: 100-continue"),
    "of no handler": request("/Counter/a/no"),
    "of no class": request("/No/a/no"),
    "of nothing": request("/"),
    "of a private handler": request("/Counter/a/hidden"),
    "of a wrong argument": request("/Counter/a/add", b'"x"', JSON),
    "of no JSON": request("/Counter/a/add", b"{", JSON),
    "of a wrong type": request("/Counter/a/add", b"1", "content-type: text/plain"),
    "too large": request("/Counter/a/echo", b"x" * 6000),
    "with too long a path": request("/Counter/" + "k" * 20_000 + "/add", b"1", JSON),
    "of too many headers": request("/Counter/a/nothing", b"", *(f"x-{n}: 1" for n in range(300))),
    "of health": request("/restate/health", method="GET"),
}
LAST = request("/Counter/z/add", b"1", JSON, "connection: close")

_VARIES = re.compile(rb"(?m)^(?:date|idempotency-expires): .*\r\n|inv_1[\w-]+")


def normal(said: bytes) -> bytes:
    return _VARIES.sub(b"", said)


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
async def test_both_ways_give_the_same_answer(name: str) -> None:
    raw = {**PLAIN, **OTHERS}[name]
    async with running() as short, running(short=False) as long:
        said = [normal(await told(one.port, raw, LAST)) for one in (short, long)]
        assert said[0] == said[1] and said[0].startswith(b"HTTP/1.1 ")
        assert (True in short.taken) == (name in PLAIN)


Ask = Callable[[list[bytes]], tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def both() -> Iterator[Ask]:
    """Asks a server with the short way, and one without."""
    with asyncio.Runner() as runner:

        async def begin() -> tuple[contextlib.AsyncExitStack, list[Running]]:
            stack = contextlib.AsyncExitStack()
            return stack, [await stack.enter_async_context(running(short)) for short in (True, False)]

        async def ask(pieces: list[bytes]) -> tuple[bytes, bytes]:
            one, other = [normal(await told(server.port, *pieces)) for server in servers]
            return one, other

        stack, servers = runner.run(begin())
        yield lambda pieces: runner.run(ask(pieces))
        runner.run(stack.aclose())


@settings(deadline=None, max_examples=300)
@given(
    names=st.lists(st.sampled_from([*PLAIN, *PLAIN, *OTHERS]), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_requests_in_any_order_and_pieces_get_the_same_answers_in_their_order(
    both: Ask, names: list[str], cuts: list[int]
) -> None:
    raw = b"".join({**PLAIN, **OTHERS}[name] for name in names) + LAST
    places = sorted({cut % len(raw) for cut in cuts})
    one, other = both([raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)])
    assert one == other


async def test_the_answers_to_pipelined_requests_come_in_their_order() -> None:
    slow, quick = request("/Counter/b/step"), request("/Counter/a/add", b"5", JSON)
    async with running() as server:
        said = await told(server.port, slow + quick + quick + LAST)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in said.split(b"HTTP/1.1 ")[1:]]
        assert bodies == [b'"stepped"', b"5", b"10", b"1"]
        assert server.taken == [True], "whatever comes while an answer is owed waits its turn"


async def test_whoever_hangs_up_cancels_nothing_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request("/Counter/a/wait"))
        found = await until(server.app.awakeables)
        writer.transport.abort()
        await until(server.nobody)
        assert server.taken == [True]
        await server.app.resolve_awakeable(found[0].id, "x")
        assert await server.app.invocation(found[0].invocation_id).result() == "x"
        assert (await told(server.port, LAST)).startswith(b"HTTP/1.1 200")
    assert not caplog.records


@pytest.mark.expects_log("Stopping: 1 connection waits for an answer")
async def test_a_call_that_waits_when_the_server_ends_is_answered_that_it_goes_on() -> None:
    async with running() as server:
        asked = asyncio.create_task(told(server.port, request("/Counter/a/wait")))
        await until(server.app.awakeables)
        assert server.taken == [True]
    said = await asked
    assert said.startswith(b"HTTP/1.1 503 ") and b"connection: close" in said and b"x-restate-id: inv_1" in said
    assert b'"error":"outcome_pending"' in said and b"retry-after" not in said


async def test_the_answer_says_that_the_connection_ends_when_it_does() -> None:
    async with running() as server:
        said = await told(server.port, request("/Counter/a/add", b"1", JSON, "Connection: Close"))
        assert server.taken == [True]
        assert said.lower().count(b"connection: close") == 1


async def test_requests_are_counted_whichever_way_they_go() -> None:
    async with running() as server:
        await told(server.port, PLAIN["a call"] + PLAIN["that fails"] + OTHERS["of a wrong argument"] + LAST)
        said = await told(server.port, request("/metrics", b"", "connection: close", method="GET"))
        for line in (
            'actors_http_requests_total{handler="add",service="Counter",status="200"} 2.0',
            'actors_http_requests_total{handler="refuse",service="Counter",status="409"} 1.0',
            'actors_http_requests_total{handler="add",service="Counter",status="400"} 1.0',
        ):
            assert line.encode() in said


LARGE = 20_000_000


@pytest.mark.parametrize("short", [True, False])
async def test_a_client_that_does_not_read_its_answer_is_let_go(short: bool) -> None:
    async with running(short, stall_s=0.05, max_payload=2 * LARGE) as server:
        await server.app.object(Counter, "a").keep(LARGE)
        with socket.create_connection(("127.0.0.1", server.port)) as deaf:
            deaf.sendall(request("/Counter/a/kept"))
            await until(server.somebody)
            await until(server.nobody)
        assert (await told(server.port, LAST)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_reads_slowly_gets_its_answer_whole() -> None:
    async with running(stall_s=0.5, max_payload=2 * LARGE) as server:
        await server.app.object(Counter, "a").keep(LARGE)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65_536)
        writer.write(request("/Counter/a/kept", b"", "connection: close"))
        said = 0
        while piece := await reader.read(200_000):
            said += len(piece)
            await asyncio.sleep(0.01)  # what is tested is a client that takes its time
        writer.close()
        assert said > LARGE
