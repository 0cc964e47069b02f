"""Tools to prove objects correct: time that moves when told, a disk that outlives a crash, crashes at will.

Nothing here fakes the framework: the same partition, the same SQL, the same replay run on a clock and a disk
that a test controls.
"""

from actors.testing.clock import ManualClock
from actors.testing.disk import Disk, SimulatedCrash, SimulatedStore
from actors.testing.executor import InlineExecutor

__all__ = ["Disk", "InlineExecutor", "ManualClock", "SimulatedCrash", "SimulatedStore"]
