"""State, its isolation, and the order of what one handler sends."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import deadly, everywhere


@deadly
async def test_a_counter_tells_the_value_before_and_after(driver: Driver, key: str) -> None:
    assert await driver.call("Counter", key, "add", body=1) == {"oldValue": 0, "newValue": 1}
    assert await driver.call("Counter", key, "add", body=2) == {"oldValue": 1, "newValue": 3}
    assert await driver.call("Counter", key, "get") == 3
    assert await driver.call("Counter", key, "reset") is None
    assert await driver.call("Counter", key, "get") == 0


@everywhere
async def test_state_that_was_set_before_a_terminal_error_stays(driver: Driver, key: str) -> None:
    answer = await driver.post("Counter", key, "addThenFail", body=7)
    assert (answer.status_code, answer.json()["message"]) == (500, key)
    assert await driver.call("Counter", key, "get") == 7


@deadly
async def test_three_one_way_adds_make_three(driver: Driver, key: str) -> None:
    await asyncio.gather(
        *[
            driver.call("Proxy", "oneWayCall", body=driver.proxied("Counter", "add", 1, virtualObjectKey=key))
            for _ in range(3)
        ]
    )
    await driver.until(lambda: driver.call("Counter", key, "get"), 3)


@everywhere
async def test_lists_of_different_keys_do_not_mix(driver: Driver, key: str) -> None:
    other = key + "-other"
    for value in ("1", "2"):
        await driver.call("ListObject", key, "append", body=value)
    await driver.call("ListObject", other, "append", body="3")
    assert await driver.call("ListObject", key, "clear") == ["1", "2"]
    assert await driver.call("ListObject", key, "get") == []
    assert await driver.call("ListObject", other, "get") == ["3"]


async def test_clear_all_clears_every_entry_of_one_key_and_of_no_other(driver: Driver, key: str) -> None:
    other = key + "-other"
    entries = [{"key": f"my-key-{n}", "value": f"my-value-{n}"} for n in range(3)]
    for entry in entries:
        await driver.call("MapObject", key, "set", body=entry)
        await driver.call("MapObject", other, "set", body=entry)
    assert await driver.call("MapObject", key, "get", body="my-key-1") == "my-value-1"
    assert await driver.call("MapObject", key, "clearAll") == entries
    assert await driver.call("MapObject", key, "get", body="my-key-1") == ""
    assert await driver.call("MapObject", key, "clearAll") == []
    assert await driver.call("MapObject", other, "clearAll") == entries


@everywhere
@pytest.mark.parametrize("one_way", [[True, False, False], [False, True, False], [True, True, False]], ids=str)
async def test_what_one_handler_calls_and_sends_keeps_its_order(driver: Driver, key: str, one_way: list[bool]) -> None:
    calls = [
        {
            "proxyRequest": driver.proxied("ListObject", "append", str(place), virtualObjectKey=key),
            "oneWayCall": flag,
            "awaitAtTheEnd": not flag,
        }
        for place, flag in enumerate(one_way)
    ]
    await driver.call("Proxy", "manyCalls", body=calls)
    assert await driver.call("ListObject", key, "get") == ["0", "1", "2"]


async def test_calls_that_are_awaited_one_by_one_and_at_the_end_all_take_effect(driver: Driver, key: str) -> None:
    calls = [
        {
            "proxyRequest": driver.proxied("Counter", "add", 1, virtualObjectKey=key),
            "oneWayCall": False,
            "awaitAtTheEnd": bool(place % 2),
        }
        for place in range(10)
    ]
    await driver.call("Proxy", "manyCalls", body=calls)
    assert await driver.call("Counter", key, "get") == 10
