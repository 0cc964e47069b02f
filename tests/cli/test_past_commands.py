"""`actors history`, `blame`, `audit` and `actors state --at`, on a file, with and without its code."""

from __future__ import annotations

import datetime
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.cli.commands import cli

KEPT = "limits=Limits(retention=None, idempotency_retention=None, max_retained=None)"

CODE = """
import os
from actors import App, Context, Limits, Service, VirtualObject, handler

class Order(VirtualObject, history=True):
    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @handler
    async def checkout(self, ctx: Context) -> str:
        print("a line of the handler")
        self.status = "waiting"
        self.status = await ctx.run(approve)
        return self.status

class Counter(VirtualObject):
    value: int = 0

    @handler
    async def add(self, amount: int) -> int:
        self.value += amount
        return self.value

class Mailer(Service):
    @handler
    async def deliver(self, to: str) -> None: ...

def approve() -> str:
    return "approved"

app = App(Order, Counter, Mailer, storage="sqlite:///shop.db", KEPT)
memory = App(Order, storage="sqlite:///:memory:")
""".replace("KEPT", KEPT)

CHANGED = CODE.replace("self.value += amount", "self.value += 2 * amount")
HANGS = CODE.replace("self.value += amount", "while True: pass")

FILL = """
import asyncio
from past_shop import *

async def main():
    async with app:
        order = app.object(Order, "o/1")
        await order.add("book")
        await order.checkout()
        await order.add("\\x1b[31mpen\\u202e" + "x" * 500)
        for amount in (1, 2, 3):
            await app.object(Counter, "c").add(amount)
        await app.service(Mailer).deliver("a@b")

asyncio.run(main())
"""


