"""Waiting for the outcome of an invocation one has not called: `ctx.attach`, and calls under an idempotency key.

Who waits for whom is a row of its own, because either may be out of memory, or this process gone, when the outcome is
there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from actors.errors import UnknownInvocation, failure_text
from actors.journal.entries import Kind
from actors.storage import Flag, Status

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation
    from actors.partition import Partition


class Attachments:
    """Completes commands with the outcomes of other invocations."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    def begin(self, caller: Invocation, index: int, target: int) -> None:
        """Attach a command to an invocation, unless an earlier attempt has begun to."""
        if caller.work is not None and index in caller.work:
            return
        self._partition.add_work(caller, index, self._partition.spawn(self._attach(caller, index, target)))

    async def _attach(self, caller: Invocation, index: int, target: int) -> None:
        try:
            await self.attach(caller, index, target, placed=False)
        except Exception as error:
            if not self._partition.stopped:
                self._partition.fail(error)

    async def attach(self, caller: Invocation, index: int, target: int, *, placed: bool) -> bool:
        """Complete the command with the target's outcome, now or later. With `placed` that is recorded first.

        False, and nothing is done, if it was `placed` and is forgotten by now.
        """
        partition = self._partition
        async with partition.loader.holding(target) as invocation:
            if invocation is not None:
                # Without an await: all of it is in one batch.
                if caller.ended or caller.journal is None or index in caller.journal.completed:
                    return True
                invocation.more().flags |= Flag.ATTACHED
                partition.mark(invocation)
                partition.committer.batch.attached.append((target, caller.seq, index))
                if placed:
                    partition.place(caller, index, target)
                partition.work_ended(caller, index)
                partition.deadlocks.check_attached(caller, index, target)
                return True
        await partition.committer.flushed()
        row = await partition.store.invocation(target)
        if placed:
            if row is None:
                return False
            partition.place(caller, index, target)
        self._answer(caller, index, None if row is None else row.status, None if row is None else row.outcome)
        return True

    def ended(self, target: int, status: int, outcome: str | None) -> None:
        """The target's outcome is there."""
        self._partition.loader.background(self._pass_on(target, status, outcome))

    async def settle(self, targets: Iterable[int]) -> None:
        """After a restart: pass on what had ended, but not arrived."""
        for target in targets:
            row = await self._partition.store.invocation(target)
            await self._pass_on(target, None if row is None else row.status, None if row is None else row.outcome)

    async def _pass_on(self, target: int, status: int | None, outcome: str | None) -> None:
        partition = self._partition
        try:
            await partition.committer.flushed()
            for caller, index in await partition.store.attached(target):
                async with partition.loader.holding(caller) as invocation:
                    if invocation is not None:
                        self._answer(invocation, index, status, outcome)
                    partition.committer.batch.detached.append((target, caller, index))
                    partition.touch()
        except Exception as error:
            if not partition.stopped:
                partition.fail(error)

    def _answer(self, caller: Invocation, index: int, status: int | None, outcome: str | None) -> None:
        if status is None:
            gone = UnknownInvocation()
            self._partition.complete(caller, index, Kind.FAILED, failure_text(gone))
        else:
            kind = Kind.COMPLETED if status == Status.SUCCEEDED else Kind.FAILED
            self._partition.complete(caller, index, kind, outcome)
