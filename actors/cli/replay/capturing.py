"""`actors capture`: a stored invocation as a test that replays it."""

from __future__ import annotations

import contextlib
import dataclasses
import sys

import click

from actors import App
from actors.cli.file.database import Database, visiting
from actors.cli.file.options import reporting
from actors.cli.past.objects import file_option, path_of
from actors.cli.replay.captured import Captured, Collecting, TooLarge, captured
from actors.cli.replay.redaction import Redaction
from actors.cli.replay.replaying import Replaying, app_and_subject, id_argument, in_time, state_option, target_argument
from actors.cli.replay.source import attribute_of, module
from actors.cli.replay.subject import Subject, read
from actors.cli.replay.telling import outcome_lines
from actors.errors import ActorsError, BadArguments
from actors.journal.entries import Kind
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.model.engine_options import EngineOptions
from actors.testing.replay import replayed


@click.command()
@id_argument
@target_argument
@file_option
@click.option(
    "--redact",
    "names",
    multiple=True,
    metavar="FIELD",
    help="Replace the values of this name (a state, an argument, a field of either) wherever they occur; repeat it for more.",
)
@click.option("--with-callees", is_flag=True, help="Capture the invocations that it has called or sent to, too.")
@click.option("--large", is_flag=True, help="Write values of more than 1 MB too.")
@state_option
@reporting
async def capture(
    id: str, target: str, db: str | None, names: tuple[str, ...], with_callees: bool, large: bool, state: str | None
) -> int:
    """Print a test that replays an invocation.

    The test holds the arguments, the state before, the journal, the outcome and the state after. It needs neither the file
    nor an app, and fails when the code takes other steps. Ids of the file are replaced. Redirect it into a file of your
    tests; it is formatted as `ruff format` does, 88 characters wide.
    """
    with contextlib.redirect_stdout(sys.stderr):  # what the user's code prints must not get into the test
        tests = await _tests(id, target, db, names, with_callees, large, state)
    click.echo(module(tests), nl=False)
    return 1 if any(problem is not None for *_, problem in tests) else 0


async def _tests(
    id: str, target: str, db: str | None, names: tuple[str, ...], with_callees: bool, large: bool, state: str | None
) -> list[tuple[Captured, list[type], str | None]]:
    """What the tests hold, each with the classes that it calls, and what is wrong with it. Raises ActorsError."""
    app, subject = await app_and_subject(id, target, db, state)
    callees: list[Subject] = []
    if with_callees:
        async with visiting(path_of(db, app)) as database:
            callees = await _callees(database, app, subject)
    options = app.engine_options()
    captures = [await executed(options, subject, large)]
    for callee in callees:
        try:
            captures.append(await executed(options, callee, large))
        except (NotTheSame, TooLarge) as error:
            click.echo(f"Left out: {error}", err=True)
    if names:
        redaction = Redaction(names)
        for one in captures:
            one.collect(redaction, options.catalog)
        if unmet := [name for name in names if name not in redaction.met]:
            raise BadArguments(f"--redact {unmet[0]!r}: no value has this name.")
        captures = [one.mapped(redaction.value) for one in captures]
    return [await proved(options.catalog, one, bool(names)) for one in captures]


async def _callees(database: Database, app: App, subject: Subject) -> list[Subject]:
    """The invocations that an invocation became the cause of, as far as they are kept and have begun."""
    subjects: list[Subject] = []
    left = [subject]
    seen = {subject.row.seq}
    while left:
        for entry in left.pop(0).journal:
            seq = entry.ref if entry.kind in (Kind.CALL, Kind.SEND) else None
            if entry.kind == Kind.PLACED:
                seq = int(entry.value or 0)
            if seq is None or seq in seen:
                continue
            seen.add(seq)
            try:
                with in_time(database.ids) as watch:
                    callee = await read(database.visitor, database.secret, app, seq, watch=watch)
                callee.began_with()
            except ActorsError as error:
                click.echo(f"Left out: {error}", err=True)
                continue
            subjects.append(callee)
            left.append(callee)
    return subjects


async def executed(options: EngineOptions, subject: Subject, large: bool) -> Captured:
    """The invocation, executed again, as a test holds it. Raises NotTheSame, TooLarge, or StateNotKnown."""
    heard = Collecting()
    with in_time(IdMint(subject.secret)) as watch:
        retraced = await Replaying(options.catalog, options.limits, subject, watch=watch).run(heard)
    said, same = outcome_lines(subject, retraced)
    if not same or retraced.misfit is not None:
        raise NotTheSame(
            f"{subject.name} ({subject.id}) no longer ends as stored: {' '.join(said)} Capture it with the release that ran then."
        )
    return captured(subject, retraced, heard, large)


class NotTheSame(ActorsError):
    """The current code does something else than is stored."""


async def proved(catalog: Catalog, one: Captured, redacted: bool) -> tuple[Captured, list[type], str | None]:
    """What the test holds, the classes that it must be given, and what is wrong with it."""
    definition = one.subject.definition
    others = [name for name in one.services if name in catalog.services and name != definition.name]
    everything = [name for name in catalog.services if name != definition.name]
    problem: str | None = None
    proof = one
    for services in (others, everything):
        calls = [catalog.services[name].cls for name in services]
        proof, problem = await _proof(one, calls)
        if problem is None:
            return proof, calls, None
    why = "the code depends on a redacted value" if redacted else "the capture is not complete"
    return proof, [catalog.services[name].cls for name in others], f"This test does not pass: {why}.\n{problem}"


async def _proof(one: Captured, calls: list[type]) -> tuple[Captured, str | None]:
    """What the test holds once it has run, and what is wrong with it.

    What it waits for is a text that may be cut, within an id or within a value to redact: it comes from the run of the test.
    """
    subject = one.subject
    waited, _, _ = (one.waits_for or "").partition(" ")
    one = dataclasses.replace(one, waits_for=waited or None)
    attribute, _ = attribute_of(subject.definition, subject.row.handler)
    try:
        with in_time(IdMint(subject.secret)) as watch:
            watch(subject.row)  # with redacted values, the code may do something else than before
            run = await replayed(
                getattr(subject.definition.cls, attribute),
                cls=subject.definition.cls,
                key=one.key,
                arguments=one.arguments,
                before=one.before,
                version=one.version,
                headers=one.headers,
                seed=one.seed,
                calls=calls,
                journal=one.journal,
                ended=one.ended,
            )
    except ActorsError as error:
        return one, str(error)
    if run.waits_for is not None and run.waits_for.partition(" ")[0] == waited:
        one = dataclasses.replace(one, waits_for=run.waits_for)
    for name in ("outcome", "failure", "waits_for", "state") if one.ended else ("waits_for", "state"):
        now, then = getattr(run, name), getattr(one, name)
        if now != then and not (name == "state" and subject.definition.kind == "service"):
            return one, f"Its {name} is {now!r}, and was {then!r}."[:500]
    return one, None
