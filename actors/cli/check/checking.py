"""`actors check`: drives the replaying process, and starts another process when a handler has blocked or killed it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import msgspec

from actors.check.checking import Report, timeouts_of
from actors.check.rehearsal import Misfit
from actors.cli.check.check_worker import NUMBER, Orders, Told, Watched
from actors.cli.show.streams import typed

LOOK_EVERY_S = 0.05
GRACE_S = 1.0  # beyond the time limit; the process itself reports a replay that only waits
LONGEST_LINE = 1 << 28  # bytes; a page of findings


class BadUsage(Exception):
    """There is nothing to check. The message says why."""


class CheckFailed(Exception):
    """The check itself failed, and says nothing about the checked code."""


class Checking:
    """One check. `progress` is called with the number of items done and the number of all items."""

    def __init__(
        self, target: str, db: str | None, timeout_s: float, most: int, progress: Callable[[int, int], None]
    ) -> None:
        self._target = target
        self._db = db
        self._timeout_s = timeout_s
        self._most = most
        self._progress = progress
        self._total = 0
        self._done = False
        self._report = Report()

    async def run(self) -> Report:
        """Raises BadUsage or CheckFailed."""
        with tempfile.TemporaryDirectory(prefix="actors-check-") as folder:
            marker = Path(folder) / "item"
            marker.write_bytes(NUMBER.pack(0))
            with contextlib.closing(Watched(marker)) as watched:
                orders = Orders(
                    typed(self._target), None if self._db is None else os.fsencode(self._db), folder, self._timeout_s
                )
                while not self._done:
                    watched.set(0)
                    dead = await self._process(orders, watched)
                    if dead is not None:
                        orders.dead.append(dead)
        return self._report

    async def _process(self, orders: Orders, watched: Watched) -> tuple[int, Misfit] | None:
        """Run one process until it is done, or until an item has ended it; returns that item and its problem."""
        command = (sys.executable, "-m", "actors.cli.check.check_worker")
        # A session of its own: Ctrl-C in the terminal goes to this process only, and its end ends the other process.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LONGEST_LINE, start_new_session=True
        )
        try:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(orders) + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            watching = asyncio.create_task(self._watch(process, watched))
            try:
                await self._listen(process, orders)
            finally:
                watching.cancel()
                (stuck,) = await asyncio.gather(watching, return_exceptions=True)
            if self._done:
                return None  # the process is killed below: a thread of the checked module may run for ever
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if isinstance(stuck, int) and watched.get() != stuck:
            return None  # the item ended at the last moment: repeat its page
        if isinstance(stuck, int):
            return stuck, Misfit(
                "timeout",
                f"It did not end within {self._timeout_s:g} s and blocked the event loop: an endless loop, or a "
                "blocking call. Run blocking or CPU-heavy work in ctx.run(...).",
            )
        item = watched.get()
        if item:
            return item, Misfit("crash", f"The process ended with code {code} while it ran.")
        raise CheckFailed(f"The checking process ended with code {code}.")

    async def _listen(self, process: Process, orders: Orders) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            message = msgspec.json.decode(line, type=Told)
            if message.usage is not None:
                raise BadUsage(message.usage)
            if message.total is not None:
                self._total = message.total
            if message.page is not None:
                page = message.page
                self._report.add(page, self._most)
                orders.after, orders.item = page.last, page.item
                timeouts = timeouts_of(page.findings)
                for service, handler, n in orders.timeouts:
                    timeouts[service, handler] += n
                orders.timeouts = [(service, handler, n) for (service, handler), n in timeouts.items()]
                counts = self._report.counts
                self._progress(counts.objects + counts.invocations, self._total)
            self._done = message.done
            if self._done:
                return

    async def _watch(self, process: Process, watched: Watched) -> int:
        """Kill the process when one item takes too long; returns the number of that item."""
        loop = asyncio.get_running_loop()
        seen, since = 0, loop.time()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            item = watched.get()
            if item != seen:
                seen, since = item, loop.time()
            elif item and loop.time() - since > self._timeout_s + GRACE_S:
                process.kill()
                return item
