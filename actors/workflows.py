"""The life of a workflow as a whole: what its key stands for, what is loaded with it, how it is forgotten and run again.

Promise: state and promises of a workflow are kept as long as its run is, and go in the batch in which that goes. A promise
that was completed before the workflow was run waits for the run as long as an ended run would be kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from actors.errors import UnknownInvocation, WrongStatus
from actors.model.message import run_claim
from actors.model.object_state import VERSION_NAME, ObjectState
from actors.promises import WorkflowState
from actors.storage import RUN, Status

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation, Mailbox
    from actors.model.definitions import HandlerDefinition
    from actors.partition import Partition
    from actors.storage import InvocationRow, ObjectRecord, PromiseRow
    from actors.storage.records import WorkflowFact

SLICE = 500  # promises looked at in one go


class Workflows:
    """All that needs the run of a key to stay what it is holds the key's claim meanwhile, and its object in memory."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    # --- loading ----------------------------------------------------------------------------------------------------------

    def loaded(self, mailbox: Mailbox, record: ObjectRecord) -> ObjectState:
        definition = self._partition.services.get(mailbox.service)
        if definition is not None and definition.kind == "workflow":
            return WorkflowState(definition, record)
        return ObjectState(definition, record.state)

    def _is_workflow(self, service: str) -> bool:
        definition = self._partition.services.get(service)
        return definition is not None and definition.kind == "workflow"

    # --- forgetting -------------------------------------------------------------------------------------------------------

    async def purge(self, seqs: Sequence[int], then: Callable[[], None] | None = None) -> int:
        """Forget ended invocations that were accepted under a key, and of those that are runs the workflow.

        How many: one that a restart has replaced is left alone, also if that was before this call. `then` is called in the
        batch, if there is any.
        """
        partition = self._partition
        found = await partition.store.keyed(seqs)
        runs = [(service, key) for _, service, key, is_run in found if is_run]
        async with partition.placements.alone(run_claim(*run) for run in runs):
            if runs:
                await partition.committer.flushed()
                found = await partition.store.keyed(seqs)
                runs = [(service, key) for _, service, key, is_run in found if is_run]
            seqs = [seq for seq, *_ in found]
            async with partition.loader.holding_objects(runs) as held:
                for mailbox in held:
                    self._forget(mailbox)
                partition.retention.purge(seqs, keyed=True)
                if then is not None and seqs:
                    then()
            if runs:
                await partition.committer.acknowledged()  # from now on the store finds no run
        return len(seqs)

    def _forget(self, mailbox: Mailbox) -> None:
        """The state and the promises go. Who waits for a promise goes on waiting: the next run may complete it.

        If the class is an object's by now, the state is its own.
        """
        partition, state = self._partition, mailbox.state
        assert state is not None
        batch, address = partition.committer.batch, (mailbox.service, mailbox.key)
        if isinstance(state, WorkflowState):
            state.completed.clear()
        self._record(mailbox, ("promises forgotten", address))
        if mailbox.service not in partition.services or self._is_workflow(mailbox.service):
            for name in (*state.stored, VERSION_NAME):
                batch.state.pop((*address, name), None)
            state.forget()
            self._record(mailbox, ("state forgotten", address))

    def _record(self, mailbox: Mailbox, *facts: WorkflowFact) -> None:
        """Until they are with the disk the object stays in memory: what would be loaded is older."""
        batch = self._partition.committer.batch
        batch.workflows += facts
        mailbox.written_in = batch.number
        self._partition.touch()

    async def expire(self, keep_ms: int) -> int | None:
        """Forget the promises of `keep_ms` ago that no run has claimed. When the next one is due, or None."""
        partition = self._partition
        while True:
            await partition.committer.flushed()
            latest = partition.clock.now_ms() - keep_ms
            found = await partition.store.unclaimed_promises(SLICE)
            due = [row for row, _ in found if row.completed_ms <= latest]
            if due:
                await self._expire(due)
            if len(due) < SLICE:
                return found[len(due)][0].completed_ms + keep_ms if len(due) < len(found) else None

    async def _expire(self, due: Sequence[PromiseRow]) -> None:
        partition = self._partition
        names: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in due:
            names[row.service, row.key].add(row.name)
        async with partition.placements.alone(run_claim(*address) for address in names):
            await partition.committer.flushed()
            # No more than there were, and in the same order, unless a run was purged meanwhile.
            again = await partition.store.unclaimed_promises(len(due))
            async with partition.loader.holding_objects(names) as held:
                states = {(mailbox.service, mailbox.key): (mailbox, mailbox.state) for mailbox in held}
                for row, has_run in again:
                    if row.name not in names.get((row.service, row.key), ()):
                        continue
                    mailbox, state = states[row.service, row.key]
                    fact = "claimed" if has_run else "expired"
                    self._record(mailbox, (fact, (row.service, row.key, row.name)))
                    if not has_run and isinstance(state, WorkflowState):
                        state.completed.pop(row.name, None)
            await partition.committer.flushed()

    # --- running again ----------------------------------------------------------------------------------------------------

    async def restart(
        self, seq: int, target: HandlerDefinition, row: InvocationRow, then: Callable[[Invocation], None] | None = None
    ) -> Invocation:
        """Run the workflow once more, with the arguments of one of its runs, from an empty state and without promises.

        `then` is called in the batch that accepts it.
        """
        partition = self._partition
        async with partition.placements.alone([run_claim(row.service, row.key)]):
            await partition.committer.flushed()
            if await partition.store.invocation(seq) is None:
                raise UnknownInvocation()
            current = await partition.store.find(row.service, row.key, target.name, RUN)
            if current is not None and current.status < Status.SUCCEEDED:
                raise WrongStatus(
                    f"The workflow {row.service}/{row.key} is already running "
                    f"({partition.ids.invocation(current.seq)}). Cancel or kill that invocation first."
                )
            async with partition.loader.holding_objects([(row.service, row.key)]) as (mailbox,):
                self._forget(mailbox)
                if current is not None:  # it is kept, as one of many
                    self._record(mailbox, ("replaced", (current.seq,)))
                    partition.retention.count += 1
                number = partition.next_number()
                invocation = partition.accept(
                    target, row.key, row.args, None, None, number, None, None, idempotency_key=RUN
                )
                extras = invocation.more()
                extras.headers, extras.restart_of = row.headers, row.restart_of or seq
                if then is not None:
                    then(invocation)
            await partition.durable(invocation)  # from now on the store finds this run
        return invocation
