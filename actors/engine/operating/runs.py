"""The life of a workflow as a whole: its run under the key, what is loaded with it, how it is forgotten and run again.

Promise: state and promises of a workflow are kept as long as its run, and removed in the same batch. A promise that was
completed before the workflow was run waits for the run as long as an ended run would be kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from actors.attempt.invocation import Invocation, Mailbox
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.pins import Pins
from actors.engine.operating.retention import Retention
from actors.engine.waits.idempotency import Placements
from actors.engine.waits.promises import WorkflowState
from actors.errors import UnknownInvocation, WrongStatus
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition
from actors.model.message import run_claim
from actors.model.object_state import VERSION_NAME
from actors.storage.port import Store
from actors.storage.records import RUN, InvocationRow, PromiseRow, Status

SLICE = 500  # promises examined at once


class Runs:
    """While a method here needs the run of a key to stay the same, it holds the claim of the key, and the object in memory."""

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        store: Store,
        ledger: Ledger,
        committer: Committer,
        pins: Pins,
        intake: Intake,
        placements: Placements,
        retention: Retention,
    ) -> None:
        self._env = env
        self._services = catalog.services
        self._store = store
        self._ledger = ledger
        self._committer = committer
        self._pins = pins
        self._intake = intake
        self._placements = placements
        self._retention = retention

    def _is_workflow(self, service: str) -> bool:
        definition = self._services.get(service)
        return definition is not None and definition.kind == "workflow"

    # --- forgetting -------------------------------------------------------------------------------------------------------

    async def purge(self, seqs: Sequence[int], then: Callable[[], None] | None = None) -> int:
        """Forget ended invocations that were accepted under a key; for a run, forget the workflow too. Returns how many.

        A run that a restart has replaced is left alone, even if that was before this call. `then` is called in the batch, if
        there is one.
        """
        found = await self._store.keyed(seqs)
        runs = [(service, key) for _, service, key, is_run in found if is_run]
        async with self._placements.alone(run_claim(*run) for run in runs):
            if runs:
                await self._committer.flushed()
                found = await self._store.keyed(seqs)
                runs = [(service, key) for _, service, key, is_run in found if is_run]
            seqs = [seq for seq, *_ in found]
            async with self._pins.holding_objects(runs) as held:
                for mailbox in held:
                    self._forget(mailbox)
                self._retention.purge(seqs, keyed=True)
                if then is not None and seqs:
                    then()
            if runs:
                await self._committer.acknowledged()  # from now on the store does not find the run
        return len(seqs)

    def _forget(self, mailbox: Mailbox) -> None:
        """Remove the state and the promises. Waiters of a promise stay: the next run may complete it.

        If the class is a VirtualObject by now, the state stays.
        """
        state = mailbox.state
        assert state is not None
        address = mailbox.service, mailbox.key
        if isinstance(state, WorkflowState):
            state.completed.clear()
        self._ledger.workflow(mailbox, ("promises forgotten", address))
        if mailbox.service not in self._services or self._is_workflow(mailbox.service):
            self._ledger.unwritten(mailbox, (*state.stored, VERSION_NAME))
            state.forget()
            self._ledger.workflow(mailbox, ("state forgotten", address))

    async def expire(self, keep_ms: int) -> int | None:
        """Forget the promises of `keep_ms` ago that no run has claimed. Returns when the next is due, or None."""
        while True:
            await self._committer.flushed()
            latest = self._env.clock.now_ms() - keep_ms
            found = await self._store.unclaimed_promises(SLICE)
            due = [row for row, _ in found if row.completed_ms <= latest]
            if due:
                await self._expire(due)
            if len(due) < SLICE:
                return found[len(due)][0].completed_ms + keep_ms if len(due) < len(found) else None

    async def _expire(self, due: Sequence[PromiseRow]) -> None:
        names: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in due:
            names[row.service, row.key].add(row.name)
        async with self._placements.alone(run_claim(*address) for address in names):
            await self._committer.flushed()
            # No more than before, and in the same order, unless a run was purged meanwhile.
            again = await self._store.unclaimed_promises(len(due))
            async with self._pins.holding_objects(names) as held:
                states = {(mailbox.service, mailbox.key): (mailbox, mailbox.state) for mailbox in held}
                for row, has_run in again:
                    if row.name not in names.get((row.service, row.key), ()):
                        continue
                    mailbox, state = states[row.service, row.key]
                    fact = "claimed" if has_run else "expired"
                    self._ledger.workflow(mailbox, (fact, (row.service, row.key, row.name)))
                    if not has_run and isinstance(state, WorkflowState):
                        state.completed.pop(row.name, None)
            await self._committer.flushed()

    # --- running again ----------------------------------------------------------------------------------------------------

    async def restart(
        self, seq: int, target: HandlerDefinition, row: InvocationRow, then: Callable[[Invocation], None] | None = None
    ) -> Invocation:
        """Run the workflow again, with the arguments of one of its runs, from an empty state and without promises.

        `then` is called in the batch that accepts the run.
        """
        async with self._placements.alone([run_claim(row.service, row.key)]):
            await self._committer.flushed()
            if await self._store.invocation(seq) is None:
                raise UnknownInvocation()
            current = await self._store.find(row.service, row.key, target.name, RUN)
            if current is not None and current.status < Status.SUCCEEDED:
                raise WrongStatus(
                    f"The workflow {row.service}/{row.key} is already running "
                    f"({self._env.ids.invocation(current.seq)}). Cancel or kill that invocation first."
                )
            async with self._pins.holding_objects([(row.service, row.key)]) as (mailbox,):
                self._forget(mailbox)
                if current is not None:  # the former run is kept, as an ordinary invocation
                    self._ledger.workflow(mailbox, ("replaced", (current.seq,)))
                    self._retention.count += 1
                number = self._ledger.next_number()
                invocation = self._intake.accept(
                    target, row.key, row.args, None, None, number, None, None, idempotency_key=RUN
                )
                extras = invocation.more()
                extras.headers, extras.restart_of = row.headers, row.restart_of or seq
                if then is not None:
                    then(invocation)
            await self._intake.durable(invocation)  # from now on the store finds this run
        return invocation
