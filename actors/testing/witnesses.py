"""What the witnesses of a world look at when a test has passed.

Promise: each line names what must not be, and what to do about it. A witness that a test has excused is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Literal

from actors.check.explanation import Address, Known
from actors.errors import BadArguments
from actors.model.limits import Limits
from actors.model.names import address
from actors.model.virtual_object import Served
from actors.testing.clients import Clients
from actors.testing.copies import Copy, Place
from actors.testing.guard import Guard
from actors.testing.machine import Machine
from actors.testing.specification import explain
from actors.testing.step_faults import StepFaults
from actors.testing.waits import last_line

Witness = Literal["clients", "guard", "paused", "replay", "steps", "threads"]
MANY = 100_000  # invocations that are kept: more than a test makes
WITNESSES: tuple[Witness, ...] = ("clients", "guard", "paused", "replay", "steps", "threads")


class Witnesses:
    """`excuse` names witnesses that are not asked; `may_pause` says which invocations may be paused at the end.

    `known` are the states that served classes have left which are served no longer.

    clients: a caller has received what is not stored, or the mailbox has another order than the callers have seen. guard: a handler
    read the clock, drew by chance or did I/O outside of a step. paused: an invocation is paused. replay: the code of its class does
    not explain what is stored. steps: a step that was replaced, or was to fail, never ran. threads: a thread called back.
    """

    def __init__(self, machine: Machine, steps: StepFaults, clients: Clients, gate: list[str], guard: Guard) -> None:
        self._machine = machine
        self._steps = steps
        self._clients = clients
        self._forgets_after_ms: float = float("inf")
        self._gate = gate
        self._guard = guard
        self.known: dict[Address, Known] = {}
        self._unexplained: list[str] = []
        self._misread: list[str] = []  # by readers
        self._excused: set[str] = set()
        self._may_pause: list[tuple[str | None, str | None]] = []

    def excuse(self, witness: str) -> None:
        """Do not ask this witness."""
        if witness not in WITNESSES:
            raise BadArguments(f"{witness!r} is not a valid witness. Use {', '.join(WITNESSES)}.")
        self._excused.add(witness)

    def asks(self, witness: Witness) -> bool:
        """Whether the test has not excused this witness."""
        return witness not in self._excused

    def may_pause(self, service: str | None, key: str | None) -> None:
        """Invocations of this class and key, None for any, may be paused."""
        self._may_pause.append((service, key))

    async def look(self, classes: Collection[type[Served]], limits: Limits) -> None:
        """Execute again what these classes have done so far, and go on from there next time: before other classes are served."""
        self._keeps_to(limits)
        if "replay" in self._excused:
            return  # to execute handlers once more may do what they do beside their context
        machine = self._machine
        report = await explain(
            machine.disk,
            classes,
            limits,
            known=self.known,
            changed=machine.changed,
            complete=self._is_complete(),
            one_release=len(machine.processes) == 1,
            readers=None if "clients" in self._excused else self._clients.readers(),
        )
        self.known.update(report.known)
        self._misread += report.misread
        self._unexplained += [str(finding) for finding in report.findings]

    def copy(self, classes: Collection[type[Served]], limits: Limits) -> Copy:
        """The disk, for another process to look at as `look` does."""
        machine = self._machine
        self._keeps_to(limits)
        return Copy(
            machine.commits,
            machine.disk.image(),
            tuple(map(Place.of, classes)),
            limits,
            dict(self.known),
            frozenset(machine.changed),
            self._is_complete(),
            one_release=len(machine.processes) == 1,
        )

    def found(self) -> list[str]:
        """One line for each thing that must not be."""
        lines = list(self._gate)
        if self._machine.failure is not None:
            lines.append(f"A process could not start: {self._machine.failure!r}")
        asked: dict[str, Callable[[], Iterator[str]]] = {
            "paused": self._paused,
            "clients": self._misled,
            "replay": lambda: iter(self._unexplained),
            "guard": lambda: map(str, self._guard.findings),
            "steps": self._unused_steps,
            "threads": self._threads,
        }
        for name, witness in asked.items():
            if name not in self._excused:
                lines += witness()
        return lines

    def _paused(self) -> Iterator[str]:
        for service, key, handler, reason in self._machine.disk.query(
            "SELECT service, key, handler, reason FROM invocations WHERE status = 'paused' ORDER BY invocation"
        ):
            if not any(a in (None, service) and b in (None, key) for a, b in self._may_pause):
                yield f"{address(service, key, handler)} is paused: {last_line(reason or '')}"

    def _misled(self) -> Iterator[str]:
        yield from self._clients.findings(self._is_complete())
        yield from self._misread

    def _keeps_to(self, limits: Limits) -> None:
        """Note from when on an app with these limits may have forgotten ended invocations."""
        kept = [ms for ms in (limits.retention_ms, limits.idempotency_retention_ms) if ms is not None]
        if limits.max_retained is not None and limits.max_retained < MANY:
            kept.append(0)
        self._forgets_after_ms = min([self._forgets_after_ms, *kept])

    def _is_complete(self) -> bool:
        """Whether no ended invocation was forgotten. Numbers do not tell: a reader that ends at once has a number, and is not stored."""
        machine = self._machine
        return not machine.purged and machine.loop.time() * 1000 < self._forgets_after_ms

    def _unused_steps(self) -> Iterator[str]:
        yield from self._steps.unused()

    def _threads(self) -> Iterator[str]:
        if self._machine.loop.touched_by_thread:
            yield (
                "A thread has called back into the world, so what happens depends on the real clock. Use ctx.run or "
                "asyncio.to_thread."
            )
