"""What does not move, looked at again and again while the app runs, for `App(on_trouble=...)`.

Promise: a root cause is passed on once, however long it lasts and however many invocations share it. A look delays no call, a look
that fails is followed by the next, and a function that takes long keeps nothing from being looked at.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from typing import Any

from actors.doctor.facts import facts
from actors.doctor.trouble import LASTED_MS, Group, Trouble, kind
from actors.engine.clock import Clock
from actors.journal.ids import IdMint
from actors.storage.errors import StorageError

log = logging.getLogger("actors")

EVERY_MS = 10_000
SHARE = 20  # the pause after a look is at least so many times as long as the look
REMEMBERED = 10_000  # causes, if there are more than one look finds


def _seconds_of_the_loop() -> float:
    """A wall clock may be set while a look goes on."""
    return asyncio.get_running_loop().time()


class TroubleWatch:
    """Calls `on_trouble` with each cause that needs a person, as `GET /restate/admin/trouble` shows it.

    `look` finds what has lasted for so many milliseconds; what two looks in a row have found is passed on. An awakeable or a
    promise is trouble only if something waits behind it: to wait for a person is its purpose. `spawn` runs what `on_trouble`
    returns, if that is a coroutine. `seconds` is the time by which looks are measured.
    """

    def __init__(
        self,
        look: Callable[[int], Awaitable[Trouble]],
        ids: Callable[[], IdMint],
        on_trouble: Callable[[Mapping[str, Any]], Any],
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        seconds: Callable[[], float] = _seconds_of_the_loop,
    ) -> None:
        self._look = look
        self._ids = ids
        self._on_trouble = on_trouble
        self._clock = clock
        self._spawn = spawn
        self._seconds = seconds
        self._fails = False  # since the look before, which has logged it
        self._found: set[Hashable] = set()  # by the look before
        self._passed_on: dict[Hashable, None] = {}

    async def run(self) -> None:
        """Look every ten seconds, or more seldom in a file that takes long to look through, until cancelled."""
        pauses = 1
        while True:
            for _ in range(pauses):
                await self._pause()
            began_s = self._seconds()
            try:
                await self.look_once()
            except Exception:
                log.exception("Looking for trouble failed, and is tried again")
            pauses = max(1, math.ceil(SHARE * (self._seconds() - began_s) * 1000 / EVERY_MS))

    async def _pause(self) -> None:
        """Ten seconds. A longer wait would end early: a clock may ring within a minute."""
        later = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.due_ms(EVERY_MS), functools.partial(later.set_result, None))
        try:
            await later
        finally:
            timer.cancel()

    async def look_once(self) -> None:
        """Pass on what this look and the look before have found."""
        try:
            found = await self._look(LASTED_MS)
        except StorageError as error:
            if not self._fails:
                log.warning("Looking for trouble failed, and is tried again: %s", error)
            self._fails = True
            return
        self._fails = False
        causes = facts(found, self._ids())["causes"]
        now: dict[Hashable, Mapping[str, Any]] = {
            kind(group) or (group.root.seq, group.cause.code, group.cause.since_ms): cause
            for group, cause in zip(found.groups, causes, strict=True)
            if _is_trouble(group)
        }
        before, self._found = self._found, set(now)
        left_out = [known for known in self._passed_on if known not in now] if found.cut else []
        known = dict.fromkeys(left_out[-REMEMBERED:])
        known.update(dict.fromkeys(cause for cause in now if cause in self._passed_on))
        self._passed_on = known
        for identity, cause in now.items():
            if identity in before and identity not in known:
                known[identity] = None
                self._tell(cause)

    def _tell(self, cause: Mapping[str, Any]) -> None:
        try:
            hook = self._on_trouble(cause)
            if inspect.isawaitable(hook):
                self._spawn(_awaited(hook, cause))
        except (Exception, asyncio.CancelledError):
            _raised(cause)


async def _awaited(hook: Awaitable[Any], cause: Mapping[str, Any]) -> None:
    try:
        await hook
    except Exception:
        _raised(cause)


def _raised(cause: Mapping[str, Any]) -> None:
    log.exception("on_trouble raised; %r is not passed on again", cause["name"])


def _is_trouble(group: Group) -> bool:
    return group.cause.needs_a_person() and (
        group.cause.code not in ("awakeable", "promise") or group.behind > 0 or bool(group.keys)
    )
