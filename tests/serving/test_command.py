"""What `actors serve` refuses, prints and bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from actors.transport.server.sockets import CannotListen, bound, bound_to_path
from tests.serving.server import APP, LIFELINE, ROOT, Answer, Connection, connected, serving


def refused(folder: Path, *words: str, program: str = "") -> tuple[int, str]:
    """The exit code, and what was said on stderr."""
    (folder / "shop.py").write_text(APP)
    start = ("-c", program) if program else ("-m", "actors")
    ended = subprocess.run(
        [sys.executable, *start, "serve", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=LIFELINE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stderr


async def test_it_says_what_is_served_where_and_from_which_file(tmp_path: Path) -> None:
    with serving(tmp_path, "--db", "other.db") as server:
        assert server.line == (
            f"Serving Account, Flow at http://127.0.0.1:{server.port} from other.db. Ctrl-C stops it.\n"
        )
        async with connected(server.port) as connection:
            assert (await connection.ask("POST", "/Account/a/add", "x")).json == 1
        server.process.send_signal(signal.SIGINT)
        assert server.end() == (0, "")
    assert (tmp_path / "other.db").exists() and not (tmp_path / "app.db").exists()


async def test_its_log_lines_are_json_that_names_the_invocation_if_it_is_told_so(tmp_path: Path) -> None:
    with serving(tmp_path, "--json-logs") as server:
        async with connected(server.port) as connection:
            answer = await connection.ask("POST", "/Flow/ü/note".replace("ü", "%C3%BC"), "said")
        server.process.send_signal(signal.SIGTERM)
        code, errors = server.end()
    (line,) = [json.loads(line) for line in errors.splitlines() if '"shop"' in line]
    assert code == 0
    assert (line["message"], line["service"], line["key"], line["handler"]) == ("said", "Flow", "ü", "note")
    assert line["invocation_id"] == answer.headers["x-restate-id"]


def test_a_database_in_use_names_its_owner(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        code, errors = refused(tmp_path, "shop:app", "--port", "0")
        assert (code, errors.count("\n")) == (1, 1)
        assert f"app.db is in use by process {server.process.pid}" in errors


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing:app",), 2, "no module 'nothing'"),
        (("shop:Account",), 2, "name the App: shop:app"),
        (("shop:app", "--db", "mysql://x"), 2, "mysql"),
        (("shop:app", "--host", "no.such.host.invalid"), 1, "not a valid address"),
        (("shop:app", "--port", "70000"), 2, "70000"),
        (("shop:app", "--uds", "shop.py"), 1, "not a socket"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    ended, errors = refused(tmp_path, *words, *(() if "--port" in words else ("--port", "0")))
    assert ended == code and said in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("module", "last", "frames"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'", 1),
        ("def f():\n    1 / 0\nf()", "ZeroDivisionError: division by zero", 2),
        ("def f(:", "SyntaxError: invalid syntax", 1),
    ],
)
def test_a_module_that_cannot_be_imported_is_shown_from_its_own_first_line(
    tmp_path: Path, module: str, last: str, frames: int
) -> None:
    (tmp_path / "broken.py").write_text(module)
    code, errors = refused(tmp_path, "broken:app", "--port", "0")
    assert code == 2 and errors.startswith("Error: The module 'broken' cannot be imported.\n")
    assert errors.rstrip().endswith(last) and errors.count("  File ") == frames, errors


def test_a_wrapped_app_is_refused_with_the_way_to_give_it_a_middleware(tmp_path: Path) -> None:
    (tmp_path / "wrapped.py").write_text(
        APP
        + "from starlette.middleware.cors import CORSMiddleware\nwrapped = CORSMiddleware(app, allow_origins=['*'])\n"
    )
    code, errors = refused(tmp_path, "wrapped:wrapped", "--port", "0")
    assert code == 2 and "middleware=[lambda app: CORSMiddleware(app, ...)]" in errors


def test_a_missing_extra_is_named_with_the_way_to_install_it(tmp_path: Path) -> None:
    program = "import sys; sys.modules['uvicorn'] = None; from actors.__main__ import main; main()"
    code, errors = refused(tmp_path, "shop:app", program=program)
    assert (code, "virtual-actors[serve]" in errors) == (2, True)


def test_a_port_in_use_is_refused_before_the_database_is_opened(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        code, errors = refused(tmp_path, "shop:app", "--port", str(port))
    assert code == 1 and f"Port {port} of 127.0.0.1 is in use" in errors and f"--port {port + 1}" in errors
    assert not (tmp_path / "app.db").exists()


def test_all_addresses_of_a_host_are_listened_on() -> None:
    (first,) = bound("localhost", 0)
    with contextlib.closing(first):
        assert first.getsockname()[0] in ("127.0.0.1", "::1")
    with pytest.raises(CannotListen, match="not an address of this machine"):
        bound("192.0.2.1", 0)


async def test_the_socket_of_a_killed_server_is_replaced_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(tmp_path, "--uds", "s") as server:
        with pytest.raises(CannotListen, match="A process listens"):
            bound_to_path(str(path))
        server.process.kill()
        server.end()
    assert path.exists()
    with serving(tmp_path, "--uds", "s") as server:
        assert "at unix:s from" in server.line
        reader, writer = await asyncio.open_unix_connection(path)
        assert (await Connection(reader, writer).ask("POST", "/Account/a/add", "x")).json == 1
        writer.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (0, "")
    assert not path.exists()


async def test_connections_and_heads_are_bounded_and_bad_http_is_answered_as_json(tmp_path: Path) -> None:
    async def raw(port: int, data: bytes) -> Answer:
        async with connected(port) as connection:
            connection.writer.write(data)
            answer = await connection.answer()
            assert answer.headers["connection"] == "close" and await connection.reader.read() == b""
            return answer

    with serving(tmp_path, "--limit-connections", "2", "--limit-head", "1000") as server:
        start = b"GET /restate/health HTTP/1.1\r\nhost: x\r\nx: "
        for data in (start + b"a" * 2000, start + b"a" * 2000 + b"\r\n\r\n"):
            answer = await raw(server.port, data)
            assert (answer.status, answer.json["error"]) == (431, "head_too_large")
        answer = await raw(server.port, b"GET / HTTP/1.1\r\nnonsense\r\n\r\n")
        assert (answer.status, answer.json["error"]) == (400, "bad_http")
        async with connected(server.port) as first, connected(server.port) as second:
            big = "a" * 3000  # a body is not part of the head, also where it comes in the same piece as the next one
            for connection in (first, second, first):
                assert (await connection.ask("POST", "/Account/a/add", big)).status == 200
            answer = await raw(server.port, start + b"\r\n\r\n")
            assert (answer.status, answer.json["error"]) == (503, "too_many_connections")
            assert "retry-after" in answer.headers


async def test_a_changed_file_is_served_after_the_old_process_has_released_the_database(tmp_path: Path) -> None:
    async def add(port: int) -> Answer:
        async with connected(port) as connection:
            return await connection.ask("POST", "/Account/a/add", "x")

    with serving(tmp_path, "--reload") as server:
        assert (await add(server.port)).json == 1
        module = tmp_path / "shop.py"
        module.write_text(module.read_text().replace("len(self.ops)", "-len(self.ops)"))
        os.utime(module, (1e9, 2e9))  # a clock that stands still between two writes must not hide the change
        assert server.process.stdout is not None
        reading = asyncio.create_task(asyncio.to_thread(server.process.stdout.readline))
        changed_at = 2e9
        while not (await asyncio.wait([reading], timeout=2))[0]:  # it had not looked yet when the file was changed
            changed_at += 10
            os.utime(module, (1e9, changed_at))
        assert reading.result() == server.line
        assert (await add(server.port)).json == -2
        server.process.send_signal(signal.SIGTERM)
        assert server.end()[0] == 0


async def test_a_body_may_come_in_pieces_and_whoever_breaks_off_changes_nothing(tmp_path: Path) -> None:
    head = b"POST /Account/a/add HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 6\r\n"
    expecting = head + b"expect: 100-continue\r\n\r\n"
    with serving(tmp_path) as server:
        async with connected(server.port) as connection:
            connection.writer.write(expecting)
            # Its handler waits for the body now: nothing but this asks the client to go on.
            assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for pieces in ((b'"abcd"',), (b'"ab', b'cd"')):
            async with connected(server.port) as connection:
                connection.writer.write(expecting)
                await connection.reader.readuntil(b"\r\n\r\n")
                for piece in pieces:
                    connection.writer.write(piece)
                    await connection.writer.drain()
                assert (await connection.answer()).json == len(pieces)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_server_that_cannot_say_where_it_is_ends_and_releases_its_database(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    command = [sys.executable, "-m", "actors", "serve", "shop:app", "--port", "0"]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=LIFELINE,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert ended.returncode != 0
    assert not (tmp_path / "app.db-wal").exists()
