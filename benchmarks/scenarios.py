"""All scenarios, by name, in the order in which they are listed and run."""

from __future__ import annotations

from benchmarks import throughput
from benchmarks.blocked import Blocked
from benchmarks.engines import Engines
from benchmarks.evidence import Evidence
from benchmarks.growth import Growth
from benchmarks.http import Http
from benchmarks.keys_ever import KeysEver
from benchmarks.log import Log
from benchmarks.memory import Memory
from benchmarks.observed import Observed
from benchmarks.options import Scenario
from benchmarks.timers import Timers

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *throughput.SCENARIOS,
        KeysEver(),
        Memory(),
        Growth(),
        Blocked(),
        Timers(),
        Evidence(),
        Log(),
        Observed(),
        Http(),
        Engines(),
    )
}
