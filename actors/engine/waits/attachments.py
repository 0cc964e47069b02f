"""Waiting for the outcome of an invocation of another caller: `ctx.attach`, and calls under an idempotency key.

Each wait has its own row, because waiter and target may be out of memory, or this process gone, when the outcome is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.attempt.invocation import Invocation
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.ledger import Ledger
from actors.engine.memory.pins import Pins
from actors.engine.progress import Progress
from actors.engine.waits.deadlocks import Deadlocks
from actors.errors import UnknownInvocation
from actors.journal.entries import Kind
from actors.serde.failures import failure_text
from actors.storage.port import Store
from actors.storage.records import Flag, Status


class Attachments:
    """Completes commands with the outcomes of other invocations."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        background: Background,
        committer: Committer,
        pins: Pins,
        progress: Progress,
        deadlocks: Deadlocks,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._background = background
        self._committer = committer
        self._pins = pins
        self._progress = progress
        self._deadlocks = deadlocks

    def begin(self, caller: Invocation, index: int, target: int) -> None:
        """Attach a command to an invocation, unless an earlier attempt has done so."""
        if caller.work is not None and index in caller.work:
            return
        self._progress.add_work(caller, index, self._background.spawn(self._attach(caller, index, target)))

    async def _attach(self, caller: Invocation, index: int, target: int) -> None:
        await self.attach(caller, index, target, placed=False)

    async def attach(self, caller: Invocation, index: int, target: int, *, placed: bool) -> bool:
        """Complete the command with the target's outcome, now or later. With `placed` the target is recorded first.

        False, and nothing is done, if the command was `placed` and the target has been forgotten.
        """
        async with self._pins.holding(target) as invocation:
            if invocation is not None:
                # Without an await, so that everything is in one batch.
                if caller.ended or caller.journal is None or index in caller.journal.completed:
                    return True
                invocation.more().flags |= Flag.ATTACHED
                self._ledger.mark(invocation)
                self._ledger.attached(target, caller.seq, index)
                if placed:
                    self._progress.place(caller, index, target)
                self._progress.work_ended(caller, index)
                self._deadlocks.check_attached(caller, index, target)
                return True
        await self._committer.flushed()
        row = await self._store.invocation(target)
        if placed:
            if row is None:
                return False
            self._progress.place(caller, index, target)
        self._answer(caller, index, None if row is None else row.status, None if row is None else row.outcome)
        return True

    def ended(self, target: int, status: int, outcome: str | None) -> None:
        """The target has ended: pass its outcome on to all waiters."""
        self._background.run(self._pass_on(target, status, outcome))

    async def settle(self, targets: Iterable[int]) -> None:
        """After a restart: pass on outcomes that have not reached their waiters."""
        for target in targets:
            row = await self._store.invocation(target)
            await self._pass_on(target, None if row is None else row.status, None if row is None else row.outcome)

    async def _pass_on(self, target: int, status: int | None, outcome: str | None) -> None:
        await self._committer.flushed()
        for caller, index in await self._store.attached(target):
            async with self._pins.holding(caller) as invocation:
                if invocation is not None:
                    self._answer(invocation, index, status, outcome)
                self._ledger.detached(target, caller, index)

    def _answer(self, caller: Invocation, index: int, status: int | None, outcome: str | None) -> None:
        if status is None:
            gone = UnknownInvocation()
            self._progress.complete(caller, index, Kind.FAILED, failure_text(gone))
        else:
            kind = Kind.COMPLETED if status == Status.SUCCEEDED else Kind.FAILED
            self._progress.complete(caller, index, kind, outcome)
