"""The operations of a person on an invocation: cancel, kill, pause, resume, restart, purge.

Promise: each operation takes effect in one batch, with every affected invocation in memory; afterwards no ended invocation
holds a key, and no affected invocation waits for an ended invocation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from actors.attempt.invocation import Invocation
from actors.engine.cancellation import Cancellation, calls_of, ended_already
from actors.engine.env import Env
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.operating.restarts import Prefix
from actors.engine.operating.retention import Retention
from actors.engine.operating.runs import Runs
from actors.engine.progress import Progress
from actors.engine.timers import Timers
from actors.errors import CannotKeep, InvocationKilled, WrongKind, WrongStatus
from actors.model.catalog import Catalog
from actors.storage.port import Store
from actors.storage.records import RUN, Flag, Mode, Status

HELD = "Paused by an operator. It goes on when it is resumed."


class Restarting:
    """Begins an ended invocation again, as a new invocation."""

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        store: Store,
        ledger: Ledger,
        pins: Pins,
        intake: Intake,
        timers: Timers,
        cancellation: Cancellation,
        workflows: Runs,
    ) -> None:
        self._ids = env.ids
        self._catalog = catalog
        self._store = store
        self._ledger = ledger
        self._pins = pins
        self._intake = intake
        self._timers = timers
        self._cancellation = cancellation
        self._workflows = workflows

    async def restart(self, seq: int, keep: int = 0, then: Callable[[Invocation], None] | None = None) -> Invocation:
        """Accept the message of an ended invocation again, as a new invocation, with the old journal up to position `keep`.

        `then` is called in the batch that accepts it.
        """
        await self._cancellation.row(seq)
        journal = await self._store.journal(seq) if keep else []
        row = await self._cancellation.ended_row(seq)  # after the journal, so that it was not removed in between
        target = self._catalog.handler(row.service, row.handler, run=row.idempotency_key == RUN)
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
            return await self._workflows.restart(seq, target, row, then)
        key = row.shown_key
        kept = Prefix(row, journal, keep)
        async with contextlib.AsyncExitStack() as stack:
            if kept.goes_back():
                address = row.service, row.key
                (mailbox,) = await stack.enter_async_context(self._pins.holding_objects([address]))
                if mailbox.current is not None or mailbox.first is not None:
                    kept.check_busy()
                assert mailbox.state is not None
                kept.check_state(mailbox.state, target)
            self._intake.check_room(target, key, row.args)
            invocation = self._intake.accept(target, key, row.args, None, None, self._ledger.next_number(), None, None)
            extras = invocation.more()
            extras.headers, extras.restart_of = row.headers, row.restart_of or seq
            if keep:
                kept.copy(self._ledger, self._timers, self._ids, invocation)
            if then is not None:
                then(invocation)
            return invocation


class Operations:
    """Each raises UnknownInvocation, or WrongStatus if the invocation's status does not allow it."""

    def __init__(
        self,
        residents: Residents,
        ledger: Ledger,
        eviction: Eviction,
        progress: Progress,
        timers: Timers,
        cancellation: Cancellation,
        restarting: Restarting,
        workflows: Runs,
        retention: Retention,
    ) -> None:
        self._open = residents.open
        self._ledger = ledger
        self._eviction = eviction
        self._progress = progress
        self._timers = timers
        self._cancellation = cancellation
        self.cancel = cancellation.cancel
        self.restart = restarting.restart
        self._workflows = workflows
        self._retention = retention

    async def kill(self, seq: int) -> None:
        """End an invocation and the invocations it calls, without their code. Invocations it has sent to are spared."""
        async with self._cancellation.with_calls(seq) as invocation, self._progress.sent(self._tree(invocation)):
            if invocation.ended:
                raise ended_already(invocation.status)
            self._kill(invocation)

    async def pause(self, seq: int) -> None:
        """Stop an invocation where it is, until it is resumed. It keeps its key, or its place in the mailbox."""
        async with self._cancellation.opened(seq) as invocation:
            if invocation.status == Status.SCHEDULED:
                raise WrongStatus(
                    "The invocation is scheduled: it has not started. Cancel it, or pause it once it is due."
                )
            self._progress.close_attempt(invocation)
            self._progress.withdraw_steps(invocation)
            self._timers.cancel_retry(seq)
            extras = invocation.more()
            if invocation.status != Status.PAUSED:
                extras.reason = HELD
            extras.flags |= Flag.HELD
            invocation.status = Status.PAUSED
            self._ledger.mark(invocation)
            self._eviction.rests(invocation)

    async def resume(self, seq: int) -> None:
        """Start the next attempt now, of an invocation that is paused or backs off."""
        async with self._cancellation.opened(seq) as invocation:
            if invocation.status not in (Status.PAUSED, Status.BACKING_OFF):
                raise WrongStatus(
                    f"The invocation is {Status.NAMES[invocation.status]}. Only an invocation that is paused or "
                    "backing off can be resumed."
                )
            self._cancellation.go_on(invocation)

    async def purge(self, seq: int, then: Callable[[], None] | None = None) -> None:
        """Forget an ended invocation and its journal. `then` is called in the batch that removes it."""
        row = await self._cancellation.ended_row(seq)
        if row.idempotency_key == RUN:
            if await self._workflows.purge([seq], then):
                return
            row = await self._cancellation.ended_row(seq)  # restarted since: no longer the run of its key
        self._retention.purge([seq], row.idempotency_key is not None and not row.flags & Flag.TICK)
        if then is not None:
            then()

    def _tree(self, invocation: Invocation) -> list[Invocation]:
        """The invocation and all invocations that it calls, directly or indirectly."""
        tree = [invocation]
        for one in tree:
            called = (self._open.get(seq) for seq in calls_of(one).values())
            tree += [child for child in called if child is not None and child.parent == one.seq]
        return tree

    def _kill(self, invocation: Invocation) -> None:
        if invocation.ended:
            return
        for called in calls_of(invocation).values():
            child = self._open.get(called)
            if child is not None and child.parent == invocation.seq:
                self._kill(child)
        self._progress.end(invocation, InvocationKilled())
