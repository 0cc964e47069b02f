"""The plot of a run: throughput next to the floor's, and the latencies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.options import Result

RUNTIME, FLOOR, TEXT = "#2563eb", "#cbd5e1", "#334155"
BAR = 0.38
STYLE: Any = {  # matplotlib's stubs require each name as a literal
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": "#94a3b8",
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def write_plot(results: Sequence[Result], path: Path) -> bool:
    """Write a PNG of the results that have a floor. False, and no file, if there are none."""
    compared = [result for result in results if "ratio_to_floor" in result]
    if not compared:
        return False
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 2.6 + 0.62 * len(compared)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        _throughput(left, compared)
        _latency(right, compared)
        figure.suptitle("Durable operations, each fsynced before it is answered", fontsize=14, fontweight="bold")
        figure.supxlabel(_footer(compared[0]), fontsize=8, color="#64748b")
        figure.savefig(path, dpi=150, facecolor="white")
    return True


def _throughput(axes: Axes, results: Sequence[Result]) -> None:
    places = range(len(results))
    own = [result["ops_per_s"] for result in results]
    floor = [result["floor_ops_per_s"] for result in results]
    axes.barh([place - BAR / 2 for place in places], own, BAR, color=RUNTIME, label="runtime")
    axes.barh([place + BAR / 2 for place in places], floor, BAR, color=FLOOR, label="floor: written by hand, same rows")
    margin = max(*own, *floor) * 0.01
    for place, result in zip(places, results, strict=True):
        text = f"{result['ops_per_s']:,.0f}/s  =  {result['ratio_to_floor']:.2f} of the floor"
        axes.text(
            result["ops_per_s"] + margin,
            place - BAR / 2,
            text,
            va="center",
            fontsize=9,
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )
    axes.set_yticks(list(places), [_label(result) for result in results])
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xlim(0, max(*own, *floor) * 1.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("operations per second (more is better)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e2e8f0")
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def _latency(axes: Axes, results: Sequence[Result]) -> None:
    for side, color, shift in (("", RUNTIME, -BAR / 2), ("floor_", "#94a3b8", BAR / 2)):
        places = [place + shift for place in range(len(results))]
        p50 = [result[f"{side}p50_ms"] for result in results]
        p99 = [result[f"{side}p99_ms"] for result in results]
        axes.hlines(places, p50, p99, color=color, linewidth=2)
        name = "floor" if side else "runtime"
        axes.plot(p50, places, "o", color=color, markersize=7, label=f"{name} p50")
        axes.plot(p99, places, "|", color=color, markersize=11, markeredgewidth=2.5, label=f"{name} p99")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("latency in ms, logarithmic (less is better)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", which="both", color="#e2e8f0")
    axes.set_axisbelow(True)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, columnspacing=0.7, handletextpad=0, fontsize=9
    )


def _label(result: Result) -> str:
    callers, keys = result["callers"], result["keys"]
    return f"{result['scenario']}\n{callers:,} caller{'s' * (callers > 1)}, {keys:,} key{'s' * (keys > 1)}"


def _footer(result: Result) -> str:
    loop = "uvloop" if result["uvloop"] else "asyncio's loop"
    return (
        f"{result['cpu_count']} cores of {result['cpu_model']}, {result['platform']}, Python {result['python']}, "
        f"SQLite {result['sqlite']}, {loop}, virtual-actors {result['virtual_actors']}; "
        f"medians of {result['rounds']} alternating rounds"
    )
