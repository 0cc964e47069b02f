"""`actors serve module:app`: serves the app over HTTP until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click

from actors import run
from actors.app.options import DEBUG_VARIABLE
from actors.cli.log_options import LEVELS, LogOptions
from actors.cli.target import BadTarget, load_app
from actors.engine import left_steps
from actors.errors import AppNotRunning, DefinitionError, with_code
from actors.storage.errors import StorageError
from actors.transport.served import App
from actors.transport.server.sockets import CannotListen, bound, bound_to_path

if TYPE_CHECKING:
    from actors.transport.server.protocol import ConnectionLimits
    from actors.transport.server.server import Server

GRACE_S = 10.0
CANCEL_S = 1.0  # for cancelled async steps to end
GRACE_OF_RELOAD_S = 0.5  # a developer should not wait for a client that waits for the developer


@dataclass(frozen=True, slots=True)
class Serving:
    """The work of one server process. With --reload it is pickled and sent to that process."""

    target: str
    db: str | None
    limits: ConnectionLimits
    keep_alive_s: int
    grace_s: float
    logs: LogOptions
    debug: bool = False

    def __call__(self, sockets: list[socket.socket] | None) -> None:
        """Run `until_end` in a process of its own, and end that process."""
        assert sockets is not None
        _end(self.until_end(sockets))

    def until_end(self, sockets: list[socket.socket]) -> int:
        """Serve until a signal. The exit code: 2 if the app does not exist, 1 if the app cannot be served, or has failed."""
        self.logs.before_import()
        allow_many_files()
        if self.debug:
            os.environ.setdefault(DEBUG_VARIABLE, "1")  # App(debug=False) and ACTORS_DEBUG=0 take precedence
        return run(self._until_end(sockets))

    async def _until_end(self, sockets: list[socket.socket]) -> int:
        code = 0
        try:
            await self.serve(sockets)
        except (BadTarget, DefinitionError) as error:
            code = _failure(with_code(error), 2)
        except (StorageError, AppNotRunning) as error:
            code = _failure(with_code(error), 1)
        tasks = [job for job in left_steps.running() if isinstance(job, asyncio.Task)]
        for task in tasks:
            if not task.cancelling():  # the app failed and was not closed
                task.cancel()
        if tasks and (await asyncio.wait(tasks, timeout=CANCEL_S))[1]:
            _end(code)  # the end of the loop would wait for these tasks
        return code

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Raises BadTarget, DefinitionError, or the error that ended the app: a StorageError, or AppNotRunning."""
        from actors.transport.server.server import Server  # requires the extra

        app = load_app(self.target)
        self.logs.after_import()
        if self.db is not None:
            if app._life.store is not None:
                raise DefinitionError(f"{self.target} has a store of its own: App(store=...). --db cannot change it.")
            app.store_in(self.db if "://" in self.db else f"sqlite:///{self.db}")
        await app.start()

        def announce() -> None:
            click.echo(announcement(app, sockets))

        server = Server(
            app, app.begin, self.limits, self.keep_alive_s, self.grace_s, announce, access_log=self.logs.access
        )
        running = asyncio.create_task(_keep_running(app, server))
        try:
            await server.serve(sockets)
        finally:
            running.cancel()
            await app.close()  # the server has closed it, unless it failed to start
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _keep_running(app: App, server: Server) -> None:
    """Restart the app whenever its database fails. Ends the server, and raises, if the restart is not possible."""
    try:
        while True:
            await app._stopped()
            await app.recover()
    except (StorageError, AppNotRunning):
        if server.should_exit:
            return  # a signal ended the server while the app was stopped
        server.should_exit = True
        raise


def announcement(app: App, sockets: Sequence[socket.socket]) -> str:
    """The line that says what is served, where, and from which file."""
    places = " and ".join(_url(listening) for listening in sockets)
    stored = "its own store" if app._life.store is not None else app._life.path
    return f"Serving {', '.join(app._services)} at {places} from {stored}. Ctrl-C stops it."


