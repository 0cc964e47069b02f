"""What a machine may do otherwise than usual: its choices, and how likely each is in a run from a seed.

Promise: while calm, everything is as usual, and nothing is asked of the choices.
"""

from __future__ import annotations

import asyncio
from typing import Any

from actors.testing.choices import Choices
from actors.testing.faults import Faults
from actors.testing.step_faults import When

NO_FAULTS = Faults(crash=0, step=0, delay=0, memory=0, prompt=0, connection=0)
DISK_FULL = ": the disk is full"  # ends the name of a choice
FULL_MS = 1000  # for how long a disk stays full, at most

# What leaves memory: what usually does; handlers that wait; objects; both. Values for Limits.
MEMORY: tuple[dict[str, Any], ...] = (
    {},
    {"suspend_after": 0, "max_waiting": 1},
    {"max_objects": 1},
    {"suspend_after": 0, "max_waiting": 1, "max_objects": 1},
)


class Chances:
    """`under_way` counts what takes time in the process that is up, and `answers` the answers on their way to clients, who outlive it.

    `downtime_s` is how long a killed process stays down, if nothing is chosen. Nothing is chosen either while all is to be `usual`.
    """

    def __init__(self, choices: Choices, faults: Faults = NO_FAULTS, downtime_s: float = 0.0) -> None:
        self._choices = choices
        self._faults = faults
        self._crashes = 0
        self.calm = self.usual = False
        self.under_way = self.answers = 0
        self.downtime_s = downtime_s

    def renew(self, choices: Choices) -> None:
        """From now on these are the choices."""
        self._choices = choices

    def _choose(self, name: str, outcomes: int, odds: float) -> int:
        return self._choices.choose(name, outcomes, odds) if not (self.calm or self.usual) else 0

    def killed(self, name: str) -> bool:
        """Whether the process is killed here."""
        faults = self._faults
        if not self._choose(name, 2, faults.crash if self._crashes < faults.crashes else 0.0):
            return False
        self._crashes += 1
        return True

    def stays_down_s(self) -> float:
        """How long a process that was killed here stays down."""
        return self._ms("stays down for ms", round(self._faults.downtime * 1000) + 1) or self.downtime_s

    def finds_disk_full(self, commit: int) -> bool:
        """Whether a commit finds the disk full."""
        odds = self._faults.disk
        # Nothing is drawn for what cannot happen: a seed is the same history as before.
        return bool((odds or self._choices.seed is None) and self._choose(f"commit {commit}{DISK_FULL}", 2, odds))

    def stays_full_s(self) -> float:
        """How long the disk stays full, after the commit that has found it full."""
        return self._choose("stays full for ms", FULL_MS + 1, 0.8) / 1000

    def opens_on_full_disk(self) -> bool:
        """Whether the file can be opened although the disk is full: then the first commit fails."""
        return bool(self._choose("opens on the full disk", 2, 0.5))

    async def takes(self, what: str) -> None:
        """Wait for as long as something in a process takes: usually no time. Does not return if the process is killed meanwhile."""
        if seconds := self._ms(what, 4):
            self.under_way += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.under_way -= 1

    async def answer_takes(self) -> None:
        """Wait for as long as an answer is on its way to its client."""
        if seconds := self._ms("answer takes ms", 4):
            self.answers += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.answers -= 1

    def request_takes_s(self) -> float:
        """How long the next request is on its way."""
        return self._ms("request takes ms", 4)

    def step_takes_s(self) -> float:
        """How long the next step takes."""
        return self._ms("step takes ms", 8)

    def step_fails(self, name: str) -> When | None:
        """Whether the next execution of a step fails, before its effect or after it."""
        outcome = self._choose(f"step {name} fails (1 before its effect, 2 after)", 3, self._faults.step)
        return "before" if outcome == 1 else "after" if outcome == 2 else None

    def connection_breaks(self, name: str) -> int:
        """Whether the connection of a request breaks: 1 before it arrives, 2 before its answer does, 3 while it is served."""
        breaks = "its connection breaks (1 before the request, 2 before the answer, 3 meanwhile)"
        return self._choose(f"{name}: {breaks}", 4, self._faults.connection)

    def connection_lasts_s(self) -> float:
        """How long a connection lasts that breaks meanwhile."""
        return self._ms("connection lasts ms", 8)

    def memory(self, process: int) -> dict[str, Any]:
        """The limits of memory of a process, an element of `MEMORY`."""
        return MEMORY[self._choose(f"process {process}: memory", len(MEMORY), self._faults.memory)]

    def handed_over_at_once(self) -> bool:
        """Whether a completion is on its way to the disk before its handler goes on."""
        return bool(self._choose("handed over at once", 2, self._faults.prompt))

    def _ms(self, what: str, outcomes: int) -> float:
        return self._choose(what, outcomes, self._faults.delay) / 1000 if outcomes > 1 else 0.0
