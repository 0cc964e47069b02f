"""The guard names what a replay does not repeat, with file and line, and is silent about everything else."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import gzip
import io
import logging
import os
import queue
import random
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actors import App, Context, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.testing.guard import Finding, Guard
from tests.world import World

HERE = Path(__file__).name


@dataclass
class Stamped:
    at: float = field(default_factory=time.time)


class Stamp(datetime.datetime):
    """A datetime of the user's own."""


def with_socket(use: Callable[[socket.socket], object]) -> None:
    with socket.socket() as one:
        one.settimeout(0.01)
        use(one)


def with_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


MISSING = "/nonexistent-folder/file"
SYSTEM = random.SystemRandom()

# A function that the guard names, and code of one line that calls it: the line of the lambda is the line to name.
SOURCES: list[tuple[str, Callable[[], object]]] = [
    ("time.time", lambda: time.time()),
    ("time.time_ns", lambda: time.time_ns()),
    ("time.monotonic", lambda: time.monotonic()),
    ("time.monotonic_ns", lambda: time.monotonic_ns()),
    ("time.perf_counter", lambda: time.perf_counter()),
    ("time.perf_counter_ns", lambda: time.perf_counter_ns()),
    ("time.process_time", lambda: time.process_time()),
    ("time.sleep", lambda: time.sleep(0)),
    ("time.localtime", lambda: time.localtime()),
    ("time.gmtime", lambda: time.gmtime()),
    ("time.ctime", lambda: time.ctime()),
    ("time.asctime", lambda: time.asctime()),
    ("time.strftime", lambda: time.strftime("%Y")),
    ("datetime.datetime.now", lambda: datetime.datetime.now()),
    ("datetime.datetime.now", lambda: datetime.datetime.now(datetime.UTC)),
    ("datetime.datetime.today", lambda: datetime.datetime.today()),
    ("datetime.date.today", lambda: datetime.date.today()),
    (f"{__name__}.Stamp.now", lambda: Stamp.now()),
    ("loop.time", lambda: asyncio.get_running_loop().time()),
    ("os.urandom", lambda: os.urandom(4)),
    ("os.getpid", lambda: os.getpid()),
    ("os.getenv", lambda: os.getenv("HOME")),
    ("os.environ.get", lambda: os.environ.get("HOME")),
    ("os.environ.__getitem__", lambda: os.environ["PATH"]),
    ("input", lambda: input()),
    ("uuid.uuid1", lambda: uuid.uuid1()),
    ("uuid.uuid4", lambda: uuid.uuid4()),
    ("secrets.token_bytes", lambda: secrets.token_bytes()),
    ("secrets.token_hex", lambda: secrets.token_hex()),
    ("secrets.token_urlsafe", lambda: secrets.token_urlsafe()),
    ("secrets.randbelow", lambda: secrets.randbelow(6)),
    ("secrets.randbits", lambda: secrets.randbits(6)),
    ("secrets.choice", lambda: secrets.choice("abc")),
    ("random.random", lambda: random.random()),
    ("random.getrandbits", lambda: random.getrandbits(6)),
    ("random.randint", lambda: random.randint(1, 6)),
    ("random.choice", lambda: random.choice("abc")),
    ("random.choices", lambda: random.choices("abc")),
    ("random.shuffle", lambda: random.shuffle([1, 2])),
    ("random.sample", lambda: random.sample("abc", 2)),
    ("random.uniform", lambda: random.uniform(1, 2)),
    ("random.gauss", lambda: random.gauss()),
    ("random.Random", lambda: random.Random()),
    ("random.SystemRandom.random", lambda: SYSTEM.random()),
    ("random.SystemRandom.choice", lambda: SYSTEM.choice("abc")),
    ("open", lambda: open(MISSING)),  # noqa: SIM115
    ("open", lambda: io.open(MISSING)),  # noqa: SIM115, UP020
    ("open", lambda: os.open(MISSING, os.O_RDONLY)),
    ("open", lambda: Path(MISSING).read_text()),
    ("os.listdir", lambda: os.listdir(MISSING)),
    ("os.scandir", lambda: os.scandir(MISSING)),
    ("os.mkdir", lambda: os.mkdir(MISSING)),
    ("os.rmdir", lambda: os.rmdir(MISSING)),
    ("os.remove", lambda: os.remove(MISSING)),
    ("os.remove", lambda: Path(MISSING).unlink()),
    ("os.rename", lambda: os.rename(MISSING, MISSING)),
    ("os.system", lambda: os.system("")),
    ("shutil.rmtree", lambda: shutil.rmtree(MISSING)),
    ("shutil.copyfile", lambda: shutil.copyfile(MISSING, MISSING)),
    ("subprocess.Popen", lambda: subprocess.Popen([MISSING])),
    ("subprocess.Popen", lambda: subprocess.run([MISSING], stdout=subprocess.DEVNULL, check=False)),
    ("sqlite3.connect", lambda: sqlite3.connect(MISSING)),
    ("socket.connect", lambda: with_socket(lambda one: one.connect(("127.0.0.1", 1)))),
    ("socket.getaddrinfo", lambda: socket.getaddrinfo("127.0.0.1", 1)),
    ("time.time", lambda: Stamped()),
    ("time.time", lambda: gzip.compress(b"")),
    ("os.mkdir", lambda: tempfile.mkdtemp(dir=MISSING)),
]

