"""The site: every page has its place, a description, and links that lead somewhere. `make docs` makes it, and looks at more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.documents import ROOT, documents, read
from tools import site
from tools.site import BadSite, Page

LONGEST = 250  # lines of a page, below its front matter
LISTS = {"error-codes.md", "errors.md", "cli.md", "assistant.md"}  # pages that are looked up, not read


def test_each_page_is_in_the_navigation_once_and_has_a_description() -> None:
    assert len(site.pages()) > 20


def test_each_link_of_a_page_leads_to_a_file(tmp_path: Path) -> None:
    site.stage(site.pages(), tmp_path)


def test_no_page_is_longer_than_a_reader_bears() -> None:
    sizes = {path.name: len(read(path).text.strip().splitlines()) for path in documents()}
    assert {name: size for name, size in sizes.items() if size > LONGEST and name not in LISTS} == {}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def page(text: str, path: str = "howto/x.md") -> Page:
    return Page(ROOT / "docs" / path, path, "How to", "X", "x", text)


def test_links_lead_to_pages_of_the_site_or_to_the_source() -> None:
    places = {ROOT / "docs" / "learn" / "a.md": "learn/a.md", ROOT / "CHANGELOG.md": "project/changelog.md"}
    source = site.source_address()
    for link, expected in (
        ("[a](../learn/a.md#one)", "[a](../learn/a.md#one)"),
        ("[a](../../CHANGELOG.md)", "[a](../project/changelog.md)"),
        ("[a](../../LICENSE)", f"[a]({source}/LICENSE)"),
        ('[a](../../LICENSE "a title")', f'[a]({source}/LICENSE "a title")'),
        ("[a](https://x.example)", "[a](https://x.example)"),
        ("[a](#here)", "[a](#here)"),
    ):
        assert site.linked(page(link), places) == expected


def test_a_link_to_a_file_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadSite, match=r"nothing\.md does not exist"):
        site.linked(page("[a](nothing.md)"), {})


def test_blocks_are_left_as_they_are_and_comments_left_out() -> None:
    text = "<!-- fragment: app -->\n```python\nx = '[a](b.md)'  # <!-- kept -->\n```\n"
    assert site.linked(page(text), {}) == "```python\nx = '[a](b.md)'  # <!-- kept -->\n```\n"


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone/">x</a>', "leads nowhere"),
        ('<a href="#gone">x</a>', "no such anchor"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example"),
        ('<img src="http://img.example/x.png">', "loads http://img.example"),
    ],
)
def test_a_dead_link_and_an_outside_address_are_found(html: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f'<h1 id="here">x</h1><a href="#here">y</a>{html}')
    (found,) = site.problems(tmp_path)
    assert problem in found


def test_a_style_sheet_that_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text(
        "@font-face { src: url('https://fonts.example/a.woff2') } a { background: url(b.png) }"
    )
    assert site.problems(tmp_path) == ["x.css: loads https://fonts.example/a.woff2"]


def test_a_page_without_a_description_is_refused(tmp_path: Path) -> None:
    path = ROOT / "docs" / "learn" / "first-object.md"
    assert site.read(path, "learn/first-object.md", "Learn").title == "Your first object"
    with pytest.raises(BadSite, match="description"):
        site.read(ROOT / "CHANGELOG.md", "learn/changes.md", "Learn")
