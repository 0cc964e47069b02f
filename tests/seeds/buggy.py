"""Programs for the tests of the long run itself: a sound one, one with a bug, and others that end their worker or kill the run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from actors.testing import World
from actors.testing.simulation import Simulation
from tests.seeds.program import Program
from tests.worlds.scenarios import cancelled
from tests.worlds.shop import Counter


async def counts(world: World) -> None:
    await world.serve(Counter)
    assert await world.object(Counter, "c").add() == 1


async def ends_its_worker(world: World) -> None:
    os._exit(3)


async def kills_the_run(world: World) -> None:
    """Note the seed; once, at the seed 60, kill the process that has started the worker."""
    if noted(f"{world.choices.seed}") == 1 and world.choices.seed == 60:
        os.kill(os.getppid(), signal.SIGKILL)
    await counts(world)


def noted(seed: str) -> int:
    """Note a seed in the diary. How often it is there."""
    diary = Path(os.environ["DIARY"])
    with diary.open("a", encoding="utf-8") as file:
        file.write(f"{seed}\n")
    return diary.read_text(encoding="utf-8").splitlines().count(seed)


PROGRAMS = (
    Program("sound", counts, Simulation()),
    Program("with a bug", cancelled, Simulation()),
    Program("deadly", ends_its_worker, Simulation()),
    Program("killing", kills_the_run, Simulation()),
)
