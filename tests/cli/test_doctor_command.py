"""`actors doctor`: an object, an invocation, a whole file; beside an app and without."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.cli.commands import cli
from actors.cli.file.doctor import apart_from_times
from actors.cli.file.repeated import EVERY_S, Look, Repeated
from actors.cli.show.diagnosis import NO_APP
from actors.doctor.trouble import AWAKEABLES
from actors.errors import ActorsError
from actors.http_options import HttpOptions
from actors.storage.errors import StorageError
from tests.http.served_in_thread import serving


def fails() -> None:
    raise ConnectionError("upstream refused")


class Order(VirtualObject):
    @handler
    async def approve(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def add(self) -> int:
        return 1

    @handler
    async def ask(self, ctx: Context, key: str) -> str:
        return await ctx.object(Order, key).approve()

    @handler(retry=RetryPolicy(max_attempts=1))
    async def charge(self, ctx: Context) -> None:
        await ctx.run(fails)


def doctor(path: Path, *words: str) -> Result:
    return CliRunner().invoke(
        cli, ["doctor", *words, "--db", str(path)], catch_exceptions=False, env={"COLUMNS": "100"}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file whose app has ended: three orders wait for one awakeable, another has failed for good."""
    path = tmp_path / "app.db"

    async def use() -> None:
        paused = asyncio.Event()
        async with App(Order, storage=f"sqlite:///{path}", on_paused=lambda info: paused.set()) as app:
            await app.object(Order, "a").approve.send()
            await app.object(Order, "b").ask.send("a")
            await app.object(Order, "b").add.send()
            await app.object(Order, "c").charge.send()
            await paused.wait()

    asyncio.run(use())
    return path


pytestmark = pytest.mark.may_log("is paused")


def test_an_object_is_explained_with_the_ways_out(path: Path) -> None:
    result = doctor(path, "Order/b")
    assert result.exit_code == 1
    lines = [re.sub(r"(inv|prom)_1[\w-]+", r"\1_1…", line) for line in result.output.splitlines()]
    assert lines[:6] == [
        NO_APP,
        "Order/b/ask waits for its call of Order/a/approve.",
        "  inv_1…",
        "Order/a/approve waits in the mailbox of Order/a, behind Order/a/approve.",
        "  inv_1…",
        lines[5],
    ]
    assert lines[5].startswith("Order/a/approve waits for an awakeable (str) since ")
    assert "Behind it: 1 message, the oldest for 0 s." in lines and "What frees it:" in lines


def test_a_way_out_that_is_shown_can_be_typed(path: Path) -> None:
    shown = next(line for line in doctor(path, "Order/a").output.splitlines() if "awakeables resolve" in line)
    words = [word if word != "VALUE" else "yes" for word in shlex.split(shown)[1:]]

    async def serve() -> Result:
        async with App(Order, storage=f"sqlite:///{path}") as app:
            result = await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--text"])
            assert words[2] not in {one.id for one in await app.awakeables()}
            return result

    assert asyncio.run(serve()).output == f"{words[2]} resolved\n"


def test_the_paused_are_told_with_error_and_id(path: Path) -> None:
    id = json.loads(doctor(path, "Order/c", "--json").output)["id"]
    for subject in ("Order/c", id):
        output = doctor(path, subject).output
        assert "Order/c/charge is paused: its attempt has failed, the first" in output
        assert "  ConnectionError: upstream refused\n" in output
        assert f"  actors invocations resume {id} --db {path}\n" in output


def test_the_whole_file_is_told_by_causes(path: Path) -> None:
    result = doctor(path, "--older", "0")
    assert result.exit_code == 1
    assert "2 causes need a person; 2 messages wait behind them." in result.output
    assert result.output.index("Order/a/approve waits") < result.output.index("Order/c/charge is paused")
    facts = json.loads(doctor(path, "--older", "0", "--json").output)
    assert [cause["cause"] for cause in facts["causes"]] == ["awakeable", "retries_used_up"]
    assert facts["causes"][0]["other_keys"] == ["Order/b"] and facts["running"] is False and facts["cut"] is False


def test_what_has_not_lasted_a_minute_is_no_trouble(path: Path) -> None:
    result = doctor(path)
    assert (result.exit_code, result.output) == (0, f"{NO_APP}\nAll keys move.\n")


def test_a_free_object_ends_with_0(path: Path) -> None:
    result = doctor(path, "Order/none")
    assert result.exit_code == 0 and result.output == f"{NO_APP}\nOrder/none: No invocation is open.\n"


def test_a_file_is_read_while_its_app_runs(tmp_path: Path) -> None:
    path = tmp_path / "app.db"

    async def use() -> Result:
        async with App(Order, storage=f"sqlite:///{path}") as app:
            await app.object(Order, "b").ask.send("a")
            while not await app.awakeables():  # its commit may come later than that of the message
                pass
            return await asyncio.to_thread(doctor, path, "Order/a", "--json")

    facts = json.loads(asyncio.run(use()).output)
    assert facts["running"] is True and facts["cause"] == "awakeable" and facts["needs_a_person"] is True
    assert facts["ways"][0]["command"][:2] == ["awakeables", "resolve"]


