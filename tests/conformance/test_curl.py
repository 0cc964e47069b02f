"""The lines of the documentation, run by curl itself."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import only

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

RESOLVE = """curl localhost:8080/restate/awakeables/<id>/resolve -H 'content-type: application/json' -d '{"hello": "world"}'"""
REJECT = "curl localhost:8080/restate/awakeables/<id>/reject -H 'content-type: text/plain' -d 'Very bad error!'"


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [(RESOLVE, 200, '{"hello":"world"}'), (REJECT, 500, "Very bad error!")],
    ids=["resolve", "reject"],
)
@only("default")
async def test_an_awakeable_is_completed_by_the_line_of_the_documentation(
    driver: Driver, key: str, line: str, status: int, told: str
) -> None:
    call = asyncio.create_task(driver.post("AwakeableWaiter", key, "waitForAnything"))
    line = line.replace("localhost:8080", driver.engine.ingress).replace("<id>", await driver.held(key))
    line += " --silent --show-error --write-out '%{http_code}'"
    done = await asyncio.to_thread(subprocess.run, line, shell=True, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("202", "")
    answer = await call
    assert answer.status_code == status
    assert told in answer.text
