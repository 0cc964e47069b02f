"""The pytest plugin in projects of its users: with any async plugin or none, in any order, and with mistakes in the options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

CLASSES = """
from actors import Context, VirtualObject, handler


def send_mail(to: str) -> None: ...


class Order(VirtualObject):
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def checkout(self, ctx: Context) -> str:
        await ctx.run(send_mail, "boss")
        return await ctx.awakeable(str)
"""

TESTS = """
import asyncio

import pytest
from order import Order, send_mail

from actors.testing import World, crash_everywhere, serves, simulate


async def test_an_order_survives_a_crash_while_it_waits(world: World) -> None:
    await world.serve(Order)
    world.replace(send_mail, lambda to: None)
    sent = await world.object(Order, "o1").checkout.send()
    approval = await world.awakeable()
    await world.crash()
    await approval.resolve("approved")
    assert await sent.result() == "approved"


class TestOrders:
    @serves(Order)
    @pytest.mark.parametrize("item", ["book", "pen"])
    async def test_a_method_has_a_world(self, world: World, item: str, tmp_path) -> None:
        assert await world.object(Order, "o1").add(item) == 1


@pytest.fixture
def stocked(world: World) -> World:
    world.run(world.serve(Order))
    return world


async def test_a_fixture_may_use_the_world(stocked: World, world: World) -> None:
    assert stocked is world and await world.object(Order, "o1").add("book") == 1


def test_a_plain_function_may_use_the_world(stocked: World) -> None:
    async def add() -> int:
        return await stocked.object(Order, "o1").add("book")

    assert stocked.run(add()) == 1


@crash_everywhere
@serves(Order)
async def test_an_item_is_added_once(world: World) -> None:
    assert await world.object(Order, "o1").add("book") == 1


@simulate(runs=5)
@serves(Order)
async def test_items_are_not_lost(world: World) -> None:
    await asyncio.gather(*(world.object(Order, "o1").add("book") for _ in range(3)))
    assert len(world.look(Order, "o1").items) == 3
"""
PASSED = 7


def pytest_run(folder: Path, *options: str, tests: str = TESTS, alone: bool = True) -> tuple[int, str]:
    """Run pytest in a folder with these tests, with no other plugin if `alone`. Returns its exit code and output."""
    (folder / "order.py").write_text(CLASSES)
    (folder / "test_order.py").write_text(tests)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    if alone:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ("-p", "actors", *options)  # by its entry point
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:schemathesis", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "COLUMNS": "140", "PYTHONHASHSEED": "random"},
    )
    return ended.returncode, ended.stdout + ended.stderr


def passed(output: str) -> int:
    found = re.search(r"(\d+) passed", output)
    return int(found[1]) if found else 0


ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")


@pytest.mark.parametrize(
    "options",
    [
        ("-p", "no:asyncio", "-p", "no:anyio"),
        ("-p", "no:anyio", *ASYNCIO, "-o", "asyncio_mode=auto"),
        ("-p", "no:anyio", *ASYNCIO, "-o", "asyncio_mode=strict"),
        ("-p", "no:asyncio", "-o", "anyio_mode=auto"),
        ("-n", "2", *ASYNCIO),
    ],
    ids=["no async plugin", "asyncio auto", "asyncio strict", "anyio", "xdist"],
)
def test_tests_with_a_world_pass_whichever_plugins_there_are(options: tuple[str, ...], tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", *options, alone=False)
    assert (code, passed(output)) == (0, PASSED), output


def test_the_order_of_tests_does_not_matter(tmp_path: Path) -> None:
    names = re.findall(r"^(?:async )?def (test_\w+)|^    async def (test_\w+)", TESTS, re.M)
    nodes = [f"test_order.py::{'TestOrders::' if inner else ''}{name or inner}" for name, inner in names]
    code, output = pytest_run(tmp_path, "-q", *reversed(nodes))
    assert (code, passed(output)) == (0, PASSED), output


def test_other_async_tests_are_left_to_their_plugin(tmp_path: Path) -> None:
    tests = """
    import asyncio

    async def test_on_the_loop_of_pytest_asyncio() -> None:
        assert type(asyncio.get_running_loop()).__name__ != "VirtualLoop"
    """
    code, output = pytest_run(
        tmp_path, "-q", *ASYNCIO, "-o", "asyncio_mode=auto", tests=textwrap.dedent(tests), alone=False
    )
    assert (code, passed(output)) == (0, 1), output


def test_a_fixture_of_the_project_named_world_is_its_own(tmp_path: Path) -> None:
    tests = """
    import pytest

    @pytest.fixture
    def world() -> str:
        return "theirs"

    async def test_theirs(world: str) -> None:
        assert world == "theirs"
    """
    code, output = pytest_run(
        tmp_path, "-q", *ASYNCIO, "-o", "asyncio_mode=auto", tests=textwrap.dedent(tests), alone=False
    )
    assert (code, passed(output)) == (0, 1), output


FAILING = """
import pytest
from order import Order, send_mail

from actors.testing import World, crash_everywhere, serves, simulate


@crash_everywhere(also=["commit 1: killed before"])
@serves(Order)
async def test_a_mail_is_sent_once(world: World) -> None:
    mails = []
    world.replace(send_mail, mails.append)
    sent = await world.object(Order, "o1").checkout.send()
    await (await world.awakeable()).resolve("yes")
    await sent.result()
    assert mails == ["boss"], "sent twice"