# Code that looks like one of them, or that uses one of them for itself.
HARMLESS: list[Callable[[], object]] = [
    lambda: time.localtime(0),
    lambda: time.gmtime(0),
    lambda: time.ctime(0),
    lambda: time.strftime("%Y", time.gmtime(0)),
    lambda: datetime.datetime.fromtimestamp(0),
    lambda: datetime.datetime(2020, 1, 1).isoformat(),
    lambda: Stamp(2020, 1, 1),
    lambda: uuid.UUID(int=1),
    lambda: uuid.uuid5(uuid.NAMESPACE_URL, "a"),
    lambda: random.Random(7).choice("abc"),
    lambda: random.Random(7).random(),
    lambda: logging.getLogger("a handler's").info("%s", 1),
    lambda: queue.Queue[int]().get(timeout=0),
    lambda: threading.Event().wait(0),
    lambda: {"a": 1}.get("a"),
    lambda: contextlib.suppress(ValueError),
    lambda: sorted([3, 1]),
]


def line_of(function: Callable[[], object]) -> int:
    return function.__code__.co_firstlineno


EXPECTED = {(name, line_of(function)) for name, function in SOURCES}


def call_each() -> None:
    for _, function in SOURCES:
        with contextlib.suppress(Exception):
            function()


async def call_each_later() -> None:
    await asyncio.sleep(0)
    call_each()


def found(guard: Guard) -> set[tuple[str, int]]:
    return {(one.function, one.line) for one in guard.findings}


@contextlib.asynccontextmanager
async def watched(
    *classes: type[Any], guard: Guard | None = None, **options: Any
) -> AsyncIterator[tuple[World, Guard]]:
    """A machine with these classes, and an installed guard that watches them."""
    guard = guard or Guard()
    parts = guard.parts()

    class WatchedApp(App):
        _parts = parts

    class WatchedWorld(World):
        _app_class = WatchedApp

    with guard:
        async with WatchedWorld(*classes, **options) as world:
            yield world, guard


# --- what is found --------------------------------------------------------------------------------------------------------


