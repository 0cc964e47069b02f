"""The client against an app in this process, and against servers that fail as servers do."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import App, Context, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import (
    ActorsError,
    AppNotRunning,
    AwakeableCompleted,
    BadArguments,
    BadKey,
    ClientClosed,
    IdempotencyMismatch,
    InvocationCancelled,
    InvocationKilled,
    MisusedFuture,
    NotReady,
    OutcomePending,
    RequestTimedOut,
    SerializationError,
    ServerUnreachable,
    UnexpectedAnswer,
    UnknownHandler,
    UnknownInvocation,
    UnknownService,
    WrongKind,
    WrongStatus,
)
from actors.transport.client import Client, SyncClient
from actors.transport.client.calls import segment
from actors.transport.http.routes import segments

handed_out: list[str] = []

# Keys that a path, or a library that reads one, may take for something else.
KEYS = [
    "a/b",
    "100%",
    "%2F",
    "a b",
    "ä ü",
    "😀",
    ".",
    "..",
    "...",
    "./..",
    "?x=1#y",
    "a+b",
    "\\",
    "\n",
    ";&=@:",
    "send",
    "~'()*!",
]


class Teapot(TerminalError):
    error = "test_teapot"


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int, times: int = 1) -> int:
        self.count += n * times
        return self.count

    @handler
    async def reset(self) -> None:
        self.count = 0

    @shared
    async def own_key(self, ctx: Context) -> str:
        return ctx.key

    @shared
    async def seen(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.headers)

    @handler
    async def fail(self, message: str, code: int) -> None:
        raise TerminalError(message, code=code, metadata={"kind": "teapot"})

    @handler
    async def hold(self, ctx: Context) -> str:
        awaited = ctx.awakeable(str)
        await ctx.run(handed_out.append, awaited.id)
        return await awaited

    @shared
    async def send(self, data: bytes) -> bytes:
        return data[::-1]


class Tools(Service):
    @handler
    async def dear(self, price: Decimal, on: datetime.date) -> tuple[Decimal, datetime.date]:
        return price, on

    @handler
    async def echo(self, value: Any = None) -> Any:
        return value


class Flow(Workflow):
    @handler
    async def run(self, ctx: Context, name: str) -> str:
        return name + await ctx.promise("done", str)

    @shared
    async def finish(self, ctx: Context, how: str) -> None:
        await ctx.promise("done", str).resolve(how)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    handed_out.clear()
    async with App(Counter, Tools, Flow, storage="sqlite://") as app:
        yield app


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    async with Client(app=app) as client:
        yield client


async def held(client: Client, key: str = "h") -> tuple[Any, str]:
    """A send that waits for an awakeable, and its id."""
    handle = await client.object(Counter, key).hold.send()
    return handle, await handed_out_id()


async def handed_out_id() -> str:
    """The id of the awakeable, once its handler has handed it out, in turns of the loop."""
    while not handed_out:  # noqa: ASYNC110 - the function of a step runs in a thread
        await asyncio.sleep(0)
    return handed_out[-1]


# --- calls ------------------------------------------------------------------------------------------------------------------


async def test_calls_of_all_kinds_of_classes_give_the_value_of_the_declared_type(client: Client) -> None:
    counter = client.object(Counter, "a")
    assert await counter.add(5) == 5
    assert await counter.add(times=3, n=2) == 11
    assert await counter.reset() is None  # type: ignore[func-returns-value]
    on = datetime.date(2026, 1, 2)
    assert await client.service(Tools).dear(Decimal("1.10"), on) == (Decimal("1.10"), on)


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b'"x"', b"null"])
async def test_bytes_pass_unchanged_in_both_directions(client: Client, data: bytes) -> None:
    assert await client.object(Counter, "a").send(data) == data[::-1]


@pytest.mark.parametrize("value", [None, "", [], {}, ["a"], {"positional": [1]}, "ü😀", 1.5, True])
async def test_one_value_arrives_as_it_is_whatever_it_looks_like(client: Client, value: Any) -> None:
    assert await client.service(Tools).echo(value) == value
    assert await client.call("Tools", "", "echo", value) == value
    assert await client.call("Tools", "", "echo", value=value) == value


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_of_any_characters_arrives_as_it_is(client: Client, key: str) -> None:
    assert await client.object(Counter, key).own_key() == key
    assert await client.call("Counter", key, "own_key") == key
    sent = await client.object(Counter, key).add.options(idempotency_key="k" + key.strip("\n")).send(1)
    assert await sent.result() == 1
    again = client.invocation_of(client.object(Counter, key).add.options(idempotency_key="k" + key.strip("\n")))
    assert await again.result() == 1 and (await again).id == sent.id


@given(st.text(min_size=1))
def test_a_segment_is_read_back_and_is_no_step_in_a_tree(text: str) -> None:
    encoded = segment(text, "it")
    assert encoded.isascii() and "/" not in encoded and encoded not in (".", "..")
    assert segments(b"/" + encoded.encode()) == [text]
    assert httpx.URL("http://x/" + encoded + "/y").raw_path == f"/{encoded}/y".encode()


async def test_a_call_by_name_places_its_arguments_by_the_signature_on_the_server(client: Client) -> None:
    assert await client.call("Counter", "a", "add", 5) == 5  # one argument, of a handler that has two
    assert await client.call("Counter", "a", "add", 1, times=2) == 7
    assert await client.call("Counter", "a", "reset") is None
    with pytest.raises(BadArguments, match="no parameter 'm'"):
        await client.call("Counter", "a", "add", 1, m=2)
    with pytest.raises(BadArguments, match="takes n, times"):
        await client.call("Counter", "a", "add", 1, 2, 3)
    sent = await client.send("Counter", "a", "add", 1, idempotency_key="k")
    assert await sent.result() == 1  # after the reset
    assert await client.invocation_by_key("Counter", "a", "add", "k").result() == 1


async def test_calls_start_when_they_are_made_and_can_be_awaited_twice(client: Client) -> None:
    counter = client.object(Counter, "a")
    first, second = counter.add(1), counter.add(10)
    assert {await second, await first} == {11, 1} or {await second, await first} == {10, 11}
    assert await first == await first


async def test_headers_reach_the_handler_and_what_cannot_travel_is_refused(client: Client) -> None:
    seen = client.object(Counter, "a").seen
    assert await seen.options(headers={"X-Trace": "ü", "b": ""})() == {"x-trace": "ü", "b": ""}
    for bad in (
        {"host": "x"},
        {"Idempotency-Key": "x"},
        {"a b": "x"},
        {"": "x"},
        {"ü": "x"},
        {"a": "x\r\ny: z"},
        {"a": " x"},
    ):
        with pytest.raises(BadArguments, match="headers="):
            seen.options(headers=bad)()


# --- sends ------------------------------------------------------------------------------------------------------------------


async def test_a_send_has_an_id_once_awaited_and_a_result(client: Client, app: App) -> None:
    handle = client.object(Counter, "a").add.send(5)
    with pytest.raises(MisusedFuture):
        _ = handle.id
    await handle
    assert handle.id.startswith("inv_1") and not handle.previously_accepted
    assert await handle.result() == await handle.output() == await client.invocation(handle.id, int).result() == 5


async def test_a_delay_passes_before_it_is_delivered(client: Client, app: App) -> None:
    handle: Any = await client.object(Counter, "a").add.options(delay=3600).send(5)
    assert handle.due is not None
    assert 3590 < (handle.due - datetime.datetime.now(datetime.UTC)).total_seconds() < 3610
    (info,) = await app.invocations(status="scheduled")
    assert info.id == handle.id
    with pytest.raises(BadArguments, match="delay"):
        client.object(Counter, "a").add.options(delay=1)(5)


async def test_one_idempotency_key_is_one_invocation(client: Client) -> None:
    add = client.object(Counter, "a").add.options(idempotency_key="kü/%")
    assert [await add(5), await add(5)] == [5, 5]
    handle = await add.send(5)
    assert handle.previously_accepted
    assert await client.invocation_of(add).output() == 5
    with pytest.raises(IdempotencyMismatch):
        await add(6)
    with pytest.raises(UnknownInvocation):
        await client.invocation_of(client.object(Counter, "a").add.options(idempotency_key="other")).output()
    with pytest.raises(BadArguments, match="idempotency_key"):
        client.invocation_of(client.object(Counter, "a").add)
    with pytest.raises(BadArguments, match="header"):
        await client.object(Counter, "a").add.options(idempotency_key="a\nb").send(1)


async def test_the_output_of_an_open_invocation_is_not_ready_here_and_there(client: Client, app: App) -> None:
    handle, id = await held(client)
    local = app.invocation(handle.id)
    for asked in (handle, local):
        with pytest.raises(NotReady):
            await asked.output()
    await client.resolve_awakeable(id, "yes")
    assert [await handle.result(), await handle.output(), await local.output()] == ["yes"] * 3


async def test_a_workflow_is_found_by_its_key(client: Client) -> None:
    flow = client.object(Flow, "w/1")
    first, second = flow.run("a"), flow.run("a")
    run = client.invocation_of(flow.run)
    await flow.finish("!")
    assert [await first, await second, await run.result()] == ["a!", "a!", "a!"]


async def test_a_handle_cancels_through_the_admin_route(client: Client) -> None:
    handle, _ = await held(client)
    await handle.cancel()
    with pytest.raises(InvocationCancelled):
        await handle.result()
    held_by_key = client.object(Counter, "x").hold.options(idempotency_key="k")
    await held_by_key.send()
    await client.invocation_of(held_by_key).cancel()  # its id is asked for while it has no outcome
    with pytest.raises(InvocationCancelled):
        await held_by_key()


async def test_an_operator_does_all_that_the_app_can_do_with_an_invocation(client: Client) -> None:
    handle, _ = await held(client)
    await client.operate("pause", handle.id)
    await client.operate("resume", handle.id)
    await client.operate("kill", handle.id)
    with pytest.raises(InvocationKilled):
        await handle.result()
    with pytest.raises(WrongStatus):
        await client.operate("pause", handle.id)
    added = await client.object(Counter, "r").add.send(5)
    assert await added.result() == 5
    again = await client.restart(added.id)
    assert again.id != added.id and await again.result() == 10
    await client.operate("purge", added.id)
    with pytest.raises(UnknownInvocation):
        await added.result()


async def test_the_state_of_an_object_is_asked_of_the_admin_route(client: Client) -> None:
    await client.object(Counter, "a/b").add(5)
    assert await client.state("Counter", "a/b") == {"count": 5}


# --- awakeables and errors --------------------------------------------------------------------------------------------------


async def test_awakeables_are_completed_with_the_errors_of_the_app(client: Client) -> None:
    _, id = await held(client)
    with pytest.raises(BadArguments):
        await client.resolve_awakeable(id, 5)
    await client.resolve_awakeable(id, "yes")
    await client.resolve_awakeable(id, "yes")
    with pytest.raises(AwakeableCompleted):
        await client.reject_awakeable(id, "no")
    handed_out.clear()
    other, id = await held(client, "other")
    await client.reject_awakeable(id, "Very bad error! ü")
    with pytest.raises(TerminalError, match="Very bad error! ü"):
        await other.result()
    with pytest.raises(BadArguments):
        await client.resolve_awakeable("", 1)


@pytest.mark.parametrize("code", [418, 429, 503, 504])
async def test_a_failure_arrives_as_it_was_raised_and_is_not_asked_for_again(client: Client, code: int) -> None:
    fail = client.object(Counter, "a").fail.options(idempotency_key="k")
    with pytest.raises(TerminalError) as caught:
        await fail("no tea", code)
    found = caught.value
    assert (type(found), found.message, found.code, found.metadata) == (
        TerminalError,
        "no tea",
        code,
        {"kind": "teapot"},
    )
    with pytest.raises(TerminalError, match="no tea"):
        await client.invocation_of(fail).output()


async def test_what_is_refused_arrives_as_the_class_its_code_names(client: Client) -> None:
    for error, call in (
        (UnknownService, ("Nobody", "a", "add")),
        (UnknownHandler, ("Counter", "a", "nothing")),
        (BadKey, ("Counter", "\x00", "reset")),
    ):
        with pytest.raises(error):
            await client.call(*call)
    with pytest.raises(WrongKind):
        client.service(Counter)  # type: ignore[type-var]
    with pytest.raises(BadArguments):
        client.object(Counter, "a").add("x")  # type: ignore[arg-type]
    with pytest.raises(SerializationError):
        client.call("Tools", "", "echo", object())


async def test_an_app_that_does_not_run_is_told_and_is_no_terminal_error() -> None:
    async with Client(app=App(Counter, storage="sqlite://")) as client:
        with pytest.raises(AppNotRunning) as caught:
            await client.object(Counter, "a").add(1)
        assert not isinstance(caught.value, TerminalError)


# --- retries and timeouts ---------------------------------------------------------------------------------------------------


class Flaky:
    """A server that does what a list says: an exception, or (status, headers, body). Then it answers with 7."""

    def __init__(self, *faults: Any) -> None:
        self.faults = list(faults)
        self.asked: list[httpx.Request] = []
        self.pauses: list[float] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        fault = self.faults.pop(0) if self.faults else (200, {"content-type": "application/json"}, b"7")
        if isinstance(fault, Exception):
            raise fault
        status, headers, body = fault
        return httpx.Response(status, headers=headers, content=body)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def client(self, **options: Any) -> Client:
        return Client(transport=httpx.MockTransport(self.answer), sleep=self.sleep, **options)


OVERLOAD = (429, {"retry-after": "3"}, b'{"code":429,"message":"full","source":"ingress","error":"mailbox_full"}')
DOWN = (503, {"retry-after": "1"}, b'{"code":503,"message":"down","source":"ingress","error":"storage_error"}')
BAD_GATEWAY = (502, {"content-type": "text/html"}, b"<html>")
BROKEN = httpx.ReadError("reset by peer")
FAULTS = [OVERLOAD, DOWN, BAD_GATEWAY, BROKEN]


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_may_have_been_done_is_not_asked_for_again(fault: Any) -> None:
    server = Flaky(fault, fault)
    async with server.client() as client:
        with pytest.raises(ActorsError):
            await client.object(Counter, "a").add(1)
        with pytest.raises(ActorsError):
            await client.object(Counter, "a").add.send(1)
    assert len(server.asked) == 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_has_one_effect_is_asked_for_again(fault: Any) -> None:
    asks: list[Callable[[Client], Awaitable[Any]]] = [
        lambda client: client.object(Counter, "a").add.options(idempotency_key="k")(1),
        lambda client: client.object(Flow, "w").run("x"),
        lambda client: client.invocation("inv_1x").result(),
        lambda client: client.resolve_awakeable("prom_1x", 5),
    ]
    for ask in asks:
        server = Flaky(fault, fault)
        async with server.client() as client:
            with contextlib.suppress(SerializationError):  # 7 is no str
                await ask(client)
        assert len(server.asked) == 3
        assert {request.content for request in server.asked} == {server.asked[0].content}
        assert {request.headers.get("idempotency-key") for request in server.asked} == {
            server.asked[0].headers.get("idempotency-key")
        }


async def test_a_connection_that_was_never_made_is_tried_again_for_everything() -> None:
    server = Flaky(httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"))
    async with server.client() as client:
        assert await client.object(Counter, "a").add(1) == 7
    server = Flaky(*[httpx.ConnectError("refused")] * 9)
    async with server.client() as client:
        with pytest.raises(ServerUnreachable, match="Nothing was done"):
            await client.object(Counter, "a").add(1)
    assert len(server.asked) == 5


async def test_who_runs_out_of_time_before_a_connection_was_made_has_asked_for_nothing() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def sleep(seconds: float) -> None:
        await asyncio.Event().wait()

    async with Client(transport=httpx.MockTransport(answer), sleep=sleep, timeout=0.05) as client:
        with pytest.raises(ServerUnreachable, match="Nothing was done"):
            await client.object(Counter, "a").add(1)


async def test_a_server_that_is_full_is_not_told_as_a_broken_database() -> None:
    body = b'{"code":503,"message":"Too many connections.","source":"ingress","error":"too_many_connections"}'
    async with Flaky(*[(503, {}, body)] * 9).client() as client:
        with pytest.raises(ServerUnreachable, match="Too many connections"):
            await client.object(Counter, "a").add(1)
    pending = b'{"code":503,"message":"It goes on.","source":"ingress","error":"outcome_pending"}'
    async with Flaky((503, {"x-restate-id": "inv_1x"}, pending)).client() as client:
        with pytest.raises(OutcomePending) as caught:
            await client.object(Counter, "a").add(1)
        assert caught.value.invocation_id == "inv_1x"


async def test_whoever_waits_when_the_client_closes_is_told_so() -> None:
    closed = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        await closed.wait()
        raise httpx.ReadError("the transport was closed")

    async with Client(transport=httpx.MockTransport(answer), sleep=lambda _: asyncio.sleep(0)) as client:
        waiting = asyncio.ensure_future(client.invocation("inv_1x").result())
        await asyncio.sleep(0.01)
    closed.set()
    with pytest.raises(ClientClosed):
        await waiting


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call


async def test_a_wait_that_is_cancelled_while_its_client_closes_is_cancelled() -> None:
    asked = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with Client(transport=httpx.MockTransport(answer)) as client:
        waiting = asyncio.ensure_future(_awaited(client.call("Counter", "a", "add")))
        await asked.wait()
        asyncio.get_running_loop().call_soon(waiting.cancel)
    await asyncio.wait([waiting])
    assert waiting.cancelled()


def test_a_client_that_cannot_be_used_leaves_no_thread() -> None:
    client = SyncClient()
    asyncio.run(client._client.__aenter__())
    before = threading.enumerate()
    for _ in range(2):
        with pytest.raises(ClientClosed, match="already in use"):
            client.__enter__()
    assert threading.enumerate() == before
    with pytest.raises(ClientClosed, match="not in use"):
        client.run(lambda _: asyncio.sleep(0))
    asyncio.run(client._client.__aexit__(None, None, None))
    with client:
        pass


def test_a_thread_that_waits_when_another_closes_the_client_is_told_so() -> None:
    asked = threading.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    told: list[BaseException] = []

    def wait() -> None:
        try:
            blocking.invocation("inv_1x").result()
        except ClientClosed as error:
            told.append(error)

    with SyncClient(transport=httpx.MockTransport(answer)) as blocking:
        thread = threading.Thread(target=wait)
        thread.start()
        assert asked.wait(10)
    thread.join(10)
    assert not thread.is_alive()
    assert len(told) == 1


async def test_a_name_that_no_url_can_hold_is_refused(client: Client) -> None:
    with pytest.raises(BadArguments, match="cannot be part of a URL"):
        await client.call("Counter", "ü" * 20_000, "add", 1)


async def test_retry_after_is_waited_for_unless_it_is_far_away() -> None:
    server = Flaky(OVERLOAD, DOWN)
    async with server.client() as client:
        assert await client.object(Counter, "a").add.options(idempotency_key="k")(1) == 7
    assert server.pauses[0] == 3.0 and server.pauses[1] == 1.0
    far = (429, {"retry-after": "3600"}, OVERLOAD[2])
    server = Flaky(far)
    async with server.client() as client:
        with pytest.raises(ActorsError, match="full"):
            await client.object(Counter, "a").add.options(idempotency_key="k")(1)
    assert server.pauses == []


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_a_failure_with_the_code_of_an_overload_is_an_outcome_and_asked_for_once(code: int) -> None:
    body = b'{"code":%d,"message":"sold out","source":"invocation","error":"terminal_error"}' % code
    server = Flaky((code, {"content-type": "application/json"}, body))
    async with server.client() as client:
        with pytest.raises(TerminalError, match="sold out"):
            await client.object(Counter, "a").add.options(idempotency_key="k")(1)
    assert len(server.asked) == 1


async def test_an_answer_that_is_not_ours_says_what_it_was() -> None:
    for fault in (
        (200, {"content-type": "text/html"}, b"<html>Hi"),
        (307, {"location": "/x"}, b""),
        (404, {}, b"<html>Hi"),
    ):
        server = Flaky(fault)
        async with server.client() as client:
            with pytest.raises(UnexpectedAnswer, match="prefix") as caught:
                await client.object(Counter, "a").add(1)
        assert caught.value.status == fault[0]


async def test_a_call_that_takes_too_long_is_given_up_and_goes_on(app: App) -> None:
    async with Client(app=app, timeout=0.05) as client:
        with pytest.raises(RequestTimedOut, match="goes on"):
            await client.object(Counter, "h").hold()
    (info,) = await app.invocations(handler="hold")
    assert info.status != "failed"
    await app.resolve_awakeable(handed_out[-1], "late")
    assert await app.invocation(info.id).result() == "late"


async def test_whoever_is_cancelled_gives_up_the_request_unless_another_waits(client: Client, app: App) -> None:
    call = client.object(Counter, "h").hold()
    one, two = asyncio.ensure_future(call), asyncio.ensure_future(call)
    await handed_out_id()
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    await client.resolve_awakeable(handed_out[-1], "yes")
    assert await two == "yes"
    handed_out.clear()
    call = client.object(Counter, "h2").hold()
    alone = asyncio.ensure_future(call)
    await handed_out_id()
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    with pytest.raises(ClientClosed):
        await call
    await client.resolve_awakeable(handed_out[-1], "on it goes")


async def test_a_client_is_used_inside_its_block_only(app: App) -> None:
    client = Client(app=app)
    with pytest.raises(ClientClosed):
        client.object(Counter, "a").add(1)
    async with client:
        call = client.object(Counter, "a").hold()
        await handed_out_id()
    with pytest.raises(ClientClosed):
        await call
    with pytest.raises(ClientClosed):
        await client.resolve_awakeable("prom_1x")


async def test_the_token_is_sent_and_never_shown() -> None:
    server = Flaky()
    async with server.client(token="s3cret") as client:
        await client.object(Counter, "a").add(1)
        assert "s3cret" not in repr(client)
    assert server.asked[0].headers["authorization"] == "Bearer s3cret"
    assert server.asked[0].url.path == "/restate/call/Counter/a/add"
    for bad in ("", "a b", "a\n", "ü"):
        with pytest.raises(BadArguments, match="token"):
            Client(token=bad)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x/?a=1", "http://u:p@x", 5])
def test_a_url_that_cannot_be_meant_is_refused(url: Any) -> None:
    with pytest.raises(BadArguments, match="url="):
        Client(url)


async def test_a_prefix_of_the_url_is_kept() -> None:
    server = Flaky()
    async with Client("http://x/api/", transport=httpx.MockTransport(server.answer)) as client:
        await client.object(Counter, "..").add(1)
    assert server.asked[0].url.raw_path == b"/api/restate/call/Counter/%2E%2E/add"


# --- without a loop ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[App]:
    """An app that runs on the loop of another thread, as on a server."""
    handed_out.clear()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = App(Counter, Tools, Flow, storage="sqlite://")
    asyncio.run_coroutine_threadsafe(app.start(), loop).result()
    try:

        async def there(scope: Any, receive: Any, send: Any) -> None:
            messages = [await receive()]
            while messages[-1].get("more_body"):
                messages.append(await receive())
            sent: list[Any] = []

            async def given() -> Any:
                if not messages:
                    await asyncio.Event().wait()  # it does not hang up
                return messages.pop(0)

            async def kept(message: Any) -> None:
                sent.append(message)

            asked = app(scope, given, kept)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_done(asked), loop))
            for message in sent:
                await send(message)

        yield there  # type: ignore[misc]
    finally:
        asyncio.run_coroutine_threadsafe(app.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _done(work: Awaitable[None]) -> None:
    await work


def test_a_program_without_a_loop_calls_and_sends_with_the_same_references(elsewhere: Any) -> None:
    with SyncClient(app=elsewhere) as client:
        counter = client.object(Counter, "a")
        assert client.call(counter.add, 5, times=2) == 10
        assert client.call("Counter", "a", "add", 1) == 11
        assert client.call(client.service(Tools).echo, "x") == "x"
        handle = client.send(counter.add.options(idempotency_key="k"), 1)
        assert handle.id.startswith("inv_1") and handle.result() == handle.output() == 12
        assert client.send(counter.add.options(idempotency_key="k"), 1).previously_accepted
        assert client.invocation_of(counter.add.options(idempotency_key="k")).result() == 12
        with pytest.raises(BadArguments, match=r"client\.call"):
            counter.add(5)
        held = client.send(counter.hold)
        while not handed_out:
            client.run(lambda _: asyncio.sleep(0.001))
        with pytest.raises(NotReady):
            held.output()
        client.resolve_awakeable(handed_out[-1], "yes")
        assert client.invocation(held.id).result() == "yes"
        cancelled = client.send(counter.hold)
        cancelled.cancel()
        with pytest.raises(InvocationCancelled):
            cancelled.result()
    with pytest.raises(ClientClosed):
        client.call(counter.add, 5)
