"""What a journal knows of an invocation: its two lists, what it waits for, and the state before its writes."""

from __future__ import annotations

import itertools

import pytest

from actors.errors import StateDecodeError
from actors.journal.entries import Entry, Kind, packed_state
from actors.journal.journal import Journal, found_by, left
from actors.storage.records import JournalRow

LONG = '"' + "a word " * 100 + '"'
LONGER = LONG[:-1] + 'more"'
LONGEST = LONGER[:-1] + 'and more"'


def row(idx: int, entry: Entry) -> JournalRow:
    return JournalRow(7, idx, entry.kind, entry.name, entry.ref, entry.value, entry.before, entry.at_ms)


def command(journal: Journal, kind: int, name: str | None = None, ref: int | None = None) -> int:
    return journal.append(kind, name, None, ref, None, 5).idx


def answer(journal: Journal, index: int, kind: int = Kind.COMPLETED, value: str = "1") -> Entry:
    return journal.append(kind, None, value, index, None, 6)


def write(journal: Journal, name: str, before: str | None, text: str | None) -> Entry:
    """A write of state as a handler records it."""
    written = journal.written(name, before, text)
    return journal.append(written.kind, name, written.value, None, written.before, 5)


# --- the two lists --------------------------------------------------------------------------------------------------------


def test_one_count_runs_over_commands_and_completions() -> None:
    journal = Journal()
    indexes = [command(journal, Kind.RUN), command(journal, Kind.SLEEP), answer(journal, 2).idx]
    indexes.append(command(journal, Kind.NOW))
    assert indexes == [1, 2, 3, 4] and journal.size == 4
    assert [entry.idx for entry in journal.commands] == [1, 2, 4]
    assert [entry.idx for entry in journal.completions] == [3]


def test_an_answer_is_found_by_its_command() -> None:
    journal = Journal()
    command(journal, Kind.RUN)
    command(journal, Kind.RUN)
    entry = answer(journal, 2, Kind.FAILED)
    assert journal.completed == {2: entry}


def test_a_command_is_found_by_its_index_and_a_completion_is_not() -> None:
    journal = Journal()
    command(journal, Kind.RUN)
    answer(journal, 1)
    command(journal, Kind.SLEEP)
    kinds = [found.kind if (found := journal.command(idx)) else None for idx in range(5)]
    assert kinds == [None, Kind.RUN, None, Kind.SLEEP, None]


def test_a_cancellation_answers_no_command() -> None:
    journal = Journal()
    command(journal, Kind.SLEEP)
    journal.append(Kind.CANCELLED, None, None, None, None, 6)
    assert journal.cancelled and journal.completed == {} and len(journal.completions) == 1


def test_the_mark_of_an_unseen_completion_belongs_to_the_next_command() -> None:
    journal = Journal()
    command(journal, Kind.RUN)
    answer(journal, 1)
    journal.append(Kind.UNSEEN, None, None, 2, None, 6)
    asked = command(journal, Kind.NOW)
    assert journal.unseen == {asked: 2}
    assert [entry.kind for entry in journal.commands] == [Kind.RUN, Kind.NOW]


@pytest.mark.parametrize(
    ("name", "value", "before", "size"),
    [
        ("abc", None, None, 3),
        ("ü", None, None, 2),
        ("a", "xy", None, 3),
        (None, "ü", None, 2),
        (None, b"\xff\x00", None, 2),
        ("ü", "é", "ö😀", 10),
        (None, None, None, 0),
    ],
)
def test_texts_are_counted_in_bytes(name: str | None, value: str | bytes | None, before: str | None, size: int) -> None:
    journal = Journal()
    journal.append(Kind.SET, name, value, None, before, 5)
    assert journal.bytes == size


def test_a_snapshot_is_only_what_comes_first() -> None:
    journal = Journal()
    assert journal.snapshot() is None
    first = journal.append(Kind.SNAPSHOT, None, "{}", None, None, 5)
    assert journal.snapshot() is first
    other = Journal()
    command(other, Kind.NOW)
    other.append(Kind.SNAPSHOT, None, "{}", None, None, 5)
    assert other.snapshot() is None


# --- what it waits for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.ATTACH])
def test_a_call_is_waited_for_until_it_has_an_answer(kind: int) -> None:
    journal = Journal()
    index = command(journal, kind, "Order/o/add", 40)
    assert journal.waits == {index: 40}
    answer(journal, index)
    assert journal.waits == {}


def test_a_send_is_not_waited_for() -> None:
    journal = Journal()
    sent = command(journal, Kind.SEND, "Order/o/add", 40)
    assert journal.waits == {}
    journal.append(Kind.PLACED, None, "41", sent, None, 6)
    assert journal.waits == {} and journal.placed(sent) == 41


def test_a_call_with_a_key_is_waited_for_once_it_is_placed() -> None:
    journal = Journal()
    first, second = command(journal, Kind.CALL, "Order/o/add"), command(journal, Kind.CALL, "Order/p/add")
    assert journal.waits == {}
    journal.append(Kind.PLACED, None, "41", second, None, 6)
    assert journal.waits == {second: 41}
    assert (journal.placed(first), journal.placed(second)) == (None, 41)


# --- from the file --------------------------------------------------------------------------------------------------------


