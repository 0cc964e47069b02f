"""`actors restate serve module:app`: the endpoint that a restate-server calls, until a signal."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from actors import run
from actors.cli.log_options import LEVELS, LogOptions
from actors.cli.serving import allow_many_files
from actors.cli.target import BadTarget, load_app
from actors.errors import ActorsError, DefinitionError, with_code
from actors.transport.restate import Endpoint, endpoint
from actors.transport.restate.manifest import refused
from actors.transport.server.sockets import CannotListen, bound

GRACE_S = 10.0
STREAMS = 10_000  # requests on one connection at once


@dataclass(frozen=True, slots=True)
class Serving:
    """The work of one endpoint process."""

    target: str
    host: str
    port: int
    identity_keys: tuple[str, ...]
    streams: bool
    grace_s: float
    logs: LogOptions

    def until_end(self) -> int:
        """Serve until a signal. The exit code: 2 if the app does not exist, 1 if it cannot be served."""
        self.logs.before_import()
        allow_many_files()
        try:
            run(self._serve())
        except (BadTarget, DefinitionError) as error:
            return _failure(with_code(error), 2)
        except (ActorsError, CannotListen) as error:
            return _failure(with_code(error), 1)
        return 0

    async def _serve(self) -> None:
        app = load_app(self.target)
        self.logs.after_import()
        served = endpoint(app, identity_keys=self.identity_keys, streams=self.streams)
        for listening in bound(self.host, self.port):  # says why it cannot listen; granian would end the process
            listening.close()
        options = app.engine_options()
        for unsupported in refused(options.catalog, options.retry):
            logging.getLogger("actors").warning("%s `actors deploy` refuses the app.", unsupported)
        if not self.identity_keys and not _is_loopback(self.host):
            logging.getLogger("actors").warning(
                "The endpoint listens on %s without an identity key: anyone who reaches it can run each handler with any input. "
                "Use --identity-key.",
                self.host,
            )
        await self._until_signal(served, self._announcement(app._services))

    async def _until_signal(self, served: Endpoint, announcement: str) -> None:
        server = granian(served, self.host, self.port, http1=not self.streams)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        serving = asyncio.create_task(server.serve())
        waiting = asyncio.create_task(ended.wait())
        click.echo(announcement)
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second signal ends the process at once
        await served.drain(self.grace_s)
        server.stop()
        await serving
        served.close()

    def _announcement(self, services: dict[str, Any]) -> str:
        url = f"http://{_reached_at(self.host)}:{self.port}"
        return (
            f"Serving {', '.join(services)} to restate-server at {url}. Ctrl-C stops it.\n"
            f"Register it: actors deploy {self.target} --at {url}{'' if self.streams else ' --http1'}"
        )


def granian(served: Callable[..., Any], host: str, port: int, http1: bool) -> Any:
    """The HTTP server, in this process and on its loop: a process of its own would survive the SIGKILL of its parent."""
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP2Settings
    from granian.server.embed import Server

    return Server(
        served,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1 if http1 else HTTPModes.auto,
        websockets=False,
        log_enabled=False,
        backlog=1024,
        http2_settings=HTTP2Settings(max_concurrent_streams=STREAMS),
    )


def _reached_at(host: str) -> str:
    """How others name this machine: one spelling, since a server takes each URL for an endpoint of its own."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    if host == "127.0.0.1":
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _failure(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code


def require_extra() -> None:
    """End the process with the command to type if the extra is not installed."""
    for name in ("restate", "granian"):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != name:
                raise
            missing = "restate-sdk" if name == "restate" else name
            _end(f"This command requires {missing}. Install it: pip install 'virtual-actors[restate]'", 2)


def _end(message: str, code: int) -> NoReturn:
    sys.exit(_failure(message, code))


@click.command("serve")
@click.argument("target", metavar="MODULE:APP")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: all addresses of this machine.")
@click.option("--port", type=click.IntRange(1, 65535), default=9080, show_default=True)
@click.option(
    "--identity-key",
    "identity_keys",
    multiple=True,
    metavar="KEY",
    help="Answer only requests signed by this key of the server, publickeyv1_...; may be repeated.",
)
@click.option(
    "--http1",
    is_flag=True,
    help="One request and one response for each part of an attempt, for hosts that cannot stream over HTTP/2.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 86_400),
    default=GRACE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long running steps may take after a signal.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Log from this level up. Default: the module's own level, or else warning.",
)
@click.option("--json-logs", is_flag=True, help="Log lines of JSON that name their invocation.")
def serve(
    target: str,
    host: str,
    port: int,
    identity_keys: tuple[str, ...],
    http1: bool,
    grace: float,
    log_level: str | None,
    json_logs: bool,
) -> None:
    """Serve an app to a restate-server, which calls this endpoint; callers use the server's own address.

    The app is not started, and its database is not used: state and journals are the server's. After a signal handlers that wait
    are left at once, running steps may end, and the server asks again, here or at another endpoint.
    """
    require_extra()
    sys.exit(Serving(target, host, port, identity_keys, not http1, grace, LogOptions(log_level, json_logs)).until_end())
