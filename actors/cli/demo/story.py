"""The facts of a demo whose order is complete, and how they are shown."""

from __future__ import annotations

import datetime
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from actors.cli.demo.shop import OUTBOX, STARTS
from actors.cli.demo.worker import DATABASE
from actors.cli.show.timeline import read_journal, told

FIRST, SECOND = "cyan", "green"  # colours of the two processes


@dataclass(frozen=True)
class Story:
    """The pids of two processes, when one was killed and the other ready, and the folder with database and outbox."""

    folder: Path
    first: int
    second: int
    killed_at: datetime.datetime
    started_at: datetime.datetime

    def starts(self) -> list[int]:
        """The processes that executed the first line of the order's handler, in order."""
        return [int(line) for line in _lines(self.folder / STARTS)]

    def mailed(self, addressee: str) -> list[int]:
        """The processes that sent an e-mail to `addressee`, one entry for each e-mail."""
        mails = [line.split("\t") for line in _lines(self.folder / OUTBOX)]
        return [int(pid) for pid, to, _ in mails if to == addressee]

    def state(self, service: str, key: str, name: str) -> object:
        database = (self.folder / DATABASE).absolute().as_uri()
        with closing(sqlite3.connect(f"{database}?mode=ro", uri=True)) as connection:
            query = "SELECT value FROM state WHERE service = ? AND key = ? AND name = ?"
            found = connection.execute(query, (service, key, name)).fetchone()
        return json.loads(found[0]) if found else None


def mailed_id(folder: Path) -> str:
    """The awakeable's id as the reader of the last e-mail sees it: the last word."""
    return _lines(folder / OUTBOX)[-1].split()[-1]


def show_timeline(console: Console, story: Story) -> None:
    title(console, "What happened: the journal in the database")
    lines = read_journal(story.folder / DATABASE, without="caught_up")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("seconds", justify="right", min_width=7)
    table.add_column("process", min_width=7)
    table.add_column("object", min_width=12)
    table.add_column("entry", no_wrap=True, overflow="ellipsis")

    def seconds(moment: datetime.datetime) -> str:
        return f"{(moment - lines[0].at).total_seconds():.3f}"

    before = [line for line in lines if line.at <= story.killed_at]
    for line in before:
        table.add_row(
            seconds(line.at), f"[{FIRST}]{story.first}", line.target, Text(told(line, lines), overflow="ellipsis")
        )
    table.add_row(seconds(story.killed_at), f"[{FIRST}]{story.first}", "", "[bold red]kill -9")
    table.add_row(
        seconds(story.started_at),
        f"[{SECOND}]{story.second}",
        "",
        "[bold]starts",
    )
    for line in lines[len(before) :]:
        table.add_row(
            seconds(line.at), f"[{SECOND}]{story.second}", line.target, Text(told(line, lines), overflow="ellipsis")
        )
    console.print(Padding(table, (0, 0, 0, 3)))


def show_counts(console: Console, story: Story) -> None:
    title(console, "What ran how often")
    table = Table.grid(padding=(0, 3, 0, 0))
    for what, pids in (
        ("first line of checkout", story.starts()),
        ("e-mail to the boss", story.mailed("boss")),
        ("e-mail to the customer", story.mailed("ann")),
    ):
        where = " and ".join(f"[{FIRST if pid == story.first else SECOND}]{pid}[/]" for pid in pids)
        times = {1: "once", 2: "twice"}.get(len(pids), f"{len(pids)} times")
        table.add_row(what, f"[bold]{times}[/]", f"in process {where}")
    console.print(Padding(table, (0, 0, 0, 3)))


def title(console: Console, text: str) -> None:
    console.print()
    console.print(Rule(f"[bold]{text}", align="left", style="dim"))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
