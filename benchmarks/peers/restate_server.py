"""One node of restate-server, which npm installs, with an endpoint of its Python SDK, or with our classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import httpx

from benchmarks.engines import endpoint, restate_server
from benchmarks.peers.harness import AddAsync, HttpCallers, Peer
from tests.restate_servers.servers import VERSION

REPLICATED_LOG = "its own log, RocksDB"


@asynccontextmanager
async def _opened(kind: str, service: str, folder: Path) -> AsyncIterator[AddAsync]:
    with ExitStack() as stack:
        server = await asyncio.to_thread(stack.enter_context, restate_server(folder / "restate"))
        url, _ = stack.enter_context(endpoint(kind))
        await asyncio.to_thread(server.register, url)
        callers = HttpCallers(int(httpx.URL(server.ingress).port or 0), f"/{service}/{{key}}/add")
        yield callers.add
        callers.close()


def its_own_sdk() -> Peer:
    opened: Callable[[Path], AbstractAsyncContextManager[AddAsync]] = partial(_opened, "plain", "PlainCounter")
    return Peer("restate", f"server {VERSION}, SDK {version('restate-sdk')}", REPLICATED_LOG, opened)


def our_classes() -> Peer:
    opened: Callable[[Path], AbstractAsyncContextManager[AddAsync]] = partial(_opened, "actors", "Counter")
    return Peer("actors-on-restate", f"server {VERSION}, {version('virtual-actors')}", REPLICATED_LOG, opened)
