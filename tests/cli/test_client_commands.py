"""`actors call`, `send`, `resolve`, `reject`, `state`, `sql`, against a server in this process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors import App, Context, Service, TerminalError, VirtualObject, handler
from actors.cli.commands import cli
from tests.http.served_in_thread import serving

handed_out: list[str] = []


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int, times: int = 1) -> int:
        self.count += n * times
        return self.count

    @handler
    async def reset(self) -> None:
        self.count = 0

    @handler
    async def fail(self, message: str) -> None:
        raise TerminalError(message, code=418, metadata={"kind": "tea\x1bpot"})

    @handler
    async def hold(self, ctx: Context) -> str:
        awaited = ctx.awakeable(str)
        await ctx.run(handed_out.append, awaited.id)
        return await awaited


class Greeter(VirtualObject):
    @handler
    async def greet(self, ctx: Context, name: str, mark: str = "!") -> str:
        return f"{name} of {ctx.key}{mark}"


class Tools(Service):
    @handler
    async def echo(self, value: Any) -> Any:
        return value

    @handler
    async def raw(self, data: bytes) -> bytes:
        return data[::-1]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("people") / "people.db"


@pytest.fixture(scope="module")
def url(file: Path) -> Iterator[str]:
    app = App(Counter, Greeter, Tools, storage=f"sqlite:///{file}")
    # Some of these calls wait for ever, and whoever made them is gone: the server does not wait for them.
    with serving(app, timeout_graceful_shutdown=1) as url:
        yield url


Actors = Callable[..., Result]


@pytest.fixture
def actors(url: str) -> Actors:
    """Types a command line; `actors` itself is left out."""
    handed_out.clear()
    return lambda *words: CliRunner().invoke(cli, words, env={"ACTORS_URL": url}, prog_name="actors")


def held(actors: Actors, key: str) -> tuple[str, str]:
    """A send that waits for an awakeable: the ids of both."""
    id = actors("send", f"Counter/{key}/hold").stdout.strip()
    while not handed_out:
        actors("call", f"Counter/{key}-other/reset")  # some turns of the server
    return id, handed_out[-1]


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["Counter/c1/add", "5"], "5\n"),
        (["Counter/c2/add", "-2"], "-2\n"),
        (["Counter/c3/add", "1", "10"], "10\n"),
        (["Counter/c4/add", "1", "times=2"], "2\n"),
        (["Counter/c5/add", "times=2", "n=-1"], "-2\n"),
        (["Counter/c6/add", "--json", "--", "-3"], "-3\n"),
        (["Counter/c/reset"], ""),
        (["Counter/c/reset", "--json"], "null\n"),
        (["Greeter/bob/greet", "hello"], "hello of bob!\n"),
        (["Greeter/bob/greet", "5"], "5 of bob!\n"),
        (["Greeter/bob/greet", '"5"'], "5 of bob!\n"),
        (["Greeter/bob/greet", '"a=b"'], "a=b of bob!\n"),
        (["Greeter/bob/greet", "1+1=2"], "1+1=2 of bob!\n"),
        (["Greeter/bob/greet", "YWI="], "YWI= of bob!\n"),
        (["Greeter/bob/greet", "name=name=b", "mark="], "name=b of bob\n"),
        (["Greeter/bob/greet", ""], " of bob!\n"),
        (["Greeter/a/b c/%2F/../ü/greet", "x"], "x of a/b c/%2F/../ü!\n"),
        (["Greeter/bob/greet", "ü😀", "--json"], '"ü😀 of bob!"\n'),
        (["Tools/echo", '{"a": [1, 2.50]}', "--json"], '{"a":[1,2.5]}\n'),
        (["Tools/echo", "null"], ""),
        (["Tools/echo", "plain"], "plain\n"),
        (["Tools/echo", '{"a": 1}'], '{\n  "a": 1\n}\n'),
        (["Tools/raw", "abc"], "cba"),
        (["Tools/raw", "abc", "--json"], '"Y2Jh"\n'),
    ],
)
def test_a_call_does_what_a_person_means(actors: Actors, words: list[str], printed: str) -> None:
    done = actors("call", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Counter/a/add", "x"], "'n'"),
        (["Counter/a/add"], "n"),
        (["Counter/a/add", "1", "2", "3"], "takes n, times"),
        (["Counter/a/add", "n=1", "2"], "Put it first"),
        (["Counter/a/add", "n=1", "n=2"], "twice"),
        (["Counter/a/reset", "x"], "takes no arguments"),
        (["Greeter/bob/greet", "nam=x"], "no parameter 'nam'. Its parameters: name, mark."),
        (["Nobody/a/add", "1"], "Nobody"),
        (["Counter/a/nothing"], "nothing"),
        (["Counter/add", "1"], "/Counter/{key}/{handler}"),
    ],
)
def test_what_is_refused_says_why_and_ends_with_1(actors: Actors, words: list[str], said: str) -> None:
    done = actors("call", *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and said in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["call", "Counter"],
        ["call", "/a/add"],
        ["call", "Counter//add"],
        ["call", "Counter/a/"],
        ["call", "Counter/a/add", "5", "--dely", "5s"],
        ["send", "Counter/a/add", "5", "--delay", "5"],
        ["call"],
        ["state", "Counter"],
        ["completion", "powershell"],
    ],
)
def test_what_cannot_be_meant_ends_with_2(actors: Actors, words: list[str]) -> None:
    assert actors(*words).exit_code == 2


def test_a_negative_value_of_an_option_is_shown_as_it_was_given(actors: Actors) -> None:
    done = actors("call", "Counter/a/add", "-1", "--timeout", "-5")
    assert done.exit_code == 2
    assert "-5.0 is not in the range" in done.stderr
    assert "\x00" not in done.stderr


def test_a_failure_is_told_with_its_metadata_and_obeyed_by_no_terminal(actors: Actors) -> None:
    done = actors("call", "Counter/a/fail", "no \x1b[31mtea")
    assert (done.exit_code, done.stderr) == (1, "Error: no \\x1b[31mtea [terminal_error]\n  kind: tea\\x1bpot\n")
    done = actors("call", "Counter/a/fail", "no tea", "--json")
    assert json.loads(done.stderr) == {
        "code": 418,
        "error": "terminal_error",
        "message": "no tea",
        "metadata": {"kind": "tea\x1bpot"},
    }


def test_a_send_prints_the_id_and_is_done_once_under_a_key(actors: Actors) -> None:
    first = actors("send", "Counter/s/add", "5", "--key", "k/1")
    again = actors("send", "Counter/s/add", "5", "--key", "k/1")
    assert first.stdout == again.stdout and first.stdout.startswith("inv_1")
    assert (first.stderr, "before" in again.stderr) == ("", True)
    assert actors("call", "Counter/s/add", "5", "--key", "k/1").stdout == "5\n"
    later = json.loads(actors("send", "Counter/s/add", "5", "--delay", "1h5m", "--json").stdout)
    assert later["due"].endswith("Z") and not later["previously_accepted"]
    for delay in ("soon", "-5s"):
        done = actors("send", "Counter/s/add", "5", "--delay", delay)
        assert (done.exit_code, "5s" in done.stderr) == (1, True)


def test_an_awakeable_is_resolved_with_json_or_text_and_rejected_with_a_reason(actors: Actors, url: str) -> None:
    call, id = held(actors, "one")
    done = actors("resolve", id, "5")
    assert (done.exit_code, "--text" in done.stderr) == (1, True)
    assert actors("resolve", id, "5", "--text").stdout == f"{id} resolved\n"
    assert actors("resolve", id, "5", "--text").exit_code == 0
    assert actors("resolve", id, "other").exit_code == 1
    assert call.startswith("inv_1")
    handed_out.clear()
    _, id = held(actors, "two")
    assert json.loads(actors("reject", id, "too dear", "--json").stdout) == {"id": id, "outcome": "rejected"}
    assert actors("reject", "prom_1x", "no").exit_code == 1


def test_a_call_that_takes_too_long_is_given_up(actors: Actors) -> None:
    done = actors("call", "Counter/slow/hold", "--timeout", "0.05")
    assert (done.exit_code, "goes on" in done.stderr) == (1, True)


def test_without_a_server_it_says_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = CliRunner().invoke(cli, ["call", "Counter/a/add", "5", "--url", f"http://127.0.0.1:{port}"])
    assert done.exit_code == 1
    assert f"No server answers at http://127.0.0.1:{port}" in done.stderr
    assert "actors serve module:app" in done.stderr and "--url" in done.stderr


def test_state_is_read_from_the_file_while_the_app_runs(actors: Actors, file: Path) -> None:
    actors("call", "Counter/st/ate/add", "7")
    assert actors("state", "Counter/st/ate", "--db", str(file)).stdout == "name   value\ncount  7\n"
    assert json.loads(actors("state", "Counter/st/ate", "--db", str(file), "--json").stdout) == {"count": 7}
    assert "no stored state" in actors("state", "Counter/nobody", "--db", str(file)).stdout


def test_sql_reads_the_views_and_can_do_nothing_else(actors: Actors, file: Path, tmp_path: Path) -> None:
    actors("call", "Counter/sql/add", "3")
    asked = "SELECT name, value, x'00ff' AS b, NULL AS n FROM state WHERE key = 'sql'"
    assert actors("sql", asked, "--db", str(file)).stdout == "name   value  b        n\ncount  3      x'00ff'\n"
    assert json.loads(actors("sql", asked, "--db", str(file), "--json").stdout) == [
        {"name": "count", "value": "3", "b": "00ff", "n": None}
    ]
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"  # without an end
    done = actors("sql", numbers, "--limit", "2", "--db", str(file))
    assert (done.stdout, "first 2" in done.stderr) == ("i\n1\n2\n", True)
    other = tmp_path / "other.db"
    for text in (
        "DELETE FROM object_state",
        "UPDATE object_state SET value = '9'",
        "CREATE TABLE x (y)",
        "DROP VIEW state",
        f"ATTACH '{other}' AS other",
        f"VACUUM INTO '{other}'",
        "PRAGMA writable_schema = 1",
        "BEGIN IMMEDIATE",
        "SELECT 1; DELETE FROM object_state",
        "SELEC",
        "",
        "SELECT * FROM nothing",
    ):
        done = actors("sql", text, "--db", str(file))
        assert (done.exit_code, done.stdout) == (1, ""), text
        assert done.stderr.startswith("Error: ")
    assert not other.exists()
    assert actors("call", "Counter/sql/add", "0").stdout == "3\n"
    done = actors("sql", "SELECT 1", "--db", str(other))
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_makes_the_shell_complete(actors: Actors, shell: str) -> None:
    done = actors("completion", shell)
    assert done.exit_code == 0
    assert f"_ACTORS_COMPLETE={shell}_complete" in done.stdout


def test_commands_are_completed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "actors"],
        env={
            "_ACTORS_COMPLETE": "bash_complete",
            "COMP_WORDS": "actors sta",
            "COMP_CWORD": "1",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "plain,state\n"
