"""How a server ends: on one signal gently, on a second at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sqlite3
from pathlib import Path

from actors.storage.sqlite.lock import held
from tests.serving.server import connected, serving


def ops_of(database: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT value FROM state WHERE service = 'Account'").fetchall()
    return [op for (value,) in rows for op in json.loads(value)]


async def test_sigterm_under_load_answers_every_request_that_takes_effect(tmp_path: Path) -> None:
    answered: list[str] = []
    cut_off: list[str] = []
    enough = asyncio.Event()

    async def client(number: int, port: int) -> None:
        async with connected(port) as connection:
            for n in itertools.count():
                op = f"{number}.{n}"
                try:
                    answer = await connection.ask("POST", f"/Account/{number % 7}/add", op)
                except ConnectionError:
                    cut_off.append(op)
                    return
                assert answer.status == 200, answer
                answered.append(op)
                if len(answered) > 600:
                    enough.set()
                if answer.headers.get("connection") == "close":
                    return

    with serving(tmp_path) as server:
        clients = [asyncio.create_task(client(number, server.port)) for number in range(64)]
        async with asyncio.timeout(30):
            await enough.wait()
            server.process.send_signal(signal.SIGTERM)
            await asyncio.gather(*clients)
        assert server.end() == (0, "")
    applied = ops_of(tmp_path / "app.db")
    assert sorted(applied) == sorted(answered), "a request took effect without an answer, or an answer without effect"
    assert len(cut_off) < 16, (
        "busy clients were cut off, instead of told by their last answer that the connection closes"
    )
    assert not held(str(tmp_path / "app.db"))


async def test_whoever_waits_longer_than_the_grace_period_is_told_to_ask_again_and_its_handler_goes_on(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--grace", "0.1") as server:
        async with connected(server.port) as waiting, connected(server.port) as other:
            call = asyncio.create_task(waiting.ask("POST", "/Flow/a/go", idempotency_key="k"))
            while not (id := (await other.ask("GET", "/Flow/a/awakeable")).json):
                pass
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                refused = await call
        assert (refused.status, refused.json["error"]) == (503, "app_not_running")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        assert server.end() == (0, "")
    with serving(tmp_path) as server:
        async with connected(server.port) as connection:
            assert (await connection.ask("POST", f"/restate/awakeables/{id}/resolve", "yes")).status == 202
            assert (await connection.ask("POST", "/Flow/a/go", idempotency_key="k")).json == "yes"


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace", "600") as server:
        async with connected(server.port) as waiting, connected(server.port) as other:
            call = asyncio.create_task(waiting.ask("POST", "/Flow/a/go"))
            while not (await other.ask("GET", "/Flow/a/awakeable")).json:
                pass
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await other.reader.read() == b""  # it has begun to stop: it closes those who ask nothing
                assert server.process.stderr is not None
                said = await asyncio.to_thread(server.process.stderr.readline)
                assert "Stopping: 1 connection waits for an answer. Waiting for 600 s at most;" in said
                server.process.send_signal(signal.SIGTERM)
                assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], ConnectionError)
        assert server.end()[0] == -signal.SIGTERM
