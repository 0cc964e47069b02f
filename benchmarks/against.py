"""Two checkouts of this project, measured against each other in alternating processes of one run."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.machine import facts
from benchmarks.options import GRIDS, Options, Result

HERE = Path(__file__).resolve().parent.parent


class NotComparable(Exception):
    """A checkout gave no comparable result. The message says which, and why."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure, over all pairs: the medians of both checkouts, and of the ratios `here / other` of each pair. A ratio to 0 is NaN."""

    name: str
    here: float
    other: float
    ratio: float
    lowest: float
    highest: float


def alternate(other: Path, arguments: Sequence[str], pairs: int, progress: Callable[[], None]) -> list[Compared]:
    """Run one scenario `pairs` times in each checkout. Raises NotComparable.

    The order alternates from pair to pair, so that a temporary slowdown of the machine affects both. Both run in this
    interpreter, with its installed packages.
    """
    if arguments[0] in GRIDS and not any(word.startswith(("--callers", "--keys")) for word in arguments):
        raise NotComparable("The scenario has several results. Give the --callers and --keys to compare.")
    if not (other / "benchmarks" / "__main__.py").is_file():
        raise NotComparable(f"{other} is not a checkout of this project: it has no benchmarks.")
    found: list[tuple[Result, Result]] = []
    for number in range(pairs):
        sides = (HERE, other) if number % 2 == 0 else (other, HERE)
        results = []
        for checkout in sides:
            results.append(measured(checkout, arguments))
            progress()
        here, there = results if number % 2 == 0 else reversed(results)
        found.append((here, there))
    return compared(found)


def measured(checkout: Path, arguments: Sequence[str]) -> Result:
    """The figures of one run in this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks", *arguments, "--json", str(path)]
        run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
        if run.returncode:
            raise NotComparable(f"{checkout} ended with {run.returncode}: {run.stderr.strip()[-500:]}")
        result: Result = json.loads(path.read_text())
    if "skipped" in result:
        raise NotComparable(f"{checkout} skipped the scenario: {result['skipped']}")
    return result


def compared(pairs: Sequence[tuple[Result, Result]]) -> list[Compared]:
    """The figures that both results have, in the order of the first result, without the options of the run."""
    left_out = {*facts(), *(option.name for option in fields(Options))}
    rows = []
    for name in pairs[0][0]:
        both: list[tuple[Any, Any]] = [(here.get(name), other.get(name)) for here, other in pairs]
        if name in left_out or not all(_is_figure(figure) for pair in both for figure in pair):
            continue
        ratios = [here / other if other else math.nan for here, other in both]
        here, there = (statistics.median(side) for side in zip(*both, strict=True))
        rows.append(Compared(name, here, there, statistics.median(ratios), min(ratios), max(ratios)))
    return rows


def table(rows: Sequence[Compared], title: str) -> Table:
    drawn = Table(title=title, box=box.SIMPLE, title_justify="left")
    drawn.add_column("", no_wrap=True)
    for heading in ("here", "other", "ratio", "of all pairs"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        drawn.add_row(
            row.name.replace("_", " "),
            f"{row.here:,.4g}" if row.here < 10_000 else f"{row.here:,.0f}",
            f"{row.other:,.4g}" if row.other < 10_000 else f"{row.other:,.0f}",
            f"{row.ratio:.3f}",
            f"{row.lowest:.2f}-{row.highest:.2f}",
        )
    return drawn


def _is_figure(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
