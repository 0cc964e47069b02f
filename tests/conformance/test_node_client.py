"""Restate's own TypeScript client, unchanged: npm's @restatedev/restate-sdk-clients, in a process of node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import only

PACKAGE = "@restatedev/restate-sdk-clients@1.17.2"
SCRIPT = Path(__file__).with_name("node_client.mjs")

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or shutil.which("node") is None, reason="npm is not installed"
)


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder the client is installed in; it is kept for the next run."""
    kept = Path(tempfile.gettempdir()) / f"actors-{PACKAGE.replace('/', '-')}-{os.getuid()}"
    if not kept.exists():
        folder = tmp_path_factory.mktemp("npm")
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", PACKAGE]
        subprocess.run(command, check=True, capture_output=True, timeout=100)
        try:
            folder.rename(kept)  # whole or not at all, whoever else installs it now
        except OSError:
            return folder
    return kept


@only("default")
async def test_all_that_it_can_ask_for_is_answered_as_it_expects(driver: Driver, key: str, modules: Path) -> None:
    command = ["node", str(SCRIPT), driver.engine.ingress, str(modules), key]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)

    assert (got["call"], got["get"], got["reset"]) == ({"oldValue": 0, "newValue": 5}, 5, None)
    assert (got["service"], got["headers"]) == ("HELLO", "1")
    assert got["idempotent"] == [{"oldValue": 0, "newValue": 1}] * 2
    assert (got["sent"]["status"], got["sent"]["attachable"]) == ("Accepted", False)
    first, second = got["keyedSends"]
    assert (first["status"], second["status"]) == ("Accepted", "PreviouslyAccepted")
    assert first["invocationId"] == second["invocationId"]
    assert got["attached"] == {"oldValue": 3, "newValue": 6}
    assert got["afterDelay"] == {"oldValue": 6, "newValue": 10}
    assert got["waited"] >= 200  # of 300, which began before the answer to the send

    assert (got["submitted"]["status"], got["again"]["status"]) == ("Accepted", "PreviouslyAccepted")
    assert (got["notReady"], got["workflow"], got["output"]) == (False, "output", [True, "output"])
    assert got["submittedResult"] == "output"

    assert (got["resolved"], got["resolvedWithNothing"]) == ({"hello": "world"}, None)
    assert got["rejected"]["status"] == 500
    assert "Very bad error!" in got["rejected"]["body"]
    assert (got["failed"]["status"], json.loads(got["failed"]["body"])["message"]) == (500, "my-error")
    for special in got["special"]:
        assert await driver.call("Counter", special, "get") == 1, special