def test_what_was_not_looked_at_is_said(tmp_path: Path) -> None:
    path = tmp_path / "app.db"

    async def look(count: int) -> bool:
        """Whether the doctor says that there is more, once `count` more orders wait."""
        async with App(Order, storage=f"sqlite:///{path}") as app:
            for _ in range(count):
                await app.object(Order, f"o{next(numbers)}").approve.send()
        return "There is more than was looked at." in (await asyncio.to_thread(doctor, path, "--older", "0")).output

    numbers = itertools.count()
    assert [asyncio.run(look(count)) for count in (AWAKEABLES, 1)] == [False, True]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["Order/"], 2, "'Order/' is not a valid object"),
        (["/a"], 2, "'/a' is not a valid object"),
        (["nonsense"], 1, "is not an invocation id"),
        (["inv_1AAAAAAAAAAAAAhJRwVC5MNc3r-k"], 1, "id"),
        (["--older", "-1"], 2, "-1.0 is not in the range"),
        (["--older", "nan"], 2, "nan"),
        (["a/b", "c/d"], 2, "unexpected extra argument"),
    ],
)
def test_bad_input_is_refused(path: Path, words: list[str], code: int, said: str) -> None:
    result = doctor(path, *words)
    assert result.exit_code == code and said in result.output


def test_a_missing_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    result = doctor(tmp_path / "none.db", "Order/a")
    assert result.exit_code == 1 and result.output.startswith("Error: ") and result.output.count("\n") == 1


def test_control_characters_of_a_key_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "app.db"

    async def use() -> None:
        async with App(Order, storage=f"sqlite:///{path}") as app:
            await app.object(Order, "\x1b[31m\nx").approve.send()

    asyncio.run(use())
    output = doctor(path, "--older", "0").output
    assert "\x1b" not in output and "Order/\\x1b[31m\\nx/approve" in output


# --- --watch ------------------------------------------------------------------------------------------------------------------


class Looks:
    """Looks as given, at times one second apart. A `pause` that has no look left is interrupted, as by Ctrl-C."""

    def __init__(self, *looks: str | ActorsError) -> None:
        self.left = list(looks)
        self.seconds = 0

    async def look(self) -> Look:
        found = self.left.pop(0)
        if isinstance(found, ActorsError):
            raise found
        return Look(found, lambda: click.echo(f"{found}, {self.seconds} s"), len(found))

    def now(self) -> datetime.datetime:
        self.seconds += 1
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.seconds)

    async def pause(self, seconds: float) -> None:
        assert seconds == EVERY_S
        if not self.left:
            raise asyncio.CancelledError


def watched(looks: Looks, *, terminal: bool = False, bare: bool = False) -> int:
    console = Console(force_terminal=terminal, highlight=False, width=100)
    repeated = Repeated(looks.look, console, looks.now, bare=bare, pause=looks.pause)
    return asyncio.run(repeated.until_interrupted())


def test_a_pipe_receives_what_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert watched(Looks("bad", "bad", "fine", "bad")) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "2026-01-01T00:00:01Z",
        "bad, 1 s",
        "",
        "2026-01-01T00:00:02Z",
        "fine, 2 s",
        "",
        "2026-01-01T00:00:03Z",
        "bad, 3 s",
    ]


def test_a_terminal_is_drawn_anew_for_each_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert watched(Looks("bad", "bad"), terminal=True) == 3
    first, second = capsys.readouterr().out.split("\x1b[2J\x1b[H")[1:]
    assert "2026-01-01T00:00:01Z, every 2 s. Ctrl-C ends." in first and first.endswith("bad, 1 s\n")
    assert "2026-01-01T00:00:02Z, every 2 s. Ctrl-C ends." in second and second.endswith("bad, 2 s\n")


def test_json_has_no_lines_between(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Looks("a", "a", "b"), terminal=True, bare=True)
    assert capsys.readouterr().out == "a, 0 s\nb, 0 s\n"


def test_a_failure_is_no_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Looks("a", StorageError("locked"), "b"), bare=True)
    said = capsys.readouterr()
    assert said.out == "a, 0 s\nb, 0 s\n" and said.err.startswith("Error: locked")


def test_a_look_that_fails_later_is_told_and_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    locked = StorageError("the file is locked")
    assert watched(Looks("bad", locked, locked, "fine!")) == 5
    said = capsys.readouterr().out
    assert said.count("Error: the file is locked") == 1 and said.endswith("fine!, 3 s\n")


def test_a_first_look_that_fails_ends_the_command(tmp_path: Path) -> None:
    result = doctor(tmp_path / "none.db", "--watch")
    assert result.exit_code == 1 and result.output.startswith("Error: ")


