"""A batch is written as a whole, in order, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.storage import Batch, Flag, InvocationRow, JournalRow, Status, StorageError, TimerRow
from actors.storage.sqlite.database import WriterConnection
from actors.storage.sqlite.packed import SETUP, PackedBatch, packed
from actors.storage.sqlite.schema import steps
from tests.storage.rows import AT_MS, OpenStore, batch, column, create, entry, invocation, plain, shell

TABLES = ("invocation", "journal_entry", "object_state", "timer", "attachment", "meta")


def contents(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 255, 5000])
async def test_a_batch_of_any_size_is_written_completely_and_in_order(size: int, tmp_path: Path) -> None:
    rows = [invocation(n, key=f"k{n}", idempotency_key="i", flags=n) for n in range(size)]
    simple = [invocation(size + n, key=f"k{n}") for n in range(size)]
    entries = [entry(n // 3, n % 3, value=f"v{n}") for n in range(size)]
    state = [("Order", f"k{n}", "total", str(n)) for n in range(size)]
    timers = [(n, n, n, -1) for n in range(size)]
    async with OpenStore(str(tmp_path / "app.db"), synchronous="OFF") as store:
        plain_rows = [plain(row) for row in simple]
        await store.commit(batch(invocations=rows, plain=plain_rows, journal=entries, state=state, timers=timers))
        assert await store.query("SELECT * FROM invocation ORDER BY seq") == rows + simple
        assert await store.query("SELECT * FROM journal_entry ORDER BY invocation, idx") == entries
        assert await store.query("SELECT * FROM object_state ORDER BY CAST(value AS INT)") == state
        assert await store.query("SELECT * FROM timer ORDER BY due_ms, seq") == timers


async def test_a_batch_of_more_handlers_fields_and_kinds_of_entries_than_a_statement_has_room_for_is_written(
    tmp_path: Path,
) -> None:
    rows = [invocation(n, handler=f"h{n % 90}", parent=n if n % 2 else None) for n in range(1, 400)]
    entries = [entry(n, 1, kind=n % 80) for n in range(1, 400)]
    state = [("Order", "k", f"field{n:03}", str(n)) for n in range(100)]
    async with OpenStore(str(tmp_path / "app.db"), synchronous="OFF") as store:
        await store.commit(batch(plain=[plain(row) for row in rows], journal=entries, state=state))
        assert await store.query("SELECT * FROM invocation ORDER BY seq") == rows
        assert await store.query("SELECT * FROM journal_entry ORDER BY invocation") == entries
        assert await store.query("SELECT * FROM object_state ORDER BY name") == state


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", '"\\u0000"', '{"\\\\u0000": 1}', "", "\x01\x1f", "\u2028 \ud7ff \uffff"]
)
async def test_any_text_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    row = invocation(1, key=f"k{text}", handler=text, args=text, outcome=text)
    called = row._replace(seq=2, parent=1, position=7)
    entries = [entry(1, 1, name=text, value=text, before=text)]
    state = [("Order", f"k{text}", f"n{text}", text), ("Order", "k2", "n", "1")]
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(plain=[plain(row), plain(called)], journal=entries, state=state))
        assert await store.invocations([1, 2]) == {1: row, 2: called}
        assert await store.journal(1) == entries
        assert await store.query("SELECT * FROM object_state ORDER BY value = '1'") == state


async def test_text_that_is_not_unicode_is_refused_and_nothing_of_its_batch_is_written(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        with pytest.raises((StorageError, UnicodeEncodeError)):
            await store.commit(batch(plain=[plain(invocation(1)), plain(invocation(2, outcome="\ud800"))]))
        await store.commit(batch(2, plain=[plain(invocation(3))]))
        assert list(await store.invocations([1, 2, 3])) == [3]


ONE_STATEMENT: dict[str, Any] = {
    "plain": [plain(invocation(1)), plain(invocation(2, handler="remove", status=Status.PENDING))],
    "state": [("Order", "k", "n", "1"), ("Order", "l", "m", "2")],
    "journal": [
        *[entry(2, 1, 20, value='"text"', ref=1), entry(2, 2, 21, value="{}", ref=4), entry(1, 1, 22)],
        *[entry(1, 2, 1, name="n", value='"new"', before='"old"', ref=3), entry(2, 3, 1, name="n", value='"ü"')],
        *[entry(1, 3, 2, name="n", before="1"), entry(2, 4, 18, name="m", value='[[1,"","x"]]', before="ab cd")],
        *[entry(1, 4, 5, name="int"), entry(1, 5, 3, name="\x00"), entry(2, (1 << 20) - 1, 3, name="charge")],
        *[entry((1 << 43) - 1, 1, 3, name="charge"), entry((1 << 43) - 1, 2, 20, ref=1)],
    ],
    "ended": [(7, Status.SUCCEEDED, AT_MS, "1"), (8, Status.FAILED, AT_MS, '{"code":500}')],
}


async def test_what_ends_and_answers_is_one_statement_and_the_rest_needs_more() -> None:
    assert packed(batch(**ONE_STATEMENT)).alone()
    more: dict[str, Any] = {
        "plain": [plain(invocation(2, parent=1))],
        "journal": [entry(2, 1, 20, value=b"\x82")],
        "invocations": [invocation(3)],
        "cleared": [("Order", "k", "n")],
        "timers": [(1, 2, 3, 4)],
        "fired": [(1, 2)],
        "stopped": [(1, 2, 3)],
        "attached": [(1, 2, 3)],
        "detached": [(1, 2, 3)],
        "purged": [(1,)],
        "reserve_to": 9,
        "answered": [("{}", 1, 2)],
        "workflows": [("replaced", (1,))],
        "tries": [(1, "{}", 1, 2)],
    }
    long = '"' + "x" * 2000 + '"'
    for other in (
        entry(2, 5, 6, name="Order/k/add", ref=3, value="[1]"),
        entry(2, 5, 20, ref=1, value=long),
        entry(2, 5, 1, name="n", value=long),
        entry(2, 5, 2, name="n", before=long),
        entry(2, 1 << 20, 3, name="n"),
    ):
        assert not packed(batch(**{**ONE_STATEMENT, "journal": [*ONE_STATEMENT["journal"], other]})).alone()
    assert {*more, "number", "state", "ended"} == set(Batch.__dataclass_fields__)
    assert not any(packed(batch(**{**ONE_STATEMENT, name: value})).alone() for name, value in more.items())


async def test_the_entries_of_one_statement_are_those_of_many(tmp_path: Path) -> None:
    journal = ONE_STATEMENT["journal"]
    async with OpenStore(str(tmp_path / "one.db")) as one, OpenStore(str(tmp_path / "many.db")) as many:
        await one.commit(batch(journal=journal))
        for number, each in enumerate(journal, 1):
            await many.commit(batch(number, journal=[each], timers=[(number, 1, 1, 1)]))
        query = "SELECT * FROM journal_entry ORDER BY invocation, idx"
        assert await one.query(query) == await many.query(query) == sorted(journal)


@pytest.mark.parametrize("twice", [entry(1, 1, name="charge"), entry(1, 1, 20, ref=1), entry(1, 1, 1, name="n")])
async def test_two_entries_in_one_place_of_a_journal_are_refused(twice: JournalRow, tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        with pytest.raises(StorageError, match="UNIQUE"):
            await store.commit(batch(journal=[twice, twice]))
        await store.commit(batch(2, journal=[twice]))
        assert await store.journal(1) == [twice]


@pytest.mark.parametrize("outcome", ['"text"', '"\\u0000"', "\x00"])
async def test_the_end_of_an_invocation_changes_its_row_and_no_other(outcome: str, tmp_path: Path) -> None:
    open_ones = [invocation(n, status=Status.BLOCKED, parent=9, parent_index=2) for n in (1, 2, 3)]
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, plain=[plain(row) for row in open_ones]))
        ended = [(1, Status.SUCCEEDED, AT_MS + 1, outcome), (3, Status.FAILED, AT_MS + 2, "{}")]
        await store.commit(batch(2, ended=ended))
        assert await store.query("SELECT * FROM invocation ORDER BY seq") == [
            open_ones[0]._replace(status=Status.SUCCEEDED, ended_ms=AT_MS + 1, outcome=outcome),
            open_ones[1],
            open_ones[2]._replace(status=Status.FAILED, ended_ms=AT_MS + 2, outcome="{}"),
        ]


async def test_a_large_text_of_state_is_bound_as_it_is_and_the_others_are_packed(tmp_path: Path) -> None:
    """Taking it out of JSON would cost more than a statement of its own."""
    state = [("Order", "k", "n", "1"), ("Order", "k", "large", '"' + "x" * 10_000 + '"'), ("Order", "l", "n", "2")]
    whole = packed(batch(state=state))
    assert whole.state == [state[1]] and "xxx" not in str(whole.packed)
    async with OpenStore(str(tmp_path / "app.db")) as store:
        for number in (1, 2):
            await store.commit(batch(number, state=state))
        assert await store.query("SELECT * FROM object_state ORDER BY length(value), value") == [
            state[0],
            state[2],
            state[1],
        ]


async def test_an_empty_batch_is_committed(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(Batch(1))


async def test_a_later_row_of_an_invocation_replaces_what_can_change_of_the_earlier_one(tmp_path: Path) -> None:
    accepted = invocation(1, status=Status.PENDING)
    ended = invocation(1, status=Status.FAILED, position=9, attempts=3, outcome='{"code":500}', reason="why")
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[accepted]))
        assert await store.invocation(1) == accepted
        await store.commit(batch(2, invocations=[ended]))
        assert await store.invocation(1) == ended


EXTRAS: dict[str, Any] = {
    "headers": '{"tenant":"a"}',
    "attempts": 3,
    "reason": "why",
    "flags": Flag.CANCELLED | Flag.ATTACHED,
    "failing_since_ms": AT_MS + 5,
    "idempotency_key": "once",
    "restart_of": 77,
}


async def test_a_full_row_replaces_how_far_an_invocation_has_come_and_what_it_runs_but_not_what_it_is(
    tmp_path: Path,
) -> None:
    accepted = invocation(1, status=Status.PENDING, **EXTRAS)
    progress: dict[str, Any] = {
        "status": Status.BACKING_OFF,
        "position": 9,
        "attempts": 4,
        "ended_ms": AT_MS + 9,
        "outcome": "2",
        "reason": "another",
        "flags": Flag.HELD,
        "failing_since_ms": AT_MS + 6,
        "shared": 1,
        "args": "x",
    }
    other: dict[str, Any] = {
        "service": "X", "key": "x", "handler": "x", "headers": "x", "parent": 5,
        "parent_index": 5, "accepted_ms": 5, "idempotency_key": "x", "restart_of": 5,
    }  # fmt: skip
    assert {"seq", *progress, *other} == set(InvocationRow._fields)
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[accepted]))
        assert await store.invocation(1) == accepted
        await store.commit(batch(2, invocations=[accepted._replace(**progress, **other)]))
        assert await store.invocation(1) == accepted._replace(**progress)


async def test_a_plain_row_is_an_invocation_without_the_rare_columns(tmp_path: Path) -> None:
    accepted = invocation(1, status=Status.PENDING, parent=7, parent_index=2, shared=1)
    ended = invocation(1, status=Status.FAILED, position=9, parent=7, parent_index=2, shared=1)
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, plain=[plain(accepted)]))
        assert await store.invocation(1) == accepted
        await store.commit(batch(2, plain=[plain(ended._replace(args="x", key="x", parent=1))]))
        assert await store.invocation(1) == ended


async def test_a_plain_row_never_disturbs_the_rare_columns(tmp_path: Path) -> None:
    accepted = invocation(1, status=Status.PENDING, **EXTRAS)
    ended = invocation(1, position=9, outcome="5", **EXTRAS)
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[accepted]))
        await store.commit(batch(2, plain=[plain(ended)]))
        assert await store.invocation(1) == ended


async def test_an_invocation_that_began_plain_can_get_the_rare_columns_that_change(tmp_path: Path) -> None:
    failing = invocation(1, status=Status.BACKING_OFF, attempts=1, reason="why", flags=1, failing_since_ms=AT_MS)
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, plain=[plain(invocation(1, status=Status.PENDING))]))
        await store.commit(batch(2, invocations=[failing]))
        assert await store.invocation(1) == failing


async def test_an_idempotency_key_finds_its_invocation_and_no_other(tmp_path: Path) -> None:
    keyed = invocation(1, status=Status.PENDING, idempotency_key="once")
    others = [
        invocation(2, idempotency_key="twice"),
        invocation(3, handler="remove", idempotency_key="once"),
        invocation(4, key="l", idempotency_key="once"),
        invocation(5, service="Cart", idempotency_key="once"),
        invocation(6),
    ]
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[keyed, *others]))
        assert await store.find("Order", "k", "add", "once") == keyed
        assert await store.find("Order", "k", "remove", "once") == others[1]
        assert await store.find("Order", "k", "add", "Once") is None
        assert await store.find("Order", "k", "add", "") is None
        await store.commit(batch(2, invocations=[invocation(1)], purged=[(1,)]))
        assert await store.find("Order", "k", "add", "once") is None
        await store.commit(batch(3, invocations=[invocation(7, idempotency_key="once")]))
        assert await store.find("Order", "k", "add", "once") == invocation(7, idempotency_key="once")


async def test_a_second_invocation_under_an_idempotency_key_is_refused_with_its_batch(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, invocations=[invocation(1, idempotency_key="once")]))
        with pytest.raises(StorageError, match="UNIQUE"):
            await store.commit(batch(2, invocations=[invocation(2), invocation(3, idempotency_key="once")]))
        assert await store.invocations([1, 2, 3]) == {1: invocation(1, idempotency_key="once")}


async def test_an_attachment_is_there_once_until_it_is_detached(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, attached=[(1, 5, 2), (1, 5, 2), (1, 6, 2), (2, 5, 3)]))
        await store.commit(batch(2, attached=[(1, 5, 2), (1, 5, 4)]))
        assert await store.attached(1) == [(5, 2), (5, 4), (6, 2)]
        await store.commit(batch(3, detached=[(1, 5, 2), (1, 6, 3)], attached=[(3, 5, 6)]))
        assert await store.attached(1) == [(5, 4), (6, 2)]
        assert await store.attached(2) == [(5, 3)]
        await store.commit(batch(4, attached=[(4, 5, 7)], detached=[(4, 5, 7)]))
        assert await store.attached(4) == []


async def test_a_start_names_the_attachments_whose_target_has_ended_or_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    targets = [invocation(1), invocation(2, status=Status.BLOCKED), invocation(3, status=Status.FAILED), invocation(4)]
    attached = [(1, 10, 1), (1, 11, 1), (2, 10, 2), (3, 10, 3), (4, 10, 4), (9, 10, 5)]
    await create(path, batch(1, invocations=targets, attached=attached), batch(2, detached=[(4, 10, 4)]))
    async with OpenStore(str(path)) as store:
        assert sorted(store.opened.settled) == [1, 3, 9]
        assert await store.attached(1) == [(10, 1), (11, 1)], "a start only names them"
        await store.commit(batch(3, detached=[(1, 10, 1), (1, 11, 1), (9, 10, 5)], purged=[(3,)]))
    async with OpenStore(str(path)) as store:
        assert store.opened.settled == [3]


async def test_what_an_operator_holds_is_not_woken_by_a_start(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    rows = [
        invocation(1, key="held", status=Status.PAUSED, flags=Flag.HELD | Flag.CANCELLED),
        invocation(2, key="failed", status=Status.PAUSED, flags=Flag.CANCELLED),
        invocation(3, key="both", status=Status.PAUSED, flags=Flag.HELD),
        invocation(4, key="both", status=Status.PENDING, flags=Flag.HELD),
        invocation(5, key="blocked", status=Status.BLOCKED),
        invocation(6, key="running", status=Status.RUNNING),
    ]
    await create(path, batch(invocations=rows))
    async with OpenStore(str(path)) as store:
        assert sorted(store.opened.runnable) == [("Order", key) for key in ("both", "failed", "running")]


async def test_a_purge_removes_ended_invocations_with_their_journals_and_never_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    rows = [invocation(n, status=n, idempotency_key=f"i{n}" if n % 2 else None) for n in range(8)]
    rows += [invocation(8), invocation(9, status=Status.FAILED)]
    entries = [entry(n, idx) for n in range(10) for idx in (1, 2)]
    async with OpenStore(str(path)) as store:
        await store.commit(batch(1, invocations=rows, journal=entries))
        await store.commit(batch(2, purged=[(n,) for n in (*range(8), 1000)]))
        left = [n for n in range(10) if n not in (6, 7)]
        assert await store.query("SELECT * FROM invocation ORDER BY seq") == [rows[n] for n in left]
        assert await store.query("SELECT * FROM journal_entry") == [row for row in entries if row.invocation in left]
        await store.commit(batch(3, plain=[plain(invocation(3))], journal=[entry(3, 3)], purged=[(3,)]))
        assert await store.invocation(3) is None, "one that ended in the same batch"
        assert await store.journal(3) == []
    async with OpenStore(str(path)) as store:
        assert store.opened.ended == 2


async def test_ended_invocations_come_in_the_order_of_their_end_those_with_a_key_apart(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    ends = {1: 30, 2: 10, 3: 20, 4: 10, 5: 20, 6: 5, 7: 40}
    rows = [
        invocation(seq, ended_ms=ended_ms, status=6 + seq % 2, idempotency_key=f"i{seq}" if seq > 4 else None)
        for seq, ended_ms in ends.items()
    ]
    await create(path, batch(invocations=[*rows, invocation(8, status=Status.PAUSED, idempotency_key="i8")]))
    async with OpenStore(str(path)) as store:
        assert await store.ended(10, keyed=False) == [(2, 10), (4, 10), (3, 20), (1, 30)]
        assert await store.ended(10, keyed=True) == [(6, 5), (5, 20), (7, 40)]
        assert await store.ended(2, keyed=False) == [(2, 10), (4, 10)]
        assert await store.ended(1, keyed=True) == [(6, 5)]
        assert store.opened.ended == 4, "those under a key are not counted"


async def test_state_is_replaced_and_cleared(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, state=[("Order", "k", "a", "1"), ("Order", "k", "b", "2")]))
        await store.commit(batch(2, state=[("Order", "k", "a", "3")], cleared=[("Order", "k", "b")]))
        (record,) = await store.load_objects([("Order", "k")])
        assert record.state == {"a": "3"}


async def test_timers_that_fired_are_gone_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    timers = [(50, 1, 7, -1), (50, 2, 8, 3), (40, 3, 9, -2)]
    await create(path, batch(1, timers=timers), batch(2, fired=[(50, 1)]))
    async with OpenStore(str(path)) as store:
        assert await store.timers((0, 0), 10) == [(40, 3, 9, -2), (50, 2, 8, 3)]


async def test_timers_are_read_in_windows_in_order_of_due_time_then_of_number(tmp_path: Path) -> None:
    timers = [TimerRow(due, seq, seq + 1, -1) for seq, due in enumerate([50, 20, 50, 10, 50, 20, 50, 90])]
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(timers=timers))
        seen, after = list[TimerRow](), (-1, -1)
        while window := await store.timers(after, 3):
            assert len(window) <= 3 and window[0][:2] > after
            seen += window
            after = window[-1][:2]
        assert seen == sorted(timers)
        assert await store.timers((50, 2), 10) == [(50, 4, 5, -1), (50, 6, 7, -1), (90, 7, 8, -1)]
        assert await store.timers((90, 7), 10) == []


async def test_a_stopped_timer_is_gone_also_if_its_batch_made_it(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(1, timers=[(50, 1, 7, 3), (50, 2, 7, 4), (60, 3, 7, 3), (50, 4, 8, 3)]))
        await store.commit(batch(2, timers=[(50, 5, 9, 3), (50, 6, 9, 4)], stopped=[(50, 7, 3), (50, 9, 3)]))
        assert await store.timers((0, 0), 10) == [(50, 2, 7, 4), (50, 4, 8, 3), (50, 6, 9, 4), (60, 3, 7, 3)]
        await store.commit(batch(3, stopped=[(50, 7, 3), (1, 1, 1)]))
        assert len(await store.timers((0, 0), 10)) == 4, "what is not there may be stopped"


async def test_a_journal_value_comes_back_as_the_text_or_the_bytes_it_was(tmp_path: Path) -> None:
    entries = [
        entry(1, 1, 20, value='{"a": "ä€𝄞"}', ref=3),
        entry(1, 2, 20, value=b"\x00\xff\x82", ref=4),
        entry(1, 3, 20, value="", ref=5),
        entry(1, 4, 20, value=b"", ref=6),
        entry(1, 5, 1, name="n", value=None, before="1"),
    ]
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(invocations=[invocation(1)], journal=entries))
        assert await store.journal(1) == entries
        assert [type(found.value) for found in await store.journal(1)] == [str, bytes, str, bytes, type(None)]


async def test_reads_see_every_batch_handed_over_before_them(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        tasks: list[asyncio.Task[Any]] = []
        async with asyncio.TaskGroup() as group:
            for number in range(1, 31):
                group.create_task(store.commit(batch(number, state=[("Order", "k", "n", str(number))])))
                tasks.append(group.create_task(store.load_objects([("Order", "k")])))
        assert [task.result()[0].state["n"] for task in tasks] == [str(number) for number in range(1, 31)]


async def test_batches_handed_over_at_once_are_all_written_in_order(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        batches = [batch(n, invocations=[invocation(n)], state=[("Order", "k", "n", str(n))]) for n in range(1, 51)]
        await asyncio.gather(*map(store.commit, batches))
        assert column(await store.query("SELECT seq FROM invocation ORDER BY seq")) == list(range(1, 51))
        (record,) = await store.load_objects([("Order", "k")])
        assert record.state == {"n": "50"}


async def test_a_batch_given_up_by_its_caller_does_not_shift_the_ones_behind_it(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "app.db")) as store:
        given_up = asyncio.create_task(store.commit(batch(1, invocations=[invocation(1)])))
        await asyncio.sleep(0)
        given_up.cancel()
        await store.commit(batch(2, invocations=[invocation(2)]))
        assert await store.invocation(2) is not None
        await store.commit(batch(3, invocations=[invocation(3)]))
        assert await store.invocation(3) is not None
        with pytest.raises(asyncio.CancelledError):
            await given_up


# One row or value in each part of a batch that the database or its driver refuses.
REFUSED: dict[str, dict[str, Any]] = {
    "an invocation": {"invocations": [invocation(10), invocation(11)._replace(args=None)]},  # type: ignore[arg-type]
    "an invocation in a second statement": {"invocations": [*map(invocation, range(10, 140)), ("too", "few")]},
    "a plain invocation": {"plain": [plain(invocation(10)), plain(invocation(11))._replace(args=None)]},  # type: ignore[arg-type]
    "a second use of an idempotency key": {"invocations": [invocation(10, idempotency_key="once")]},
    "a journal entry": {"journal": [entry(1, 1), entry(1, 1)]},
    "a journal entry that is there": {"journal": [entry(9, 1)]},
    "a state value": {"state": [("Order", "k", "n", "2"), ("Order", "k", "m", None)]},
    "a timer": {"timers": [(1, 2, 3, 4), (1, 2, 5, 6)]},
    "a fired timer": {"fired": [(5, 5), (object(), 1)]},
    "a cleared value": {"cleared": [("Order", "k", "n"), ("Order", "k", object())]},
    "a stopped timer": {"stopped": [(5, 9, -1), (5, 9, object())]},
    "an attachment": {"attached": [(1, 2, 3), (1, 2, object())]},
    "a detachment": {"detached": [(9, 8, 1), (9, 8, object())]},
    "a purged invocation": {"purged": [(9,), (object(),)]},
    "the bound of numbers": {"reserve_to": object()},
}


@pytest.mark.parametrize("part", REFUSED)
async def test_one_refused_row_leaves_nothing_of_its_batch(part: str, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    sound: dict[str, Any] = {
        "invocations": [invocation(2)],
        "plain": [plain(invocation(3))],
        "journal": [entry(2, 1)],
        "state": [("Order", "k", "n", "5")],
        "stopped": [(6, 9, 1)],
        "attached": [(2, 3, 1)],
        "detached": [(9, 8, 1)],
        "purged": [(9,)],
        "timers": [(7, 7, 2, -1)],
        "fired": [(5, 5)],
        "cleared": [("Order", "other", "n")],
        "reserve_to": 5_000_000,
    }
    async with OpenStore(str(path)) as store:
        await store.commit(
            batch(
                1,
                invocations=[invocation(9, idempotency_key="once")],
                journal=[entry(9, 1)],
                state=[("Order", "k", "n", "1"), ("Order", "other", "n", "1")],
                timers=[(5, 5, 9, -1), (6, 6, 9, 1)],
                attached=[(9, 8, 1)],
            )
        )
        with shell(path) as connection:
            before = contents(connection)
            with pytest.raises(StorageError):
                await store.commit(batch(2, **{**sound, **REFUSED[part]}))
            assert contents(connection) == before
            await store.commit(batch(3, **sound))
            assert contents(connection) != before, "the store still works"


@pytest.fixture
def writer() -> Iterator[WriterConnection]:
    connection = WriterConnection(":memory:", isolation_level=None, cached_statements=200)
    for statement in (*steps(0), *SETUP):
        connection.execute(statement)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("epoch", 1), ("next_number", 1)])
    connection.epoch = 1
    yield connection
    connection.close()


def test_a_batch_stopped_at_any_moment_leaves_nothing_of_it(writer: WriterConnection) -> None:
    """SQLite is interrupted after every n-th step of its virtual machine, for all n until the batch gets through."""
    rows: dict[str, Any] = {
        "invocations": [invocation(n) for n in range(2)],
        "plain": [plain(invocation(2))],
        "journal": [entry(n, 1) for n in range(3)],
        "state": [("Order", "k", str(n), "1") for n in range(3)],
        "timers": [(n, n, n, -1) for n in range(3)],
        "fired": [(100, 100), (101, 101)],
        "stopped": [(102, 9, 1)],
        "attached": [(n, 9, n) for n in range(3)],
        "detached": [(9, 8, 1)],
        "purged": [(9,)],
        "cleared": [("Order", "k", "old")],
        "reserve_to": 2_000_000,
    }
    writer.executemany("INSERT INTO timer VALUES (?, ?, 0, 0)", [(100, 100), (101, 101)])
    writer.execute("INSERT INTO timer VALUES (102, 102, 9, 1)")
    writer.execute("INSERT INTO attachment VALUES (9, 8, 1)")
    writer.execute(f"INSERT INTO invocation VALUES ({', '.join('?' * 20)})", invocation(9))
    writer.execute(f"INSERT INTO journal_entry VALUES ({', '.join('?' * 8)})", entry(9, 1))
    writer.execute("INSERT INTO object_state VALUES ('Order', 'k', 'old', '1')")
    assert stopped_after_each_step(writer, packed(batch(1, **rows))) > 200
    after = contents(writer)
    assert [len(after[table]) for table in TABLES] == [3, 3, 3, 3, 3, 2], "the batch that got through is whole"


def test_a_batch_of_one_statement_stopped_at_any_moment_leaves_nothing_of_it(writer: WriterConnection) -> None:
    whole = packed(batch(1, **ONE_STATEMENT))
    assert whole.alone()
    assert stopped_after_each_step(writer, whole) > 200
    after = contents(writer)
    assert [len(after[table]) for table in TABLES] == [2, len(ONE_STATEMENT["journal"]), 2, 0, 0, 2]


def stopped_after_each_step(writer: WriterConnection, whole: PackedBatch) -> int:
    """How many steps it took: after all smaller numbers of steps nothing had changed."""
    before = contents(writer)
    steps_left = 0
    while contents(writer) == before:
        steps_left += 1
        writer.handed_over.append(whole)
        writer.set_progress_handler(Interruption(steps_left), 1)
        with contextlib.suppress(sqlite3.OperationalError):
            writer.commit()
        writer.set_progress_handler(None, 0)
        assert not writer.in_transaction
    return steps_left


class Interruption:
    """Stops SQLite once, after so many steps, and lets the rollback through."""

    def __init__(self, steps_left: int) -> None:
        self.steps_left = steps_left

    def __call__(self) -> int:
        self.steps_left -= 1
        return self.steps_left == 0


def test_a_batch_fits_the_number_of_parameters_sqlite_allows(writer: WriterConnection) -> None:
    # 32,766 since SQLite 3.32, but a distribution may lower it; 999 was the limit before.
    assert writer.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) > 128 * len(InvocationRow._fields)


async def test_an_outcome_too_long_to_be_packed_is_bound_in_its_columns(tmp_path: Path) -> None:
    outcome = '"' + "x" * 10_000 + '"'
    async with OpenStore(str(tmp_path / "app.db")) as store:
        await store.commit(batch(plain=[plain(invocation(1, status=Status.RUNNING))]))
        await store.commit(batch(2, ended=[(1, Status.SUCCEEDED, AT_MS + 7, outcome)]))
        found = await store.invocation(1)
    assert found is not None and (found.status, found.ended_ms, found.outcome) == (Status.SUCCEEDED, AT_MS + 7, outcome)
