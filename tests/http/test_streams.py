"""Server-sent events: what a page watches, and how its stream ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote, unquote

import pytest

from actors import App, Context, VirtualObject, handler
from actors.app.situation import Situation
from actors.app.watched import Watched
from actors.doctor.trouble import Trouble
from actors.transport.http.streams import MOST, Stream, Streams
from tests.http.asgi import ask
from tests.http.watching import Watching


class Door(VirtualObject):
    opened: int = 0

    @handler
    async def open(self) -> int:
        self.opened += 1
        return self.opened

    @handler
    async def hold(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


@pytest.fixture(params=["sqlite://", "file"])
async def app(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[App]:
    storage = request.param if request.param != "file" else f"sqlite:///{tmp_path / 'door.db'}"
    async with App(Door, storage=storage) as app:
        streams(app).every_s = 0.01
        yield app


def streams(app: App) -> Streams:
    return app._served().streams


async def test_an_invocation_is_followed_to_its_end(app: App) -> None:
    handle = await app.object(Door, "a").hold.send()
    seen: list[dict[str, Any]] = []
    async with Watching(app, f"invocation:{handle.id}") as page:
        assert page.status == 200 and page.headers["content-type"] == "text/event-stream"
        assert page.headers["cache-control"] == "no-store"
        while not seen or seen[-1]["status"] != "blocked":
            event, value = await page.next() or ("", {})
            assert event == "invocation" and value["id"] == handle.id
            seen.append(value)
        (waiting,) = await app.awakeables()
        await app.resolve_awakeable(waiting.id, "done")
        while seen[-1]["status"] != "succeeded":
            seen.append((await page.next() or ("", {}))[1])
    assert seen[-1]["journal_to"] == 2
    assert all(one != other for one, other in itertools.pairwise(seen)), "an event told nothing new"


async def test_what_has_not_changed_is_not_sent_again(app: App) -> None:
    handle = await app.object(Door, "a").hold.send()
    while (await app.describe(handle.id)).status != "blocked":
        pass
    watched = app._gateway.operators.watched([f"invocation:{handle.id}", "newer:service=Door", "trouble"])
    assert [event for event, _ in await watched.changed()] == ["invocation", "newer", "trouble"]
    assert await watched.changed() == []
    await app.object(Door, "b").open()
    assert [event for event, _ in await watched.changed()] == ["newer"]


async def test_newer_invocations_are_counted_by_filter(app: App) -> None:
    first = await app.object(Door, "a,b&c").open.send()
    await first.result()
    query = quote(f"service=Door&key={quote('a,b&c', safe='')}&after={first.id}", safe="")
    async with Watching(app, f"newer:{query}") as page:
        assert await page.next() == ("newer", {"topic": f"newer:{unquote(query)}", "count": 0})
        await app.object(Door, "b").open()
        await app.object(Door, "a,b&c").open()
        assert (await page.next() or ("", {}))[1]["count"] == 1


async def test_trouble_and_overview_are_topics(app: App) -> None:
    await app.object(Door, "a").hold.send()
    async with Watching(app, "trouble,overview") as page:
        found = dict([await page.next() or ("", {}), await page.next() or ("", {})])
        assert found["trouble"]["trouble"]["causes"] == []
        while not found["overview"]["counts"]:  # while it is counted for the first time
            found["overview"] = (await page.next() or ("", {}))[1]
        while found["overview"]["counts"]["open"] != [{"service": "Door", "status": "blocked", "count": 1}]:
            found["overview"] = (await page.next() or ("", {}))[1]


@pytest.mark.parametrize(
    ("topics", "code", "says"),
    [
        ("", "bad_arguments", "requires from 1 to 32 topics"),
        (",".join(f"newer:key={n}" for n in range(33)), "bad_arguments", "requires from 1 to 32 topics"),
        ("pulses", "bad_arguments", "is not a valid topic"),
        ("trouble:x", "bad_arguments", "is not a valid topic"),
        ("newer:colour=red", "bad_arguments", "is not a filter of newer"),
        ("newer:status=odd", "bad_arguments", "is not a valid status"),
        ("invocation:inv_1nonsense", "malformed_id", ""),
    ],
)
async def test_topics_that_do_not_exist_are_refused(app: App, topics: str, code: str, says: str) -> None:
    answer = await ask(app, "GET", f"/restate/admin/events?topics={topics}")
    assert (answer.status, answer.json["error"]) == (400, code) and says in answer.json["message"]
    assert not streams(app).open


async def test_other_methods_are_refused(app: App) -> None:
    assert (await ask(app, "POST", "/restate/admin/events?topics=trouble")).status == 405


async def test_a_stream_ends_by_itself(app: App) -> None:
    streams(app).life_s = 0
    async with Watching(app, "trouble") as page:
        assert (await page.next() or ("", {}))[0] == "trouble"
        assert await page.next() == ("end", {"because": "turn"})
        assert await page.next() is None
    assert not streams(app).open


async def test_all_streams_end_at_once_when_the_server_stops(app: App) -> None:
    streams(app).every_s = 1000.0
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(Watching(app, "trouble")) for _ in range(MOST)]
        for page in pages:
            assert (await page.next() or ("", {}))[0] == "trouble"
        refused = await stack.enter_async_context(Watching(app, "trouble"))
        assert refused.status == 503 and (await refused.body())["error"] == "too_many_streams"
        app._end_streams()
        for page in pages:
            assert await page.next() == ("end", {"because": "stopping"})
    async with Watching(app, "trouble") as late:
        assert await late.next() == ("end", {"because": "stopping"})


async def test_requests_that_end_late_begin_no_more_streams_than_may_be_open(app: App) -> None:
    late = asyncio.Event()
    async with AsyncExitStack() as stack:
        pages = [Watching(app, "trouble", late=late) for _ in range(MOST + 4)]
        entering = [asyncio.ensure_future(stack.enter_async_context(page)) for page in pages]
        await asyncio.sleep(0)
        late.set()
        await asyncio.gather(*entering)
        assert sorted(page.status for page in pages) == [200] * MOST + [503] * 4
        assert len(streams(app).open) == MOST


async def test_a_stream_requires_a_client_that_knows_chunks(app: App) -> None:
    async with Watching(app, "trouble", version="1.0") as page:
        assert (page.status, (await page.body())["error"]) == (505, "bad_version")


async def test_a_page_that_hangs_up_leaves_its_place(app: App) -> None:
    streams(app).every_s = 1000.0
    for _ in range(3 * MOST):
        async with Watching(app, "trouble") as page:
            assert page.status == 200 and len(streams(app).open) == 1
    assert not streams(app).open


async def test_pages_share_what_is_read_about_the_whole_app(app: App) -> None:
    looks: list[int] = []
    situation = app._gateway.operators.situation()
    counted = Situation(situation.partition, lambda older_ms: look(older_ms))

    async def look(older_ms: int) -> Trouble:
        looks.append(older_ms)
        return await app._gateway.operators.trouble(older_ms)

    pages = [Watched(situation.partition, counted, ["overview", "trouble"]) for _ in range(8)]
    found = await asyncio.gather(*(page.changed() for page in pages), *(page.changed() for page in pages))
    assert len(looks) == 1
    assert [[event for event, _ in each] for each in found[:8]] == [["overview", "trouble"]] * 8


@pytest.mark.parametrize("topic", ["newer:service=Door", "trouble", "overview"])
async def test_a_stream_says_when_the_app_stops(topic: str, app: App) -> None:
    async with Watching(app, topic) as page:
        assert (await page.next() or ("", {}))[0] == topic.partition(":")[0]
        await app.close()
        event, value = await page.next() or ("", {})
        while event == "overview":  # it was counted meanwhile
            event, value = await page.next() or ("", {})
        assert event == "refused" and value["message"]
        assert (await page.next() or ("", {}))[0] == "end"


async def test_a_slow_reader_gets_fewer_events_and_the_latest(app: App) -> None:
    first = await app.object(Door, "a").open.send()
    await first.result()
    async with Watching(app, f"newer:after={first.id}") as page:
        assert (await page.next() or ("", {}))[1]["count"] == 0
        page.stop_reading()
        for _ in range(50):
            await app.object(Door, "a").open()
        page.read_on()
        counts = [0]
        while counts[-1] < 50:
            counts.append((await page.next() or ("", {}))[1]["count"])
    assert len(counts) <= 4, "what had changed while nothing was read was kept"


class Changes:
    """Something to watch that says what it was given."""

    def __init__(self, *values: dict[str, Any]) -> None:
        self.values = list(values)
        self.asked = 0

    async def changed(self) -> list[tuple[str, dict[str, Any]]]:
        self.asked += 1
        return [("thing", self.values.pop(0))] if self.values else []


async def test_events_are_numbered_and_on_one_line() -> None:
    watched = Changes({"text": "a\n\nb: c"}, {"text": "é"})
    pieces = [piece async for piece in Stream(Streams(life_s=0.05, every_s=0.001), watched).events()]
    assert pieces[0] == b"retry: 1000\n\n"
    assert pieces[1] == b'id: 1\nevent: thing\ndata: {"text":"a\\n\\nb: c"}\n\n'
    assert pieces[2] == 'id: 2\nevent: thing\ndata: {"text":"é"}\n\n'.encode()
    assert pieces[-1] == b'id: 2\nevent: end\ndata: {"because":"turn"}\n\n'


async def test_nothing_is_looked_up_while_nothing_is_read() -> None:
    watched = Changes({"n": 1}, {"n": 2}, {"n": 3})
    events = Stream(Streams(every_s=0.0), watched).events()
    await anext(events)
    await anext(events)
    for _ in range(100):
        await asyncio.sleep(0)
    assert watched.asked == 1
    await events.aclose()  # type: ignore[attr-defined]


class Endless:
    async def changed(self) -> list[tuple[str, dict[str, Any]]]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_stream_ends_while_its_look_goes_on() -> None:
    stream = Stream(Streams(), Endless())
    events = stream.events()
    await anext(events)
    last = asyncio.ensure_future(anext(events))
    for _ in range(5):
        await asyncio.sleep(0)
    stream.end()
    async with asyncio.timeout(5):
        assert b"stopping" in await last