class Shop:
    """A folder with the code and the file of an app. The commands run in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("past_shop", CODE)
        self.write("past_changed", CHANGED)
        (folder / "fill.py").write_text(FILL)
        subprocess.run([sys.executable, "fill.py"], cwd=folder, check=True, timeout=60, capture_output=True)

    def write(self, name: str, code: str) -> None:
        (self.folder / f"{name}.py").write_text(code)

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner(env={"COLUMNS": "300"}).invoke(cli, list(words))
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def error(self, *words: str, code: int = 1) -> str:
        result = self.run(*words, code=code)
        assert not result.stdout
        return result.stderr

    def ids(self, handler: str) -> list[str]:
        return [
            row["id"]
            for row in reversed(self.json("invocations", "list", "--db", "shop.db"))
            if row["handler"] == handler
        ]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("past")
        shop = Shop(folder)
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield shop


def test_history_lists_each_change_with_its_author(filled: Shop) -> None:
    found = filled.json("history", "Order/o/1", "--db", "shop.db")
    assert [(one["field"], one.get("from"), one["handler"], one["position"]) for one in found["changes"]] == [
        ("items", None, "add", 1),
        ("status", None, "checkout", 1),
        ("status", "waiting", "checkout", 4),
        ("items", ["book"], "add", 1),
    ]
    assert found["changes"][2]["to"] == "approved" and found["not_known"] == []
    shown = filled.run("history", "Order/o/1", "--db", "shop.db", "--field", "status").stdout
    assert '"waiting" -> "approved"' in shown and "items" not in shown
    assert (
        "These are the newest 1 of 4 changes"
        in filled.run("history", "Order/o/1", "--db", "shop.db", "--limit", "1").stdout
    )
    future = filled.run("history", "Order/o/1", "--db", "shop.db", "--since", "2999-01-01").stdout
    assert future == "No change of Order/o/1 is known since then.\n"
    misspelt = filled.run("history", "Order/o/1", "--db", "shop.db", "--field", "stats").stdout
    assert misspelt == "No change of 'stats' in Order/o/1 is known.\nChanges are known of: items, status.\n"


def test_control_characters_and_long_texts_are_harmless(filled: Shop) -> None:
    for command in ("history", "blame"):
        shown = filled.run(command, "Order/o/1", "--db", "shop.db").stdout
        assert "\x1b" not in shown and "\u202e" not in shown and "x" * 100 not in shown


def test_without_records_history_says_what_may_have_changed(filled: Shop) -> None:
    result = filled.run("history", "Counter/c", "--db", "shop.db")
    assert "No change of Counter/c is known." in result.stdout
    assert "may have changed the state without a record" in result.stderr and "MODULE:APP" in result.stderr
    found = filled.json("history", "Counter/c", "past_shop:app")
    assert [(one.get("from"), one["to"]) for one in found["changes"]] == [(None, 1), (1, 3), (3, 6)]
    assert filled.json("blame", "Counter/c", "--db", "shop.db")["value"]["by"] is None
    assert filled.json("blame", "Counter/c", "past_shop:app")["value"]["before"] == 3


def test_blame_names_the_last_author_of_each_field(filled: Shop) -> None:
    found = filled.json("blame", "Order/o/1", "--db", "shop.db")
    assert found["status"] | {"at": None} == {
        "value": "approved",
        "by": filled.ids("checkout")[0],
        "handler": "checkout",
        "position": 4,
        "at": None,
        "before": "waiting",
    }
    assert found["items"]["by"] == filled.ids("add")[1]
    row = next(
        line for line in filled.run("blame", "Counter/c", "past_shop:app").stdout.splitlines() if "outcome" in line
    )
    assert row.split()[0:2] == ["value", "6"] and row.split()[-1] == "3"


def test_state_at_a_moment_prints_what_state_prints(filled: Shop) -> None:
    first, last = filled.ids("add")[:2]
    checkout = filled.ids("checkout")[0]
    assert filled.json("state", "Order/o/1", "--db", "shop.db", "--before", first) == {}
    assert filled.json("state", "Order/o/1", "--db", "shop.db", "--after", first) == {"items": ["book"]}
    result = filled.run("state", "Order/o/1", "--db", "shop.db", "--after", checkout)
    assert '["book"]' in result.stdout and result.stderr == "As recorded.\n"
    ended = next(row["ended_at"] for row in filled.json("invocations", "list", "--db", "shop.db") if row["id"] == last)
    assert len(filled.json("state", "Order/o/1", "--db", "shop.db", "--at", ended)["items"]) == 2
    assert filled.json("state", "Counter/c", "past_shop:app", "--after", filled.ids("add")[3]) == {"value": 3}


def test_a_time_before_the_first_or_in_the_future_says_so(filled: Shop) -> None:
    early = filled.run("state", "Order/o/1", "past_shop:app", "--at", "2001-01-01T00:00Z")
    assert early.stdout == "Order/o/1 had no stored state.\n" and "had no state yet" in early.stderr
    future = filled.run("state", "Order/o/1", "--db", "shop.db", "--at", "2999-01-01T00:00Z")
    assert "in the future. This is the state now." in future.stderr and "approved" in future.stdout
    assert "may be forgotten" in filled.error("state", "Order/o/1", "--db", "shop.db", "--at", "2001-01-01")


def test_a_naive_time_is_local_and_printed_in_utc(filled: Shop) -> None:
    local = datetime.datetime(2999, 1, 1).astimezone(datetime.UTC)
    said = filled.run("state", "Order/o/1", "--db", "shop.db", "--at", "2999-01-01").stderr
    assert said.startswith(local.isoformat(timespec="milliseconds").replace("+00:00", "Z"))


def test_a_state_that_is_not_known_says_why_and_what_to_do(filled: Shop) -> None:
    id = filled.ids("add")[3]
    said = filled.error("state", "Counter/c", "--db", "shop.db", "--after", id)
    assert said.count("\n") == 1 and "may have changed the state without a record" in said and "MODULE:APP" in said
    said = filled.error("state", "Counter/c", "past_changed:app", "--after", id)
    assert "gives another answer with the current code" in said and "Check out the release that ran then" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["history", "Order"], 2, "'Order' is not a valid object. Use Counter/a."),
        (["history", "Order/none", "--db", "shop.db"], 1, "neither state nor invocations of Order/none"),
        (["history", "Mailer/x", "past_shop:app"], 1, "Mailer is a Service"),
        (["history", "Stock/x", "past_shop:app"], 1, "does not serve a class 'Stock'"),
        (["history", "Order/o/1", "past_shop:memory"], 1, "records in memory only. Name the file"),
        (["history", "Order/o/1", "past_shop:nothing"], 2, "There is no 'nothing'"),
        (["history", "Order/o/1", "--since", "yesterday", "--db", "shop.db"], 2, "'yesterday' is not a valid time"),
        (["history", "Order/o/1", "--since", "0001-01-01", "--db", "shop.db"], 2, "is not a valid time"),
        (["history", "Order/o/1", "--db", "missing.db"], 1, "does not exist"),
        (["history", "Order/o/1", "--db", "past_shop.py"], 1, "not"),
        (["blame", "Order/o/1", "--limit", "3"], 2, "No such option"),
        (["state", "Order/o/1", "--at", "2026-13-01"], 2, "is not a valid time"),
        (["state", "Order/o/1", "--before", "inv_1x", "--after", "inv_1x"], 2, "name two moments"),
        (["state", "Order/o/1", "past_shop:app"], 2, "MODULE:APP is for --at"),
        (["state", "Order/o/1", "--db", "shop.db", "--after", "inv_1x"], 1, "inv_1x"),
        (["state", "Order/o/1", "--db", "shop.db", "--after", "999"], 1, ""),
        (["state", "Counter/c", "--db", "shop.db", "--after", "1"], 1, "is an invocation of Order/o/1, not of Counter/c"),
        (["audit", "past_shop:app", "--db", "missing.db"], 2, "does not exist"),
        (["audit", "past_shop:nothing"], 2, "There is no 'nothing'"),
        (["audit", "past_shop:app", "--key", "none"], 2, "No invocation matches"),
        (["audit", "past_shop:app", "--timeout", "0"], 2, "--timeout"),
    ],
)  # fmt: skip
def test_a_wrong_word_gets_an_error_that_helps(filled: Shop, words: list[str], code: int, said: str) -> None:
    result = filled.run(*words, code=code)
    assert said in result.stderr + result.stdout


def test_audit_explains_a_file_or_names_what_it_cannot(filled: Shop) -> None:
    found = filled.json("audit", "past_shop:app")
    assert (found["ok"], found["invocations"], found["findings"], found["not_judged"]) == (True, 7, [], [])
    result = filled.run("audit", "past_changed:app", code=1)
    assert (
        "Counter/c/add" in result.stdout and "answers 1, as stored" in result.stdout and "1 finding." in result.stdout
    )
    assert filled.run("audit", "past_changed:app", "--service", "Order").stdout.startswith(
        "3 invocations executed again."
    )
    filled.write("past_part", CODE.replace("App(Order, Counter,", "App(Order,"))
    (item,) = filled.json("audit", "past_part:app")["not_judged"]
    assert item == {"service": "Counter", "reason": "the app does not serve the class; invocations: 3", "count": 1}


def test_state_changed_by_an_operator_is_no_finding(filled: Shop, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    with sqlite3.connect("shop.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("""UPDATE object_state SET value = '"mended"' WHERE name = 'status'""")
    (item,) = filled.json("audit", "past_shop:app", "--db", copy)["not_judged"]
    assert "changed outside its handlers" in item["reason"]
    (change,) = [one for one in filled.json("history", "Order/o/1", "--db", copy)["changes"] if one["by"] is None]
    assert (change["from"], change["to"], change["cause"]) == ("approved", "mended", "outside")
    assert filled.json("blame", "Order/o/1", "--db", copy)["status"]["cause"] == "outside"


def test_audit_names_state_that_no_invocation_left(filled: Shop, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    with sqlite3.connect("shop.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("DELETE FROM invocation WHERE service = 'Counter'")
    result = filled.run("audit", "past_shop:app", "--db", copy, "--key", "c", code=1)
    assert "'value' is 6 on disk" in result.stdout and "1 finding." in result.stdout


def test_damaged_values_are_shown_as_they_are(filled: Shop, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    with sqlite3.connect("shop.db") as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE object_state SET value = 'no {json' WHERE name = 'status'")
    assert filled.json("blame", "Order/o/1", "--db", copy)["status"]["value"] == "no {json"
    assert "no {json" in filled.run("history", "Order/o/1", "--db", copy).stdout


def test_a_handler_that_never_ends_ends_the_command(filled: Shop) -> None:
    filled.write("past_hangs", HANGS)
    command = [sys.executable, "-m", "actors", "audit", "past_hangs:app", "--timeout", "0.05"]
    ended = subprocess.run(command, cwd=filled.folder, timeout=60, capture_output=True, text=True)
    assert ended.returncode == 2 and not ended.stdout
    assert "Error: Counter/c/add (inv_1" in ended.stderr and "blocked the event loop" in ended.stderr


def test_the_output_of_handlers_stays_out_of_the_answer(filled: Shop) -> None:
    result = filled.run("audit", "past_shop:app", "--json")
    assert "a line of the handler" not in result.stdout and json.loads(result.stdout)["ok"]
