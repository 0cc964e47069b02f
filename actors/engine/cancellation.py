"""Cancellation: first of the calls of an invocation, then of the invocation, once, before the answer of the last call.

Promise: a cancelled invocation receives InvocationCancelled at its next await; its requests after that are not cancelled. An
invocation that has not begun ends at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from actors.attempt.invocation import Invocation
from actors.attempt.work import StepWork
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.ledger import Ledger
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.timers import Timers
from actors.errors import InvocationCancelled, TerminalError, UnknownInvocation, WrongStatus
from actors.journal.entries import Kind
from actors.journal.journal import Journal
from actors.serde.failures import failure_text
from actors.storage.port import Store
from actors.storage.records import Flag, InvocationRow, Status


class Cancellation:
    """Cancels for operators and for handlers, and gives operations an invocation together with its calls."""

    def __init__(
        self,
        store: Store,
        residents: Residents,
        ledger: Ledger,
        background: Background,
        committer: Committer,
        pins: Pins,
        progress: Progress,
        timers: Timers,
    ) -> None:
        self._store = store
        self._open = residents.open
        self._ledger = ledger
        self._background = background
        self._committer = committer
        self._pins = pins
        self._progress = progress
        self._timers = timers

    async def cancel(self, seq: int) -> None:
        """Ask an invocation to end, once: first the invocations it calls, then InvocationCancelled at its next await."""
        async with self.with_calls(seq) as invocation:
            self._cancel(invocation)

    def begin_cancel(self, caller: Invocation, command: int, seq: int) -> None:
        """Cancel an invocation for a handler, whose own command is completed in the same batch."""
        self._progress.add_work(caller, command, self._background.spawn(self.cancel_for(caller, command, seq)))

    async def cancel_for(self, caller: Invocation, command: int, seq: int) -> None:
        """Cancel for a handler, whose command is completed in the same batch. Has no effect on an ended invocation."""
        try:
            async with self.with_calls(seq) as invocation:
                self._cancel(invocation)
                self._progress.complete(caller, command, Kind.COMPLETED, None)
        except WrongStatus:  # it has ended
            self._progress.complete(caller, command, Kind.COMPLETED, None)
        except TerminalError as error:
            self._progress.complete(caller, command, Kind.FAILED, failure_text(error))

    def called(self, caller: Invocation, child: Invocation, notified: bool) -> None:
        """Cancel a call of a cancelled handler, unless the handler knew of its cancellation when it made the call."""
        if not notified and caller.has(Flag.CANCELLED):
            self._cancel(child)

    @contextlib.asynccontextmanager
    async def opened(self, seq: int) -> AsyncIterator[Invocation]:
        async with self._pins.holding(seq) as invocation:
            if invocation is None:
                raise ended_already((await self.row(seq)).status)
            yield invocation

    async def row(self, seq: int) -> InvocationRow:
        await self._committer.flushed()
        row = await self._store.invocation(seq)
        if row is None:
            raise UnknownInvocation()
        return row

    async def ended_row(self, seq: int) -> InvocationRow:
        row = await self.row(seq)
        if row.status < Status.SUCCEEDED:
            raise not_ended()
        return row

    @contextlib.asynccontextmanager
    async def with_calls(self, seq: int) -> AsyncIterator[Invocation]:
        """The invocation, in memory together with its caller and with all invocations that it calls, directly or indirectly."""
        async with contextlib.AsyncExitStack() as stack:
            invocation = await stack.enter_async_context(self.opened(seq))
            requested: set[int] = set()
            while True:
                wanted, chain = set[int](), [invocation]
                if invocation.parent is not None and invocation.parent not in self._open:
                    wanted.add(invocation.parent)
                while chain:
                    for called in calls_of(chain.pop()).values():
                        child = self._open.get(called)
                        if child is None:
                            wanted.add(called)
                        else:
                            chain.append(child)
                if not wanted - requested:  # an invocation that was loaded, is held, and is not in memory, has ended
                    break
                requested |= wanted
                await stack.enter_async_context(self._pins.holding_all(wanted))
            if invocation.ended:
                raise ended_already(invocation.status)
            yield invocation

    def _cancel(self, invocation: Invocation) -> None:
        """Cancel an invocation and its calls. An invocation that has not started ends at once."""
        if invocation.ended or invocation.has(Flag.CANCELLED):
            return
        invocation.more().flags |= Flag.CANCELLED
        self._ledger.mark(invocation)
        if not _started(invocation):
            self._progress.end(invocation, InvocationCancelled())
            return
        for called in calls_of(invocation).values():
            child = self._open.get(called)
            if child is not None and child.parent == invocation.seq:
                self._cancel(child)
        if invocation.journal is None:
            invocation.journal = Journal()
        if not invocation.ended and not self.calls_left(invocation):
            self.tell_cancelled(invocation)

    def calls_left(self, invocation: Invocation, answered: int | None = None) -> bool:
        """Whether a call of the invocation is not over yet, apart from the call that is being answered."""
        for index, seq in calls_of(invocation).items():
            if index == answered:
                continue
            child = self._open.get(seq)
            if child is not None:
                if child.parent == invocation.seq:
                    return True
            else:
                command = invocation.journal.command(index) if invocation.journal is not None else None
                if command is not None and command.ref is not None:
                    return True  # out of memory: had it ended, this call would have its answer
        return False

    def tell_cancelled(self, invocation: Invocation) -> None:
        """Record the cancellation for the handler. A stopped invocation gets an attempt, so that the handler can receive it."""
        journal = invocation.journal
        if journal is None or journal.cancelled:
            return
        self._progress.tell(invocation, journal.append(Kind.CANCELLED, None, None, None, None, self._ledger.now_ms()))
        for piece in list((invocation.work or {}).values()):
            if isinstance(piece, StepWork):
                piece.told_cancelled()
        if invocation.status in (Status.PAUSED, Status.BACKING_OFF):
            self.go_on(invocation)

    def go_on(self, invocation: Invocation) -> None:
        """Start the next attempt of a stopped invocation, or put it back among the pending invocations."""
        extras = invocation.more()
        extras.flags &= ~Flag.HELD
        extras.attempts, extras.failing_since_ms, extras.reason = 0, None, None
        self._timers.cancel_retry(invocation.seq)
        if _started(invocation):
            self._progress.start(invocation)
        else:
            invocation.status = Status.PENDING
        self._ledger.mark(invocation)


def ended_already(status: int) -> WrongStatus:
    return WrongStatus(f"The invocation has ended already: it {Status.NAMES[status]}.")


def not_ended() -> WrongStatus:
    return WrongStatus("The invocation has not ended. Cancel or kill it first.")


def calls_of(invocation: Invocation) -> dict[int, int]:
    """Index of the command: seq of the called invocation, for each call that has no answer."""
    journal = invocation.journal
    if journal is None:
        return {}
    return {
        index: seq
        for index, seq in journal.waits.items()
        if (command := journal.command(index)) is not None and command.kind == Kind.CALL
    }


def _started(invocation: Invocation) -> bool:
    """Whether the invocation holds its object or reads it: not in a queue, not scheduled."""
    mailbox = invocation.mailbox
    if mailbox is None or mailbox.state is None:
        return False
    if invocation.attempt is not None and not invocation.attempt.begun and invocation.journal is None:
        return False  # the first turn is yet to come
    return invocation.shared or mailbox.current is invocation
