"""Workflows: promises before and after the run, attach and output, and no second run."""

from __future__ import annotations

import asyncio

from tests.conformance.driver import Driver
from tests.conformance.modes import deadly, everywhere

W = "BlockAndWaitWorkflow"


@deadly
async def test_a_workflow_waits_until_it_is_unblocked(driver: Driver, key: str) -> None:
    await driver.send(W, key, "run", body="input")
    await driver.until(lambda: driver.call(W, key, "getState"), "input")
    assert (await driver.request("GET", f"/restate/workflow/{W}/{key}/output")).status_code == 470
    attached = asyncio.create_task(driver.request("GET", f"/restate/workflow/{W}/{key}/attach"))
    await driver.call(W, key, "unblock", body="output")
    assert (await attached).json() == "output"
    assert (await driver.request("GET", f"/restate/workflow/{W}/{key}/output")).json() == "output"


@everywhere
async def test_a_promise_may_be_resolved_before_the_workflow_runs(driver: Driver, key: str) -> None:
    await driver.call(W, key, "unblock", body="early")
    assert await driver.call(W, key, "run", body="input") == "early"


async def test_a_second_run_does_not_run(driver: Driver, key: str) -> None:
    """Restate refuses a second call. Ours attaches to the first one if the arguments are the same, and is refused otherwise."""
    first = (await driver.post(W, key, "run", "send", body="input")).json()
    second = (await driver.post(W, key, "run", "send", body="input")).json()
    assert second == {"invocationId": first["invocationId"], "status": "PreviouslyAccepted"}
    other = await driver.post(W, key, "run", body="other input")
    if driver.engine.name == "restate":
        assert other.status_code == 409
    else:
        assert (other.status_code, driver.error(other)) == (422, "idempotency_key_reused")
    await driver.call(W, key, "unblock", body="output")
    if driver.engine.name == "restate":
        assert (await driver.post(W, key, "run", body="input")).status_code == 409
        assert (await driver.attach(first["invocationId"])).json() == "output"
    else:
        assert await driver.call(W, key, "run", body="input") == "output"
    assert await driver.call(W, key, "getState") == "input"


async def test_a_workflow_nobody_started_has_no_state_and_no_outcome(driver: Driver, key: str) -> None:
    assert await driver.call(W, key, "getState") is None
    assert (await driver.request("GET", f"/restate/workflow/{W}/{key}/output")).status_code == 404