@simulate(runs=2)
@serves(Order)
async def test_that_fails_anyhow(world: World) -> None:
    assert await world.object(Order, "o1").add("book") == 2, "always"


@crash_everywhere
async def test_with_a_fixture_of_its_own(world: World, tmp_path) -> None: ...


@serves(Order)
async def test_that_hangs(world: World) -> None:
    world.replace(send_mail, lambda to: None)
    await world.object(Order, "o1").checkout()
"""


def test_a_failing_sweep_says_how_to_see_it_again(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "-k", "sent_once", tests=FAILING)
    assert code == 1 and "AssertionError: sent twice" in output
    again = re.search(r"Again: +pytest '(\S+)' --actors '([^']+)'", output)
    assert again is not None, output
    assert f"Keep it: @crash_everywhere(also=[{again[2]!r}])" in output
    assert "also='commit 1: killed before' no longer fails" in output
    code, output = pytest_run(tmp_path, "-q", again[1], "--actors", again[2], tests=FAILING)
    assert code == 1 and "AssertionError: sent twice" in output


def test_a_failure_without_an_unusual_choice_has_a_text_too(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "-k", "fails_anyhow", tests=FAILING)
    assert code == 1 and "shrunk to 0 in" in output and "runs: usual\n" in output
    assert re.search(r"Again: +pytest '\S+fails_anyhow' --actors 'usual'\n", output), output
    assert "Keep it: @simulate(runs=2, also=['usual'])" in output
    code, output = pytest_run(tmp_path, "-q", "-k", "fails_anyhow", "--actors", "usual", tests=FAILING)
    assert code == 1 and "AssertionError: always" in output and "process    1 is up" in output


def test_a_test_that_hangs_fails_in_no_time_with_the_line(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "-k", "hangs", tests=FAILING)
    assert code == 1
    assert (
        "waits at test_order.py:32 for what will never happen. Order/o1/checkout waits for an awakeable (str), at order.py:"
        in output
    )
    assert ">       await world.object" not in output or "test_order.py:32" in output
    assert "begins     Order/o1/checkout()" in output  # the story


def test_a_function_scoped_fixture_in_a_sweep_is_refused(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "-k", "fixture_of_its_own", tests=FAILING)
    assert code == 1 and "The fixture 'tmp_path' outlives the runs of this test" in output


def test_what_a_passing_sweep_covered_is_said_when_asked_for(tmp_path: Path) -> None:
    for options in (("-v",), ("--actors-report",)):
        code, output = pytest_run(tmp_path, "-k", "added_once or not_lost", *options)
        assert code == 0 and "test_an_item_is_added_once: 2 points of 1 commits: none failed" in output
        assert re.search(r"test_items_are_not_lost: 5 runs: \d with a crash", output)
    assert "points of" not in pytest_run(tmp_path, "-q", "-k", "added_once")[1]


AFRESH = """
from conftest import WORDS
from order import Order

from actors import Context, VirtualObject, handler
from actors.testing import World, crash_everywhere, serves


class Text(VirtualObject):
    @handler
    async def index(self, ctx: Context) -> None:
        for word in set(WORDS):
            await ctx.object(Order, word).add("x")


@crash_everywhere(most=1)
@serves(Text, Order)
async def test_words(world: World) -> None:
    await world.object(Text, "t").index()


@crash_everywhere(most=1)
async def test_local(world: World) -> None:
    class Local(Order): ...

    await world.serve(Order, Local)
    await world.object(Order, "o1").add("book")
"""


def test_a_fresh_process_finds_the_order_of_a_set(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("WORDS = [f'word {number}' for number in range(12)]")
    code, output = pytest_run(tmp_path, "-q", "--actors-report", tests=AFRESH)
    assert code == 1 and "1 failed, 1 passed" in output, output
    assert re.search(r"A fresh process does something else, on the disk after commit \d+: Text/t/index", output), output
    assert "Likely causes: the order of a set, or the memory of the process" in output
    assert "a fresh process has explained 1 disks of 1 commits" in output
    assert "not checked in a fresh process: Local: it is defined in a function" in output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--actors", ";"), "is not a valid choice"),
        (("--actors-seed", "-1"), "requires a number from 0 on"),
        (("--actors-seed", "x"), "invalid int value"),
    ],
)
def test_options_that_are_not_valid_are_a_usage_error(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, *options)
    assert code == 4 and said in output


def test_a_choice_that_does_not_occur_fails_with_the_nearest(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "-k", "added_once", "--actors", "comit 1: killed before")
    assert code == 1 and "is not a choice of this test. Nearest: 'commit 1: killed before'" in output


def test_each_seed_can_be_run_twice_and_from_another_seed(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "-k", "not_lost", "--actors-twice", "--actors-seed", "1000")
    assert (code, passed(output)) == (0, 1), output


def test_a_project_without_worlds_imports_nothing_of_the_package(tmp_path: Path) -> None:
    tests = """
    import sys

    def test_nothing() -> None:
        loaded = sorted(name for name in sys.modules if name.split(".")[0] == "actors")
        assert "actors.testing.world" not in loaded and "actors.engine" not in loaded and "sqlite3" not in loaded, loaded
    """
    code, output = pytest_run(tmp_path, "-q", tests=textwrap.dedent(tests))
    assert (code, passed(output)) == (0, 1), output
