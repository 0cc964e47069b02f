"""The chain of waits from a key down to its root cause.

A wait is followed as long as it is a wait for another invocation: to the invocation that is called, or, if that stands in a mailbox,
to the holder of its key. What is left are causes. If there are several, because a handler waits for several things at once, the
root is the cause that needs a person, before the cause that needs time, before work; among equals, the oldest.

Promise: reads only, a bounded number of times, and each invocation once, so a cycle ends as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.doctor.causes import FREE, Cause, Causes
from actors.doctor.live import Live, NotHere
from actors.doctor.pending import Pending, pending
from actors.journal.ids import IdMint
from actors.model.names import address
from actors.storage.records import OWN_KEY, Flag, InvocationRow, JournalRow, Mode, Status

DEEPEST = 64  # waits behind each other
MOST = 256  # invocations that are read
SHOWN_CALLERS = 5
JUST_ACCEPTED_MS = 5_000  # so long an invocation may be on its way to its first line
LATE_MS = 60_000  # by so much a timer may be late, on a busy machine
NOT_HERE = NotHere()


class Records(Protocol):
    """What the doctor reads, as `Examination` has it."""

    async def invocation(self, seq: int) -> InvocationRow | None: ...
    async def invocations(self, seqs: Sequence[int]) -> dict[int, InvocationRow]: ...
    async def journal(self, seq: int) -> list[JournalRow]: ...
    async def attached(self, target: int) -> list[tuple[int, int]]: ...
    async def mailbox(self, service: str, key: str, limit: int) -> list[InvocationRow]: ...
    async def mailbox_length(self, service: str, key: str) -> int: ...
    async def retries(self, seqs: Sequence[int]) -> dict[int, int]: ...


@dataclass(frozen=True, slots=True)
class Link:
    """One wait: an invocation, and what it waits for in words, without the name of the next invocation of the chain."""

    row: InvocationRow
    text: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why an object, or an invocation, does not go on.

    `subject` names it. `chain` leads from its holder to `root`, whose `cause` it is; `others` is how many other causes there are,
    none of which comes first. An invocation that has ended is its own root; an object without open invocations has none.
    `behind` invocations wait in the mailbox of the subject, the oldest since `behind_since_ms`. `callers` are the names of
    invocations that wait for the holder's result, `more_callers` how many are not named.
    """

    subject: str
    cause: Cause
    root: InvocationRow | None = None
    chain: tuple[Link, ...] = ()
    others: int = 0
    behind: int = 0
    behind_since_ms: int | None = None
    callers: tuple[str, ...] = ()
    more_callers: int = 0

    def is_inconsistent(self) -> bool:
        """Whether the root is what should not be."""
        return self.cause.code == "inconsistent"


@dataclass(frozen=True, slots=True)
class _Leaf:
    cause: Cause
    row: InvocationRow
    chain: tuple[Link, ...]


class Doctor:
    """Diagnoses objects and invocations at the time `now_ms`.

    `ids` are those of the file, `running` says whether an app runs on it; `live` knows more if that is this process.
    """

    def __init__(self, records: Records, ids: IdMint, now_ms: int, running: bool, live: Live = NOT_HERE) -> None:
        self._records = records
        self._live = live
        self._causes = Causes(ids, now_ms, running)
        self._now_ms = now_ms
        self._running = running

    async def of_object(self, service: str, key: str) -> Diagnosis:
        """Why the messages of an object wait."""
        subject = address(service, key)
        holders = await self._records.mailbox(service, key, 2)
        if not holders:
            return Diagnosis(subject, FREE)
        return await self._diagnosed(subject, holders[0], holders[1:])

    async def of_invocation(self, row: InvocationRow) -> Diagnosis:
        """Why an open invocation does not go on."""
        subject = name(row)
        if row.status >= Status.SUCCEEDED:
            return Diagnosis(subject, Cause("free", f"It has {Status.NAMES[row.status]}."), row)
        return await self._diagnosed(subject, row, ())

    async def _diagnosed(self, subject: str, row: InvocationRow, behind: Iterable[InvocationRow]) -> Diagnosis:
        walk = _Walk(self._records, self._causes, self._now_ms, self._running, self._live)
        leaves = await walk.leaves(row)
        root = min(leaves, key=lambda leaf: leaf.cause.rank())
        holds = row.shared == Mode.EXCLUSIVE and row.status not in (Status.SCHEDULED, Status.PENDING)
        waiting = await self._records.mailbox(row.service, row.key, 2) if holds else []
        count = await self._records.mailbox_length(row.service, row.key) - 1 if len(waiting) > 1 else 0
        callers = await self._callers(row)
        return Diagnosis(
            subject,
            root.cause,
            root.row,
            root.chain,
            len(leaves) - 1,
            count,
            waiting[1].accepted_ms if len(waiting) > 1 else None,
            tuple(name(caller) for caller in callers[:SHOWN_CALLERS]),
            max(0, len(callers) - SHOWN_CALLERS),
        )

    async def _callers(self, row: InvocationRow) -> list[InvocationRow]:
        """The invocations that wait for the result of this one."""
        seqs = [row.parent] if row.parent is not None else []
        if row.flags & Flag.ATTACHED:
            seqs += [caller for caller, _ in await self._records.attached(row.seq)]
        found = await self._records.invocations(seqs) if seqs else {}
        return [found[seq] for seq in dict.fromkeys(seqs) if seq in found and found[seq].status < Status.SUCCEEDED]


