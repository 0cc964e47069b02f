"""Everything in a file that does not move, by root cause: a key that waits for another key counts under that key.

Promise: bounded, whatever the file holds: what has stopped, the keys with the most messages behind them, and the oldest
awakeables are looked at, each up to a limit; `Trouble.cut` says where a limit was met.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.doctor.causes import Cause
from actors.doctor.diagnosis import Diagnosis, Doctor, Records
from actors.model.names import address
from actors.storage.records import InvocationRow, Mode, Status

LASTED_MS = 60_000  # what lasts less long may be over before a person has read of it
KEYS = 200  # with the most messages behind them
STOPPED = 1000  # paused, and backing off
AWAKEABLES = 200  # the oldest


Kind = tuple[str, str, str, str]  # service, handler, code, error


class File(Records, Protocol):
    """What is read of a file besides single invocations."""

    async def crowded(self, limit: int) -> list[tuple[str, str, int]]: ...
    async def stopped(self, status: int, limit: int) -> list[InvocationRow]: ...
    async def pending_awakeables(self, limit: int) -> list[tuple[Any, ...]]: ...


@dataclass(slots=True)
class Group:
    """One root cause. `root` is the invocation that has it; `alike` counts further invocations of its handler with the same error.

    `behind` invocations wait in the mailboxes of the keys that this cause holds, `keys` of them besides that of `root`.
    """

    root: InvocationRow
    cause: Cause
    alike: int = 0
    behind: int = 0
    keys: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What does not move for at least as long as was asked, the causes with the most messages behind them first."""

    groups: tuple[Group, ...]
    cut: bool

    def is_inconsistent(self) -> bool:
        """Whether one of the causes is what should not be."""
        return any(group.cause.code == "inconsistent" for group in self.groups)

    def headline(self) -> str:
        """One sentence."""
        persons = [group for group in self.groups if group.cause.needs_a_person()]
        others = len(self.groups) - len(persons)
        if not self.groups:
            return "All keys move."
        said = f"{_count(len(persons), 'cause')} {'needs' if len(persons) == 1 else 'need'} a person" if persons else ""
        if others:
            goes = "goes on by itself" if others == 1 else "go on by themselves"
            said += f"{', ' if said else ''}{_count(others, 'cause')} {goes}"
        behind = sum(group.behind for group in self.groups)
        return f"{said}; {_count(behind, 'message')} {'waits' if behind == 1 else 'wait'} behind {'it' if len(self.groups) == 1 else 'them'}."


class Examiner:
    """Looks through a file at the time `now_ms`, for what has lasted for `older_ms`."""

    def __init__(self, file: File, doctor: Doctor, now_ms: int, older_ms: int) -> None:
        self._file = file
        self._doctor = doctor
        self._since_ms = now_ms - older_ms
        self._groups: dict[int, Group] = {}
        self._seen: set[tuple[str, str]] = set()

    async def trouble(self) -> Trouble:
        """All groups."""
        crowded = await self._file.crowded(KEYS + 1)
        paused = await self._file.stopped(Status.PAUSED, STOPPED + 1)
        failing = await self._file.stopped(Status.BACKING_OFF, STOPPED + 1)
        awakeables = await self._file.pending_awakeables(AWAKEABLES + 1)
        for service, key, _ in crowded[:KEYS]:
            await self._object(service, key)
        for row in (*paused[:STOPPED], *failing[:STOPPED]):
            await self._invocation(row)
        waiting = await self._file.invocations(list(dict.fromkeys(seq for seq, *_ in awakeables[:AWAKEABLES])))
        for row in waiting.values():
            await self._invocation(row)
        cut = (
            len(crowded) > KEYS or max(len(paused), len(failing)) > STOPPED or len(awakeables) > AWAKEABLES
        )  # of each, one more than is looked at was asked for
        groups = sorted(
            self._alike(self._groups.values()),
            key=lambda group: (
                not group.cause.needs_a_person(),
                -group.behind,
                group.cause.since_ms or 0,
                group.root.seq,
            ),
        )
        return Trouble(tuple(groups), cut)

    async def _object(self, service: str, key: str) -> None:
        if (service, key) not in self._seen:
            self._seen.add((service, key))
            self._take(await self._doctor.of_object(service, key), address(service, key))

    async def _invocation(self, row: InvocationRow) -> None:
        if row.shared == Mode.EXCLUSIVE:
            await self._object(row.service, row.key)
        elif row.status < Status.SUCCEEDED:
            self._take(await self._doctor.of_invocation(row), None)

    def _take(self, found: Diagnosis, key: str | None) -> None:
        root, cause = found.root, found.cause
        if root is None or (cause.since_ms or 0) > self._since_ms:
            return
        group = self._groups.setdefault(root.seq, Group(root, cause))
        group.behind += found.behind
        if key is not None and key != address(root.service, root.key):
            group.keys.add(key)

    @staticmethod
    def _alike(groups: Iterable[Group]) -> Iterable[Group]:
        """Invocations of one handler that fail with the same error are one group, and all that wait for an app."""
        found: dict[Kind, Group] = {}
        for group in groups:
            shared = kind(group)
            if shared is None:
                yield group
                continue
            first = found.setdefault(shared, group)
            if first is not group:
                first.alike += 1
                first.behind += group.behind
                first.keys |= group.keys
        yield from found.values()


def kind(group: Group) -> Kind | None:
    """What the groups have in common that are one root cause; None for a group that is a cause by itself."""
    root, cause = group.root, group.cause
    if cause.code == "app_stopped":
        return "", "", cause.code, ""
    if cause.code in ("backing_off", "retries_used_up", "step_failing"):
        return root.service, root.handler, cause.code, cause.detail
    return None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
