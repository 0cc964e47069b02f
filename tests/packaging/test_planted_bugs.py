"""The list of planted bugs fits the code: an entry that has gone stale plants nothing, and proves nothing."""

from __future__ import annotations

import ast

import pytest

from tests.planted_bugs import BUGS, ROOT, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_has_one_place_in_the_code_and_leaves_code_that_can_be_read(bug: Bug) -> None:
    text = (ROOT / bug.file).read_text()
    assert text.count(bug.correct) == 1, "the text to change is not there exactly once: mend the list"
    planted = text.replace(bug.correct, bug.planted)
    assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(text)), "this changes nothing"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_names_tests_that_exist(bug: Bug) -> None:
    assert bug.test
    for test in bug.test.split():
        file, _, function = test.partition("::")
        assert (ROOT / file).exists()
        assert not function or f"def {function.rpartition('::')[2]}(" in (ROOT / file).read_text(encoding="utf-8")


def test_each_planted_bug_has_a_name_of_its_own() -> None:
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)
