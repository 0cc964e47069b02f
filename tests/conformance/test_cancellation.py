"""Cancel and kill reach the leaf of a tree of calls, and leave no key blocked."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import deadly, everywhere


async def _cancelled_tree(driver: Driver, key: str, operation: str) -> str:
    """The id of a runner whose leaf waits for what only a cancellation ends."""
    id = await driver.send("CancelTestRunner", key, "startTest", body=operation, once=key)
    await driver.unlock(key)
    return id


async def _is_free(driver: Driver, key: str) -> None:
    assert await driver.call("CancelTestRunner", key, "verifyTest") is True
    assert await driver.call("CancelTestBlockingService", key, "isUnlocked") is None


@deadly
@pytest.mark.parametrize("operation", ["SLEEP", "AWAKEABLE"])
async def test_a_cancellation_from_a_handler_reaches_the_leaf_and_its_parent_sees_409(
    driver: Driver, key: str, operation: str
) -> None:
    id = await _cancelled_tree(driver, key, operation)
    assert (await driver.output(id)).status_code == 470
    await driver.call("TestUtilsService", "cancelInvocation", body=id)
    assert (await driver.attach(id)).status_code == 200  # it caught the 409
    await _is_free(driver, key)


@pytest.mark.parametrize("operation", ["SLEEP", "AWAKEABLE"])
async def test_a_cancellation_by_an_operator_does_the_same(driver: Driver, key: str, operation: str) -> None:
    id = await _cancelled_tree(driver, key, operation)
    await driver.operate("cancel", id)
    assert (await driver.attach(id)).status_code == 200
    await _is_free(driver, key)


@everywhere
async def test_a_handler_that_calls_its_own_key_needs_no_cancellation(driver: Driver, key: str) -> None:
    """With Restate the operation CALL waits for itself until somebody cancels it. Ours is refused with 409 at once."""
    id = await _cancelled_tree(driver, key, "CALL")
    assert (await driver.attach(id)).status_code == 200
    await _is_free(driver, key)


async def test_a_self_call_below_a_runner_fails_the_whole_tree(driver: Driver, key: str) -> None:
    """With Restate this tree waits until it is killed."""
    call = asyncio.create_task(driver.post("KillTestRunner", key, "startCallTree"))
    await driver.unlock(key)
    answer = await call
    assert (answer.status_code, driver.error(answer)) == (409, "deadlock")
    assert await driver.call("KillTestSingleton", key, "isUnlocked") is None


async def test_killing_the_root_frees_the_objects_below_it(driver: Driver, key: str) -> None:
    id = await driver.send("KillTestRunner", key, "startCallTree", once=key)
    await driver.held(key)
    await driver.operate("kill", id)
    killed = await driver.attach(id)
    assert (killed.status_code, killed.json()["message"]) == (
        409,
        driver.either(sqlite="The invocation was killed.", restate="killed"),
    )
    assert driver.error(killed) == driver.either(sqlite="killed", restate=None)  # its code never runs there
    assert await driver.call("KillTestSingleton", key, "isUnlocked") is None
