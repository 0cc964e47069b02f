"""How many keys do not move until a person acts: a gauge of one partition.

Promise: the doctor is asked about the whole file on demand only, and rarely enough to use at most 5 % of one core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from actors.doctor.causes import PERSON
from actors.doctor.trouble import LASTED_MS, Trouble
from actors.engine.operating.gauges import Gauge
from actors.engine.operating.seldom import Seldom


class StuckKeys:
    """`look` finds what has lasted for so many milliseconds. A reader waits at most `patience_s` for it."""

    def __init__(
        self, look: Callable[[int], Awaitable[Trouble]], loop: asyncio.AbstractEventLoop, patience_s: float = 0.5
    ) -> None:
        self._trouble = Seldom(lambda: look(LASTED_MS), loop, patience_s)

    async def gauge(self) -> Gauge | None:
        """By cause. None if the file could not be read yet, or cannot be read."""
        found = await self._trouble.current()
        if found is None:
            return None
        counted: dict[tuple[str, ...], float] = {(code,): 0 for code in PERSON}
        for group in found.groups:
            if group.cause.needs_a_person():
                counted[(group.cause.code,)] += 1 + group.alike + len(group.keys)
        what = "Keys that have not moved for a minute and will not until a person acts. Invocations without a key count too."
        return Gauge("actors_keys_stuck", what, ("cause",), counted)
