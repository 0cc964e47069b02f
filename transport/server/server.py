"""The server: uvicorn, and a shutdown that answers every accepted request before the file is released."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import uvicorn

from actors.transport.server.access_log import AccessLog
from actors.transport.server.protocol import Begin, BoundedProtocol, ConnectionLimits
from actors.transport.server.refused import CLOSE

log = logging.getLogger("actors")

BACKLOG = 2048  # connections that the system accepts while this process is busy
LAST_READ_S = 0.1  # for requests that were on their way when the signal came
SILENT_S = 0.5  # before the server logs that it still waits
LAST_WRITE_S = 2.0  # for the answers to requests that waited until the end
LOOK_EVERY_S = 0.02


class Served(Protocol):
    """The part of a started App that the server uses; a benchmark serves something else."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def close(self) -> None: ...

    def _serve_alone(self) -> None:
        """This server serves nothing else."""
        ...

    def _end_streams(self) -> None:
        """End answers that would go on for long."""
        ...

    def _executing(self) -> list[str]:
        """The steps that are running."""
        ...

    async def _drain(self, timeout_s: float) -> None:
        """Begin no more steps, and wait for the running steps."""
        ...


class Server(uvicorn.Server):
    """Serves a started app, and closes it. `begin` is the app's, for requests without a task; `listening` is called once the
    server listens. `access_log` logs a line for each request.

    Shutdown: the server stops accepting connections; for `grace_s` seconds it answers requests on open connections, closing
    each connection after its answer, and lets running steps end, so that their results are recorded; it closes the app, which
    answers all waiting requests with 503 and leaves handlers where they are; the file is released. A second signal ends the
    process at once. Like kill -9, that loses nothing that was answered.
    """

    def __init__(
        self,
        app: Served,
        begin: Begin | None,
        limits: ConnectionLimits,
        keep_alive_s: int,
        grace_s: float,
        listening: Callable[[], None],
        *,
        access_log: bool = False,
    ) -> None:
        asgi: Any = app
        if access_log:
            asgi = AccessLog(app, begin)
            begin = asgi.begin
        protocol: Any = functools.partial(
            BoundedProtocol,
            limits,
            begin,
            AccessLog.refused if access_log else None,
            getattr(app, "cross_origin", None),
        )
        super().__init__(
            uvicorn.Config(
                asgi,
                http=protocol,
                loop="none",
                ws="none",
                lifespan="off",  # this class starts and closes the app itself
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=keep_alive_s,
            )
        )
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # mistakes of clients are not logged
        self._app = app
        app._serve_alone()
        self._grace_s = grace_s
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as described above. Raises the error of closing the app."""
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        # From here on every request is the last of its connection, and its answer says so: a client that is about to send
        # another request is not cut off.
        self.server_state.default_headers.append(CLOSE)
        self._app._end_streams()
        await asyncio.sleep(LAST_READ_S)
        deadline = asyncio.get_running_loop().time() + self._grace_s
        silent_s = (
            0 if self._app._executing() else min(SILENT_S, self._grace_s)
        )  # most answers come soon, steps may take long
        await self._connections_closed(silent_s)
        if self._grace_s > silent_s and (self.server_state.connections or self._app._executing()):
            log.warning(
                "Stopping: %s. Waiting for %g s at most; a second signal stops at once.", self._awaited(), self._grace_s
            )
            await self._connections_closed(deadline - asyncio.get_running_loop().time())
        await self._app._drain(deadline - asyncio.get_running_loop().time())
        if steps := self._app._executing():
            log.warning(
                "Stopping although %s. Steps that have not ended are executed again at the next start.", _running(steps)
            )
        await self._app.close()
        await self._connections_closed(LAST_WRITE_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:  # requests whose client is gone; nothing else references them
            await asyncio.wait(self.server_state.tasks, timeout=LAST_WRITE_S)

    def _awaited(self) -> str:
        """What keeps the server from stopping, for the log."""
        connections, steps = len(self.server_state.connections), self._app._executing()
        awaited = []
        if connections:
            awaited.append(
                f"{connections} {'connection waits' if connections == 1 else 'connections wait'} for an answer"
            )
        if steps:
            awaited.append(_running(steps))
        return " and ".join(awaited)

    async def _connections_closed(self, timeout_s: float) -> None:
        """Wait for the responses that are due; a connection that has received all of its responses is closed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            for connection in list(self.server_state.connections):
                connection.shutdown()
            if not self.server_state.connections or loop.time() >= deadline:
                return
            await asyncio.sleep(LOOK_EVERY_S)


def _running(steps: list[str]) -> str:
    more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""
    return f"{len(steps)} {'step runs' if len(steps) == 1 else 'steps run'} ({', '.join(steps[:3])}{more})"
