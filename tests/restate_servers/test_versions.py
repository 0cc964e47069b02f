"""The lowest and the newest restate-sdk that are allowed, each in an environment of its own: the endpoint runs and answers."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from actors.errors import ActorsError
from actors.transport.restate import sdk
from tests.restate_servers.servers import ROOT, RestateServer, end, free_port, missing, wait_for

needs_server = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def allowed() -> Requirement:
    """What the extra says."""
    told = importlib.metadata.requires("virtual-actors") or []
    (found,) = [
        text for text in told if text.startswith("restate-sdk") and "extra == 'restate'" in text.replace('"', "'")
    ]
    return Requirement(found)


def lowest() -> str:
    (version,) = [each.version for each in allowed().specifier if each.operator == ">="]
    return version


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    server = RestateServer(tmp_path_factory.mktemp("versions") / "server")
    server.start()
    yield server
    server.stop()


@needs_server
@pytest.mark.timeout(180)
@pytest.mark.parametrize("which", ["lowest", "newest"])
def test_the_endpoint_runs_on_each_allowed_sdk(which: str, server: RestateServer, tmp_path: Path) -> None:
    requirement = f"restate-sdk=={lowest()}" if which == "lowest" else f"restate-sdk{allowed().specifier}"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    installed = subprocess.run(
        [*install, "--target", str(tmp_path / "sdk"), requirement], check=False, capture_output=True
    )
    assert installed.returncode == 0, installed.stderr.decode()
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "sdk"),
        "CONFORMANCE_STORAGE": "sqlite://",
        "CONFORMANCE_MODE": "default",
    }
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "actors", "restate", "serve", "tests.conformance.server:app"]
        endpoint = subprocess.Popen(
            [*command, "--port", url.rpartition(":")[2]], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(f"{url}/health")
        server.register(url)
        counted = httpx.post(f"{server.ingress}/Counter/{which}/add", json=2, timeout=30)
        assert counted.json() == {"oldValue": 0, "newValue": 2}
        tried = httpx.post(f"{server.ingress}/Failing/{which}/sideEffectSucceedsAfterGivenAttempts", json=2, timeout=30)
        assert tried.json() == 2
    finally:
        end(endpoint, signal.SIGTERM)


def test_an_sdk_that_lacks_what_is_used_is_named_with_advice() -> None:
    class Without:
        """A release without some of the names."""

        PyVM = type("PyVM", (), {name: None for name in sdk._METHODS if name != "sys_run"})
        PyUnresolvedFuture = type("PyUnresolvedFuture", (), {"single": None})

    for name in sdk._NAMES:
        if not hasattr(Without, name) and name != "PyVoid":
            setattr(Without, name, None)
    assert sdk.missing(Without) == ["PyVoid", "PyVM.sys_run", "PyUnresolvedFuture.first_completed"]


def test_the_installed_sdk_has_all_names_that_are_used() -> None:
    try:
        assert sdk.Sdk().version
    except ActorsError as error:
        pytest.fail(str(error))
