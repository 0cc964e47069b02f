"""The graph of waits between invocations, walked when a new wait may close a cycle.

A started invocation waits for the invocations that it has called, or attached itself to, and has no answer from. An invocation
in a mailbox waits for the invocation that holds the object. The last edge of every cycle is an attachment, or a message that
joins a queue, called or with another invocation attached to it. So a cycle is looked for at these moments. A call counts as
waited for from the moment it is made; use a send to wait for nothing.
"""

from __future__ import annotations

import functools

from actors.attempt.invocation import Invocation
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.errors import DeadlockError, MailboxFull, TerminalError
from actors.journal.entries import Kind
from actors.model.definitions import HandlerDefinition
from actors.model.options import Options
from actors.serde.failures import failure_text
from actors.storage.records import Status


class Deadlocks:
    """Refuses the call that would close a cycle. Parts of the graph may be out of memory: then they are loaded first."""

    def __init__(self, residents: Residents, progress: Progress, pins: Pins) -> None:
        self._residents = residents
        self._open = residents.open
        self._progress = progress
        self._pins = pins
        self._under_way: set[int] = set()  # invocations whose check waits for others to be loaded

    def check_queued(self, waiting: Invocation, loaded: frozenset[int] = frozenset()) -> None:
        """An invocation with a waiter stands behind another invocation: refuse the wait if it closes a cycle.

        Called whenever the invocation comes into memory. A check that is under way is not begun again: it loads objects that
        were evicted, and each of them may hold further invocations to check.
        """
        if waiting.seq in self._under_way and not loaded:
            return
        if waiting.status != Status.PENDING or waiting.mailbox is None or waiting.mailbox.current is waiting:
            return
        if self._open.get(waiting.seq) is not waiting:  # the invocation was evicted to make room meanwhile
            self._check_later(waiting, loaded)
            return
        path, cold = self._path(waiting, waiting.seq)
        if path is None:
            if cold - loaded:
                self._check_later(waiting, loaded | cold)
            return
        last = path[-2]
        if last.seq == waiting.parent:
            self._progress.end(waiting, _refusal(path))
            return
        # The last invocation is attached to it: the message goes on, the attachment fails.
        assert last.journal is not None
        index = next(index for index, seq in last.journal.waits.items() if seq == waiting.seq)
        self._progress.complete(last, index, Kind.FAILED, failure_text(_refusal([last, *path[:-1]])))
        self.check_queued(waiting, loaded)

    def _check_later(self, waiting: Invocation, known: frozenset[int]) -> None:
        """Check again with all of these invocations in memory."""
        self._under_way.add(waiting.seq)
        again = functools.partial(self._queued_again, waiting.seq, known)
        self._pins.hold_while([waiting.seq, *known], again)

    def _queued_again(self, seq: int, loaded: frozenset[int]) -> None:
        self._under_way.discard(seq)
        waiting = self._open.get(seq)  # the invocation may have been evicted and loaded again since
        if waiting is not None:
            self.check_queued(waiting, loaded)

    def check_attached(self, caller: Invocation, index: int, target: int, loaded: frozenset[int] = frozenset()) -> None:
        """An invocation waits for the outcome of another: fail the command if the other invocation waits for the first.

        The caller holds `target` in memory, if that is open.
        """
        if caller.ended or caller.journal is None or index not in caller.journal.waits:
            return
        start = self._open.get(target)
        if start is None:
            return
        path, cold = ([caller], frozenset[int]()) if start is caller else self._path(start, caller.seq)
        if path is not None:
            self._progress.complete(caller, index, Kind.FAILED, failure_text(_refusal([caller, *path])))
        elif cold - loaded:
            known = loaded | cold
            again = functools.partial(self._attached_again, caller.seq, index, target, known)
            self._pins.hold_while([caller.seq, target, *known], again)

    def _attached_again(self, seq: int, index: int, target: int, loaded: frozenset[int]) -> None:
        caller = self._open.get(seq)
        if caller is not None:
            self.check_attached(caller, index, target, loaded)

    def waits_for(self, service: str, key: str, invocation: Invocation) -> bool:
        """Whether an object can do nothing more before `invocation` has ended, as far as invocations in memory show."""
        mailbox = self._residents.known(service, key)
        holder = mailbox.current if mailbox is not None else None
        if holder is None or holder.ended:  # only a step of the holder goes on
            return False
        return holder is invocation or self._path(holder, invocation.seq)[0] is not None

    def final(
        self, error: TerminalError, sender: Invocation, target: HandlerDefinition, key: str, options: Options
    ) -> bool:
        """Whether the handler receives the error that refuses its message. If not, the sender backs off, as at a full mailbox.

        For a full mailbox, the handler receives the error if its options say so, or if the object can do nothing before the
        sender ends: there would never be room.
        """
        if not isinstance(error, MailboxFull) or options.fail_when_full:
            return True
        return self.waits_for(target.service.name, key, sender)

    def _path(self, start: Invocation, goal: int) -> tuple[list[Invocation] | None, frozenset[int]]:
        """A path of waits from `start` to `goal`, both included, and the invocations met that are not in memory."""
        open_ones = self._open
        cold: set[int] = set()
        seen = {start.seq}
        stack = [(start, iter(_waits_for(start)))]
        while stack:
            _, waits = stack[-1]
            for seq in waits:
                if seq == goal:
                    return [one for one, _ in stack] + [open_ones[goal]], frozenset()
                if seq in seen:
                    continue
                seen.add(seq)
                following = open_ones.get(seq)
                if following is None:
                    cold.add(seq)
                    continue
                stack.append((following, iter(_waits_for(following))))
                break
            else:
                stack.pop()
        return None, frozenset(cold)


def _waits_for(invocation: Invocation) -> list[int]:
    """The seqs of the invocations that this invocation waits for."""
    mailbox = invocation.mailbox
    if mailbox is not None and not invocation.shared and mailbox.current is not invocation:
        return [mailbox.current.seq] if mailbox.current is not None else []
    return list(invocation.journal.waits.values()) if invocation.journal is not None else []


def _refusal(path: list[Invocation]) -> DeadlockError:
    stops = [one.address for one in path]
    return DeadlockError(
        f"Deadlock: {' -> '.join(stops)}. Each invocation waits for the next. Send one way with .send(...), or "
        "call the method on self."
    )
