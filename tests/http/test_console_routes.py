"""What the console asks for: who it is, how the app is, searches, families, values as texts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.errors import TerminalError
from tests.http.asgi import ask

ADMIN = "/restate/admin"
BIG = "x" * 10_000


class Leaf(VirtualObject):
    @handler
    async def work(self, what: int) -> int:
        return what


class Tree(VirtualObject):
    texts: list[str] = []

    @handler
    async def grow(self, ctx: Context, depth: int) -> int:
        if depth:
            await ctx.object(Tree, f"{ctx.key}/{depth}").grow(depth - 1)
        await ctx.object(Leaf, "l").work.send(depth)
        await ctx.object(Leaf, "l").work.options(idempotency_key=ctx.key).send(depth)
        return depth

    @handler
    async def keep(self, ctx: Context, number: int, text: str) -> dict[str, int]:
        await ctx.run(make, text)
        return {"number": number}

    @handler
    async def refuse(self, why: str) -> None:
        raise TerminalError(f"Refused: {why}", code=409)

    @handler(retry=RetryPolicy(max_attempts=1))
    async def fail(self, ctx: Context) -> None:
        await ctx.run(explode)

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


def make(text: str) -> dict[str, str]:
    return {"text": text}


def explode() -> None:
    raise ConnectionError("upstream refused")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with App(Tree, Leaf, storage=f"sqlite:///{tmp_path / 'tree.db'}") as app:
        yield app


async def get(app: App, path: str) -> Any:
    answer = await ask(app, "GET", ADMIN + path)
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    return answer.json


async def until(app: App, path: str, holds: Callable[[Any], bool]) -> Any:
    while not holds(found := await get(app, path)):
        pass
    return found


async def test_the_app_says_who_it_is(app: App) -> None:
    found = await get(app, "/whoami")
    assert (found["app"], found["prefix"], found["running"], found["stopped"]) == ("tree.db", "", True, None)
    assert found["version"]
    assert (await ask(app, "POST", ADMIN + "/whoami")).status == 405
    assert (await ask(app, "GET", ADMIN + "/whoami?x=1")).status == 400


async def test_an_app_in_memory_says_so() -> None:
    async with App(Tree, storage="sqlite://") as app:
        assert (await get(app, "/whoami"))["app"] == ":memory:"
        assert (await get(app, "/overview"))["storage"] == {"file": None, "log": None, "free": None}


async def test_the_overview_counts_what_is_open(app: App) -> None:
    for key in ("a", "a", "a", "b"):
        await app.object(Tree, key).wait.send()
    found = await until(
        app, "/overview", lambda one: one["counts"] is not None and len(one["counts"]["open"]) == 2 and one["busiest"]
    )
    assert found["counts"]["open"] == [
        {"service": "Tree", "status": "pending", "count": 2},
        {"service": "Tree", "status": "blocked", "count": 2},
    ]
    assert found["counts"]["awakeables"] == 2 and found["counts"]["oldest_awakeable"]
    assert found["busiest"] == [{"service": "Tree", "key": "a", "behind": 2}]
    assert {one["name"] for one in found["limits"]} == {"max_pending", "max_in_flight", "max_retained"}
    assert found["storage"]["file"] > 0 and found["storage"]["free"] > 0
    assert found["trouble"]["headline"] == "All keys move."


async def test_a_family_has_ancestors_and_descendants(app: App) -> None:
    top = await app.object(Tree, "t").grow.send(2)
    await top.result()
    found = await get(app, f"/invocations/{top.id}/family")
    assert found["ancestors"] == [] and found["cut"] is False
    assert [(one["entry"], one["service"], one["key"]) for one in found["children"]] == [
        ("call", "Tree", "t/2"),
        ("send", "Leaf", "l"),
        ("send", "Leaf", "l"),
    ]
    child = found["children"][0]
    assert [one["key"] for one in child["children"]] == ["t/2/1", "l", "l"]
    grandchild = await get(app, f"/invocations/{child['children'][0]['id']}/family")
    assert [one["id"] for one in grandchild["ancestors"]] == [child["id"], top.id]
    await app.purge(found["children"][1]["id"])
    found = await get(app, f"/invocations/{top.id}/family")
    assert found["children"][1] == {
        "position": found["children"][1]["position"],
        "entry": "send",
        "id": found["children"][1]["id"],
        "children": [],
    }


async def test_a_family_that_is_too_deep_is_cut(app: App) -> None:
    top = await app.object(Tree, "t").grow.send(9)
    await top.result()
    found = await get(app, f"/invocations/{top.id}/family")
    depth, node = 0, found
    while node["children"] and node["children"][0]["entry"] == "call":
        depth, node = depth + 1, node["children"][0]
    assert depth == 8 and found["cut"] is True


async def test_the_family_of_an_unknown_invocation_is_404(app: App) -> None:
    id = (await app.object(Leaf, "l").work.send(1)).id
    await app.invocation(id).result()
    await app.purge(id)
    assert (await ask(app, "GET", f"{ADMIN}/invocations/{id}/family")).status == 404
    assert (await ask(app, "GET", f"{ADMIN}/invocations/nonsense/family")).status == 400


async def test_values_come_as_texts_that_are_not_changed(app: App) -> None:
    arguments = f'[9223372036854775807, "{BIG}"]'
    answer = await ask(app, "POST", "/Tree/a/keep", arguments.encode(), content_type="application/json")
    path = f"/invocations/{answer.headers['x-restate-id']}"
    found = await get(app, path + "?values=text")
    assert found["result"] == {"text": '{"number":9223372036854775807}', "bytes": 30, "cut": False}
    assert found["arguments"]["cut"] is True and len(found["arguments"]["text"]) == 4096
    assert found["arguments"]["bytes"] == len(BIG) + 24
    cut = {one["entry"]: one["value"]["cut"] for one in found["journal"] if one["value"] is not None}
    assert cut == {"input": True, "completed": True, "output": False}
    whole = await get(app, path + "?values=whole")
    assert json.loads(whole["arguments"]["text"]) == [9223372036854775807, BIG]
    assert json.loads(next(one for one in whole["journal"] if one["entry"] == "completed")["value"]["text"]) == {
        "text": BIG
    }
    assert (await ask(app, "GET", ADMIN + path + "?values=odd")).status == 400


@pytest.mark.expects_log("is paused. It is tried again")
async def test_a_search_finds_by_error_key_time_and_root(app: App) -> None:
    failed = await app.object(Tree, "a/1").refuse.send("sold out")
    paused = await app.object(Tree, "b").fail.send()
    top = await app.object(Tree, "t").grow.send(1)
    await top.result()
    await until(app, "/invocations?status=paused", lambda one: one["invocations"])

    async def found(query: str) -> list[str]:
        page = await get(app, f"/invocations?{query}")
        assert page["before"] is None and page["searched_to"] is None
        return [one["id"] for one in page["invocations"]]

    assert await found("error=SOLD") == [failed.id]
    assert await found("error=upstream") == [paused.id]
    assert await found("text=a/") == [failed.id]
    assert await found("status=failed&error=upstream") == []
    assert top.id in await found("roots=1&service=Tree") and len(await found("roots=1&handler=grow")) == 1
    accepted = (await app.describe(paused.id)).accepted_at.isoformat().replace("+", "%2B")
    assert paused.id in await found(f"from={accepted}")
    assert paused.id not in await found(f"to={accepted}")
    assert (await get(app, "/invocations?status=paused"))["invocations"][0][
        "reason"
    ] == "ConnectionError: upstream refused"


async def test_a_search_goes_on_where_it_stopped(app: App) -> None:
    ids = [(await app.object(Leaf, f"k{n}").work.send(n)).id for n in range(7)]
    seen, before = [], ""
    while before is not None:
        page = await get(
            app, f"/invocations?text=k&limit=3&before={before}" if before else "/invocations?text=k&limit=3"
        )
        seen += [one["id"] for one in page["invocations"]]
        before = page["before"]
        assert (page["searched_to"] is None) == (before is None)
    assert seen == list(reversed(ids))


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-01-01", "roots=2", "roots=yes", "error=a&error=b", "q=x"])
async def test_a_search_that_means_nothing_is_400(app: App, query: str) -> None:
    assert (await ask(app, "GET", f"{ADMIN}/invocations?{query}")).status == 400


async def test_the_doctor_is_asked_by_an_awakeable_too(app: App) -> None:
    handle = await app.object(Tree, "a").wait.send()
    while not (open_ := await app.awakeables()):
        pass
    found = await get(app, f"/doctor?id={open_[0].id}")
    assert (found["id"], found["cause"]) == (handle.id, "awakeable")


@pytest.mark.parametrize("path", ["trouble", "overview", "invocations", "awakeables", "doctor?service=Tree&key=t"])
async def test_a_look_ends_when_its_client_hangs_up(app: App, path: str) -> None:
    sent: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"", "more_body": False},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop() if len(messages) > 1 else messages[0]

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    name, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"{ADMIN}/{name}",
        "raw_path": f"{ADMIN}/{name}".encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 8080),
    }
    await app(scope, receive, send)
    assert sent == []
