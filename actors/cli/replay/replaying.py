"""`actors replay`: one stored invocation once more, with its recorded answers, or step by step in the debugger."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from actors import App
from actors.check.checking import TIMEOUT_S
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraced, Retraces
from actors.cli.file.database import visiting
from actors.cli.file.options import reporting
from actors.cli.past.objects import file_option, loaded, named, path_of
from actors.cli.past.watchdog import Watch, guarded
from actors.cli.replay.debugger import Debugger, is_traced, takes_breakpoints, when_asked_for
from actors.cli.replay.narrated import Listener, Narrated
from actors.cli.replay.subject import Subject, read
from actors.cli.replay.telling import command_line, completion_line, header, outcome_lines, state_text, write_lines
from actors.cli.show.layout import Page, safe
from actors.cli.show.records import page
from actors.errors import BadArguments
from actors.journal.entries import Entry
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition
from actors.model.limits import Limits
from actors.testing.guard import Finding, Guard

id_argument = click.argument("id")
target_argument = click.argument("target", metavar="MODULE:APP")
state_option = click.option(
    "--state",
    metavar="JSON|FILE",
    help="The state before the invocation, if the file does not tell it: a JSON object, or a file that holds one.",
)


class Forbidden(BaseException):
    """A handler has called what no replay repeats. Not an Exception, so that no handler swallows it."""


class _Strict(Guard):
    """A guard that stops the handler at its first finding."""

    stopped: Finding | None = None

    def _report(self, handler: Any, source: Any, at: Any, inner: Any) -> None:
        super()._report(handler, source, at, inner)
        if self.findings:
            self.stopped = self.findings[0]
            raise Forbidden


class _Telling:
    """Prints what a replay does, and lets the debugger in at the right moment."""

    def __init__(self, page: Page, debugger: Debugger | None, begin_at: int | None) -> None:
        self._page = page
        self._debugger = debugger
        self._begin_at = begin_at  # the position at which the debugger begins
        self.reached: dict[str, str] | None = None
        self._told = False

    def begins(self, handler: HandlerDefinition) -> None:
        if self._debugger is None:
            return
        self._debugger.knows(handler)
        if self._begin_at == 0:
            self._debugger.begin(handler)

    def requested(self, command: Entry, text: str | None, place: str | None) -> None:
        self._entry(command.idx, place, command_line(command, text))

    def shown(self, completion: Entry, command: Entry | None) -> None:
        self._entry(completion.idx, None, completion_line(completion, command))

    def _entry(self, position: int, place: str | None, text: str) -> None:
        if not self._told:
            self._told = True
            self._page.line()
        self._page.line(f"{position:>5}  ", ((place or "").ljust(20) + "  ", "dim"), safe(text))
        if self._debugger is not None and self._begin_at is not None and position >= self._begin_at > 0:
            self._begin_at = None
            self._debugger.stop_next()

    def ends(self, reached: dict[str, str] | None) -> None:
        self.reached = reached
        if self._debugger is not None:
            self._debugger.end()

    def drawn(self) -> None: ...


@contextlib.contextmanager
def in_time(ids: IdMint) -> Iterator[Watch]:
    """While replays run: a function to call with each row. The process ends if the code blocks it.

    It may take any time once a debugger is in charge. What the code prints goes where it went before.
    """
    if is_traced():
        yield lambda row: None
        return
    stdout = sys.stdout
    with (
        guarded(TIMEOUT_S, lambda row: named(row, ids), 1) as watch,
        contextlib.redirect_stdout(stdout),
        when_asked_for(lambda: watch(None)),
    ):
        yield watch


class Replaying:
    """One replay of a subject, without a limit of time while a debugger is in charge. `watch` hears when its code runs."""

    def __init__(
        self,
        catalog: Catalog,
        limits: Limits,
        subject: Subject,
        timeout_s: float = TIMEOUT_S,
        watch: Watch = lambda row: None,
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._subject = subject
        self._timeout_s = timeout_s
        self._watch = watch

    async def run(
        self, listener: Listener, *, to: int | None = None, guard: Guard | None = None, debugger: Debugger | None = None
    ) -> Retraced:
        """Execute it again. Raises StateNotKnown."""
        subject = self._subject
        before = subject.began_with()
        loop = asyncio.get_running_loop()

        def monotonic() -> float:  # stands still for good once a person has stepped through the code
            return 0.0 if is_traced() or (debugger is not None and debugger.used) else loop.time()

        attempt: Any = Narrated if guard is None else guard.watched(Narrated)
        stage = Stage(self._catalog, self._limits, subject.secret)
        make = functools.partial(attempt, listener, to)
        retraces = Retraces(stage, self._timeout_s, self._watch, make, monotonic)
        hook = sys.breakpointhook
        try:
            if debugger is not None and takes_breakpoints():
                sys.breakpointhook = debugger.hook
            if guard is not None:
                guard.install()
            return await retraces.retrace(subject.definition, subject.row, subject.journal, before)
        finally:
            sys.breakpointhook = hook
            if guard is not None:
                guard.uninstall()
            retraces.close()


@click.command()
@id_argument
@target_argument
@file_option
@click.option("--pdb", is_flag=True, help="Stop at the first line of the handler, in the debugger.")
@click.option(
    "--to",
    type=click.IntRange(0),
    metavar="POSITION",
    help="Replay up to this position of the journal; with --pdb, begin to debug there.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Stop where the handler reads the clock, draws random numbers or does I/O outside of a step.",
)
@state_option
@reporting
async def replay(
    id: str, target: str, db: str | None, pdb: bool, to: int | None, strict: bool, state: str | None
) -> int:
    """Execute an invocation once more, with its recorded answers.

    Prints the commands of the handler and their recorded answers, with the line of code that makes each of them, then the
    writes and the outcome, and whether it is the stored outcome. No step is called, no message is sent and nothing is
    written; what the handler does beside its context happens again. The app of the file may run meanwhile.
    """
    app, subject = await app_and_subject(id, target, db, state)
    last = len(subject.journal)
    if to is not None and to > last:
        raise BadArguments(f"--to {to}: the journal of {subject.name} ends at position {last}.")
    before = subject.began_with()
    out = page()
    header(out, subject)
    debugger = Debugger()
    telling = _Telling(out, debugger, (to or 0) if pdb else None)
    guard = _Strict() if strict else None
    with contextlib.nullcontext(lambda row: None) if pdb else in_time(IdMint(subject.secret)) as watch:
        options = app.engine_options()
        replaying = Replaying(options.catalog, options.limits, subject, watch=watch)
        retraced = await replaying.run(telling, to=None if pdb else to, guard=guard, debugger=debugger)
    if guard is not None and guard.stopped is not None:
        click.echo(f"Error: {guard.stopped}", err=True)
        return 1
    out.line()
    if debugger.has_quit:
        out.text("Stopped in the debugger.")
        return 0
    if telling.reached is not None:
        out.text(f"State at position {to}, in the middle of the handler: {state_text(telling.reached)}")
        return 0
    for line in write_lines(subject, before, retraced):
        out.text(safe(line), indent=2)
    lines, same = outcome_lines(subject, retraced)
    for line in lines:
        out.text(line)
    return 0 if same else 1


async def app_and_subject(id: str, target: str, db: str | None, state: str | None) -> tuple[App, Subject]:
    """The app and the invocation. Raises ActorsError, or click.BadParameter for an app that does not exist."""
    app = loaded(target)
    assert app is not None
    texts = None if state is None else given_state(state)
    async with visiting(path_of(db, app)) as database:
        with in_time(database.ids) as watch, contextlib.redirect_stdout(sys.stderr):
            subject = await read(database.visitor, database.secret, app, database.seq(id), texts, watch)
    return app, subject


def given_state(text: str) -> dict[str, str]:
    """The state in JSON, or in a file of JSON: texts by name. Raises BadArguments."""
    where = "--state"
    try:
        if not text.lstrip().startswith("{"):
            where = text
            text = Path(where).read_text(encoding="utf-8")
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return {name: bytes(value).decode() for name, value in raw.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise BadArguments(
            f"--state {where!r} cannot be read: {error}. Pass a JSON object, or a file of JSON."
        ) from None
    except msgspec.MsgspecError as error:
        raise BadArguments(f"{where} does not hold a JSON object: {error}.") from None
