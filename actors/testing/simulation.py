"""`@simulate`: a test, run many times, each time with choices drawn from a seed.

Promise: a run that fails is run again before it is reported, and shrunk to the fewest unusual choices with which it fails the same
way. Its text, given to pytest, gives that run again.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from actors.errors import BadArguments
from actors.testing.chances import DISK_FULL
from actors.testing.checked import whole
from actors.testing.choices import Choices, parsed
from actors.testing.copies import Copies
from actors.testing.failures import WorldFailed
from actors.testing.faults import Faults
from actors.testing.fresh import looked_at
from actors.testing.runs import Body, F, Run, check_same, planned, run_once
from actors.testing.shrink import Given, Shrinker
from actors.testing.story import SHOWN

RUNS = 100


@dataclass(frozen=True, slots=True)
class Simulation:
    """The options of a simulation; see `simulate`."""

    runs: int = RUNS
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    also: tuple[str, ...] = ()
    twice: bool = False
    fresh: bool = False

    def run(self, body: Body) -> Simulated:
        """Run all seeds, until one fails."""
        found = Simulated(self.runs)
        for text in self.also:
            run = self.once(body, Choices.of(text))
            if run.error is None:
                found.silent.append(text)
            else:
                found.failed = run
                return found
        for seed in range(self.seed, self.seed + self.runs):
            copies = Copies() if self.fresh and seed == self.seed else None
            run = self.once(body, Choices(seed=seed), copies)
            found.add(run)
            if run.error is not None or self.twice:
                check_same(run, self.once(body, Choices(seed=seed)))
            if run.error is not None:
                self._shrink(body, run, found)
                return found
            if copies is not None:
                found.fresh = looked_at(copies)
        return found

    def once(self, body: Body, choices: Choices, copies: Copies | None = None) -> Run:
        """One run of the simulation."""
        return run_once(body, choices, faults=self.faults, calms=True, copies=copies)

    def beginning(self, seed: int | None, twice: bool) -> Simulation:
        """The same simulation, from another seed, or with each run done twice."""
        return replace(self, seed=self.seed if seed is None else seed, twice=twice)

    def keep(self, text: str) -> str:
        """How to run this failure each time."""
        return f"@simulate(runs={self.runs}, also=[{text!r}])"

    def _shrink(self, body: Body, run: Run, found: Simulated) -> None:
        found.failed, found.unusual = run, len(run.choices.unusual)

        def fails(given: Given) -> Given | None:
            again = self.once(body, Choices(given))
            if again.likeness() != run.likeness():
                return None
            turned_out = tuple(again.choices.unusual)
            if len(turned_out) <= len(given):
                found.failed = again
            return turned_out

        shrinker = Shrinker(fails)
        # A run from a seed, given as a text, must be the same run: if it is not, there is nothing to shrink.
        if fails(tuple(run.choices.unusual)) is not None:
            shrinker.shrunk(tuple(run.choices.unusual))
        found.shrinking = shrinker.tried


@overload
def simulate(test: F, /) -> F: ...


@overload
def simulate(
    *, runs: int = RUNS, seed: int = 0, faults: Faults | None = None, also: Sequence[str] = (), fresh: bool = False
) -> Callable[[F], F]: ...


def simulate(
    test: F | None = None,
    /,
    *,
    runs: int = RUNS,
    seed: int = 0,
    faults: Faults | None = None,
    also: Sequence[str] = (),
    fresh: bool = False,
) -> F | Callable[[F], F]:
    """Run an async test with a world `runs` times, each time with choices drawn from a seed: `seed`, `seed + 1`, ...

    What may turn out one way or another: when the process is killed and how long it stays down, which step fails and whether before
    or after its effect, how long commits, reads, steps, requests and answers take, what is evicted, and what the test itself asks
    of `world.choose` and `world.pause`. `faults` says how often. While the test waits in `world.settle()`, and at its end, everything
    is as usual. `also` are further runs, by their texts. With `fresh`, a process with another hash seed, an empty memory and a clock a year
    ahead judges disks of the first run: the code must explain what is stored there too.
    """
    whole("simulate(runs=...)", runs, 1)
    whole("simulate(seed=...)", seed, 0)
    if faults is not None and not isinstance(faults, Faults):
        raise BadArguments(f"simulate(faults={faults!r}) requires Faults(...).")
    for text in also:
        parsed(text)  # raises
    decorate = planned(Simulation(runs, seed, faults or Faults(), tuple(also), fresh=fresh))
    return decorate if test is None else decorate(test)


@dataclass(slots=True)
class Simulated:
    """What a simulation found. `failed` is the shortest run that fails, of `unusual` choices before it was shrunk."""

    most: int
    runs: int = 0
    crashed: int = 0
    steps_failed: int = 0
    full: int = 0  # runs in which the disk was full
    outcomes: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    failed: Run | None = None
    unusual: int = 0
    shrinking: int = 0
    silent: list[str] = field(default_factory=list)  # of `also`: what no longer fails
    fresh: list[str] = field(default_factory=list)  # what a fresh process has judged

    def add(self, run: Run) -> None:
        """Count a run."""
        self.runs += 1
        self.crashed += run.crashes > 0
        self.steps_failed += any(one.name.startswith("step ") for one in run.choices.unusual)
        self.full += any(one.name.endswith(DISK_FULL) for one in run.choices.unusual)
        self.outcomes.update({row[2] + " " + row[4] for row in run.outcomes})
        self.reached.update(run.reached)

    def first_failure(self) -> Run | None:
        """The shortest run that failed."""
        return self.failed

    def check(self, test: Callable[..., Any]) -> None:
        """Raises WorldFailed if no run has reached a `world.sometimes("...")` that stands in the test."""
        missing = sorted(names_in(test) - set(self.reached))
        if missing:
            raise WorldFailed(
                f"None of {self.runs} runs has reached {', '.join(map(repr, missing))}: what that stands for was not tested."
            )

    def summary(self) -> str:
        """How many runs, and how often what occurred."""
        parts = [f"{self.runs} runs: {self.crashed} with a crash, {self.steps_failed} with a failed step"]
        if self.full:
            parts.append(f"{self.full} with a full disk")
        parts += [f"{name} {count}" for name, count in sorted((self.reached + self.outcomes).items())]
        return "\n  ".join([", ".join(parts), *self.fresh])

    def explanation(self) -> str:
        """What the report of a failing test shows: the shortest run, and what happened in it."""
        assert self.failed is not None
        seed = f"seed {self.runs - 1} of {self.most}; " if self.runs else ""
        shrunk = (
            f"{self.unusual} unusual choices, shrunk to {len(self.failed.choices.unusual)} in {self.shrinking} runs"
        )
        return "\n".join([f"{seed}{shrunk}: {self.failed.choices}", "", *self.failed.story.lines(SHOWN)])


def names_in(test: Callable[..., Any]) -> set[str]:
    """The names given to `sometimes` in the source of a test. Empty if the source is not known."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(test))))
    except (OSError, TypeError, SyntaxError):
        return set()
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sometimes"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }
