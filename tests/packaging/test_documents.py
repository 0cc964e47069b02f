"""The documents for contributors tell the truth: every path, every name beside a path, and every link leads somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
INTERNALS = ROOT / "docs" / "internals"
DOCUMENTS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted(INTERNALS.glob("*.md"))]
FOLDERS = ("actors", "storage", "transport", "tests", "examples", "docs", "benchmarks", "tools")
SPAN = re.compile(r"`([^`]+)`")
FILE = re.compile(r"[\w.]+(?:/[\w.]+)*\.(?:py|md|html|toml)")
FOLDER = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/\w+)*/?")
NAMED = re.compile(r"`([\w/]+\.py)` `([\w.]+)`(?:,)?((?: `[\w.]+`,?)*)")
TREE = re.compile(r"^( *)([\w/.]+) {2,}", re.M)  # a line of the tree in ARCHITECTURE.md
USERS = {"storage.py"}  # of a user
LINK = re.compile(r"\]\(([^)#:]+)\)")


def text_of(document: Path) -> str:
    """The text without fenced code and without line breaks."""
    return " ".join(re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S).split())


def is_there(path: str) -> bool:
    """Whether a path exists: from the root, or, as a bare name, anywhere in a folder of the project."""
    if "/" in path or (ROOT / path).exists():
        return (ROOT / path).exists()
    return path in USERS or any(any((ROOT / folder).rglob(path)) for folder in FOLDERS)


def definitions(path: Path) -> set[str]:
    """The names that a module defines, those of its classes as `Class.name`."""
    found: set[str] = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{prefix}{node.name}.")
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    collect(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_path_in_a_document_exists(document: Path) -> None:
    spans = SPAN.findall(text_of(document))
    paths = [span for span in spans if FILE.fullmatch(span) or FOLDER.fullmatch(span)]
    assert [path for path in paths if not is_there(path)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_name_beside_a_path_is_defined_in_that_file(document: Path) -> None:
    missing = [
        f"{path}: {name}"
        for path, first, more in NAMED.findall(text_of(document))
        if "/" in path
        for name in (first, *SPAN.findall(more))
        if name not in definitions(ROOT / path)
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_link_in_a_document_leads_to_a_file(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_each_path_of_the_tree_exists() -> None:
    (tree,) = re.findall(r"^```text\n(.*?)^```", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.M | re.S)
    folder, missing = "", []
    for indent, path in TREE.findall(tree):
        folder = folder if indent else path
        whole = folder + path if indent else path
        if not (ROOT / whole).exists():
            missing.append(whole)
    assert folder == "storage/" and missing == []


def test_the_map_is_short_and_names_functions() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(NAMED.findall(text_of(ROOT / "ARCHITECTURE.md"))) > 40


def test_the_list_of_internals_names_every_page() -> None:
    pages = {path.name for path in INTERNALS.glob("*.md")} - {"README.md"}
    assert set(LINK.findall((INTERNALS / "README.md").read_text(encoding="utf-8"))) - {"../../ARCHITECTURE.md"} == pages


def test_the_page_of_modules_names_every_module() -> None:
    text = (INTERNALS / "modules.md").read_text(encoding="utf-8")
    known = {Path(path).stem for span in SPAN.findall(text) for path in span.split() if path}
    modules = {
        path.stem
        for folder in ("actors", "storage", "transport")
        for path in (ROOT / folder).rglob("*.py")
        if not path.stem.startswith("__")
    }
    assert modules - known == set()
