"""A value that takes long to read, such as figures about a whole file.

Promise: it is read on demand only, never twice at a time, and for a twentieth of the time at most. A reader waits at most
`patience_s` for it, and otherwise receives the value read before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from actors.errors import ActorsError

T = TypeVar("T")

_LONG_S = 30.0


def rarely(took_s: float) -> float:
    """Seconds for which a value stays good that took so long to read: a hundred times as long, above half a minute twenty times."""
    return max(20 * took_s, min(100 * took_s, _LONG_S))


class Seldom(Generic[T]):
    """The value that `read` returns; None before it was read once, and after a read that raised ActorsError.

    `good_for` gives the seconds for which a value stays good, from those that its reading took.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        loop: asyncio.AbstractEventLoop,
        patience_s: float,
        *,
        good_for: Callable[[float], float] = rarely,
    ) -> None:
        self._read_value = read
        self._loop = loop
        self._patience_s = patience_s
        self._good_for = good_for
        self._value: T | None = None
        self._read_at = self._good_until = 0.0  # in time of the loop
        self._reading: asyncio.Task[None] | None = None

    async def current(self) -> T | None:
        """The value as it is known by now."""
        if self._reading is None and self._loop.time() >= self._good_until:
            self._reading = self._loop.create_task(self._read())
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=self._patience_s)
        return self._value

    def age_s(self) -> float:
        """How old the value is, in seconds."""
        return self._loop.time() - self._read_at

    async def _read(self) -> None:
        began = self._loop.time()
        try:
            self._value = await self._read_value()
        except ActorsError:  # the app is stopping, or has stopped
            self._value = None
        finally:
            self._reading = None
            self._read_at = self._loop.time()
            self._good_until = self._read_at + self._good_for(self._read_at - began)
