"""No two modules need each other, even for a type alone: what is left of that shrinks, and never grows."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest

LARGEST = 21  # modules in the largest circle; a step of the untying lowers it


def circles() -> list[frozenset[str]]:
    """The sets of modules that import each other, directly or by way of others, the largest first."""
    graph = grimp.build_graph("actors", cache_dir=None)  # with what is imported for type checkers only
    found = {
        frozenset((graph.find_upstream_modules(module) & graph.find_downstream_modules(module)) | {module})
        for module in graph.modules
    }
    return sorted((circle for circle in found if len(circle) > 1), key=len, reverse=True)


def test_the_largest_circle_of_modules_does_not_grow() -> None:
    largest = circles()[0]
    assert len(largest) <= LARGEST, sorted(largest)


def test_the_limit_is_as_low_as_the_code_allows() -> None:
    assert len(circles()[0]) == LARGEST, "lower LARGEST: the next commit must not lose what this one has gained"


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
