"""Which invocations a command is for: filters, the statuses in which each operation has an effect, and the question before an
operation on many of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from actors.app.listing import statuses_of
from actors.cli.show.layout import count
from actors.errors import BadArguments
from actors.storage.records import Status

# The statuses that an operation selects by default: those in which it has an effect.
SENSIBLE = {
    "cancel": ("open",),
    "kill": ("open",),
    "pause": ("pending", "running", "blocked", "backing-off"),
    "resume": ("paused", "backing-off"),
    "restart": ("ended",),
    "purge": ("ended",),
}
# The statuses in which an operation may have an effect: no others may be requested.
POSSIBLE = {**SENSIBLE, "pause": (*SENSIBLE["pause"], "paused")}
DONE = {"cancel": "cancellation requested", "pause": "paused", "resume": "resumed", "purge": "purged", "kill": "killed"}
DONE |= {"restart": "restarted as", "resolve": "resolved", "reject": "rejected"}
HELP = {
    "cancel": "Cancel invocations: first the invocations they call, then their own handlers, at the next await.",
    "kill": "End invocations, and the invocations they call, without running their code.",
    "pause": "Stop invocations at their current position until they are resumed.",
    "resume": "Start the next attempt of paused invocations now.",
    "restart": "Repeat ended invocations as new ones: from the input, or with part of the journal kept.",
    "purge": "Delete ended invocations and their journals.",
}


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--service, --key, --handler and --status, as service, key, handler and statuses."""
    for option in (
        click.option(
            "--status",
            "statuses",
            multiple=True,
            metavar="STATUS",
            help=f"{', '.join(Status.NAMES)}, open or ended; may be repeated.",
        ),
        click.option("--handler", metavar="NAME", help="Only of this handler."),
        click.option("--key", metavar="KEY", help="Only of this key."),
        click.option("--service", metavar="NAME", help="Only of this class."),
    ):
        command = option(command)
    return command


def confirm(name: str, services: Sequence[str], yes: bool) -> None:
    """Say how many invocations there are, given the class of each, and ask for confirmation. Raises click.Abort."""
    what = f"{count(len(services), 'invocation')} of {', '.join(sorted(set(services)))}"
    question = f"{name.capitalize()} {what}?"
    if yes:
        click.echo(f"{name.capitalize()}: {what}.", err=True)
        return
    try:
        sure = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        click.echo("\nNothing was done: confirmation requires a terminal. Add --yes.", err=True)
        sys.exit(1)
    if not sure:
        raise click.Abort


def numbers_of(statuses: tuple[str, ...]) -> list[int]:
    """Statuses by the words of `--status`. Raises click.BadParameter."""
    try:
        return statuses_of(statuses)
    except BadArguments as error:
        raise click.BadParameter(error.message.removeprefix("status="), param_hint="--status") from None


def selected(
    name: str,
    ids: tuple[str, ...],
    filters: tuple[str | None, ...],
    statuses: tuple[str, ...],
    sensible: Mapping[str, tuple[str, ...]] = SENSIBLE,
    possible: Mapping[str, tuple[str, ...]] = POSSIBLE,
) -> list[int]:
    """The statuses whose invocations an operation is for, empty if it is for ids. Raises click.UsageError."""
    filtered = any(filters) or bool(statuses)
    if bool(ids) == filtered:
        raise click.UsageError(f"Give {name} either ids, or filters: --service, --key, --handler, --status.")
    if not filtered:
        return []
    if not statuses:
        return statuses_of(sensible[name])
    effective = statuses_of(possible[name])
    numbers = [number for number in numbers_of(statuses) if number in effective]
    if not numbers:
        words = ", ".join(Status.NAMES[number] for number in effective)
        raise click.BadParameter(f"{name} has an effect only on invocations that are: {words}.", param_hint="--status")
    return numbers
