"""`actors demo`: a process is killed, and the next process goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from actors import run
from actors.cli.demo.demo import Demo, DemoFailed
from actors.cli.interrupts import end_on_sigterm


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="Length of the throughput run."
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the databases in this new folder, to inspect them afterwards.",
)
def demo(seconds: float, keep: Path | None) -> None:
    """Kill a process that waits, start another, and watch the order complete."""
    console = Console(highlight=False)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.UsageError(f"{keep} is not empty. The demo requires a new folder.")
    end_on_sigterm()
    try:
        run(Demo(console, seconds, keep).play())
    except DemoFailed as error:
        console.print(f"\nThe demo failed: {error}", style="bold red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
