"""Whether open invocations may be at rest: each of them must wait for a time, or for an answer from outside.

Promise: asked when a world has settled, each line names an invocation that will never go on, and the event it waits for although
the event has happened.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.model.names import address
from actors.storage.records import Mode, Status
from actors.testing.machine import Machine

_OPEN = (
    "SELECT seq, service, key, handler, shared, status FROM invocation WHERE status NOT IN (?, ?) AND status < ? "
    "ORDER BY service, key, position"
)
# The commands of an invocation that have no answer, each with the status of the invocation that it called.
_WAITS = (
    "SELECT j.entry, j.name, e.ref, t.status FROM journal j JOIN journal_entry e ON e.invocation = j.invocation AND e.idx = j.position "
    "LEFT JOIN invocation t ON t.seq = j.called WHERE j.invocation = ? AND j.entry IN "
    "('run', 'sleep', 'awakeable', 'call', 'attach', 'promise') AND NOT EXISTS (SELECT 1 FROM journal c "
    "WHERE c.invocation = j.invocation AND c.completes = j.position) ORDER BY j.position"
)


def restless(machine: Machine) -> Iterator[str]:
    """One line for each open invocation that has nothing to wait for."""
    held: set[tuple[str, str]] = set()  # objects with an invocation before the one looked at
    for seq, service, key, handler, shared, status in machine.disk.query(
        _OPEN, Status.SCHEDULED, Status.PAUSED, Status.SUCCEEDED
    ):
        name = address(service, key, handler)
        behind = shared == Mode.EXCLUSIVE and ((service, key) in held or _paused(machine, service, key))
        if shared == Mode.EXCLUSIVE:
            held.add((service, key))
        if status == Status.PENDING:
            if not behind:
                yield f"{name} is the next in its mailbox and does not begin."
        elif status == Status.BACKING_OFF:
            yield f"{name} has failed, and is not retried."
        else:
            yield from (f"{name} will not go on: {reason}" for reason in _overdue(machine, seq))


def _paused(machine: Machine, service: str, key: str) -> bool:
    return bool(
        machine.disk.query(
            "SELECT 1 FROM invocation WHERE service = ? AND key = ? AND status = ?", service, key, Status.PAUSED
        )
    )


def _overdue(machine: Machine, seq: int) -> Iterator[str]:
    now_ms = machine.clock.now_ms()
    waits = machine.disk.query(_WAITS, seq)
    if not waits:
        yield "it waits for something that is not durable, or for an answer that has already arrived."
    for entry, name, due_ms, called in waits:
        if entry == "run":
            yield f"its step {name} is neither running nor retried."
        elif entry == "sleep" and due_ms <= now_ms:
            yield "its sleep is over."
        elif entry == "awakeable" and due_ms is not None and due_ms <= now_ms:
            yield f"the deadline of its awakeable ({name}) has passed."
        elif entry in ("call", "attach") and called is not None and called >= Status.SUCCEEDED:
            yield "the invocation that it waits for has ended."
