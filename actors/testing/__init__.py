"""Tools to test objects: `World`, which pytest gives as the fixture `world`, and the parts that it is made of.

Nothing here fakes the framework: the same partition, the same SQL and the same replay run on a clock and a disk that a test
controls.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.testing.bridge import drawn
    from actors.testing.clock import ManualClock
    from actors.testing.disk import Disk, SimulatedCrash, SimulatedStore
    from actors.testing.executor import InlineExecutor
    from actors.testing.exploring import explore
    from actors.testing.failures import MisusedWorld, NoNetwork, NotReproducible, Stuck, WorldFailed
    from actors.testing.faults import Faults
    from actors.testing.manual import ManualWorld
    from actors.testing.replay import Replayed, replayed
    from actors.testing.serving import serves
    from actors.testing.simulation import simulate
    from actors.testing.sweep import crash_everywhere
    from actors.testing.world import WaitingAwakeable, World

__all__ = [
    "Disk",
    "Faults",
    "InlineExecutor",
    "ManualClock",
    "ManualWorld",
    "MisusedWorld",
    "NoNetwork",
    "NotReproducible",
    "Replayed",
    "SimulatedCrash",
    "SimulatedStore",
    "Stuck",
    "WaitingAwakeable",
    "World",
    "WorldFailed",
    "crash_everywhere",
    "drawn",
    "explore",
    "replayed",
    "serves",
    "simulate",
]

# Loaded on first use: pytest imports the plugin of this package in every project, also where no test asks for a world.
_LATER = {
    "Disk": "disk",
    "Faults": "faults",
    "InlineExecutor": "executor",
    "ManualClock": "clock",
    "ManualWorld": "manual",
    "MisusedWorld": "failures",
    "NoNetwork": "failures",
    "NotReproducible": "failures",
    "Replayed": "replay",
    "SimulatedCrash": "disk",
    "SimulatedStore": "disk",
    "Stuck": "failures",
    "WaitingAwakeable": "world",
    "World": "world",
    "WorldFailed": "failures",
    "crash_everywhere": "sweep",
    "drawn": "bridge",
    "explore": "exploring",
    "replayed": "replay",
    "serves": "serving",
    "simulate": "simulation",
}


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
