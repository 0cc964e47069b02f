"""What a person, or another invocation, does to an invocation: cancel, kill, pause, resume, restart, purge.

Promise: each takes effect in one batch, with everything it concerns in memory; afterwards no ended invocation holds a
key, and none that it touched waits for one that has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from actors.attempt.invocation import StepWork
from actors.errors import (
    CannotKeep,
    InvocationCancelled,
    InvocationKilled,
    TerminalError,
    UnknownInvocation,
    WrongKind,
    WrongStatus,
    failure_text,
)
from actors.journal.entries import Kind
from actors.journal.journal import Journal
from actors.restarts import Prefix
from actors.storage import RUN, Flag, InvocationRow, Mode, Status

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation
    from actors.partition import Partition

HELD = "Paused by an operator. It goes on when it is resumed."


class Operations:
    """Each raises UnknownInvocation, or WrongStatus if the invocation's status does not allow it."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    async def cancel(self, seq: int) -> None:
        """Ask an invocation to end: those it calls first, then InvocationCancelled at its next await. Once."""
        async with self._with_calls(seq) as invocation:
            self._cancel(invocation)

    async def kill(self, seq: int) -> None:
        """End an invocation and those it calls, without their code. What they sent is spared."""
        async with self._with_calls(seq) as invocation, self._partition.sent(self._tree(invocation)):
            if invocation.ended:
                raise ended_already(invocation.status)
            self._kill(invocation)

    async def pause(self, seq: int) -> None:
        """Stop an invocation where it is, until it is resumed. It keeps its key, or its place in the mailbox."""
        async with self._opened(seq) as invocation:
            if invocation.status == Status.SCHEDULED:
                raise WrongStatus(
                    "The invocation is scheduled: it has not started. Cancel it, or pause it once it is due."
                )
            self._partition.close_attempt(invocation)
            self._partition.withdraw_steps(invocation)
            self._partition.alarms.cancel_retry(seq)
            extras = invocation.more()
            if invocation.status != Status.PAUSED:
                extras.reason = HELD
            extras.flags |= Flag.HELD
            invocation.status = Status.PAUSED
            self._partition.mark(invocation)
            self._partition.residence.rests(invocation)

    async def resume(self, seq: int) -> None:
        """Start the next attempt now: of one that is paused, or waits for its next attempt."""
        async with self._opened(seq) as invocation:
            if invocation.status not in (Status.PAUSED, Status.BACKING_OFF):
                raise WrongStatus(
                    f"The invocation is {Status.NAMES[invocation.status]}. Only an invocation that is paused or "
                    "backing off can be resumed."
                )
            self._go_on(invocation)

    async def restart(self, seq: int, keep: int = 0, then: Callable[[Invocation], None] | None = None) -> Invocation:
        """Accept the message of an ended invocation once more, as a new one, with its journal up to position `keep`.

        `then` is called in the batch that accepts it.
        """
        partition = self._partition
        await partition.committer.flushed()
        journal = await partition.store.journal(seq) if keep else []
        row = await self._ended(seq)  # after its journal: it has not been removed in between
        target = partition.handler(row.service, row.handler, run=row.idempotency_key == RUN)
        if (row.shared == Mode.KEYLESS) != (target.mode == Mode.KEYLESS):
            raise WrongKind(
                f"{row.service} {'was' if row.shared == Mode.KEYLESS else 'was not'} a Service when this was "
                "accepted. Send the message again."
            )
        target.decode(row.args)
        if target.once:
            if keep:
                raise CannotKeep(
                    f"keep={keep} cannot be done: the promises of a workflow are those of one run. Restart it from its input."
                )
            return await partition.workflows.restart(seq, target, row, then)
        key = row.shown_key
        kept = Prefix(row, journal, keep)
        async with contextlib.AsyncExitStack() as stack:
            if kept.goes_back():
                address = row.service, row.key
                (mailbox,) = await stack.enter_async_context(partition.loader.holding_objects([address]))
                if mailbox.current is not None or mailbox.first is not None:
                    kept.check_busy()
                assert mailbox.state is not None
                kept.check_state(mailbox.state, target)
            partition.check_room(target, key, row.args)
            invocation = partition.accept(target, key, row.args, None, None, partition.next_number(), None, None)
            extras = invocation.more()
            extras.headers, extras.restart_of = row.headers, row.restart_of or seq
            if keep:
                kept.copy(partition, invocation)
            if then is not None:
                then(invocation)
            return invocation

    async def purge(self, seq: int, then: Callable[[], None] | None = None) -> None:
        """Forget an ended invocation and its journal. `then` is called in the batch in which it goes."""
        row = await self._ended(seq)
        if row.idempotency_key == RUN:
            if await self._partition.workflows.purge([seq], then):
                return
            row = await self._ended(seq)  # it was restarted meanwhile: now it is one of many
        self._partition.retention.purge([seq], row.idempotency_key is not None and not row.flags & Flag.TICK)
        if then is not None:
            then()

    def begin_cancel(self, caller: Invocation, command: int, seq: int) -> None:
        """Cancel an invocation for a handler, whose own command is completed in the same batch."""
        partition = self._partition
        partition.add_work(caller, command, partition.spawn(self.cancel_for(caller, command, seq)))

    async def cancel_for(self, caller: Invocation, command: int, seq: int) -> None:
        """The same as `cancel` for a handler, whose command is completed in the same batch. An ended one is left alone."""
        partition = self._partition
        try:
            async with self._with_calls(seq) as invocation:
                self._cancel(invocation)
                partition.complete(caller, command, Kind.COMPLETED, None)
        except WrongStatus:  # it has ended
            partition.complete(caller, command, Kind.COMPLETED, None)
        except TerminalError as error:
            partition.complete(caller, command, Kind.FAILED, failure_text(error))
        except Exception as error:
            if not partition.stopped:
                partition.fail(error)

    def called(self, caller: Invocation, child: Invocation, told: bool) -> None:
        """A handler has made a call. If it asked for that before it was told of its cancellation, the call is cancelled too."""
        if not told and caller.has(Flag.CANCELLED):
            self._cancel(child)

    # --- finding them -----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _opened(self, seq: int) -> AsyncIterator[Invocation]:
        async with self._partition.loader.holding(seq) as invocation:
            if invocation is None:
                raise ended_already((await self._row(seq)).status)
            yield invocation

    async def _ended(self, seq: int) -> InvocationRow:
        row = await self._row(seq)
        if row.status < Status.SUCCEEDED:
            raise not_ended()
        return row

    async def _row(self, seq: int) -> InvocationRow:
        await self._partition.committer.flushed()
        row = await self._partition.store.invocation(seq)
        if row is None:
            raise UnknownInvocation()
        return row

    @contextlib.asynccontextmanager
    async def _with_calls(self, seq: int) -> AsyncIterator[Invocation]:
        """The invocation, in memory together with all that wait for it and everything it calls, all the way down."""
        partition = self._partition
        async with contextlib.AsyncExitStack() as stack:
            invocation = await stack.enter_async_context(self._opened(seq))
            asked: set[int] = set()
            while True:
                wanted, chain = set[int](), [invocation]
                if invocation.parent is not None and invocation.parent not in partition.open:
                    wanted.add(invocation.parent)
                while chain:
                    for called in calls_of(chain.pop()).values():
                        child = partition.open.get(called)
                        if child is None:
                            wanted.add(called)
                        else:
                            chain.append(child)
                if not wanted - asked:  # what was asked for, is held, and is not here, has ended
                    break
                asked |= wanted
                await stack.enter_async_context(partition.loader.holding_all(wanted))
            if invocation.ended:
                raise ended_already(invocation.status)
            yield invocation

    # --- what is done, without an await -----------------------------------------------------------------------------------

    def _cancel(self, invocation: Invocation) -> None:
        if invocation.ended or invocation.has(Flag.CANCELLED):
            return
        partition = self._partition
        invocation.more().flags |= Flag.CANCELLED
        partition.mark(invocation)
        if not _started(invocation):
            partition.end(invocation, InvocationCancelled())
            return
        for called in calls_of(invocation).values():
            child = partition.open.get(called)
            if child is not None and child.parent == invocation.seq:
                self._cancel(child)
        if invocation.journal is None:
            invocation.journal = Journal()
        if not invocation.ended and not self.calls_left(invocation):
            self.tell_cancelled(invocation)

    def calls_left(self, invocation: Invocation, answered: int | None = None) -> bool:
        """Whether a call it made is not over yet, apart from the one that is being answered."""
        for index, seq in calls_of(invocation).items():
            if index == answered:
                continue
            child = self._partition.open.get(seq)
            if child is not None:
                if child.parent == invocation.seq:
                    return True
            else:
                command = invocation.journal.command(index) if invocation.journal is not None else None
                if command is not None and command.ref is not None:
                    return True  # out of memory: had it ended, this call would have its answer
        return False

    def tell_cancelled(self, invocation: Invocation) -> None:
        """Put the cancellation among what the handler gets to know; a stopped one gets an attempt, so that it can."""
        journal = invocation.journal
        if journal is None or journal.cancelled:
            return
        partition = self._partition
        partition.tell(invocation, journal.append(Kind.CANCELLED, None, None, None, None, partition.now_ms()))
        for piece in list((invocation.work or {}).values()):
            if isinstance(piece, StepWork):
                piece.told_cancelled()
        if invocation.status in (Status.PAUSED, Status.BACKING_OFF):
            self._go_on(invocation)

    def _tree(self, invocation: Invocation) -> list[Invocation]:
        """It and those it calls, all the way down."""
        tree = [invocation]
        for one in tree:
            called = (self._partition.open.get(seq) for seq in calls_of(one).values())
            tree += [child for child in called if child is not None and child.parent == one.seq]
        return tree

    def _kill(self, invocation: Invocation) -> None:
        if invocation.ended:
            return
        for called in calls_of(invocation).values():
            child = self._partition.open.get(called)
            if child is not None and child.parent == invocation.seq:
                self._kill(child)
        self._partition.end(invocation, InvocationKilled())

    def _go_on(self, invocation: Invocation) -> None:
        extras = invocation.more()
        extras.flags &= ~Flag.HELD
        extras.attempts, extras.failing_since_ms, extras.reason = 0, None, None
        self._partition.alarms.cancel_retry(invocation.seq)
        if _started(invocation):
            self._partition.start(invocation)
        else:
            invocation.status = Status.PENDING
        self._partition.mark(invocation)


def ended_already(status: int) -> WrongStatus:
    return WrongStatus(f"The invocation has ended already: it {Status.NAMES[status]}.")


def not_ended() -> WrongStatus:
    return WrongStatus("The invocation has not ended. Cancel or kill it first.")


def calls_of(invocation: Invocation) -> dict[int, int]:
    """Index of the command: seq of the invocation, for each call it made that has no answer."""
    journal = invocation.journal
    if journal is None:
        return {}
    return {
        index: seq
        for index, seq in journal.waits.items()
        if (command := journal.command(index)) is not None and command.kind == Kind.CALL
    }


def _started(invocation: Invocation) -> bool:
    """Whether it is the one that holds its object, or a reader: not in a queue, not scheduled."""
    mailbox = invocation.mailbox
    if mailbox is None or mailbox.state is None:
        return False
    if invocation.attempt is not None and not invocation.attempt.begun and invocation.journal is None:
        return False  # its first turn is yet to come
    return invocation.shared or mailbox.current is invocation
