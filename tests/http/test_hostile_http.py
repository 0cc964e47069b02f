"""What no honest client sends, over raw sockets, to a real server in a process of its own: no 5xx, no hang, no leak."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.log_guard import from_process

ROOT = Path(__file__).resolve().parents[2]
ADD = b"POST /Counter/a/add HTTP/1.1\r\nhost: x\r\n"
LIMIT_S = 5


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    errors = tmp_path_factory.mktemp("hostile") / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.http.hostile_app"], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr
        )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        process.stdout.close()
        from_process(errors.read_text())


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)


def said(sock: socket.socket, until: int = 0) -> bytes:
    """What comes until the server closes, or until there are so many answers. Raises TimeoutError for silence."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while not until or len(statuses(found)) < until or not _whole(found):
            more = sock.recv(65536)
            if not more:
                break
            found += more
    return found


def statuses(text: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", text)]


def _whole(text: bytes) -> bool:
    """Whether the last answer has come whole."""
    head, found, body = text[text.rfind(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(found) and (length is None or len(body) >= int(length[1]))


def told(port: int, *pieces: bytes, answers: int = 1) -> list[int]:
    """Send the pieces, end the sending side, and read on: the statuses of the answers."""
    with opened(port) as sock:
        with contextlib.suppress(ConnectionError):  # it may hang up on us in the middle: that too is an answer
            for piece in pieces:
                sock.sendall(piece)
        return statuses(said(sock, answers))


def call(port: int, path: bytes, body: bytes = b"") -> object:
    with opened(port) as sock:
        sock.sendall(
            b"POST %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (path, len(body), body)
        )
        text = said(sock)
    assert statuses(text) == [200], text
    return json.loads(text.partition(b"\r\n\r\n")[2])


def usage(port: int) -> dict[str, int]:
    found = call(port, b"/Process/usage")
    assert isinstance(found, dict)
    return found


# What is sent, in pieces. Each is answered once, with a 4xx.
REFUSED: dict[str, list[bytes]] = {
    "a length that is no number": [ADD + b"content-length: abc\r\n\r\n1"],
    "a negative length": [ADD + b"content-length: -1\r\n\r\n1"],
    "a length beyond all numbers": [ADD + b"content-length: " + b"9" * 40 + b"\r\n\r\n1"],
    "a length beyond the limit": [ADD + b"content-length: 100001\r\n\r\n1"],
    "two lengths": [ADD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n12"],
    "a length and chunks": [ADD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"],
    "chunks and a length": [ADD + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1\r\n1\r\n0\r\n\r\n"],
    "another transfer encoding": [ADD + b"transfer-encoding: banana\r\n\r\n1"],
    "a chunk whose size is no number": [ADD + b"transfer-encoding: chunked\r\n\r\nzz\r\n1\r\n0\r\n\r\n"],
    "a chunk of a negative size": [ADD + b"transfer-encoding: chunked\r\n\r\n-1\r\n1\r\n0\r\n\r\n"],
    "a chunk of an endless size": [ADD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n1\r\n0\r\n\r\n"],
    "a chunk longer than its size": [ADD + b"transfer-encoding: chunked\r\n\r\n1\r\n123\r\n0\r\n\r\n"],
    "chunks beyond the limit": [
        ADD + b"transfer-encoding: chunked\r\n\r\n",
        *[b"ffff\r\n" + b"1" * 0xFFFF + b"\r\n"] * 4,
        b"0\r\n\r\n",
    ],
    "a thousand headers": [
        ADD + b"".join(b"x-%d: y\r\n" % n for n in range(1000)) + b"connection: close\r\ncontent-length: 1\r\n\r\n0"
    ],
    "a NUL in the path": [b"POST /Counter/a\x00b/add HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"],
    "an encoded NUL": [b"POST /Counter/a%00b/add HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"],
    "a NUL in a header": [ADD + b"x-a: b\x00c\r\ncontent-length: 1\r\n\r\n1"],
    "a header without a name": [ADD + b": b\r\ncontent-length: 1\r\n\r\n1"],
    "a header without a colon": [ADD + b"nonsense\r\ncontent-length: 1\r\n\r\n1"],
    "a folded header": [ADD + b"x-a: b\r\n c\r\ncontent-length: x\r\n\r\n1"],
    "no HTTP at all": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    "the preface of HTTP/2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "no such version": [b"GET /restate/health HTTP/9.9\r\nhost: x\r\n\r\n"],
    "no such method": [b"BREW /Counter/a/add HTTP/1.1\r\nhost: x\r\n\r\n"],
    "a tunnel": [b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
    "an asterisk": [b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n"],
    "a target of another host": [b"GET http://other.example/nothing HTTP/1.1\r\nhost: x\r\n\r\n"],
    "an empty target": [b"GET  HTTP/1.1\r\nhost: x\r\n\r\n"],
    "a long path": [b"POST /Counter/" + b"a" * 60_000 + b"/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"],
    "many segments": [b"GET /" + b"a/" * 30_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
    "a query of a thousand parameters": [
        b"POST /Counter/a/add/send?"
        + b"&".join([b"a=b"] * 1000)
        + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"
    ],
    "bytes that are no UTF-8": [ADD + b"content-length: 2\r\n\r\n\xff\xfe"],
    "JSON nested too deep": [ADD + b"content-length: 60000\r\n\r\n" + b"[" * 60_000],
    "a long idempotency key": [ADD + b"content-length: 1\r\nidempotency-key: " + b"k" * 5000 + b"\r\n\r\n1"],
    "a body that does not come": [ADD + b"content-length: 5\r\n\r\n1"],
    "chunks that do not come": [ADD + b"transfer-encoding: chunked\r\n\r\n1\r\n1\r\n"],
}


@pytest.mark.parametrize("pieces", REFUSED.values(), ids=REFUSED)
def test_it_is_refused_and_nothing_breaks(port: int, pieces: list[bytes]) -> None:
    before = call(port, b"/Counter/a/add", b"0")
    found = told(port, *pieces)
    assert len(found) == 1 and 400 <= found[0] < 500, found
    assert call(port, b"/Counter/a/add", b"0") == before, "a request that was refused had an effect"


ACCEPTED: dict[str, list[bytes]] = {
    "one byte at a time": [bytes([byte]) for byte in ADD + b"content-length: 1\r\nconnection: close\r\n\r\n0"],
    "chunks of one byte": [
        ADD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
        *[b"1\r\n \r\n"] * 500,
        b"1\r\n0\r\n0\r\n\r\n",
    ],
    "a chunk with an extension and a trailer": [
        ADD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n1;a=b\r\n0\r\n0\r\nx-trailer: 1\r\n\r\n"
    ],
    "an absolute target": [
        b"POST http://x/Counter/a/add HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\n0"
    ],
    "many headers": [
        ADD + b"".join(b"x-%d: y\r\n" % n for n in range(100)) + b"connection: close\r\ncontent-length: 1\r\n\r\n0"
    ],
    "a large header": [ADD + b"x-a: " + b"y" * 30_000 + b"\r\nconnection: close\r\ncontent-length: 1\r\n\r\n0"],
    "what is asked to be continued": [ADD + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: 1\r\n\r\n0"],
}


@pytest.mark.parametrize("pieces", ACCEPTED.values(), ids=ACCEPTED)
def test_it_is_unusual_and_answered(port: int, pieces: list[bytes]) -> None:
    assert [status for status in told(port, *pieces, answers=0) if status != 100] == [200]


def test_requests_in_a_row_on_one_connection_are_answered_in_order(port: int) -> None:
    start = call(port, b"/Counter/row/add", b"0")
    assert isinstance(start, int)
    one = b"POST /Counter/row/add HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1"
    with opened(port) as sock:
        sock.sendall(one * 200)
        text = said(sock, 200)
    assert statuses(text) == [200] * 200
    assert [int(body) for body in re.findall(rb"\r\n\r\n(\d+)(?=HTTP|$)", text)] == list(range(start + 1, start + 201))


def test_whoever_does_not_send_the_body_in_time_is_told_so(port: int) -> None:
    assert told(port, ADD + b"content-length: 5\r\n\r\n1") == [408]


def test_whoever_ends_its_side_in_the_middle_leaves_nothing(port: int) -> None:
    for begun in (b"", b"POST /Cou", ADD, ADD + b"content-length: 5\r\n\r\n1"):
        with opened(port) as sock:
            sock.sendall(begun)
            sock.shutdown(socket.SHUT_WR)
            assert all(status < 500 for status in statuses(said(sock)))
    assert call(port, b"/Counter/half/add", b"1") == 1


def test_a_thousand_idle_connections_keep_nobody_from_working_and_leave_nothing(port: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard) if hard > 0 else 4096), hard))
    before = usage(port)
    with contextlib.ExitStack() as stack:
        for place in range(1000):
            sock = stack.enter_context(opened(port))
            sock.sendall(
                (b"", ADD, b"GET /restate/health HTTP/1.1\r\nhost: x\r\n")[place % 3]
            )  # silent, or half a request
        for n in range(50):
            assert call(port, b"/Counter/busy/add", b"1") == n + 1
        assert usage(port)["memory"] - before["memory"] < 100_000_000
    _settled(port, before)


def test_a_thousand_hostile_requests_leave_nothing(port: int) -> None:
    """After a first round, in which pools fill, nothing grows: no files, no tasks, and next to no memory."""
    kinds = [pieces for name, pieces in REFUSED.items() if not name.endswith("do not come") and "not come" not in name]
    for pieces in kinds * 4:
        told(port, *pieces)
    before = usage(port)
    for pieces in kinds * 25:
        told(port, *pieces)
    after = _settled(port, before)
    assert after["memory"] - before["memory"] < 30_000_000


def _settled(port: int, before: dict[str, int]) -> dict[str, int]:
    """The usage once what was closed is gone: the server hears of that by and by, while it answers us."""
    after = usage(port)
    for _ in range(200):
        if after["files"] <= before["files"] + 2 and after["tasks"] <= before["tasks"] + 2:
            break
        after = usage(port)
    assert after["files"] <= before["files"] + 2
    assert after["tasks"] <= before["tasks"] + 2
    return after
