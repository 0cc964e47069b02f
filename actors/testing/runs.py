"""One run of a test on a world of its own, and what is left of it when the world is gone."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from actors.testing.choices import Choices
from actors.testing.failures import NotReproducible, WorldFailed
from actors.testing.machine import quiet
from actors.testing.story import Story
from actors.testing.world import World

Body = Callable[[World], Awaitable[None]]
F = TypeVar("F", bound=Callable[..., Any])

Row = tuple[Any, ...]

_ID = re.compile(r"inv_[\w-]+")
_KEY = re.compile(r"(\w+)/[^/\s]+/(\w+)")  # of an object, between its class and a handler
_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class Run:
    """`state` and `outcomes` are the rows on the disk at the end; `repeated` are the steps that ran more than once, with how often."""

    choices: Choices
    error: Exception | None
    story: Story
    commits: int
    crashes: int
    state: dict[Row, str] = field(default_factory=dict)
    outcomes: list[Row] = field(default_factory=list)
    repeated: dict[str, int] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def failure(self) -> tuple[type[Exception], str] | None:
        """By what two failures are the same: the class and the first line."""
        if self.error is None:
            return None
        return type(self.error), str(self.error).partition("\n")[0]

    def likeness(self) -> tuple[type[Exception], str] | None:
        """By what a shorter run fails the same way. What a witness says names keys, ids and numbers: those may be others."""
        failure = self.failure()
        if failure is None or failure[0] is not WorldFailed:
            return failure
        return WorldFailed, _NUMBER.sub("0", _KEY.sub(r"\1/\2", _ID.sub("", failure[1])))


class Findings(Protocol):
    """What all runs of a test have shown. `silent` are the kept runs that no longer fail."""

    silent: list[str]

    def first_failure(self) -> Run | None:
        """The run to show, if any has failed."""
        ...

    def explanation(self) -> str:
        """What the report of a failing test shows of that run."""
        ...

    def summary(self) -> str:
        """What the runs have covered."""
        ...

    def check(self, test: Callable[..., Any]) -> None:
        """Raises WorldFailed if the runs, none of which has failed, have not covered what stands in the test."""
        ...


class Plan(Protocol):
    """How often a test runs, and with which choices."""

    def beginning(self, seed: int | None, twice: bool) -> Plan:
        """The same plan from another seed, or with each run done twice."""
        ...

    def run(self, body: Body) -> Findings:
        """All runs."""
        ...

    def once(self, body: Body, choices: Choices) -> Run:
        """One run."""
        ...

    def keep(self, text: str) -> str:
        """How to run this failure each time, as a decorator."""
        ...


def planned(plan: Plan) -> Callable[[F], F]:
    """A decorator by which the plugin of pytest runs a test as planned."""

    def decorate(function: F) -> F:
        function.__actors_plan__ = plan  # type: ignore[attr-defined]
        return function

    return decorate


def run_once(body: Body, choices: Choices, **options: Any) -> Run:
    """Run a test to its end on a new world with these options, and ask the witnesses."""
    world = World(choices, **options)
    error: Exception | None = None
    try:
        with quiet():
            try:
                world.run(body(world))
                world.finish()
            except Exception as raised:
                error = raised
        machine = world.machine
        run = Run(choices, error, machine.story, machine.commits, len(machine.processes) - 1)
        run.reached = world.reached
        run.state = {
            row[:3]: row[3] for row in world.query("SELECT service, key, name, value FROM state ORDER BY 1, 2, 3")
        }
        run.outcomes = sorted(
            world.query("SELECT service, key, handler, arguments, status, coalesce(result, failure) FROM invocations"),
            key=repr,
        )
        for (seq, position), times in world.executed.items():
            if times > 1:
                for service, key, handler, name in world.query(
                    "SELECT i.service, i.key, i.handler, j.name FROM invocations i JOIN journal j ON j.invocation = i.invocation "
                    "WHERE i.invocation = ? AND j.position = ?",
                    seq,
                    position,
                ):
                    run.repeated[f"{name} of {service}/{key}/{handler}"] = times
        return run
    finally:
        world.close()


def check_same(first: Run, second: Run) -> None:
    """Raises NotReproducible, with the first difference, if one run done twice went two ways."""
    before, after = first.story.lines(), second.story.lines()
    for number in range(max(len(before), len(after))):
        one = before[number] if number < len(before) else "(the run has ended)"
        two = after[number] if number < len(after) else "(the run has ended)"
        if one != two:
            raise NotReproducible(
                "The same run, done twice, goes two ways: something decides that is not in the world, such as the real time, "
                "random numbers, the order of a set, a thread, or a variable that outlives a run. In a step time.time() and "
                "uuid4() are the world's, but datetime.now() and `from time import time` are not: pass ctx.now() to the step, or "
                "replace it: world.replace(step, fake).\n"
                f"  first  {one}\n  then   {two}" + _failures(first, second)
            )
    if first.failure() != second.failure():
        raise NotReproducible(f"The same run, done twice, ends in two ways: {first.error!r}, then {second.error!r}.")


def _failures(*runs: Run) -> str:
    """What the runs have failed with, a line for each failure: the guard of one of them may have seen what decides."""
    found = [failure for failure in (run.failure() for run in runs) if failure is not None]
    return "".join(f"\n  failed {text or cls.__name__}" for cls, text in dict.fromkeys(found))