class Places(VirtualObject):
    """Each handler runs the sources at another place of its code."""

    count: int = 0

    @handler
    async def at_once(self, ctx: Context) -> None:
        call_each()

    @handler
    async def without_a_context(self) -> None:
        call_each()

    @shared
    async def in_a_reader(self, ctx: Context) -> None:
        call_each()

    @handler
    async def after_a_step(self, ctx: Context) -> None:
        await ctx.run(int)
        call_each()

    @handler
    async def in_another_handler(self, ctx: Context) -> None:
        await self.at_once()

    @handler
    async def in_a_task(self, ctx: Context) -> None:
        await asyncio.create_task(call_each_later())

    @handler
    async def in_a_gather(self, ctx: Context) -> None:
        await asyncio.gather(asyncio.sleep(0), call_each_later())

    @handler
    async def in_a_task_group(self, ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(call_each_later())

    @handler
    async def in_a_task_of_a_task(self, ctx: Context) -> None:
        async def outer() -> None:
            await asyncio.create_task(call_each_later())

        await asyncio.create_task(outer())

    @handler
    async def under_a_timeout(self, ctx: Context) -> None:
        await asyncio.wait_for(call_each_later(), 10)

    @handler
    async def in_a_generator(self, ctx: Context) -> None:
        async def numbers() -> AsyncIterator[int]:
            call_each()
            yield 1

        async for number in numbers():
            self.count += number

    @handler
    async def in_a_property(self, ctx: Context) -> None:
        self.all_of_them  # noqa: B018

    @property
    def all_of_them(self) -> int:
        call_each()
        return 1


PLACES = [name for name in vars(Places) if name.startswith(("after_", "at_", "in_", "under_", "without_"))]


@pytest.mark.parametrize("place", PLACES)
async def test_each_source_is_named_with_its_line_wherever_it_is_called(place: str) -> None:
    async with watched(Places) as (world, guard):
        await world.app.call("Places", "a", place)
        assert found(guard) == EXPECTED
        assert {one.handler for one in guard.findings} == {f"Places.{place}"}
        assert {one.file for one in guard.findings} == {__file__}


@pytest.mark.parametrize(("name", "function"), SOURCES)
async def test_a_source_is_found_once_however_often_it_is_called(name: str, function: Callable[[], object]) -> None:
    class Offer(Service):
        @handler
        async def open(self) -> None:
            with contextlib.suppress(Exception):
                function()

    async with watched(Offer) as (world, guard):
        for _ in range(3):
            await world.app.service(Offer).open()
        assert [(one.function, one.line) for one in guard.findings] == [(name, line_of(function))]


async def test_a_finding_says_who_calls_what_where_and_what_to_use() -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self) -> None:
            time.time()
            random.choice("ab")
            uuid.uuid4()
            os.getpid()
            time.sleep(0)  # noqa: ASYNC251

    line = line_of(Offer.open.function) + 1
    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open()
    assert [str(one) for one in guard.findings] == [
        f"Offer.open calls time.time() outside of a step, at {HERE}:{line + 1}. Use ctx.now().",
        f"Offer.open calls random.choice() outside of a step, at {HERE}:{line + 2}. Use ctx.random.",
        f"Offer.open calls uuid.uuid4() outside of a step, at {HERE}:{line + 3}. Use ctx.uuid().",
        f"Offer.open calls os.getpid() outside of a step, at {HERE}:{line + 4}. Use ctx.run(...).",
        f"Offer.open calls time.sleep() outside of a step, at {HERE}:{line + 5}. Use ctx.sleep(...).",
    ]


async def test_a_library_function_that_leads_to_a_source_is_named_too() -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self) -> None:
            gzip.compress(b"")
            with contextlib.suppress(OSError):
                Path(MISSING).read_bytes()

    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open()
    clock, disk = guard.findings
    assert (clock.function, clock.through, clock.advice) == ("time.time", "gzip.compress", "ctx.now() or ctx.run(...)")
    assert "Offer.open calls gzip.compress(), which calls time.time(), outside of a step" in str(clock)
    assert disk.function == "open" and (disk.through or "").endswith(".read_bytes")
    assert disk.advice == "ctx.run(...)"


async def test_a_thread_that_a_handler_starts_is_found() -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self) -> None:
            with_thread()

        @handler
        async def bid(self) -> int:
            return await asyncio.to_thread(int, 3)

    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open()
        assert found(guard) == {("threading.Thread.start", line_of(with_thread) + 2)}
        assert await world.app.object(Offer, "a").bid() == 3
    assert guard.findings[-1].through == "asyncio.threads.to_thread"


async def test_code_of_an_installed_package_is_named_by_the_users_line(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "installed.py"
    source = "import time\n\nasync def pause():\n    return time.time()\n\ndef now():\n    return time.time()\n"
    names: dict[str, Any] = {"__name__": "installed"}
    exec(compile(source, str(package), "exec"), names)

    class Offer(VirtualObject):
        @handler
        async def open(self) -> None:
            names["now"]()

        @handler
        async def bid(self) -> None:
            await asyncio.gather(names["pause"]())

    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open()
        await world.app.object(Offer, "a").bid()
    direct, alone = guard.findings
    assert (direct.file, direct.line, direct.through) == (__file__, line_of(Offer.open.function) + 2, "installed.now")
    assert (alone.file, alone.line, alone.through) == (str(package), 4, None)  # no line of the user leads there


async def test_the_code_of_workflows_and_services_is_watched() -> None:
    class Deal(Workflow):
        @handler
        async def run(self, ctx: Context) -> None:
            time.time()

    class Mailer(Service):
        @handler
        async def deliver(self) -> None:
            time.time()

    async with watched(Deal, Mailer) as (world, guard):
        await world.app.object(Deal, "a").run()
        await world.app.service(Mailer).deliver()
    assert [one.handler for one in guard.findings] == ["Deal.run", "Mailer.deliver"]


async def test_a_replay_and_the_code_after_a_crash_are_watched() -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self, ctx: Context) -> None:
            await ctx.sleep(60)
            time.time()

    guard = Guard()
    async with watched(Offer, guard=guard) as (world, _):
        await world.app.object(Offer, "a").open.send()
        await world.settle()
        await world.restart()
        assert guard.findings == []
        await world.pass_time(61)
    assert [one.function for one in guard.findings] == ["time.time"]


