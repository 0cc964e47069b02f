"""Terminal failures, transient ones, steps, deadlocks, mistakes, and code that takes other steps than before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import deadly, everywhere, only

METADATA = {"errorMessage": "my-error", "metadata": {"reason": "out of stock", "item": "книга"}}


@everywhere
@pytest.mark.parametrize(
    "handler", ["terminallyFailingCall", "callTerminallyFailingCall", "terminallyFailingSideEffect"]
)
async def test_message_and_metadata_of_a_terminal_failure_reach_the_outermost_caller(
    driver: Driver, key: str, handler: str
) -> None:
    answer = await driver.post("Failing", key, handler, body=METADATA)
    told = answer.json()
    assert (answer.status_code, told["message"], told["source"]) == (500, "my-error", "invocation")
    assert told["metadata"] == METADATA["metadata"]


@pytest.mark.parametrize("handler", ["terminallyFailingCall", "callTerminallyFailingCall"])
async def test_a_failure_passes_a_service_in_between(driver: Driver, key: str, handler: str) -> None:
    request = driver.proxied("Failing", handler, METADATA, virtualObjectKey=key)
    answer = await driver.post("Proxy", "call", body=request)
    assert (answer.status_code, answer.json()["message"]) == (500, "my-error")


@everywhere
async def test_a_handler_that_fails_for_a_while_succeeds_in_the_end(driver: Driver, key: str) -> None:
    assert await driver.call("Failing", key, "failingCallWithEventualSuccess") == 4


@everywhere
async def test_a_step_is_tried_again_until_it_succeeds(driver: Driver, key: str) -> None:
    assert await driver.call("Failing", key, "sideEffectSucceedsAfterGivenAttempts", body=4) == 4


@only("default", "always-replay")  # how often it ran is known to the process alone, so no crash may come between
async def test_a_step_that_has_used_up_its_attempts_fails_for_good(driver: Driver, key: str) -> None:
    assert await driver.call("Failing", key, "sideEffectFailsAfterGivenAttempts", body=3) == 3


@deadly
async def test_a_step_whose_result_is_recorded_is_not_executed_again(driver: Driver) -> None:
    """Taken out of memory behind its steps, the last attempt executes none; kept, or killed, it executes some."""
    executed = await driver.call("TestUtilsService", "countExecutedSideEffects", body=3)
    match driver.engine.mode:
        case "default":
            assert executed == 3
        case "always-replay":
            assert executed == 0
        case _:
            assert 0 <= executed <= 3


@pytest.mark.parametrize("way", [[], ["B"], ["B", "C"]], ids=["itself", "A-B-A", "A-B-C-A"])
async def test_a_call_that_closes_a_circle_is_refused_at_once(driver: Driver, key: str, way: list[str]) -> None:
    """A plain SDK handler waits forever here; we answer 409 and name the circle, and all keys of it are free again."""
    keys = [key, *[key + name for name in way]]
    answer = await driver.post("Ring", keys[0], "follow", body=[*keys[1:], keys[0], "never"])
    told = answer.json()
    assert (answer.status_code, driver.error(answer)) == (409, "deadlock")
    assert all(f"Ring/{each}" in told["message"] for each in keys)
    assert await asyncio.gather(*[driver.call("Ring", each, "follow", body=[]) for each in keys]) == ["the end"] * len(
        keys
    )


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"serviceName": "Nobody", "handlerName": "add"}, 404, "unknown_service"),
        ({"serviceName": "Counter", "handlerName": "subtract", "virtualObjectKey": "a"}, 404, "unknown_handler"),
        ({"serviceName": "Counter", "handlerName": "add", "virtualObjectKey": "a", "message": list(b'"x"')}, 400, None),
        ({"serviceName": "Counter", "handlerName": "add", "virtualObjectKey": ""}, 400, None),
    ],
    ids=["service", "handler", "argument", "key"],
)
async def test_a_mistake_inside_of_a_handler_ends_it_at_once(
    driver: Driver, request_: dict[str, Any], status: int, error: str | None
) -> None:
    answer = await driver.post("Proxy", "call", body={"message": list(b"1"), **request_})
    assert answer.status_code == status, answer.text
    assert answer.json()["source"] == "invocation"
    assert error in (None, driver.error(answer))


DIFFERENT = [
    "eitherSleepOrCall",
    "callDifferentMethod",
    "backgroundInvokeWithDifferentTargets",
    "setDifferentKey",
]


@pytest.mark.parametrize("handler", DIFFERENT)
@only("default")
async def test_code_that_is_not_replayed_may_be_as_it_likes(driver: Driver, key: str, handler: str) -> None:
    await driver.call("NonDeterministic", key, handler)
    await driver.until(lambda: driver.call("Counter", key, "get"), 1)


@pytest.mark.parametrize("handler", DIFFERENT)
@only("always-replay")
async def test_other_steps_than_those_recorded_are_detected(driver: Driver, key: str, handler: str) -> None:
    """Restate retries until an attempt happens to fit. We pause, and say so; resumed often enough it fits as well."""
    id = await driver.send("NonDeterministic", key, handler)
    if driver.engine.name == "restate":
        assert (await driver.attach(id)).status_code == 200
        await driver.until(lambda: driver.call("Counter", key, "get"), 1)
        return

    async def rests() -> bool:
        return await driver.status(id) in ("paused", "succeeded")

    await driver.until(rests, True)
    assert await driver.status(id) == "paused"
    assert (await driver.output(id)).status_code == 470
    assert await driver.call("Counter", key, "get") == 0
    for _ in range(8):
        await driver.operate("resume", id)
        await driver.until(rests, True)
        if await driver.status(id) == "succeeded":
            break
    assert (await driver.output(id)).status_code == 200
    await driver.until(lambda: driver.call("Counter", key, "get"), 1)
    # Behind whatever else was sent to it.
    assert await driver.call("Counter", key, "add", body=0) == {"oldValue": 1, "newValue": 1}
