"""What do our classes cost on a restate-server, compared with handlers written for its own SDK, and with SQLite?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx

from benchmarks import machine
from benchmarks.http import ROOT, Target, closed_loop, measured, served
from benchmarks.measure import Progress, run
from benchmarks.options import Options, Result, Skipped
from benchmarks.throughput import rounded
from tests.restate_servers.servers import RestateServer, free_port, missing, wait_for

HANDLERS = ("add", "once", "chain")  # read, write, reply; one step; a call of a second object


def request(service: str, key: str, handler: str) -> bytes:
    return (
        f"POST /{service}/{key}/{handler} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        "content-length: 1\r\n\r\n1"
    ).encode()


@contextmanager
def endpoint(kind: str) -> Iterator[str]:
    """The URL of an endpoint in a process of its own."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.restate_endpoint", kind, str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdout.readline()
            wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.wait(60)


@contextmanager
def restate_server(folder: Path) -> Iterator[RestateServer]:
    server = RestateServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class Engines:
    name: str = "engines"
    summary: str = "Our classes on a restate-server, against handlers of its own SDK on the same server, and SQLite"
    asks: tuple[str, ...] = ("callers", "keys", "ops", "rounds")
    quick: tuple[Options, ...] = (Options(rounds=5, ops=1500),)

    def steps(self, options: Options) -> int:
        return 1 + options.rounds

    def run(self, options: Options, progress: Progress) -> Result:
        why = missing()
        if why is not None:
            raise Skipped(f"A restate-server is required: {why}.")
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            server = stack.enter_context(restate_server(Path(folder) / "restate"))
            for kind in ("actors", "plain"):
                server.register(stack.enter_context(endpoint(kind)))
            sqlite = stack.enter_context(served(str(Path(folder) / "sqlite.db")))
            port = int(httpx.URL(server.ingress).port or 0)
            return run(lambda: self._run(port, sqlite, options, progress))

    async def _run(self, restate: int, sqlite: int, options: Options, progress: Progress) -> Result:
        kinds = {"actors": ("Counter", restate), "plain": ("PlainCounter", restate), "sqlite": ("Counter", sqlite)}
        ways = [(kind, handler) for handler in HANDLERS for kind in kinds if kind != "sqlite" or handler == "add"]
        targets = {way: Target("-".join(way), kinds[way[0]][1]) for way in ways}
        keys = [f"key-{number}" for number in range(options.keys)]
        requests = {way: [request(kinds[way[0]][0], key, way[1]) for key in keys] for way in ways}
        random, ops = Random(1), options.ops_for(0.1)
        for way in ways:
            await closed_loop(targets[way].port, requests[way][:500], options.callers)
        progress("warm")
        for number in range(1, options.rounds + 1):
            random.shuffle(ways)
            for way in ways:
                drawn = random.choices(requests[way], k=ops)
                targets[way].rounds.append(await measured(targets[way], drawn, options.callers))
            progress(f"round {number}/{options.rounds}")
        found: Result = {"scenario": self.name, "callers": options.callers, "keys": options.keys, "ops": ops}
        for (kind, handler), target in sorted(targets.items()):
            found[f"{kind}_{handler}_per_s"] = rounded(target.median("calls_per_s"))
        for handler in HANDLERS:
            ours, theirs = targets["actors", handler], targets["plain", handler]
            shares = [
                one.calls_per_s / other.calls_per_s for one, other in zip(ours.rounds, theirs.rounds, strict=True)
            ]
            found[f"{handler}_ratio_to_plain"] = rounded(sorted(shares)[len(shares) // 2])
        return found | {"rounds": options.rounds} | machine.facts()
