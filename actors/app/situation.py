"""How a whole app is: what does not move, how many invocations are open, how full its limits are, as JSON types.

Promise: what takes long to read is read on demand only, for a twentieth of the time at most, and its age is given. All pages that
watch share what was read, once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.app.listing import moment
from actors.doctor.facts import facts
from actors.doctor.trouble import LASTED_MS, Trouble
from actors.engine.operating.seldom import Seldom
from actors.storage.records import Status

if TYPE_CHECKING:
    from actors.engine.partition import Partition

BUSIEST = 10  # keys that are listed
PATIENCE_S = 0.5
EVERY_S = 1.0
_MOMENTARY = frozenset({"at", "trouble_at", "free"})  # when it was read, and what other programs change


class Snapshot(NamedTuple):
    """The facts at one moment; `lasting` is the same without what always changes."""

    facts: dict[str, Any]
    lasting: Any


class Situation:
    """Of one partition. `look` finds what has lasted for so many milliseconds.

    A reader waits at most half a second for each value that is read anew, and otherwise gets the value read before.
    """

    def __init__(self, partition: Partition, look: Callable[[int], Awaitable[Trouble]]) -> None:
        async def read() -> dict[str, Any]:
            return facts(await look(LASTED_MS), partition.ids)

        self.partition = partition
        self._trouble = Seldom(read, partition.loop, PATIENCE_S)
        self._busiest = Seldom(self._crowded, partition.loop, PATIENCE_S)
        self._snapshot = Seldom(self._for_pages, partition.loop, 2 * PATIENCE_S, good_for=lambda _: EVERY_S)

    async def snapshot(self) -> Snapshot | None:
        """All of it, at most a second old. None if it could not be read yet."""
        return await self._snapshot.current()

    async def _for_pages(self) -> Snapshot:
        found = await self.facts()
        return Snapshot(found, _lasting(found))

    async def facts(self) -> dict[str, Any]:
        """All of it, now. A value is None if it could not be read yet; `trouble` is what has not moved for a minute."""
        partition = self.partition
        trouble, busiest, figures = await asyncio.gather(
            self._trouble.current(), self._busiest.current(), partition.gauges.figures()
        )
        now_ms = partition.env.clock.now_ms()
        counts = None
        if figures is not None:
            awakeables = figures.value.awakeables.values()
            counts = {
                "at": moment(now_ms - int(figures.age_s * 1000)),
                "open": [
                    {"service": service, "status": Status.NAMES[status], "count": count}
                    for service, status, count, _ in figures.value.open
                ],
                "awakeables": sum(count for count, _ in awakeables),
                "oldest_awakeable": moment(min(since_ms for _, since_ms in awakeables)) if awakeables else None,
            }
        return {
            "at": moment(now_ms),
            "trouble": trouble,
            "trouble_at": moment(now_ms - int(self._trouble.age_s() * 1000)) if trouble is not None else None,
            "counts": counts,
            "busiest": busiest,
            "limits": self._limits(max(figures.value.deepest.values(), default=0) if figures is not None else None),
            "storage": None
            if figures is None
            else {
                "file": figures.value.file_bytes,
                "log": figures.value.log_bytes,
                "free": figures.value.free_bytes,
            },
        }

    async def _crowded(self) -> list[dict[str, Any]]:
        async with self.partition.store.look() as records:
            found = await records.crowded(BUSIEST)
        return [{"service": service, "key": key, "behind": count} for service, key, count in found]

    def _limits(self, deepest: int | None) -> list[dict[str, Any]]:
        partition = self.partition
        limits = partition.limits
        return [
            {"name": name, "used": used, "of": most}
            for name, used, most in (
                ("max_pending", deepest, limits.max_pending),
                ("max_in_flight", len(partition.residents.open), limits.max_in_flight),
                ("max_retained", partition.retention.count, limits.max_retained),
            )
        ]


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(part) for name, part in value.items() if name not in _MOMENTARY}
    return value