async def test_the_clean_up_of_a_closed_handler_is_watched() -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self, ctx: Context) -> None:
            try:
                await ctx.sleep(60)
            finally:
                time.time()

    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open.send()
        await world.settle()
        await world.app.close()
        assert [one.function for one in guard.findings] == ["time.time"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_a_task_that_begins_at_once_is_watched_and_so_is_its_handler() -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self, ctx: Context) -> None:
            async def inner() -> None:
                time.time()

            await asyncio.create_task(inner())
            time.time()

    factory: Any = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(factory)
    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open()
    assert len(guard.findings) == 2


# --- what is not found ----------------------------------------------------------------------------------------------------


class Careful(VirtualObject):
    count: int = 0

    @handler
    async def blocking_step(self, ctx: Context) -> None:
        await ctx.run(call_each)

    @handler
    async def async_step(self, ctx: Context) -> None:
        await ctx.run(call_each_later)

    @handler
    async def step_of_a_task(self, ctx: Context) -> None:
        async def inner() -> None:
            await ctx.run(call_each)

        await asyncio.gather(inner(), inner())

    @handler
    async def step_with_a_task(self, ctx: Context) -> None:
        async def step() -> None:
            await asyncio.gather(call_each_later(), asyncio.create_task(call_each_later()))

        await ctx.run(step)

    @handler
    async def context(self, ctx: Context) -> str:
        ctx.now()
        ctx.uuid()
        ctx.random.random()
        ctx.random.choice("ab")
        ctx.random.shuffle([1, 2])
        ctx.logger.info("%s", ctx.key)
        awakeable = ctx.awakeable(int)
        await ctx.resolve_awakeable(awakeable.id, 3)
        await awakeable
        await ctx.object(Careful, "other").add()
        await ctx.object(Careful, "other").add.send()
        await self.add()
        await ctx.sleep(0)
        return str(ctx.invocation_id)

    @handler
    async def add(self) -> int:
        self.count += 1
        return self.count

    @handler
    async def harmless(self) -> None:
        for function in HARMLESS:
            with contextlib.suppress(queue.Empty):
                function()

    @handler
    async def waits_of_asyncio(self) -> None:
        async with asyncio.timeout(10):
            await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.sleep(0), 10)
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))], timeout=10)

    @handler
    async def imports(self) -> None:
        for name in ("colorsys", "tests.unit.testing.imported"):
            sys.modules.pop(name, None)
        import colorsys  # noqa: F401

        import tests.unit.testing.imported  # noqa: F401


CAREFUL = [name for name in vars(Careful) if not name.startswith("_") and name not in ("count", "add")]


@pytest.mark.parametrize("threads", [False, True], ids=["inline", "threads"])
@pytest.mark.parametrize("name", CAREFUL)
async def test_steps_and_the_context_and_harmless_calls_are_not_reported(name: str, threads: bool) -> None:
    executor = ThreadPoolExecutor(2) if threads else None
    async with watched(Careful, executor=executor) as (world, guard):
        call = asyncio.ensure_future(_result(world, name))
        while not call.done():
            await world.pass_time(0)
            await asyncio.sleep(0.001)
        await call
        assert [str(one) for one in guard.findings] == []
    if executor is not None:
        executor.shutdown()


async def test_steps_that_begin_at_once_in_a_replay_are_not_reported() -> None:
    stacks: list[list[str]] = []
    forever = asyncio.Event()

    class Restarted(VirtualObject):
        @handler
        async def work(self, ctx: Context) -> None:
            await asyncio.gather(ctx.run(async_step), ctx.run(step))

    async def async_step() -> None:
        if not stacks:
            await forever.wait()
        call_each()

    def step() -> None:
        stacks.append([frame.name for frame in traceback.extract_stack()])
        call_each()
        if len(stacks) == 1:
            world.store.crash()

    async with watched(Restarted) as (world, guard):
        handle = await world.app.object(Restarted, "a").work.send()
        await world.settle()
        await world.restart()
        await world.result(handle)
    assert ["work" in names for names in stacks] == [False, True]  # the second time the record is on disk already
    assert [str(one) for one in guard.findings] == []