@pytest.mark.parametrize("words", [["Order/c"], ["--older", "0"], ["Order/c", "--json"]])
def test_a_watch_ends_with_ctrl_c_and_the_last_exit_code(path: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "actors", "doctor", *words, "--watch", "--db", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None and watch.stderr is not None
        first = watch.stdout.readline()
        assert json.loads(first)["cause"] == "retries_used_up" if "--json" in words else first.endswith("Z\n")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 1
        assert watch.stderr.read() == "" and "ConnectionError: upstream refused" in first + watch.stdout.read()


def test_a_change_of_times_alone_is_no_news(path: Path) -> None:
    looks = [json.loads(doctor(path, "--older", "0", "--json").output) for _ in range(2)]
    first, second = (apart_from_times(look) for look in looks)
    looks[1]["causes"][0]["text"] = "waits for an awakeable, 3 d ago."
    assert first == second == apart_from_times(looks[1])
    looks[1]["causes"][0]["behind"] += 1
    assert apart_from_times(looks[1]) != first


# --- --url --------------------------------------------------------------------------------------------------------------------


class Lock(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> None:
        await asyncio.Event().wait()


@contextlib.contextmanager
def served(**options: Any) -> Iterator[str]:
    """The URL of an app with an awakeable that waits, and a handler that waits for what nothing records."""
    with serving(App(Order, Lock, storage="sqlite://", http=HttpOptions(**options))) as url:
        for target in ("Order/a/approve", "Order/b/add", "Lock/l/wait"):
            assert run_cli("send", target, "--url", url).exit_code == 0
        yield url


def run_cli(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False, env={"COLUMNS": "100"})


def asked(url: str, *words: str) -> Result:
    """Once what was sent waits: the doctor reads what has been committed."""
    while True:
        result = run_cli("doctor", *words, "--url", url)
        if "No invocation is open" not in result.output and " and begins." not in result.output:
            return result


def test_an_app_that_is_served_is_asked_at_its_url() -> None:
    with served() as url:
        result = asked(url, "Order/a")
        id = json.loads(asked(url, "Order/a", "--json").output)["id"]
        assert (result.exit_code, asked(url, id).exit_code) == (1, 1)
        lines = result.output.splitlines()
        assert lines[0].startswith("Order/a/approve waits for an awakeable (str) since ") and lines[1] == f"  {id}"
        awakeable = lines[2].strip()
        assert f"  actors resolve {awakeable} VALUE --url {url}" in lines
        assert f"  curl -X POST {url}/restate/admin/invocations/{id}/cancel" in lines
        assert run_cli("resolve", awakeable, "yes", "--url", url).exit_code == 0


def test_the_app_knows_the_line_that_waits_for_what_nothing_records() -> None:
    with served() as url:
        result = asked(url, "Lock/l")
        assert result.exit_code == 0 and "waits at test_doctor_command.py:" in result.output


def test_all_trouble_of_an_app_is_asked_at_its_url() -> None:
    with served() as url:
        assert asked(url).output == "All keys move.\n"
        while not json.loads((found := asked(url, "--older", "0", "--json")).output)["causes"]:
            pass
        assert found.exit_code == 1 and json.loads(found.output)["running"] is True
        assert "1 cause needs a person; " in asked(url, "--older", "0").output


def test_the_admin_token_is_sent() -> None:
    with serving(App(Order, storage="sqlite://", http=HttpOptions(admin_token="secret"))) as url:
        refused = run_cli("doctor", "Order/a", "--url", url)
        assert refused.exit_code == 1 and refused.output.startswith("Error: ") and refused.output.count("\n") == 1
        assert run_cli("send", "Order/a/approve", "--url", url).exit_code == 0
        shown = asked(url, "Order/a", "--token", "secret").output
        assert 'curl -X POST -H "Authorization: Bearer $ACTORS_TOKEN" http://' in shown and "secret" not in shown
        assert "The commands above read the token from ACTORS_TOKEN." in shown


def test_a_server_that_does_not_answer_is_one_line() -> None:
    result = run_cli("doctor", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1 and result.output.startswith("Error: ") and result.output.count("\n") == 1


@pytest.mark.parametrize(("words", "code"), [(["--db", "x.db"], 2), (["Order/"], 2), (["inv_1nonsense"], 1)])
def test_bad_input_is_refused_with_a_url_too(words: list[str], code: int) -> None:
    with serving(App(Order, storage="sqlite://")) as url:
        result = run_cli("doctor", *words, "--url", url)
        assert result.exit_code == code and "Error: " in result.output


@pytest.mark.parametrize("body", [b"<p>hello</p>", b"{}", b'{"causes": 3}', b"[" * 100_000])
def test_another_server_is_not_taken_for_an_app(body: bytes) -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in ("startup", "shutdown"):
                await send({"type": f"{(await receive())['type']}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": body})

    with serving(other) as url:
        for words in ([], ["Order/a"], ["inv_1x"]):
            result = run_cli("doctor", *words, "--url", url)
            assert result.exit_code == 1 and "did not come from a server of actors" in result.output
