"""What is shown of invocations and awakeables to those who ask for them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.errors import BadArguments, Failure, failure_of
from actors.storage import Flag, InvocationRow, Status

if TYPE_CHECKING:
    from actors.ids import IdMint


@dataclass(frozen=True, slots=True)
class InvocationInfo:
    """What is known of an invocation. `reason` is why it backs off or is paused, with the traceback; `failure` what it failed
    with: `code`, `message`, `error`, `metadata`.

    `held` says that a person paused it: it stays paused when the app starts again.
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

    @classmethod
    def of(cls, row: InvocationRow, ids: IdMint) -> InvocationInfo:
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
        )


@dataclass(frozen=True, slots=True)
class AwakeableInfo:
    """An awakeable nobody has completed."""

    id: str
    invocation_id: str
    service: str
    key: str
    handler: str
    since: datetime.datetime
    deadline: datetime.datetime | None


def statuses_of(status: str | Sequence[str] | None) -> list[int]:
    """The stored numbers of one or several names, "open" and "ended" among them; none for None. Raises BadArguments."""
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
            raise BadArguments(f"status={name!r} is no status. There are {', '.join(Status.NAMES)}, open and ended.")
    return sorted(found)


def moment(ms: int) -> datetime.datetime:
    """Milliseconds since the epoch as UTC."""
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
