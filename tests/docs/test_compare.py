"""The measured numbers of docs/compare/overview.md: each row can be measured again by the command that the page names."""

from __future__ import annotations

import ast
import re

from benchmarks.peers.__main__ import GRID, PEERS
from tests.docs.documents import ROOT

OVERVIEW = (ROOT / "docs/compare/overview.md").read_text(encoding="utf-8")
METHOD = (ROOT / "benchmarks/peers/README.md").read_text(encoding="utf-8")


def test_rows_are_of_all_peers_or_of_none() -> None:
    """Figures of one day and one machine, or no figures."""
    rows = re.findall(r"^\| ([a-z-]+) \| (\d+) \| ([\d,]+) \|", OVERVIEW, re.M)
    measured = [(name, int(callers), int(keys.replace(",", ""))) for name, callers, keys in rows]
    assert not measured or sorted(measured) == sorted((name, *cell) for name in PEERS for cell in GRID)


def test_the_page_names_a_command_for_each_row() -> None:
    named = re.findall(r"^python -m benchmarks\.peers ([a-z-]+)$", OVERVIEW, re.M)
    assert sorted(named) == sorted(PEERS)


def test_the_method_describes_each_peer() -> None:
    table = METHOD[METHOD.index("| name |") : METHOD.index("Not measured:")]
    assert set(re.findall(r"`([a-z-]+)`", table)) >= set(PEERS)


def test_each_peer_is_a_function_of_its_module() -> None:
    for module, function, _ in PEERS.values():
        text = (ROOT / f"benchmarks/peers/{module}.py").read_text(encoding="utf-8")
        assert function in {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
