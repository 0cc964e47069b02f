"""The cursor alone: each kind of command in each situation, and the order of commands and completions."""

from __future__ import annotations

import itertools

import pytest

from actors.errors import DeterminismError
from actors.journal.entries import WRITES, Entry, Kind
from actors.journal.journal import Journal
from actors.journal.replay import MigratedReplay, Replay

COMMANDS = [kind for kind in sorted(Kind.NAMES) if kind < Kind.COMPLETED and kind not in (Kind.UNSEEN, Kind.MIGRATED)]
ANSWERED = [kind for kind in COMMANDS if kind not in WRITES and kind not in (Kind.NOW, Kind.SNAPSHOT, Kind.SEND)]
NAMES = {kind: Kind.NAMES[kind] for kind in COMMANDS}


def each(kinds: list[int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=[NAMES[kind] for kind in kinds])


class Code:
    """A handler that asks, and is shown what it may be shown when it rests. One for each attempt."""

    def __init__(self, journal: Journal, replay: Replay | None = None) -> None:
        self.journal = journal
        self.replay = replay or Replay(journal)
        self.seen: list[str | bytes | None] = []

    def ask(self, kind: int, name: str | None = "name", value: str | None = "1") -> bool:
        """Whether the command is new. Raises DeterminismError if another one is recorded."""
        recorded = self.replay.expected()
        if recorded is None:
            self.journal.append(kind, name, value, None, None, 5)
        elif (recorded.kind, recorded.name, recorded.value) != (kind, name, value):
            raise self.replay.mismatch(recorded, kind, name, value)
        self.replay.advance()
        return recorded is None

    def rest(self) -> list[str | bytes | None]:
        """Everything it may be shown before it asks for more."""
        shown: list[str | bytes | None] = []
        while (entry := self.replay.completion()) is not None:
            self.replay.shown()
            shown.append(entry.value)
        self.seen += shown
        return shown


def answer(journal: Journal, index: int, value: str, kind: int = Kind.COMPLETED) -> Entry:
    return journal.append(kind, None, value, index, None, 6)


# --- the grid -------------------------------------------------------------------------------------------------------------


@each(COMMANDS)
def test_a_new_command_is_not_expected_and_has_nothing_to_show(kind: int) -> None:
    code = Code(Journal())
    assert code.replay.expected() is None and code.replay.completion() is None
    assert code.ask(kind)
    assert code.replay.expected() is None and code.rest() == []


@each(COMMANDS)
def test_a_recorded_command_is_expected_once(kind: int) -> None:
    journal = Journal()
    Code(journal).ask(kind)
    again = Code(journal)
    assert again.replay.expected() is journal.commands[0]
    assert not again.ask(kind)
    assert again.replay.expected() is None and len(journal.commands) == 1
    assert again.ask(kind)


@pytest.mark.parametrize("ends", [Kind.COMPLETED, Kind.FAILED], ids=["completed", "failed"])
@each(ANSWERED)
def test_an_answer_that_came_while_away_is_shown_behind_its_command(kind: int, ends: int) -> None:
    journal = Journal()
    Code(journal).ask(kind)
    entry = answer(journal, 1, "answer", ends)
    code = Code(journal)
    assert code.rest() == [], "the code has not requested it yet"
    code.ask(kind)
    assert code.replay.completion() is entry and entry.kind == ends
    assert code.rest() == ["answer"] and code.rest() == []


@pytest.mark.parametrize("ends", [Kind.COMPLETED, Kind.FAILED], ids=["completed", "failed"])
@each(ANSWERED)
def test_an_answer_seen_before_is_shown_between_the_same_commands(kind: int, ends: int) -> None:
    journal = Journal()
    first = Code(journal)
    first.ask(kind)
    answer(journal, 1, "answer", ends)
    first.rest()
    first.ask(Kind.NOW)
    again = Code(journal)
    again.ask(kind)
    assert again.rest() == ["answer"]
    assert not again.ask(Kind.NOW)
    assert again.rest() == []


@each(COMMANDS)
def test_an_unseen_answer_is_shown_behind_the_command_before_it(kind: int) -> None:
    journal = Journal()
    first = Code(journal)
    first.ask(Kind.RUN)
    entry = answer(journal, 1, "answer")
    journal.append(Kind.UNSEEN, None, None, entry.idx, None, 6)
    first.ask(kind)
    assert first.rest() == ["answer"]
    again = Code(journal)
    again.ask(Kind.RUN)
    assert again.rest() == [], "the next command was requested before the answer was shown"
    assert not again.ask(kind)
    assert again.rest() == ["answer"]


MISMATCHES = [(kind, other) for kind, other in itertools.pairwise([*COMMANDS, COMMANDS[0]])]


@pytest.mark.parametrize(
    ("kind", "other"), [pytest.param(*pair, id=f"{NAMES[pair[0]]}, not {NAMES[pair[1]]}") for pair in MISMATCHES]
)
def test_another_command_than_recorded_names_both_and_the_entry(kind: int, other: int) -> None:
    journal = Journal()
    Code(journal).ask(kind, "recorded")
    with pytest.raises(DeterminismError) as caught:
        Code(journal).ask(other, "requested")
    text = str(caught.value)
    assert "at entry 1" in text
    assert f"recorded was {NAMES[kind]} 'recorded'" in text and f"was {NAMES[other]} 'requested'" in text


@each(COMMANDS)
def test_a_handler_that_ends_or_waits_too_early_is_refused(kind: int) -> None:
    journal = Journal()
    Code(journal).ask(kind)
    replay = Replay(journal)
    recorded = replay.expected()
    assert recorded is not None
    for error, why in ((replay.unfinished(recorded), "has ended"), (replay.stuck(recorded), "waits for something")):
        assert isinstance(error, DeterminismError)
        assert why in str(error) and f"recorded was {NAMES[kind]} 'name'" in str(error)
        assert ("If the function of a step assigns 'name'" in str(error)) == (kind in (Kind.SET, Kind.CHANGE))


# --- order ----------------------------------------------------------------------------------------------------------------


def test_completions_are_shown_in_the_order_in_which_they_became_known() -> None:
    journal = Journal()
    first = Code(journal)
    for _ in range(3):
        first.ask(Kind.CALL)
    for index in (2, 3, 1):
        answer(journal, index, f"answer of {index}")
    assert first.rest() == ["answer of 2", "answer of 3", "answer of 1"]
    again = Code(journal)
    for _ in range(3):
        assert again.rest() == []
        again.ask(Kind.CALL)
    assert again.rest() == first.seen


def test_every_command_is_between_the_same_completions_on_replay() -> None:
    journal = Journal()
    first = Code(journal)
    steps: list[tuple[int, list[str | bytes | None]]] = []
    for number in range(1, 5):
        first.ask(Kind.RUN, str(number))
        answer(journal, journal.size, f"answer {number}")
        steps.append((number, first.rest()))
    again = Code(journal)
    for number, shown in steps:
        assert not again.ask(Kind.RUN, str(number))
        assert again.rest() == shown


@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.PLACED])
def test_other_completions_keep_to_the_order_too(kind: int) -> None:
    journal = Journal()
    first = Code(journal)
    first.ask(Kind.CALL)
    journal.append(kind, None, "41", 1 if kind == Kind.PLACED else None, None, 6)
    first.rest()
    first.ask(Kind.NOW)
    again = Code(journal)
    assert again.replay.completion() is None
    again.ask(Kind.CALL)
    shown = again.replay.completion()
    assert shown is not None and shown.kind == kind


