"""What /metrics says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors import App, Context, RetryPolicy, Service, TerminalError, VirtualObject, handler
from actors.app.stuck_keys import StuckKeys
from actors.doctor.causes import PERSON
from actors.engine.operating.gauges import Gauges
from actors.storage import Figures
from actors.testing import Disk, ManualClock, SimulatedStore
from tests.http.asgi import ask
from tests.world import World, limits

LABELS = ("service", "handler", "status", "le", "cause")


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
    if app._partition is not None:
        partition = app._partition
        store, clock, services = partition.store, partition.env.clock, partition.catalog.services
        # One that has read nothing yet.
        partition.gauges = Gauges(store, clock, partition.loop, services, partition.timers, patience_s=30)
        app._gateway._stuck = partition, StuckKeys(app._gateway.operators.trouble, partition.loop, patience_s=30)
    answer = await ask(app, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


@pytest.mark.expects_log("is paused. It is tried again")
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


class Flow(VirtualObject):
    @handler
    async def wait(self, ctx: Context, seconds: int) -> str:
        return await ctx.awakeable(str, timeout=seconds or None)

    @handler
    async def nothing(self) -> None: ...

    @handler
    async def wait_twice(self, ctx: Context) -> str:
        return await ctx.awakeable(str) + await ctx.awakeable(str)


class Free(Service):
    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


def gauge(found: dict[tuple[str, ...], float], name: str, *labels: str) -> float:
    return found["actors_" + name, *labels]


async def test_a_completed_awakeable_is_not_open_although_its_handler_is() -> None:
    async with World(Flow) as world:
        await world.app.object(Flow, "a").wait_twice.send()
        await world.settle()
        (first,) = await world.app.awakeables()
        await world.app.resolve_awakeable(first.id, "x")
        await world.settle()
        assert len(await world.app.awakeables()) == gauge(await scraped(world.app), "open_awakeables", "Flow") == 1


@pytest.mark.expects_log("is paused. It is tried again")
async def test_keys_that_need_a_person_are_counted_by_cause_after_a_minute() -> None:
    async with World(Counter, Flow) as world:
        for key in "ab":
            await world.app.object(Counter, key).break_down.send()
        await world.app.object(Counter, "a").add.send(1)
        await world.app.object(Flow, "c").wait.send(0)
        await world.settle(3)
        found = await scraped(world.app)
        assert {gauge(found, "keys_stuck", cause) for cause in PERSON} == {0}
        await world.pass_time(61)
        found = await scraped(world.app)
        assert gauge(found, "keys_stuck", "retries_used_up") == 2
        assert gauge(found, "keys_stuck", "awakeable") == 1
        assert sum(gauge(found, "keys_stuck", cause) for cause in PERSON) == 3


async def test_the_oldest_awakeable_has_an_age() -> None:
    async with World(Flow, Free) as world:
        await world.app.object(Flow, "a").wait.send(0)
        await world.pass_time(30)
        await world.app.object(Flow, "b").wait.send(0)
        await world.settle(3)
        await world.pass_time(30)
        found = await scraped(world.app)
        assert gauge(found, "oldest_awakeable_seconds", "Flow") == 60
        assert gauge(found, "oldest_awakeable_seconds", "Free") == 0


class Blocking(Service):
    @handler
    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251

    @handler
    async def sleep_later(self, seconds: float) -> None:
        await asyncio.sleep(0)
        time.sleep(seconds)  # noqa: ASYNC251


@pytest.mark.parametrize("name", ["sleep", "sleep_later"])
async def test_time_in_which_the_loop_was_held_is_counted(name: str) -> None:
    async with App(Blocking, storage="sqlite://") as app:
        await app.call("Blocking", "", name, 0)
        assert (await scraped(app))[("actors_loop_held_seconds_total",)] == 0
        await app.call("Blocking", "", name, 0.6)
        assert 0.6 <= (await scraped(app))[("actors_loop_held_seconds_total",)] < 60


@pytest.mark.expects_log("is paused. It is tried again")
async def test_what_is_open_is_told_by_service_and_status() -> None:
    async with World(Flow, Free, Counter) as world:
        app = world.app
        empty = await scraped(app)
        for name in ("oldest_pending_seconds", "open_awakeables", "deepest_mailbox"):
            assert {gauge(empty, name, service) for service in ("Flow", "Free", "Counter")} == {0}
        for key in ("a", "b"):
            await app.object(Flow, key).wait.send(0)
            await app.service(Free).wait.send()
        await world.settle()
        for _ in range(3):
            await app.object(Flow, "a").nothing.send()
        await app.object(Flow, "b").nothing.send()
        await app.object(Counter, "p").break_down.send()
        await app.object(Counter, "d").add.options(delay=10_000).send(1)
        await world.pass_time(50)
        found = await scraped(app)
        assert gauge(found, "open_invocations", "Flow", "blocked") == 2
        assert gauge(found, "open_invocations", "Flow", "pending") == 4
        assert gauge(found, "open_invocations", "Free", "blocked") == 2
        assert gauge(found, "open_invocations", "Counter", "paused") == 1
        assert gauge(found, "open_invocations", "Counter", "scheduled") == 1
        assert gauge(found, "open_invocations", "Counter", "backing-off") == 0
        assert gauge(found, "oldest_pending_seconds", "Flow") == 50
        assert gauge(found, "oldest_pending_seconds", "Counter") == 0
        assert gauge(found, "open_awakeables", "Flow") == gauge(found, "open_awakeables", "Free") == 2
        assert gauge(found, "deepest_mailbox", "Flow") == 3
        waiting = next(one for one in await app.awakeables() if one.key == "a")
        await app.resolve_awakeable(waiting.id, "x")
        await world.settle()
        found = await scraped(app)
        assert gauge(found, "open_invocations", "Flow", "pending") == gauge(found, "open_awakeables", "Flow") == 1
        assert ("actors_database_bytes",) not in found  # it is in memory


async def test_a_message_for_later_does_not_count_as_old_when_it_is_due() -> None:
    async with World(Flow) as world:
        await world.app.object(Flow, "a").wait.send(0)
        await world.app.object(Flow, "a").nothing.options(delay=1000).send()
        await world.pass_time(1001)
        found = await scraped(world.app)
        assert gauge(found, "open_invocations", "Flow", "pending") == 1
        assert gauge(found, "oldest_pending_seconds", "Flow") == 0


async def test_a_timer_that_does_not_fire_is_late() -> None:
    async with World(Flow) as world:
        await world.app.object(Flow, "a").wait.send(10)
        await world.settle()
        assert gauge(await scraped(world.app), "timer_lag_seconds") == 0
        world.clock.set_to(world.clock.now_ms() + 25_000, noticed=False)  # nothing rings
        assert gauge(await scraped(world.app), "timer_lag_seconds") == 15


async def test_the_file_and_its_log_are_measured_and_commits_are_timed(storage: str) -> None:
    async with App(Counter, storage=storage) as app:
        await app.object(Counter, "a").add(1)
        path = Path(storage.removeprefix("sqlite:///"))
        found = await scraped(app)
        assert gauge(found, "database_bytes") == path.stat().st_size > 0
        assert gauge(found, "log_bytes") == Path(f"{path}-wal").stat().st_size > 0
        assert 0 <= gauge(found, "figures_age_seconds") < 60
        assert gauge(found, "commit_seconds_count") == found[("actors_commits_total",)] > 0
        assert found["actors_commit_seconds_bucket", "+Inf"] == gauge(found, "commit_seconds_count")
        assert 0 < gauge(found, "commit_seconds_sum") < 60
    async with App(Counter, storage=storage) as app:  # the connection beside it has left nothing behind
        assert await app.object(Counter, "a").add(1) == 2


async def test_what_is_in_the_file_only_is_counted_too(storage: str) -> None:
    """Blocked objects leave memory at once, and what waits behind them with them."""
    async with App(Flow, storage=storage, limits=limits(max_waiting=1, max_objects=1, suspend_after=0)) as app:
        for key in "abcde":
            await app.object(Flow, key).wait.send(0)
            await app.object(Flow, key).nothing.send()
        while gauge(found := await scraped(app), "open_invocations", "Flow", "blocked") < 5:
            pass
        assert gauge(found, "open_awakeables", "Flow") == 5
        assert gauge(found, "open_invocations", "Flow", "pending") == 5
        assert gauge(found, "deepest_mailbox", "Flow") == 1


class Dear(SimulatedStore):
    """Reading the figures takes two seconds of `time`, and lasts until `may_end` is set."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.reads, self.time, self.may_end = 0, 100.0, asyncio.Event()
        self.may_end.set()

    async def figures(self) -> Figures:
        self.reads += 1
        await self.may_end.wait()
        self.time += 2
        return await super().figures()

    def gauges(self) -> Gauges:
        loop: Any = SimpleNamespace(time=lambda: self.time, create_task=asyncio.create_task)
        timers: Any = SimpleNamespace(late_ms=lambda: 0)
        return Gauges(self, ManualClock(), loop, {}, timers, patience_s=0)