class _Walk:
    """One walk from an invocation down to its causes."""

    def __init__(
        self,
        records: Records,
        causes: Causes,
        now_ms: int,
        running: bool,
        live: Live,
    ) -> None:
        self._records = records
        self._live = live
        self._causes = causes
        self._now_ms = now_ms
        self._running = running
        self._seen: set[int] = set()

    async def leaves(self, first: InvocationRow) -> list[_Leaf]:
        """The causes, at least one."""
        found: list[_Leaf] = []
        left: list[tuple[InvocationRow, tuple[Link, ...]]] = [(first, ())]
        while left:
            row, chain = left.pop()
            if row.seq in self._seen:
                if any(link.row.seq == row.seq for link in chain):
                    found.append(_Leaf(self._causes.inconsistent(row, "waits for itself in the end"), row, chain))
                continue  # another way to a cause that is named already
            if len(self._seen) == MOST or len(chain) == DEEPEST:
                continue
            self._seen.add(row.seq)
            cause, further = await self._look(row)
            if cause is not None:
                found.append(_Leaf(cause, row, chain))
            left += [(next_row, (*chain, Link(row, text))) for next_row, text in further]
        if not found:  # each way was cut, as too long
            found.append(_Leaf(self._causes.running(first), first, ()))
        return found

    async def _look(self, row: InvocationRow) -> tuple[Cause | None, list[tuple[InvocationRow, str]]]:
        """The cause that lies in this invocation, and the invocations it waits for."""
        causes = self._causes
        if row.status == Status.SCHEDULED:
            if self._is_overdue(row.position):
                return causes.inconsistent(row, "is for later, and its time has come"), []
            return causes.scheduled(row), []
        if row.status == Status.PAUSED:
            return causes.paused(row), []
        if row.status == Status.BACKING_OFF:
            due_ms = (await self._records.retries([row.seq])).get(row.seq)
            if due_ms is None or self._is_overdue(due_ms):
                return causes.inconsistent(row, "backs off, and its next attempt does not begin"), []
            return causes.backing_off(row, due_ms), []
        if row.status == Status.PENDING:
            return await self._pending(row)
        commands = pending(await self._records.journal(row.seq))
        if not commands and row.status == Status.BLOCKED:
            return causes.inconsistent(row, "is blocked, and waits for nothing"), []
        return await self._waits(row, commands)

    def _is_overdue(self, due_ms: int | None) -> bool:
        """Whether an app runs that should have done by now what was due then."""
        return self._running and due_ms is not None and self._now_ms - due_ms > LATE_MS

    async def _pending(self, row: InvocationRow) -> tuple[Cause | None, list[tuple[InvocationRow, str]]]:
        if row.shared == Mode.EXCLUSIVE:
            (holder, *_) = await self._records.mailbox(row.service, row.key, 1) or [row]
            if holder.seq != row.seq:
                return None, [(holder, f"waits in the mailbox of {address(row.service, row.key)}, behind")]
        if self._running and self._now_ms - row.accepted_ms > JUST_ACCEPTED_MS:
            return self._causes.inconsistent(row, "has nothing in front of it, and does not begin"), []
        return self._causes.starting(row), []

    async def _waits(
        self, row: InvocationRow, commands: list[Pending]
    ) -> tuple[Cause | None, list[tuple[InvocationRow, str]]]:
        """Of an invocation that runs or is blocked. A running one has a step under way, or its code runs."""
        causes = self._causes
        own: list[Cause] = []
        further: list[tuple[InvocationRow, str]] = []
        for wait in commands:
            if row.status == Status.RUNNING and wait.waiting != "step":
                continue  # it may have asked for this, and go on with something else
            if wait.waiting not in ("call", "attach"):
                if wait.waiting == "step" and self._live.is_queued(row, wait.position):
                    own.append(causes.queued(row, wait))
                    continue
                late = self._is_overdue(wait.until_ms) or self._is_overdue(wait.tries.next_ms)
                said = f"waits for its {wait.waiting}, whose time has come"
                own.append(causes.inconsistent(row, said) if late else causes.waits(row, wait))
                continue
            called = await self._records.invocation(wait.seq) if wait.seq is not None else None
            if called is None or called.status >= Status.SUCCEEDED:
                if wait.waiting == "call" and called is not None:
                    said = f"waits for {wait.name}, which has {Status.NAMES[called.status]}"
                    own.append(causes.inconsistent(row, said))
                else:  # it is placed, or told, by a later batch
                    own.append(causes.running(row))
                continue
            further.append((called, "waits for its call of" if wait.waiting == "call" else "is attached to"))
        if not own and not further:
            return causes.running(row, self._live.unrecorded_wait(row)), []
        return min(own, key=Cause.rank) if own else None, further


def name(row: InvocationRow) -> str:
    """An invocation as users know it: `Order/o-1/checkout`."""
    return address(row.service, "" if row.key.startswith(OWN_KEY) else row.key, row.handler)
