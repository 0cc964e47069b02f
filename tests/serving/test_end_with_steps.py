"""A server that ends while steps run: it says so, waits for the grace period, and then ends all the same."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.server import APP, Serving, connected, serving, until

pytestmark = pytest.mark.may_log("Stopping")

STEPS = """
import asyncio, time
from concurrent.futures import ThreadPoolExecutor

def begun(how):
    with open("begun", "a") as file:
        file.write(how + "\\n")

def block(seconds):
    begun("block")
    time.sleep(seconds)
    return "slept"

async def wait(seconds):
    begun("wait")
    await asyncio.sleep(seconds)

async def stubborn(seconds):
    begun("stubborn")
    while True:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            pass

class Slow(VirtualObject):
    done: list[str] = []

    @handler
    async def run(self, ctx: Context, how: str, seconds: float) -> None:
        function = {"block": block, "wait": wait, "stubborn": stubborn}[how]
        await ctx.run(function, seconds)
        self.done.append(how)

    @handler
    async def twice(self, ctx: Context, seconds: float) -> None:
        await ctx.run(block, seconds)
        await ctx.run(block, seconds)
"""


def write(folder: Path, app: str = "") -> None:
    text = APP.replace("app = App(Account, Flow,", STEPS + "\napp = App(Account, Flow, Slow," + app)
    (folder / "shop.py").write_text(text)


async def begin(server: Serving, folder: Path, path: str, first: object, *others: object) -> None:
    async with connected(server.port) as connection:
        value = [first, *others] if others else first
        assert (await connection.ask("POST", path, value)).status == 202
    async with asyncio.timeout(10):
        await until((folder / "begun").exists)


@pytest.mark.parametrize("how", ["block", "wait", "stubborn"])
@pytest.mark.parametrize("executor", ["", " executor=ThreadPoolExecutor(2),"], ids=["own threads", "an executor"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
async def test_a_step_does_not_keep_the_server_beyond_its_grace(
    how: str, executor: str, sent: signal.Signals, tmp_path: Path
) -> None:
    if executor and how != "block":
        pytest.skip("only threads need one")
    write(tmp_path, executor)
    with serving(tmp_path, "--grace", "0.3") as server:
        await begin(server, tmp_path, "/Slow/a/run/send", how, 600)
        server.process.send_signal(sent)
        code, errors = server.end()
    assert code == 0, errors
    assert f"Stopping: 1 step runs (step {how} of Slow/a/run (inv_1" in errors
    assert "Waiting for 0.3 s at most; a second signal stops at once." in errors
    assert f"Stopping although 1 step runs (step {how} of" in errors


@pytest.mark.may_log("The app has stopped")
@pytest.mark.parametrize("how", ["block", "wait", "stubborn"])
async def test_a_step_does_not_keep_a_server_that_has_lost_its_file(how: str, tmp_path: Path) -> None:
    write(tmp_path, " executor=ThreadPoolExecutor(2),")
    with serving(tmp_path, "--grace", "0.3") as server:
        await begin(server, tmp_path, "/Slow/a/run/send", how, 600)
        with contextlib.closing(sqlite3.connect(tmp_path / "app.db", timeout=30)) as other:
            other.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
            other.commit()
        async with connected(server.port) as connection:
            assert (await connection.ask("POST", "/Account/a/add", "x")).json["error"] == "outcome_pending"
        code, errors = server.end()
    assert code == 1, errors
    assert errors.count("Error: This process opened the database as owner number 1") == 1


async def test_a_step_that_ends_in_time_is_recorded_and_the_next_is_not_begun(tmp_path: Path) -> None:
    write(tmp_path)
    with serving(tmp_path, "--grace", "20") as server:
        await begin(server, tmp_path, "/Slow/a/twice/send", 0.5)
        server.process.send_signal(signal.SIGTERM)
        code, errors = server.end()
    assert code == 0 and "Stopping although" not in errors
    assert (tmp_path / "begun").read_text().split() == ["block"]
    with serving(tmp_path) as server:
        async with connected(server.port) as connection, asyncio.timeout(20):
            await until(lambda: (tmp_path / "begun").read_text().split() == ["block", "block"])
            assert (await connection.ask("POST", "/Slow/a/run", ["block", 0])).status == 200
    assert (tmp_path / "begun").read_text().split() == ["block"] * 3


async def test_a_caller_who_waits_for_steps_is_answered_within_the_grace(tmp_path: Path) -> None:
    write(tmp_path)
    with serving(tmp_path, "--grace", "20") as server:
        async with connected(server.port) as connection, asyncio.timeout(20):
            asking = asyncio.create_task(connection.ask("POST", "/Slow/a/twice", 0.3))
            await until((tmp_path / "begun").exists)
            server.process.send_signal(signal.SIGTERM)
            assert (await asking).status == 200
        code, errors = server.end()
    assert code == 0
    assert "Stopping: 1 connection waits for an answer and 1 step runs (step block of Slow/a/twice" in errors


SCRIPT = """
import asyncio, sys, time
from actors import App, Context, VirtualObject, handler, run

class Slow(VirtualObject):
    @handler
    async def go(self, ctx: Context) -> None:
        await ctx.run(time.sleep, 600)

async def main() -> None:
    async with App(Slow, storage="sqlite:///app.db") as app:
        await app.object(Slow, "a").go.send()
        while not app._executing():
            await asyncio.sleep(0.01)
        print("runs", flush=True)
        if sys.argv[1] == "wait":
            await asyncio.sleep(600)

run(main())
"""


@pytest.mark.parametrize("way", ["leave", "wait"])
def test_a_program_ends_although_a_step_of_its_app_runs(way: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, way],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "runs\n"
        if way == "wait":
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == (0 if way == "leave" else -signal.SIGINT), errors
