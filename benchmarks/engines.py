"""What do our classes cost on a restate-server, compared with handlers written for its own SDK, and with SQLite?

Both sides keep the same entries in their journals. The server takes twice as much of the machine as an endpoint does, so the ratio
of calls per second says little of the endpoints, and varies with whatever else the machine does; the ratio of the processor time
that the two endpoint processes spend on a call is the steady figure. Processes of the same code differ by some per cent for as long
as they live: every few rounds both endpoints are replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

import httpx

from benchmarks import machine
from benchmarks.certainty import interval
from benchmarks.http import ROOT, Target, closed_loop, measured, served
from benchmarks.measure import Progress, run
from benchmarks.options import Options, Result, Skipped
from benchmarks.throughput import rounded
from tests.restate_servers.servers import RestateServer, free_port, missing, wait_for

HANDLERS = ("add", "once", "chain")  # read, write, reply; one step; a call of a second object
KINDS = ("actors", "plain")
ROUNDS_OF_AN_ENDPOINT = 5


def request(service: str, key: str, handler: str) -> bytes:
    return (
        f"POST /{service}/{key}/{handler} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        "content-length: 1\r\n\r\n1"
    ).encode()


@contextmanager
def endpoint(kind: str) -> Iterator[tuple[str, int]]:
    """The URL of an endpoint in a process of its own, and the id of that process."""
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
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.stdin.close()
            process.wait(60)


def processor_seconds(process: int) -> float:
    """What all threads of a process have taken so far. Linux alone has this, as it alone has the server of the tests."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Endpoints:
    """An endpoint of each kind, registered with the server. Life: `renew` any number of times, `close` once."""

    def __init__(self, server: RestateServer) -> None:
        self._server = server
        self._open = ExitStack()
        self.processes: dict[str, int] = {}

    def renew(self) -> None:
        """End those that run, and start new ones."""
        before, self._open = self._open, ExitStack()
        with before:
            for kind in KINDS:
                url, self.processes[kind] = self._open.enter_context(endpoint(kind))
                self._server.register(url)

    def close(self) -> None:
        self._open.close()


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
    quick: tuple[Options, ...] = (Options(rounds=9, ops=500),)

    def steps(self, options: Options) -> int:
        return 1 + options.rounds

    def run(self, options: Options, progress: Progress) -> Result:
        why = missing()
        if why is not None:
            raise Skipped(f"A restate-server is required: {why}.")
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            server = stack.enter_context(restate_server(Path(folder) / "restate"))
            endpoints = stack.enter_context(closing(Endpoints(server)))
            sqlite = stack.enter_context(served(str(Path(folder) / "sqlite.db")))
            port = int(httpx.URL(server.ingress).port or 0)
            return run(lambda: self._run(port, sqlite, endpoints, options, progress))

    async def _run(
        self, restate: int, sqlite: int, endpoints: Endpoints, options: Options, progress: Progress
    ) -> Result:
        kinds = {"actors": ("Counter", restate), "plain": ("PlainCounter", restate), "sqlite": ("Counter", sqlite)}
        ways = [(kind, handler) for handler in HANDLERS for kind in kinds if kind != "sqlite" or handler == "add"]
        targets = {way: Target("-".join(way), kinds[way[0]][1]) for way in ways}
        keys = [f"key-{number}" for number in range(options.keys)]
        requests = {way: [request(kinds[way[0]][0], key, way[1]) for key in keys] for way in ways}
        random, ops = Random(1), options.ops_for(0.1)
        spent: dict[tuple[str, str], list[float]] = {way: [] for way in ways}  # µs of the endpoint for each call
        progress("ready")
        for number in range(1, options.rounds + 1):
            if number % ROUNDS_OF_AN_ENDPOINT == 1:
                endpoints.renew()
                for way in ways:
                    await closed_loop(targets[way].port, requests[way][:500], options.callers)
            random.shuffle(ways)
            ways.sort(key=lambda way: way[1])  # the two that are compared, one right after the other
            for way in ways:
                drawn, process = random.choices(requests[way], k=ops), endpoints.processes.get(way[0])
                before = processor_seconds(process) if process else 0.0
                targets[way].rounds.append(await measured(targets[way], drawn, options.callers))
                if process:
                    spent[way].append((processor_seconds(process) - before) / ops * 1e6)
            progress(f"round {number}/{options.rounds}")
        found: Result = {"scenario": self.name, "callers": options.callers, "keys": options.keys, "ops": ops}
        for (kind, handler), target in sorted(targets.items()):
            found[f"{kind}_{handler}_per_s"] = rounded(target.median("calls_per_s"))
        for handler in HANDLERS:
            ours, theirs = targets["actors", handler], targets["plain", handler]
            shares = [
                one.calls_per_s / other.calls_per_s for one, other in zip(ours.rounds, theirs.rounds, strict=True)
            ]
            found |= _ratio(f"{handler}_ratio_to_plain", shares)
            found[f"{handler}_endpoint_us"] = rounded(median(spent["actors", handler]))
            pairs = zip(spent["actors", handler], spent["plain", handler], strict=True)
            found |= _ratio(f"{handler}_cpu_ratio_to_plain", [one / other for one, other in pairs])
        return found | {"rounds": options.rounds} | machine.facts()


def _ratio(name: str, ratios: list[float]) -> Result:
    """The median, and how sure it is. Rounds of the same processes are not independent of each other: their median counts once."""
    starts = range(0, len(ratios), ROUNDS_OF_AN_ENDPOINT)
    medians = [median(ratios[start : start + ROUNDS_OF_AN_ENDPOINT]) for start in starts]
    return {name: rounded(median(medians)), f"{name}_95": [rounded(end) for end in interval(medians)]}
