"""docs/promises: each guarantee and each limit names a test that exists, and a planted bug that this test catches.

A link to a test is `[the name of the test as a sentence](../../tests/x.py "tests/x.py::test_the_name_of_the_test_as_a_sentence")`.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.documents import ROOT
from tests.planted_bugs import BUGS

PROMISES = ROOT / "docs" / "promises"
PAGES = sorted(PROMISES.glob("*.md"))
TEST = re.compile(r'\[([^\]]+)\]\(([^ )]+) "(tests/[^":]+)::(test_\w+)"\)')
HEADING = re.compile(r"^## ((?:([GL])(\d+)\. )?.+)$", re.M)
LINK = re.compile(r"\]\((?!https?:)([^ )#]*)#([^ )]+)\)")


@dataclass(frozen=True, slots=True)
class Link:
    words: str
    target: str
    file: str
    name: str

    @property
    def node(self) -> str:
        return f"{self.file}::{self.name}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A guarantee or a limit: `## G1. A sentence`, what it covers, the line `Shown by:`, and perhaps `Planted:`."""

    number: str
    shown_by: list[Link]
    planted: list[str]


def links(text: str) -> list[Link]:
    return [Link(" ".join(words.split()), *others) for words, *others in TEST.findall(text)]


def entries(page: str) -> list[Entry]:
    text = (PROMISES / page).read_text(encoding="utf-8")
    found = []
    for match in HEADING.finditer(text):
        if match[2]:
            body = text[match.end() :].partition("\n## ")[0]
            shown = re.search(r"^Shown by: (.+)$", body, re.M)
            planted = re.search(r"^Planted: (.+?)$(?:\n\n|\Z)", body, re.M | re.S)
            found.append(
                Entry(
                    match[2] + match[3],
                    links(shown[1]) if shown else [],
                    re.findall(r"`([^`]+)`", " ".join(planted[1].split())) if planted else [],
                )
            )
    return found


@functools.cache
def functions(file: str) -> frozenset[str]:
    """The names of all functions in a file, those of classes too."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("page", "letter"), [("guarantees.md", "G"), ("limits.md", "L")])
def test_the_numbers_are_consecutive(page: str, letter: str) -> None:
    numbers = [entry.number for entry in entries(page)]
    assert numbers == [f"{letter}{n}" for n in range(1, len(numbers) + 1)] and len(numbers) >= 16


@pytest.mark.parametrize("page", ["guarantees.md", "limits.md"])
def test_each_entry_names_tests_whose_names_are_its_words(page: str) -> None:
    for entry in entries(page):
        assert entry.shown_by, f"{entry.number} has no line `Shown by:` with a link to a test"
        for link in entry.shown_by:
            assert link.name == "test_" + re.sub(r"\W+", "_", link.words.lower()), f"{entry.number}: {link.words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_that_a_page_links_to_exists(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        assert (page.parent / link.target).resolve() == ROOT / link.file, f"{link.target} is not {link.file}"
        assert link.name in functions(link.file), f"there is no {link.node}"


@pytest.mark.parametrize("page", ["guarantees.md", "limits.md"])
def test_each_planted_bug_is_caught_by_a_test_of_its_entry(page: str) -> None:
    bugs = {bug.name: bug for bug in BUGS}
    for entry in entries(page):
        shown = {link.node for link in entry.shown_by} | {link.file for link in entry.shown_by}
        for name in entry.planted:
            assert name in bugs, f"{entry.number}: tests/planted_bugs.py has no {name!r}"
            assert shown & set(bugs[name].test.split()), f"{entry.number}: another test catches {name!r}"


def test_each_guarantee_has_been_broken_once() -> None:
    assert [entry.number for entry in entries("guarantees.md") if not entry.planted] == []


def test_each_row_of_the_failure_matrix_links_to_a_test() -> None:
    text = (PROMISES / "failure-matrix.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    heads = [row for row in rows if row.split("|")[1].strip() in ("moment", "failure", "event")]
    assert len(heads) == 3 and len(rows) > 30
    for row in rows:
        assert row.count("|") == 7
        assert row in heads or TEST.search(row.split("|")[1]), f"no link to a test: {row}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_to_a_part_of_a_promise_leads_there(page: Path) -> None:
    for target, part in LINK.findall(" ".join(page.read_text(encoding="utf-8").split())):
        other = (page.parent / target).resolve() if target else page
        if other in PAGES:
            headings = HEADING.findall(other.read_text(encoding="utf-8"))
            assert part in {slug(heading) for heading, *_ in headings}, f"{target}#{part}"
