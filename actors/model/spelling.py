"""Refuses unknown names, and suggests the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from actors.errors import DefinitionError


def hint(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'delay'?`, or nothing if no known name is near."""
    near = get_close_matches(name[:100], list(known), 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise DefinitionError for an option that `what` does not have: Python's own TypeError would be retried in a handler."""
    for name in given:
        if name not in known:
            raise DefinitionError(
                f"{what} has no option {name[:100]!r}.{hint(name, known)} Its options: {', '.join(known)}."
            )


def check_options(cls: type, positional: tuple[Any, ...], given: Iterable[str]) -> None:
    """Raise DefinitionError for an unknown option of a dataclass of options: Python's own error suggests no similar name."""
    known = [field.name for field in fields(cls)]
    refuse_unknown(cls.__name__, given, known)
    if len(positional) > len(known):
        raise DefinitionError(f"{cls.__name__} takes {len(known)} options, {len(positional)} were given.")
