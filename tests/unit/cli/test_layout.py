"""Tables of any width on a page of 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from actors.cli.show.layout import Page

ROW = ["1", "Order", "succeeded", "2026-11-30T08:46:16.110Z"]
TITLES = ["invocation", "service", "status", "accepted_at"]


def printed(titles: list[str], rows: list[list[str]], *, terminal: bool = True) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, color_system=None, highlight=False)
    Page(console).table(titles, rows)
    return out.getvalue().splitlines()


def test_a_table_that_fits_is_a_table() -> None:
    assert printed(TITLES, [ROW]) == [
        "invocation  service  status     accepted_at",
        "1           Order    succeeded  2026-11-30T08:46:16.110Z",
    ]


@pytest.mark.parametrize("columns", [5, 18, 100])
def test_rows_that_are_too_wide_become_lists_of_what_they_hold(columns: int) -> None:
    titles = [f"column{n}" for n in range(columns)]
    rows = [[str(row) * 20 if n % 3 else "" for n in range(columns)] for row in range(3)]
    lines = printed(titles, rows)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["column1", "0" * 20] and lines.count("") == 2
    assert not any(line.split()[0] in ("column0", "column3") for line in lines if line)
    assert sum("column1 " in line for line in lines) == 3


def test_one_long_text_at_the_end_is_wrapped_beside_the_others() -> None:
    lines = printed(["key", "value"], [["a", "word " * 40]])
    assert lines[0] == "key  value" and lines[1].startswith("a    word ") and max(map(len, lines)) <= 80


def test_in_a_pipe_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # as the processes of a parallel test run have it
    assert [line.split() for line in printed(["a", "b"], [["x" * 300, "y"]], terminal=False)] == [
        ["a", "b"],
        ["x" * 300, "y"],
    ]
