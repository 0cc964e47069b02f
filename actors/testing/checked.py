"""What options of tests may be."""

from __future__ import annotations

from actors.errors import BadArguments


def whole(what: str, number: object, least: int) -> None:
    """Raises BadArguments unless this is a whole number of `least` or more."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise BadArguments(f"{what} requires a whole number from {least} on, got {number!r}.")
