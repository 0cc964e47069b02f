"""Writes into the open batch. Each verb writes one kind of fact.

Promise: a turn hands the batch over. `write_state` and `unwritten` alone leave that to their caller, which writes more."""

from __future__ import annotations

from collections.abc import Sequence

from actors.attempt.invocation import Invocation, Mailbox
from actors.engine.committer import Committer
from actors.engine.turns import Turns
from actors.journal.entries import Entry
from actors.storage.records import WorkflowFact

NUMBERS_RESERVED = 1_000_000  # see next_number


class Ledger:
    """Writes into the open batch. An object stays in memory until all its writes have been handed to the disk."""

    __slots__ = ("_committer", "_turns", "next", "now_ms", "reserve_at", "touch")

    def __init__(self, committer: Committer, turns: Turns) -> None:
        self._committer = committer
        self._turns = turns
        self.now_ms = turns.now_ms
        self.touch = turns.touch
        self.next = self.reserve_at = 0

    def begin(self, next_number: int) -> None:
        """Give out numbers from `next_number` on: lower numbers may have been given out, as the file says."""
        self.next = next_number
        self.reserve_at = next_number + NUMBERS_RESERVED // 2

    def next_number(self) -> int:
        """A number never given out before, not even by a process that crashed before it wrote anything.

        The file holds a bound far above; it is raised, in an ordinary batch, long before it is reached.
        """
        number = self.next
        self.next = number + 1
        if number >= self.reserve_at:
            self.reserve_at = number + NUMBERS_RESERVED // 2
            self._committer.batch.reserve_to = number + NUMBERS_RESERVED
            self._turns.touch()
        return number

    def mark(self, invocation: Invocation) -> None:
        """Have the row of the invocation written, as it is at the end of this batch."""
        batch = self._committer.batch
        if invocation.dirty_in != batch.number:
            invocation.dirty_in = batch.number
            batch.invocations.append(invocation)
            if not self._turns.scheduled:
                self._turns.schedule()

    def write_state(self, invocation: Invocation, name: str, text: str | None) -> None:
        batch = self._committer.batch
        batch.state[invocation.service, invocation.key, name] = text
        mailbox = invocation.mailbox
        assert mailbox is not None
        mailbox.written_in = batch.number
        if mailbox.state is not None and mailbox.state.behind is not None:
            mailbox.state.behind.pop(name, None)

    def write_behind(self, mailbox: Mailbox) -> None:
        """Write all state of the object that the database does not have yet."""
        state, batch = mailbox.state, self._committer.batch
        if state is not None and state.behind is not None:
            behind, state.behind = state.behind, None
            for name in behind:
                batch.state[mailbox.service, mailbox.key, name] = state.stored.get(name)
                mailbox.written_in = batch.number
            self._turns.touch()

    def write_tries(self, invocation: Invocation, entry: Entry) -> None:
        """Write how often a step has failed: the entry of its command holds the count."""
        batch = self._committer.batch
        if invocation.shared:
            self.mark(invocation)
        else:
            invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]
        batch.tries[invocation.seq, entry.idx] = (entry.ref, entry.before, invocation.seq, entry.idx)
        self._turns.touch()

    def write_entry(self, invocation: Invocation, entry: Entry) -> None:
        batch = self._committer.batch
        if invocation.shared:
            # A journal needs its invocation, and a shared call may not have been written yet; nor may it be evicted
            # before its journal is written.
            self.mark(invocation)
        else:
            invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]
        batch.journal.append(
            (invocation.seq, entry.idx, entry.kind, entry.name, entry.ref, entry.value, entry.before, entry.at_ms)
        )
        if not self._turns.scheduled:
            self._turns.schedule()

    # --- timers -----------------------------------------------------------------------------------------------------------

    def timer(self, timer: tuple[int, int, int, int]) -> None:
        """Write a timer: due in ms, number, seq of the invocation, index of the command."""
        self._committer.batch.timers[timer[0], timer[1]] = timer
        self._turns.touch()

    def timer_over(self, due_ms: int, number: int) -> None:
        """Remove a timer that has fired, or is not needed any more."""
        batch = self._committer.batch
        if batch.timers.pop((due_ms, number), None) is None:
            batch.fired.append((due_ms, number))
            self._turns.touch()

    def timer_stopped(self, due_ms: int, seq: int, index: int) -> None:
        """Remove a timer that is on disk only, found by its command."""
        self._committer.batch.stopped.append((due_ms, seq, index))
        self._turns.touch()

    # --- what else is stored ----------------------------------------------------------------------------------------------

    def attached(self, target: int, caller: int, index: int) -> None:
        """Record that a command waits for the outcome of the invocation `target`."""
        self._committer.batch.attached.append((target, caller, index))
        self._turns.touch()

    def detached(self, target: int, caller: int, index: int) -> None:
        self._committer.batch.detached.append((target, caller, index))
        self._turns.touch()

    def purged(self, seqs: Sequence[int]) -> int:
        """Forget ended invocations. Returns the number of the batch."""
        batch = self._committer.batch
        batch.purged.extend([(seq,) for seq in seqs])
        self._turns.touch()
        return batch.number

    def answered(self, text: str, now_ms: int, number: int) -> None:
        """Write the answer to a request of a command line."""
        self._committer.batch.answered.append((text, now_ms, number))
        self._turns.touch()

    def workflow(self, mailbox: Mailbox, *facts: WorkflowFact) -> None:
        """Write facts about a workflow as a whole."""
        batch = self._committer.batch
        batch.workflows += facts
        mailbox.written_in = batch.number
        self._turns.touch()

    def patch(self, mailbox: Mailbox, texts: dict[str, str | None]) -> None:
        """Write state without an invocation."""
        batch = self._committer.batch
        for name, text in texts.items():
            batch.state[mailbox.service, mailbox.key, name] = text
        mailbox.written_in = batch.number
        self._turns.touch()

    def unwritten(self, mailbox: Mailbox, names: Sequence[str]) -> None:
        """Drop these names from the open batch: all state of the object is forgotten."""
        for name in names:
            self._committer.batch.state.pop((mailbox.service, mailbox.key, name), None)
