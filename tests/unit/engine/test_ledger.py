"""Facts go into the open batch once, and a turn hands the batch over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.engine.ledger import NUMBERS_RESERVED
from actors.journal.entries import Kind
from actors.journal.journal import Journal
from actors.storage.records import Status
from actors.testing import Disk
from tests.unit.engine.parts import Parts, at_rest, invocation, parts


def _journaled(made: Parts) -> None:
    caller = at_rest(made, 1, Status.RUNNING, "o")
    caller.journal = journal = Journal()
    made.ledger.write_entry(caller, journal.append(Kind.NOW, None, None, 5, None, 5))


def _tried(made: Parts) -> None:
    caller = at_rest(made, 1, Status.RUNNING, "o")
    made.ledger.write_tries(caller, Journal().append(Kind.RUN, "step", None, 1, None, 5))


VERBS: dict[str, Callable[[Parts], object]] = {
    "mark": lambda made: made.ledger.mark(invocation(1)),
    "an entry": _journaled,
    "tries": _tried,
    "a timer": lambda made: made.ledger.timer((5, 1, 1, 1)),
    "a timer that is over": lambda made: made.ledger.timer_over(5, 1),
    "a timer on disk that is over": lambda made: made.ledger.timer_stopped(5, 1, 1),
    "attached": lambda made: made.ledger.attached(1, 2, 3),
    "detached": lambda made: made.ledger.detached(1, 2, 3),
    "purged": lambda made: made.ledger.purged([1]),
    "answered": lambda made: made.ledger.answered("{}", 5, 1),
    "a patch": lambda made: made.ledger.patch(made.object("o"), {"notes": "[]"}),
}


@pytest.mark.parametrize("name", VERBS)
async def test_each_verb_sees_to_it_that_the_batch_is_written(name: str) -> None:
    made = await parts()
    commits, number = made.disk.commits, made.committer.batch.number
    VERBS[name](made)
    assert not made.committer.batch.empty() and made.disk.commits == commits, "not before the end of the turn"
    await made.settle()
    assert made.disk.commits == commits + 1 and made.committer.handed_over == number
    assert made.committer.batch.empty() and not made.failures


# --- numbers --------------------------------------------------------------------------------------------------------------


async def test_numbers_are_given_out_once_each() -> None:
    made = await parts()
    numbers = [made.ledger.next_number() for _ in range(5)]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    await made.settle()
    assert made.committer.batch.empty()


async def test_more_numbers_are_reserved_long_before_the_last_is_given_out() -> None:
    made = await parts()
    bound = made.ledger.next + NUMBERS_RESERVED
    made.ledger.next = made.ledger.reserve_at - 1
    made.ledger.next_number()
    assert made.committer.batch.reserve_to is None
    number = made.ledger.next_number()
    assert number < bound and made.committer.batch.reserve_to == number + NUMBERS_RESERVED
    await made.settle()
    assert made.disk.commits == 1
    made.ledger.next_number()
    assert made.committer.batch.reserve_to is None, "not for each number"


@pytest.mark.parametrize("raised", [False, True])
async def test_a_process_that_wrote_nothing_down_uses_up_its_numbers(raised: bool) -> None:
    disk = Disk()
    made = await parts(disk)
    if raised:
        made.ledger.next = made.ledger.reserve_at
        made.ledger.next_number()
        await made.settle()
    last = made.ledger.next_number()
    assert (await parts(disk)).ledger.next > last


# --- rows, state ----------------------------------------------------------------------------------------------------------


async def test_an_invocation_is_marked_once_for_each_batch() -> None:
    made, accepted = await parts(), invocation(1)
    made.ledger.mark(accepted)
    made.ledger.mark(accepted)
    first = made.committer.batch
    assert first.invocations == [accepted] and accepted.dirty_in == first.number
    await made.settle()
    made.ledger.mark(accepted)
    assert made.committer.batch.invocations == [accepted] and first is not made.committer.batch


@pytest.mark.parametrize("name", ["wait", "watch"])
async def test_a_journal_keeps_its_object_until_it_is_with_the_disk(name: str) -> None:
    made = await parts()
    caller = at_rest(made, 1, Status.RUNNING, "o", name)
    entry = Journal().append(Kind.NOW, None, None, 5, None, 5)
    made.ledger.write_entry(caller, entry)
    batch = made.committer.batch
    assert batch.journal == [(1, 1, Kind.NOW, None, 5, None, None, 5)]
    if name == "watch":  # a reader's row may not be there yet
        assert batch.invocations == [caller] and caller.dirty_in == batch.number
    else:
        assert made.object("o").written_in == batch.number and not batch.invocations


async def test_only_the_last_number_of_tries_of_a_step_is_written() -> None:
    made = await parts()
    caller = at_rest(made, 1, Status.RUNNING, "o")
    entry = Journal().append(Kind.RUN, "step", None, 1, None, 5)
    made.ledger.write_tries(caller, entry)
    entry.ref = 2
    made.ledger.write_tries(caller, entry)
    assert list(made.committer.batch.tries.values()) == [(2, None, 1, 1)]


async def test_state_behind_its_journal_is_written_once_and_only_then() -> None:
    made = await parts()
    mailbox, caller = made.object("o"), at_rest(made, 1, Status.RUNNING, "o")
    assert mailbox.state is not None
    made.ledger.write_behind(mailbox)
    assert made.committer.batch.empty()
    mailbox.state.stored.update(a="1", b="2")
    mailbox.state.behind = dict.fromkeys(("a", "b"), 1)
    made.ledger.write_state(caller, "b", "3")
    made.ledger.write_behind(mailbox)
    made.ledger.write_behind(mailbox)
    assert made.committer.batch.state == {("Order", "o", "b"): "3", ("Order", "o", "a"): "1"}
    assert mailbox.written_in == made.committer.batch.number


async def test_forgotten_state_is_not_written() -> None:
    made = await parts()
    mailbox = made.object("o")
    made.ledger.patch(mailbox, {"a": "1", "b": None, "c": "3"})
    assert mailbox.written_in == made.committer.batch.number
    made.ledger.unwritten(mailbox, ["a", "b", "never written"])
    assert made.committer.batch.state == {("Order", "o", "c"): "3"}


async def test_purged_invocations_name_the_batch_they_are_in() -> None:
    made = await parts()
    assert made.ledger.purged([3, 4]) == made.committer.batch.number
    assert made.committer.batch.purged == [(3,), (4,)]


# --- timers ---------------------------------------------------------------------------------------------------------------


async def test_a_timer_made_and_over_in_one_batch_is_never_written() -> None:
    made = await parts()
    made.ledger.timer((5, 1, 9, 2))
    made.ledger.timer_over(5, 1)
    assert made.committer.batch.empty()


async def test_a_timer_that_is_with_the_disk_is_removed_from_it() -> None:
    made = await parts()
    made.ledger.timer((5, 1, 9, 2))
    made.ledger.timer((5, 2, 9, 3))
    await made.settle()
    made.ledger.timer_over(5, 1)
    made.ledger.timer_stopped(5, 9, 3)
    await made.settle()
    assert made.disk.query("SELECT count(*) FROM timer") == [(0,)]
