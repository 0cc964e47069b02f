"""What changes, for a page that shows it: read from the file again and again, so that it costs nothing while no page is open.

Promise: what is read is durable. A value is the whole truth about its topic at one moment, so missing one does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from actors.app.listing import InvocationInfo, statuses_of
from actors.app.overview import facts
from actors.errors import BadArguments
from actors.storage.port import Records

if TYPE_CHECKING:
    from actors.app.situation import Situation
    from actors.engine.partition import Partition

MOST = 32  # topics
COUNTED = 1000  # newer invocations: what is more is shown as so many
_OF_ALL = ("overview", "trouble")  # topics about the whole app
_FILTERS = ("service", "key", "handler", "status", "after")

Read = Callable[[Records], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Topic:
    """`event` is the name of its events, `name` is the topic as it was given."""

    event: str
    name: str
    read: Read


class Watched:
    """The topics of one page, of one partition. Raises BadArguments for a topic that does not exist, and BadId.

    `overview` is what `GET /restate/admin/overview` says; `trouble` its part about what does not move; `invocation:ID` the facts of an
    invocation, with `journal_to`, its last position; `newer:QUERY` how many invocations that match a query, such as
    `service=Order&after=ID`, came after the invocation `after`.
    """

    def __init__(self, partition: Partition, situation: Situation, names: Sequence[str]) -> None:
        if not 0 < len(names) <= MOST:
            raise BadArguments(f"topics= requires from 1 to {MOST} topics, separated by commas.")
        self._partition = partition
        self._situation = situation
        self._topics = [self._topic(name) for name in dict.fromkeys(names)]
        self._seen: dict[str, Any] = {}

    async def changed(self) -> list[tuple[str, dict[str, Any]]]:
        """(event, value) of each topic that has changed since the last call.

        Raises StorageError or LookRefused, or the failure that has stopped the app.
        """
        if self._partition.stopped:
            self._partition.background.check_running()
        found: list[tuple[Topic, dict[str, Any], Any]] = []  # with what is compared
        of_file = [topic for topic in self._topics if topic.event not in _OF_ALL]
        if of_file:
            async with self._partition.store.look() as records:
                for topic in of_file:
                    value = await topic.read(records)
                    found.append((topic, value, value))
        of_all = [topic for topic in self._topics if topic.event in _OF_ALL]
        snapshot = await self._situation.snapshot() if of_all else None
        if snapshot is not None:
            for topic in of_all:
                if topic.event == "overview":
                    found.append((topic, snapshot.facts, snapshot.lasting))
                else:
                    trouble = snapshot.facts["trouble"]
                    found.append((topic, {"trouble": trouble}, trouble))
        changed = []
        for topic, value, compared in found:
            if topic.name not in self._seen or self._seen[topic.name] != compared:
                self._seen[topic.name] = compared
                changed.append((topic.event, {"topic": topic.name, **value}))
        return changed

    def _topic(self, name: str) -> Topic:
        event, _, of = name.partition(":")
        if event in _OF_ALL and not of:
            return Topic(event, name, _nothing)
        if event == "invocation":
            return Topic(event, name, self._invocation(self._partition.ids.read_invocation(of)))
        if event == "newer":
            return Topic(event, name, self._newer(of))
        raise BadArguments(
            f"{name[:60]!r} is not a valid topic. Topics are overview, trouble, invocation:ID and newer:QUERY."
        )

    def _invocation(self, seq: int) -> Read:
        ids = self._partition.ids

        async def read(records: Records) -> dict[str, Any]:
            row = await records.invocation(seq)
            if row is None:
                return {"id": ids.invocation(seq), "gone": True}
            shown = facts(InvocationInfo.of(row, ids))
            return {**shown, "journal_to": await records.journal_length(seq)}

        return read

    def _newer(self, query: str) -> Read:
        asked = dict(parse_qsl(query, keep_blank_values=True))
        if unknown := [name for name in asked if name not in _FILTERS]:
            raise BadArguments(f"{unknown[0][:40]!r} is not a filter of newer: use {', '.join(_FILTERS)}.")
        after = self._partition.ids.read_invocation(asked["after"]) if "after" in asked else 0
        statuses = statuses_of(asked["status"].split(",")) if asked.get("status") else []
        wanted = {name: asked[name] for name in ("service", "key", "handler") if name in asked}

        async def read(records: Records) -> dict[str, Any]:
            return {"count": await records.newer(after, statuses, COUNTED, **wanted)}

        return read


async def _nothing(records: Records) -> None:
    return None
