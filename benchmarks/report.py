"""Results as JSON for programs and as tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks import machine
from benchmarks.options import Result

# (key, heading, format), in two tables because a single table would not fit into 80 columns
SPEED = (
    ("ops_per_s", "ops/s", "{:,.0f}"),
    ("floor_ops_per_s", "floor ops/s", "{:,.0f}"),
    ("ratio_to_floor", "ratio", "{:.2f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("p50_ratio_to_floor", "p50 ratio", "{:.2f}"),
)
HTTP = (
    ("keys", "keys", "{:,}"),
    ("calls_per_s", "calls/s", "{:,.0f}"),
    ("bare_calls_per_s", "bare's", "{:,.0f}"),
    ("share_of_bare", "share", "{:.2f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("p50_ratio_to_bare", "p50 ratio", "{:.2f}"),
    ("load_cpu_share", "load CPU", "{:.0%}"),
)
COST = (
    ("keys", "keys", "{:,}"),
    ("cpu_us_per_op", "CPU µs/op", "{:.1f}"),
    ("floor_cpu_us_per_op", "floor's", "{:.1f}"),
    ("rows_per_op", "rows/op", "{:.2f}"),
    ("bytes_per_op", "bytes/op", "{:.0f}"),
    ("fsyncs_per_s", "fsyncs/s", "{:,.0f}"),
)


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write one JSON object, or a list of objects for several scenarios."""
    found = results[0] if len(results) == 1 else list(results)
    path.write_text(json.dumps(found, indent=2) + "\n")


def tables(results: Sequence[Result]) -> Iterator[Table]:
    """Speed and cost of all results with a floor, then the other figures of each scenario."""
    compared = [result for result in results if "ratio_to_floor" in result]
    if compared:
        yield _comparison("Speed: medians of alternating rounds; ratios are to the floor", SPEED, compared)
        yield _comparison("Cost of each operation", COST, compared)
    served = [result for result in results if "share_of_bare" in result]
    if served:
        yield _comparison("Over HTTP, against a constant from the same server", HTTP, served)
    for result in results:
        rest = {key: value for key, value in result.items() if key not in _shown(result)}
        if rest:
            table = Table(title=result["scenario"], title_justify="left", show_header=False, box=box.SIMPLE)
            for key, value in rest.items():
                table.add_row(key.replace("_", " "), _text(value))
            yield table


def _comparison(title: str, columns: tuple[tuple[str, str, str], ...], results: Sequence[Result]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("scenario", style="bold", no_wrap=True)
    table.add_column("callers", justify="right")
    for key, heading, _ in columns:
        table.add_column(
            heading, justify="right", style="green" if key in ("ratio_to_floor", "share_of_bare") else None
        )
    for result in results:
        figures = (form.format(result[key]) for key, _, form in columns)
        table.add_row(result["scenario"], f"{result['callers']:,}", *figures)
    return table


def _shown(result: Result) -> set[str]:
    """Keys without a row of their own: they are in the tables above, or for programs only."""
    shown = {"scenario", *machine.facts()}
    if "ratio_to_floor" in result:
        shown |= {"callers", "ops", "rounds", "ratios_of_rounds", "cpu_ratio_to_floor"}
        shown |= {key for key, *_ in (*SPEED, *COST)} | {key for key in result if key.startswith("floor_")}
    if "share_of_bare" in result:
        shown |= {"callers", "ops", "rounds", "shares_of_rounds"} | {key for key, *_ in HTTP}
        shown |= {key for key in result if key.startswith("bare_")}
    return shown


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:,.4g}"
    if isinstance(value, list):
        return " - ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