async def _result(world: World, name: str) -> object:
    return await world.app.call("Careful", "a", name)


async def test_code_outside_of_handlers_is_not_reported() -> None:
    async with watched(Places) as (_, guard):
        call_each()
        await asyncio.gather(call_each_later(), call_each_later())
        call_each()
        assert guard.findings == []


async def test_a_thread_that_runs_beside_a_handler_is_not_reported() -> None:
    stop, ready = threading.Event(), threading.Event()

    def beside() -> None:
        while not stop.is_set():
            call_clock()
            ready.set()

    class Busy(VirtualObject):
        @handler
        async def work(self) -> int:
            return sum(map(abs, range(20_000)))

    thread = threading.Thread(target=beside)
    thread.start()
    ready.wait()
    async with watched(Busy) as (world, guard):
        for _ in range(20):
            await world.app.object(Busy, "a").work()
    stop.set()
    thread.join()
    assert guard.findings == []


def call_clock() -> None:
    time.time()


async def test_a_logging_handler_may_use_the_clock_and_the_disk(tmp_path: Path) -> None:
    class Offer(VirtualObject):
        @handler
        async def open(self) -> None:
            log.info("%s", 1)

    class Stamping(logging.FileHandler):
        def emit(self, record: logging.LogRecord) -> None:
            time.time()
            super().emit(record)

    log = logging.Logger("a log of its own")
    target = Stamping(tmp_path / "log", delay=True)
    log.addHandler(target)
    async with watched(Offer) as (world, guard):
        await world.app.object(Offer, "a").open()
    target.close()
    assert (tmp_path / "log").read_text() == "1\n"
    assert guard.findings == []


# --- installing -----------------------------------------------------------------------------------------------------------


class Offer(VirtualObject):
    @handler
    async def open(self) -> float:
        return time.time()


class Order(VirtualObject):
    @handler
    async def place(self) -> float:
        return time.time()


async def test_two_apps_have_a_guard_each() -> None:
    async with watched(Offer) as (offers, first), watched(Order) as (orders, second):
        await offers.app.object(Offer, "a").open()
        await orders.app.object(Order, "a").place()
    assert [one.handler for one in first.findings] == ["Offer.open"]
    assert [one.handler for one in second.findings] == ["Order.place"]


async def test_two_apps_may_share_a_guard() -> None:
    guard = Guard()
    async with watched(Offer, guard=guard) as (offers, _), watched(Order, guard=guard) as (orders, _):
        await offers.app.object(Offer, "a").open()
        await orders.app.object(Order, "a").place()
    assert [one.handler for one in guard.findings] == ["Offer.open", "Order.place"]


async def test_an_app_without_a_guard_is_not_watched_beside_one_with() -> None:
    async with watched(Offer) as (_, guard), World(Order) as orders:
        await orders.app.object(Order, "a").place()
    assert guard.findings == []


async def test_a_guard_that_is_not_installed_finds_nothing() -> None:
    async with watched(Offer) as (world, guard):
        guard.uninstall()
        await world.app.object(Offer, "a").open()
        assert guard.findings == []
        guard.install()
        guard.install()
        await world.app.object(Offer, "a").open()
    assert [one.function for one in guard.findings] == ["time.time"]


async def test_the_other_guard_goes_on_when_one_is_uninstalled() -> None:
    async with watched(Offer) as (world, guard):
        with Guard():
            pass
        await world.app.object(Offer, "a").open()
        assert len(guard.findings) == 1


async def test_parts_keep_the_other_classes() -> None:
    guard = Guard()
    parts = App._parts
    assert guard.parts(parts).progress is parts.progress
    assert guard.parts().attempt is not parts.attempt


async def test_a_profile_function_from_before_is_called_and_put_back() -> None:
    seen: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and argument is time.time:
            seen.append(frame.f_code.co_name)

    async with watched(Offer, Places) as (world, guard):
        sys.setprofile(profile)
        try:
            await world.app.object(Offer, "a").open()
            assert sys.getprofile() is profile
            time.time()
        finally:
            sys.setprofile(None)
        await world.app.object(Offer, "a").open()
    names = [name for name in seen if name in ("open", "test_a_profile_function_from_before_is_called_and_put_back")]
    assert names == ["open", "test_a_profile_function_from_before_is_called_and_put_back"]
    assert [one.function for one in guard.findings] == ["time.time"]


