"""What clean-up may have forgotten of the invocations in a file.

Promise: what is said to be kept whole is whole, as far as limits and times tell. An operator may have purged.
"""

from __future__ import annotations

from actors.model.limits import Limits
from actors.storage.records import Extent
from actors.storage.sqlite.reads import SqliteReads


def never_forgot(extent: Extent | None, count: int, limits: Limits) -> bool:
    """Whether clean-up cannot have forgotten an ended invocation yet, as far as the records tell."""
    if limits.max_retained is not None and count >= limits.max_retained:
        return False
    kept = [ms for ms in (limits.retention_ms, limits.idempotency_retention_ms) if ms is not None]
    if not kept or extent is None:
        return not kept
    return extent.first == 1 and extent.last_ms - extent.first_ms < min(kept)


async def complete(reads: SqliteReads, limits: Limits) -> bool:
    """`never_forgot` of a file."""
    extent, most = await reads.extent(), limits.max_retained
    count = await reads.count() if extent is not None and most is not None and extent.last >= most else 0
    return never_forgot(extent, count, limits)


async def gap_before_ms(reads: SqliteReads, limits: Limits, now_ms: int) -> int:
    """Of the invocations that ended before then, some may be forgotten. See `KeptObject.oldest_ms`.

    Clean-up forgets in the order of ending, those with an idempotency key and all others each on their own.
    """
    oldest_ms, keyed_ms = await reads.oldest_ms(), limits.idempotency_retention_ms
    if keyed_ms is None or (limits.retention_ms is not None and limits.retention_ms <= keyed_ms):
        return oldest_ms
    since_ms = now_ms - keyed_ms
    kept = await reads.ended(1, True)
    return max(oldest_ms, min(since_ms, kept[0][1]) if kept else since_ms)
