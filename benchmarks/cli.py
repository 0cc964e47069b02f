"""The commands of `python -m benchmarks`: one scenario by its name, or all scenarios without a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import against, machine, timers
from benchmarks.options import GRIDS, Options, Result, Scenario, Skipped
from benchmarks.report import tables, write_json
from benchmarks.scenarios import SCENARIOS

PLOT = Path("benchmark-throughput.png")

_HELP = {
    "callers": "Concurrent callers; each waits for its answer before its next call.",
    "keys": "How many objects are called.",
    "ops": "Operations in each round, for each side. Default: about a second's worth.",
    "rounds": "Rounds of each side; the figures are their medians.",
    "ever": "Keys used before the hot ones are measured.",
    "count": "How many objects, blocked invocations or timers.",
    "resume": "How many of the blocked invocations to resume.",
    "due": "How many of the timers are due within one second.",
    "seconds": "How long the load lasts.",
    "held": "For how many of these seconds a reader keeps its snapshot.",
    "megabytes": "Size of the log that the start finds.",
    "kind": "The kind of timers: invocations that sleep, or messages sent with a delay.",
}
_LEAST = {"rounds": 3}
_CHOICES = {"kind": timers.KINDS}

_json = click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to this file."
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@_json
@click.option("--plot", "plot_path", type=click.Path(dir_okay=False, path_type=Path), default=PLOT, show_default=True)
@click.pass_context
def main(context: click.Context, json_path: Path | None, plot_path: Path) -> None:
    """Measure the runtime against the floor. Without a command: a quick round of all scenarios, a table and a plot."""
    if context.invoked_subcommand is not None:
        if json_path is not None:
            raise click.UsageError("Give --json after the name of the scenario.")
        return
    console = Console()
    results = measure([(scenario, quick) for scenario in SCENARIOS.values() for quick in scenario.quick], console)
    show(results, json_path, console)
    try:
        from benchmarks.plot import write_plot
    except ImportError:
        console.print(
            "No plot: matplotlib is missing. Install it with: pip install 'virtual-actors[bench]'", markup=False
        )
        return
    if write_plot(results, plot_path):
        click.echo(f"Plot: {plot_path}")


@main.command("list")
def list_scenarios() -> None:
    """List the scenarios."""
    width = max(map(len, SCENARIOS))
    for name, scenario in SCENARIOS.items():
        click.echo(f"{name:<{width}}  {scenario.summary}")


@main.command("against", context_settings={"ignore_unknown_options": True})
@click.option("--pairs", type=click.IntRange(min=2), default=8, show_default=True, help="Runs in each checkout.")
@click.argument("other", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def compare(pairs: int, other: Path, scenario: str, options: Sequence[str]) -> None:
    """Measure this checkout against OTHER, one SCENARIO with its OPTIONS, in alternating processes.

    For example: python -m benchmarks against ../before counter --callers 1024 --rounds 3
    """
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(scenario, total=2 * pairs)
        try:
            rows = against.alternate(other, (scenario, *options), pairs, lambda: progress.advance(task))
        except against.NotComparable as error:
            raise click.ClickException(str(error)) from None
    console.print(against.table(rows, f"{scenario}: medians of {pairs} pairs"))


def measure(runs: Sequence[tuple[Scenario, Options]], console: Console) -> list[Result]:
    """Run the scenarios in turn, with a progress bar each. A scenario that cannot run says so and is left out."""
    results = []
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[done]}", markup=False), console=console) as progress:
        for scenario, options in runs:
            name = f"{scenario.name} {options.callers}" if "callers" in scenario.asks else scenario.name
            task = progress.add_task(name, total=scenario.steps(options), done="")
            try:
                results.append(scenario.run(options, _advance(progress, task)))
            except Skipped as reason:
                progress.remove_task(task)
                console.print(f"{scenario.name} is skipped: {reason}", markup=False, soft_wrap=True)
                results.append({"scenario": scenario.name, "skipped": str(reason), **machine.facts()})
    return results


def _advance(progress: Progress, task: Any) -> Callable[[str], None]:
    return lambda done: progress.update(task, advance=1, done=done)


def show(results: list[Result], json_path: Path | None, console: Console) -> None:
    for table in tables([result for result in results if "skipped" not in result]):
        console.print(table)
    if json_path is not None:
        write_json(results, json_path)


def _command(scenario: Scenario) -> click.Command:
    @_json
    def run(json_path: Path | None, **chosen: Any) -> None:
        console = Console()
        given = {name: value for name, value in chosen.items() if value is not None}
        # The whole grid, unless a combination is given.
        grid = scenario.quick if scenario.name in GRIDS and not {"callers", "keys"} & set(given) else (Options(),)
        show(measure([(scenario, replace(options, **given)) for options in grid], console), json_path, console)

    for name in reversed(scenario.asks):
        default = None if scenario.name in GRIDS else getattr(Options(), name)
        kind = click.Choice(_CHOICES[name]) if name in _CHOICES else click.IntRange(min=_LEAST.get(name, 1))
        run = click.option(f"--{name}", type=kind, default=default, show_default=default is not None, help=_HELP[name])(
            run
        )
    return click.command(scenario.name, help=scenario.summary + ".", short_help=scenario.summary)(run)


for _scenario in SCENARIOS.values():
    main.add_command(_command(_scenario))
