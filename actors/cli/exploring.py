"""`actors explore module:app`: random requests to the classes of an app, without a test."""

from __future__ import annotations

import sys
from shlex import join

import click

from actors.cli.interrupts import end_on_sigterm
from actors.cli.target import BadTarget, load_app
from actors.errors import ActorsError
from actors.testing.choices import Choices
from actors.testing.exploring import Exploration, exploration
from actors.testing.failures import NotReproducible, WorldFailed
from actors.testing.runs import Body, Run
from actors.testing.simulation import RUNS


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option("--runs", type=click.IntRange(1), default=RUNS, show_default=True, help="How many runs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of the first run.")
@click.option("--choices", metavar="CHOICES", help="Do one run, with these choices of a failed run.")
@click.option("--no-cancels", is_flag=True, help="Cancel no invocation.")
@click.option("--http", is_flag=True, help="Make all requests over HTTP; connections break.")
@click.option(
    "--atomic",
    is_flag=True,
    help="Each request, with all that it calls and sends, must look as if it had run alone. Cancels no invocation.",
)
def explore(target: str, runs: int, seed: int, choices: str | None, no_cancels: bool, http: bool, atomic: bool) -> None:
    """Make random requests to the classes of an app, and check the result.

    Several callers at a time call all public handlers with arguments made from the annotations, in a machine in memory whose process
    crashes, whose steps fail and whose memory runs out. The database of the app is not opened; steps run as they are. A failing
    run is shrunk and printed. Exit code: 0 if no run fails, 1 if a run fails, 2 if there is nothing to explore.
    """
    end_on_sigterm()
    try:
        classes = [definition.cls for definition in load_app(target).engine_options().catalog.services.values()]
        body = exploration(classes, cancels=not no_cancels, http=http, atomic=atomic)
        given = Choices.of(choices) if choices is not None else None
    except (BadTarget, ActorsError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    plan = Exploration(runs, seed, atomic=atomic)
    options = (("--no-cancels", no_cancels), ("--http", http), ("--atomic", atomic))
    words = [target, *(option for option, is_given in options if is_given)]
    try:
        failed = _one(plan, body, given) if given is not None else _all(plan, body, words)
    except (NotReproducible, WorldFailed) as error:
        click.echo(str(error))
        failed = True
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)


def _one(plan: Exploration, body: Body, given: Choices) -> bool:
    run = plan.once(body, given)
    if unasked := given.unasked():
        click.echo("\n".join(["Error: --choices:", *unasked]), err=True)
        sys.exit(2)
    click.echo("\n".join(run.story.lines()))
    _say(run)
    return run.error is not None


def _all(plan: Exploration, body: Body, words: list[str]) -> bool:
    found = plan.run(body)
    if found.failed is None:
        click.echo(found.summary())
        return False
    click.echo(f"{found.explanation()}\n")
    _say(found.failed)
    click.echo(f"\nAgain:   {join(['actors', 'explore', *words, '--choices', str(found.failed.choices)])}")
    return True


def _say(run: Run) -> None:
    if run.error is not None:
        said, _, _ = str(run.error).partition("\n\n")  # what a witness says ends with the story, which is shown
        click.echo(f"{type(run.error).__name__}: {said}")
