"""A restate-server of npm's package, in a folder of its own: how tests get one, start, stop and kill it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.7.12"
# Beside the interpreter's environment, so that `make clean` removes it.
HOME = Path(sys.prefix) / f"restate-server-{VERSION}"
READY_S = 60.0
NODES = 3
_given: set[int] = set()  # ports of this process, which may be free for a moment
_BINARY = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"


def missing() -> str | None:
    """Why there can be no server here; None if there can."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "restate-server is tested on Linux, x86-64"
    if shutil.which("npm") is None and not (HOME / _BINARY).exists():
        return "npm is not installed"
    return None


def binary() -> Path:
    """The program itself, not the wrapper around it, so that signals reach it. Installed by npm on first use."""
    found = HOME / _BINARY
    if found.exists():
        return found
    HOME.mkdir(exist_ok=True)
    with locked(HOME / "lock"):
        if not found.exists():
            command = ["npm", "install", "--prefix", str(HOME), "--ignore-scripts", "--no-audit", "--no-fund"]
            packages = [f"@restatedev/{name}@{VERSION}" for name in ("restate-server", "restatectl")]
            subprocess.run([*command, *packages], check=True, capture_output=True)
    return found


def restatectl() -> list[str]:
    """The command line for clusters."""
    binary()
    return [str(HOME / "node_modules/@restatedev/restatectl-linux-x64/bin/restatectl")]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """Below the ports that outgoing connections take: nothing may have it while its owner is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


class RestateServer:
    """One node with state of its own in `folder`."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.ingress = f"http://127.0.0.1:{free_port()}"
        self.admin = f"http://127.0.0.1:{free_port()}"
        self._node = free_port()
        self._more = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or go on with what the folder holds. Returns once it is healthy."""
        environment = {
            **os.environ,
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RUST_LOG": "warn",
            "RESTATE_INGRESS__BIND_ADDRESS": self.ingress.removeprefix("http://"),
            "RESTATE_ADMIN__BIND_ADDRESS": self.admin.removeprefix("http://"),
            "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
            "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "128 MB",
            **self._more,
        }
        options = ["--bind-ip", "127.0.0.1", "--bind-port", str(self._node), "--listen-mode", "tcp"]
        options += ["--advertised-host", "127.0.0.1", "--node-name", "n1", "--base-dir", str(self.folder), "--no-logo"]
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary()), *options], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(f"{self.ingress}/restate/health", self)
        wait_for(f"{self.admin}/health", self)

    def check(self) -> None:
        """Fails if the process has ended."""
        assert self._process is not None and self._process.poll() is None, self.log()

    def stop(self) -> None:
        end(self._process, signal.SIGTERM)
        self._process = None

    def kill(self) -> None:
        end(self._process, signal.SIGKILL)
        self._process = None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def register(self, url: str, http1: bool = False, force: bool = False) -> dict[str, Any]:
        """Let the server discover the endpoint at `url`."""
        return register(self.admin, url, http1, force)

    def query(self, sql: str) -> list[dict[str, Any]]:
        return query(self.admin, sql)


class RestateCluster:
    """Three nodes on this machine, each with all roles; each partition and each log is on two of them, so one may die."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = [{what: free_port() for what in ("node", "ingress", "admin")} for _ in range(NODES)]
        self.ingresses = [f"http://127.0.0.1:{ports['ingress']}" for ports in self._ports]
        self.admins = [f"http://127.0.0.1:{ports['admin']}" for ports in self._ports]
        self.addresses = [f"http://127.0.0.1:{ports['node']}" for ports in self._ports]  # for restatectl
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * NODES

    def start(self) -> None:
        """Start the nodes that do not run. Returns once all of them are healthy."""
        self.folder.mkdir(exist_ok=True)
        for number in range(NODES):
            self.start_node(number)
        for number in range(NODES):
            wait_for(f"{self.ingresses[number]}/restate/health")
            wait_for(f"{self.admins[number]}/health")

    def start_node(self, number: int) -> None:
        if self._processes[number] is not None:
            return
        config = self.folder / f"node{number + 1}.toml"
        config.write_text(self._config(number))
        with (self.folder / f"log{number + 1}").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [str(binary()), "--config-file", str(config), "--no-logo"],
                cwd=self.folder,
                env={**os.environ, "RESTATE_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill_node(self, number: int) -> None:
        end(self._processes[number], signal.SIGKILL)
        self._processes[number] = None

    def stop(self) -> None:
        for process in self._processes:
            if process is not None:
                process.send_signal(signal.SIGTERM)
        for number in range(NODES):
            process = self._processes[number]
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(15)
                process.kill()
                process.wait()
            self._processes[number] = None

    def log(self) -> str:
        return "\n".join((self.folder / f"log{n + 1}").read_text(errors="replace")[-1500:] for n in range(NODES))

    def _config(self, number: int) -> str:
        ports = self._ports[number]
        addresses = ", ".join(f'"http://127.0.0.1:{each["node"]}"' for each in self._ports)
        return f"""\
cluster-name = "actors"
node-name = "node{number + 1}"
force-node-id = {number + 1}
base-dir = "data{number + 1}"
bind-ip = "127.0.0.1"
bind-port = {ports["node"]}
advertised-host = "127.0.0.1"
listen-mode = "tcp"
auto-provision = {"true" if number == 0 else "false"}
default-num-partitions = 4
default-replication = 2
shutdown-timeout = "10s"
disable-telemetry = true
rocksdb-total-memory-size = "256 MB"
log-filter = "warn,restate=info"
log-disable-ansi-codes = true

[metadata-client]
type = "replicated"
addresses = [{addresses}]

[ingress]
bind-address = "127.0.0.1:{ports["ingress"]}"

[admin]
bind-address = "127.0.0.1:{ports["admin"]}"
disable-web-ui = true
[admin.query-engine]
memory-size = "64 MB"
"""


def register(admin: str, url: str, http1: bool = False, force: bool = False) -> dict[str, Any]:
    """Let a server with this admin URL discover the endpoint at `url`."""
    given = {"uri": url, "use_http_11": http1, "force": force}
    answer = httpx.post(f"{admin}/deployments", json=given, timeout=30)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


def query(admin: str, sql: str) -> list[dict[str, Any]]:
    answer = httpx.post(f"{admin}/query", json={"query": sql}, headers={"accept": "application/json"}, timeout=30)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


def wait_for(url: str, process: RestateServer | None = None) -> None:
    """Wait until the URL answers 200."""
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        if process is not None:
            process.check()
        assert time.monotonic() < deadline, f"{url} did not answer"
        time.sleep(0.02)  # waits for a real process


def end(process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
    if process is None:
        return
    process.send_signal(how)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"the process did not end after {how.name}") from None
