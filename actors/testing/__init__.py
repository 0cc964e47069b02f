"""Tools to test objects: a clock that a test moves, a disk that outlives a crash, and crashes on demand.

Nothing here fakes the framework: the same partition, the same SQL and the same replay run on a clock and a disk
that a test controls.
"""

from actors.testing.clock import ManualClock
from actors.testing.disk import Disk, SimulatedCrash, SimulatedStore
from actors.testing.executor import InlineExecutor
from actors.testing.world import World

__all__ = ["Disk", "InlineExecutor", "ManualClock", "SimulatedCrash", "SimulatedStore", "World"]
