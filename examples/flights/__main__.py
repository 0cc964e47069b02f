"""`python -m examples.flights`: run the trace, compare the result, print the verdict."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from actors.cli.show.streams import set_up_streams
from examples.flights.flight import Flight, TraceMissing, read_flights
from examples.flights.run import Run, RunFailed
from examples.flights.verdict import Verdict, judge


def main() -> int:
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    try:
        with console.status("Reading the trace ...", spinner="line"):
            flights = read_flights(arguments.limit)
        with tempfile.TemporaryDirectory(prefix="flights-") as folder:
            return _run(console, flights, arguments.database or Path(folder) / "flights.db", arguments)
    except (TraceMissing, RunFailed) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted. With --database FILE the same command continues where it stopped.")
        return 130


def _run(console: Console, flights: list[Flight], database: Path, arguments: argparse.Namespace) -> int:
    run = Run(database, arguments.limit, len(flights))
    began = time.monotonic()
    with _progress_bar(console) as progress:
        bar = progress.add_task("Sending flights", total=len(flights))

        def on_progress(taken: int) -> None:
            progress.update(bar, completed=taken)

        def on_kill(pid: int, taken: int, durable: int) -> None:
            progress.console.print(
                f"Process {pid} was killed (SIGKILL) at flight {taken:,}, with {durable:,} on disk. Another process goes on."
            )

        if arguments.kill:
            run.with_kill(on_progress, on_kill)
        else:
            run.straight(on_progress)
    seconds = time.monotonic() - began
    with console.status("Computing the same figures directly, and comparing ...", spinner="line"):
        verdict = judge(database, flights)
    _print(console, verdict)
    messages = verdict.messages.total()
    console.print(
        f"{len(flights):,} flights, {messages:,} messages in {seconds:.1f} s, start-up included: "
        f"{messages / seconds:,.0f} messages/s. The database has {database.stat().st_size / 1e6:,.0f} MB."
    )
    return 1 if verdict.differences else 0


def _print(console: Console, verdict: Verdict) -> None:
    table = Table("class", *("objects", "fields compared", "fields that differ"), title="Final state")
    for column in table.columns[1:]:
        column.justify = "right"
    for service, objects in verdict.objects.items():
        wrong = sum(difference.where.startswith(f"{service}/") for difference in verdict.differences)
        table.add_row(
            service, f"{objects:,}", f"{verdict.fields[service]:,}", f"{wrong:,}", style="red" if wrong else ""
        )
    console.print(table)
    for difference in verdict.differences[:20]:
        console.print(f"  {difference}", style="red", markup=False)
    if verdict.differences:
        console.print(f"[bold red]DIFFERENT[/] from the direct computation in {len(verdict.differences):,} places.")
    else:
        console.print("[bold green]EQUAL[/] to the direct computation, and every message was delivered exactly once.")


def _progress_bar(console: Console) -> Progress:
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.flights", description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N flights (default: all 336,776)")
    parser.add_argument("--kill", action="store_true", help="kill the process with SIGKILL in the middle and go on")
    parser.add_argument(
        "--database", type=Path, metavar="FILE", help="keep the database, and continue with it next time"
    )
    return parser.parse_args()


if __name__ == "__main__":
    set_up_streams()
    sys.exit(main())
