"""Requests to the admin API: what they ask, and what errors say; with answers that are made here, and with a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from actors.cli.restate.awakeable_commands import open_awakeables
from actors.errors import ActorsError, ServerUnreachable
from actors.transport.restate import records
from actors.transport.restate.admin import Admin, Operated, discovered
from tests.restate_servers.releases import server_in
from tests.restate_servers.servers import RestateServer, free_port, missing

URL = "http://restate:9070"
KIND = "application/vnd.restate.endpointmanifest.v4+json"
VERSION = {"version": "1.7.12", "min_admin_api_version": 2}


def answering(reply: Callable[[httpx.Request], httpx.Response]) -> httpx.MockTransport:
    return httpx.MockTransport(reply)


def admin(status: int, body: Any, asked: list[tuple[str, str, Any]] | None = None) -> Admin:
    """An admin API that always gives this answer."""

    def reply(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            content = json.loads(request.content) if request.content else None
            asked.append((request.method, request.url.raw_path.decode(), content))
        return httpx.Response(status, text=body) if isinstance(body, str) else httpx.Response(status, json=body)

    return Admin(URL, answering(reply))


# --- what is asked ------------------------------------------------------------------------------------------------------


async def test_a_registration_names_the_endpoint_and_how_it_is_reached() -> None:
    asked: list[tuple[str, str, Any]] = []
    service = {"name": "C", "ty": "Service", "handlers": [{"name": "h"}], "deployment_id": "dp_1", "revision": 3}
    async with admin(201, {"id": "dp_1", "services": [service]}, asked) as server:
        registered = await server.register("http://shop:9080", http1=True, breaking=True)
    given = {"uri": "http://shop:9080", "use_http_11": True, "force": False, "breaking": True, "dry_run": False}
    assert asked == [("POST", "/deployments", given)]
    assert (registered.id, registered.new) == ("dp_1", True)
    assert registered.services == {"C": {"name": "C", "ty": "Service", "handlers": {"h": {"name": "h"}}}}


async def test_a_known_url_is_not_a_new_registration() -> None:
    async with admin(200, {"id": "dp_1", "services": []}) as server:
        assert not (await server.register("http://shop:9080")).new


@pytest.mark.parametrize(
    ("protocol", "streams"), [("BidiStream", True), ("RequestResponse", False), ("New", None), (None, None)]
)
async def test_a_deployment_streams_or_not_as_far_as_is_known(protocol: str | None, streams: bool | None) -> None:
    asked: list[tuple[str, str, Any]] = []
    async with admin(200, {"id": "dp_1", "protocol_type": protocol}, asked) as server:
        assert await server.streams("dp_1") is streams
    assert asked == [("GET", "/deployments/dp_1", None)]


async def test_open_invocations_count_where_they_end() -> None:
    rows = [
        {"deployment": "dp_old", "service": "C", "invocations": 2},
        {"service": "C", "invocations": 3},  # not begun: of the current release
        {"service": "Gone", "invocations": 9},
    ]

    def reply(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/deployments":
                old = {"id": "dp_old", "uri": "http://a/", "created_at": "2026-01-01", "services": [{"name": "C"}]}
                new = {"id": "dp_new", "arn": "arn:b", "created_at": "2026-01-02", "services": [{"name": "C"}]}
                return httpx.Response(200, json={"deployments": [new, old]})
            case "/services":
                return httpx.Response(200, json={"services": [{"name": "C", "deployment_id": "dp_new"}]})
            case _:
                return httpx.Response(200, json={"rows": rows})

    async with Admin(URL, answering(reply)) as server:
        old, new = await server.deployments()
    assert (old.id, old.url, old.open, old.current) == ("dp_old", "http://a/", 2, ())
    assert (new.id, new.url, new.open, new.current) == ("dp_new", "arn:b", 3, ("C",))


async def test_names_in_paths_are_encoded() -> None:
    asked: list[tuple[str, str, Any]] = []
    async with admin(202, {}, asked) as server:
        await server.remove("dp_1/../x")
        await server.kill("inv_1?")
        await server.clear_state("a b", "k/1")
    assert asked == [
        ("DELETE", "/deployments/dp_1%2F..%2Fx?force=true", None),
        ("PATCH", "/invocations/inv_1%3F/kill", None),
        ("POST", "/services/a%20b/state", {"object_key": "k/1", "new_state": {}}),
    ]


@pytest.mark.parametrize("status", [404, 409])
async def test_an_invocation_that_is_over_need_not_be_killed(status: int) -> None:
    async with admin(status, {"message": "was already completed"}) as server:
        await server.kill("inv_1")


# --- what errors say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"message": "[META0003] no", "restate_code": "META0003"}, r"\[META0003\] no"),
        ("Invalid URL: no", "Invalid URL: no"),
        ("", "Internal Server Error"),
        ([1], r"\[1\]"),
    ],
)
async def test_a_refusal_has_the_text_of_the_server(body: Any, said: str) -> None:
    async with admin(500, body) as server:
        with pytest.raises(ActorsError, match=rf"The restate-server at {URL} refuses it \(500\): {said}"):
            await server.query("SELECT 1")


async def test_a_server_that_does_not_answer_is_named() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with Admin(URL, answering(reply)) as server:
        with pytest.raises(ServerUnreachable, match=rf"No restate-server answers at {URL} \(refused\).*--restate"):
            await server.check()


@pytest.mark.parametrize("body", ["hello", {"version": "1.7.12"}, [], {"code": 400, "message": "bad path"}])
async def test_another_server_is_not_taken_for_the_admin_api(body: Any) -> None:
    async with admin(200, body) as server:
        with pytest.raises(ActorsError, match="is not the admin API of a restate-server"):
            await server.check()


@pytest.mark.parametrize(
    ("version", "supported"), [("1.4.9", False), ("1.5.0", True), ("1.10.0-rc.1", True), ("2.0", True)]
)
async def test_a_server_that_is_too_old_is_refused(version: str, supported: bool) -> None:
    async with admin(200, VERSION | {"version": version}) as server:
        if supported:
            assert await server.check() == version
        else:
            with pytest.raises(ActorsError, match=f"restate-server {version} at {URL} is not supported. Install 1.5"):
                await server.check()


@pytest.mark.parametrize(
    "text",
    [
        "node lookup for partition 0 failed",
        "expecting a partition store",
        "partition 1 doesn't exist on this node",
        "rpc for partition 0 at node N1:2 failed: not leader",
    ],
)
@pytest.mark.parametrize("status", [500, 503])
async def test_every_request_waits_until_a_server_that_starts_can_answer(text: str, status: int) -> None:
    def answers(last: httpx.Response) -> Admin:
        replies = iter([httpx.Response(status, json={"message": f"External error: {text}"}), last])
        return Admin(URL, answering(lambda _: next(replies)))

    async with answers(httpx.Response(200, json={"rows": [{"n": 1}]})) as server:
        assert await server.query("SELECT 1") == [{"n": 1}]
    async with answers(httpx.Response(202)) as server:
        assert await server.operate("cancel", "inv_1") == Operated("requested")
    async with answers(httpx.Response(200)) as server:
        await server.clear_state("Order", "o")
    async with answers(httpx.Response(404)) as server:
        await server.kill("inv_1")


async def test_a_server_that_does_not_say_what_is_awaited_is_named() -> None:
    queries: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return httpx.Response(200, json=VERSION)
        queries.append(json.loads(request.content)["query"])
        return httpx.Response(200, json={"rows": []})

    async with Admin(URL, answering(reply)) as server:
        with pytest.raises(ActorsError, match=f"The restate-server at {URL} does not say .* Upgrade it to 1.7."):
            await open_awakeables(server, None, None, None)
    assert queries == [records.HAS_AWAKEABLES]


# --- an endpoint --------------------------------------------------------------------------------------------------------


async def test_the_newest_document_of_an_endpoint_is_read() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        assert (request.headers["accept"], request.url.path) == (KIND, "/discover")
        return httpx.Response(200, content=b'{"services": []}', headers={"content-type": KIND})

    assert await discovered("http://shop:9080/", answering(reply)) == {"services": []}


async def test_an_endpoint_for_signed_requests_gives_no_document() -> None:
    assert await discovered("http://shop:9080", answering(lambda _: httpx.Response(401))) is None


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(200, text="hello"),
        httpx.Response(200, content=b"{}", headers={"content-type": KIND}),
        httpx.Response(500, content=b'{"services": []}', headers={"content-type": KIND}),
    ],
)
async def test_other_answers_do_not_count_as_an_endpoint(answer: httpx.Response) -> None:
    with pytest.raises(ActorsError, match="http://shop:9080 answers, but not as an endpoint of this release"):
        await discovered("http://shop:9080", answering(lambda _: answer))


# --- a real server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    with server_in(tmp_path_factory.mktemp("restate")) as server:
        yield server


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
async def test_a_real_server_is_recognised_by_its_admin_api(server: RestateServer) -> None:
    async with Admin(server.admin) as there:
        assert await there.check() and await there.deployments() == []
        assert await there.query("SELECT id FROM sys_invocation") == []
        with pytest.raises(ActorsError, match=r"table 'restate\.public\.nothing' not found"):
            await there.query("SELECT * FROM nothing")
        with pytest.raises(ActorsError, match="refuses it"):
            await there.remove("dp_1")
        await there.kill("inv_1dceKvwtEc2n1m3YksDVtZzSCissfKMMj5")
        with pytest.raises(ActorsError, match="META0003"):
            await there.register(f"http://127.0.0.1:{free_port()}")
    async with Admin(server.ingress) as elsewhere:
        with pytest.raises(ActorsError, match="is not the admin API"):
            await elsewhere.check()
