"""Our clients and their commands on the ingress of a restate-server, as on `actors serve`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from actors import TerminalError
from actors.cli.commands import cli
from actors.errors import (
    AwakeableRejected,
    BadArguments,
    InvocationKilled,
    NotReady,
    UnknownHandler,
    UnknownInvocation,
    UnknownService,
)
from actors.transport.client import Client, SyncClient
from tests.restate_servers import operated_app
from tests.restate_servers.endpoints import Endpoints
from tests.restate_servers.operated_app import Desk
from tests.restate_servers.releases import server_in
from tests.restate_servers.servers import RestateServer, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

NOTHING = "inv_1dceKvwtEc2n1m3YksDVtZzSCissfKMMj5"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    endpoints = Endpoints()
    try:
        with server_in(tmp_path_factory.mktemp("restate")) as server:
            server.register(endpoints.serve(operated_app.app))
            until(lambda: httpx.post(f"{server.ingress}/Desk/first/add", json=1, timeout=30).status_code == 200)
            yield server
    finally:
        endpoints.close()


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)  # waits for a real process


def typed(server: RestateServer, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--url", server.ingress])


# --- clients ------------------------------------------------------------------------------------------------------------


async def test_a_client_calls_and_sends_by_class_and_by_name(server: RestateServer) -> None:
    async with Client(server.ingress) as client:
        desk = client.object(Desk, "a b/ü%")
        assert await desk.add(2) == 2
        handle = await desk.add.send(3)
        assert await handle.result() == 5
        assert await client.call("Desk", "a b/ü%", "add", by=1) == 6
        later = await desk.add.options(delay=0.05).send(4)
        assert await later.result() == 10


async def test_a_key_of_a_call_makes_one_invocation_of_two(server: RestateServer) -> None:
    async with Client(server.ingress) as client:
        add = client.object(Desk, "keyed").add.options(idempotency_key="k")
        assert [await add(2), await add(2)] == [2, 2]
        again = await add.send(2)
        assert again.previously_accepted and await client.invocation_of(add).result() == 2


def test_a_blocking_client_calls_sends_and_attaches(server: RestateServer) -> None:
    with SyncClient(server.ingress) as client:
        add = client.object(Desk, "blocking").add
        assert client.call(add, 2) == 2
        assert client.invocation(client.send(add, 3).id).result() == 5


async def test_errors_are_of_the_classes_that_our_server_has(server: RestateServer) -> None:
    async with Client(server.ingress) as client:
        with pytest.raises(TerminalError, match="never") as refused:
            await client.object(Desk, "refuses").refuse()
        assert refused.value.code == 409
        with pytest.raises(BadArguments, match="argument 'by'"):
            await client.call("Desk", "a", "add", "x")
        with pytest.raises(UnknownService):
            await client.call("Nobody", "a", "add")
        with pytest.raises(UnknownHandler):
            await client.call("Desk", "a", "subtract")
        with pytest.raises(UnknownInvocation):
            await client.invocation(NOTHING).output()
        sleeping = await client.object(Desk, "sleeps").sleep.send()
        with pytest.raises(NotReady):
            await sleeping.output()
        async with httpx.AsyncClient() as admin:
            await admin.patch(f"{server.admin}/invocations/{sleeping.id}/kill")
        with pytest.raises(InvocationKilled):
            await sleeping.result()


# --- commands -----------------------------------------------------------------------------------------------------------


def test_the_commands_of_callers_call_and_send(server: RestateServer) -> None:
    assert typed(server, "call", "Desk/typed/add", "5").stdout == "5\n"
    assert typed(server, "call", "Desk/typed/add", "by=2").stdout == "7\n"
    assert typed(server, "call", "Desk/typed/write", "no quotes").exit_code == 0
    sent = typed(server, "send", "Desk/typed/add", "1", "--key", "once")
    again = typed(server, "send", "Desk/typed/add", "1", "--key", "once")
    assert sent.stdout == again.stdout and again.stderr == "accepted before, under this key\n"
    wrong = typed(server, "call", "Desk/typed/add", "x")
    assert wrong.exit_code == 1 and "argument 'by'" in wrong.stderr


def test_the_commands_of_callers_complete_awakeables(server: RestateServer) -> None:
    operated_app.given.clear()
    with SyncClient(server.ingress) as client:
        waiting = client.send(client.object(Desk, "waits").wait)
        until(lambda: len(operated_app.given) >= 2)
        first, second = dict.fromkeys(operated_app.given)  # attempts repeat them
        for id, words in ((first, ["yes, "]), (second, ["--text", "7"])):
            assert typed(server, "resolve", id, *words).stdout == f"{id} resolved\n"
        assert waiting.result() == "yes, 7"
        operated_app.given.clear()
        waiting = client.send(client.object(Desk, "waits").wait)
        until(lambda: operated_app.given)
        assert typed(server, "reject", operated_app.given[0], "not today").exit_code == 0
        with pytest.raises(AwakeableRejected, match="not today"):
            waiting.result()
