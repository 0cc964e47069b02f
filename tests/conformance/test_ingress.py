"""What the ingress passes on, refuses, and knows by idempotency key."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.conformance.driver import Driver
from tests.conformance.modes import SCALE, deadly, everywhere, only

KEYS = ["a/b", "100%", "a%2Fb", "with spaces ", "ключ-鍵-🔑", "?query#fragment", "a+b&c=d", "send"]


@everywhere
async def test_custom_headers_reach_the_handler(driver: Driver) -> None:
    answer = await driver.request(
        "POST", "/TestUtilsService/echoHeaders", headers={"x-custom": "value", "X-Other": "2"}
    )
    seen = answer.json()
    assert (answer.status_code, seen["x-custom"], seen["x-other"]) == (200, "value", "2")


@everywhere
async def test_bytes_pass_unchanged(driver: Driver) -> None:
    sent = random.Random(1).randbytes(100)
    answer = await driver.post("TestUtilsService", "rawEcho", body=sent)
    assert (answer.status_code, answer.content) == (200, sent)
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_bytes_pass_unchanged_from_handler_to_handler(driver: Driver) -> None:
    sent = list(random.Random(2).randbytes(100))
    request = {"serviceName": "TestUtilsService", "handlerName": "rawEcho", "message": sent}
    assert await driver.call("Proxy", "call", body=request) == sent


@everywhere
async def test_a_private_service_is_for_handlers_alone(driver: Driver, key: str) -> None:
    answer = await driver.post("PrivateCounter", key, "add", body=1)
    assert answer.status_code == 400
    assert driver.error(answer) == driver.either(sqlite="private_handler", restate=None)  # its ingress refuses it
    request = driver.proxied("PrivateCounter", "get", virtualObjectKey=key)
    assert bytes(await driver.call("Proxy", "call", body=request)) == b"0"


@pytest.mark.parametrize("special", KEYS)
async def test_a_key_may_hold_any_character(driver: Driver, key: str, special: str) -> None:
    special += key
    assert (await driver.call("Counter", special, "add", body=3))["oldValue"] == 0
    request = driver.proxied("Counter", "add", 4, virtualObjectKey=special)
    assert bytes(await driver.call("Proxy", "call", body=request)) == b'{"oldValue":3,"newValue":7}'
    await driver.send("Counter", special, "add", body=1, once="k")
    path = f"/restate/invocation/Counter/{_quoted(special)}/add/k/attach"
    assert (await driver.request("GET", path)).json() == {"oldValue": 7, "newValue": 8}


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


# --- idempotency --------------------------------------------------------------------------------------------------------------


@deadly
async def test_calls_under_one_key_are_one_invocation(driver: Driver, key: str) -> None:
    answers = await asyncio.gather(*[driver.post("Counter", key, "add", body=2, once=key) for _ in range(4)])
    assert [answer.json() for answer in answers] == [{"oldValue": 0, "newValue": 2}] * 4
    assert len({answer.headers["x-restate-id"] for answer in answers}) == 1
    if driver.engine.name == "restate":  # the answer to the call itself does not say so
        id = answers[0].headers["x-restate-id"]
        answers = [await driver.attach(id), await driver.output(id)]
    assert all("idempotency-expires" in answer.headers for answer in answers)
    other = await driver.call("Counter", key, "add", body=2, once=key + "-other")
    assert other == {"oldValue": 2, "newValue": 4}


@everywhere
async def test_a_send_under_a_known_key_tells_the_first_invocation(driver: Driver, key: str) -> None:
    first = (await driver.post("Counter", key, "add", "send", body=2, once=key)).json()
    again = await driver.post("Counter", key, "add", "send", body=2, once=key)
    assert (again.status_code, again.json()["status"]) == (202, "PreviouslyAccepted")
    assert again.json()["invocationId"] == first["invocationId"]
    assert first["status"] == "Accepted" or driver.dies  # a repeated request finds its own first one
    await driver.until(lambda: driver.call("Counter", key, "get"), 2)


@everywhere
async def test_calls_and_sends_between_services_know_idempotency_keys_too(driver: Driver, key: str) -> None:
    request = driver.proxied("Counter", "add", 2, virtualObjectKey=key, idempotencyKey=key)
    first = await driver.call("Proxy", "call", body=request)
    assert await driver.call("Proxy", "call", body=request) == first
    ids = [await driver.call("Proxy", "oneWayCall", body=request) for _ in range(2)]
    assert ids[0] == ids[1] == (await driver.post("Counter", key, "add", body=2, once=key)).headers["x-restate-id"]
    assert await driver.call("Counter", key, "get") == 2


@deadly
async def test_attach_blocks_and_output_says_not_ready_until_there_is_an_outcome(driver: Driver, key: str) -> None:
    id = await driver.send("AwakeableWaiter", key, "wait", once=key)
    by_key = f"/restate/invocation/AwakeableWaiter/{key}/wait/{key}"
    attached = [
        asyncio.create_task(driver.attach(id)),
        asyncio.create_task(driver.request("GET", by_key + "/attach")),
        asyncio.create_task(driver.post("AwakeableWaiter", key, "wait", once=key)),
    ]
    await driver.held(key)
    assert (await driver.output(id)).status_code == 470
    assert (await driver.request("GET", by_key + "/output")).status_code == 470
    assert not any(task.done() for task in attached)
    await driver.unlock(key, "the outcome")
    assert [answer.json() for answer in await asyncio.gather(*attached)] == ["the outcome"] * 3
    assert (await driver.output(id)).json() == (await driver.request("GET", by_key + "/output")).json() == "the outcome"


async def test_an_idempotency_key_with_another_body_is_refused(driver: Driver, key: str) -> None:
    await driver.call("Counter", key, "add", body=1, once=key)
    answer = await driver.post("Counter", key, "add", body=2, once=key)
    if driver.engine.name == "restate":  # it does not look at the body
        assert (answer.status_code, answer.json()) == (200, {"oldValue": 0, "newValue": 1})
    else:
        assert (answer.status_code, driver.error(answer)) == (422, "idempotency_key_reused")
    assert await driver.call("Counter", key, "get") == 1


@only("short-retention")
async def test_after_its_retention_an_idempotency_key_is_a_new_one(driver: Driver, key: str) -> None:
    first = await driver.post("Counter", key, "add", body=1, once=key)
    assert first.json() == {"oldValue": 0, "newValue": 1}
    assert ("idempotency-expires" in first.headers) == driver.either(sqlite=True, restate=False)

    async def again() -> int:
        return int((await driver.call("Counter", key, "add", body=1, once=key))["newValue"])

    await driver.until(again, 2)
    # Restate keeps the journal, and with it the outcome, for the retention of the handler.
    known = await driver.attach(first.headers["x-restate-id"])
    assert known.status_code == driver.either(sqlite=404, restate=200)


@only("default")
async def test_what_nobody_knows_is_404_and_what_is_no_id_400(driver: Driver, key: str) -> None:
    for op in ("attach", "output"):
        assert (await driver.request("GET", f"/restate/invocation/Counter/{key}/add/unused/{op}")).status_code == 404
        assert (await driver.request("GET", f"/restate/invocation/inv_1nonsense/{op}")).status_code == 400
    assert (await driver.post("Counter", key, "subtract", body=1)).status_code == 404
    assert (await driver.post("Nobody", "add", body=1)).status_code == 404


# --- delays -------------------------------------------------------------------------------------------------------------------


@everywhere
async def test_delayed_sends_to_one_key_finish_together(driver: Driver, key: str) -> None:
    """The delay passes first, then they queue: ten of them take as long as one."""
    started = asyncio.get_running_loop().time()
    delay_s = 5 * SCALE
    ids = await asyncio.gather(
        *[driver.send("Counter", key, "add", body=1, delay=f"PT{delay_s:g}S") for _ in range(10)]
    )
    assert await driver.call("Counter", key, "get") == 0 or driver.dies
    await asyncio.gather(*[driver.attach(id) for id in ids])
    took = asyncio.get_running_loop().time() - started
    assert await driver.call("Counter", key, "get") == 10
    assert delay_s - 0.01 <= took < 2 * delay_s + (60 if driver.dies else 1)
