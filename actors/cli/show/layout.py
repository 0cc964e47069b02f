"""Text in lines: wrapped between words on a terminal, not wrapped in a pipe, and never padded.

Promise: no word is cut, so ids and keys can be copied, and no stored text reaches the terminal as a control sequence.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

NARROWEST = 40  # characters; less would put each word on a line of its own


class Page:
    """Prints on a console. Text is wrapped at the width of a terminal, or at $COLUMNS if that is set."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.width: int | None = None
        if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
            self.width = max(NARROWEST, console.width)

    def line(self, *parts: tuple[str, str] | str, style: str = "") -> None:
        """One line of texts and of (text, style) pairs, never wrapped."""
        whole = Text.assemble(*parts, style=style)
        whole.rstrip()
        self._console.print(whole, soft_wrap=True)

    def text(self, text: str, indent: int = 0, style: str = "") -> None:
        """A text with each of its own lines wrapped."""
        for line in self._wrapped(text, indent):
            self.line(" " * indent + line, style=style)

    def facts(self, facts: Iterable[tuple[str, str, str]], indent: int = 2) -> None:
        """(name, value, style) one below the other, the values wrapped beside the names."""
        rows = list(facts)
        beside = max((len(name) for name, _, _ in rows), default=0) + 2
        for name, value, style in rows:
            label = name.ljust(beside)
            for line in self._wrapped(value, indent + beside):
                self.line(" " * indent, (label, "dim"), (line, style))
                label = " " * beside

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table, or a list of the fields of each row if the columns do not fit side by side."""
        widths = [max(len(title), *(len(row[n]) for row in rows)) for n, title in enumerate(titles)]
        beside = sum(widths[:-1]) + 2 * len(widths[:-1])
        if self.width is None or beside + min(widths[-1], NARROWEST) <= self.width:
            self.columns(titles, [[(text, "") for text in row] for row in rows])
            return
        for number, row in enumerate(rows):
            if number:
                self.line()
            self.facts([(title, text, "") for title, text in zip(titles, row, strict=True) if text], indent=0)

    def columns(
        self,
        titles: Sequence[str],
        rows: Sequence[Sequence[tuple[str, str]]],
        right: Sequence[str] = (),
        indent: int = 0,
    ) -> None:
        """A table of (text, style). The last column gets the remaining width; a text that does not fit starts on a new line."""
        widths = [max(len(title), *(len(row[n][0]) for row in rows)) for n, title in enumerate(titles[:-1])]

        def aligned(text: str, n: int) -> str:
            return (text.rjust(widths[n]) if titles[n] in right else text.ljust(widths[n])) + "  "

        head = "".join(aligned(title, n) for n, title in enumerate(titles[:-1])) + titles[-1]
        self.line(" " * indent + head, style="dim")
        beside = indent + sum(widths) + 2 * len(widths)
        for row in rows:
            cells = [(aligned(text, n), style) for n, (text, style) in enumerate(row[:-1])]
            text, style = row[-1]
            if self.width is None or beside + len(text) <= self.width:
                self.line(" " * indent, *cells, (text, style))
                continue
            if beside + NARROWEST <= self.width:
                lines = self._wrapped(text, beside)
                self.line(" " * indent, *cells, (lines[0], style))
                for line in lines[1:]:
                    self.line(" " * beside, (line, style))
            else:
                self.line(" " * indent, *cells)
                self.text(text, indent + 4, style)

    def _wrapped(self, text: str, indent: int) -> list[str]:
        lines: list[str] = []
        for line in text.split("\n"):
            if self.width is None or len(line) + indent <= self.width:
                lines.append(line)
            else:
                room = max(self.width - indent, NARROWEST // 2)
                margin = line[: len(line) - len(line.lstrip())]  # a traceback keeps its shape
                lines += textwrap.wrap(
                    line,
                    room,
                    subsequent_indent=margin,
                    break_long_words=False,
                    break_on_hyphens=False,
                    expand_tabs=False,
                ) or [""]
        return lines


def safe(text: str, *, lines: bool = False) -> str:
    """`text` with control characters escaped. Line breaks are kept with `lines` only."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape").decode() for c in text)


def count(number: int, what: str) -> str:
    """`1 object`, `1,000 objects`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