def test_a_restored_journal_knows_what_the_first_one_knew() -> None:
    journal = Journal()
    recorded = [
        journal.append(Kind.CALL, "Order/o/add", "[]", 40, None, 1),
        write(journal, "note", None, '"ü"'),
        journal.append(Kind.ATTACH, "inv_1", None, 41, None, 2),
        journal.append(Kind.COMPLETED, None, "1", 1, None, 3),
        journal.append(Kind.UNSEEN, None, None, 4, None, 3),
        journal.append(Kind.NOW, None, None, 3, None, 3),
        journal.append(Kind.CANCELLED, None, None, None, None, 4),
    ]
    recorded.append(journal.migrate({"note": "1"}, 2, 5, {"note": "0"}))
    again = Journal.restored([row(entry.idx, entry) for entry in recorded])
    for name in ("waits", "cancelled", "unseen", "passed", "size", "bytes", "bases"):
        assert getattr(again, name) == getattr(journal, name), name
    assert [entry.idx for entry in again.commands] == [1, 2, 3, 6]
    assert [entry.idx for entry in again.completions] == [4, 7] and list(again.completed) == [1]
    assert again.migrated is not None and again.migrated.ref == 2 and again.migrated.idx == 8


def test_a_journal_with_a_gap_is_not_restored() -> None:
    entry = Journal().append(Kind.NOW, None, None, 1, None, 1)
    with pytest.raises(AssertionError, match="no gaps"):
        Journal.restored([row(1, entry), row(3, entry)])


# --- writes of state ------------------------------------------------------------------------------------------------------


def test_only_the_first_whole_write_of_a_name_keeps_what_was_before() -> None:
    journal = Journal()
    first = write(journal, "n", "1", "2")
    second = write(journal, "n", "2", None)
    third = write(journal, "n", None, "3")
    other = write(journal, "m", "8", "9")
    assert [(entry.kind, entry.value, entry.before) for entry in (first, second, third, other)] == [
        (Kind.SET, "2", "1"),
        (Kind.CLEAR, None, None),
        (Kind.SET, "3", None),
        (Kind.SET, "9", "8"),
    ]


def test_a_long_text_that_grows_is_recorded_by_what_was_added() -> None:
    journal = Journal()
    entry = write(journal, "n", LONG, LONGER)
    assert entry.kind == Kind.CHANGE and len(str(entry.value)) < 40
    assert found_by([entry], LONG) and not found_by([entry], LONGER)
    assert left(entry, LONGER) and not left(entry, LONG) and not left(entry, None)


@pytest.mark.parametrize(
    "texts",
    [
        [None, "1"],
        ["1", "2", None],
        ["1", None, "2"],
        [LONG, LONGER],
        [LONG, LONGER, LONGEST, LONG],
        [LONG, LONGER, "1", LONG],
        ["1", LONG, LONGER],
        [LONG, LONGER, None, "2"],
    ],
)
def test_writes_are_undone_to_the_text_before_the_first(texts: list[str | None]) -> None:
    journal = Journal()
    for before, text in itertools.pairwise(texts):
        write(journal, "n", before, text)
    first, last = texts[0], texts[-1]
    current = {"other": "0"} if last is None else {"other": "0", "n": last}
    initial = {"other": "0"} if first is None else {"other": "0", "n": first}
    assert journal.undone(current) == {"n": first}
    assert journal.initial_state(current, apart=False) == initial
    assert journal.rolled_back(current) == {"n": first}
    assert journal.initial_state(current, apart=True) == current


def test_changes_are_not_undone_from_a_text_they_did_not_leave() -> None:
    journal = Journal()
    write(journal, "n", LONG, LONGER)
    for current in ({"n": LONGEST}, {"n": LONG}, {}):
        with pytest.raises(StateDecodeError, match="'n' differs from the value"):
            journal.undone(current)


@pytest.mark.parametrize("stored", [LONG, LONGER])
def test_changes_behind_the_stored_text_are_made_again(stored: str) -> None:
    journal = Journal()
    write(journal, "n", LONG, LONGER)
    write(journal, "n", LONGER, LONGEST)
    assert journal.continued({"n": stored}) == {"n": LONGEST}


@pytest.mark.parametrize("stored", [{"n": LONGEST}, {"n": '"something else"'}, {}])
def test_changes_are_not_made_of_a_text_they_did_not_find(stored: dict[str, str]) -> None:
    journal = Journal()
    write(journal, "n", LONG, LONGER)
    write(journal, "n", LONGER, LONGEST)
    assert journal.continued(stored) == {}


def test_a_migrated_state_is_the_initial_state() -> None:
    journal = Journal()
    write(journal, "n", "1", "2")
    entry = journal.migrate({"n": "10", "m": "5"}, 2, 9, {})
    assert journal.initial_state({"n": "20"}, apart=False) == {"n": "10", "m": "5"}
    assert journal.rolled_back({"n": "20", "new": "1"}) == {"n": "10", "m": "5", "new": None}
    assert entry.value == packed_state({"n": "10", "m": "5"}) and entry.before is None
    assert journal.commands[-1].kind == Kind.SET, "a migration is not a command"


def test_the_oldest_bases_of_changes_are_kept_by_later_migrations() -> None:
    journal = Journal()
    write(journal, "n", LONG, LONGER)
    write(journal, "m", "1", "2")
    assert journal.bases_in({"n": LONG, "m": "1"}) == {"n": LONG}
    journal.migrate({}, 2, 9, {"n": LONG})
    journal.migrate({}, 3, 9, {"n": LONGER, "m": "2"})
    assert journal.bases == {"n": LONG, "m": "2"}
