"""Delays as clients write them: `5s`, `1h5m`, `PT5S`, or a bare number of milliseconds."""

from __future__ import annotations

import re

from actors.errors import BadArguments

# Longest names first: `m` must not match the beginning of `ms` or `min`.
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
    rf"({_NUMBER})\s*({'|'.join(sorted(_UNIT_MS, key=len, reverse=True))})(?![a-z])(?:\s*,\s*|\s*)", re.IGNORECASE
)
_LONGEST = 100  # characters: a longer text is not a delay
_ISO = re.compile(
    rf"P(?=.)(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?"
    rf"(?:T(?=.)(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?",
    re.IGNORECASE,
)
_LONGEST_MS = 10**14  # 3,000 years, as everywhere


def _read_ms(text: str) -> float | None:
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    if found := _ISO.fullmatch(text):
        return sum(float(number) * _UNIT_MS[unit] for unit, number in found.groupdict().items() if number is not None)
    return _friendly_ms(text.strip())


def _friendly_ms(text: str) -> float | None:
    """Part by part: one pattern for all parts would try every way to distribute the blanks between them."""
    ms, end = 0.0, 0
    while found := _PART.match(text, end):
        ms += float(found[1]) * _UNIT_MS[found[2].lower()]
        end = found.end()
    return ms if 0 < end == len(text) else None


def delay_ms(text: str) -> int:
    """Milliseconds, rounded up. Raises BadArguments, which shows how to write a delay."""
    ms = _read_ms(text) if len(text) <= _LONGEST else None
    if ms is None or not 0 <= ms < _LONGEST_MS:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise BadArguments(
            f"delay={shown!r} is not a valid delay. Use 5s, 100ms, 1h5m or PT5S; a bare number means "
            "milliseconds; the maximum is 3,000 years."
        )
    return int(-(-round(ms, 3) // 1))
