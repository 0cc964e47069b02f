"""Who may ask: tokens, addresses, proxies, browsers; how large a request may be; and what no answer tells."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from actors import App, Context, VirtualObject, handler
from actors.errors import DefinitionError
from actors.http_options import HttpOptions
from actors.journal.ids import IdMint
from tests.http.asgi import Answer, ask
from tests.world import World

ADMIN = "/restate/admin/invocations"
handed_out: list[str] = []


class Door(VirtualObject):
    opened: int = 0

    @handler
    async def open(self) -> int:
        self.opened += 1
        return self.opened

    @handler
    async def hold(self, ctx: Context) -> int:
        first, second = ctx.awakeable(int), ctx.awakeable(int)
        await ctx.run(handed_out.extend, [first.id, second.id])
        return await first + await second

    @handler(private=True)
    async def cellar(self) -> int:
        return self.opened


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
async def app() -> AsyncIterator[App]:
    handed_out.clear()
    async with App(Door, storage="sqlite://") as app:
        yield app


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None])
async def test_whoever_sits_at_the_machine_may_ask(app: App, client: str | None) -> None:
    assert (await ask(app, "GET", ADMIN, client=client, host="localhost:8080")).status == 200


@pytest.mark.parametrize("client", ["10.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "fe80::1%eth0", "0.0.0.0", "testclient"])
async def test_remote_addresses_are_refused(app: App, client: str) -> None:
    for method, path in (("GET", ADMIN), ("POST", f"{ADMIN}/x/kill"), ("PATCH", "/restate/admin/state/Door/a")):
        answer = await ask(app, method, path, b"{}", client=client)
        assert (answer.status, answer.json["error"]) == (403, "admin_refused")


async def test_a_client_that_hung_up_is_not_taken_for_a_unix_socket(app: App) -> None:
    for server in (("10.0.0.5", 8080), None):

        async def behind(scope: dict[str, Any], receive: Any, send: Any, server: Any = server) -> None:
            await app({**scope, "server": server}, receive, send)

        assert (await ask(behind, "GET", ADMIN, client=None)).status == 403


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip", "via", "cf-connecting-ip"])
async def test_what_came_through_a_proxy_is_refused_because_everybody_looks_local_there(app: App, header: str) -> None:
    assert (await ask(app, "GET", ADMIN, headers={header: "127.0.0.1"})).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example:8080"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "0.0.0.0:8080"},
        {"host": "localhost:80@evil.example"},
    ],
)
async def test_web_pages_and_names_of_others_are_refused(app: App, headers: dict[str, str]) -> None:
    for method in ("GET", "POST"):
        assert (await ask(app, method, ADMIN, headers=headers)).status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]"])
async def test_the_names_of_this_machine_are_accepted(app: App, host: str) -> None:
    assert (await ask(app, "GET", ADMIN, host=host)).status == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b"]
)
async def test_what_a_form_can_send_changes_nothing(app: App, content_type: str) -> None:
    id = (await ask(app, "POST", "/Door/a/open")).headers["x-restate-id"]
    assert (await ask(app, "POST", f"{ADMIN}/{id}/purge", content_type=content_type)).status == 415
    patch = await ask(app, "PATCH", "/restate/admin/state/Door/a", b'{"set": {"opened": 9}}', content_type=content_type)
    assert patch.status == 415
    assert (await app.describe(id)).status == "succeeded"
    assert (await app.state(Door, "a")).values == {"opened": 1}


async def test_an_admin_token_is_wanted_from_everybody_and_lets_in_whoever_has_it() -> None:
    async with App(Door, storage="sqlite://", http=HttpOptions(admin_token=["old-one", "new-one"])) as app:
        for client in ("127.0.0.1", "10.0.0.1", None):
            missing = await ask(app, "GET", ADMIN, client=client)
            assert (missing.status, missing.json["error"]) == (401, "token_missing")
            assert missing.headers["www-authenticate"] == 'Bearer realm="actors"'
            for given in ("Bearer other", "Bearer ", "Bearer old-onex", "Basic old-one", "old-one", "Bearer é"):
                wrong = await ask(app, "GET", ADMIN, client=client, authorization=given)
                assert (wrong.status, wrong.json["error"]) == (401, "token_wrong")
            for token in ("old-one", "new-one"):
                more = {**bearer(token), "origin": "http://panel.example", "x-forwarded-for": "1.2.3.4"}
                assert (await ask(app, "GET", ADMIN, client=client, headers=more)).status == 200
        assert (await ask(app, "POST", "/Door/a/open", client="10.0.0.1")).status == 200  # the ingress wants none


async def test_a_token_is_wanted_by_all_of_the_ingress_and_nothing_is_told_without_it() -> None:
    async with App(Door, storage="sqlite://", http=HttpOptions(token="t", admin_token="a")) as app:
        for method, path in (
            ("POST", "/Door/a/open"),
            ("POST", "/Nobody/a/open"),
            ("POST", "/Door/a/open/send"),
            ("GET", "/restate/invocation/inv_1x/attach"),
            ("POST", "/restate/awakeables/prom_1x/resolve"),
            ("GET", "/openapi.json"),
            ("GET", "/nowhere"),
            ("GET", "/restate/%61dmin/invocations"),
        ):
            answer = await ask(app, method, path)
            assert (answer.status, answer.json["error"]) == (401, "token_missing")
            assert "www-authenticate" in answer.headers
        assert (await ask(app, "POST", "/Door/a/open", headers=bearer("t"))).json == 1
        assert (await ask(app, "POST", "/Door/a/open", headers=bearer("a"))).json == 2
        assert (await ask(app, "POST", "/Door/a/open", authorization="bearer t")).json == 3
        assert (await ask(app, "GET", ADMIN, headers=bearer("t"))).status == 401  # a user is no admin
        health = await ask(app, "GET", "/restate/health")
        assert (health.status, health.json) == (200, {"status": "ok", "services": []})
        assert (await ask(app, "GET", "/restate/health", headers=bearer("t"))).json["services"]


async def test_the_admin_routes_can_be_taken_away() -> None:
    async with App(Door, storage="sqlite://", http=HttpOptions(admin=False, admin_token="a")) as app:
        assert (await ask(app, "GET", ADMIN, headers=bearer("a"))).status == 404


@pytest.mark.parametrize("token", ["", [], [""], "two words", "ä", 5, ["a", None], "line\n"])
def test_a_token_that_is_none_is_refused_when_the_app_is_made(token: Any) -> None:
    for name in ("token", "admin_token"):
        with pytest.raises(DefinitionError, match=name):
            HttpOptions(**{name: token})
    for name in ("max_url", "max_headers", "max_header_bytes"):
        with pytest.raises(DefinitionError, match=name):
            HttpOptions(**{name: cast(Any, 0)})


def test_tokens_are_not_shown_with_the_options() -> None:
    assert "s3cret" not in repr(HttpOptions(token="s3cret", admin_token=["s3cret"]))


async def test_urls_and_headers_beyond_the_limits_are_refused_and_those_within_are_not() -> None:
    options = HttpOptions(max_url=100, max_headers=5, max_header_bytes=200)
    async with App(Door, storage="sqlite://", http=options) as app:
        path = "/Door/" + "k" * 77 + "/open/send?delay=1"
        for target, status in ((path, 202), (path + "0", 414), ("/" + "x" * 100, 414)):
            assert (await ask(app, "POST", target)).status == status
        for headers, status in (
            ({f"h{n}": "v" for n in range(5)}, 200),
            ({f"h{n}": "v" for n in range(6)}, 431),
            ({"h": "v" * 199}, 200),
            ({"h": "v" * 200}, 431),
        ):
            answer = await ask(app, "POST", "/Door/a/open", headers=headers)
            assert answer.status == status


async def test_no_answer_tells_of_a_traceback_a_path_or_a_private_handler(app: App) -> None:
    answers = [
        await ask(app, "GET", "/restate/health"),
        await ask(app, "POST", "/Door/a/nothing"),
        await ask(app, "POST", "/Door/a/open", b"{"),
        await ask(app, "GET", "/openapi.json"),
        await ask(app, "GET", f"{ADMIN}?service=Door"),
    ]
    for answer in answers:
        assert b"cellar" not in answer.body and not _tells(answer)
    assert b"cellar" not in (await ask(app, "GET", "/docs")).body


def _tells(answer: Answer) -> bool:
    return any(word in answer.body for word in (b"Traceback", b".py", b"File ", b"/srv/", b"line "))


@pytest.mark.expects_log("A request was answered with 500")
async def test_an_error_inside_is_500_or_503_without_its_text() -> None:
    async with World(Door) as world:

        async def on_fire(*_: Any, **__: Any) -> None:
            raise OSError("/srv/secret.db is on fire")

        id = (await ask(world.app, "POST", "/Door/a/open")).headers["x-restate-id"]
        reads = ("invocation", "listed", "pending_awakeables", "state", "story", "find")
        for name in reads:
            setattr(world.store, name, on_fire)
        for method, path in (
            ("GET", ADMIN),
            ("GET", f"{ADMIN}/{id}"),
            ("GET", "/restate/admin/awakeables"),
            ("GET", "/restate/admin/state/Door/a"),
            ("POST", f"{ADMIN}/{id}/purge"),
            ("GET", f"/restate/invocation/{id}/output"),
            ("GET", "/restate/invocation/Door/a/open/k/output"),
        ):
            answer = await ask(world.app, method, path)
            assert (answer.status, answer.json["error"]) == (500, "internal_error")
            assert b"fire" not in answer.body and not _tells(answer)
        world.store.crash()
        for _ in range(2):
            answer = await ask(world.app, "POST", "/Door/a/open")
            assert answer.status == 503 and not _tells(answer)
        for name in reads:
            delattr(world.store, name)


async def test_knowing_ids_of_awakeables_does_not_help_to_name_another(app: App) -> None:
    tasks = [asyncio.create_task(ask(app, "POST", f"/Door/{key}/hold")) for key in "ab"]
    while len(handed_out) < 4:
        await app.awakeables()
    known = set(handed_out)
    raws = [base64.urlsafe_b64decode(id.removeprefix("prom_1") + "==") for id in known]
    tried: set[bytes] = set()
    for raw in raws:
        tried |= {
            bytes(b ^ (1 << bit) if at == place else b for at, b in enumerate(raw))
            for place in range(24)
            for bit in range(8)
        }
        for other in raws:  # the body of one with the secret part of another, and parts of both
            tried |= {raw[:cut] + other[cut:] for cut in range(25)}
        partition, seq, index = raw[:2], int.from_bytes(raw[2:10], "big"), int.from_bytes(raw[10:14], "big")
        for near in range(-3, 4):
            for further in range(-3, 4):
                body = (
                    partition + (max(seq + near, 0)).to_bytes(8, "big") + (max(index + further, 0)).to_bytes(4, "big")
                )
                tried.add(body + raw[14:])
                tried.add((1).to_bytes(2, "big") + body[2:] + raw[14:])
    seqs = {int.from_bytes(raw[2:10], "big") for raw in raws}
    forged = {IdMint(bytes(32)).awakeable(seq, index) for seq in seqs for index in range(1, 4)}
    forged |= {"prom_1" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in tried} - known
    assert len(forged) > 900
    for id in forged:
        answer = await ask(app, "POST", f"/restate/awakeables/{id}/resolve", b"7")
        assert (answer.status, answer.json["error"]) == (400, "malformed_id")
    assert {one.id for one in await app.awakeables()} == known
    for id in known:
        assert (await ask(app, "POST", f"/restate/awakeables/{id}/resolve", json.dumps(1).encode())).status == 202
    assert [(await task).json for task in tasks] == [2, 2]
