"""The console's files, who may load them, and who may ask what they ask."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from actors import App, VirtualObject, handler
from actors.errors import DefinitionError
from actors.http_options import Cors, HttpOptions
from actors.transport.http.console import FILES
from tests.http.asgi import ask

PAGE = "/restate/console/"
ADMIN = "/restate/admin/whoami"
OURS = {"host": "localhost:8080", "sec-fetch-site": "same-origin", "x-actors-console": "http://localhost:8080"}
NAMES = sorted(
    path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.suffix in (".html", ".css", ".js")
)


class Door(VirtualObject):
    @handler
    async def open(self) -> int:
        return 1


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App(Door, storage="sqlite://") as app:
        app._serve_alone()
        yield app


# --- files ------------------------------------------------------------------------------------------------------------------


async def test_every_file_is_served_with_its_type_and_the_policy(app: App) -> None:
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    assert "main.js" in NAMES and "vendor/preact.js" in NAMES
    for name in ["", *NAMES]:
        answer = await ask(app, "GET", PAGE + name)
        path = FILES / (name or "index.html")
        assert answer.status == 200 and answer.body == path.read_bytes()
        assert answer.headers["content-type"] == f"{types[path.suffix]}; charset=utf-8"
        assert "trusted-types 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await ask(app, "HEAD", PAGE + name)).body == b""


async def test_a_file_that_has_not_changed_is_not_sent_again(app: App) -> None:
    first = await ask(app, "GET", PAGE + "main.js")
    again = await ask(app, "GET", PAGE + "main.js", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"") and "content-length" not in again.headers
    assert again.headers["etag"] == first.headers["etag"]
    assert (await ask(app, "GET", PAGE + "main.js", if_none_match='"other"')).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "none.js",
        "../http/docs.html",
        "%2e%2e/http/docs.html",
        "..%2Fhttp%2Fdocs.html",
        "vendor",
        "vendor/",
        "vendor/VERSIONS",
        "main.js/",
        "/main.js",
        "MAIN.JS",
        "main.js%00",
        "__pycache__",
    ],
)
async def test_no_other_file_is_served(app: App, name: str) -> None:
    answer = await ask(app, "GET", PAGE + name)
    assert (answer.status, answer.json["error"]) == (404, "unknown_path")


async def test_other_methods_are_refused(app: App) -> None:
    assert (await ask(app, "POST", PAGE)).status == 405
    assert (await ask(app, "DELETE", PAGE + "main.js")).status == 405


async def test_shorter_addresses_lead_to_the_page(app: App) -> None:
    for path, to in (("/console", "restate/console/"), ("/restate/console", "console/")):
        answer = await ask(app, "GET", path)
        assert (answer.status, answer.headers["location"]) == (307, to)


async def test_an_app_without_a_console_has_none() -> None:
    for options in (HttpOptions(console=False), HttpOptions(admin=False)):
        async with App(Door, storage="sqlite://", http=options) as app:
            for path in ("/console", "/restate/console", PAGE, PAGE + "main.js"):
                assert (await ask(app, "GET", path)).status == 404
            assert (await ask(app, "GET", ADMIN, headers=OURS)).status in (403, 404)


def test_the_option_takes_a_bool() -> None:
    with pytest.raises(DefinitionError, match="console='no'"):
        HttpOptions(console="no")  # type: ignore[arg-type]


async def test_the_page_is_loaded_without_a_token_and_says_nothing() -> None:
    async with App(Door, storage="sqlite://", http=HttpOptions(token="t", admin_token="a")) as app:
        assert (await ask(app, "GET", PAGE, client="10.0.0.1")).status == 200
        assert (await ask(app, "GET", "/console", client="10.0.0.1")).status == 307
        assert (await ask(app, "GET", ADMIN, client="10.0.0.1", headers=OURS)).json["error"] == "token_missing"


async def test_the_page_opens_when_the_app_has_stopped(app: App) -> None:
    await app.close()
    assert (await ask(app, "GET", PAGE)).status == 200
    assert (await ask(app, "GET", ADMIN, headers=OURS)).json["running"] is False


def test_the_page_names_no_other_origin() -> None:
    for name in NAMES:
        if not name.startswith("vendor/"):
            assert not re.search(r"""["'(]\s*(https?:)?//""", (FILES / name).read_text()), name


