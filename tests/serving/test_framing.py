"""Requests that a proxy in front could read in another way than the server: refused, and the connection closed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.serving.server import APP, Serving, connected, serving

CORS = APP.replace(
    'app = App(Account, Flow, storage="sqlite:///app.db")',
    "from actors.http_options import HttpOptions\n"
    'app = App(Account, Flow, storage="sqlite:///app.db", http=HttpOptions(cors="https://shop.example"))\n',
)
HEAD = b"POST /Account/a/add HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNK = b'\r\n3\r\n"x"\r\n0\r\n\r\n'
_numbers = itertools.count()
HIDDEN = b'POST /Account/hidden/add HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n"x"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "shop.py").write_text(CORS)
    with serving(folder) as server:
        yield server


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD.replace(b"host: x", b"host: x\r\nhost: y") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD.replace(b"host: x", b"host: x\r\nHost: x") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD.replace(b"host: x\r\n", b"") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD.replace(b"host: x", b"host: x, y") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD.replace(b"host: x", b"host: x/y") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD + b"transfer-encoding: gzip, chunked\r\n" + CHUNK, 501),
        (HEAD + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n" + CHUNK, 501),
        (HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n" + CHUNK, 400),
        (HEAD + b"transfer-encoding: identity, chunked\r\n" + CHUNK, 501),
        (HEAD + b"transfer-encoding: xchunked\r\n" + CHUNK, 400),
        (HEAD + b"transfer-encoding: chunked, gzip\r\n" + CHUNK, 400),
        (HEAD + b"transfer-encoding: \x0bchunked\r\n" + CHUNK, 400),
        (HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n" + CHUNK, 400),
        (HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n" + CHUNK, 400),
        (HEAD + b'content-length: 3\r\ncontent-length: 4\r\n\r\n"x"', 400),
        (HEAD + b'content-length: 3\r\ncontent-length: 3\r\n\r\n"x"', 400),
        (HEAD + b'content-length: +3\r\n\r\n"x"', 400),
        (HEAD + b'content-length: 3, 3\r\n\r\n"x"', 400),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"transfer-encoding: chunked\r\n" + CHUNK, 400),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/2.0") + b'content-length: 3\r\n\r\n"x"', 505),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/0.9") + b'content-length: 3\r\n\r\n"x"', 505),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/1.2") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD.replace(b"host: x", b"host : x") + b'content-length: 3\r\n\r\n"x"', 400),
        (HEAD + b'x: a\r\n b\r\ncontent-length: 3\r\n\r\n"x"', 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_is_refused(server: Serving, request_: bytes, status: int) -> None:
    async with connected(server.port) as connection:
        key = f"hidden-{next(_numbers)}"
        connection.writer.write(request_ + HIDDEN.replace(b"hidden", key.encode()))
        answer = await connection.answer()
        assert answer.status == status, answer.body
        assert answer.headers["connection"] == "close"
        assert await connection.reader.read() == b""
    async with connected(server.port) as connection:
        assert (await connection.ask("POST", f"/Account/{key}/add", "x")).json == 1


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"transfer-encoding: chunked\r\n" + CHUNK,
        HEAD + b"Transfer-Encoding: Chunked\r\n" + CHUNK,
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"host: x\r\n", b"") + b'content-length: 3\r\n\r\n"x"',
        HEAD.replace(b"host: x", b"host:") + b'content-length: 3\r\n\r\n"x"',
        HEAD.replace(b"host: x", b"host: [::1]:80") + b'content-length: 3\r\n\r\n"x"',
    ],
)
async def test_what_rfc_9112_allows_is_answered(server: Serving, request_: bytes) -> None:
    async with connected(server.port) as connection:
        connection.writer.write(request_)
        assert (await connection.answer()).status == 200


async def test_pages_of_other_origins_read_answers_of_either_way_and_refusals_of_the_server(server: Serving) -> None:
    page = {"origin": "https://shop.example"}
    async with connected(server.port) as connection:
        plain = await connection.ask("POST", "/Account/o/add", "x", **page)
        asgi = await connection.ask("GET", "/restate/health", **page)
        asked = {**page, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
        connection.writer.write(b"OPTIONS /Account/o/add HTTP/1.1\r\nhost: x\r\n")
        connection.writer.write("".join(f"{name}: {value}\r\n" for name, value in asked.items()).encode() + b"\r\n")
        preflight = await connection.reader.readuntil(b"\r\n\r\n")
        assert (
            preflight.startswith(b"HTTP/1.1 204") and b"access-control-allow-origin: https://shop.example" in preflight
        )
        assert b"content-length" not in preflight and b"transfer-encoding" not in preflight
        stranger = await connection.ask("POST", "/Account/o/add", "x", origin="https://evil.example")
        large = await connection.ask("POST", "/Account/o/add", "x", large="x" * 70_000, **page)
    for answer, status in ((plain, 200), (asgi, 200), (large, 431)):
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in stranger.headers
