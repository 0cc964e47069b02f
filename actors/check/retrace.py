"""One stored invocation once more, with the state it began with and its recorded answers: what its code does now.

Promise: no step is started, no message is sent and nothing is written, as in a rehearsal. The answers of the journal are given in
the order in which they were recorded, so code that depends on nothing else ends as it ended then, and leaves the same state.

Not every outcome is an answer of the code: the runtime ends invocations that were killed, cancelled before they began, refused for
a deadlock, or given up. Such an outcome is a fact. `may_be_imposed` knows them all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.attempt.attempt import Attempt
from actors.attempt.cleanup import all_ended
from actors.attempt.invocation import Invocation
from actors.check.rehearsal import Misfit, Rehearsal, Replays, Stage
from actors.errors import (
    ActorsError,
    DeadlockError,
    InvocationCancelled,
    InvocationKilled,
    MisusedFuture,
    ProgrammingError,
    RetriesExhausted,
    SerializationError,
    StateDecodeError,
    TerminalError,
    TickSkipped,
    short_reason,
)
from actors.journal.entries import Entry, Kind, describe
from actors.journal.journal import Journal, after
from actors.model import raised
from actors.model.decoding import migrated
from actors.model.definitions import ServiceDefinition
from actors.model.object_state import VERSION_NAME, ObjectState
from actors.model.readers import refuse_changes
from actors.serde import Codec
from actors.serde.failures import failure_of, failure_text
from actors.storage.records import Flag, InvocationRow, JournalRow, Mode, Status

_enter_task: Any = asyncio.tasks._enter_task
_leave_task: Any = asyncio.tasks._leave_task

_SUCCEEDED, _FAILED = Status.SUCCEEDED, Status.FAILED


def may_be_imposed(row: InvocationRow, journal: Sequence[JournalRow]) -> bool:
    """Whether the runtime may have ended this invocation without its code: see the calls of `Progress.end`.

    The code can fail with the same errors by itself, for example when it lets the failure of a call through. Then its replay
    ends with the stored failure.
    """
    if row.status != _FAILED or row.outcome is None:
        return False
    code = failure_of(row.outcome).error
    if code == InvocationCancelled.error:
        # Not begun, or failing when the cancellation arrived; or a tick that was withdrawn.
        return bool(row.flags & (Flag.CANCELLED | Flag.TICK))
    if code == DeadlockError.error:  # it waited in the mailbox: it had not begun
        return not journal
    return code in _IMPOSED


_IMPOSED = frozenset(
    error.error for error in (InvocationKilled, RetriesExhausted, ProgrammingError, TickSkipped, MisusedFuture)
)


@dataclass(slots=True)
class State:
    """The state of an object between two invocations: JSON texts by name, and the version of the class that wrote them."""

    texts: dict[str, str] = field(default_factory=dict)
    version: int = 1

    @classmethod
    def stored(cls, texts: Mapping[str, str]) -> State:
        """The state in the rows of an object."""
        kept = dict(texts)
        version = kept.pop(VERSION_NAME, None)
        return cls(kept, 1 if version is None else int(version))

    def rows(self) -> dict[str, str]:
        """The texts as an object is loaded from them."""
        texts = dict(self.texts)
        if texts and self.version != 1:
            texts[VERSION_NAME] = str(self.version)
        return texts

    def migrated(self, definition: ServiceDefinition, key: str) -> State:
        """The same state in the version of the class. Raises StateDecodeError."""
        if self.version == definition.version or not self.texts:
            return self
        return State(migrated(definition, key, self.texts, self.version, None), definition.version)


@dataclass(frozen=True, slots=True)
class Retraced:
    """What the code of one invocation does now.

    `outcome` is the status and the text that it ends with; None if it waits, for `waits_for`, asks for `asks`, or raises. `misfit`
    says where it left its journal. `left` is the state of the object after it. `wrote` are the
    names that it wrote, `between` the states that readers may have seen meanwhile, `imposed` whether its stored outcome is not
    an answer of its code, `unsure` why another outcome proves nothing.
    """

    outcome: tuple[int, str] | None
    waits_for: str | None
    asks: str | None
    misfit: Misfit | None
    left: State
    wrote: frozenset[str]
    between: list[dict[str, str]]
    imposed: bool
    unsure: str | None


_NOTHING: frozenset[str] = frozenset()


class Retrace(Rehearsal):
    """One replay of an invocation from a given state. If `ends`, the code must come to an end, with no request that is new."""

    __slots__ = ("asks", "between", "ends", "keeps", "outcome", "texts", "unsure", "waits_for", "wrote")

    def __init__(self, host: Stage, invocation: Invocation, state: ObjectState, ends: bool, between: bool) -> None:
        super().__init__(host, invocation, state)
        handler = invocation.handler
        # Whether what it wrote stays when it fails.
        self.keeps = handler is not None and not handler.atomic and not invocation.has(Flag.APART)
        if invocation.journal is not None and not invocation.has(Flag.APART):
            # The given state has none of its writes: its journal must not be undone to find the state it began with.
            invocation.more().flags |= Flag.APART
        self.ends = ends
        self.outcome: tuple[int, str] | None = None
        self.texts: dict[str, str] | None = None  # the state after its outcome
        self.wrote = _NOTHING
        self.waits_for: str | None = None
        self.asks: str | None = None
        self.unsure: str | None = None
        self.between: list[dict[str, str]] | None = [] if between and self.keeps else None

    def may_stop(self) -> bool:
        return not self.ends and super().may_stop()

    def replaying(self) -> bool:
        return True  # the log has its records already

    def _look(self) -> None:
        if not self.ends:
            super()._look()

    def _blocked(self) -> None:
        waiting, journal = self._waiting, self.invocation.journal
        command = journal.command(getattr(waiting, "command", 0)) if journal is not None else None
        self.waits_for = repr(command) if command is not None else "several requests"
        if self.ends:
            self.found(Misfit("journal", f"The handler waits for {self.waits_for} and does not come to its end."))
        else:
            self.found(None)

    def _record_changes(self) -> None:
        before = self.state.texts if self.between is None else dict(self.state.texts)
        super()._record_changes()
        if self.between is not None and self.state.texts != before:
            self.between.append(dict(self.state.texts))

    def record(
        self,
        kind: int,
        name: str | None = None,
        value: str | bytes | None = None,
        ref: int | None = None,
        before: str | None = None,
    ) -> Entry:
        journal, limits = self.invocation.journal, self.host.limits
        if value is not None and len(value) > self.host.max_payload:
            raise self._too_large(value, f"The record of {Kind.NAMES[kind]} {name or ''}")
        if journal is not None and (journal.size >= limits.max_journal or journal.bytes >= limits.max_journal_bytes):
            self.unsure = "it met the limit of its journal, whose size then is not known"
            raise self._too_long(journal)
        self.asks = describe(kind, name, value)
        return super().record(kind, name, value, ref, before)

    def unreadable(self, index: int, codec: Codec | None, error: SerializationError) -> bool:
        changed = Attempt.unreadable(self, index, codec, error)
        if changed:
            self.misfit = self.misfit or Misfit("result", error.message, index)
        return changed

    def _pause(self, error: ActorsError) -> None:
        if isinstance(error, MisusedFuture):
            self.outcome = _FAILED, failure_text(error)
            self.found(None)
        elif self.ends and self.asks is not None and not isinstance(error, StateDecodeError):
            self.found(Misfit("journal", f"The handler asks for {self.asks}, which is not in its journal."))
        else:
            super()._pause(error)

    def _returned(self, value: Any) -> None:
        Attempt._returned(self, value)

    def _tell_unused(self) -> None: ...

    def _raised(self, error: BaseException) -> None:
        if self._stop_error is None and (terminal := raised.terminal(error)) is not None:
            self._terminated(terminal)
        elif self._stop_error is None and self.ends and not raised.interrupted(error):
            self.found(Misfit("error", f"The handler raises {short_reason(error)}{raised.line_of(error)}."))
        else:
            super()._raised(error)

    def _terminated(self, error: TerminalError) -> None:
        self._outcome = (_FAILED, failure_text(error, self.host.limits.max_failure), None)
        self._settle()

    def refuse_to_cancel(self) -> None:
        self.found(None)  # the runtime ends it, at a moment that no replay finds again

    def _settle(self) -> None:
        if self._branches is not None:
            self._branches.end()
        if self._replay is not None and (unfinished := self._not_asked_for()) is not None:
            self._pause(unfinished)
            return
        assert self._outcome is not None
        status, text, _ = self._outcome
        try:
            self._end_with(status)
        except TerminalError as error:
            status, text = _FAILED, failure_text(error)
        self.outcome = status, text
        self.found(None)

    def _end_with(self, status: int) -> None:
        """The state it leaves, as `Ending._finish_writes` would write it. Raises TerminalError if that is refused."""
        state, handler = self.state, self.invocation.handler
        if self.snapshot is not None:
            assert self._instance is not None and handler is not None
            refuse_changes(handler.service, self._instance, self.snapshot)
        elif status == _SUCCEEDED or self.keeps:
            if self.keeps:  # also if the last changes are refused
                self.texts = state.texts
                self._note()
            changes = state.changes()
            if changes:
                self._check_room(changes)
            self.texts = texts = dict(state.texts)
            self._note()
            for name, text in (changes or {}).items():
                if text is None:
                    texts.pop(name, None)
                else:
                    texts[name] = text
            self.wrote = self.wrote.union(changes or ())

    def _note(self) -> None:
        journal = self.invocation.journal
        if journal is not None and (writes := journal.writes()):
            self.wrote = frozenset(write.name or "" for write in writes)


class Retraces(Replays):
    """Retraces stored invocations, one after the other. Close it in the end.

    `watch` is called with each invocation before its code runs, and with None after it. `make` makes the attempt of each of them.
    `monotonic` tells the seconds that count for the time limit.
    """

    def __init__(
        self,
        stage: Stage,
        timeout_s: float,
        watch: Callable[[InvocationRow | None], None] = lambda row: None,
        make: Callable[[Stage, Invocation, ObjectState, bool, bool], Retrace] = Retrace,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(stage, timeout_s, monotonic or stage.loop.time)
        self._watch = watch
        self._make = make

    async def retrace(
        self,
        definition: ServiceDefinition,
        row: InvocationRow,
        journal: list[JournalRow],
        before: State,
        *,
        between: bool = False,
    ) -> Retraced:
        """Run an invocation, ended or open, from the state `before`. With `between`, the states that readers may see are kept."""
        stage = self._stage
        imposed = may_be_imposed(row, journal)
        invocation = stage.open[row.seq] = self._opened(row, journal)
        attempt: Retrace | None = None
        try:
            if invocation.handler is None:
                return _unserved(before, invocation)
            state = ObjectState(definition, before.rows())
            attempt = self._make(stage, invocation, state, row.status >= _SUCCEEDED and not imposed, between)
            self._watch(row)
            self._run_now(attempt)
            if not attempt.over:
                await self._over(attempt)
            return self._result(attempt, row, before, imposed)
        finally:
            del stage.open[row.seq]
            if attempt is not None:
                attempt.close()
                if stage.leaving:
                    await all_ended(stage.leaving)
            self._watch(None)

    def _run_now(self, attempt: Retrace) -> None:
        """Most handlers do not wait: then this costs no turn of the loop. An attempt is a task, so this task must not run meanwhile."""
        stage = self._stage
        running: Any = asyncio.current_task(stage.loop)
        _leave_task(stage.loop, running)
        try:
            stage.variables.run(stage.run_now, attempt, attempt.run)
        finally:
            _enter_task(stage.loop, running)
        if stage.failure is not None:
            raise stage.failure

    def _result(self, attempt: Retrace, row: InvocationRow, before: State, imposed: bool) -> Retraced:
        handler, journal = attempt.invocation.handler, attempt.invocation.journal
        assert handler is not None
        outcome, misfit, left = attempt.outcome, attempt.misfit, before
        if imposed and outcome is not None and row.outcome is not None and same_failure(outcome, row):
            imposed = False  # the failure is its own, or the same in any case
        if imposed or row.status < _SUCCEEDED:
            if row.shared != Mode.SHARED and attempt.keeps and journal is not None and journal.writes():
                attempt._note()
                left, unknown = recorded_by(journal, before, handler.service, row.key)
                misfit = misfit or unknown
        elif attempt.texts is not None:
            left = State(dict(attempt.texts), handler.service.version)
        return Retraced(
            outcome,
            attempt.waits_for,
            attempt.asks,
            misfit,
            left,
            attempt.wrote,
            attempt.between or [],
            imposed,
            attempt.unsure,
        )


def same_outcome(outcome: tuple[int, str], row: InvocationRow, returns: Codec | None) -> bool:
    """Whether an outcome is the stored outcome. `returns` tells which results are equal, if it is known."""
    if outcome[0] != row.status or row.outcome is None:
        return False
    if row.status == _FAILED:
        return same_failure(outcome, row)
    return outcome[1] == row.outcome or (returns is not None and returns.equal(outcome[1], row.outcome))


def same_failure(outcome: tuple[int, str], row: InvocationRow) -> bool:
    """Whether an outcome is the stored failure. Failures are compared by codes and messages, without the addresses of objects."""
    if outcome[0] != _FAILED or row.status != _FAILED or row.outcome is None:
        return False
    if outcome[1] == row.outcome:
        return True
    now, then = failure_of(outcome[1]), failure_of(row.outcome)
    return (now.code, now.error, _masked(now.message)) == (then.code, then.error, _masked(then.message))


def _masked(message: str) -> str:
    return re.sub(r"\b0x[0-9a-f]+", "0x", message)


def recorded_by(
    journal: Journal, before: State, definition: ServiceDefinition, key: str
) -> tuple[State, Misfit | None]:
    """The state with the writes that the journal has recorded so far, or why they do not fit `before`."""
    try:
        writes = journal.writes()
        version = writes[-1].ref or 1
        if before.version != version and definition.version == version:
            before = before.migrated(definition, key)
        texts = dict(before.texts)
        for write in writes:
            assert write.name is not None
            text = after(write, texts.get(write.name))
            if text is None:
                texts.pop(write.name, None)
            else:
                texts[write.name] = text
    except StateDecodeError as error:
        return before, Misfit("state", str(error))
    return State(texts, version), None


def _unserved(before: State, invocation: Invocation) -> Retraced:
    said = f"The class has no handler {invocation.handler_name!r} for this invocation, or its journal cannot be read."
    return Retraced(None, None, None, Misfit("handler", said), before, _NOTHING, [], False, None)
