"""Releases of an app: modules that are written to a folder, endpoints that serve them, and commands of `actors`, as processes or in
this one."""

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
from click.testing import CliRunner

from actors.cli.commands import cli
from actors.cli.target import load_app
from tests.restate_servers.endpoints import Endpoints
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

    def __init__(self, folder: Path, server: RestateServer, endpoints: Endpoints) -> None:
        self.folder = folder
        self.server = server
        self._endpoints = endpoints
        self._ends = contextlib.ExitStack()
        self._written: list[str] = []

    def write(self, name: str, *classes: str) -> str:
        """A module with an app of these classes, as the target of commands."""
        names = [
            line.partition("(")[0].removeprefix("class ")
            for text in classes
            for line in text.splitlines()
            if line[:6] == "class "
        ]
        (self.folder / f"{name}.py").write_text(HEAD + "\n".join(classes) + f"\napp = App({', '.join(names)})\n")
        self._written.append(name)
        return f"{name}:app"

    def serve(self, target: str, port: int | None = None) -> str:
        """Start an endpoint in this process, and return its URL. It ends with the test."""
        return self._endpoints.serve(load_app(target), port)

    def serve_process(self, target: str, *options: str, port: int | None = None) -> str:
        """Type `actors restate serve`, and return the URL. The process ends with the test."""
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
        self._endpoints.end_all()
        self._ends.close()

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """The modules can be imported here, and are forgotten afterwards: the next test has others of the same names."""
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for name in self._written:
                sys.modules.pop(name, None)

    def run(self, *arguments: str) -> Outcome:
        """A command of `actors`, in this process."""
        done = CliRunner().invoke(cli, arguments, env=self._environment())
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Outcome(done.exit_code, done.stdout, done.stderr)

    def run_process(self, *arguments: str, hidden: tuple[str, ...] = ()) -> Outcome:
        """A command line of `actors`; modules in `hidden` count as not installed."""
        hide = "".join(f"sys.modules[{name!r}] = None; " for name in hidden)
        program = f"import sys; {hide}from actors.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder, env={**os.environ, **self._environment()}, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def _environment(self) -> dict[str, str]:
        return {"ACTORS_RESTATE": self.server.admin, "COLUMNS": ""}

    def deploy(self, target: str, url: str, *options: str) -> Outcome:
        return self.run(*self.deploying(target, url), *options)

    def deploying(self, target: str, url: str) -> list[str]:
        return ["deploy", target, "--at", url, "--ingress", self.server.ingress]

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
def releases_in(folder: Path, server: RestateServer, endpoints: Endpoints) -> Iterator[Releases]:
    """Nothing is registered before the test, and nothing of it stays."""
    releases = Releases(folder, server, endpoints)
    try:
        with releases.importable():
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
