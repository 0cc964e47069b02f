"""kill -9, again and again, on `actors serve` while clients call it; what they were told is compared with the database.

`HTTP_KILLS=200 pytest tests/crash/test_kill_served.py` makes it a long run; the default is 16 kills in all, over two
databases.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.serving.server import Connection, connected, serving

SERIES = 2
KILLS = int(os.environ.get("HTTP_KILLS", "16")) // SERIES
CLIENTS = 9


class Told:
    """What the clients were told, over all incarnations."""

    def __init__(self) -> None:
        self.called: dict[str, int] = {}  # op: the place it has, says the answer
        self.sent: set[str] = set()
        self.under_key: set[str] = set()
        self.flows: set[str] = set()
        self.resolved: set[str] = set()


class Client:
    """Goes on with the next operation when the last one is answered; what has an idempotency key is asked until it is."""

    def __init__(self, number: int, told: Told) -> None:
        self._told = told
        self._account = f"/Account/{number % 3}"
        self._names = (f"{number}.{n}" for n in itertools.count())
        self._unanswered: str | None = None

    async def work(self, connection: Connection) -> None:
        while True:
            await self.keyed(connection)
            await self._unkeyed(connection)
            await self._flow(connection)

    async def keyed(self, connection: Connection) -> None:
        """A call that may be asked again: with the one that was left unanswered, if there is one."""
        op = self._unanswered = self._unanswered or next(self._names)
        answer = await connection.ask("POST", f"{self._account}/add", op, idempotency_key=op)
        assert answer.status == 200, answer
        self._told.called[op] = answer.json
        self._told.under_key.add(op)
        self._unanswered = None

    async def _unkeyed(self, connection: Connection) -> None:
        op = next(self._names)
        answer = await connection.ask("POST", f"{self._account}/add", op)
        assert answer.status == 200, answer
        self._told.called[op] = answer.json
        op = next(self._names)
        answer = await connection.ask("POST", f"{self._account}/add/send", op)
        assert answer.status == 202, answer
        self._told.sent.add(op)

    async def _flow(self, connection: Connection) -> None:
        op = next(self._names)
        answer = await connection.ask("POST", f"/Flow/{op}/go/send", idempotency_key=op)
        assert answer.status == 202, answer
        self._told.flows.add(op)
        await resolve(connection, op)
        self._told.resolved.add(op)


async def resolve(connection: Connection, flow: str) -> None:
    while not (id := (await connection.ask("GET", f"/Flow/{flow}/awakeable")).json):
        pass
    answer = await connection.ask("POST", f"/restate/awakeables/{id}/resolve", f"yes {flow}")
    assert answer.status == 202, answer


async def until_killed(port: int, client: Client) -> None:
    with contextlib.suppress(ConnectionError):
        async with connected(port) as connection:
            await client.work(connection)


@pytest.mark.timeout(60 + KILLS * 5)
@pytest.mark.parametrize("series", range(SERIES))
async def test_a_server_killed_at_random_moments_keeps_every_promise_it_gave_over_http(
    series: int, tmp_path: Path
) -> None:
    rng = random.Random(series)
    told = Told()
    clients = [Client(number, told) for number in range(CLIENTS)]
    for _ in range(KILLS):
        with serving(tmp_path) as server:
            working = asyncio.gather(*(until_killed(server.port, client) for client in clients))
            await asyncio.wait([working], timeout=rng.uniform(0.02, 0.25))  # real: it is the moment of the kill
            server.process.kill()
            await working
            assert server.end()[0] == -signal.SIGKILL
    with serving(tmp_path) as server:
        async with connected(server.port) as connection:
            for client in clients:
                await client.keyed(connection)
            for flow in told.flows:
                if flow not in told.resolved:
                    await resolve(connection, flow)
                answer = await connection.ask("GET", f"/restate/invocation/Flow/{flow}/go/{flow}/attach")
                assert (answer.status, answer.json) == (200, f"yes {flow}"), "what was answered 202 is lost"
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (0, "")
    check(tmp_path / "app.db", told)


def check(database: Path, told: Told) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ops = {
            key: json.loads(value)
            for key, value in connection.execute("SELECT key, value FROM state WHERE service = 'Account'")
        }
    applied = Counter(op for account in ops.values() for op in account)
    assert max(applied.values()) == 1, "a request took effect twice"
    for op, place in told.called.items():
        account = ops[str(int(op.split(".")[0]) % 3)]
        assert account[place - 1] == op, "an answered call is not where its answer said"
    assert told.sent <= set(applied), "a message that was answered 202 is lost"
    for account in ops.values():
        for number in range(CLIENTS):
            own = [int(op.split(".")[1]) for op in account if op.split(".")[0] == str(number)]
            assert own == sorted(own), "what one client asked, waiting for each answer, took effect in another order"
    assert min(len(told.sent), len(told.under_key), len(told.resolved)) > KILLS
