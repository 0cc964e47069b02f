"""Delays as clients write them: `5s`, `1h5m`, `PT5S`, or a bare number of milliseconds."""

from __future__ import annotations

import re

from actors.errors import BadArguments

# Longest names first: `m` must not take the beginning of `ms` or `min`.
_UNIT_MS = {
    **dict.fromkeys(("milliseconds", "millisecond", "millis", "msecs", "msec", "ms"), 1.0),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), 1e3),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60e3),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3600e3),
    **dict.fromkeys(("days", "day", "d"), 86_400e3),
    **dict.fromkeys(("weeks", "week", "w"), 7 * 86_400e3),
}
_NUMBER = r"\d{1,18}(?:\.\d{1,9})?"
_PART = re.compile(
    rf"\s*({_NUMBER})\s*({'|'.join(sorted(_UNIT_MS, key=len, reverse=True))})(?![a-z])\s*,?", re.IGNORECASE
)
_FRIENDLY = re.compile(rf"(?:{_PART.pattern})+\s*", re.IGNORECASE)
_ISO = re.compile(
    rf"P(?=.)(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?"
    rf"(?:T(?=.)(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?",
    re.IGNORECASE,
)
_LONGEST_MS = 10**14  # 3,000 years, as everywhere


def delay_ms(text: str) -> int:
    """Milliseconds, rounded up. Raises BadArguments, which shows how to write a delay."""
    ms: float | None = None
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        ms = int(text)
    elif found := _ISO.fullmatch(text):
        ms = sum(float(number) * _UNIT_MS[unit] for unit, number in found.groupdict().items() if number is not None)
    elif _FRIENDLY.fullmatch(text):
        ms = sum(float(number) * _UNIT_MS[unit.lower()] for number, unit in _PART.findall(text))
    if ms is None or not 0 <= ms < _LONGEST_MS:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise BadArguments(
            f"delay={shown!r} is no delay. Write 5s, 100ms, 1h5m or PT5S; a bare number means milliseconds; at most 3,000 years."
        )
    return int(-(-round(ms, 3) // 1))
