"""The difference of two texts leads from one to the other and back, exactly, and is as short as what has changed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.journal.differences import (
    DifferentText,
    Fingerprint,
    difference,
    fingerprint,
    redone,
    unchanged_before,
    undone,
)

LETTERS = st.text(st.sampled_from('ab",ü😀'), max_size=4)
PIECES = st.lists(st.tuples(LETTERS, st.integers(0, 120)).map(lambda pair: pair[0] * pair[1]), max_size=8)


def changed(text: str, cuts: list[tuple[float, int, str]]) -> str:
    for share, removed, inserted in cuts:
        place = int(share * len(text))
        text = text[:place] + inserted + text[place + removed :]
    return text


CUTS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 200), PIECES.map("".join)), max_size=5)


def both_ways(old: str, new: str) -> str:
    recorded = difference(old, new, 10**9)
    assert recorded is not None
    assert redone(old, recorded) == new and undone(new, recorded) == old
    return recorded


@given(PIECES.map("".join), CUTS)
def test_a_difference_leads_to_the_new_text_and_back(old: str, cuts: list[tuple[float, int, str]]) -> None:
    both_ways(old, changed(old, cuts))


@given(PIECES.map("".join), PIECES.map("".join))
def test_two_texts_that_share_nothing_have_a_difference_too(old: str, new: str) -> None:
    both_ways(old, new)


EQUAL = ["x" * 100] * 2000
OTHERS = [f"{random.Random(number).random()}" * 5 for number in range(2000)]


def scattered(items: list[Any]) -> list[Any]:
    return [*items[:5], "aa", *items[6:700], "b" * 200, *items[701:1200], *items[1201:1900], 1, *items[1901:]]


@pytest.mark.parametrize("items", [EQUAL, OTHERS], ids=["equal items", "other items"])
@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda items: [*items, "y" * 100], 150),
        (lambda items: ["y" * 100, *items], 500),
        (lambda items: [*items[1:], "y" * 100], 300),
        (lambda items: [*items[:1000], *items[1001:]], 500),
        (lambda items: [*items[:1000], "y" * 100, *items[1000:]], 700),
        (scattered, 1200),
    ],
    ids=["append", "prepend", "window", "delete", "insert", "scattered"],
)
@pytest.mark.parametrize("around", [lambda i, x: x, lambda i, x: {"n": 9 + i, "x": x, "m": {"a": 99 + i}}])
def test_a_difference_is_as_short_as_what_has_changed(items: list[Any], change: Any, most: int, around: Any) -> None:
    recorded = both_ways(json.dumps(around(0, items)), json.dumps(around(1, change(items))))
    assert len(recorded) < most + 60


def test_a_difference_that_is_longer_than_it_may_be_is_none() -> None:
    old, new = "a" * 1000, "b" * 1000
    assert difference(old, new, 2500) is not None
    assert difference(old, new, 1999) is None
    assert difference(old + "c" * 5000, new + "c" * 5000, 1999) is None


def test_a_difference_is_not_applied_to_another_text() -> None:
    recorded = difference("first text", "first word", 1000)
    assert recorded is not None
    for apply in (redone, undone):
        with pytest.raises(DifferentText):
            apply("something else", recorded)
        with pytest.raises(DifferentText):
            apply("", recorded)


def test_a_fingerprint_tells_texts_apart() -> None:
    texts = ["", "a", "b", "ab", "ba", "ü", "a" * 1000, "a" * 1001]
    assert len({fingerprint(text) for text in texts}) == len(texts)
    assert fingerprint("a") == fingerprint("a")


@given(PIECES.map("".join), st.lists(CUTS, max_size=4), PIECES.map("".join))
def test_the_fingerprint_of_a_text_that_changes_is_that_of_a_new_one(
    old: str, changes: list[list[tuple[float, int, str]]], added: str
) -> None:
    known = Fingerprint(old)
    assert known.value() == fingerprint(old)
    for cuts in changes:
        for new in (changed(old, cuts), old[:-1] + added + old[-1:]):
            recorded = both_ways(old, new)
            known.changed(new, unchanged_before(recorded))
            assert known.value() == fingerprint(new)
            old = new
