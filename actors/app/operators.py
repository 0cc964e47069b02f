"""The requests of operators: invocations by id, lists, the state of objects, open awakeables.

Promise: every returned value is durable, and every operation is durable when it returns.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from actors.app.family import family
from actors.app.listing import AwakeableInfo, InvocationInfo, moment, statuses_of, steps_of
from actors.app.live import LivePartition
from actors.app.overview import overview
from actors.app.partitions import Partitions, done
from actors.app.situation import Situation
from actors.app.watched import Watched
from actors.attempt.invocation import Invocation
from actors.doctor.diagnosis import Diagnosis, Doctor
from actors.doctor.trouble import Examiner, Trouble
from actors.engine.operating.operations import Operations
from actors.engine.operating.restarts import checked_keep
from actors.engine.operating.state_access import StateInfo
from actors.errors import UnknownInvocation, UnknownService
from actors.journal.ids import IdMint
from actors.model.definitions import ServiceDefinition
from actors.storage.port import Records
from actors.storage.records import InvocationRow, Wanted

T = TypeVar("T")
F = TypeVar("F", Diagnosis, Trouble)
SEARCH_S = 0.25
LOOKS = 3  # a database in memory is read at several moments, so that what is looked at may have gone on meanwhile


class Found(NamedTuple):
    """A part of a search. `before` leads to the next part, None if all was looked through; `searched_to` is how far back it got."""

    invocations: list[InvocationInfo]
    before: str | None
    searched_to: datetime.datetime | None


class Operators:
    """The requests of operators to one app."""

    def __init__(self, partitions: Partitions) -> None:
        self.partitions = partitions
        self._situation: Situation | None = None  # of the partition that was asked last

    async def describe(self, id: str) -> InvocationInfo:
        """The record of an invocation: status, arguments, outcome, steps. Raises BadId or UnknownInvocation."""
        partition, seq = self.partitions.of_invocation(id)
        async with partition.committer.gated():
            await partition.committer.flushed()
            row = await partition.store.invocation(seq)
            if row is None:
                raise _unknown(id)
            info = InvocationInfo.of(row, partition.ids, await steps_of(partition, row))
            return info.with_contents(row, partition.ids)

    async def invocations(
        self,
        *,
        service: str | None = None,
        key: str | None = None,
        handler: str | None = None,
        status: str | Sequence[str] | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[InvocationInfo]:
        """Invocations that match, the newest first. `status` is one or several statuses of InvocationInfo, or "open".

        An empty `key` selects invocations of Services. `before` is the id of the last invocation of the previous page. Raises
        BadArguments for an unknown status.
        """
        partition = self.partitions.entered()
        statuses = statuses_of(status)
        last = 2**62 if before is None else partition.ids.read_invocation(before)
        async with partition.committer.gated():
            await partition.committer.flushed()
            async with partition.store.look() as records:
                rows = await records.listed(service, key, handler, statuses, last, limit)
            return [InvocationInfo.of(row, partition.ids) for row in rows]

    async def search(self, wanted: Wanted, before: str | None, limit: int) -> Found:
        """Invocations that are looked for among all, the newest first, until `limit` are found or a quarter of a second is over.

        `before` is `Found.before` of the previous part. Raises BadId.
        """
        partition = self.partitions.entered()
        down_to = 2**62 if before is None else partition.ids.read_invocation(before)
        until = partition.loop.time() + SEARCH_S
        found: list[InvocationRow] = []
        async with partition.committer.gated():
            await partition.committer.flushed()
            async with partition.store.look() as records:
                while True:
                    part = await records.searched(wanted, down_to, limit - len(found))
                    found += part.found
                    down_to = part.down_to
                    if not down_to or len(found) == limit or partition.loop.time() >= until:
                        break
        return Found(
            [InvocationInfo.of(row, partition.ids) for row in found],
            partition.ids.invocation(down_to) if down_to else None,
            moment(part.accepted_ms) if part.accepted_ms is not None else None,
        )

    async def family(self, id: str) -> dict[str, Any]:
        """The callers of an invocation, and the invocations that it has called: see `family`. Raises BadId or UnknownInvocation."""
        partition, seq = self.partitions.of_invocation(id)
        async with partition.committer.gated():
            await partition.committer.flushed()
            async with partition.store.look() as records:
                return await family(records, partition.ids, seq)

    async def overview(self, id: str, after: int, limit: int) -> dict[str, Any]:
        """An invocation with its facts and contents, and its journal after position `after`. Raises BadId or UnknownInvocation."""
        return await overview(self.partitions.running(), id, after, limit)

    async def operate(self, name: str, id: str) -> None:
        """cancel, kill, pause, resume or purge: see `App`. Raises BadId, UnknownInvocation or WrongStatus."""
        await self._operate(id, lambda operations, seq: getattr(operations, name)(seq))

    async def restart(self, id: str, keep: int = 0) -> str:
        """The id of the new invocation, once that is durable: see `App.restart`."""
        checked_keep(keep)
        invocation: Invocation = await self._operate(id, lambda operations, seq: operations.restart(seq, keep))
        return self.partitions.entered().ids.invocation(invocation.seq)

    async def _operate(self, id: str, operation: Callable[[Operations, int], Coroutine[Any, Any, T]]) -> T:
        self.partitions.running()
        partition, seq = self.partitions.of_invocation(id)
        async with partition.committer.gated(changes=True) as gate:
            # In its own task: a handler that calls this must not be stopped in the middle of its own step.
            result = await done(self.partitions.task(operation(partition.operations, seq)))
            if isinstance(result, Invocation):
                gate.id = partition.ids.invocation(result.seq)
            return result

    def stateful(self, service: str) -> ServiceDefinition:
        """The class of a service. Raises UnknownService."""
        definition = self.partitions.catalog.services.get(service)
        if definition is None:
            raise UnknownService(f"No service {service[:100]!r} in this app. Add the class to App(...).")
        return definition

    async def state(self, definition: ServiceDefinition, key: str) -> StateInfo:
        """The durable state of one object. Raises BadKey or WrongKind."""
        return await self.partitions.entered().state.read(definition, key)

    async def patch_state(
        self,
        definition: ServiceDefinition,
        key: str,
        changes: Mapping[str, str | None],
        if_tag: str | None,
        undeclared: bool,
    ) -> StateInfo:
        """`App.patch_state` with values as JSON texts. Raises the same errors."""
        patching = self.partitions.entered().state.patch(definition, key, changes, if_tag, undeclared)
        # In its own task: a claim on a workflow must not be given up in the middle.
        return await done(self.partitions.task(patching))

    async def awakeables(
        self,
        limit: int = 1000,
        *,
        service: str | None = None,
        key: str | None = None,
        handler: str | None = None,
        after: str | None = None,
    ) -> list[AwakeableInfo]:
        """The awakeables that wait for a completion, oldest first; of one service, key or handler only, if given.

        `after` is the id of the last awakeable of the previous page. Raises BadId.
        """
        partition = self.partitions.entered()
        behind = partition.ids.read_awakeable(after) if after is not None else (-1, -1)
        async with partition.committer.gated():
            await partition.committer.flushed()
            async with partition.store.look() as records:
                pending = await records.pending_awakeables(
                    limit, service=service, key=key, handler=handler, after=behind
                )
        return [
            AwakeableInfo(
                partition.ids.awakeable(seq, index),
                partition.ids.invocation(seq),
                service,
                key,
                handler,
                moment(since_ms),
                moment(deadline_ms) if deadline_ms is not None else None,
            )
            for seq, index, service, key, handler, since_ms, deadline_ms in pending
        ]

    # --- how the app is -------------------------------------------------------------------------------------------------------

    def why_stopped(self) -> BaseException | None:
        """The failure that has stopped the app, if one has."""
        partition = self.partitions.current
        return partition.failure if partition is not None else None

    def situation(self) -> Situation:
        """How the app is. Raises the failure that has stopped it."""
        partition = self.partitions.running()
        if self._situation is None or self._situation.partition is not partition:
            self._situation = Situation(partition, self.trouble)
        return self._situation

    def watched(self, topics: Sequence[str]) -> Watched:
        """What these topics are about. Raises BadArguments, BadId, or the failure that has stopped the app."""
        return Watched(self.partitions.running(), self.situation(), topics)

    # --- what does not move ---------------------------------------------------------------------------------------------------

    async def doctor(self, service: str, key: str) -> Diagnosis:
        """Why the messages of an object wait, as of the last commit. Raises LookRefused."""
        return await self._examined(lambda doctor, records: doctor.of_object(service, key))

    async def doctor_of(self, id: str) -> Diagnosis:
        """Why an invocation does not go on, as of the last commit: given by its id or by that of one of its awakeables.

        Raises BadId, UnknownInvocation or LookRefused.
        """
        if id.startswith("prom_1"):
            _, seq, _ = self.partitions.of_awakeable(id)
        else:
            _, seq = self.partitions.of_invocation(id)

        async def examine(doctor: Doctor, records: Records) -> Diagnosis:
            row = await records.invocation(seq)
            if row is None:
                raise _unknown(id)
            return await doctor.of_invocation(row)

        return await self._examined(examine)

    async def trouble(self, older_ms: int) -> Trouble:
        """What has not moved for `older_ms`, as of the last commit, by root cause. Raises LookRefused."""
        now_ms = self.partitions.entered().env.clock.now_ms()
        return await self._examined(lambda doctor, records: Examiner(records, doctor, now_ms, older_ms).trouble())

    def ids(self) -> IdMint:
        """The ids of the file."""
        return self.partitions.entered().ids

    async def _examined(self, examine: Callable[[Doctor, Records], Awaitable[F]]) -> F:
        # Neither flushed nor gated: a doctor is asked when the disk is full as well.
        partition = self.partitions.entered()
        live = LivePartition(partition)
        looks = 0
        while True:
            async with partition.store.look() as records:
                doctor = Doctor(records, partition.ids, partition.env.clock.now_ms(), not partition.stopped, live)
                found = await examine(doctor, records)
            looks += 1
            if not found.is_inconsistent() or looks == LOOKS:
                return found


def _unknown(id: str) -> UnknownInvocation:
    return UnknownInvocation(f"No invocation has the id {id}; it may have been removed since.")
