"""What a bug of the corpus is, and the tools of the kit that look for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from actors.model.virtual_object import Served
from actors.testing import Faults, World
from actors.testing.choices import Choices
from actors.testing.copies import Copies, Looked
from actors.testing.exploring import exploration
from actors.testing.fresh import FreshProcess
from actors.testing.machine import quiet
from actors.testing.runs import Body, Run
from actors.testing.simulation import Simulation
from actors.testing.sweep import Sweep
from actors.testing.witnesses import WITNESSES, Witness
from tests.user_bugs import outside

T = TypeVar("T")

RUNS = 200  # of a simulation, within which it must find a bug
MOST = 4  # unusual choices of the shortest run that fails
WHOLE_RUNS = 60  # of an exploration that judges runs as a whole, within which it must find a bug
WHOLE_MOST = 6  # unusual choices of its shortest run that fails


@dataclass(frozen=True, slots=True)
class Bug(Generic[T]):
    """A class with a bug, its fixed twin, and tests that take either.

    `ordinary` is a test as most are: one caller, and nothing goes wrong. `found_by` says what each tool that finds the bug says. The
    simulation runs `thorough`, or `ordinary` if that is enough for it.
    """

    name: str
    buggy: type[T]
    fixed: type[T]
    ordinary: Callable[[World, type[T]], Awaitable[None]]
    found_by: dict[str, str]
    thorough: Callable[[World, type[T]], Awaitable[None]] | None = None
    sweep: Sweep = field(default_factory=Sweep)
    faults: Faults = field(default_factory=Faults)
    beside: tuple[type[Served], ...] = ()  # the other classes that the tests serve
    arguments: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)  # of explorations, by name of the handler

    def plain(self, cls: type[T], *asked: Witness) -> Body:
        """The ordinary test of this class, at whose end these witnesses are asked."""
        return _on_a_new_world(self.ordinary, cls, asked)

    def searching(self, cls: type[T], *asked: Witness) -> Body:
        """The test of this class for a simulation, at whose end these witnesses are asked."""
        return _on_a_new_world(self.thorough or self.ordinary, cls, asked)

    def exploring(self, cls: type[T], atomic: bool = False) -> Body:
        """Random requests to this class and those beside it, of which no test says anything."""
        arguments = {getattr(cls, name): rows for name, rows in self.arguments.items()}
        explored = exploration((cast("type[Served]", cls), *self.beside), arguments=arguments, atomic=atomic)

        async def body(world: World) -> None:
            outside.renew()
            await explored(world)

        return body

    def simulation(self, runs: int = RUNS) -> Simulation:
        return Simulation(runs=runs, faults=self.faults)


def _on_a_new_world(
    test: Callable[[World, type[T]], Awaitable[None]], cls: type[T], asked: tuple[Witness, ...]
) -> Body:
    excused: list[Witness] = [one for one in WITNESSES if one not in asked]

    async def body(world: World) -> None:
        world.unchecked(*excused)
        outside.renew()  # as a fixture of the test would
        await test(world, cls)

    return body


def look_afresh(body: Body, process: FreshProcess) -> Looked:
    """Run a test once, undisturbed and without its end, and have a fresh process judge what it leaves on the disk."""
    copies = Copies()
    world = World(copies=copies)
    try:
        with quiet():
            world.run(body(world))
    finally:
        world.close()
    return process.look(copies)


def run_plain(body: Body) -> None:
    """Run a test once, undisturbed. Raises what the test raises, or WorldFailed."""
    world = World()
    try:
        with quiet():
            world.run(body(world))
            world.finish()
    finally:
        world.close()


def again(simulation: Simulation, body: Body, failed: Run) -> Run:
    """The run that the text of a failed run gives."""
    return simulation.once(body, Choices.of(str(failed.choices)))
