"""The list of planted bugs fits the code: an entry that has gone stale plants nothing, and proves nothing."""

from __future__ import annotations

import ast
import functools

from tests.planted_bugs import BUGS, ROOT, Bug


@functools.cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@functools.cache
def code_of(file: str) -> str:
    return ast.dump(ast.parse(text_of(file)))


def _stale(bug: Bug) -> str | None:
    text = text_of(bug.file)
    if text.count(bug.correct) != 1:
        return "the text to change is not there exactly once"
    if not bug.file.endswith(".py"):
        return None if bug.correct != bug.planted else "it changes nothing"
    try:
        planted = ast.dump(ast.parse(text.replace(bug.correct, bug.planted)))
    except SyntaxError as error:
        return f"what it leaves cannot be read: {error}"
    return "it changes nothing" if planted == code_of(bug.file) else None


def _without_test(bug: Bug) -> str | None:
    for test in bug.test.split():
        file, _, function = test.partition("::")
        if not (ROOT / file).exists():
            return f"there is no {file}"
        if function and f"def {function.rpartition('::')[2]}(" not in text_of(file):
            return f"there is no {test}"
    return None if bug.test else "it names no test"


def test_a_planted_bug_has_one_place_in_the_code_and_leaves_code_that_can_be_read() -> None:
    assert {bug.name: why for bug in BUGS if (why := _stale(bug)) is not None} == {}


def test_a_planted_bug_names_tests_that_exist() -> None:
    assert {bug.name: why for bug in BUGS if (why := _without_test(bug)) is not None} == {}


def test_each_planted_bug_has_a_name_of_its_own() -> None:
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)
