"""Everything in a run that may turn out one way or another, by name.

Promise: 0 is the usual outcome. A run is a seed, from which all choices are drawn, or a text, which names the unusual outcomes and
leaves everything else as usual. The text of a run from a seed gives the same run again; that of a run in which every choice is the
usual one is "usual".
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from random import Random
from typing import Final

from actors.errors import BadArguments

USUAL: Final = "usual"

_PART = re.compile(r"(?P<name>.*?)(?: #(?P<number>\d+))?(?:=(?P<value>\d+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unusual:
    """An outcome other than the usual one. `number` counts the choices of this name in a run, from 1."""

    name: str
    number: int = 1
    value: int = 1

    def __str__(self) -> str:
        number = f" #{self.number}" if self.number > 1 else ""
        return f"{self.name}{number}" + (f"={self.value}" if self.value != 1 else "")


class Choices:
    """The choices of one run. `unusual` are those that turned out unusual so far, `asked` how often each name occurred, and `outcomes`
    how many there were to choose from.
    """

    def __init__(self, given: tuple[Unusual, ...] = (), seed: int | None = None) -> None:
        self._given = {(one.name, one.number): one.value for one in given}
        self._random = Random(seed) if seed is not None else None
        self.seed = seed
        self.asked: dict[str, int] = {}
        self.outcomes: dict[str, int] = {}
        self.unusual: list[Unusual] = []

    @classmethod
    def of(cls, text: str) -> Choices:
        """The run of a text: `name`, `name=value` and `name #2=value`, separated by semicolons, or `usual`. Raises BadArguments."""
        return cls(tuple(parsed(text)))

    def choose(self, name: str, outcomes: int = 2, odds: float = 0.5) -> int:
        """A number below `outcomes`. In a run from a seed it is not 0 with the probability `odds`."""
        number = self.asked[name] = self.asked.get(name, 0) + 1
        self.outcomes[name] = outcomes
        value = self._outcome(name, number, outcomes, odds)
        if value:
            self.unusual.append(Unusual(name, number, value))
        return value

    def _outcome(self, name: str, number: int, outcomes: int, odds: float) -> int:
        if self._random is None:
            value = min(self._given.get((name, number), 0), outcomes - 1)
        else:
            value = self._random.randrange(1, outcomes) if outcomes > 1 and self._random.random() < odds else 0
        return value

    def check(self) -> None:
        """Asked whenever the world has run: raises what has kept a choice from being made."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.unusual)) or USUAL

    def unasked(self) -> list[str]:
        """One line for each given choice that has not occurred in the run, with the names that are most like it."""
        lines = []
        for name, number in self._given:
            if number <= self.asked.get(name, 0):
                continue
            if name in self.asked:
                lines.append(f"{name!r} occurred {self.asked[name]} times, so there is no #{number}.")
            else:
                near = difflib.get_close_matches(name, self.asked, 3, 0.3)
                said = f" Nearest: {', '.join(map(repr, near))}." if near else ""
                lines.append(f"{name!r} is not a choice of this test.{said}")
        return lines


def parsed(text: str) -> list[Unusual]:
    """The unusual outcomes that a text names. Raises BadArguments."""
    if text.strip() == USUAL:
        return []
    found = []
    for part in text.split(";"):
        match = _PART.fullmatch(part.strip())
        if match is None or not match["name"].strip() or match["value"] == "0" or match["number"] == "0":
            raise BadArguments(
                f"{part.strip()!r} is not a valid choice. Write the name of a choice, name=2 for its second unusual outcome, "
                "name #3 for its third occurrence, and semicolons between them, or 'usual' for none."
            )
        found.append(Unusual(match["name"].strip(), int(match["number"] or 1), int(match["value"] or 1)))
    return found
