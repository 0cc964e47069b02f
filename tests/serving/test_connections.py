"""What a connection is allowed: no client can hold one for nothing, nor say with it what its head did not say."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.serving.test_plain_requests import JSON, LAST, Running, request, running, told, until

UPGRADE = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA")


def statuses(said: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1.1 (\d{3}) ", said)]


def in_pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)]


# --- another protocol -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_who_offers_another_protocol_is_answered_in_this_one_with_the_body_it_sent(
    short: bool, size: int
) -> None:
    async with running(short) as server:
        for n in (1, 2):
            said = await told(server.port, *in_pieces(request("/Counter/a/add", b"5", JSON, *UPGRADE) + LAST, size))
            assert statuses(said) == [200, 200]
            assert said.split(b"\r\n\r\n")[1].startswith(str(5 * n).encode())


@pytest.mark.parametrize("size", [1, 40, 10_000])
async def test_the_body_of_such_a_request_is_no_request(size: int) -> None:
    async with running() as server:
        inner = request("/Counter/smuggled/add", b"7", JSON)
        raw = request("/Counter/a/echo", inner, "content-type: application/octet-stream", *UPGRADE)
        said = await told(server.port, *in_pieces(raw + LAST, size))
        assert statuses(said) == [200, 200]
        assert inner in said
        assert not await server.app.invocations(key="smuggled")


async def test_a_tunnel_is_refused() -> None:
    async with running() as server:
        assert statuses(await told(server.port, request("x:80", method="CONNECT") + LAST)) == [501]


# --- trailers ---------------------------------------------------------------------------------------------------------

CHUNKED = "transfer-encoding: chunked"


def chunked(path: str, trailers: bytes) -> bytes:
    head = "\r\n".join((f"POST {path} HTTP/1.1", "host: x", CHUNKED, JSON, "a: head", "", "")).encode()
    return head + b"1\r\n1\r\n0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize("size", [3, 10_000])
async def test_what_comes_behind_a_body_changes_nothing_of_its_head(size: int) -> None:
    async with running() as server:
        raw = chunked("/Counter/a/add", b"idempotency-key: k\r\na: trailer\r\nauthorization: Bearer x\r\n")
        said = await told(server.port, *in_pieces(raw + LAST, size))
        assert statuses(said) == [200, 200]
        assert b"idempotency-expires" not in said
        (found,) = await server.app.invocations(handler="add", key="a")
        assert found.idempotency_key is None


async def test_trailers_without_an_end_are_refused() -> None:
    async with running() as server:
        said = await told(server.port, chunked("/Counter/a/add", b"")[:-2], *[b"x: " + b"y" * 20_000 + b"\r\n"] * 8)
        assert statuses(said) in ([], [431])  # nothing, if it is closed while the client still writes
        await until(server.nobody)
        assert not await server.app.invocations(handler="add")


# --- connections that wait for nothing --------------------------------------------------------------------------------

REFUSED = request("/Nobody/a/add", b"1" * 50)

FOR_NOTHING: dict[str, list[bytes]] = {
    "empty lines": [b"\r\n"],
    "empty lines behind an answered request": [request("/Counter/a/add", b"1", JSON), b"\r\n"],
    "half a head": [REFUSED[:20]],
    "a part of the body of a refused request": [REFUSED[:-40], b"1"],
    "the rest of the body of a refused request": [REFUSED[:-40], b"1" * 40],
    "chunks of a refused request": [
        b"POST /Nobody/a/add HTTP/1.1\r\nhost: x\r\n" + CHUNKED.encode() + b"\r\n\r\n",
        b"1\r\n1",
    ],
}


@pytest.mark.parametrize("sent", FOR_NOTHING)
async def test_a_connection_that_waits_for_nothing_is_closed(sent: str) -> None:
    async with running(keep_alive_s=1, head_s=0.3) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for piece in FOR_NOTHING[sent]:
            writer.write(piece)
            await writer.drain()
            for _ in range(200):
                await asyncio.sleep(0)
        said = await asyncio.wait_for(reader.read(), 10)
        assert statuses(said)[-1:] in ([], [200], [404], [408])
        writer.close()
        await until(server.nobody)


async def test_bytes_that_begin_nothing_do_not_put_the_end_off() -> None:
    async with running(keep_alive_s=1, head_s=0.3) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def trickle() -> None:
            while not writer.is_closing():
                writer.write(b"\r\n")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert statuses(await asyncio.wait_for(reader.read(), 10)) == [408]
        writer.close()
        await asyncio.gather(trickling, return_exceptions=True)


async def test_a_pipelined_head_is_as_limited_as_the_first_one() -> None:
    async with running(head_bytes=1000) as server:
        large = request("/Counter/a/add", b"1", JSON, "x: " + "y" * 5000)
        assert statuses(await told(server.port, large)) == [431]
        assert statuses(await told(server.port, request("/Counter/a/add", b"1", JSON) + large)) == [200, 431]


# --- clients that are gone --------------------------------------------------------------------------------------------


def waiters(server: Running) -> int:
    return sum(len(one.waiters or ()) for one in server.app._running().residents.open.values())


@pytest.mark.parametrize("way", ["a call", "a call under a key", "attached"])
async def test_nothing_is_kept_of_whoever_hangs_up_while_it_waits(way: str) -> None:
    async with running() as server:
        held = await server.app.send("Counter", "a", "wait")
        (awakeable,) = await until(server.app.awakeables)
        asked = {
            "a call": request("/Counter/b/wait"),
            "a call under a key": request("/Counter/b/wait", b"", "idempotency-key: k"),
            "attached": request(f"/restate/invocation/{held.id}/attach", method="GET"),
        }[way]

        async def somebody_waits() -> bool:
            return waiters(server) > 0

        async def nobody_waits() -> bool:
            return waiters(server) == 0

        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(asked)
            await until(somebody_waits)
            writer.transport.abort()
            await until(server.nobody)
            await until(nobody_waits)

        async def no_task() -> bool:
            return not server.server.server_state.tasks

        await until(no_task)
        await server.app.resolve_awakeable(awakeable.id, "done")
        assert await server.app.invocation(held.id).result() == "done"
        while left := await server.app.awakeables():
            await server.app.resolve_awakeable(left[0].id, "too")
            assert await server.app.invocation(left[0].invocation_id).result() == "too"


@pytest.mark.parametrize("short", [True, False])
async def test_who_has_said_all_it_wants_to_say_is_answered(short: bool) -> None:
    async with running(short, half_open_s=20.0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request("/Counter/a/wait"))
        await until(server.app.awakeables)
        writer.write_eof()
        for _ in range(50):
            await asyncio.sleep(0)
        (awakeable,) = await server.app.awakeables()
        await server.app.resolve_awakeable(awakeable.id, "here")
        said = await asyncio.wait_for(reader.read(), 10)
        assert statuses(said) == [200]
        assert said.endswith(b'"here"')
        writer.close()


@pytest.mark.parametrize("short", [True, False])
async def test_what_is_no_request_does_not_cost_the_one_before_it_its_answer(short: bool) -> None:
    async with running(short) as server:
        said = await told(server.port, request("/Counter/a/step") + b"GARBAGE\r\n\r\n")
        assert statuses(said)[:1] == [200]
        assert b'"stepped"' in said
