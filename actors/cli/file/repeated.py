"""A look that is repeated until Ctrl-C.

Promise: a terminal always shows the newest look; anything else, such as a log, receives a look only if it tells something new.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click
from rich.console import Console

from actors.cli.show.layout import Page, safe
from actors.errors import ActorsError, with_code

EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """`show` prints it, and `code` is the exit code. The `news` of two looks are equal if only times differ."""

    news: object
    show: Callable[[], None]
    code: int


class Repeated:
    """Looks again and again, with `pause(seconds)` between. With `bare`, a look is printed without its time."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Look]],
        console: Console,
        now: Callable[[], datetime.datetime],
        *,
        bare: bool = False,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._look = look
        self._console = console
        self._page = Page(console)
        self._now = now
        self._bare = bare
        self._pause = pause
        self._news: object = None

    async def until_interrupted(self) -> int:
        """The exit code of the last look. Raises ActorsError if the first look fails. After a later failure, looking goes on."""
        last = await self._look()
        try:
            while True:
                self._show(last)
                await self._pause(EVERY_S)
                try:
                    last = await self._look()
                except ActorsError as error:
                    last = self._failed(error, last.code)
        except asyncio.CancelledError:  # Ctrl-C
            return last.code

    def _show(self, look: Look) -> None:
        is_first, is_new = self._news is None, look.news != self._news
        self._news = look.news
        if self._console.is_terminal and not self._bare:
            self._console.clear()
            self._page.line(f"{self._time()}, every {EVERY_S:g} s. Ctrl-C ends.", style="dim")
        elif not is_new:
            return
        elif not self._bare:
            if not is_first:
                self._page.line()
            self._page.line(self._time())
        look.show()

    def _time(self) -> str:
        return self._now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _failed(self, error: ActorsError, code: int) -> Look:
        said = f"Error: {with_code(error)}"
        if self._bare:
            return Look(said, lambda: click.echo(safe(said), err=True), code)
        return Look(said, lambda: self._page.text(safe(said)), code)
