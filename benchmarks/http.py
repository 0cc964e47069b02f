"""How many durable calls per second over HTTP, compared to the same server answering with a constant?"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.measure import ROUND_LIMIT_S, Progress, percentile, run
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded

ROOT = Path(__file__).resolve().parents[1]
FILLING_OPS = 300  # shorter rounds are for trying the command out, and filling the log takes as long as many of them


class Load(asyncio.Protocol):
    """One connection of the closed loop: it sends the next request when the last request is answered."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._latencies = latencies
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received = data = self._received + data if self._received else data
        head, found, body = data.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._received = b""
        if not data.startswith(b"HTTP/1.1 200 "):
            self._end(RuntimeError(f"The server answered {data[:200]!r}"))
            return
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        left = next(self._requests, None)
        self._end(RuntimeError("The server closed a connection.") if left is not None else exc)

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is not None:
                self.done.set_exception(error)
            else:
                self.done.set_result(None)
        self._transport.close()


@dataclass(frozen=True, slots=True)
class Round:
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    load_cpu_share: float  # of one core, taken by this process


@dataclass(slots=True)
class Target:
    """One of the two servers."""

    name: str
    port: int
    rounds: list[Round] = field(default_factory=list)

    def median(self, figure: str) -> float:
        return float(median(getattr(one, figure) for one in self.rounds))


def request(key: str) -> bytes:
    return (
        f"POST /Counter/{key}/add HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        "content-length: 1\r\n\r\n1"
    ).encode()


async def closed_loop(port: int, requests: Sequence[bytes], connections: int) -> list[float]:
    """The latencies in seconds. All connections are open before the first request."""
    left, latencies = iter(requests), list[float]()
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Load(left, latencies), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    async with asyncio.timeout(2 * ROUND_LIMIT_S):
        for client in clients:
            client.ask()
        await asyncio.gather(*(client.done for client in clients))
    return latencies


async def log_filled(port: int, requests: Sequence[bytes], database: Path) -> None:
    """Send requests until SQLite's log stops growing and starts anew in its file.

    A server runs in this state after its first thousands of commits; until then each fsync must also record a longer file, and
    takes half as long again.
    """
    log, before, random = database.with_name(database.name + "-wal"), -1, Random(2)
    began = time.perf_counter()
    while (size := log.stat().st_size) != before and time.perf_counter() - began < ROUND_LIMIT_S:
        before = size
        await closed_loop(port, random.choices(requests, k=3000), 64)


async def measured(target: Target, requests: Sequence[bytes], connections: int) -> Round:
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    latencies = sorted(await closed_loop(target.port, requests, connections))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Round(
        len(latencies) / seconds, percentile(latencies, 0.5) * 1e3, percentile(latencies, 0.99) * 1e3, cpu / seconds
    )


@contextmanager
def served(*words: str) -> Iterator[int]:
    """The port of a server in a separate process."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http_server", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(60)


@dataclass(frozen=True, slots=True)
class Http:
    name: str = "http"
    summary: str = "A durable call over HTTP, against the same server answering a constant"
    asks: tuple[str, ...] = ("callers", "keys", "ops", "rounds")
    quick: tuple[Options, ...] = tuple(
        Options(rounds=3, ops=600 if callers == 1 else 6000, callers=callers, keys=keys)
        for callers in (1, 64, 256)
        for keys in (1, 1000)
    )

    def steps(self, options: Options) -> int:
        return 2 * options.rounds + 1

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            database = Path(folder) / "http.db"
            own = Target("own", stack.enter_context(served(str(database))))
            bare = Target("bare", stack.enter_context(served()))
            return run(lambda: self._run(own, bare, database, options, progress))

    async def _run(self, own: Target, bare: Target, database: Path, options: Options, progress: Progress) -> Result:
        requests = [request(f"key-{number}") for number in range(options.keys)]
        random, ops = Random(1), options.ops_for(0.3)
        warm_up = requests if options.keys > 1 else requests * 200
        for target in (own, bare):
            await closed_loop(target.port, warm_up, min(options.callers, len(warm_up)))
        if ops >= FILLING_OPS:
            await log_filled(own.port, warm_up, database)
        progress("warm")
        for number in range(1, options.rounds + 1):
            drawn = random.choices(requests, k=ops)
            for target in (own, bare):
                target.rounds.append(await measured(target, drawn, options.callers))
                progress(f"{target.name} {number}/{options.rounds}")
        found: Result = {"scenario": self.name, "callers": options.callers, "keys": options.keys, "ops": ops}
        for prefix, target in (("", own), ("bare_", bare)):
            for figure in ("calls_per_s", "p50_ms", "p99_ms", "load_cpu_share"):
                found[prefix + figure] = rounded(target.median(figure))
        found["share_of_bare"] = rounded(own.median("calls_per_s") / bare.median("calls_per_s"))
        found["p50_ratio_to_bare"] = rounded(own.median("p50_ms") / bare.median("p50_ms"))
        found["shares_of_rounds"] = [
            rounded(one.calls_per_s / other.calls_per_s) for one, other in zip(own.rounds, bare.rounds, strict=True)
        ]
        return found | {"rounds": options.rounds} | machine.facts()
