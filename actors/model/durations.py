"""How long to wait: seconds or a timedelta, in whole milliseconds."""

from __future__ import annotations

import math
from datetime import timedelta

from actors.errors import BadArguments
from actors.serde.type_names import shortened

_LONGEST_S = 10**11  # about 3,000 years


def milliseconds(duration: float | timedelta, what: str) -> int:
    """A duration in whole milliseconds, rounded up. Raises BadArguments if it is negative, endless or not a duration."""
    if isinstance(duration, timedelta):
        whole, rest = divmod(duration, timedelta(milliseconds=1))
        ms = -1 if duration < timedelta(0) else whole + bool(rest)
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        # Rounded to microseconds first: 0.07 s are 70 ms, not 71, although 0.07 * 1000 is a little more than 70.
        ms = math.ceil(round(duration * 1000, 3)) if 0 <= duration < _LONGEST_S else -1  # NaN too fails the comparison
    else:
        raise BadArguments(f"{what} requires seconds or a timedelta, got {shortened(duration)}.")
    if not 0 <= ms < _LONGEST_S * 1000:
        raise BadArguments(f"{what} must lie between 0 and 3,000 years, got {shortened(duration)}.")
    return ms


def remaining(duration: float | timedelta, what: str) -> int:
    """`milliseconds` of the time left to wait: a negative duration is a deadline that has passed, which is due now.

    `until - now` becomes negative as time passes, so a sleep or a delay must not fail for it. Raises BadArguments like
    `milliseconds`.
    """
    if isinstance(duration, (int, float)):
        passed = -math.inf < duration < 0
    else:
        passed = isinstance(duration, timedelta) and duration < timedelta(0)
    return 0 if passed else milliseconds(duration, what)