async def test_cprofile_goes_on_beside_a_guard() -> None:
    import cProfile
    import pstats

    async with watched(Offer) as (world, guard):
        with cProfile.Profile() as profiler:
            await world.app.object(Offer, "a").open()
            await world.app.object(Offer, "b").open()
        await world.app.object(Offer, "a").open()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).print_stats("open")
    assert HERE in text.getvalue()
    assert [one.function for one in guard.findings] == ["time.time"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
async def test_a_guard_works_with_a_profile_function_if_all_tools_are_taken() -> None:
    monitoring: Any = getattr(sys, "monitoring", None)
    free = [tool for tool in range(6) if monitoring.get_tool(tool) is None]
    for tool in free:
        monitoring.use_tool_id(tool, "another tool")
    try:
        async with watched(Offer, Careful) as (world, guard):
            await world.app.object(Offer, "a").open()
            await world.app.object(Careful, "a").blocking_step()
            assert sys.getprofile() is None
    finally:
        for tool in free:
            monitoring.free_tool_id(tool)
    assert [one.function for one in guard.findings] == ["time.time"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
async def test_the_tool_of_a_guard_is_free_again_when_it_is_uninstalled() -> None:
    monitoring: Any = getattr(sys, "monitoring", None)
    before = [monitoring.get_tool(tool) for tool in range(6)]
    for _ in range(3):
        async with watched(Offer) as (world, guard):
            assert [monitoring.get_tool(tool) for tool in range(6)] != before
            await world.app.object(Offer, "a").open()
        assert [monitoring.get_tool(tool) for tool in range(6)] == before
        assert len(guard.findings) == 1


async def test_a_trace_function_is_left_alone() -> None:
    lines: list[int] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        if event == "line" and frame.f_code is Offer.open.function.__code__:
            lines.append(frame.f_lineno)
        return trace

    async with watched(Offer) as (world, guard):
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            await world.app.object(Offer, "a").open()
            assert sys.gettrace() is trace
        finally:
            sys.settrace(before)
    assert lines == [line_of(Offer.open.function) + 2]
    assert len(guard.findings) == 1


async def test_results_and_errors_are_those_without_a_guard() -> None:
    class Sum(VirtualObject):
        total: int = 0

        @handler
        async def add(self, ctx: Context, numbers: list[int]) -> int:
            async def one(number: int) -> int:
                return await ctx.run(abs, number)

            if not numbers:
                raise TerminalError("There are no numbers.")
            self.total += sum(await asyncio.gather(*map(one, numbers)))
            return self.total

    async def outcomes(world: World) -> list[object]:
        calls = [world.app.object(Sum, "a").add(numbers) for numbers in ([1, -2], [3, -4, 5], [])]
        return [str(one) for one in await asyncio.gather(*calls, return_exceptions=True)]

    async with watched(Sum) as (world, guard), World(Sum) as plain:
        assert await outcomes(world) == await outcomes(plain) == ["3", "15", "There are no numbers."]
    assert guard.findings == []


async def test_a_task_still_shows_its_own_code() -> None:
    names: list[str] = []

    class Offers(VirtualObject):
        @handler
        async def open(self) -> None:
            current: Any = asyncio.current_task()
            names.append(current.get_coro().cr_code.co_name)

            async def inner() -> None:
                task: Any = asyncio.current_task()
                names.append(task.get_coro().cr_code.co_name)
                assert "inner" in repr(task)

            await asyncio.create_task(inner())

    async with watched(Offers) as (world, _):
        await world.app.object(Offers, "a").open()
    assert names == ["open", "inner"]


def test_findings_are_plain_values() -> None:
    finding = Finding("Offer.open", "time.time", "/code/shop.py", 137, "ctx.now()")
    assert str(finding) == "Offer.open calls time.time() outside of a step, at shop.py:137. Use ctx.now()."
    assert finding == Finding("Offer.open", "time.time", "/code/shop.py", 137, "ctx.now()")


class Cyclic:
    """Garbage that only the collector finds, and that reads the clock when it goes."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        time.time()


class Collecting(VirtualObject):
    @handler
    async def collect(self) -> None:
        Cyclic()
        gc.collect()


async def test_what_the_garbage_collector_calls_is_not_reported() -> None:
    def timed(phase: str, info: dict[str, int]) -> None:
        time.perf_counter()

    gc.callbacks.append(timed)
    try:
        async with watched(Collecting) as (world, guard):
            await world.app.object(Collecting, "c").collect()
    finally:
        gc.callbacks.remove(timed)
    assert guard.findings == []
