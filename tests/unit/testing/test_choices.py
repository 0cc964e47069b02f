"""Choices: a seed, a text, and the same run from either."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import BadArguments
from actors.testing.choices import Choices, Unusual, parsed
from actors.testing.shrink import RUNS, Shrinker

NAMES = st.sampled_from(["commit 3: killed before", "read takes ms", "somebody cancels", "step send (1, 2)"])
ASKED = st.lists(st.tuples(NAMES, st.integers(1, 9)), max_size=40)


@given(ASKED, st.integers(0, 1000))
def test_the_text_of_a_run_from_a_seed_gives_the_run_again(asked: list[tuple[str, int]], seed: int) -> None:
    first = Choices(seed=seed)
    drawn = [first.choose(name, outcomes) for name, outcomes in asked]
    again = Choices.of(str(first))
    assert [again.choose(name, outcomes) for name, outcomes in asked] == drawn
    assert again.unasked() == [] and str(again) == str(first)


@given(st.integers(0, 1000))
def test_every_outcome_is_below_the_number_of_outcomes(seed: int) -> None:
    choices = Choices(seed=seed)
    for outcomes in range(1, 12):
        assert 0 <= choices.choose("x", outcomes, 1.0) < outcomes


def test_without_a_seed_everything_is_as_usual() -> None:
    choices = Choices()
    assert [choices.choose("x", 5, 1.0) for _ in range(100)] == [0] * 100 and str(choices) == "usual"
    assert Choices.of(" usual ").choose("x", 5) == 0 and Choices.of("usual").unasked() == []


def test_a_text_names_the_occurrence_and_the_outcome() -> None:
    assert parsed("a; b=3 ; c #2; d #4=5") == [Unusual("a"), Unusual("b", 1, 3), Unusual("c", 2), Unusual("d", 4, 5)]
    assert [str(one) for one in parsed("a;b=3;c #2;d #4=5")] == ["a", "b=3", "c #2", "d #4=5"]


@pytest.mark.parametrize("text", ["", ";", "a;;b", "=2", "a=0", "a #0", "  "])
def test_a_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadArguments, match="is not a valid choice"):
        Choices.of(text)


def test_a_choice_that_does_not_occur_is_named_with_the_nearest() -> None:
    choices = Choices.of("comit 3: killed before; read takes ms #7")
    for name in ("commit 3: killed before", "read takes ms", "commit 4: killed before"):
        choices.choose(name)
    one, two = choices.unasked()
    assert one.startswith("'comit 3: killed before' is not a choice of this test. Nearest: 'commit 3: killed before'")
    assert two == "'read takes ms' occurred 1 times, so there is no #7."


def test_an_outcome_beyond_the_last_is_the_last() -> None:
    assert Choices.of("x=9").choose("x", 3) == 2


# --- shrinking ----------------------------------------------------------------------------------------------------------------

GIVEN = st.lists(st.builds(Unusual, st.text("abc", min_size=1), st.integers(1, 99), st.integers(1, 20)), unique=True)


@given(GIVEN, st.data())
def test_a_shrunk_run_keeps_what_the_failure_needs(given_list: list[Unusual], data: st.DataObject) -> None:
    needed = data.draw(st.lists(st.sampled_from(given_list), unique=True)) if given_list else []

    def fails(candidate: tuple[Unusual, ...]) -> tuple[Unusual, ...] | None:
        found = {(one.name, one.number) for one in candidate}
        return candidate if {(one.name, one.number) for one in needed} <= found else None

    shrinker = Shrinker(fails, monotonic=lambda: 0.0)
    shrunk = shrinker.shrunk(tuple(given_list))
    if shrinker.tried < RUNS:
        assert {(one.name, one.number) for one in shrunk} == {(one.name, one.number) for one in needed}
        assert all(one.value == 1 for one in shrunk)


def test_shrinking_ends_when_its_time_is_over() -> None:
    times = iter(range(100))
    shrinker = Shrinker(lambda given: None, monotonic=lambda: float(next(times)) * 6)
    shrinker.shrunk(tuple(Unusual(str(number)) for number in range(50)))
    assert shrinker.tried <= 2


def test_a_candidate_that_turns_out_longer_is_not_taken() -> None:
    longer = tuple(Unusual(str(number)) for number in range(9))
    assert Shrinker(lambda given: longer, monotonic=lambda: 0.0).shrunk((Unusual("a"), Unusual("b"))) == (
        Unusual("a"),
        Unusual("b"),
    )


@given(st.integers(1, 100_000), st.integers(0, 100_000))
def test_a_large_value_is_made_as_small_as_still_fails(needed: int, more: int) -> None:
    def fails(candidate: tuple[Unusual, ...]) -> tuple[Unusual, ...] | None:
        return candidate if candidate and candidate[0].value >= needed else None

    shrinker = Shrinker(fails, monotonic=lambda: 0.0)
    assert shrinker.shrunk((Unusual("ms", 1, needed + more),)) == (Unusual("ms", 1, needed),)
    assert shrinker.tried < 60
