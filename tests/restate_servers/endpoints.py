"""Endpoints in this process, on a thread with a loop of its own: what `actors restate serve` does, without its process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from actors import App
from actors.cli.restate.serving import granian
from actors.transport.restate import Endpoint, endpoint
from tests.restate_servers.servers import free_port, wait_for


class Endpoints:
    """All of them end with `end_all`; `close` also ends the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._served: list[tuple[Endpoint, Any, asyncio.Future[None]]] = []

    def serve(self, app: App, port: int | None = None) -> str:
        """Start an endpoint, and return its URL."""
        port = port or free_port()
        self._do(self._begin(endpoint(app, streams=True), port))
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health")
        return url

    def end_all(self) -> None:
        self._do(self._end())

    def close(self) -> None:
        self.end_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _begin(self, served: Endpoint, port: int) -> None:
        server = granian(served, "127.0.0.1", port, http1=False)
        self._served.append((served, server, asyncio.ensure_future(server.serve())))

    async def _end(self) -> None:
        for served, server, serving in self._served:
            await served.drain(0)
            server.stop()
            await serving
            served.close()
        self._served.clear()
