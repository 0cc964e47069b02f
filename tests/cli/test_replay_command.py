"""`actors replay`: finished and open invocations of a file once more, and step by step in the debugger."""

from __future__ import annotations

import asyncio
import os
import pdb
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors import Limits
from actors.cli.commands import cli
from actors.cli.file.database import visiting
from actors.cli.replay.captured import Collecting
from actors.cli.replay.debugger import Debugger, is_traced, when_asked_for
from actors.cli.replay.replaying import Replaying
from actors.cli.replay.subject import read
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.storage.records import Status
from tests.cli import past_app
from tests.cli.past_records import records

ROOT = Path(__file__).parents[2]
APP = "tests.cli.past_app:app"


class File:
    """A file with invocations, and commands on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids = asyncio.run(records(path))

    def replay(self, name: str, *options: str, input: str | None = None, app: str = APP) -> Result:
        arguments = ["replay", self.ids.get(name, name), app, "--db", str(self.path), *options]
        return CliRunner(env={"COLUMNS": "200"}).invoke(cli, arguments, input=input)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    return File(tmp_path_factory.mktemp("past") / "past.db")


@pytest.fixture(autouse=True)
def folder() -> Iterator[None]:
    before = os.getcwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


# --- what is printed ------------------------------------------------------------------------------------------------------


def test_commands_and_answers_are_printed_with_the_lines_of_the_handler(file: File) -> None:
    result = file.replay("checkout")
    assert result.exit_code == 0
    run = line_of('ctx.run(mail, "hello")')
    assert result.stdout.splitlines() == [
        f"Order/o-1/checkout ({file.ids['checkout']}), accepted 2023-11-14T22:13:20.000Z",
        "  arguments  [4]",
        "  state      {}",
        "",
        f"    1  past_app.py:{run}        set state quantity = 4",
        f"    2  past_app.py:{run}        run 'mail'",
        '    3                        2 answers "sent hello"',
        f"    4  past_app.py:{run + 1}        call Stock/books/reserve(4)",
        "    5                        4 answers 89",
        f"    6  past_app.py:{run + 2}        sleep 0.01 s",
        "    7                        6 is over",
        '    8                        set state status = "complete, sent hello, 89 left"',
        "",
        "  quantity: not set -> 4",
        '  status: not set -> "complete, sent hello, 89 left"',
        'It returns "complete, sent hello, 89 left", as stored.',
    ]


def test_answers_to_tasks_of_a_handler_come_in_their_recorded_order(file: File) -> None:
    result = file.replay("both")
    assert result.exit_code == 0
    assert "9  past_app.py" in result.stdout and result.stdout.endswith(
        'It returns ["sent sent a","sent sent b"], as stored.\n'
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reader", 'It returns "complete, sent hello, 89 left, sent x", as stored.'),
        ("service", "It returns 27, as stored."),
        ("run", 'It returns "Rome: sent Rome", as stored.'),
        ("tick", 'It returns "dong", as stored.'),
        ("refused", "It fails: not enough (409 terminal_error), as stored."),
        (
            "killed",
            "The runtime ended it: it fails: The invocation was killed. (409 killed). That is not an answer of its code.",
        ),
        ("open", "It is blocked: its code waits for awakeable 'str'."),
        ("restarted", 'It returns "complete, sent hello, 85 left", as stored.'),
    ],
)
def test_invocations_of_every_sort_are_replayed(file: File, name: str, said: str) -> None:
    result = file.replay(name)
    assert result.exit_code == 0, result.output
    assert said in result.stdout.splitlines()


def test_a_restarted_invocation_says_whose_journal_it_continues(file: File) -> None:
    said = f"begins with that of {file.ids['checkout']}, which this invocation continues"
    assert said in file.replay("restarted").stdout


def test_an_outcome_that_differs_is_shown_beside_the_stored_one(file: File) -> None:
    result = file.replay("odd")
    assert result.exit_code == 1
    now, stored = result.stdout.splitlines()[-2:]
    assert now.startswith("It returns ") and stored.startswith("Stored: it returns ") and now[3:] != stored[11:]


def test_another_state_leads_to_another_way_and_the_journal_says_so(file: File) -> None:
    result = file.replay("checkout", "--state", '{"status": "done"}')
    assert result.exit_code == 1
    assert "The code no longer fits the journal at entry 1" in result.stdout


def test_the_state_may_come_from_a_file(file: File, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"status": "new", "quantity": 7}', encoding="utf-8")
    result = file.replay("checkout", "--state", str(tmp_path / "state.json"))
    assert result.exit_code == 0 and "  quantity: 7 -> 4" in result.stdout


def test_a_position_behind_the_journal_is_an_error(file: File) -> None:
    result = file.replay("checkout", "--to", "99")
    assert result.exit_code == 1 and result.stdout == ""
    assert "--to 99: the journal of Order/o-1/checkout" in result.stderr and "ends at position" in result.stderr


def test_a_file_of_state_that_is_not_there_is_named(file: File) -> None:
    result = file.replay("checkout", "--state", "nowhere.json")
    assert result.exit_code == 1 and "--state 'nowhere.json' cannot be read" in result.stderr


def test_a_replay_to_a_position_ends_there_with_the_state_so_far(file: File) -> None:
    result = file.replay("checkout", "--to", "5")
    assert result.exit_code == 0
    told = result.stdout.splitlines()
    assert told[-3:] == [
        "    5                        4 answers 89",
        "",
        'State at position 5, in the middle of the handler: {"quantity": 4}',
    ]


def test_strict_stops_at_a_call_that_no_replay_repeats(file: File) -> None:
    past_app.beyond.clear()
    result = file.replay("odd", "--strict")
    assert not past_app.beyond
    assert result.exit_code == 1
    assert "Error: Order.odd calls time.time() outside of a step, at past_app.py:" in result.stderr
    assert "It returns" not in result.stdout
    assert file.replay("checkout", "--strict").exit_code == 0


def test_nothing_is_executed_or_written(file: File) -> None:
    before = file.path.read_bytes()
    file.replay("checkout")
    assert file.path.read_bytes() == before
    assert not Path("never-made.db").exists()


# --- what cannot be replayed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("inv_1AAAAAAAAAAAAA72X4j-7eHZgNnX", "is not an invocation id of this app"),
        ("999999", "unknown_invocation"),
        ("x", "is not an invocation id"),
    ],
)
def test_an_unknown_id_is_one_line_on_stderr(file: File, id: str, said: str) -> None:
    result = file.replay(id)
    assert result.exit_code == 1 and result.stdout == ""
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_a_missing_app_is_wrong_usage(file: File) -> None:
    result = file.replay("checkout", app="tests.cli.past_app:nothing")
    assert result.exit_code == 2 and "There is no 'nothing'" in result.stderr
    result = file.replay("checkout", app="tests.cli.other_app:app")
    assert result.exit_code == 2 and "There is no module" in result.stderr


def test_a_damaged_journal_is_said(file: File, tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(file.path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM journal_entry WHERE idx = 2")
        connection.commit()
    for options in ((), ("--state", "{}")):
        result = file.replay("checkout", "--db", str(path), *options)
        assert result.exit_code == 1 and "cannot be read" in result.output


def test_a_state_that_is_not_known_says_why_and_how_to_give_it(file: File) -> None:
    app = "tests.cli.past_app:forgetful"  # it forgets after a day: what came before may be forgotten
    result = file.replay("refused", app=app)
    assert result.exit_code == 1 and result.stdout == "" and result.stderr.count("\n") == 1
    assert "The state before Stock/books/reserve" in result.stderr and "Pass it with --state" in result.stderr
    result = file.replay("refused", "--state", '{"items": 89}', app=app)
    assert result.exit_code == 0 and "It fails: not enough (409 terminal_error), as stored." in result.stdout


def test_an_open_reader_without_a_record_requires_its_state(file: File, tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    path.write_bytes(file.path.read_bytes())
    seq = IdMint(secret_of(path)).read_invocation(file.ids["reader"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM journal_entry WHERE invocation = ?", (seq,))
        connection.execute(
            "UPDATE invocation SET status = ?, outcome = NULL, ended_ms = NULL WHERE seq = ?", (Status.RUNNING, seq)
        )
        connection.commit()
    result = file.replay("reader", "--db", str(path))
    assert result.exit_code == 1 and "neither its journal nor an answer tells which state" in result.stderr
    result = file.replay("reader", "--db", str(path), "--state", "{}")
    assert result.exit_code == 0 and "asks for run 'mail' next" in result.stdout


ENDLESS = """
from actors import App, Limits, VirtualObject, handler

