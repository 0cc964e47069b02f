"""The demo: a process is killed while an order waits, another process goes on, and everything happens once."""

from __future__ import annotations

import contextlib
import datetime
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.padding import Padding

from actors.cli.demo.child import Child, ChildFailed
from actors.cli.demo.story import FIRST, SECOND, Story, mailed_id, show_counts, show_timeline, title
from actors.cli.demo.throughput import CALLERS, KEYS, measure
from actors.cli.demo.worker import DATABASE

ORDER = "o-1001"
BOOKS = 3
BOOKS_LEFT = 10 - BOOKS
ANSWER = "approved by Ada"


class DemoFailed(Exception):
    """The demo found an unexpected result."""


def expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise DemoFailed(f"{what}: expected {expected!r}, found {found!r}.")


class Demo:
    """Plays once, in a folder of its own that is removed at the end unless `keep` names one."""

    def __init__(self, console: Console, seconds: float, keep: Path | None) -> None:
        self._console = console
        self._seconds = seconds
        self._keep = keep

    async def play(self) -> None:
        """Raises DemoFailed."""
        with self._folder() as folder:
            try:
                story = await self._story(folder)
            except ChildFailed as error:
                raise DemoFailed(f"{error}.") from error
            show_timeline(self._console, story)
            show_counts(self._console, story)
            check(story)
            self._detail("[bold green]Nothing was lost, and nothing happened twice.")
            await self._throughput(folder)
            if self._keep is not None:
                self._console.print(f"\nsqlite3 {folder / DATABASE} 'SELECT * FROM journal'", soft_wrap=True)

    async def _story(self, folder: Path) -> Story:
        title(self._console, "An order waits for an approval, and its process is killed")
        async with Child(folder) as first:
            self._act(1, f"[{FIRST}]Process {first.pid}[/] serves Order, Stock and Mailer from {DATABASE}.")
            invocation = await self._place(first)
            mailed = mailed_id(folder)
            self._act(2, f"[{FIRST}]Process {first.pid}[/] is killed with SIGKILL: it cannot save anything.")
            killed_at = datetime.datetime.now(datetime.UTC)
            code = await first.kill()
            if sys.platform != "win32":
                expect(code, -signal.SIGKILL, "exit code of the killed process")
        async with Child(folder) as second:
            started_at = datetime.datetime.now(datetime.UTC)
            self._act(3, f"[{SECOND}]Process {second.pid}[/] starts on the same file.")
            await self._complete(second, invocation, mailed)
            expect(await second.stop(), 0, "exit code of the second process")
        return Story(folder, first.pid, second.pid, killed_at, started_at)

    async def _place(self, first: Child) -> str:
        placed = await first.ask("place", order=ORDER, books=BOOKS)
        invocation: str = placed["invocation"]
        self._detail(f"Order {ORDER} e-mails the id of an awakeable to the boss, and waits for the answer.")
        blocked = await first.ask("wait until blocked", invocation=invocation)
        expect(blocked["status"], "blocked", "status of the order's invocation")
        self._detail("The database says: [bold]blocked[/], e-mail recorded.")
        return invocation

    async def _complete(self, second: Child, invocation: str, mailed: str) -> None:
        pending = await second.ask("list awakeables")
        expect(pending["ids"], [mailed], "awakeables that wait after the restart")
        self._detail("The order still waits, on disk: none of its code is in memory.")
        self._act(4, f"The boss answers the e-mail: [bold]resolve[/]({mailed[:10]}...{mailed[-4:]}, {ANSWER!r})")
        await second.ask("resolve", id=mailed, value=ANSWER)
        finished = await second.ask("wait for result", invocation=invocation)
        self._detail("The handler runs again, gets the recorded results, and goes on.")
        self._detail(f"Order {ORDER}: [bold]{finished['result']}[/]")
        expect(finished["result"], f"complete, {BOOKS_LEFT} books left", "result of the order")

    async def _throughput(self, folder: Path) -> None:
        title(self._console, "How fast")
        self._detail(f"{CALLERS} callers, {KEYS:,} counters; no answer before it is on disk (fsync).")
        found = await measure(folder / "counters.db", self._seconds, self._console)
        self._detail(
            f"[bold]{found.calls_per_second:,.0f} durable calls/s[/], p50 {found.p50_ms:.1f} ms, in one process"
        )

    def _act(self, number: int, text: str) -> None:
        self._console.print(f"[bold]{number}[/]  {text}")

    def _detail(self, text: str) -> None:
        self._console.print(Padding(text, (0, 0, 0, 3)))

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            yield self._keep
        else:
            with tempfile.TemporaryDirectory(prefix="actors-demo-") as folder:
                yield Path(folder)


def check(story: Story) -> None:
    """Raises DemoFailed unless everything happened exactly as often as it should."""
    expect(story.starts(), [story.first, story.second], "processes that executed the first line of checkout")
    expect(story.mailed("boss"), [story.first], "processes that mailed the boss")
    expect(story.mailed("ann"), [story.second], "processes that mailed the customer")
    expect(story.state("Order", ORDER, "status"), "complete", "status of the order")
    expect(story.state("Stock", "books", "items"), BOOKS_LEFT, "books in stock")
    expect(story.state("Mailer", "ann", "delivered"), 1, "messages the mailer delivered")
