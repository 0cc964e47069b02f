"""Two checkouts against each other: which figures are compared, and what is refused. No test depends on a figure."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import cli
from benchmarks.against import HERE, compared
from benchmarks.machine import facts


def test_a_figure_is_compared_by_the_ratios_of_its_pairs() -> None:
    asked = {"scenario": "counter", "callers": 64, "uvloop": True, **facts()}
    pairs = [({**asked, "ops_per_s": here}, {**asked, "ops_per_s": other}) for here, other in ((2, 1), (3, 1), (9, 9))]
    (row,) = compared(pairs)
    assert (row.name, row.here, row.other) == ("ops_per_s", 3, 1)
    assert (row.lowest, row.ratio, row.highest) == (1, 2, 3)


def test_a_figure_that_is_equal_or_nothing_is_shown_too() -> None:
    equal, lost = compared([({"bytes": 100, "lost": 7}, {"bytes": 100, "lost": 0})] * 2)
    assert (equal.ratio, lost.here, lost.other) == (1, 7, 0)
    assert math.isnan(lost.ratio)


def test_a_checkout_is_compared_with_itself() -> None:
    words = ["against", "--pairs", "2", str(HERE), "counter", "--callers", "4", "--keys", "8", "--ops", "24"]
    result = CliRunner().invoke(cli.main, [*words, "--rounds", "3"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "ops per s" in result.output and "callers" not in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["counter", "--callers", "0"], "0 is not in the range"),
        (["http", "--ops", "8", "--rounds", "3"], "Give the --callers and --keys"),
    ],
)
def test_what_cannot_be_compared_is_said(words: list[str], said: str) -> None:
    result = CliRunner().invoke(cli.main, ["against", "--pairs", "2", str(HERE), *words], catch_exceptions=False)
    assert result.exit_code == 1
    assert said in result.output


def test_a_folder_without_the_benchmarks_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["against", "--pairs", "2", str(tmp_path), "memory"], catch_exceptions=False)
    assert result.exit_code == 1
    assert "has no benchmarks" in result.output.replace("\n", " ")
