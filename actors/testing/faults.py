"""How often a run from a seed turns out otherwise than usual."""

from __future__ import annotations

from dataclasses import dataclass

from actors.errors import BadArguments
from actors.model.durations import milliseconds
from actors.testing.checked import whole


@dataclass(frozen=True, slots=True)
class Faults:
    """How often, from 0 to 1, a run from a seed turns out otherwise than usual.

    `crash`: the process is killed before or after a commit, `crashes` times at most, and stays down for up to `downtime` seconds.
    `step`: a step fails, before its effect or after it. `delay`: a commit, a read, a step, a request or an answer takes some
    milliseconds. `memory`: handlers and objects are evicted as soon as they wait. `prompt`: a completion is on disk before its
    handler goes on. `connection`: a connection breaks, where callers use HTTP. `disk`: a commit finds the disk full, which then stays
    full for up to a second; the app stops and starts again by itself, as under `actors serve`. Not unless a test asks for it: under
    another server the `on_stopped` of an app decides.
    """

    crash: float = 0.03
    crashes: int = 2
    downtime: float = 1.0
    step: float = 0.1
    delay: float = 0.3
    memory: float = 0.3
    prompt: float = 0.5
    connection: float = 0.1
    disk: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crash", "step", "delay", "memory", "prompt", "connection", "disk"):
            odds = getattr(self, name)
            if isinstance(odds, bool) or not isinstance(odds, (int, float)) or not 0 <= odds <= 1:
                raise BadArguments(f"Faults({name}={odds!r}) is not a valid probability. Use a number from 0 to 1.")
        whole("Faults(crashes=...)", self.crashes, 0)
        milliseconds(self.downtime, "Faults(downtime=...)")
