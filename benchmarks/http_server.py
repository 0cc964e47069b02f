"""The two servers that are compared over HTTP, one of them in each process.

    python -m benchmarks.http_server DATABASE    the runtime: `actors serve`, with a Counter
    python -m benchmarks.http_server             a bare ASGI function that answers a constant, on the same server

A server prints its port, and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from actors import App, run
from actors.transport.server.protocol import Begin, ConnectionLimits
from actors.transport.server.server import Served, Server
from actors.transport.server.sockets import bound
from benchmarks.objects import Counter

HEADERS = [(b"content-type", b"application/json"), (b"x-restate-id", b"inv_1" + b"A" * 27), (b"content-length", b"1")]


class Bare:
    """Answers like a call, but does nothing."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"1"})

    async def close(self) -> None: ...

    def _serve_alone(self) -> None: ...

    def _end_streams(self) -> None: ...

    def _executing(self) -> list[str]:
        return []

    async def _drain(self, timeout_s: float) -> None: ...


async def main(database: str | None) -> None:
    served: Served = Bare()
    begin: Begin | None = None
    if database is not None:
        served = app = App(Counter, storage=f"sqlite:///{database}")
        begin = app.begin
        await app.start()
    sockets = bound("127.0.0.1", 0)
    limits = ConnectionLimits(10_000, 65_536)
    server = Server(served, begin, limits, 75, 1.0, lambda: print(sockets[0].getsockname()[1], flush=True))

    async def end_with_parent() -> None:
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True

    ending = asyncio.create_task(end_with_parent())
    await server.serve(sockets)
    await ending


if __name__ == "__main__":
    run(main(sys.argv[1] if len(sys.argv) > 1 else None))
