"""What a long run of seeds repeats: a test with a world, and the simulation that runs it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.testing.runs import Body, Run
from actors.testing.simulation import Simulation

FULL_DISKS = 0.03  # in every other seed


@dataclass(frozen=True, slots=True)
class Program:
    """A test with a world, and the simulation that runs it."""

    name: str
    body: Body
    simulation: Simulation

    def of(self, seed: int) -> Simulation:
        """The simulation of one seed. Every other seed has disks that are full now and then."""
        faults = replace(self.simulation.faults, disk=FULL_DISKS * (seed % 2))
        return replace(self.simulation, runs=1, seed=seed, faults=faults)

    def shortest(self, seed: int) -> Run | None:
        """The shortest run that fails as the run of this seed does; None if that does not fail."""
        return self.of(seed).run(self.body).failed
