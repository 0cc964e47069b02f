"""Restate's own Python client, unchanged: `restate.create_client` of PyPI's restate-sdk."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import restate
from restate.client_types import HttpError, RestateClient

from tests.conformance.driver import Driver
from tests.conformance.modes import only

# The client takes names and types from handlers as its SDK declares them. They are never run here.
counter = restate.VirtualObject("Counter")
utils = restate.Service("TestUtilsService")
block_and_wait = restate.Workflow("BlockAndWaitWorkflow")


@counter.handler()
async def add(ctx: restate.ObjectContext, value: int) -> dict[str, int]:
    raise NotImplementedError


@counter.handler(kind="shared")
async def get(ctx: restate.ObjectSharedContext) -> int:
    raise NotImplementedError


@counter.handler()
async def reset(ctx: restate.ObjectContext) -> None:
    raise NotImplementedError


@utils.handler("uppercaseEcho")
async def uppercase_echo(ctx: restate.Context, text: str) -> str:
    raise NotImplementedError


@utils.handler("echoHeaders")
async def echo_headers(ctx: restate.Context) -> dict[str, str]:
    raise NotImplementedError


@block_and_wait.main()
async def run(ctx: restate.WorkflowContext, text: str) -> str:
    raise NotImplementedError


@block_and_wait.handler()
async def unblock(ctx: restate.WorkflowSharedContext, output: str) -> None:
    raise NotImplementedError


@pytest.fixture
async def client(driver: Driver) -> AsyncIterator[RestateClient]:
    async with restate.create_client(driver.engine.ingress) as client:
        yield client


@only("default", "always-replay")
async def test_it_calls_objects_and_services(client: RestateClient, key: str) -> None:
    assert await client.object_call(add, key, 5) == {"oldValue": 0, "newValue": 5}
    assert await client.object_call(get, key, None) == 5
    await client.object_call(reset, key, None)
    assert await client.object_call(get, key, None) == 0
    assert await client.service_call(uppercase_echo, "hello") == "HELLO"
    assert (await client.service_call(echo_headers, None, headers={"x-mine": "1"}))["x-mine"] == "1"


@only("default")
async def test_it_sends_now_and_later(client: RestateClient, driver: Driver, key: str) -> None:
    now = await client.object_send(add, key, 1)
    if driver.engine.name == "restate":  # refuses the bare number of milliseconds that its own client sends
        with pytest.raises(HttpError) as refused:
            await client.object_send(add, key, 2, send_delay=timedelta(milliseconds=300))
        assert refused.value.status_code == 400
        return
    later = await client.object_send(add, key, 2, send_delay=timedelta(milliseconds=300))
    assert (await driver.attach(now.invocation_id)).json()["newValue"] == 1
    assert (await driver.output(later.invocation_id)).status_code == 470
    assert (await driver.attach(later.invocation_id)).json()["newValue"] == 3


@only("default")
async def test_its_idempotency_keys_make_one_invocation_of_several_requests(
    client: RestateClient, driver: Driver, key: str
) -> None:
    assert [await client.object_call(add, key, 4, idempotency_key="k") for _ in range(2)] == [
        {"oldValue": 0, "newValue": 4}
    ] * 2
    sent = [(await client.object_send(add, key, 4, idempotency_key="s")).invocation_id for _ in range(2)]
    assert sent[0] == sent[1]
    await driver.until(lambda: client.object_call(get, key, None), 8)  # a reader may be quicker than the message


@only("default")
async def test_it_talks_to_workflows(client: RestateClient, driver: Driver, key: str) -> None:
    sent = await client.workflow_send(run, key, "input")
    await client.workflow_call(unblock, key, "output")
    if driver.engine.name == "restate":
        with pytest.raises(HttpError) as refused:
            await client.workflow_call(run, key, "input")
        assert refused.value.status_code == 409
    else:
        assert await client.workflow_call(run, key, "input") == "output"
    assert (await driver.attach(sent.invocation_id)).json() == "output"


@only("default")
async def test_it_calls_by_name_with_bytes(client: RestateClient, driver: Driver, key: str) -> None:
    if driver.engine.name == "restate":  # refuses a body without a content type, as its own client sends it
        with pytest.raises(HttpError) as refused:
            await client.generic_call("Counter", "add", b"3", key=key)
        assert refused.value.status_code == 400
        return
    assert json.loads(await client.generic_call("Counter", "add", b"3", key=key)) == {"oldValue": 0, "newValue": 3}
    assert await client.generic_call("Counter", "get", b"", key=key) == b"3"
    assert (await client.generic_send("Counter", "add", b"1", key=key)).invocation_id.startswith("inv_1")
    sent = bytes(range(256))
    assert await client.generic_call("TestUtilsService", "rawEcho", sent) == sent


@only("default")
@pytest.mark.parametrize("special", ["a/b", "100%", "with spaces", "ключ-🔑", "?query#fragment"])
async def test_it_reaches_any_key_that_is_percent_encoded_for_it(
    client: RestateClient, driver: Driver, special: str
) -> None:
    special += uuid.uuid4().hex  # it puts keys into its paths as they are given
    await client.object_call(add, quote(special, safe=""), 1)
    assert await driver.call("Counter", special, "get") == 1


@only("default")
async def test_it_raises_what_a_handler_failed_with(client: RestateClient, driver: Driver, key: str) -> None:
    argument: Any = json.dumps({"errorMessage": "my-error"}).encode()
    with pytest.raises(HttpError) as failed:
        await client.generic_call("Failing", "terminallyFailingCall", argument, key=key)
    if driver.engine.name == "restate":  # as above
        assert failed.value.status_code == 400
        return
    assert failed.value.status_code == 500
    assert json.loads(failed.value.body or "")["message"] == "my-error"
