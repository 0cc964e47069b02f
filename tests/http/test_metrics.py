"""What /metrics says."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors import App, RetryPolicy, TerminalError, VirtualObject, handler
from tests.http.asgi import ask

LABELS = ("service", "handler", "status", "le")


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

    @handler
    async def fail(self) -> None:
        raise TerminalError("no")

    @handler(retry=RetryPolicy(max_attempts=1))
    async def break_down(self) -> None:
        raise ValueError("broken")


async def scraped(app: App) -> dict[tuple[str, ...], float]:
    answer = await ask(app, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


@pytest.mark.expects_log("is paused; it is tried again")
async def test_requests_and_invocations_are_counted() -> None:
    async with App(Counter, storage="sqlite://") as app:
        for _ in range(3):
            await ask(app, "POST", "/Counter/a/add", b"1")
        await ask(app, "POST", "/Counter/a/add", b"x")
        await ask(app, "POST", "/Counter/a/fail")
        await app.object(Counter, "b").break_down.send()
        while (await app.invocations(handler="break_down"))[0].status != "paused":
            pass
        found = await scraped(app)
        assert found["actors_http_requests_total", "Counter", "add", "200"] == 3
        assert found["actors_http_requests_total", "Counter", "add", "400"] == 1
        assert found["actors_http_requests_total", "Counter", "fail", "500"] == 1
        assert found["actors_http_request_seconds_count", "Counter", "add"] == 4
        assert found["actors_http_request_seconds_bucket", "Counter", "add", "+Inf"] == 4
        assert 0 < found["actors_http_request_seconds_sum", "Counter", "add"] < 60
        assert found[("actors_invocations_succeeded_total",)] == 3
        assert found[("actors_invocations_failed_total",)] == 1
        assert found[("actors_attempts_failed_total",)] == 1
        assert found[("actors_invocations_paused_total",)] == 1
        assert found[("actors_invocations_kept",)] == 4
        assert found[("actors_commits_total",)] >= 5


async def test_paths_of_strangers_make_no_labels() -> None:
    async with App(Counter, storage="sqlite://") as app:
        for path in ("/Nobody/a/b", "/Counter/a/whatever", "/x", "/Counter/%ff/add"):
            await ask(app, "POST", path)
        found = await scraped(app)
        assert [key[1:3] for key in found if key[0] == "actors_http_requests_total"] == [("", "")] * 2  # 404 and 400


async def test_an_app_that_does_not_run_still_says_how_it_answers() -> None:
    found = await scraped(App(Counter, storage="sqlite://"))
    assert not [key for key in found if key[0].startswith("actors_invocations")]
