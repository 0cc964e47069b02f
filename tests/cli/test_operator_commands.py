"""`actors invocations` and `actors awakeables`, as an operator starts them, beside an app in another process or none."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from actors.cli.commands import cli
from actors.cli.file.requests import LEFT
from actors.cli.show.layout import Page
from actors.cli.show.records import show_invocations
from actors.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS, steps
from tests.storage.rows import image

ROOT = Path(__file__).parents[2]
TIMEOUT = 60
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")


class Clinic:
    """The app, and what an operator types beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clinic.db"
        self.diary = folder / "diary"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.cli.operated_app", str(self.path), str(self.diary)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, handler: str, key: str, *args: str) -> str:
        """Send a message to a patient; its id."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write("\t".join([handler, key, *args]) + "\n")
        self.process.stdin.flush()
        return self._line()

    def stop(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "actors", *arguments, "--db", str(self.path)]

    def actors(self, *arguments: str, stdin: str = "", columns: int | None = None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        if columns is not None:
            environment["COLUMNS"] = str(columns)
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def status(self, id: str) -> str:
        done = self.actors("invocations", "show", id, "--json")
        return str(json.loads(done.stdout)["status"])

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT / 2
        while not what():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)  # waits for a real process

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    found = Clinic(tmp_path)
    found.start()
    yield found
    found.kill()


def waiting(clinic: Clinic, key: str = "ann") -> str:
    """An invocation that waits for its awakeable."""
    id = clinic.send("treat", key, "fever")
    clinic.wait_for(lambda: bool(clinic.query(f"SELECT 1 FROM awakeables WHERE key = '{key}'")))
    return id


def run(*arguments: str) -> Result:
    """In this process, where nothing depends on another one."""
    return CliRunner().invoke(cli, [*arguments], env={"COLUMNS": "80"}, prog_name="actors")


# --- looking ----------------------------------------------------------------------------------------------------------------


def test_the_list_fits_80_columns_and_cuts_no_id(clinic: Clinic) -> None:
    hostile = "a long key with \x1b[31mcolours\x07, [bold]markup[/] and ünicode,\x0bthat does not fit any column at all"
    ids = [waiting(clinic, "ann"), clinic.send("fail", hostile), clinic.send("operate", "bob")]
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM invocations WHERE status = 'paused'") == [(1,)])
    for beside in ("an app", "none"):
        if beside == "none":
            clinic.kill()
        done = clinic.actors("invocations", "list", columns=80)
        assert (done.returncode, done.stderr) == (0, ""), beside
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert all(line == line.rstrip() for line in lines), "a pipe gets no padding"
        assert ("No app is running on this file; this is its last commit." in lines) == (beside == "none")
        assert [line.split()[0] for line in lines if line.startswith("inv_1")] == ids[::-1]
        assert "\x1b" not in done.stdout and "\x07" not in done.stdout
        assert "[bold]markup[/]" in done.stdout
        assert re.search(r"blocked +\d+ s  Patient/ann/treat$", done.stdout, re.MULTILINE)
        piped = clinic.actors("invocations", "list").stdout.splitlines()
        (line,) = [line for line in piped if "a long key" in line]
        assert line.startswith(ids[1]) and line.endswith("ünicode,\\x0bthat does not fit any column at all/fail")


def test_a_terminal_is_wrapped_between_words_and_a_key_with_a_line_break_stays_on_its_line() -> None:
    facts = {
        "id": "inv_1" + "x" * 27,
        "status": "blocked",
        "accepted_at": "2026-01-01T00:00:00Z",
        "service": "Order",
        "key": "first\nsecond " + "word " * 20,
        "handler": "go",
    }
    out = io.StringIO()
    page = Page(Console(file=out, force_terminal=True, width=80, color_system=None, highlight=False))
    show_invocations(page, [facts], datetime.datetime(2026, 1, 1, 0, 1, tzinfo=datetime.UTC))
    lines = out.getvalue().splitlines()
    assert lines[1] == f"{facts['id']}  blocked  1 min", "the rest has lines of its own"
    assert lines[2].startswith("    Order/first\\nsecond word word") and max(map(len, lines)) <= 80
    assert "".join(lines[2:]).count("word") == 20 and all(line == line.rstrip() for line in lines)


def test_filters_limits_and_json_select_what_is_listed(clinic: Clinic) -> None:
    ids = [waiting(clinic, key) for key in ("a", "b", "c")]
    clinic.kill()
    path = str(clinic.path)
    found = json.loads(run("invocations", "list", "--db", f"sqlite:///{path}", "--json").output)
    assert [one["id"] for one in found] == ids[::-1]
    assert found[0]["status"] == "blocked" and found[0]["arguments"] == ["fever"] and found[0]["ended_at"] is None
    for options, expected in (
        (("--key", "b"), [ids[1]]),
        (("--service", "Patient", "--handler", "treat", "--status", "open", "--limit", "2"), ids[:0:-1]),
        (("--status", "paused", "--status", "ended"), []),
    ):
        found = json.loads(run("invocations", "list", "--db", path, "--json", *options).output)
        assert [one["id"] for one in found] == expected
    assert "newest 2; --limit shows more" in run("invocations", "list", "--db", path, "--limit", "2").output
    assert run("invocations", "list", "--db", path, "--key", "none").output == "No invocation matches.\n"
    assert json.loads(run("invocations", "list", "--db", path, "--key", "none", "--json").output) == []


def test_an_invocation_is_shown_with_its_journal_and_what_it_waits_for(clinic: Clinic) -> None:
    id = waiting(clinic)
    clinic.kill()
    done = run("invocations", "show", id, "--db", str(clinic.path))
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80
    (awakeable,) = re.findall(r"prom_1\S+", done.output)
    for expected in (
        f"  id         {id}",
        '  arguments  "fever"',
        '         0    0.000  accepts treat("fever")',
        "run note starts",
        'run note gave "examined"',
        'status = "waiting"',
        "awakeable(str) is created",
    ):
        assert expected in done.output
    facts = json.loads(run("invocations", "show", id, "--db", str(clinic.path), "--json").output)
    assert [entry["position"] for entry in facts["journal"]] == list(range(5))
    assert [one["id"] for one in facts["awakeables"]] == [awakeable]
    (wait,) = facts["waits_for"]
    assert (wait["for"], wait["id"], wait["position"]) == ("awakeable", awakeable, 4)
    assert re.search(rf"waits for\n  awakeable\(str\), until \S+Z\n    {awakeable}\n", done.output)
    (listed,) = json.loads(run("awakeables", "list", "--db", str(clinic.path), "--json").output)
    assert listed == facts["awakeables"][0] and listed["type"] == "str"
    table = run("awakeables", "list", "--db", str(clinic.path)).output
    assert awakeable in table and max(map(len, table.splitlines())) <= 80
    assert run("awakeables", "list", "--db", str(clinic.path), "--key", "x").output == "No awakeables are open.\n"


def test_the_number_that_the_views_show_stands_for_an_id(clinic: Clinic) -> None:
    id = waiting(clinic)
    clinic.kill()
    path = str(clinic.path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((number,),) = connection.execute("SELECT invocation FROM invocations").fetchall()
    shown = run("invocations", "show", str(number), "--db", path)
    assert shown.exit_code == 0 and f"  id         {id}" in shown.output
    killed = run("invocations", "kill", str(number), "--db", path, "--json")
    assert id in killed.output
    unknown = run("invocations", "show", "99", "--db", path)
    assert unknown.exit_code != 0 and "Traceback" not in unknown.output


def test_what_an_invocation_waits_behind_and_for_is_shown(clinic: Clinic) -> None:
    first = waiting(clinic)
    second, third = clinic.send("operate", "ann"), clinic.send("operate", "ann")
    nurse = clinic.send("ask", "nurse", "ann")
    reader = clinic.send("look", "ann")
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM invocations WHERE status = 'blocked'") == [(2,)])
    study = clinic.send("Study.run", "s", "x")
    clinic.wait_for(lambda: clinic.status(study) == "blocked")
    for id, expected in (
        (second, f"  Patient/ann/treat, which is blocked\n    {first}\n"),
        (third, f"  Patient/ann/treat, which is blocked, and 1 more before this one\n    {first}\n"),
        (study, '  promise "consent"\n'),
    ):
        shown = clinic.actors("invocations", "show", id).stdout
        assert shown.endswith(f"\nwaits for\n{expected}"), shown
    shown = clinic.actors("invocations", "show", nurse).stdout
    assert re.search(r"waits for\n  Patient/ann/operate, which is pending\n    inv_1\S+\n$", shown), shown
    assert "waits for" not in clinic.actors("invocations", "show", reader).stdout
    clinic.actors("invocations", "kill", first)
    ended = clinic.actors("invocations", "show", first).stdout
    assert "waits for" not in ended
    assert re.search(r"\n            +\d+\.\d{3}  fails: The invocation was killed", ended), "no position to keep"


def test_a_failed_and_a_paused_one_are_shown_with_their_reasons(clinic: Clinic) -> None:
    paused, killed = clinic.send("fail", "bob"), waiting(clinic)
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM invocations WHERE status = 'paused'") == [(1,)])
    assert clinic.actors("invocations", "kill", killed).returncode == 0
    shown = run("invocations", "show", paused, "--db", str(clinic.path)).output
    assert "OSError: out of order" in shown and "failed attempts  1" in shown
    shown = run("invocations", "show", killed, "--db", str(clinic.path)).output
    assert "failure    The invocation was killed. (killed, 409)" in shown
    assert "fails: The invocation was killed. (killed)" in shown


def test_looking_changes_nothing_in_the_file(clinic: Clinic) -> None:
    id = waiting(clinic)
    clinic.kill()
    before = image(clinic.path)
    for arguments in (("invocations", "list"), ("invocations", "show", id), ("awakeables", "list")):
        assert run(*arguments, "--db", str(clinic.path)).exit_code == 0
    assert image(clinic.path) == before


# --- beside a running app ---------------------------------------------------------------------------------------------------


def test_operations_are_done_by_the_app_that_runs(clinic: Clinic) -> None:
    id = waiting(clinic)
    for operation, said, status in (
        ("pause", "paused", "paused"),
        ("resume", "resumed", "blocked"),
        ("cancel", "cancellation requested", "failed"),
    ):
        done = clinic.actors("invocations", operation, id)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{id} {said}\n", "")
        clinic.wait_for(lambda status=status: clinic.status(id) == status)  # type: ignore[misc]
    done = clinic.actors("invocations", "restart", id, "--keep", "2")
    again = done.stdout.split()[-1]
    assert (done.returncode, done.stdout) == (0, f"{id} restarted as {again}\n")
    clinic.wait_for(lambda: clinic.status(again) == "blocked")
    assert clinic.lines() == ["examined"], "it was kept"
    assert clinic.actors("invocations", "purge", id).returncode == 0
    gone = clinic.actors("invocations", "show", id)
    assert gone.returncode == 1 and "no longer kept, or never existed" in gone.stderr
    assert clinic.query("SELECT count(*) FROM request") == [(0,)], "answers that are read are removed"


def test_an_awakeable_is_resolved_with_json_or_text_and_its_type_is_checked(clinic: Clinic) -> None:
    id = waiting(clinic)
    (awakeable,) = [one["id"] for one in json.loads(clinic.actors("awakeables", "list", "--json").stdout)]
    refused = clinic.actors("awakeables", "resolve", awakeable, "5")
    assert refused.returncode == 1 and refused.stdout == ""
    assert "waits for str" in refused.stderr and "It stays open." in refused.stderr
    assert refused.stderr.endswith(" VALUE was read as JSON; --text treats it as text. [bad_arguments]\n")
    done = clinic.actors("awakeables", "resolve", awakeable, "5", "--text")
    assert (done.returncode, done.stdout) == (0, f"{awakeable} resolved\n")
    clinic.wait_for(lambda: clinic.status(id) == "succeeded")
    other = waiting(clinic, "bob")
    (awakeable,) = [one["id"] for one in json.loads(clinic.actors("awakeables", "list", "--json").stdout)]
    done = clinic.actors("awakeables", "reject", awakeable, "no medicine", "--json")
    assert json.loads(done.stdout) == [{"id": awakeable, "operation": "reject", "outcome": "done"}]
    clinic.wait_for(lambda: clinic.status(other) == "failed")
    assert "no medicine" in run("invocations", "show", other, "--db", str(clinic.path)).output
    assert "treated with 5" in clinic.lines()


def test_what_the_app_refuses_is_told_in_its_words_and_the_rest_is_done(clinic: Clinic) -> None:
    ids = [waiting(clinic, "a"), waiting(clinic, "b")]
    assert clinic.actors("invocations", "kill", ids[0]).returncode == 0
    done = clinic.actors("invocations", "kill", ids[0], "nonsense", ids[1], ids[1])
    assert done.returncode == 1
    assert done.stdout == f"{ids[1]} killed\n"
    assert done.stderr.splitlines() == [
        f"{ids[0]}: The invocation has ended already: it failed. [wrong_status]",
        "'nonsense' is not an invocation id: such an id starts with 'inv_1'. Pass the id exactly as you received it. [malformed_id]",
    ]
    awakeable = clinic.actors("invocations", "kill", "prom_1x", ids[0])
    assert awakeable.stderr.splitlines()[0] == (
        "'prom_1x' is the id of an awakeable, not of an invocation: see actors awakeables list. [malformed_id]"
    )
    assert "is the id of an invocation, not of an awakeable" in clinic.actors("awakeables", "resolve", ids[0]).stderr
    assert "see actors awakeables list" in clinic.actors("invocations", "show", "prom_1x").stderr
    as_json = json.loads(clinic.actors("invocations", "restart", ids[0], "--keep", "99", "--json").stdout)
    assert as_json[0]["outcome"] == "refused" and as_json[0]["error"] == "bad_arguments"


def test_filters_say_how_many_and_ask_first(clinic: Clinic) -> None:
    ids = [waiting(clinic, key) for key in "abc"]
    stopped = clinic.send("fail", "d")
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM invocations WHERE status = 'paused'") == [(1,)])
    asked = clinic.actors("invocations", "kill", "--service", "Patient", "--status", "blocked", stdin="n\n")
    assert asked.returncode == 1 and "Kill 3 invocations of Patient? [y/N]" in asked.stderr
    assert {clinic.status(id) for id in ids} == {"blocked"}
    nobody = clinic.actors("invocations", "kill", "--service", "Patient", "--status", "blocked")
    assert nobody.returncode == 1 and "confirmation requires a terminal. Add --yes." in nobody.stderr
    assert {clinic.status(id) for id in ids} == {"blocked"}
    useless = clinic.actors("invocations", "purge", "--status", "paused")
    assert useless.returncode == 2
    assert "purge has an effect only on invocations that are: succeeded, failed." in useless.stderr
    done = clinic.actors("invocations", "kill", "--service", "Patient", "--status", "blocked", stdin="y\n")
    assert done.returncode == 0 and sorted(done.stdout.split()[::2]) == sorted(ids)
    done = clinic.actors("invocations", "kill", "--handler", "fail", "--yes")
    assert done.returncode == 0 and done.stdout == f"{stopped} killed\n", "open ones are meant"
    assert clinic.actors("invocations", "kill", "--handler", "fail", "--yes").stdout == "No invocation matches.\n"
    assert clinic.actors("invocations", "purge", "--service", "Patient", "--yes").returncode == 0
    assert clinic.query("SELECT count(*) FROM invocations") == [(0,)]


def test_two_command_lines_at_once_do_it_once(clinic: Clinic) -> None:
    id = waiting(clinic)
    both = [clinic.begin("invocations", "kill", id) for _ in range(2)]
    said = [process.communicate(timeout=TIMEOUT) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sorted("".join(one) for one in said) == sorted(
        [f"{id} killed\n", f"{id}: The invocation has ended already: it failed. [wrong_status]\n"]
    )
    both = [clinic.begin("invocations", "restart", id) for _ in range(2)]
    new = {process.communicate(timeout=TIMEOUT)[0].split()[-1] for process in both}
    assert len(new) == 2 and clinic.query("SELECT count(*) FROM invocations") == [(3,)]


@needs_signals
def test_an_app_that_does_not_answer_in_time_does_nothing_later_either(clinic: Clinic) -> None:
    id = waiting(clinic)
    clinic.signal(signal.SIGSTOP)
    done = clinic.actors("invocations", "kill", id, "--wait", "0.3")
    clinic.signal(signal.SIGCONT)
    assert done.returncode == 1
    assert done.stderr == f"{id}: the app did not answer within 0.3 s; the request is withdrawn, and nothing was done\n"
    assert clinic.query("SELECT count(*) FROM request") == [(0,)]
    assert clinic.actors("invocations", "pause", id).returncode == 0, "it answers again, and was still open"
    assert clinic.status(id) == "paused"


@needs_signals
def test_a_request_whose_app_is_killed_before_it_answers_is_done_once_by_the_next_one(clinic: Clinic) -> None:
    id = waiting(clinic)
    assert clinic.actors("invocations", "kill", id).returncode == 0
    clinic.signal(signal.SIGSTOP)
    asking = clinic.begin("invocations", "restart", id, "--wait", "60")
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM request") == [(1,)])
    clinic.kill()
    said, errors = asking.communicate(timeout=TIMEOUT)
    assert (asking.returncode, errors) == (0, "")
    assert said == f"{id}: {LEFT}\n"
    for _ in range(2):
        clinic.start()
        clinic.kill()
    assert clinic.query("SELECT count(*) FROM invocations") == [(2,)]


@needs_signals
def test_a_command_line_that_is_interrupted_takes_its_request_back(clinic: Clinic) -> None:
    id = waiting(clinic)
    clinic.signal(signal.SIGSTOP)
    asking = clinic.begin("invocations", "kill", id, "--wait", "60")
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM request") == [(1,)])
    asking.send_signal(signal.SIGINT)
    _, errors = asking.communicate(timeout=TIMEOUT)
    clinic.signal(signal.SIGCONT)
    assert asking.returncode == 1 and "is withdrawn" in errors
    assert clinic.query("SELECT count(*) FROM request") == [(0,)]
    assert clinic.status(id) == "blocked"


# --- beside no app ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["kill", "pause"])
def test_what_is_asked_for_while_no_app_runs_is_done_before_the_next_one_goes_on(
    operation: str, clinic: Clinic
) -> None:
    id = clinic.send("operate", "ann")
    clinic.wait_for(lambda: clinic.lines() == ["operating"])
    clinic.wait_for(lambda: clinic.query("SELECT count(*) FROM journal WHERE entry = 'run'") == [(2,)])
    clinic.kill()
    done = clinic.actors("invocations", operation, id)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{id}: {LEFT}\n"
    assert clinic.status(id) in ("pending", "running")
    clinic.start()
    assert clinic.status(id) == {"kill": "failed", "pause": "paused"}[operation]
    assert clinic.lines() == ["operating"]


def test_what_is_certain_is_refused_although_no_app_runs(clinic: Clinic) -> None:
    id, other, third = waiting(clinic), waiting(clinic, "bob"), waiting(clinic, "carl")
    assert clinic.actors("invocations", "kill", id).returncode == 0
    clinic.kill()
    db = ("--db", str(clinic.path))
    for arguments, message in (
        (("invocations", "kill", id), "has ended already: it failed"),
        (("invocations", "restart", other), "has not ended. Cancel or kill it first."),
        (("invocations", "pause", "inv_1AAAA"), "is not an invocation id of this app"),
        (("awakeables", "resolve", id, "x"), "is the id of an invocation, not of an awakeable"),
        (("awakeables", "resolve", "nonsense"), "is not an awakeable id"),
    ):
        done = run(*arguments, *db)
        assert done.exit_code == 1 and message in done.stderr, arguments
    assert clinic.query("SELECT count(*) FROM request") == [(0,)]
    assert run("invocations", "kill", other, *db).exit_code == 0
    assert run("invocations", "restart", other, *db).exit_code == 0, "what was asked for before may end it"
    assert run("invocations", "purge", third, *db).exit_code == 1, "nothing was asked for that may end this one"
    clinic.start()
    assert clinic.query("SELECT count(*) FROM invocations WHERE restarted_from IS NOT NULL") == [(1,)]


def test_requests_that_were_left_are_listed_and_withdrawn(clinic: Clinic) -> None:
    ids = [waiting(clinic, key) for key in "abc"]
    clinic.kill()
    db = ("--db", str(clinic.path))
    assert run("requests", "list", *db).output == "No requests are waiting.\n"
    assert run("requests", "withdraw", "--all", *db).output == "No requests are waiting.\n"
    assert run("invocations", "kill", *ids, *db).exit_code == 0
    found = json.loads(run("requests", "list", *db, "--json").output)
    assert [(one["operation"], one["id"], one["taken"]) for one in found] == [("kill", id, False) for id in ids]
    one, two, three = (str(request["number"]) for request in found)
    listed = run("requests", "list", *db).output.splitlines()
    assert [line.split()[0] for line in listed[1:]] == [one, two, three] and listed[1].endswith(f"kill {ids[0]}")
    assert run("requests", "withdraw", one, *db).output == f"{one} withdrawn\n"
    again = run("requests", "withdraw", one, two, *db)
    assert (again.exit_code, again.stdout) == (1, f"{two} withdrawn\n")
    assert again.stderr.startswith(f"{one} is not waiting")
    clinic.start()
    assert [clinic.status(id) for id in ids] == ["blocked", "blocked", "failed"]
    assert run("requests", "withdraw", three, *db).exit_code == 1, "it is done"


def test_a_file_that_no_app_of_this_release_has_opened_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in steps(0, MIGRATIONS[:2]):
            connection.execute(statement)
    before = image(path)
    for arguments in (("list",), ("kill", "inv_1x"), ("purge", "--status", "ended")):
        done = run("invocations", *arguments, "--db", str(path))
        assert done.exit_code == 1 and "Start the app once with this release" in done.stderr
    assert image(path) == before


# --- mistakes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("invocations", "kill"), "Give kill either ids, or filters"),
        (("invocations", "kill", "inv_1x", "--service", "Patient"), "Give kill either ids, or filters"),
        (("invocations", "list", "--status", "angry"), "'angry' is not a valid status. Use scheduled, pending"),
        (("invocations", "purge", "--status", ""), "'' is not a valid status"),
        (("invocations", "list", "--limit", "0"), "--limit"),
        (("invocations", "restart", "inv_1x", "--keep", "-1"), "--keep"),
        (
            ("invocations", "restart", "inv_1x", "--keep", "two"),
            "'two' is not a valid position. Use a whole number from 0",
        ),
        (("invocations", "list", "--db", "postgres://x"), "'postgres://x' is not a valid database"),
        (("--db", "x", "invocations", "list"), "--db goes after the command, for example: actors invocations list"),
        (("awakeables", "--db", "x", "list"), "for example: actors awakeables list --db x"),
        (
            ("invocations", "resume", "--status", "ended"),
            "resume has an effect only on invocations that are: backing-off, paused",
        ),
        (("requests", "withdraw"), "Give the numbers to withdraw, or --all"),
        (("requests", "withdraw", "1", "--all"), "Give the numbers to withdraw, or --all"),
        (("requests", "withdraw", "x"), "'x'"),
        (("invocations", "kill", "inv_1x", "--keep", "2"), "No such option"),
        (("invocations", "show"), "ID"),
        (("invocations", "kill", "inv_1x", "--wait", "-1"), "--wait"),
        (("invocations", "kill", "inv_1x", "--wait", "nan"), "--wait"),
        (("invocations", "list", "--db", "sqlite://"), "in memory"),
        (("invocations", "list", "--db", "sqlite:/x"), "is not a valid database"),
        (("invocations", "list", "--db", ""), "cannot be empty"),
        (("invocations", "list", "--key", "\udcff"), "not valid Unicode text"),
        (("awakeables", "reject", "prom_1x"), "REASON"),
        (("awakeables", "resolve", "prom_1x", "\udcff"), "not valid Unicode text"),
    ],
)
def test_wrong_usage_is_explained_and_ends_with_2(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        done = run(*arguments)
    assert done.exit_code == 2
    assert message in re.sub(r"\s+", " ", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_refused_and_not_created(tmp_path: Path) -> None:
    for arguments in (("invocations", "list"), ("invocations", "kill", "inv_1x"), ("awakeables", "list")):
        done = run(*arguments, "--db", str(tmp_path / "none.db"))
        assert done.exit_code == 1 and "does not exist" in done.stderr
    assert os.listdir(tmp_path) == []
    assert "is a folder" in run("invocations", "list", "--db", str(tmp_path)).stderr
