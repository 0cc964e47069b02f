"""Who waits for what, in words: for a test that would hang.

Promise: each line names an invocation or the test, what it waits for, and the line of the user's code where it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from actors.model.names import address
from actors.tasks.places import place_of
from actors.testing.machine import Machine


def reasons(machine: Machine) -> Iterator[str]:
    """One line for each invocation at the head of its key that waits, oldest first."""
    resident = machine.resident()
    rows = machine.disk.query(
        "SELECT invocation, service, key, handler, status, reason FROM invocations "
        "WHERE status NOT IN ('succeeded', 'failed', 'scheduled') ORDER BY invocation"
    )
    heads: set[tuple[str, str]] = set()
    for seq, service, key, handler, status, reason in rows:
        name = address(service, key, handler)
        behind = bool(key) and status == "pending" and (service, key) in heads
        heads.add((service, key))
        if behind:
            yield f"{name} waits in the mailbox of {address(service, key)}."
        elif status == "paused":
            yield f"{name} is paused: {last_line(reason or '')}"
        else:
            place = (
                place_of(getattr(resident[seq].attempt, "_coroutine", None))
                if seq in resident
                else machine.places.get(seq)
            )
            where = f", at {place}" if place else ""
            yield from (f"{name} waits for {what}{where}." for what in _open_waits(machine, seq))


def last_line(reason: str) -> str:
    lines = reason.strip().splitlines()
    return lines[-1] if lines else "no reason was recorded."


def _open_waits(machine: Machine, seq: int) -> list[str]:
    """What an invocation waits for, by the commands of its journal that have no answer."""
    found = []
    for entry, name, called in machine.disk.query(
        "SELECT j.entry, j.name, j.called FROM journal j WHERE j.invocation = ? AND j.entry IN "
        "('run', 'sleep', 'awakeable', 'call', 'attach', 'promise') AND NOT EXISTS (SELECT 1 FROM journal c "
        "WHERE c.invocation = j.invocation AND c.completes = j.position) ORDER BY j.position",
        seq,
    ):
        if entry == "awakeable":
            found.append(f"an awakeable ({name})")
        elif entry == "call" or entry == "attach":
            ((service, key, handler),) = machine.disk.query(
                "SELECT service, key, handler FROM invocations WHERE invocation = ?", called
            ) or [("an invocation", "", "")]
            found.append(address(service, key, handler))
        elif entry == "run":
            found.append(f"its step {name}")
        elif entry == "promise":
            found.append(f"the promise {name!r}")
        else:
            found.append("a sleep to end")
    return found or ["something that is not durable"]


def threads_note() -> str:
    """A hint if threads run that the world does not wait for."""
    others = [
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon
    ]
    if not others:
        return ""
    return f" A thread runs ({', '.join(others[:3])}), and a world does not wait for threads: use ctx.run or asyncio.to_thread."
