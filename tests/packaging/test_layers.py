"""No two modules need each other, even for a type alone: what is left of that shrinks, and never grows."""

from __future__ import annotations

import grimp

LARGEST = 48  # modules in the largest circle; a step of the untying lowers it


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
