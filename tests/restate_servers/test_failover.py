"""Three nodes under load: the leader of some of the keys is killed, and started again. FAILOVERS=10 does so ten times."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conformance.restate_engine import EndpointProcess, wait_for_services
from tests.restate_servers.servers import NODES, RestateCluster, missing, register, restatectl

TIMES = int(os.environ.get("FAILOVERS", "0"))
KEYS = [f"key-{number}" for number in range(24)]
CALLERS = 16
ANSWERS_WITHIN_S = 30.0
UNDER_LOAD_S = 3.0

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.skipif(not TIMES, reason="part of the long run: FAILOVERS=10"),
    pytest.mark.timeout(120 + 60 * TIMES),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RestateCluster]:
    cluster = RestateCluster(tmp_path / "cluster")
    endpoint = EndpointProcess(tmp_path, "default")
    try:
        cluster.start()
        endpoint.start()
        register(cluster.admins[0], endpoint.url)
        wait_for_services(cluster.ingresses[0], cluster.log)
        yield cluster
    finally:
        endpoint.end(signal.SIGTERM)
        cluster.stop()


def leaders(cluster: RestateCluster) -> list[int]:
    """The nodes that lead partitions, one entry for each partition."""
    for number in range(NODES):
        told = subprocess.run(
            [*restatectl(), "--address", cluster.addresses[number], "partitions", "list"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "RESTATE_DISABLE_TELEMETRY": "true"},
        ).stdout
        found = [int(line.split()[1].split(":")[0].lstrip("N")) - 1 for line in told.splitlines() if "Leader" in line]
        if found:
            return found
    return []


class Load:
    """Callers that count what was acknowledged, and when each key last answered."""

    def __init__(self, ingresses: list[str]) -> None:
        self.ingresses = ingresses
        self.acknowledged: Counter[str] = Counter()
        self.answered_at: dict[str, float] = {}
        self._over = False

    async def run(self, http: httpx.AsyncClient, number: int) -> None:
        turn = number
        while not self._over:
            turn += 1
            await self._call(http, KEYS[turn % len(KEYS)], turn)

    async def _call(self, http: httpx.AsyncClient, key: str, turn: int) -> None:
        headers = {"idempotency-key": uuid.uuid4().hex, "content-type": "application/json"}
        while True:  # until it is answered: then it was done once
            ingress = self.ingresses[turn % len(self.ingresses)]
            turn += 1
            try:
                answer = await http.post(f"{ingress}/Counter/{key}/add", content=b"1", headers=headers)
                if answer.status_code == 200:
                    self.acknowledged[key] += 1
                    self.answered_at[key] = time.monotonic()
                    return
                assert answer.status_code in (404, 500, 502, 503, 504), answer.text
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)  # a real cluster is on its way back

    def end(self) -> None:
        self._over = True


async def test_acknowledged_calls_are_counted_once_when_leaders_are_killed(cluster: RestateCluster) -> None:
    load = Load(list(cluster.ingresses))
    longest_s = 0.0
    async with httpx.AsyncClient(timeout=httpx.Timeout(60, connect=2)) as http:
        callers = [asyncio.create_task(load.run(http, number)) for number in range(CALLERS)]
        for _ in range(TIMES):
            await asyncio.sleep(UNDER_LOAD_S)
            leading = leaders(cluster)
            assert leading, cluster.log()
            dead = leading[0]
            load.ingresses = [url for number, url in enumerate(cluster.ingresses) if number != dead]
            killed_at = time.monotonic()
            cluster.kill_node(dead)
            while not all(load.answered_at.get(key, 0.0) > killed_at + 0.5 for key in KEYS):
                assert time.monotonic() - killed_at < ANSWERS_WITHIN_S, cluster.log()
                await asyncio.sleep(0.05)
            longest_s = max(longest_s, time.monotonic() - killed_at)
            await asyncio.to_thread(cluster.start)
            load.ingresses = list(cluster.ingresses)
        load.end()
        await asyncio.gather(*callers)
        counted = {key: (await http.post(f"{cluster.ingresses[0]}/Counter/{key}/get")).json() for key in KEYS}
    print(
        f"{TIMES} leaders killed; all keys answered within {longest_s:.1f} s; {sum(load.acknowledged.values())} calls"
    )
    assert counted == dict(load.acknowledged)
