"""What an open batch holds when it is handed over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.engine.committer import OpenBatch
from actors.storage.records import Status
from tests.unit.engine.parts import invocation

FACTS: dict[str, Any] = {
    "invocations": [invocation(1)],
    "journal": [(1, 1, 10, None, 5, None, None, 5)],
    "state": {("Order", "o", "notes"): "[]"},
    "timers": {(5, 1): (5, 1, 1, 1)},
    "fired": [(5, 1)],
    "stopped": [(5, 1, 1)],
    "attached": [(1, 2, 3)],
    "detached": [(1, 2, 3)],
    "purged": [(1,)],
    "reserve_to": 100,
    "answered": [("{}", 5, 1)],
    "workflows": [("forget", ())],
    "tries": {(1, 1): (1, None, 1, 1)},
}


def test_a_new_batch_is_empty() -> None:
    assert OpenBatch(1).empty()


@pytest.mark.parametrize("name", FACTS)
def test_any_fact_is_worth_a_commit_and_reaches_the_disk(name: str) -> None:
    batch = OpenBatch(7)
    setattr(batch, name, FACTS[name])
    assert not batch.empty()
    sealed = batch.sealed()
    assert sealed.number == 7
    held = {field for field in ("plain", *FACTS) if getattr(sealed, field) not in ([], None)}
    assert held == {"plain" if name == "invocations" else name}


def test_callers_who_wait_do_not_cause_a_commit() -> None:
    batch = OpenBatch(1)
    batch.gates.append(lambda: None)
    batch.answers.append(invocation(1))
    loop = asyncio.new_event_loop()
    batch.replies.append((loop.create_future(), None, False))
    loop.close()
    assert batch.empty()


def test_a_row_is_that_of_the_hand_over() -> None:
    batch, accepted = OpenBatch(1), invocation(1)
    batch.invocations.append(accepted)
    accepted.status, accepted.outcome = Status.SUCCEEDED, "1"
    (row,) = batch.sealed().plain
    assert row == accepted.plain_row() and Status.SUCCEEDED in row
    accepted.status = Status.FAILED
    assert row != accepted.plain_row()


def test_invocations_with_and_without_extras_are_apart() -> None:
    batch, plain, rare = OpenBatch(1), invocation(1), invocation(2)
    rare.more().idempotency_key = "once"
    batch.invocations += [rare, plain]
    sealed = batch.sealed()
    assert sealed.plain == [plain.plain_row()] and sealed.invocations == [rare.row()]


def test_of_an_invocation_that_the_disk_has_only_the_end_is_written() -> None:
    batch, ended, delayed, stopped = OpenBatch(2), invocation(1), invocation(2), invocation(3)
    batch.invocations += [ended, delayed, stopped]
    ended.stored_status = stopped.stored_status = Status.RUNNING
    delayed.stored_status = Status.SCHEDULED  # its place in the mailbox is new
    for each in (ended, delayed):
        each.status, each.outcome, each.ended_ms = Status.SUCCEEDED, "1", 5
    stopped.status = Status.PAUSED
    sealed = batch.sealed()
    assert sealed.ended == [(1, Status.SUCCEEDED, 5, "1")]
    assert sealed.plain == [delayed.plain_row(), stopped.plain_row()]


def test_an_invocation_knows_with_which_status_the_disk_has_it() -> None:
    batch, accepted = OpenBatch(1), invocation(1)
    accepted.status = Status.BLOCKED
    assert accepted.stored_status == -1 and not accepted.recorded
    batch.invocations.append(accepted)
    batch.sealed()
    assert accepted.stored_status == Status.BLOCKED and accepted.recorded


def test_state_that_changes_twice_is_written_once() -> None:
    batch = OpenBatch(1)
    batch.state["Order", "o", "a"] = "1"
    batch.state["Order", "o", "b"] = "2"
    batch.state["Order", "o", "a"] = "3"
    batch.state["Order", "o", "b"] = None
    sealed = batch.sealed()
    assert sealed.state == [("Order", "o", "a", "3")]
    assert sealed.cleared == [("Order", "o", "b")]


def test_rows_keep_the_order_in_which_they_happened() -> None:
    batch = OpenBatch(1)
    for seq in (3, 1, 2):
        batch.invocations.append(invocation(seq))
        batch.timers[seq, seq] = (seq, seq, seq, 1)
        batch.tries[seq, 1] = (1, None, seq, 1)
    sealed = batch.sealed()
    assert [row[0] for row in sealed.plain] == [3, 1, 2]
    assert [row[0] for row in sealed.timers] == [3, 1, 2]
    assert [row[2] for row in sealed.tries] == [3, 1, 2]
