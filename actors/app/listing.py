"""Invocations and awakeables as they are shown to operators."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from actors.errors import BadArguments
from actors.journal.tries import Tries
from actors.serde.failures import Failure, failure_of
from actors.storage.records import Flag, InvocationRow, Status

if TYPE_CHECKING:
    from actors.engine.partition import Partition
    from actors.journal.ids import IdMint


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A step without a result yet; `position` is the position of its journal entry.

    `status` is "running", "queued" (the step waits for a thread), "backing-off" (the step waits for its next try, by its own
    policy) or "stopped" (the invocation is paused, or backs off). Only a step with its own policy has `failed`, the number of
    failures across restarts, `failing_since`, and `error`, its last error with the traceback.
    """

    position: int
    name: str
    status: str
    failed: int = 0
    failing_since: datetime.datetime | None = None
    next_try_at: datetime.datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class InvocationInfo:
    """The record of an invocation. `reason` says why it backs off or is paused, with the traceback; `failure` holds the
    `code`, `message`, `error` and `metadata` that it failed with.

    `held` is True if a person paused it: it stays paused when the app starts again. Only `App.describe` fills in `steps` (steps
    without a result, and steps that still run although their invocation has ended), `arguments` and `result` (plain JSON
    values), `headers`, and `called_by` (the id of the invocation that waits for its result).
    """

    id: str
    service: str
    key: str
    handler: str
    status: str
    failed_attempts: int
    accepted_at: datetime.datetime
    ended_at: datetime.datetime | None
    reason: str | None
    idempotency_key: str | None = None
    restarted_from: str | None = None
    cancel_requested: bool = False
    held: bool = False
    failure: Failure | None = None
    steps: tuple[StepInfo, ...] = ()
    arguments: tuple[Any, ...] = ()
    result: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    called_by: str | None = None

    def with_contents(self, row: InvocationRow, ids: IdMint) -> InvocationInfo:
        """The same record with the contents of its message and its outcome."""
        return replace(
            self,
            arguments=tuple(msgspec.json.decode(row.args)),
            result=msgspec.json.decode(row.outcome or "null") if row.status == Status.SUCCEEDED else None,
            headers=msgspec.json.decode(row.headers) if row.headers else {},
            called_by=ids.invocation(row.parent) if row.parent is not None else None,
        )

    @classmethod
    def of(cls, row: InvocationRow, ids: IdMint, steps: tuple[StepInfo, ...] = ()) -> InvocationInfo:
        return cls(
            ids.invocation(row.seq),
            row.service,
            row.shown_key,
            row.handler,
            Status.NAMES[row.status],
            row.attempts,
            moment(row.accepted_ms),
            moment(row.ended_ms) if row.ended_ms is not None else None,
            row.reason,
            row.idempotency_key or None,
            ids.invocation(row.restart_of) if row.restart_of is not None else None,
            bool(row.flags & Flag.CANCELLED),
            bool(row.flags & Flag.HELD),
            failure_of(row.outcome or "") if row.status == Status.FAILED else None,
            steps,
        )


async def steps_of(partition: Partition, row: InvocationRow) -> tuple[StepInfo, ...]:
    """The steps of an invocation that have no answer; of an ended invocation, the steps that are still being executed."""
    executed = {step.index: step.status for step in partition.steps.executing if step.seq == row.seq}
    if row.status >= Status.SUCCEEDED and not executed:
        return ()
    found: list[StepInfo] = []
    for position, name, failed, details in await partition.store.open_steps(row.seq):
        tries = Tries.of(failed, details)
        status = executed.get(position)
        if status is None and row.status >= Status.SUCCEEDED:
            continue
        if status is None:
            status = "stopped" if row.status in _STOPPED or not tries.failed else "backing-off"
        found.append(
            StepInfo(
                position,
                name or "",
                status,
                tries.failed,
                moment(tries.since_ms) if tries.failed else None,
                moment(tries.next_ms) if status == "backing-off" and tries.next_ms is not None else None,
                tries.error or None,
            )
        )
    return tuple(found)


_STOPPED = (Status.PAUSED, Status.BACKING_OFF)


@dataclass(frozen=True, slots=True)
class AwakeableInfo:
    """An awakeable that is not completed."""

    id: str
    invocation_id: str
    service: str
    key: str
    handler: str
    since: datetime.datetime
    deadline: datetime.datetime | None


def statuses_of(status: str | Sequence[str] | None) -> list[int]:
    """The stored numbers of one or several status names, "open" and "ended" included; empty for None. Raises BadArguments."""
    if status is None:
        return []
    found: set[int] = set()
    for name in [status] if isinstance(status, str) else status:
        if name == "open":
            found.update(range(Status.SUCCEEDED))
        elif name == "ended":
            found.update((Status.SUCCEEDED, Status.FAILED))
        elif name in Status.NAMES:
            found.add(Status.NAMES.index(name))
        else:
            raise BadArguments(f"status={name!r} is not a valid status. Use {', '.join(Status.NAMES)}, open or ended.")
    return sorted(found)


def moment(ms: int) -> datetime.datetime:
    """Milliseconds since the epoch as UTC."""
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
