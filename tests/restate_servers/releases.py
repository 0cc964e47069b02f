"""Releases of an app as processes: modules that are written to a folder, endpoints that serve them, and commands of `actors`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.restate_servers.servers import RestateServer, end, free_port, wait_for

HEAD = """
from actors import App, Context, RetryPolicy, Service, VirtualObject, handler, schedule, shared
"""
COUNTER = """
class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, by: int = 1) -> int:
        self.count += by
        return self.count

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)
"""
WITHOUT_WAIT = COUNTER.partition("    @handler\n    async def wait")[0]
WITH_MORE = (
    COUNTER
    + """
    @shared
    async def get(self) -> int:
        return self.count
"""
)


@dataclass(frozen=True)
class Outcome:
    """How a command has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class Releases:
    """`folder` holds the modules; each has a name of its own in the test."""

    def __init__(self, folder: Path, server: RestateServer) -> None:
        self.folder = folder
        self.server = server
        self._ends = contextlib.ExitStack()

    def write(self, name: str, *classes: str) -> str:
        """A module with an app of these classes, as the target of commands."""
        names = [
            line.partition("(")[0].removeprefix("class ")
            for text in classes
            for line in text.splitlines()
            if line[:6] == "class "
        ]
        (self.folder / f"{name}.py").write_text(HEAD + "\n".join(classes) + f"\napp = App({', '.join(names)})\n")
        return f"{name}:app"

    def serve(self, target: str, *options: str, port: int | None = None) -> str:
        """Start an endpoint, and return its URL. It ends with the test."""
        port = port or free_port()
        command = [
            sys.executable,
            "-m",
            "actors",
            "restate",
            "serve",
            target,
            "--port",
            str(port),
            "--grace",
            "0",
            *options,
        ]
        log = (self.folder / f"log-{port}").open("ab")
        process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self._ends.callback(lambda: end(process, signal.SIGTERM) if process.poll() is None else None)
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health")
        return url

    def end_endpoints(self) -> None:
        self._ends.close()

    def run(self, *arguments: str, hidden: tuple[str, ...] = ()) -> Outcome:
        """A command of `actors`; modules in `hidden` count as not installed."""
        hide = "".join(f"sys.modules[{name!r}] = None; " for name in hidden)
        program = f"import sys; {hide}from actors.__main__ import main; main()"
        environment = {**os.environ, "ACTORS_RESTATE": self.server.admin, "COLUMNS": ""}
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def deploy(self, target: str, url: str, *options: str, hidden: tuple[str, ...] = ()) -> Outcome:
        return self.run("deploy", target, "--at", url, "--ingress", self.server.ingress, *options, hidden=hidden)

    def call(self, path: str, body: Any = None) -> Any:
        """The value of a handler, over the ingress."""
        answer = httpx.post(f"{self.server.ingress}/{path}", json=body, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()


@contextlib.contextmanager
def server_in(folder: Path, environment: dict[str, str] | None = None) -> Iterator[RestateServer]:
    server = RestateServer(folder, environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def releases_in(folder: Path, server: RestateServer) -> Iterator[Releases]:
    """Nothing is registered before the test, and nothing of it stays."""
    releases = Releases(folder, server)
    try:
        yield releases
    finally:
        releases.end_endpoints()
        for row in server.query("SELECT id FROM sys_invocation WHERE status != 'completed'"):
            httpx.patch(f"{server.admin}/invocations/{row['id']}/kill")
        for row in server.query("SELECT DISTINCT service_name, service_key FROM state"):
            change = {"object_key": row["service_key"], "new_state": {}}
            httpx.post(f"{server.admin}/services/{row['service_name']}/state", json=change)
        for known in httpx.get(f"{server.admin}/deployments").json()["deployments"]:
            httpx.delete(f"{server.admin}/deployments/{known['id']}", params={"force": "true"})
