"""How sure a median is.

Promise: an interval that holds the median of all values there could be in 95 of 100 runs, whatever their distribution, if the values are
independent: the ranks of M. J. Campbell and M. J. Gardner, "Calculating confidence intervals for some non-parametric analyses", BMJ 296, 1988.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.96  # of the standard normal distribution: 95 %


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The lower and upper end. With fewer than 6 values the smallest and the greatest, which say less. Raises ValueError for none."""
    if not values:
        raise ValueError("The median of no values has no interval.")
    ordered, number = sorted(values), len(values)
    low = max(round(number / 2 - Z * math.sqrt(number) / 2), 1)
    return ordered[low - 1], ordered[number - low]
