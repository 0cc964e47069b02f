"""What does not move, looked at again and again while the app runs, for `App(on_trouble=...)`.

Promise: a root cause is passed on once, however long it lasts. A look delays no call, and one that fails is made up for by the next.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from actors.doctor.facts import facts
from actors.doctor.trouble import LASTED_MS, Group, Trouble
from actors.engine.clock import Clock
from actors.journal.ids import IdMint
from actors.storage.errors import StorageError

log = logging.getLogger("actors")

EVERY_MS = 10_000
REMEMBERED = 10_000  # causes, if there are more than one look finds


class TroubleWatch:
    """Calls `on_trouble` with each cause that needs a person, as `GET /restate/admin/trouble` shows it.

    `look` finds what has lasted for so many milliseconds. An awakeable or a promise is trouble only if something waits behind it: to wait for a person is its purpose.
    """

    def __init__(
        self,
        look: Callable[[int], Awaitable[Trouble]],
        ids: Callable[[], IdMint],
        on_trouble: Callable[[Mapping[str, Any]], Any],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._look = look
        self._ids = ids
        self._on_trouble = on_trouble
        self._known: dict[tuple[int, str, int | None], None] = {}

    async def run(self) -> None:
        """Look every ten seconds, until cancelled."""
        while True:
            later = asyncio.get_running_loop().create_future()
            timer = self._clock.call_at(self._clock.due_ms(EVERY_MS), functools.partial(later.set_result, None))
            try:
                await later
            finally:
                timer.cancel()
            await self.look_once()

    async def look_once(self) -> None:
        """Pass on the causes that are new since the look before."""
        try:
            found = await self._look(LASTED_MS)
        except StorageError:  # the file is busy, or the app has stopped: that has its own log line
            return
        causes = facts(found, self._ids())["causes"]
        before = self._known
        now: dict[tuple[int, str, int | None], None] = {}
        for group, cause in zip(found.groups, causes, strict=True):
            if _is_trouble(group):
                known = (group.root.seq, group.cause.code, group.cause.since_ms)
                now[known] = None
                if known not in before:
                    await self._tell(cause)
        if found.cut:  # one that is known may not have been looked at
            now = dict(list({**before, **now}.items())[-REMEMBERED:])
        self._known = now

    async def _tell(self, cause: Mapping[str, Any]) -> None:
        try:
            hook = self._on_trouble(cause)
            if inspect.isawaitable(hook):
                await hook
        except Exception:
            log.exception("on_trouble raised; %s is not passed on again", cause["name"])


def _is_trouble(group: Group) -> bool:
    return group.cause.needs_a_person() and (
        group.cause.code not in ("awakeable", "promise") or group.behind > 0 or bool(group.keys)
    )
