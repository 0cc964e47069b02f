"""`@crash_everywhere`: a test, run again for each durable point, with the process killed there.

Promise: a batch is one transaction, so the states that a crash can leave on the disk are those before and after each commit. A sweep
covers all of them, for the order of events of one scenario; if it leaves some out, its report says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from actors.errors import BadArguments
from actors.model.durations import milliseconds
from actors.testing.checked import whole
from actors.testing.choices import Choices, Unusual, parsed
from actors.testing.copies import Copies
from actors.testing.failures import NotReproducible, WorldFailed
from actors.testing.fresh import looked_at
from actors.testing.machine import START_MS
from actors.testing.runs import Body, F, Run, check_same, planned, run_once
from actors.testing.story import SHOWN

MOST = 500  # points of a sweep
YEAR_MS = 365 * 86_400_000
OTHERS = 16  # further undisturbed runs before a difference is taken for one that the crash has made


@dataclass(frozen=True, slots=True)
class Sweep:
    """The options of a sweep; see `crash_everywhere`."""

    crashes: int = 1
    faults: Literal["crashes", "every kind"] = "crashes"
    downtime: float = 0.0
    most: int = MOST
    compare: bool = True
    ignore: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    fresh: bool = False

    def run(self, body: Body) -> Swept:
        """Run the whole sweep."""
        return _Sweeping(self, body).sweep()

    def once(self, body: Body, choices: Choices, copies: Copies | None = None) -> Run:
        """One run of the sweep."""
        return run_once(body, choices, fine=True, downtime=self.downtime, copies=copies)

    def beginning(self, seed: int | None, twice: bool) -> Sweep:
        """The same sweep: it has no seeds."""
        return self

    def keep(self, text: str) -> str:
        """How to run this failure each time."""
        return f"@crash_everywhere(also=[{text!r}])"


@overload
def crash_everywhere(test: F, /) -> F: ...


@overload
def crash_everywhere(
    *,
    crashes: int = 1,
    faults: Literal["crashes", "every kind"] = "crashes",
    downtime: float = 0,
    most: int = MOST,
    compare: bool = True,
    ignore: Sequence[str] = (),
    also: Sequence[str] = (),
    fresh: bool = True,
) -> Callable[[F], F]: ...


def crash_everywhere(
    test: F | None = None,
    /,
    *,
    crashes: int = 1,
    faults: Literal["crashes", "every kind"] = "crashes",
    downtime: float = 0,
    most: int = MOST,
    compare: bool = True,
    ignore: Sequence[str] = (),
    also: Sequence[str] = (),
    fresh: bool = True,
) -> F | Callable[[F], F]:
    """Run an async test with a world undisturbed, and once for each commit with the process killed before it, and after it.

    Each run has a world of its own. At the end of each, state and outcomes must be those of the undisturbed run, unless
    `compare=False`; what differs between two undisturbed runs with other times, ids and numbers is left out, and the fields named in
    `ignore`, as "Order.opened_at". With `crashes=2` each pair of points is tried. `faults="every kind"` also lets each step fail
    alone, each duration differ, memory run out, and each commit find the disk full. The process stays down for `downtime` seconds. Beyond `most` points the first,
    the last and evenly spaced ones are tried. `also` are further runs, by their texts.

    With `fresh`, a process with another hash seed, an empty memory and a clock a year ahead judges disks of the undisturbed run: the code
    must explain what is stored there too.

    Raises what the first failing run raises.
    """
    if isinstance(crashes, bool) or crashes not in (1, 2):
        raise BadArguments(f"crash_everywhere(crashes={crashes!r}) is not a valid number. Use 1 or 2.")
    if faults not in ("crashes", "every kind"):
        raise BadArguments(f'crash_everywhere(faults={faults!r}) is not a valid value. Use "crashes" or "every kind".')
    whole("crash_everywhere(most=...)", most, 1)
    milliseconds(downtime, "crash_everywhere(downtime=...)")  # raises
    for text in also:
        parsed(text)  # raises
    decorate = planned(Sweep(crashes, faults, downtime, most, compare, tuple(ignore), tuple(also), fresh))
    return decorate if test is None else decorate(test)


@dataclass(slots=True)
class Swept:
    """What a sweep found. `failed` are the runs that failed, in order; `left_out` is how many points were not tried."""

    base: Run
    points: int = 0
    left_out: int = 0
    failed: list[Run] = field(default_factory=list)
    repeated: dict[str, int] = field(default_factory=dict)  # by step: in how many runs it ran more than once
    silent: list[str] = field(default_factory=list)  # of `also`: what no longer fails
    fresh: list[str] = field(default_factory=list)  # what a fresh process has judged

    def first_failure(self) -> Run | None:
        """The first run that failed."""
        return self.failed[0] if self.failed else None

    def check(self, test: Callable[..., Any]) -> None:
        """There is nothing more to check."""

    def summary(self) -> str:
        """One line, and one for each step that ran more than once."""
        lines = [f"{self.points} points of {self.base.commits} commits: {len(self.failed) or 'none'} failed"]
        if self.left_out:
            lines[0] += f"; {self.left_out} points were left out: raise most= to try all"
        lines += [f"  {step} ran more than once in {runs} runs" for step, runs in sorted(self.repeated.items())]
        lines += [f"  {line}" for line in self.fresh]
        return "\n".join(lines)

    def explanation(self) -> str:
        """What the report of a failing test shows: which point, and what happened there."""
        first = self.failed[0]
        return "\n".join(
            [
                f"{len(self.failed)} of {self.points} points fail. The first: {first.choices}.",
                "",
                *first.story.lines(SHOWN),
            ]
        )


class _Sweeping:
    def __init__(self, options: Sweep, body: Body) -> None:
        self._options = options
        self._body = body
        self._moving: set[Any] = set()  # what differs although nothing was disturbed
        self._commits: dict[tuple[Unusual, ...], int] = {}  # of the runs that were tried
        self._others = 0  # undisturbed runs with other ids, another clock and other random numbers
        self._swept: Swept

    def sweep(self) -> Swept:
        options = self._options
        copies = Copies() if options.fresh else None
        base = options.once(self._body, Choices(), copies)
        self._swept = Swept(base)
        if base.error is not None:
            raise base.error
        check_same(base, options.once(self._body, Choices()))
        if copies is not None:
            self._swept.fresh = looked_at(copies)
        self._find_what_moves(base)
        for text in options.also:
            run = self._try(Choices.of(text))
            if run.error is None:
                self._swept.silent.append(text)
        for given in self._points(base):
            self._commits[given] = self._try(Choices(given)).commits
        return self._swept

    def _find_what_moves(self, base: Run) -> None:
        """Run once more, undisturbed, with other ids, another clock and other random numbers."""
        other = self._run_otherwise()
        if other.error is not None:
            raise NotReproducible(
                f"The undisturbed test fails with other ids and another clock, so it depends on them: {other.error!r}"
            ) from other.error
        self._compare_undisturbed(base, other)

    def _run_otherwise(self) -> Run:
        self._others = number = self._others + 1
        return run_once(
            self._body,
            Choices(),
            fine=True,
            start_ms=START_MS + number * YEAR_MS,
            secret=f"another secret {number}".encode().ljust(32, b"."),
        )

    def _compare_undisturbed(self, base: Run, other: Run) -> None:
        for name in {**base.state, **other.state}:
            if base.state.get(name) != other.state.get(name):
                self._moving.add(name)
        if len(base.outcomes) == len(other.outcomes):
            self._moving |= {
                before[:3] for before, after in zip(base.outcomes, other.outcomes, strict=True) if before != after
            }

    def _points(self, base: Run) -> Iterator[tuple[Unusual, ...]]:
        """The runs to try, by their unusual outcomes."""
        points: list[tuple[Unusual, ...]] = [
            (Unusual(name, number, value),)
            for name, number, value in _alternatives(base, self._options.faults == "every kind")
        ]
        yield from self._some(points)
        if self._options.crashes == 2:
            pairs: list[tuple[Unusual, ...]] = []
            for point in points:
                (first,) = point
                if not first.name.startswith("commit "):
                    continue
                if point not in self._commits:  # it was left out
                    self._commits[point] = self._options.once(self._body, Choices(point)).commits
                at = int(first.name.split()[1].rstrip(":"))
                pairs += [
                    (first, Unusual(f"commit {number}: killed {side}"))
                    for number in range(at + 1, self._commits[point] + 1)
                    for side in ("before", "after")
                ]
            yield from self._some(pairs)

    def _some(self, points: list[tuple[Unusual, ...]]) -> list[tuple[Unusual, ...]]:
        most = self._options.most
        if len(points) <= most:
            return points
        self._swept.left_out += len(points) - most
        last = len(points) - 1
        return [points[round(number * last / max(most - 1, 1))] for number in range(most)]

    def _try(self, choices: Choices) -> Run:
        swept = self._swept
        run = self._options.once(self._body, choices)
        if run.error is None and self._options.compare:
            run.error = self._difference(run)
            if run.error is not None and self._others < OTHERS:
                # What is drawn by chance may have come out equal by chance: a coin does so in every other run.
                while self._others < OTHERS:
                    other = self._run_otherwise()
                    if other.error is None:
                        self._compare_undisturbed(swept.base, other)
                run.error = self._difference(run)
        swept.points += 1
        if run.error is not None:
            swept.failed.append(run)
        for step in run.repeated:
            swept.repeated[step] = swept.repeated.get(step, 0) + 1
        return run

    def _difference(self, run: Run) -> WorldFailed | None:
        """Where the run ends elsewhere than the undisturbed one."""
        base = self._swept.base
        for name in sorted({**base.state, **run.state}):
            service, key, field_name = name
            if name in self._moving or f"{service}.{field_name}" in self._options.ignore:
                continue
            if base.state.get(name) != run.state.get(name):
                return WorldFailed(
                    f"{service}/{key}.{field_name} ends as {run.state.get(name, 'unset')}, and without the crash as "
                    f"{base.state.get(name, 'unset')}."
                )
        before = [row for row in base.outcomes if row[:3] not in self._moving]
        after = [row for row in run.outcomes if row[:3] not in self._moving]
        for one, two in itertools.zip_longest(before, after):
            if one != two:
                return WorldFailed(f"Outcomes differ: {_said(two)}, and without the crash {_said(one)}.")
        return None


def _alternatives(base: Run, all_of_them: bool) -> Iterator[tuple[str, int, int]]:
    for name, times in base.choices.asked.items():
        crash = name.startswith("commit ") and ": killed " in name
        if not crash and not all_of_them:
            continue
        for number in range(1, times + 1):
            for value in range(1, base.choices.outcomes[name]):
                yield name, number, value


def _said(row: tuple[Any, ...] | None) -> str:
    if row is None:
        return "nothing more"
    service, key, handler, arguments, status, outcome = row
    return f"{service}/{key}/{handler}{arguments} has {status} with {outcome}"
