"""The views are a public interface: columns, readable values, and no need to stop the app."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors import App, Context, VirtualObject, handler
from actors.journal.entries import Kind
from actors.storage import Flag, Mode, Status
from actors.storage.sqlite.schema import steps
from tests.storage.rows import AT_MS, OpenStore, batch, entry, invocation, shell

COLUMNS = {
    "invocations": [
        "invocation", "service", "key", "handler", "mode", "status", "arguments", "headers", "called_by",
        "failed_attempts", "accepted_at", "ended_at", "result", "failure", "reason",
        "idempotency_key", "restarted_from", "cancellation",
    ],
    "journal": ["invocation", "position", "entry", "name", "completes", "called", "value", "at", "due"],
    "state": ["service", "key", "name", "value"],
    "promises": ["service", "key", "name", "value", "failure", "completed_at"],
    "awakeables": ["invocation", "position", "service", "key", "handler", "type", "since", "deadline"],
    "timers": ["invocation", "service", "key", "handler", "purpose", "due"],
}  # fmt: skip
AT = "2023-11-14T22:13:20.123Z"
A_SECOND_LATER = "2023-11-14T22:13:21.123Z"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with OpenStore(str(tmp_path / "app.db")) as opened:
        yield opened


def look(store: OpenStore, sql: str) -> list[dict[str, Any]]:
    """What a shell in another process sees while the store is open."""
    with shell(store.path) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


@pytest.mark.parametrize("view", COLUMNS)
async def test_a_view_has_exactly_its_documented_columns(view: str, store: OpenStore) -> None:
    with shell(store.path) as connection:
        cursor = connection.execute(f"SELECT * FROM {view}")
        assert [description[0] for description in cursor.description] == COLUMNS[view]
        assert cursor.fetchall() == []


async def test_invocations_read_as_words_and_times(store: OpenStore) -> None:
    await store.commit(
        batch(
            invocations=[
                invocation(1, headers='{"tenant":"a"}', parent=7),
                invocation(2, status=Status.FAILED, outcome='{"code":500,"message":"no"}', shared=1),
                invocation(3, status=Status.PAUSED, attempts=70, reason="Traceback..."),
                invocation(4, idempotency_key="once", restart_of=2, flags=Flag.HELD | Flag.CANCELLED),
                invocation(5, flags=Flag.HELD | Flag.ATTACHED),
            ]
        )
    )
    first, second, third, fourth, fifth = look(store, "SELECT * FROM invocations ORDER BY invocation")
    assert first == {
        "invocation": 1,
        "service": "Order",
        "key": "k",
        "handler": "add",
        "mode": "exclusive",
        "status": "succeeded",
        "arguments": '["book"]',
        "headers": '{"tenant":"a"}',
        "called_by": 7,
        "failed_attempts": 0,
        "accepted_at": AT,
        "ended_at": A_SECOND_LATER,
        "result": "1",
        "failure": None,
        "reason": None,
        "idempotency_key": None,
        "restarted_from": None,
        "cancellation": None,
    }
    assert (second["mode"], second["status"], second["result"]) == ("shared", "failed", None)
    assert json.loads(second["failure"]) == {"code": 500, "message": "no"}
    assert (third["status"], third["failed_attempts"], third["reason"]) == ("paused", 70, "Traceback...")
    assert third["ended_at"] is None
    assert (fourth["idempotency_key"], fourth["restarted_from"], fourth["cancellation"]) == ("once", 2, "requested")
    assert fifth["cancellation"] is None


async def test_every_status_has_the_name_the_runtime_gives_it(store: OpenStore) -> None:
    await store.commit(batch(invocations=[invocation(n, status=n) for n in range(len(Status.NAMES))]))
    seen = [row["status"] for row in look(store, "SELECT status FROM invocations ORDER BY invocation")]
    assert seen == list(Status.NAMES)


async def test_every_journal_entry_has_the_name_the_runtime_gives_it(store: OpenStore) -> None:
    kinds = sorted(Kind.NAMES)
    await store.commit(batch(journal=[entry(1, idx, kind, ref=9) for idx, kind in enumerate(kinds, 1)]))
    rows = look(store, "SELECT * FROM journal ORDER BY position")
    assert [row["entry"] for row in rows] == [Kind.NAMES[kind] for kind in kinds]
    assert [row["entry"] for row in rows if row["called"] == 9] == ["call", "send", "attach", "cancel"]
    assert [row["entry"] for row in rows if row["completes"] == 9] == ["completed", "failed", "cancelled", "placed"]


async def test_a_journal_reads_as_a_story_from_input_to_output(store: OpenStore) -> None:
    await store.commit(
        batch(
            invocations=[invocation(1, outcome='"paid"')],
            journal=[
                entry(1, 1, 1, name="status", value='"new"'),
                entry(1, 2, 3, name="send_mail"),
                entry(1, 3, 20, ref=2, value=b"\x93\x01\x02\xc0"),
                entry(1, 4, 4, name="1000", ref=AT_MS + 1000),
                entry(1, 5, 5, name="str", ref=AT_MS + 1000),
                entry(1, 6, 6, name="Stock/main/reserve", ref=2, value="[3]"),
                entry(1, 7, 10, ref=AT_MS),
                entry(1, 8, 21, ref=5, value='{"code":500,"message":"rejected"}'),
            ],
        )
    )
    rows = look(store, "SELECT * FROM journal WHERE invocation = 1 ORDER BY position")
    shown = [(row["entry"], row["name"], row["completes"], row["called"], row["value"], row["due"]) for row in rows]
    assert shown == [
        ("input", "add", None, None, '["book"]', None),
        ("set state", "status", None, None, '"new"', None),
        ("run", "send_mail", None, None, None, None),
        ("completed", None, 2, None, "msgpack:930102c0", None),
        ("sleep", "1000", None, None, None, A_SECOND_LATER),
        ("awakeable", "str", None, None, None, A_SECOND_LATER),
        ("call", "Stock/main/reserve", None, 2, "[3]", None),
        ("now", None, None, None, f'"{AT}"', None),
        ("failed", None, 5, None, '{"code":500,"message":"rejected"}', None),
        ("output", None, None, None, '"paid"', None),
    ]
    assert [row["position"] for row in rows] == list(range(10))
    assert {row["at"] for row in rows[:-1]} == {AT}
    assert rows[-1]["at"] == A_SECOND_LATER


async def test_an_open_invocation_has_no_output_and_a_failed_one_a_failure(store: OpenStore) -> None:
    await store.commit(
        batch(invocations=[invocation(1, status=Status.BLOCKED), invocation(2, status=Status.FAILED, outcome="{}")])
    )
    rows = look(store, "SELECT invocation, entry, value FROM journal ORDER BY invocation, position")
    assert [(row["invocation"], row["entry"], row["value"]) for row in rows] == [
        (1, "input", '["book"]'),
        (2, "input", '["book"]'),
        (2, "failure", "{}"),
    ]


async def test_state_is_json_that_sqlite_can_look_into(store: OpenStore) -> None:
    await store.commit(batch(state=[("Order", "k1", "items", '["a","b"]'), ("Order", "k2", "items", '["c"]')]))
    rows = look(store, "SELECT key, json_array_length(value) AS items FROM state WHERE name = 'items' ORDER BY key")
    assert rows == [{"key": "k1", "items": 2}, {"key": "k2", "items": 1}]


async def test_only_awakeables_that_still_wait_are_listed(store: OpenStore) -> None:
    await store.commit(
        batch(
            invocations=[invocation(1, status=Status.BLOCKED), invocation(2), invocation(3, status=Status.PAUSED)],
            journal=[
                entry(1, 1, 5, name="str"),
                entry(1, 2, 5, name="int", ref=AT_MS + 1000),
                entry(1, 3, 20, ref=1, value='"done"'),
                entry(2, 1, 5, name="str"),
                entry(3, 1, 5, name="bool"),
            ],
        )
    )
    where = {"service": "Order", "key": "k", "handler": "add", "since": AT}
    assert look(store, "SELECT * FROM awakeables ORDER BY invocation") == [
        {"invocation": 1, "position": 2, "type": "int", "deadline": A_SECOND_LATER, **where},
        {"invocation": 3, "position": 1, "type": "bool", "deadline": None, **where},
    ]
    assert [row[:2] for row in await store.pending_awakeables(10)] == [(1, 2), (3, 1)]
    assert [row[:2] for row in await store.pending_awakeables(1)] == [(1, 2)]


async def test_timers_say_what_they_are_for(store: OpenStore) -> None:
    await store.commit(
        batch(
            invocations=[invocation(1, status=Status.BLOCKED)],
            timers=[(AT_MS, 1, 1, -1), (AT_MS, 2, 1, -2), (AT_MS + 1000, 3, 1, 4)],
        )
    )
    rows = look(store, "SELECT purpose, due FROM timers ORDER BY due")
    assert [(row["purpose"], row["due"]) for row in rows] == [
        ("retry", AT),
        ("delayed send", AT),
        ("sleep or deadline", A_SECOND_LATER),
    ]


async def test_promises_read_as_values_and_failures(store: OpenStore) -> None:
    done = ("Signup", "u1", "clicked", 0, "true", AT_MS, 1)
    rejected = ("Signup", "u1", "paid", 1, '{"code":500,"message":"no"}', AT_MS + 1000, 0)
    await store.commit(batch(workflows=[("completed", done), ("completed", rejected)]))
    common = {"service": "Signup", "key": "u1"}
    assert look(store, "SELECT * FROM promises ORDER BY name") == [
        {"name": "clicked", "value": "true", "failure": None, "completed_at": AT, **common},
        {"name": "paid", "value": None, "failure": rejected[4], "completed_at": A_SECOND_LATER, **common},
    ]


async def test_a_keyless_invocation_shows_no_key_and_a_run_no_idempotency_key(store: OpenStore) -> None:
    await store.commit(
        batch(
            invocations=[
                invocation(1, key="1", shared=Mode.KEYLESS, status=Status.BLOCKED),
                invocation(2, key="2", idempotency_key=""),
            ],
            journal=[entry(1, 1, Kind.AWAKEABLE, name="str")],
            timers=[(AT_MS, 9, 1, -1)],
        )
    )
    rows = look(store, "SELECT key, mode, idempotency_key FROM invocations ORDER BY invocation")
    assert [tuple(row.values()) for row in rows] == [("", "keyless", None), ("2", "exclusive", None)]
    assert [row["key"] for row in look(store, "SELECT key FROM awakeables UNION ALL SELECT key FROM timers")] == [
        "",
        "",
    ]


async def test_a_shell_that_reads_for_long_does_not_stop_the_store_and_sees_one_moment(store: OpenStore) -> None:
    await store.commit(batch(1, state=[("Order", "k", "n", "1")]))
    with shell(store.path) as connection:
        connection.execute("BEGIN")
        assert connection.execute("SELECT value FROM state").fetchall() == [("1",)]
        await store.commit(batch(2, state=[("Order", "k", "n", "2")]))
        assert connection.execute("SELECT value FROM state").fetchall() == [("1",)]
        connection.execute("COMMIT")
        assert connection.execute("SELECT value FROM state").fetchall() == [("2",)]


async def test_nobody_can_write_through_a_view(store: OpenStore) -> None:
    with shell(store.path) as connection:
        for view in COLUMNS:
            with pytest.raises(sqlite3.OperationalError, match="view"):
                connection.execute(f"DELETE FROM {view}")


class Letter(VirtualObject):
    sent: int = 0

    @handler
    async def deliver(self, ctx: Context) -> list[str]:
        self.sent += 1
        answer = ctx.awakeable(str)
        stamp = await ctx.run(len, answer.id)
        await answer
        return [str(stamp)]


async def test_the_views_tell_the_story_of_a_running_app(storage: str) -> None:
    async with App(Letter, storage=storage) as app:
        call = app.object(Letter, "a").deliver()
        while not (waiting := await app.awakeables()):
            pass
        path = storage.removeprefix("sqlite:///")
        with shell(path) as connection:
            (open_one,) = connection.execute("SELECT service, key, handler, type FROM awakeables").fetchall()
            assert open_one == ("Letter", "a", "deliver", "str")
            assert connection.execute("SELECT name, value FROM state").fetchall() == [("sent", "1")]
            while not connection.execute("SELECT 1 FROM journal WHERE entry = 'completed'").fetchall():
                await app.awakeables()  # the step has a thread of its own: its result is to come first
        await app.resolve_awakeable(waiting[0].id, "thanks")
        (length,) = await call
        with shell(path) as connection:
            entries = connection.execute("SELECT entry, value FROM journal ORDER BY invocation, position").fetchall()
        assert [name for name, _ in entries] == [
            "input", "set state", "awakeable", "run", "completed", "completed", "output",
        ]  # fmt: skip
        assert entries[0][1] == "[]"
        assert entries[4][1] == f"msgpack:{int(length):02x}"
        assert [value for _, value in entries[5:]] == ['"thanks"', f'["{length}"]']


def test_the_sql_uses_nothing_newer_than_sqlite_3_37() -> None:
    """What 3.38 to 3.46 added and is tempting: ->, ->>, unixepoch(), format(), more joins, unhex, jsonb, ..."""
    newer = re.compile(
        r"->|\bunixepoch\s*\(|\bformat\s*\(|\b(FULL|RIGHT)\s+(OUTER\s+)?JOIN|\bDISTINCT\s+FROM|\bunhex\b|\bjsonb|"
        r"\boctet_length\b|\btimediff\b|\bconcat(_ws)?\s*\(|\bstring_agg\b|'auto'|'subsec(ond)?'|\bjson_error_position\b",
        re.IGNORECASE,
    )
    texts = [
        node.value
        for source in (Path(__file__).parents[2] / "storage").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    sql = [text for text in texts if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|WITH|PRAGMA)\b", text)]
    assert len(sql) > 20
    assert [text for text in sql if newer.search(text)] == []


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM journal WHERE invocation = 1",
        "SELECT * FROM invocations WHERE invocation = 1",
        "SELECT * FROM state WHERE service = 'Order' AND key = 'k'",
        "SELECT * FROM awakeables",
        "SELECT DISTINCT service, key FROM invocation WHERE status = 1 OR status = 2 OR status = 5",
        "SELECT * FROM timers ORDER BY due",
        "SELECT * FROM promises WHERE service = 'Signup' AND key = 'u1'",
        "SELECT * FROM promise WHERE unclaimed = 1 ORDER BY completed_ms LIMIT 1",
        "SELECT * FROM invocation WHERE service = 'S' AND key = 'k' AND idempotency_key = ''",
        "SELECT * FROM invocation WHERE service = 'S' AND handler = 'h' AND idempotency_key = 'k' AND shared = 2",
    ],
)
def test_common_questions_do_not_read_whole_tables(question: str) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in steps(0):
        connection.execute(statement)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}")]
    connection.close()
    scans = [line for line in plan if line.startswith("SCAN") and "INDEX" not in line]
    assert [line for line in scans if "invocation" in line or "journal_entry" in line or "object_state" in line] == []