class Stock(VirtualObject):
    items: int = 93

    @handler
    async def reserve(self, count: int) -> int:
        while True:
            pass

app = App(Stock, limits=Limits(retention=None, idempotency_retention=None))
"""


@pytest.mark.parametrize("options", [(), ("--state", "{}")])  # that of an earlier invocation, and its own
def test_code_that_does_not_yield_ends_the_command(file: File, tmp_path: Path, options: Any) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS, encoding="utf-8")
    command = [sys.executable, "-m", "actors", "replay", file.ids["refused"], "endless:app", "--db", str(file.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, *options], cwd=tmp_path, timeout=60, capture_output=True, text=True, env=environment
    )
    assert ended.returncode == 1, ended.stderr
    assert "Error: Stock/books/reserve (inv_1" in ended.stderr and "blocked the event loop" in ended.stderr


def secret_of(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        ((secret,),) = connection.execute("SELECT value FROM meta WHERE name = 'secret'")
    return bytes(secret)


@pytest.mark.parametrize("state", ["[1]", "{", "nowhere.json"])
def test_a_state_that_is_not_a_json_object_is_refused(file: File, state: str) -> None:
    result = file.replay("checkout", "--state", state)
    assert result.exit_code == 1 and "--state" in result.stderr and result.stderr.count("\n") == 1


def line_of(text: str) -> int:
    """The first line of the app that holds a text."""
    source = Path(past_app.__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(source, 1) if text in line)


# --- step by step ---------------------------------------------------------------------------------------------------------


def stops(result: Result) -> list[str]:
    """The places where the debugger has stopped."""
    return [line.split("/")[-1] for line in result.stdout.splitlines() if line.replace("(Pdb) ", "").startswith("> ")]


def test_the_debugger_stops_at_the_first_line_and_goes_on_over_awaits(file: File) -> None:
    result = file.replay("checkout", "--pdb", input="p self.status, quantity\nn\nn\nn\np sent\nn\nc\n")
    assert result.exit_code == 0, result.output
    assert "('new', 4)" in result.stdout and "'sent hello'" in result.stdout
    first = line_of('if self.status != "new"')
    lines = [first, first + 2, first + 3, first + 4, first + 5]
    assert stops(result) == [f"past_app.py({line})checkout()" for line in lines]
    assert result.stdout.endswith('It returns "complete, sent hello, 89 left", as stored.\n')


def test_every_stop_is_in_the_code_of_the_handler(file: File) -> None:
    for command, least in (("n", 2), ("s", 8)):
        result = file.replay("both", "--pdb", input=f"{command}\n" * 60)
        assert result.exit_code == 0, result.output
        assert len(stops(result)) >= least
        assert all(place.startswith("past_app.py(") for place in stops(result)), result.stdout
        assert result.stdout.endswith("as stored.\n")


def test_a_recorded_failure_is_met_in_the_code_of_the_handler(file: File) -> None:
    result = file.replay("tries", "--pdb", input="n\nn\nn\nn\np refusal.message\nc\n")
    assert result.exit_code == 0, result.output
    assert "(Pdb) 'not enough'" in result.stdout
    assert all(place.startswith("past_app.py(") for place in stops(result)), result.stdout


def test_leaving_the_debugger_ends_the_command(file: File) -> None:
    result = file.replay("checkout", "--pdb", input="n\nq\n")
    assert result.exit_code == 0 and result.stdout.endswith("Stopped in the debugger.\n")
    assert not is_traced()


def test_the_debugger_begins_at_a_position(file: File) -> None:
    result = file.replay("checkout", "--pdb", "--to", "3", input="p sent\nn\np left\nc\n")
    assert result.exit_code == 0
    assert "'sent hello'" in result.stdout and "(Pdb) 89" in result.stdout
    call = line_of(".reserve(quantity)")
    assert stops(result) == [f"past_app.py({line})checkout()" for line in (call, call + 1)]


def test_breakpoints_of_the_debugger_hold(file: File) -> None:
    result = file.replay("checkout", "--pdb", input=f"b {line_of('return self.status')}\nc\np self.status\nc\n")
    assert result.exit_code == 0 and "'complete, sent hello, 89 left'" in result.stdout


def test_breakpoint_in_a_handler_stops_there(file: File) -> None:
    past_app.debugged = True
    before = sys.breakpointhook
    sys.breakpointhook = sys.__breakpointhook__  # that of pytest would come first
    try:
        result = file.replay("stops", input="p first\nn\nn\nn\nn\n")
    finally:
        past_app.debugged = False
        sys.breakpointhook = before
    assert result.exit_code == 0, result.output
    assert "'sent x'" in result.stdout
    assert all(place.startswith("past_app.py(") for place in stops(result))
    assert result.stdout.endswith("It returns 6, as stored.\n")


def test_no_time_limit_holds_while_a_debugger_is_in_charge(file: File) -> None:
    async def misfit(debugger: Debugger) -> str | None:
        async with visiting(str(file.path)) as database:
            seq = database.seq(file.ids["lingers"])
            subject = await read(database.visitor, database.secret, past_app.app, seq)
        replaying = Replaying(Catalog(past_app.app._services), Limits(), subject, timeout_s=0.0)
        retraced = await replaying.run(Collecting(), debugger=debugger)
        return retraced.misfit.kind if retraced.misfit is not None else None

    debugger = Debugger()
    assert asyncio.run(misfit(debugger)) == "timeout"
    debugger.used = True
    assert asyncio.run(misfit(debugger)) is None


def test_a_debugger_that_the_code_starts_is_noticed() -> None:
    asked: list[str] = []
    with when_asked_for(lambda: asked.append("debugger")):
        pdb.Pdb()
    pdb.Pdb()
    assert asked == ["debugger"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_debugger_works_on_a_terminal(file: File) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "actors", "replay", file.ids["checkout"], APP, "--db", str(file.path), "--pdb"]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        os.write(ours, b"n\np 2 * quantity + 1000\nc\n")
        told = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal is closed
                break
            if not part:
                break
            told += part
        assert process.wait(30) == 0
    os.close(ours)
    assert b"1008" in told and b"as stored." in told
