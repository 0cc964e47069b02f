"""No two modules need each other, even for a type alone, and a pure package imports no clock, loop or file."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest


def circles() -> list[frozenset[str]]:
    """The sets of modules that import each other, directly or by way of others, the largest first."""
    graph = grimp.build_graph("actors", cache_dir=None)  # with what is imported for type checkers only
    found = {
        frozenset((graph.find_upstream_modules(module) & graph.find_downstream_modules(module)) | {module})
        for module in graph.modules
    }
    return sorted((circle for circle in found if len(circle) > 1), key=len, reverse=True)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert [sorted(circle) for circle in circles()] == []


# What a pure package may import of others: no clock, no random number, no loop, no file.
PURE = {
    "actors/journal": {
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "hashlib",
        "hmac",
        "msgspec",
        "operator",
        "random",
        "struct",
        "typing",
    },
}


@pytest.mark.parametrize("folder", PURE)
def test_a_pure_package_imports_no_clock_loop_or_file(folder: str) -> None:
    root = Path(__file__).resolve().parents[2]
    imported = {
        name.partition(".")[0]
        for path in (root / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - PURE[folder] - {"__future__", "actors"} == set()
    assert imported


ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("actors", "storage", "transport")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not (folder == "actors" and path.relative_to(ROOT / folder).parts[0] in ("storage", "transport"))
]


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: count for path, count in lines.items() if count > 500} == {}


def test_few_modules_of_the_runtime_are_long() -> None:
    """What runs beside an app, tools and the test kit, may be longer."""
    beside = [ROOT / "actors" / name for name in ("check", "cli", "doctor", "testing")]
    long = [path for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert len([path for path in long if not any(folder in path.parents for folder in beside)]) <= 3


def test_few_modules_stand_directly_in_actors() -> None:
    """They are public; a new module has a package to go to."""
    assert len([path for path in (ROOT / "actors").glob("*.py") if path.name != "__init__.py"]) <= 8


def test_no_constructor_has_more_than_nine_parameters_but_that_of_app() -> None:
    """A part with more collaborators is two parts."""
    found = {
        node.name: len(method.args.args + method.args.kwonlyargs) - 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
    }
    assert found.pop("App") > 9
    assert {name: count for name, count in found.items() if count > 9} == {}
