"""The closed loop that calls every peer, and what it counts. Requires nothing but the standard library and Linux."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

AddAsync = Callable[[str], Awaitable[int]]
AddBlocking = Callable[[str], int]
WARM_UP_S = 2.0


class WrongCount(Exception):
    """A counter that lost an addition, or counted it twice. The message names the key."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A system under test.

    `opened` starts the system with its files in the folder, and gives the function that adds 1 to the counter of a key and returns
    the new value. A `blocking` function is called in one thread for each caller.
    """

    name: str
    version: str
    durable: str  # what has reached the disk when a call is answered
    opened: Callable[[Path], AbstractAsyncContextManager[Any]]
    blocking: bool = False


@dataclass(slots=True)
class Tally:
    """The calls of one run: how often each key was called, and the highest value that it answered."""

    latencies: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    highest: dict[str, int] = field(default_factory=dict)

    def answered(self, key: str, value: int, seconds: float) -> None:
        self.latencies.append(seconds)
        self.calls[key] += 1
        if value > self.highest.get(key, 0):
            self.highest[key] = value

    def check(self) -> None:
        """Raises WrongCount."""
        for key, calls in self.calls.items():
            if self.highest[key] != calls:
                raise WrongCount(f"{key} was called {calls} times and answered {self.highest[key]} in the end.")


@dataclass(frozen=True, slots=True)
class Cell:
    """The result of one run."""

    peer: str
    version: str
    durable: str
    callers: int
    keys: int
    calls: int
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float


async def measure(peer: Peer, folder: Path, callers: int, keys: int, seconds: float) -> dict[str, Any]:
    """Warm up, then call for `seconds`. Each caller waits for its answer; keys are drawn evenly, with a fixed seed."""
    names = [f"key-{number}" for number in range(keys)]
    loop = _blocking_loop if peer.blocking else _async_loop
    async with peer.opened(folder) as add:
        tally = Tally()
        await loop(add, names, callers, WARM_UP_S, tally)
        tally.latencies.clear()
        gc.collect()
        cpu, start = cpu_seconds(), time.perf_counter()
        await loop(add, names, callers, seconds, tally)
        took, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    tally.check()
    ordered = sorted(tally.latencies)
    calls = len(ordered)
    cell = Cell(
        peer=peer.name,
        version=peer.version,
        durable=peer.durable,
        callers=callers,
        keys=keys,
        calls=calls,
        calls_per_s=calls / took,
        p50_ms=ordered[calls // 2] * 1e3,
        p99_ms=ordered[min(calls - 1, calls * 99 // 100)] * 1e3,
        cpu_s_per_1000=cpu / calls * 1000,
    )
    return asdict(cell) | machine()


async def _async_loop(add: AddAsync, names: list[str], callers: int, seconds: float, tally: Tally) -> None:
    deadline = time.perf_counter() + seconds

    async def call(random: Random) -> None:
        while (start := time.perf_counter()) < deadline:
            key = random.choice(names)
            value = await add(key)
            tally.answered(key, value, time.perf_counter() - start)

    await asyncio.gather(*(call(Random(number)) for number in range(callers)))


async def _blocking_loop(add: AddBlocking, names: list[str], callers: int, seconds: float, tally: Tally) -> None:
    deadline = time.perf_counter() + seconds
    lock = threading.Lock()
    errors: list[BaseException] = []

    def call(random: Random) -> None:
        try:
            while (start := time.perf_counter()) < deadline:
                key = random.choice(names)
                value = add(key)
                took = time.perf_counter() - start
                with lock:
                    tally.answered(key, value, took)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(Random(number),)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    if errors:
        raise errors[0]


def cpu_seconds() -> float:
    """CPU time of this process and all its descendants: servers that it has started, and the callers themselves."""
    times: dict[int, int] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended; its parent has counted it
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        times[number] = sum(map(int, fields[11:15]))  # utime, stime, and those of children that have been waited for
    total, pending = 0, [os.getpid()]
    while pending:
        number = pending.pop()
        total += times.get(number, 0)
        pending += [child for child, parent in parents.items() if parent == number]
    return total / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpu_model": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cpu_count": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }


class HttpCallers:
    """POST over connections that stay open, as many as there are callers."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def add(self, key: str) -> int:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        path = self._path.format(key=key)
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            "content-length: 1\r\n\r\n1".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(size)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"The server answered {head!r} {body!r}")
        self._idle.append(connection)
        return int(body)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
