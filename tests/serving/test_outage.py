"""A served app whose database fails for a while, under load: it goes on by itself, and every answer it gave is true.

`OUTAGE=full pytest tests/serving/test_outage.py` makes it a drill at full length, with the options that users have: a lock
that is held for 30 seconds and a disk that is full for 10; the default is a lock of a second and a disk of 2 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.server import APP, Connection, Serving, connected, serving, until
from tests.serving.test_end import ops_of

FULL = os.environ.get("OUTAGE") == "full"
CLIENTS = 6
LOCKED_S = 30.0 if FULL else 1.0
FULL_S = 10.0 if FULL else 0.5

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.may_log("The app has stopped"),
    pytest.mark.may_log("starts again in"),
    pytest.mark.may_log("runs again"),
]


class Told:
    """What the clients know of each operation."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.refused: set[str] = set()
        self.pending: dict[str, str] = {}
        self.asked_again = 0


async def client(number: int, port: int, told: Told, over: asyncio.Event) -> None:
    """Calls and sends, one after the other, each with an operation of its own; what has a key is asked until it is done."""
    names = (f"{number}.{n}" for n in itertools.count())
    async with connected(port) as connection:
        while not over.is_set():
            op = next(names)
            await operate(connection, number, op, told, key=op if op.endswith(("3", "7")) else None)


async def operate(connection: Connection, number: int, op: str, told: Told, key: str | None) -> None:
    path = f"/Account/{number % 3}/add" + ("/send" if op.endswith(("1", "7")) else "")
    headers = {"idempotency_key": key} if key is not None else {}
    while True:
        answer = await connection.ask("POST", path, op, **headers)
        if answer.status in (200, 202):
            told.done.add(op)
            return
        assert answer.status == 503, answer
        pending = answer.json["error"] == "outcome_pending"
        assert pending == ("retry-after" not in answer.headers), answer
        if key is None:
            if pending:
                told.pending[op] = answer.headers["x-restate-id"]
            else:
                told.refused.add(op)
                await asyncio.sleep(0.05)  # it is told to wait a second
            return
        told.asked_again += 1
        await asyncio.sleep(0.05)


async def drill(
    server: Serving, database: Path, outage: Callable[[], contextlib.AbstractContextManager[None]], s: float
) -> None:
    told, over = Told(), asyncio.Event()
    clients = [asyncio.create_task(client(number, server.port, told, over)) for number in range(CLIENTS)]
    async with asyncio.timeout(150):
        await until(lambda: len(told.done) > 50)
        with outage():
            await until(lambda: bool(told.refused or told.asked_again))
            await asyncio.sleep(s)  # real: it is how long the outage takes
            async with connected(server.port) as connection:
                health = await connection.ask("GET", "/restate/health")
                assert health.status in (200, 503)
        before = len(told.done)
        await until(lambda: len(told.done) > before + 50)
        over.set()
        await asyncio.gather(*clients)
        async with connected(server.port) as connection:
            known = {op: (await outcome(connection, id)) for op, id in told.pending.items()}
    server.process.send_signal(signal.SIGTERM)
    code, errors = server.end()
    assert code == 0
    assert "starts again in" in errors and "runs again. It has recovered from the file" in errors
    applied = ops_of(database)
    assert len(applied) == len(set(applied)), "done twice"
    assert told.done <= set(applied), "what was acknowledged is lost"
    assert not told.refused & set(applied), "done, and its caller was told to ask again"
    assert {op for op, answered in known.items() if answered} == set(told.pending) & set(applied)


async def outcome(connection: Connection, id: str) -> bool:
    answer = await connection.ask("GET", f"/restate/invocation/{id}/attach")
    assert answer.status in (200, 404), answer
    return answer.status == 200


async def test_a_server_whose_file_is_locked_for_long_goes_on_by_itself(tmp_path: Path) -> None:
    if not FULL:  # it gives up after a tenth of a second, not after five
        text = APP.replace('storage="sqlite:///app.db"', 'store=SqliteStore("app.db", busy_timeout_ms=100)')
        (tmp_path / "shop.py").write_text("from actors.storage import SqliteStore\n" + text)

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    with serving(tmp_path) as server:
        await drill(server, tmp_path / "app.db", locked, LOCKED_S)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own. Mounting one takes root on Linux."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64m" if FULL else "size=16m", "tmpfs", str(folder)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_server_whose_disk_is_full_goes_on_when_there_is_space(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"

    @contextlib.contextmanager
    def full() -> Iterator[None]:
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(65536)):
                pass
        yield
        ballast.unlink()

    with serving(tmp_path, "--db", str(small_disk / "app.db")) as server:
        await drill(server, small_disk / "app.db", full, FULL_S)


async def test_a_server_that_has_lost_its_file_ends_with_an_exit_code(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        async with connected(server.port) as connection:
            assert (await connection.ask("POST", "/Account/a/add", "x")).json == 1
            with contextlib.closing(sqlite3.connect(tmp_path / "app.db", timeout=30)) as other:
                other.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
                other.commit()
            assert (await connection.ask("POST", "/Account/a/add", "x")).json["error"] == "outcome_pending"
        code, errors = server.end()
    assert code == 1
    assert "Error: This process opened the database as owner number 1" in errors
    assert "starts again" not in errors


async def test_a_server_ends_in_order_while_its_app_waits_to_start_again(tmp_path: Path) -> None:
    text = APP.replace('storage="sqlite:///app.db"', 'store=SqliteStore("app.db", busy_timeout_ms=50)')
    (tmp_path / "shop.py").write_text("from actors.storage import SqliteStore\n" + text)
    with serving(tmp_path) as server:
        async with connected(server.port) as connection:
            assert (await connection.ask("POST", "/Account/a/add", "x")).json == 1
            with contextlib.closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None, timeout=30)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert (await connection.ask("POST", "/Account/a/add", "x")).status == 503
                answer = await connection.ask("POST", "/Account/a/add", "x")
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                server.process.send_signal(signal.SIGTERM)
                code, _ = server.end()
                other.execute("ROLLBACK")
    assert code == 0