@pytest.fixture
def disk() -> Iterator[Disk]:
    with contextlib.closing(Disk()) as disk:
        yield disk


async def settled(gauges: Gauges) -> list[str]:
    """The names of what is told once a read that has begun is over."""
    await gauges.read()
    for _ in range(10):
        await asyncio.sleep(0)
    return [one.name.removeprefix("actors_") for one in await gauges.read()]


async def test_figures_that_are_dear_to_read_are_read_seldom(disk: Disk) -> None:
    store = Dear(disk)
    await store.open()
    gauges = store.gauges()
    ages = []
    for _ in range(60):
        await settled(gauges)
        (*_, age) = await gauges.read()
        ages.append(age.values[()])
        store.time += 1
    assert store.reads == 2  # for 2 s each, so not again for 40 s
    assert (ages[0], max(ages)) == (0, 39)
    store.crash()
    store.time += 100
    assert await settled(gauges) == ["timer_lag_seconds"]


async def test_a_scrape_does_not_wait_for_a_file_that_takes_long_to_read(disk: Disk) -> None:
    store = Dear(disk)
    await store.open()
    gauges = store.gauges()
    store.may_end.clear()
    assert await settled(gauges) == await settled(gauges) == ["timer_lag_seconds"]
    assert store.reads == 1
    store.may_end.set()
    assert "open_invocations" in await settled(gauges)
    store.may_end.clear()
    store.time += 1000
    assert "open_invocations" in await settled(gauges)  # those of before, with their age
    assert store.reads == 2
    store.may_end.set()
    await settled(gauges)


async def test_an_app_that_is_closed_or_scraped_meanwhile_answers(storage: str) -> None:
    app = App(Counter, storage=storage)
    await app.start()
    scrapes = [asyncio.create_task(ask(app, "GET", "/metrics")) for _ in range(5)]
    await asyncio.sleep(0)
    await app.close()
    assert {answer.status for answer in await asyncio.gather(*scrapes)} == {200}
