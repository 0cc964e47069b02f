"""The interval that a benchmark gives with a median."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.certainty import interval


def test_the_interval_of_a_median_has_the_ranks_of_the_source() -> None:
    assert interval(range(1, 101)) == (40, 61)  # 50 - 9.8 and 1 + 50 + 9.8, rounded
    assert interval([*range(17, 0, -1)]) == (4, 14)


def test_few_values_have_the_smallest_and_the_greatest_as_interval() -> None:
    assert interval([3.0]) == (3.0, 3.0)
    assert interval([5.0, 1.0, 3.0]) == (1.0, 5.0)
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_the_interval_holds_the_true_median_in_95_of_100_runs() -> None:
    random = Random(7)
    held = 0
    for _ in range(2000):
        low, high = interval([random.lognormvariate(0, 0.3) for _ in range(40)])  # skewed; its median is 1
        held += low <= 1 <= high
    assert 0.945 <= held / 2000 <= 0.99