def _url(listening: socket.socket) -> str:
    name = listening.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"http://{host}:{name[1]}"
    return f"unix:{name}"


def allow_many_files() -> None:
    """Raise the limit of open files: a connection is an open file, and shells allow 1,024 where the system allows more."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with contextlib.suppress(OSError, ValueError):  # macOS reports a limit that it does not accept
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _end(code: int) -> NoReturn:
    """End the process, at once if a step is still running: its thread or task may keep the interpreter from ending.

    By then all writes are done, and the file is released.
    """
    if left_steps.running():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _failure(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code


def _reload(serving: Serving, sockets: list[socket.socket]) -> None:
    """Serve in a process of its own, which is replaced when a file changes: the new process starts after the old process
    has ended and released the database. Connections wait meanwhile, because this process holds the sockets."""
    import uvicorn
    from uvicorn.supervisors import ChangeReload

    config = uvicorn.Config(serving.target, reload=True, log_config=None, access_log=False)
    ChangeReload(config, target=serving, sockets=sockets).run()


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option("--db", metavar="FILE-OR-URL", help="The database. Default: the database that the app names.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: all addresses of this machine.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="0: any free port; the port is printed.",
)
@click.option(
    "--uds",
    metavar="PATH",
    help="Listen on a Unix socket instead. Users who may write to the socket file may connect; see umask.",
)
@click.option(
    "--reload", is_flag=True, help="Restart when a Python file in this folder or below changes; implies ACTORS_DEBUG=1."
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help=f"How long to wait for answers and steps after a signal. Default: {GRACE_S:g}; with --reload {GRACE_OF_RELOAD_S:g}.",
)
@click.option(
    "--keep-alive",
    type=click.IntRange(1, 86_400),
    default=75,
    show_default=True,
    metavar="SECONDS",
    help="How long a connection without a request stays open.",
)
@click.option(
    "--limit-connections",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Requests on connections beyond this limit get 503.",
)
@click.option(
    "--limit-head",
    type=click.IntRange(256),
    default=65_536,
    show_default=True,
    metavar="BYTES",
    help="Size of path and headers; larger requests get 431.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Log from this level up. Default: the module's own level, or else warning.",
)
@click.option("--json-logs", is_flag=True, help="Log lines of JSON that name their invocation.")
@click.option("--access-log", is_flag=True, help="Log a line for each request.")
def serve(
    target: str,
    db: str | None,
    host: str,
    port: int,
    uds: str | None,
    reload: bool,
    grace: float | None,
    keep_alive: int,
    limit_connections: int,
    limit_head: int,
    log_level: str | None,
    json_logs: bool,
    access_log: bool,
) -> None:
    """Serve an app over HTTP.

    SIGTERM and Ctrl-C stop the server gracefully: it accepts no more requests, answers accepted requests, lets running steps
    end, answers requests that still wait after the grace period with 503 (their calls go on at the next start), releases the
    database, and ends with exit code 0. A step that is still running then is cut off, and executed again at the next start. A
    second signal stops the server at once; nothing that was answered is lost.

    The app limits the size of request bodies: App(limits=Limits(max_payload=...)).
    """
    try:
        from actors.transport.server.protocol import ConnectionLimits
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("uvicorn", "httptools"):
            raise
        sys.exit(_failure(f"Serving requires {missing}. Install it: pip install 'virtual-actors[serve]'", 2))
    try:
        sockets = [bound_to_path(uds)] if uds is not None else bound(host, port)
    except CannotListen as error:
        sys.exit(_failure(str(error), 1))
    if grace is None:
        grace = GRACE_OF_RELOAD_S if reload else GRACE_S
    logs = LogOptions(log_level, json_logs, access_log)
    serving = Serving(target, db, ConnectionLimits(limit_connections, limit_head), keep_alive, grace, logs, reload)
    code = 0
    try:
        if reload:
            _reload(serving, sockets)
        else:
            code = serving.until_end(sockets)
    finally:
        for listening in sockets:
            listening.close()
        if uds is not None:
            with contextlib.suppress(OSError):
                os.unlink(uds)
    _end(code)
