"""The choices of a run, drawn by Hypothesis: its shrinker makes the run simpler, and its database keeps what fails.

Promise: 0, the usual outcome, is the simplest. What Hypothesis raises to end an example leaves the world where the example runs, not
inside the app, where it would look like a failure.
"""

from __future__ import annotations

from random import Random
from typing import Any

from actors.testing.choices import Choices

try:
    from hypothesis import strategies
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ModuleNotFoundError(
        "Worlds that Hypothesis drives require it. Install it: pip install hypothesis", name="hypothesis"
    ) from None

# Of probability: 0 is the usual outcome and the first ones after it, as many as the odds say, are unusual, so that both have a simple number.
# Hypothesis would prefer the small numbers of a larger range.
SHARES = 256


class Drawn(Choices):
    """The choices of an example, each made of a number that Hypothesis draws, until `end`."""

    def __init__(self, numbers: Random) -> None:
        super().__init__()
        self._numbers = numbers
        self._ended: BaseException | None = None
        self._over = False

    def end(self) -> None:
        """From now on each choice is the usual one: the example has failed or is over, and nothing can be drawn any more."""
        self._over = True

    def check(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            raise ended

    def _outcome(self, name: str, number: int, outcomes: int, odds: float) -> int:
        if self._over or outcomes < 2 or odds <= 0:
            return 0
        try:
            if not 1 <= self._numbers.randrange(SHARES) <= max(round((SHARES - 1) * odds), 1):
                return 0
            return 1 + (self._numbers.randrange(outcomes - 1) if outcomes > 2 else 0)
        except (
            BaseException
        ) as ended:  # also StopTest, which is not an Exception: no part of the app may take it for its own
            self._ended, self._over = ended, True
            return 0


def drawn(data: Any) -> Drawn:
    """The choices of a world in a test with `@given(st.data())`: `World(drawn(data), faults=Faults())`.

    Each choice is drawn from `data`, as often unusual as `faults` says. A failing example is shrunk to few unusual choices, and kept
    in the database of Hypothesis.
    """
    return Drawn(data.draw(strategies.randoms(use_true_random=False)))
