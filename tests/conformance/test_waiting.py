"""Awakeables, sleeps, and what survives the death of the process."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import FULL, SCALE, deadly, everywhere, only


@deadly
async def test_a_completion_over_http_is_what_the_blocked_call_returns(driver: Driver, key: str) -> None:
    call = asyncio.create_task(driver.post("AwakeableWaiter", key, "waitForAnything"))
    answer = await driver.resolve(await driver.held(key), b'{"hello": "world"}')
    assert answer.status_code == 202
    assert (await call).json() == {"hello": "world"}


@everywhere
async def test_the_text_of_a_rejection_is_in_the_error(driver: Driver, key: str) -> None:
    call = asyncio.create_task(driver.post("AwakeableWaiter", key, "wait"))
    path = f"/restate/awakeables/{await driver.held(key)}/reject"
    answer = await driver.request("POST", path, content=b"Very bad error!", headers={"content-type": "text/plain"})
    assert answer.status_code == 202
    failed = await call
    assert (failed.status_code, failed.json()["message"]) == (500, "Very bad error!")


@everywhere
async def test_an_awakeable_is_resolved_by_another_handler(driver: Driver, key: str) -> None:
    call = asyncio.create_task(driver.post("AwakeableWaiter", key, "wait"))
    await driver.unlock(key, "from a handler")
    assert (await call).json() == "from a handler"


async def test_there_is_nothing_to_unlock_before_something_is_held(driver: Driver, key: str) -> None:
    assert await driver.call("AwakeableHolder", key, "hasAwakeable") is False
    assert (await driver.post("AwakeableHolder", key, "unlock", body="x")).status_code == 500


@only("default", "always-replay")
async def test_a_second_completion_is_known_or_refused_and_the_first_one_stands(driver: Driver, key: str) -> None:
    # The invocation has to be open meanwhile, so a second await follows the first.
    call = asyncio.create_task(driver.post("CancelTestBlockingService", key, "block", body="AWAKEABLE"))
    id = await driver.held(key)
    assert (await driver.resolve(id, b'"first"')).status_code == 202
    assert (await driver.resolve(id, b'"first"')).status_code == 202
    second = await driver.resolve(id, b'"second"')
    if driver.engine.name == "restate":  # accepts all of them: nothing but the outcome tells
        assert second.status_code == 202
        assert await driver.call("AwakeableHolder", key, "hasAwakeable") is True
    else:
        assert (second.status_code, driver.error(second)) == (409, "awakeable_already_completed")
    call.cancel()


async def test_what_the_waiting_type_refuses_is_told_to_the_resolver_and_the_awakeable_stays_open(
    driver: Driver, key: str
) -> None:
    call = asyncio.create_task(driver.post("AwakeableWaiter", key, "wait"))
    id = await driver.held(key)
    if driver.engine.name == "restate":  # the type is known to the waiting handler alone
        assert (await driver.resolve(id, b"17")).status_code == 202
        answer = await call
        assert (answer.status_code, driver.error(answer)) == (500, "not_serializable")
        return
    for body, kind in ((b"17", "application/json"), (b'{"a":', "application/json"), (b"\xff", "application/json")):
        assert (await driver.resolve(id, body, kind)).status_code == 400
    assert not call.done()
    assert (await driver.resolve(id, b'"right"')).status_code == 202
    assert (await call).json() == "right"


@only("default")
async def test_an_unknown_awakeable_is_404_and_a_malformed_id_400(driver: Driver, key: str) -> None:
    call = asyncio.create_task(driver.post("AwakeableWaiter", key, "wait"))
    id = await driver.held(key)
    # An id of Restate names an invocation and a number, and holds no secret: any well-formed id is accepted.
    forged = id[:-1] + ("A" if id[-1] != "A" else "Q")
    assert (await driver.resolve(forged, b'"x"')).status_code == driver.either(sqlite=400, restate=202)
    assert (await driver.resolve("prom_1", b'"x"')).status_code == 400
    assert (await driver.resolve("nonsense", b'"x"')).status_code == 400
    assert (await driver.resolve(id, b'"x"')).status_code == 202
    assert (await call).json() == "x"
    late = (await driver.resolve(id, b'"another"')).status_code
    assert late in driver.either(sqlite=(404, 409), restate=(202,))


@deadly
async def test_a_sleep_takes_at_least_the_time_asked(driver: Driver) -> None:
    started = time.monotonic()
    assert await driver.call("TestUtilsService", "sleepInTurn", body=[100, 200]) >= 0.299
    assert time.monotonic() - started >= 0.299


@everywhere
async def test_many_invocations_sleep_many_times_beside_each_other(driver: Driver) -> None:
    many = 50 if driver.engine.mode != "crash" or FULL else 10
    await asyncio.gather(
        *[driver.call("TestUtilsService", "sleepInTurn", body=[5 + n % 7] * 20) for n in range(many)],
        *[driver.call("TestUtilsService", "sleepConcurrently", body=[5] * 20) for _ in range(many)],
    )


@only("default")
@pytest.mark.timeout(400 if FULL else 120)
async def test_a_completion_that_was_acknowledged_survives_a_death_right_behind_it(driver: Driver, key: str) -> None:
    for n in range(40 if FULL else 2):
        each = f"{key}-{n}"
        id = await driver.send("AwakeableWaiter", each, "wait", once=each)
        answer = await driver.resolve(await driver.held(each), b'"told"')
        driver.engine.kill()
        assert answer.status_code == 202
        await asyncio.to_thread(driver.engine.start)
        assert (await asyncio.wait_for(driver.attach(id), 10)).json() == "told"


@pytest.mark.parametrize("how", ["kill", "stop"])
@only("default")
async def test_state_and_sleeps_survive_the_end_of_the_process(driver: Driver, key: str, how: str) -> None:
    """A sleep is neither shortened nor begun anew: half of it is over, so it ends before a shorter one that begins now."""
    sleep_s = driver.either(sqlite=4 * SCALE, restate=4.0)  # its server takes a second to be back
    await driver.call("Counter", key, "add", body=1)
    started = time.monotonic()
    id = await driver.send("TestUtilsService", "sleepInTurn", body=[int(sleep_s * 1000)], once=key)
    awaited = await driver.send("AwakeableWaiter", key, "wait", once=key)
    held = await driver.held(key)
    await driver.call("TestUtilsService", "sleepInTurn", body=[int(sleep_s * 500)])
    await asyncio.to_thread(driver.engine.kill if how == "kill" else driver.engine.stop)
    await asyncio.to_thread(driver.engine.start)
    later = asyncio.create_task(driver.call("TestUtilsService", "sleepInTurn", body=[int(sleep_s * 750)]))
    slept = asyncio.create_task(driver.attach(id))
    await asyncio.wait([slept, later], return_when=asyncio.FIRST_COMPLETED)
    assert slept.done(), "the sleep was begun anew"
    assert slept.result().status_code == 200
    assert time.monotonic() - started >= sleep_s - 0.01
    await later
    assert await driver.call("Counter", key, "get") == 1
    assert (await driver.resolve(held, b'"after"')).status_code == 202
    assert (await driver.attach(awaited)).json() == "after"
