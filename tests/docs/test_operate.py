"""The files that the pages of docs/operate show for other programs: those programs accept them, and do what the pages say.

A test whose program is not installed is skipped.
"""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors import App, VirtualObject, handler
from tests.docs.documents import ROOT, read
from tests.http.asgi import ask
from tests.serving.server import serving

OPERATE = ROOT / "docs" / "operate"
PATH = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"  # where Debian has servers


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"there is no {name} here")
    return found


def shown(page: str, file: str) -> str:
    """The text of a file that a page shows."""
    for block in read(OPERATE / page).blocks:
        if block.text.splitlines()[0].removeprefix("# ") == file:
            return block.text
    raise AssertionError(f"{page} shows no {file}")


# --- YAML ---------------------------------------------------------------------------------------------------------------


def yaml_documents(text: str) -> list[Any]:
    return list(importlib.import_module("yaml").safe_load_all(text))


@pytest.mark.parametrize("page", sorted(path.name for path in OPERATE.glob("*.md")))
def test_yaml_can_be_read(page: str) -> None:
    for block in read(OPERATE / page).blocks:
        if block.language == "yaml":
            assert all(isinstance(document, dict) for document in yaml_documents(block.text)), block.line


def test_the_stateful_set_has_one_replica_time_to_stop_and_the_folder_of_the_file() -> None:
    stateful, service = yaml_documents(shown("containers.md", "shop.yaml"))
    spec = stateful["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert (stateful["kind"], spec["replicas"]) == ("StatefulSet", 1)
    options = dict(word.split("=") for word in container["args"] if "=" in word)
    assert float(options["--grace"]) < pod["terminationGracePeriodSeconds"]
    (data,) = spec["volumeClaimTemplates"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted[data["metadata"]["name"]] == str(Path(options["--db"]).parent)
    assert data["spec"]["accessModes"] == ["ReadWriteOncePod"]
    ports = {container["ports"][0]["containerPort"], service["spec"]["ports"][0]["port"], int(options["--port"])}
    assert ports == {container["readinessProbe"]["httpGet"]["port"]} and "livenessProbe" not in container
    labels = spec["template"]["metadata"]["labels"]
    assert labels == spec["selector"]["matchLabels"] == service["spec"]["selector"]


async def test_alerts_and_the_table_name_metrics_that_there_are() -> None:
    class Counter(VirtualObject):
        count: int = 0

        @handler
        async def add(self) -> int:
            self.count += 1
            return self.count

    async with App(Counter, storage="sqlite://") as app:
        await ask(app, "POST", "/Counter/a/add")
        there = set(re.findall(r"^(actors_\w+)", (await ask(app, "GET", "/metrics")).body.decode(), re.M))
    there |= {name.removesuffix("_bucket") for name in there}
    expressions = [rule["expr"] for rule in yaml_documents(shown("watch.md", "alerts.yml"))[0]["groups"][0]["rules"]]
    pages = "".join((OPERATE / page).read_text() for page in ("watch.md", "capacity.md", "disk-full-and-corruption.md"))
    named = {name for text in (*expressions, pages) for name in re.findall(r"\bactors_[a-z_]*[a-z]\b", text)}
    in_memory = {"actors_database_bytes", "actors_log_bytes"}  # this app has no file
    assert len(named) > 8 and named - there - in_memory == set()


# --- systemd and containers ---------------------------------------------------------------------------------------------


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string(shown("systemd.md", name))
    return found


@pytest.mark.parametrize("name", ["shop.service", "litestream.service"])
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    text = re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", shown("systemd.md", name), flags=re.M)
    (tmp_path / name).write_text(text)
    done = subprocess.run([analyze, "verify", f"./{name}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_waits_longer_than_the_server_and_never_gives_up() -> None:
    service = unit("shop.service")["Service"]
    words = shlex.split(service["ExecStart"])
    assert float(service["TimeoutStopSec"]) > float(words[words.index("--grace") + 1])
    assert service["Restart"] == "always" and unit("shop.service")["Unit"]["StartLimitIntervalSec"] == "0"
    assert words[words.index("--db") + 1].startswith(f"/var/lib/{service['StateDirectory']}/")


def command_lines() -> dict[str, list[str]]:
    (image,) = re.findall(r"^CMD (\[.*\])$", shown("containers.md", "Dockerfile"), re.M)
    stateful = yaml_documents(shown("containers.md", "shop.yaml"))[0]
    return {
        "systemd": shlex.split(unit("shop.service")["Service"]["ExecStart"]),
        "image": json.loads(image),
        "StatefulSet": stateful["spec"]["template"]["spec"]["containers"][0]["args"],
    }


def test_the_image_and_the_stateful_set_run_the_same_command() -> None:
    lines = command_lines()
    assert [word for words in lines["StatefulSet"] for word in words.split("=")] == lines["image"]


@pytest.mark.parametrize("which", ["systemd", "image", "StatefulSet"])
def test_the_command_line_serves_and_ends_at_sigterm(which: str, tmp_path: Path) -> None:
    page = "systemd.md" if which == "systemd" else "containers.md"
    (tmp_path / "shop.py").write_text(shown(page, "shop.py"))
    name, *words = command_lines()[which]
    assert Path(name).name == "actors"
    words = [re.sub(r"(/data|/var/lib/shop)/", f"{tmp_path}/", word) for word in words]
    words = [word.replace("8080", "0").replace("0.0.0.0", "127.0.0.1") for word in words]
    process = subprocess.Popen(
        [sys.executable, "-m", "actors", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Serving Counter at http://127.0.0.1:")
        assert (tmp_path / "shop.db").exists()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


# --- reverse proxies ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def proxy(kind: str, text: str, backend: int, folder: Path) -> Iterator[int]:
    """A proxy with this configuration, whose app listens at `backend`; the port of the proxy. Ended at the end."""
    port = free_port()
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{backend}")
    text = re.sub(r"127\.0\.0\.1:80[01]0", f"127.0.0.1:{port}", text)
    folder = folder / "proxy"
    folder.mkdir()
    if kind == "nginx":
        if os.geteuid() == 0:  # else its workers are another user, who may not read this folder
            text = f"user root;\n{text}"
        paths = [f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        text = text.replace("http {\n", "http {\n" + " ".join(paths) + "\n", 1)
        (folder / "nginx.conf").write_text(text)
        options = ["-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
    else:
        (folder / "Caddyfile").write_text(text)
        options = ["run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [program(kind), *options],
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            stdout=output,
            stderr=output,
        )
    try:
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert process.poll() is None and time.monotonic() < until, (folder / "output").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


PROXIES: dict[str, tuple[str, Callable[[], str], str]] = {
    "nginx": ("nginx", lambda: shown("reverse-proxy.md", "nginx.conf"), ""),
    "caddy": ("caddy", lambda: shown("reverse-proxy.md", "Caddyfile"), ""),
    "nginx below a prefix": ("nginx", lambda: shown("reverse-proxy.md", "prefix.conf"), "/actors"),
    "caddy below a prefix": ("caddy", lambda: shown("reverse-proxy.md", "prefix.Caddyfile"), "/actors"),
}


@contextlib.contextmanager
def served_through(kind: str, text: str, folder: Path) -> Iterator[int]:
    program(kind)
    with serving(folder) as server, proxy(kind, text, server.port, folder) as port:
        yield port


async def asked(port: int, method: str, path: str, value: Any = None, *, key: str | None = None) -> httpx.Response:
    headers = {"idempotency-key": key} if key is not None else {}
    body = {} if value is None else {"json": value}
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, **body)


@pytest.mark.parametrize("which", PROXIES)
async def test_a_proxy_passes_calls_on_as_they_are(which: str, tmp_path: Path) -> None:
    kind, text, prefix = PROXIES[which]
    with served_through(kind, text(), tmp_path) as port:
        for number, key in enumerate(("a%2Fb", "%C3%BC%20x", "a%252Fb"), 1):
            answer = await asked(port, "POST", f"{prefix}/Account/{key}/add", "x", key=f"k{number}")
            assert (answer.status_code, answer.json()) == (200, 1), key
            again = await asked(port, "POST", f"{prefix}/Account/{key}/add", "x", key=f"k{number}")
            assert again.headers["x-restate-id"] == answer.headers["x-restate-id"]
        answer = await asked(port, "POST", f"{prefix}/Account/a%2Fb/add/send?delay=1h", "y")
        assert answer.status_code == 202 and "executionTime" in answer.json()
        answer = await asked(port, "POST", f"{prefix}/Account/large/add", "x" * 3_000_000)
        assert answer.status_code == 200


@pytest.mark.parametrize("which", PROXIES)
async def test_a_proxy_does_not_pass_the_admin_routes_on(which: str, tmp_path: Path) -> None:
    kind, text, prefix = PROXIES[which]
    with served_through(kind, text(), tmp_path) as port:
        assert (await asked(port, "GET", f"{prefix}/restate/admin/invocations")).status_code == 404
        assert (await asked(port, "GET", f"{prefix}/restate/health")).status_code == 200


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_the_admin_routes_refuse_what_comes_through_a_proxy_that_passes_them_on(
    kind: str, tmp_path: Path
) -> None:
    text = PROXIES[kind][1]()
    text = re.sub(r" +location /restate/admin \{[^}]*\}\n|\trespond .*\n", "", text)
    with served_through(kind, text, tmp_path) as port:
        answer = await asked(port, "GET", "/restate/admin/invocations")
        assert (answer.status_code, answer.json()["error"]) == (403, "admin_refused")


async def test_a_bare_proxy_pass_opens_the_admin_routes(tmp_path: Path) -> None:
    """What the page warns of."""
    location = "location / { proxy_pass http://127.0.0.1:8080; }"
    text = f"pid nginx.pid; events {{}} http {{\n server {{ listen 127.0.0.1:8000; {location} }} }}"
    with served_through("nginx", text, tmp_path) as port:
        assert (await asked(port, "GET", "/restate/admin/invocations")).status_code == 200


async def test_nginx_decodes_the_path_if_proxy_pass_has_one(tmp_path: Path) -> None:
    """What the page warns of."""
    text = PROXIES["nginx"][1]().replace("proxy_pass http://shop;", "proxy_pass http://shop/;")
    with served_through("nginx", text, tmp_path) as port:
        assert (await asked(port, "POST", "/Account/a%2Fb/add", "x")).status_code == 404


async def test_a_caller_that_nginx_gives_up_on_cancels_nothing(tmp_path: Path) -> None:
    text = PROXIES["nginx"][1]().replace("proxy_read_timeout 1h;", "proxy_read_timeout 1s;")
    with served_through("nginx", text, tmp_path) as port:
        assert (await asked(port, "POST", "/Flow/f/go", key="k")).status_code == 504
        id = (await asked(port, "GET", "/Flow/f/awakeable")).json()
        assert (await asked(port, "POST", f"/restate/awakeables/{id}/resolve", "yes")).status_code == 202
        answer = await asked(port, "POST", "/Flow/f/go", key="k")
        assert (answer.status_code, answer.json()) == (200, "yes")


@contextlib.asynccontextmanager
async def streaming() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server that sends one event at once, and another one when it is told to. Its port."""
    go_on = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: 1\n\n")
            await go_on.wait()
            writer.write(b"data: 2\n\n")
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], go_on


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_a_stream_goes_through_while_it_is_sent(kind: str, tmp_path: Path) -> None:
    text = PROXIES[kind][1]().replace("proxy_read_timeout", "proxy_buffering off;\n            proxy_read_timeout")
    async with streaming() as (backend, go_on):
        program(kind)
        with proxy(kind, text, backend, tmp_path) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
            assert b"200" in await reader.readuntil(b"data: 1\n\n")
            go_on.set()
            assert b"data: 2\n\n" in await reader.read()
            writer.close()
