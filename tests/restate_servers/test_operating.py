"""`actors restate invocations|awakeables|state|sql`, typed by an operator of a real restate-server."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner, Result

from actors.cli.commands import cli
from actors.model.definitions import definition_of
from actors.transport.restate.schedules import NAME, spec_of
from tests.restate_servers import operated_app
from tests.restate_servers.endpoints import Endpoints
from tests.restate_servers.releases import server_in
from tests.restate_servers.servers import RestateServer, free_port, missing

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.may_log("ValueError"),
]

HOSTILE = """o'b"x' OR '1'='1 \\'; -- /%_ü"""
NOTHING = "inv_1dceKvwtEc2n1m3YksDVtZzSCissfKMMj5"


class Operator:
    """Someone who types commands, and callers of the app."""

    def __init__(self, server: RestateServer) -> None:
        self.server = server

    def type(self, *arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(
            cli, ["restate", *arguments], input=given, env={"ACTORS_RESTATE": self.server.admin, "COLUMNS": ""}
        )

    def read(self, *arguments: str) -> Any:
        result = self.type(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def send(self, handler: str, key: str, body: Any = None, delay: str = "") -> str:
        """The id of a new invocation of Desk."""
        url = f"{self.server.ingress}/Desk/{quote(key, safe='')}/{handler}/send{f'?delay={delay}' if delay else ''}"
        answer = httpx.post(url, json=body) if body is not None else httpx.post(url)
        assert answer.is_success, answer.text
        return str(answer.json()["invocationId"])

    def status(self, id: str) -> str:
        rows = [row for row in self.read("invocations", "list", "--limit", "1000") if row["id"] == id]
        return str(rows[0]["status"]) if rows else "gone"

    def in_status(self, status: str, id: str) -> str:
        """The id, once the invocation has this status."""
        wait_until(lambda: self.status(id) == status)
        return id


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)  # waits for a real process


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    endpoints = Endpoints()
    try:
        with server_in(tmp_path_factory.mktemp("restate")) as server:
            server.register(endpoints.serve(operated_app.app))
            answer = httpx.Response(404)
            deadline = time.monotonic() + 20
            while answer.status_code == 404:  # the ingress does not know the class yet
                assert time.monotonic() < deadline
                answer = httpx.post(f"{server.ingress}/Desk/first/add", json=1, timeout=30)
            assert answer.json() == 1
            yield Operator(server)
    finally:
        endpoints.close()


# --- list and show ------------------------------------------------------------------------------------------------------


def test_each_status_of_restate_has_a_word_of_ours(operator: Operator) -> None:
    expected = {
        operator.send("add", "ends", 1): "succeeded",
        operator.send("refuse", "refuses"): "failed",
        operator.send("sleep", "sleeps"): "blocked",
        operator.send("add", "sleeps", 1): "pending",
        operator.send("add", "later", 1, delay="1h"): "scheduled",
        operator.send("mend", "mends"): "paused",
        operator.send("fail", "fails"): "backing-off",
    }
    for id, status in expected.items():
        operator.in_status(status, id)
        assert id in [row["id"] for row in operator.read("invocations", "list", "--status", status)]
    ended = {row["status"] for row in operator.read("invocations", "list", "--status", "ended")}
    opened = {row["status"] for row in operator.read("invocations", "list", "--status", "open")}
    assert ended == {"succeeded", "failed"} and not opened & ended
    assert operator.read("invocations", "list", "--status", "running", "--key", "ends") == []


def test_the_newest_invocations_are_listed_first_up_to_a_limit(operator: Operator) -> None:
    ids = [operator.in_status("succeeded", operator.send("add", "row", number)) for number in range(3)]
    assert [row["id"] for row in operator.read("invocations", "list", "--key", "row")] == ids[::-1]
    shown = operator.type("invocations", "list", "--key", "row", "--limit", "2").stdout.splitlines()
    assert shown[0].split() == ["id", "status", "age", "object", "and", "handler"]
    assert shown[1].split()[:2] == [ids[2], "succeeded"] and shown[1].endswith(" s  Desk/row/add")
    assert shown[3] == "These are the newest 2; --limit shows more."


def test_filters_are_joined_and_may_match_nothing(operator: Operator) -> None:
    operator.in_status("succeeded", operator.send("add", "joined", 1))
    filters = ["--service", "Desk", "--key", "joined", "--handler", "add", "--status", "ended"]
    assert len(operator.read("invocations", "list", *filters)) == 1
    result = operator.type("invocations", "list", *filters[:-1], "open")
    assert (result.exit_code, result.stdout) == (0, "No invocation matches.\n")


def test_an_invocation_is_shown_with_its_journal(operator: Operator) -> None:
    id = operator.in_status("succeeded", operator.send("add", "shown", 4))
    facts = operator.read("invocations", "show", id)
    assert (facts["status"], facts["arguments"], facts["result"]) == ("succeeded", [4], 4)
    assert [line["entry"] for line in facts["journal"]] == ["Input", "GetEagerState", "SetState", "Output"]
    lines = operator.type("invocations", "show", id).stdout.splitlines()
    assert lines[0] == "Desk/shown/add" and "  result           4" in lines
    assert lines[-2].split()[2:] == ["SetState", "count", "=", "4"]


def test_an_invocation_is_shown_with_what_it_waits_for(operator: Operator) -> None:
    id = operator.in_status("blocked", operator.send("ask", "asks", "asked"))
    (called,) = operator.read("invocations", "list", "--key", "asked")
    assert called["called_by"] == id
    (wait,) = operator.read("invocations", "show", id)["waits_for"]
    assert wait == {"for": "Call", "position": 1, "name": "Desk/asked/sleep", "id": called["id"]}
    assert f"\nwaits for\n  Call Desk/asked/sleep {called['id']}\n" in operator.type("invocations", "show", id).stdout
    operator.in_status("blocked", called["id"])
    (sleep,) = operator.read("invocations", "show", called["id"])["waits_for"]
    assert sleep["for"] == "Sleep" and sleep["until"] > called["accepted_at"]
    (later,) = operator.read("invocations", "show", operator.send("add", "due", 1, delay="1h"))["waits_for"]
    assert later["for"] == "time" and later["until"] > called["accepted_at"]


def test_a_failure_and_the_reason_of_a_pause_are_shown(operator: Operator) -> None:
    failed = operator.in_status("failed", operator.send("refuse", "no"))
    assert operator.read("invocations", "show", failed)["failure"] == {"code": 409, "message": "never", "error": None}
    assert "  failure          never (409)\n" in operator.type("invocations", "show", failed).stdout
    for handler, status, text in (("mend", "paused", "not now"), ("fail", "backing-off", "later")):
        id = operator.in_status(status, operator.send(handler, "reasons" + handler))
        shown = operator.type("invocations", "show", id).stdout
        assert "\nreason\n" in shown and f"ValueError: {text}" in shown


@pytest.mark.parametrize(
    ("id", "text"),
    [
        (NOTHING, "Error: This invocation is no longer kept, or never existed. [unknown_invocation]\n"),
        ("x' OR '1'='1", "is not an invocation id of Restate"),
        ("sign_1abc", "is the id of an awakeable, not of an invocation: see actors restate awakeables list."),
    ],
)
def test_what_cannot_be_shown_is_one_line_on_stderr(operator: Operator, id: str, text: str) -> None:
    result = operator.type("invocations", "show", id)
    assert (result.exit_code, result.stdout) == (1, "") and text in result.stderr and result.stderr.count("\n") == 1


def test_names_and_keys_with_quotes_are_only_texts(operator: Operator) -> None:
    id = operator.in_status("succeeded", operator.send("write", HOSTILE, HOSTILE))
    operator.in_status("succeeded", operator.send("write", "innocent", "x"))
    assert [row["id"] for row in operator.read("invocations", "list", "--key", HOSTILE)] == [id]
    for option in ("--service", "--handler"):
        assert operator.read("invocations", "list", option, HOSTILE) == []
    assert operator.read("state", f"Desk/{HOSTILE}") == {"note": HOSTILE}
    assert operator.read("state", f"{HOSTILE}/x".replace("/%", "%")) == {}
    assert operator.read("awakeables", "list", "--key", HOSTILE) == []
    purged = operator.read("invocations", "purge", "--key", HOSTILE, "--yes")
    assert [answer["id"] for answer in purged] == [id]
    assert len(operator.read("invocations", "list", "--key", "innocent")) == 1


def test_what_runs_schedules_is_left_out_unless_it_is_named(operator: Operator) -> None:
    (schedule,) = definition_of(operated_app.Desk).schedules
    spec = spec_of(schedule)
    place = f"{operator.server.ingress}/{NAME}/{quote(spec.identity, safe='')}/place"
    assert httpx.post(place, json=dataclasses.asdict(spec)).json() == "placed"
    named = operator.read("invocations", "list", "--service", NAME, "--status", "open")
    assert [row["handler"] for row in named] == ["tick"]
    assert NAME not in {row["service"] for row in operator.read("invocations", "list", "--limit", "1000")}
    assert operator.read("invocations", "list", "--handler", "tick") == []
    assert operator.read("invocations", "kill", "--handler", "tick", "--yes") == []
    (killed,) = operator.read("invocations", "kill", "--service", NAME, "--handler", "tick", "--yes")
    assert killed["id"] == named[0]["id"]


@pytest.mark.parametrize("command", [["list"], ["kill"], ["pause"], ["restart"]])
def test_the_help_says_which_invocations_are_left_out(command: list[str]) -> None:
    shown = " ".join(CliRunner().invoke(cli, ["restate", "invocations", *command, "--help"]).stdout.split())
    assert "Invocations of actors-schedule, which runs schedules, are left out unless --service names it." in shown


# --- operations ---------------------------------------------------------------------------------------------------------


def test_invocations_are_cancelled_and_killed_by_their_ids(operator: Operator) -> None:
    cancelled = operator.in_status("blocked", operator.send("sleep", "cancelled"))
    result = operator.type("invocations", "cancel", cancelled)
    assert (result.exit_code, result.stdout) == (0, f"{cancelled} cancellation requested\n")
    operator.in_status("failed", cancelled)
    killed = operator.in_status("blocked", operator.send("sleep", "killed"))
    assert operator.type("invocations", "kill", killed, killed).stdout == f"{killed} killed\n"
    operator.in_status("failed", killed)


def test_an_invocation_is_paused_and_resumed(operator: Operator) -> None:
    id = operator.in_status("backing-off", operator.send("fail", "halts"))
    assert operator.type("invocations", "pause", id).stdout == f"{id} pause requested\n"
    operator.in_status("paused", id)
    assert operator.type("invocations", "pause", id).stdout == f"{id} paused\n"
    assert operator.type("invocations", "resume", id).stdout == f"{id} resumed\n"
    operator.in_status("backing-off", id)
    (paused,) = operator.read("invocations", "pause", "--key", "halts", "--yes")
    assert paused == {"id": id, "operation": "pause", "outcome": "requested"}


def test_a_running_invocation_is_paused_behind_its_step_and_resumed(operator: Operator) -> None:
    """The result of the step that runs is recorded, the invocation keeps its key, and the step is not executed again."""
    operated_app.begun.clear()
    operated_app.going_on.clear()
    try:
        id = operator.send("hold", "held")
        wait_until(lambda: len(operated_app.begun) == 1)
        following = operator.in_status("pending", operator.send("add", "held", 1))
        assert operator.type("invocations", "pause", id).stdout == f"{id} pause requested\n"
        assert operator.status(id) == "running"
    finally:
        operated_app.going_on.set()
    operator.in_status("paused", id)
    journal = operator.read("invocations", "show", id)["journal"]
    assert journal[-1]["entry"] == "Run" and journal[-1]["completes"] is not None
    assert (operator.read("state", "Desk/held"), operator.status(following)) == ({"count": 1}, "pending")
    assert operator.type("invocations", "resume", id).stdout == f"{id} resumed\n"
    for one, result in ((id, 2), (following, 3)):
        operator.in_status("succeeded", one)
        assert operator.read("invocations", "show", one)["result"] == result
    assert len(operated_app.begun) == 1


def test_a_suspended_invocation_is_not_said_to_be_paused(operator: Operator) -> None:
    id = operator.in_status("blocked", operator.send("sleep", "suspended"))
    result = operator.type("invocations", "pause", id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"The invocation '{id}' is blocked: only running ones can be paused.\n"
    assert operator.read("invocations", "pause", "--key", "suspended", "--yes") == []
    assert operator.status(id) == "blocked"


def test_all_paused_invocations_are_resumed_after_an_outage(operator: Operator) -> None:
    ids = [operator.in_status("paused", operator.send("mend", f"outage{number}")) for number in range(2)]
    operated_app.broken["is"] = False
    try:
        result = operator.type("invocations", "resume", "--status", "paused", "--handler", "mend", "--yes")
        assert result.exit_code == 0 and result.stderr.startswith("Resume: ") and " of Desk.\n" in result.stderr
        assert {f"{id} resumed" for id in ids} <= set(result.stdout.splitlines())
        for id in ids:
            operator.in_status("succeeded", id)
    finally:
        operated_app.broken["is"] = True


def test_an_ended_invocation_is_restarted_as_a_new_one(operator: Operator) -> None:
    id = operator.in_status("succeeded", operator.send("add", "again", 2))
    result = operator.type("invocations", "restart", id)
    assert result.exit_code == 0 and result.stdout.startswith(f"{id} restarted as inv_1")
    new = operator.in_status("succeeded", result.stdout.split()[-1])
    assert operator.read("invocations", "show", new)["restarted_from"] == id
    assert operator.read("state", "Desk/again") == {"count": 4}


def test_ended_invocations_are_purged(operator: Operator) -> None:
    id = operator.in_status("succeeded", operator.send("add", "purged", 1))
    assert operator.type("invocations", "purge", id).stdout == f"{id} purged\n"
    operator.in_status("gone", id)


def test_what_the_server_refuses_is_one_line_for_each_id(operator: Operator) -> None:
    ended = operator.in_status("succeeded", operator.send("add", "over", 1))
    opened = operator.in_status("blocked", operator.send("sleep", "open"))
    for operation, id, text in (
        ("cancel", ended, "was already completed"),
        ("resume", ended, "is completed, cannot be resumed"),
        ("pause", ended, "is not running, cannot be paused"),
        ("purge", opened, "is not yet completed"),
        ("restart", opened, "is still running"),
        ("kill", NOTHING, "does not exist"),
        ("kill", "../x", "is not an invocation id of Restate"),
    ):
        result = operator.type("invocations", operation, id)
        assert result.exit_code == 1 and result.stdout == "" and result.stderr.count("\n") == 1
        assert id in result.stderr and text in result.stderr
    both = operator.type("invocations", "kill", NOTHING, opened, "--json")
    assert both.exit_code == 1
    assert [(one["id"], one["outcome"]) for one in json.loads(both.stdout)] == [(NOTHING, "refused"), (opened, "done")]


def test_an_operation_on_a_selection_asks_first(operator: Operator) -> None:
    id = operator.in_status("blocked", operator.send("sleep", "sure"))
    refused = operator.type("invocations", "kill", "--key", "sure", given="n\n")
    assert refused.exit_code == 1 and "Kill 1 invocation of Desk? [y/N]" in refused.stderr
    assert (
        "confirmation requires a terminal. Add --yes." in operator.type("invocations", "kill", "--key", "sure").stderr
    )
    assert operator.status(id) == "blocked"
    assert operator.type("invocations", "kill", "--key", "sure", given="y\n").stdout.endswith(f"{id} killed\n")
    operator.in_status("failed", id)
    assert operator.type("invocations", "kill", "--key", "sure", "--yes").stdout == "No invocation matches.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["invocations", "kill"],
        ["invocations", "kill", NOTHING, "--key", "x"],
        ["invocations", "list", "--status", "nonsense"],
        ["invocations", "pause", "--status", "pending"],
        ["invocations", "pause", "--status", "blocked"],
        ["invocations", "restart", NOTHING, "--keep", "1"],
        ["invocations", "list", "--limit", "0"],
        ["invocations", "list", "--restate", "nonsense"],
        ["state", "Desk"],
        ["sql"],
    ],
)
def test_wrong_usage_ends_with_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["restate", *arguments])
    assert result.exit_code == 2 and "Usage: " in result.stderr


@pytest.mark.parametrize("arguments", [["invocations", "list"], ["awakeables", "list"], ["state", "A/b"], ["sql", "x"]])
def test_a_server_that_is_not_there_is_named(arguments: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = CliRunner().invoke(cli, ["restate", *arguments, "--restate", url])
    assert result.exit_code == 1 and f"No restate-server answers at {url}" in result.stderr


def test_the_ingress_is_not_taken_for_the_admin_api(operator: Operator) -> None:
    result = operator.type("invocations", "list", "--restate", operator.server.ingress)
    assert result.exit_code == 1 and "is not the admin API of a restate-server" in result.stderr


# --- awakeables, state, sql ---------------------------------------------------------------------------------------------


def test_awakeables_are_listed_with_the_ids_that_handlers_know(operator: Operator) -> None:
    operated_app.given.clear()
    id = operator.in_status("blocked", operator.send("wait", "waits"))
    found = operator.read("awakeables", "list", "--key", "waits")
    assert [one["id"] for one in found] == list(dict.fromkeys(operated_app.given))
    assert {(one["invocation_id"], one["handler"]) for one in found} == {(id, "wait")}
    assert {wait["id"] for wait in operator.read("invocations", "show", id)["waits_for"]} == set(operated_app.given)
    lines = operator.type("awakeables", "list", "--key", "waits", "--limit", "1").stdout.splitlines()
    assert lines[1].split()[0] == found[0]["id"] and lines[1].endswith("Desk/waits/wait")
    assert lines[2] == "These are the oldest 1; --limit shows more."
    for one in found:
        answer = httpx.post(f"{operator.server.ingress}/restate/awakeables/{one['id']}/resolve", json="x")
        assert answer.is_success
    operator.in_status("succeeded", id)
    result = operator.type("awakeables", "list", "--key", "waits")
    assert result.stdout == "No suspended invocation waits for an awakeable.\n"


def test_a_sleep_is_not_listed_as_an_awakeable(operator: Operator) -> None:
    operator.in_status("blocked", operator.send("sleep", "dozes"))
    assert operator.read("awakeables", "list", "--key", "dozes") == []


def test_the_state_of_an_object_is_shown(operator: Operator) -> None:
    operator.in_status("succeeded", operator.send("add", "kept", 3))
    operator.in_status("succeeded", operator.send("write", "kept", "a\nb"))
    lines = operator.type("state", "Desk/kept").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [["name", "value"], ["count", "3"], ["note", r'"a\nb"']]
    assert operator.type("state", "Desk/never").stdout == "Desk/never has no stored state.\n"


def test_the_server_does_not_say_that_it_drops_a_change_of_state(operator: Operator) -> None:
    operator.in_status("succeeded", operator.send("add", "dropped", 3))
    change = {"object_key": "dropped", "new_state": {"count": list(b"9")}, "version": "of an earlier state"}
    assert httpx.post(f"{operator.server.admin}/services/Desk/state", json=change).status_code == 202
    operator.in_status("succeeded", operator.send("add", "dropped", 1))
    assert operator.read("state", "Desk/dropped") == {"count": 4}  # why there is no option to change state


def test_a_query_prints_its_rows_up_to_a_limit(operator: Operator) -> None:
    query = "SELECT column1 AS n, column2 AS t FROM (VALUES (1, 'x'), (2, NULL), (3, 'y')) ORDER BY n"
    assert operator.read("sql", query) == [{"n": 1, "t": "x"}, {"n": 2, "t": None}, {"n": 3, "t": "y"}]
    result = operator.type("sql", query, "--limit", "2")
    assert [line.split() for line in result.stdout.splitlines()] == [["n", "t"], ["1", "x"], ["2"]]
    assert result.stderr == "These are the first 2; --limit shows more.\n"
    assert operator.type("sql", "SELECT 1 WHERE false").stdout == "No row matches.\n"


def test_a_query_can_only_read(operator: Operator) -> None:
    for query, text in (("DROP TABLE state", "DDL not supported"), ("nonsense", "ParserError")):
        result = operator.type("sql", query)
        assert result.exit_code == 1 and text in result.stderr and result.stderr.count("\n") == 1