def test_no_file_makes_markup_of_a_text() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function"
    for name in NAMES:
        if not name.startswith("vendor/"):
            assert not re.search(forbidden, (FILES / name).read_text()), name


def test_vendored_files_are_what_their_list_says() -> None:
    listed = {}
    for line in (FILES / "vendor" / "VERSIONS").read_text().splitlines():
        name, *_, digest = line.split()
        listed[name] = digest
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (FILES / "vendor").glob("*.js")}
    assert found == listed


def test_the_page_is_small_enough_for_a_phone() -> None:
    assert sum(path.stat().st_size for path in FILES.rglob("*") if isinstance(path, Path) and path.is_file()) < 150_000


# --- who may ask ------------------------------------------------------------------------------------------------------------


async def test_the_console_of_this_machine_may_ask_without_a_token(app: App) -> None:
    for more in ({}, {"origin": "http://localhost:8080"}):
        assert (await ask(app, "GET", ADMIN, headers={**OURS, **more})).status == 200
        assert (await ask(app, "GET", ADMIN, client="::1", headers={**OURS, **more})).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"x-actors-console": "1"},
        {"x-actors-console": "https://shop.example"},
        {"x-actors-console": None},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": None, "origin": "http://localhost:8080"},
        {"origin": "http://localhost:8081"},
        {"origin": "https://localhost:8080"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "null"},
        {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
        {"host": None},
        {"x-forwarded-for": "127.0.0.1"},
        {"via": "1.1 proxy"},
    ],
    ids=str,
)
async def test_every_other_page_is_refused(app: App, changed: dict[str, str | None]) -> None:
    headers = {name: value for name, value in {**OURS, **changed}.items() if value is not None}
    for method, path in (("GET", ADMIN), ("POST", "/restate/admin/invocations/inv_1x/kill")):
        answer = await ask(app, method, path, headers=headers)
        assert (answer.status, answer.json["error"]) == (403, "admin_refused"), answer.json


@pytest.mark.parametrize("name", ["origin", "sec-fetch-site", "host"])
async def test_a_header_that_comes_twice_is_refused(app: App, name: str) -> None:
    values = {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin", "host": "localhost:8080"}
    headers = {"origin": "http://localhost:8080", **OURS}
    twice = [(name, values[name]), (name, {"origin": "null", "sec-fetch-site": "none", "host": "localhost"}[name])]
    more = [(given, value) for given, value in headers.items() if given != name]
    assert (await ask(app, "GET", ADMIN, pairs=[*more, *twice])).status == 403
    assert (await ask(app, "GET", ADMIN, pairs=[*more, *reversed(twice)])).status == 403


async def test_another_address_is_refused(app: App) -> None:
    assert (await ask(app, "GET", ADMIN, client="10.0.0.1", headers=OURS)).status == 403


async def test_a_mounted_app_refuses_its_console_without_a_token(app: App) -> None:
    answer = await ask(app, "GET", "/prefix" + ADMIN, root_path="/prefix", headers=OURS)
    assert answer.status == 403 and "not served by `actors serve`" in answer.json["message"]


@pytest.mark.parametrize("path", ["/", ""])
async def test_a_mounted_app_without_a_prefix_refuses_its_console_too(path: str) -> None:
    async with App(Door, storage="sqlite://") as app:
        host = FastAPI()
        host.mount(path, app)
        answer = await ask(host, "GET", ADMIN, headers=OURS)
        assert answer.status == 403 and "not served by `actors serve`" in answer.json["message"]


async def test_a_mounted_app_serves_its_console_with_a_token() -> None:
    async with App(Door, storage="sqlite://", http=HttpOptions(admin_token="a")) as app:
        headers = {**OURS, "authorization": "Bearer a"}
        found = await ask(app, "GET", "/prefix" + ADMIN, root_path="/prefix", headers=headers)
        assert (found.status, found.json["prefix"]) == (200, "/prefix")
        assert (await ask(app, "GET", "/prefix" + PAGE, root_path="/prefix")).status == 200


async def test_no_other_origin_may_send_the_console_s_header() -> None:
    async with App(Door, storage="sqlite://", http=HttpOptions(cors=Cors("*"))) as app:
        headers: dict[str, Any] = {
            "origin": "http://evil.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "x-actors-console",
        }
        answer = await ask(app, "OPTIONS", ADMIN, headers=headers)
        assert "access-control-allow-headers" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