def test_a_replay_over_an_unchanged_journal_changes_nothing() -> None:
    journal = Journal()
    first = Code(journal)
    first.ask(Kind.RUN)
    answer(journal, 1, "a")
    first.rest()
    first.ask(Kind.SLEEP)
    size = journal.size
    for _ in range(2):
        code = Code(journal)
        code.ask(Kind.RUN)
        code.rest()
        code.ask(Kind.SLEEP)
        assert code.seen == ["a"] and journal.size == size


# --- how far attempts came ------------------------------------------------------------------------------------------------


def test_a_first_attempt_has_not_been_here_before() -> None:
    code = Code(Journal())
    assert not code.replay.again()
    code.ask(Kind.RUN)
    assert not code.replay.again()


@pytest.mark.parametrize("waiting", [True, False])
def test_code_is_replayed_up_to_where_the_furthest_attempt_came(waiting: bool) -> None:
    journal = Journal()
    first = Code(journal)
    first.ask(Kind.RUN)
    answer(journal, 1, "a")
    first.rest()
    first.replay.left(waiting=waiting)
    again = Code(journal)
    assert again.replay.again()
    again.ask(Kind.RUN)
    assert again.replay.again(), "the code before the wait"
    again.rest()
    assert again.replay.again() == waiting, "the code after it, which may have been stopped half way"


def test_an_attempt_that_came_less_far_forgets_nothing() -> None:
    journal = Journal()
    first = Code(journal)
    first.ask(Kind.RUN)
    answer(journal, 1, "a")
    first.rest()
    first.replay.left(waiting=True)
    passed = journal.passed
    Code(journal).replay.left(waiting=False)
    assert journal.passed == passed == 1


def test_it_says_whether_only_writes_of_state_are_left() -> None:
    journal = Journal()
    first = Code(journal)
    for kind in (Kind.RUN, Kind.SET, Kind.CHANGE, Kind.CLEAR):
        first.ask(kind)
    again = Code(journal)
    assert not again.replay.only_writes()
    again.ask(Kind.RUN)
    assert again.replay.only_writes()


# --- after a migration ----------------------------------------------------------------------------------------------------


def test_the_end_of_what_is_recorded_is_announced_once() -> None:
    journal = Journal()
    Code(journal).ask(Kind.RUN)
    events: list[str] = []
    code = Code(journal, MigratedReplay(journal, lambda: events.append("caught up")))
    code.ask(Kind.RUN)
    assert events == []
    code.ask(Kind.NOW)
    code.ask(Kind.NOW)
    assert events == ["caught up"]


def test_only_the_first_write_is_made_of_the_older_version() -> None:
    journal = Journal()
    journal.migrate({"n": "new"}, 2, 5, {"n": "old"})
    replay = MigratedReplay(journal, lambda: None)
    assert replay.base("m", {"m": "1"}) == "1"
    assert replay.base("n", {"n": "new"}) == "old"
    assert replay.base("n", {"n": "newer"}) == "newer"
    assert Replay(journal).base("n", {"n": "new"}) == "new"
    assert Replay(journal).base("n", {}) is None
