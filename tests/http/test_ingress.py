"""The paths, statuses, headers and bodies of the ingress, against an app in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import App, Context, Limits, Service, TerminalError, VirtualObject, Workflow, handler, shared
from tests.http.asgi import Answer, ask

handed_out: list[str] = []


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @handler
    async def add_named(self, n: int, times: int = 1) -> int:
        self.count += n * times
        return self.count

    @handler
    async def reset(self) -> None:
        self.count = 0

    @shared
    async def get(self) -> int:
        return self.count

    @handler
    async def fail(self, message: str) -> None:
        raise TerminalError(message, code=418, metadata={"kind": "teapot"})

    @handler
    async def hold(self, ctx: Context) -> int:
        awaited = ctx.awakeable(int)
        await ctx.run(handed_out.append, awaited.id)
        return await awaited

    @handler(private=True)
    async def hidden(self) -> int:
        return self.count

    @shared
    async def seen(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.headers)


class Tools(Service):
    @handler
    async def raw(self, data: bytes) -> bytes:
        return data[::-1]

    @handler
    async def through(self, ctx: Context, key: str) -> int:
        return await ctx.object(Counter, key).hidden()


class Secret(Service, private=True):
    @handler
    async def tell(self) -> str:
        return "hush"


class Flow(Workflow):
    @handler
    async def run(self, ctx: Context, name: str) -> str:
        return name + await ctx.promise("done", str)

    @shared
    async def finish(self, ctx: Context, how: str) -> None:
        await ctx.promise("done", str).resolve(how)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    handed_out.clear()
    async with App(Counter, Tools, Secret, Flow, storage="sqlite://", limits=Limits(max_payload=10_000)) as app:
        yield app


async def post(app: App, target: str, value: Any = None, **headers: str) -> Answer:
    body = b"" if value is None else json.dumps(value).encode()
    return await ask(app, "POST", target, body, headers={"content_type": "application/json", **headers})


async def held(app: App) -> tuple[asyncio.Task[Answer], str]:
    """A call that waits for an awakeable, and its id."""
    task = asyncio.create_task(post(app, "/Counter/h/hold"))
    while not handed_out:
        await app.awakeables()
    return task, handed_out[-1]


async def test_a_call_answers_with_the_value_and_the_id_of_its_invocation(app: App) -> None:
    answer = await post(app, "/Counter/a/add", 5)
    assert (answer.status, answer.json, answer.headers["content-type"]) == (200, 5, "application/json")
    assert answer.headers["x-restate-id"].startswith("inv_1")
    assert (await post(app, "/restate/call/Counter/a/add", 2)).json == 7
    assert (await ask(app, "GET", "/Counter/a/get")).json == 7


async def test_a_handler_that_returns_nothing_answers_with_an_empty_body_and_no_content_type(app: App) -> None:
    answer = await post(app, "/Counter/a/reset")
    assert (answer.status, answer.body, "content-type" in answer.headers) == (200, b"", False)


@pytest.mark.parametrize("body", [{"n": 2, "times": 3}, [2, 3], {"times": 3, "n": 2}])
async def test_several_parameters_come_as_an_object_or_an_array(app: App, body: Any) -> None:
    assert (await post(app, "/Counter/a/add_named", body)).json == 6


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/Counter/a/add", b'"x"', "int"),
        ("/Counter/a/add", b"", "n"),
        ("/Counter/a/add", b"{", "not valid JSON"),
        ("/Counter/a/add", b"\xff", "UTF-8"),
        ("/Counter/a/add_named", b'{"m": 1}', "no parameter 'm'"),
        ("/Counter/a/add_named", b"[1, 2, 3]", "takes 2"),
        ("/Counter/a/add_named", b"7", "JSON object"),
        ("/Counter/a/add_named", b"{}", "n"),
        ("/Counter/a/reset", b"5", "no arguments"),
        ("/Counter//add", b"1", "key"),
        ("/Counter/%00/add", b"1", "NUL"),
        ("/Counter/%ff/add", b"1", "UTF-8"),
        ("/Counter/%2/add", b"1", "percent"),
        ("/Counter/a/hidden", b"", "private"),
        ("/Secret/tell", b"", "private"),
        ("/Counter/a/add/send?delay=soon", b"1", "delay"),
        ("/Counter/a/add/send?delay=-5", b"1", "delay"),
        ("/Counter/a/add?delay=5", b"1", "/send"),
    ],
)
async def test_what_cannot_be_right_is_refused_with_400_and_says_why(
    app: App, path: str, body: bytes, word: str
) -> None:
    answer = await ask(app, "POST", path, body)
    assert answer.status == 400
    assert word in answer.json["message"]
    assert answer.json["code"] == 400 and answer.json["source"] == "ingress" and answer.json["error"]
    assert (await ask(app, "GET", "/Counter/a/get")).json == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/Nobody/a/add", 404),
        ("POST", "/Counter/a/nothing", 404),
        ("POST", "/Counter/a", 404),
        ("POST", "/Counter/a/add/more", 404),
        ("POST", "/", 404),
        ("GET", "/restate/nothing", 404),
        ("GET", "/restate/admin", 404),
        ("PUT", "/Counter/a/add", 405),
        ("GET", "/Counter/a/add/send", 405),
        ("POST", "/restate/health", 405),
    ],
)
async def test_what_is_not_there_is_404_and_what_cannot_be_done_405(
    app: App, method: str, path: str, status: int
) -> None:
    answer = await ask(app, method, path, b"1")
    assert (answer.status, answer.json["code"]) == (status, status)
    assert ("allow" in answer.headers) == (status == 405)


async def test_keys_are_decoded_once(app: App) -> None:
    for key, path in (("a/b", "a%2Fb"), ("100%", "100%25"), ("ä ü", "%C3%A4%20%C3%BC"), ("%2F", "%252F")):
        await post(app, f"/Counter/{path}/add", 1)
        assert await app.object(Counter, key).get() == 1


async def test_it_can_be_mounted_below_a_prefix(app: App) -> None:
    answer = await ask(app, "POST", "/api/v1/Counter/a%2Fb/add", b"3", root_path="/api/v1")
    assert answer.json == 3
    assert await app.object(Counter, "a/b").get() == 3


async def test_a_failure_of_the_handler_answers_with_its_code_message_and_metadata(app: App) -> None:
    answer = await post(app, "/Counter/a/fail", "no tea")
    assert answer.status == 418
    assert answer.json == {
        "code": 418,
        "message": "no tea",
        "metadata": {"kind": "teapot"},
        "source": "invocation",
        "error": "terminal_error",
    }
    assert answer.headers["x-restate-id"].startswith("inv_1")


async def test_bytes_pass_unchanged(app: App) -> None:
    data = bytes(range(256))
    answer = await ask(app, "POST", "/Tools/raw", data, content_type="application/octet-stream")
    assert (answer.body, answer.headers["content-type"]) == (data[::-1], "application/octet-stream")


async def test_another_content_type_is_refused_where_json_is_wanted(app: App) -> None:
    answer = await ask(app, "POST", "/Counter/a/add", b"5", content_type="text/csv")
    assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
    for accepted in ("application/json; charset=utf-8", "application/vnd.x+json", "application/x-www-form-urlencoded"):
        assert (await ask(app, "POST", "/Counter/a/add", b"1", content_type=accepted)).status == 200


async def test_private_handlers_are_called_by_others(app: App) -> None:
    assert (await post(app, "/Tools/through", "k")).json == 0


async def test_headers_of_its_own_reach_the_handler_and_those_of_the_connection_do_not(app: App) -> None:
    answer = await ask(
        app, "GET", "/Counter/a/seen", x_trace="7", host="here", authorization="Bearer 1", cookie="c", user_agent="u"
    )
    assert answer.json == {"x-trace": "7"}


async def test_a_send_is_accepted_with_202_and_done(app: App) -> None:
    for path in ("/Counter/a/add/send", "/restate/send/Counter/a/add"):
        answer = await post(app, path, 4)
        assert (answer.status, answer.json["status"]) == (202, "Accepted")
        assert "executionTime" not in answer.json
        attached = await ask(app, "GET", f"/restate/invocation/{answer.json['invocationId']}/attach")
        assert attached.status == 200
    assert await app.object(Counter, "a").get() == 8


async def test_a_delayed_send_says_when_it_will_be_executed(app: App) -> None:
    answer = await post(app, "/Counter/a/add/send?delay=1h5m", 4)
    assert answer.json["executionTime"].endswith("Z")
    output = await ask(app, "GET", f"/restate/output/{answer.json['invocationId']}")
    assert (output.status, output.json["error"]) == (470, "not_ready")


async def test_requests_under_one_idempotency_key_are_one_invocation(app: App) -> None:
    first = await post(app, "/Counter/a/add", 5, idempotency_key="k")
    again = await post(app, "/Counter/a/add", 5, idempotency_key="k")
    assert (first.json, again.json) == (5, 5)
    assert first.headers["x-restate-id"] == again.headers["x-restate-id"]
    assert again.headers["idempotency-expires"].endswith("Z")
    sent = await post(app, "/Counter/a/add/send", 5, idempotency_key="k")
    assert (sent.status, sent.json["status"]) == (202, "PreviouslyAccepted")
    assert sent.json["invocationId"] == first.headers["x-restate-id"]
    other = await post(app, "/Counter/a/add", 6, idempotency_key="k")
    assert (other.status, other.json["error"]) == (422, "idempotency_key_reused")
    for path in ("/restate/invocation/Counter/a/add/k/attach", "/restate/invocation/Counter/a/add/k/output"):
        assert (await ask(app, "GET", path)).json == 5
    assert (await ask(app, "GET", "/restate/invocation/Counter/a/add/other/output")).status == 404


async def test_a_spelling_of_the_same_body_is_the_same_request(app: App) -> None:
    for body in (b'{"n": 1, "times": 2}', b"[1,2]", b' {"times":2,"n":1} '):
        assert (await ask(app, "POST", "/Counter/a/add_named", body, idempotency_key="k")).json == 2


async def test_a_workflow_runs_once_and_can_be_attached_to(app: App) -> None:
    sent = await post(app, "/Flow/w/run/send", "a")
    assert (await post(app, "/Flow/w/run/send", "a")).json["status"] == "PreviouslyAccepted"
    assert (await ask(app, "GET", "/restate/workflow/Flow/w/output")).status == 470
    await post(app, "/Flow/w/finish", "!")
    assert (await ask(app, "GET", "/restate/workflow/Flow/w/attach")).json == "a!"
    assert (await ask(app, "GET", f"/restate/attach/{sent.json['invocationId']}")).json == "a!"
    assert (await post(app, "/Flow/w/run", "b")).status == 422


@pytest.mark.parametrize(("id", "status"), [("inv_1nonsense", 400), ("x", 400), ("prom_1x", 400)])
async def test_an_id_that_is_none_is_refused(app: App, id: str, status: int) -> None:
    for end in ("attach", "output"):
        assert (await ask(app, "GET", f"/restate/invocation/{id}/{end}")).status == status


async def test_an_invocation_that_was_forgotten_is_unknown(app: App) -> None:
    id = (await post(app, "/Counter/a/add", 1)).headers["x-restate-id"]
    await app.purge(id)
    assert (await ask(app, "GET", f"/restate/invocation/{id}/output")).status == 404
    assert (await ask(app, "GET", f"/restate/invocation/{id}/attach")).status == 404


async def test_an_awakeable_is_resolved_once(app: App) -> None:
    task, id = await held(app)
    for body, status in ((b'"seven"', 400), (b"7", 202), (b" 7 ", 202), (b"8", 409)):
        answer = await ask(app, "POST", f"/restate/awakeables/{id}/resolve", body, content_type="application/json")
        assert answer.status == status, answer
        if status == 409:
            assert answer.json["error"] == "awakeable_already_completed"
    assert (await task).json == 7


async def test_an_awakeable_is_rejected_with_a_reason(app: App) -> None:
    task, id = await held(app)
    answer = await ask(app, "POST", f"/restate/a/{id}/reject", b"Very bad error!", content_type="text/plain")
    assert answer.status == 202
    failed = await task
    assert (failed.status, failed.json["message"]) == (500, "Very bad error!")


async def test_what_names_no_awakeable_is_refused(app: App) -> None:
    task, id = await held(app)
    assert (await ask(app, "POST", "/restate/awakeables/prom_1xyz/resolve", b"7")).status == 400
    assert (await ask(app, "POST", f"/restate/awakeables/{id}/forget", b"7")).status == 404
    assert (await ask(app, "GET", f"/restate/awakeables/{id}/resolve")).status == 405
    await ask(app, "POST", f"/restate/awakeables/{id}/resolve", b"7")
    call = await task
    await app.purge(call.headers["x-restate-id"])
    assert (await ask(app, "POST", f"/restate/awakeables/{id}/resolve", b"7")).status == 404


async def test_what_is_too_large_is_refused_before_it_is_read(app: App) -> None:
    for body, headers in ((b"1" * 10_001, {}), ([b"1" * 6000, b"1" * 6000], {}), (b"1", {"content_length": "10001"})):
        answer = await ask(app, "POST", "/Counter/a/add", body, headers=headers)
        assert (answer.status, answer.json["error"]) == (413, "payload_too_large")


DEEP = b"[" * 4000 + b"]" * 4000
ARGUMENTS = "application/vnd.actors.arguments+json"
WORDS = "application/vnd.actors.words+json"


@pytest.mark.parametrize(
    ("target", "body", "content_type"),
    [
        ("/Counter/a/add_named", b'{"n":' + DEEP + b"}", "application/json"),
        ("/Counter/a/add_named", DEEP, "application/json"),
        ("/Counter/a/add_named/send", b'{"n":' + DEEP + b"}", "application/json"),
        ("/Counter/a/add", DEEP, "application/json"),
        ("/Counter/a/add", b'{"positional":[' + DEEP + b"]}", ARGUMENTS),
        ("/Counter/a/add", b'{"positional":["\xed\xa0\x80"]}', ARGUMENTS),
        ("/Counter/a/add", b'{"named":{"n":"\xed\xa0\x80"}}', ARGUMENTS),
        ("/Counter/a/add", DEEP, WORDS),
        ("/Counter/a/add", b'["\xed\xa0\x80"]', WORDS),
    ],
)
async def test_a_body_that_cannot_be_read_is_the_fault_of_who_sent_it(
    app: App, target: str, body: bytes, content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(app, "POST", target, body, content_type=content_type)
    assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
    assert not caplog.records


BROKEN = [
    ("/Counter/a/add", b"hello", "invalid character at line 1, column 1: 'hello'"),
    ("/Counter/a/add", b"5 6", "trailing characters at line 1, column 3: '6'"),
    ("/Counter/a/add/send", b"nul", "it ends too early, after 'nul'"),
    ("/Counter/a/fail", "ü".encode(), "invalid character at line 1, column 1: 'ü'"),
    ("/Counter/a/fail", b"\xef\xbb\xbf5", "invalid character at line 1, column 1: '\\ufeff5'"),
    ("/Counter/a/fail", b"1.", "invalid number at line 1, column 3, the end"),
    ("/Counter/a/add_named", '{"ü": 1,\n "times": 2,}'.encode(), "trailing comma in object at line 2, column 13: '}'"),
    ("/Counter/a/add_named", b"n=1&times=2", "invalid character at line 1, column 2: '=1&times=2'"),
    ("/Counter/a/add_named", b"[1, 2", "it ends too early, after '[1, 2'"),
]


@pytest.mark.parametrize(("target", "body", "fault"), BROKEN)
async def test_a_body_that_is_not_json_is_told_where_and_what_to_do(
    app: App, target: str, body: bytes, fault: str
) -> None:
    answer = await ask(app, "POST", target, body)
    assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
    handler = target.split("/")[3]
    assert answer.json["message"].startswith(f"Counter.{handler}: the body is not valid JSON: {fault}. Send ")
    assert "double quotes" in answer.json["message"] and "fit" not in answer.json["message"]


async def test_a_body_of_another_content_type_is_told_what_to_send(app: App) -> None:
    answer = await ask(app, "POST", "/Counter/a/fail", b"hello", content_type="text/plain")
    assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
    assert "'text/plain'" in answer.json["message"] and "double quotes" in answer.json["message"]


async def test_an_awakeable_stays_open_for_a_body_that_is_not_json(app: App) -> None:
    task, id = await held(app)
    answer = await ask(app, "POST", f"/restate/awakeables/{id}/resolve", b"seven")
    assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
    assert "is not valid JSON: invalid character at line 1, column 1: 'seven'" in answer.json["message"]
    assert answer.json["message"].endswith("The awakeable stays open.")
    await ask(app, "POST", f"/restate/awakeables/{id}/resolve", b"7")
    assert (await task).json == 7


async def test_an_empty_segment_is_no_name_of_a_run(app: App) -> None:
    assert (await ask(app, "GET", "/restate/invocation/Flow/k//anything/output")).status == 404
    answer = await ask(app, "GET", "/restate/workflow/Counter/k/output")
    assert (answer.status, answer.json["error"]) == (400, "wrong_kind")


async def test_whoever_hangs_up_while_sending_gets_no_answer_and_changes_nothing(app: App) -> None:
    with pytest.raises(ConnectionError):
        await ask(app, "POST", "/Counter/a/add", [])
    assert await app.object(Counter, "a").get() == 0


async def test_whoever_hangs_up_while_waiting_cancels_nothing(app: App) -> None:
    task, id = await held(app)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await ask(app, "POST", f"/restate/awakeables/{id}/resolve", b"7")).status == 202
    (info,) = await app.invocations(handler="hold")
    assert await app.invocation(info.id).result() == 7


async def test_an_app_that_does_not_run_answers_503_and_when_to_come_back() -> None:
    app = App(Counter, storage="sqlite://")
    answer = await post(app, "/Counter/a/add", 1)
    assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, "app_not_running", "1")
    assert (await ask(app, "GET", "/restate/health")).status == 503


async def test_health_lists_the_services(app: App) -> None:
    answer = await ask(app, "GET", "/restate/health")
    assert answer.json["status"] == "ok"
    assert "hidden" not in answer.body.decode()
    assert [one["name"] for one in answer.json["services"]] == ["Counter", "Tools", "Flow"]


async def test_a_server_starts_and_stops_the_app() -> None:
    app = App(Counter, storage="sqlite://")
    told: list[str] = []
    asked = asyncio.Queue[dict[str, str]]()

    async def send(message: dict[str, Any]) -> None:
        told.append(message["type"])

    for kind in ("lifespan.startup", "lifespan.shutdown"):
        asked.put_nowait({"type": kind})
    served = asyncio.create_task(app({"type": "lifespan"}, asked.get, send))  # type: ignore[arg-type]
    await served
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (await ask(app, "GET", "/restate/health")).status == 503
