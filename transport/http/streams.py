"""Server-sent events: what a page watches, for as long as it is open, up to half a minute at a time.

Promise: a client that reads slowly gets fewer events, not later ones; nothing waits for it in memory. A stream ends by itself, so
that no proxy, no deployment and no `--reload` waits for one; `end` ends all of them at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, TypeVar

from actors.errors import ActorsError
from actors.transport.http.replies import Header, Reply, encode_json, refusal

T = TypeVar("T")

MOST = 16  # streams of one app
LIFE_S = 25.0  # below the idle limit of any proxy
EVERY_S = 0.25
SHARE = 20  # the pause after a look is at least so many times as long as the look
COMMENT_EVERY_S = 10.0
HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
)


class Watched(Protocol):
    """What a stream is about."""

    async def changed(self) -> list[tuple[str, dict[str, Any]]]:
        """(event, value) of what has changed since the last call."""
        ...


class Stream:
    """An answer in pieces: `events` are their bodies."""

    def __init__(self, streams: Streams, watched: Watched) -> None:
        self.headers = HEADERS
        self._streams = streams
        self._watched = watched
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End it at once."""
        self._ending.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Until the stream is `LIFE_S` old, the streams end, or what is watched can no longer be read."""
        streams, loop = self._streams, asyncio.get_running_loop()
        ends = loop.time() + streams.life_s
        commented = loop.time()
        number, because = 0, "turn"
        yield b"retry: 1000\n\n"
        while True:
            if streams.ended or self._ending.is_set():
                because = "stopping"
                break
            began = loop.time()
            try:
                changed = await self._unless_ending(self._watched.changed())
            except ActorsError as error:  # the app has stopped, or too many look into the file
                yield _event("refused", {"error": error.error, "message": str(error)}, number)
                break
            if changed is None:
                continue
            for event, value in changed:
                number += 1
                yield _event(event, value, number)
            if changed:
                commented = loop.time()
            elif loop.time() >= commented + COMMENT_EVERY_S:
                commented = loop.time()
                yield b":\n\n"  # so that a client that is gone is noticed
            pause = min(max(streams.every_s, SHARE * (loop.time() - began)), ends - loop.time())
            if pause <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)
        yield _event("end", {"because": because}, number)

    async def _unless_ending(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result, or None if the stream is to end before."""
        task, ending = asyncio.ensure_future(work), asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait((task, ending), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, ending):
                each.cancel()
            await asyncio.gather(task, ending, return_exceptions=True)


class Streams:
    """The streams of one app: `MOST` at most."""

    def __init__(self, *, life_s: float = LIFE_S, every_s: float = EVERY_S) -> None:
        self.life_s = life_s
        self.every_s = every_s
        self.open: set[Stream] = set()
        self.ended = False

    def full(self) -> Reply | None:
        """The refusal of one more stream, if there are too many."""
        if len(self.open) < MOST:
            return None
        return refusal(
            503,
            "too_many_streams",
            f"{MOST} pages are watching already, the maximum. Close one, or ask without a stream.",
        )

    def end(self) -> None:
        """End all streams, and each that begins later at once: the server stops."""
        self.ended = True
        for stream in self.open:
            stream.end()


def _event(name: str, value: dict[str, Any], number: int) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), encode_json(value))
