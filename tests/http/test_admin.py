"""The admin routes: what operators see of invocations, awakeables and state, and what they do to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from tests.http.asgi import Answer, ask
from tests.world import World

ADMIN = "/restate/admin"


class Job(VirtualObject):
    done: int = 0
    who: str = ""

    @handler
    async def finish(self, n: int) -> int:
        self.done += n
        return self.done

    @handler
    async def wait(self, ctx: Context) -> int:
        self.done = await ctx.awakeable(int)
        return self.done

    @handler
    async def fail(self) -> None:
        raise OSError("the printer burns")

    @handler
    async def draw(self, ctx: Context) -> None:
        await ctx.run(_drawn)
        await ctx.sleep(1)


def _drawn() -> Any:
    return (1, b"x")


async def get(app: App, path: str) -> Answer:
    return await ask(app, "GET", ADMIN + path)


async def post(app: App, path: str, **headers: str) -> Answer:
    return await ask(app, "POST", ADMIN + path, headers=headers)


async def patch(app: App, path: str, body: Any, **headers: str) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await ask(
        app, "PATCH", f"{ADMIN}/state/{path}", text, headers={"content_type": "application/json", **headers}
    )


async def test_invocations_are_listed_by_what_they_are_and_page_by_page() -> None:
    async with World(Job) as world:
        app = world.app
        for n in range(5):
            await app.object(Job, f"k{n % 2}").finish(n)
        sent = await app.object(Job, "w").wait.send()
        await world.settle()
        first = (await get(app, "/invocations?limit=2")).json
        assert [one["handler"] for one in first["invocations"]] == ["wait", "finish"]
        ids, before = [one["id"] for one in first["invocations"]], first["before"]
        while before is not None:
            page = (await get(app, f"/invocations?limit=2&before={before}")).json
            ids += [one["id"] for one in page["invocations"]]
            before = page["before"]
        assert ids == [info.id for info in await app.invocations()]
        assert [one["id"] for one in (await get(app, "/invocations?status=open")).json["invocations"]] == [sent.id]
        for query, count in (
            ("status=succeeded,blocked", 6),
            ("status=succeeded&status=blocked", 6),
            ("service=Job&key=k0", 3),
            ("handler=wait", 1),
            ("service=Nobody", 0),
        ):
            assert len((await get(app, f"/invocations?{query}")).json["invocations"]) == count, query


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1&limit=2", "status=odd", "statuz=open", "before=x"],
)
async def test_a_query_that_means_nothing_is_400(query: str) -> None:
    async with World(Job) as world:
        answer = await get(world.app, f"/invocations?{query}")
        assert (answer.status, answer.json["code"], answer.json["source"]) == (400, 400, "ingress")


async def test_one_invocation_is_shown_with_its_journal() -> None:
    async with World(Job) as world:
        sent = await world.app.object(Job, "a").draw.options(headers={"x": "1"}).send()
        await world.settle()
        shown = (await get(world.app, f"/invocations/{sent.id}")).json
        assert (shown["status"], shown["arguments"], shown["headers"]) == ("blocked", [], {"x": "1"})
        assert [line["entry"] for line in shown["journal"]] == ["input", "run", "completed", "sleep"]
        assert [line["position"] for line in shown["journal"]] == [0, 1, 2, 3]
        assert shown["journal"][2]["value"][0] == 1 and shown["journal_more"] is False
        rest = (await get(world.app, f"/invocations/{sent.id}?after=0&limit=1")).json
        assert [line["position"] for line in rest["journal"]] == [1] and rest["journal_more"] is True
        for path, status in (("inv_1x", 400), (sent.id + "/journal", 404)):
            assert (await get(world.app, f"/invocations/{path}")).status == status


async def test_operations_take_effect_and_answer_as_the_app_does() -> None:
    async with World(Job) as world:
        app = world.app

        async def held(key: str) -> str:
            sent = await app.object(Job, key).wait.send()
            await world.settle()
            return sent.id

        async def status(id: str) -> str:
            return (await app.describe(id)).status

        one, other = await held("a"), await held("b")
        assert (await post(app, f"/invocations/{one}/pause")).status == 200 and await status(one) == "paused"
        assert (await post(app, f"/invocations/{one}/resume")).json == {"id": one}
        assert (await post(app, f"/invocations/{one}/cancel")).status == 202
        await world.settle()
        assert await status(one) == "failed"
        assert (await post(app, f"/invocations/{other}/kill")).status == 200 and await status(other) == "failed"
        again = await post(app, f"/invocations/{other}/kill")
        assert (again.status, again.json["error"]) == (409, "wrong_status")
        restarted = (await post(app, f"/invocations/{other}/restart?keep=1")).json
        assert restarted["restarted_from"] == other
        await world.settle()
        assert await status(restarted["id"]) == "blocked"
        assert (await post(app, f"/invocations/{other}/restart?keep=99")).status == 400
        assert (await post(app, f"/invocations/{other}/purge?keep=1")).status == 400
        assert (await post(app, f"/invocations/{other}/purge")).status == 200
        assert (await get(app, f"/invocations/{other}")).status == 404
        assert (await post(app, f"/invocations/{other}/dance")).status == 404
        refused = await get(app, f"/invocations/{one}/kill")
        assert (refused.status, refused.headers["allow"]) == (405, "POST")
        body = await ask(app, "POST", f"{ADMIN}/invocations/{one}/restart", b'{"keep": 1}')
        assert body.status == 400


@pytest.mark.expects_log("is paused. It is tried again")
async def test_the_reason_of_a_failure_is_told_without_its_traceback() -> None:
    async with World(Job, retry=RetryPolicy(max_attempts=1)) as world:
        sent = await world.app.object(Job, "a").fail.send()
        await world.settle()
        for path in (f"/invocations/{sent.id}", "/invocations"):
            answer = await get(world.app, path)
            assert b"the printer burns" in answer.body
            assert b"Traceback" not in answer.body and b".py" not in answer.body


async def test_awakeables_that_wait_are_listed() -> None:
    async with World(Job) as world:
        sent = await world.app.object(Job, "a").wait.send()
        await world.settle()
        (one,) = (await get(world.app, "/awakeables")).json["awakeables"]
        assert (one["invocation_id"], one["key"], one["handler"]) == (sent.id, "a", "wait")
        assert (await ask(world.app, "POST", f"/restate/awakeables/{one['id']}/resolve", b"4")).status == 202
        assert (await get(world.app, "/awakeables")).json == {"awakeables": [], "more": False}


async def test_awakeables_are_filtered_and_paged() -> None:
    async with World(Job) as world:
        for key in "abc":
            await world.app.object(Job, key).wait.send()
        await world.settle()

        async def keys(query: str) -> list[str]:
            return [one["key"] for one in (await get(world.app, f"/awakeables?{query}")).json["awakeables"]]

        assert await keys("") == ["a", "b", "c"]
        assert await keys("key=b") == ["b"] and await keys("service=Job&handler=wait") == ["a", "b", "c"]
        assert await keys("service=Unknown") == await keys("handler=finish") == await keys("key=") == []
        first = (await get(world.app, "/awakeables?limit=2")).json
        assert first["more"] and first["after"] == first["awakeables"][-1]["id"]
        assert await keys(f"limit=2&after={first['after']}") == ["c"]
        refused = await get(world.app, "/awakeables?after=nonsense")
        assert (refused.status, refused.json["error"]) == (400, "malformed_id")


async def test_the_doctor_names_the_root_and_what_frees_it() -> None:
    async with World(Job) as world:
        sent = await world.app.object(Job, "a/b").wait.send()
        await world.app.object(Job, "a/b").finish.send(1)
        await world.settle()
        by_key = (await get(world.app, "/doctor?service=Job&key=a%2Fb")).json
        assert (by_key["subject"], by_key["cause"], by_key["id"]) == ("Job/a/b", "awakeable", sent.id)
        assert by_key["behind"] == 1 and by_key["needs_a_person"]
        assert by_key["ways"][0]["command"][:2] == ["awakeables", "resolve"]
        by_id = (await get(world.app, f"/doctor?id={sent.id}")).json
        assert by_id == by_key | {"subject": "Job/a/b/wait"}
        assert (await get(world.app, "/doctor?service=Job&key=free")).json["cause"] == "free"
        (group,) = (await get(world.app, "/trouble?older=0")).json["causes"]
        assert (group["id"], group["behind"]) == (sent.id, 1)
        assert (await get(world.app, "/trouble")).json["headline"] == "All keys move."
        world.clock.advance(61)
        assert (await get(world.app, "/trouble")).json[
            "headline"
        ] == "1 cause needs a person; 1 message waits behind it."


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "bad_arguments"),
        ("service=Job", 400, "bad_arguments"),
        ("key=a", 400, "bad_arguments"),
        ("service=Job&key=", 400, "bad_arguments"),
        ("service=Job&key=a&id=inv_1", 400, "bad_arguments"),
        ("subject=Job/a", 400, "bad_arguments"),
        ("id=nonsense", 400, "malformed_id"),
    ],
)
async def test_the_doctor_is_asked_about_one_object_or_invocation(query: str, status: int, error: str) -> None:
    async with World(Job) as world:
        refused = await get(world.app, f"/doctor?{query}")
        assert (refused.status, refused.json["error"]) == (status, error)
        assert (await get(world.app, "/trouble?older=-1")).status == 400
        assert (await post(world.app, "/trouble")).status == (await post(world.app, "/doctor")).status == 405


async def test_the_doctor_of_an_invocation_that_is_gone_says_so() -> None:
    async with World(Job) as world:
        sent = await world.app.object(Job, "a").finish.send(1)
        await world.settle()
        ended = (await get(world.app, f"/doctor?id={sent.id}")).json
        assert (ended["text"], ended["id"], ended["status"]) == ("It has succeeded.", sent.id, "succeeded")
        assert (await post(world.app, f"/invocations/{sent.id}/purge")).status == 200
        assert (await get(world.app, f"/doctor?id={sent.id}")).status == 404


async def test_state_is_read_and_changed_and_the_change_survives() -> None:
    async with World(Job) as world:
        await world.app.object(Job, "a/b").finish(3)
        found = await get(world.app, "/state/Job/a%2Fb")
        assert found.json["state"] == {"done": 3} and found.headers["cache-control"] == "no-store"
        changed = await patch(
            world.app, "Job/a%2Fb", {"set": {"who": "me"}, "clear": ["done"]}, if_match=found.headers["etag"]
        )
        assert (changed.status, changed.json["state"]) == (200, {"who": "me"})
        stale = await patch(world.app, "Job/a%2Fb", {"set": {"who": "you"}}, if_match=found.headers["etag"])
        assert (stale.status, stale.json["error"]) == (412, "state_changed")
        await world.restart()
        assert (await get(world.app, "/state/Job/a%2Fb")).json["state"] == {"who": "me"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        {"who": "x"},
        {"set": {"done": "x"}},
        {"set": {"dune": 1}},
        {"set": {"done": None}},
        {"set": {"done": 1}, "clear": ["done"]},
        {"clear": "done"},
        {"clear": [1]},
        {"set": {"": 1}},
    ],
)
async def test_a_change_that_does_not_fit_is_400_and_changes_nothing(body: Any) -> None:
    async with World(Job) as world:
        await world.app.object(Job, "a").finish(3)
        answer = await patch(world.app, "Job/a", body)
        assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
        assert (await get(world.app, "/state/Job/a")).json["state"] == {"done": 3}


async def test_a_busy_object_is_409_and_an_unknown_class_404() -> None:
    async with World(Job) as world:
        await world.app.object(Job, "a").wait.send()
        await world.settle()
        busy = await patch(world.app, "Job/a", {"set": {"done": 1}})
        assert (busy.status, busy.json["error"]) == (409, "object_busy")
        assert (await get(world.app, "/state/Nobody/a")).status == 404
        assert (await get(world.app, "/state/Job")).status == 404
        assert (await ask(world.app, "DELETE", f"{ADMIN}/state/Job/a")).headers["allow"] == "GET, PATCH"


async def test_an_app_that_does_not_run_answers_503() -> None:
    app = App(Job, storage="sqlite://")
    for path in ("/invocations", "/invocations/x", "/awakeables", "/state/Job/a"):
        assert (await get(app, path)).status == 503
