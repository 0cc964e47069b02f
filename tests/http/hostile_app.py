"""What test_hostile_http serves in a process of its own: `python -m tests.http.hostile_app` prints its port."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket

import uvicorn

from actors import App, Limits, Service, VirtualObject, handler
from actors.http_options import HttpOptions


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count


class Process(Service):
    @handler
    async def usage(self) -> dict[str, int]:
        """Open files, tasks, and resident memory in bytes."""
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: ASYNC230
            pages = int(file.read().split()[1])
        return {
            "files": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "memory": pages * resource.getpagesize(),
        }


app = App(Counter, Process, storage="sqlite://", limits=Limits(max_payload=100_000), http=HttpOptions(body_timeout=0.5))


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard != resource.RLIM_INFINITY else 8192, hard))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(app, http="httptools", access_log=False, log_level="error", timeout_keep_alive=60)
        uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
