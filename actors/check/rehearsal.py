"""A replay without effects: a handler runs against its journal until it makes a new request, waits or ends.

Promise: no step is started, no message is sent, and nothing is written. The replay uses the code of the runtime; only the parts
that would reach beyond the journal are replaced here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from actors.attempt.attempt import Attempt
from actors.attempt.cleanup import all_ended
from actors.attempt.invocation import Invocation, Mailbox
from actors.attempt.ports import Host
from actors.engine.clock import SystemClock
from actors.engine.memory.loader import restored
from actors.engine.turns import Turns
from actors.errors import ActorsError, AttemptEnded, DeterminismError, SerializationError, printable, short_reason
from actors.journal.entries import Entry
from actors.journal.ids import IdMint
from actors.model import raised
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.inside import inside
from actors.model.limits import Limits
from actors.model.object_state import ObjectState
from actors.serde import Codec
from actors.storage.records import Flag, InvocationRow, JournalRow, Status
from actors.tasks.factory import see_tasks

PROMPT_TURNS = 50  # turns of the loop, in which a handler's own tasks get as far as they can without waiting


class _Given:
    """Stands for the work that completes a recorded command, so that the work is not begun."""

    def cancel(self) -> None: ...


_GIVEN = _Given()


def _nothing(*_: Any) -> None: ...


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("a rehearsal starts no work")


class _Turns(Turns):
    """Turns in which nothing but the replay waits: a handler may take long, or stand still in a debugger."""

    SLOW_S = float("inf")

    __slots__ = ()


class Stage:
    """A host without effects: there is no batch, and timers, loader and steps are never used."""

    def __init__(self, catalog: Catalog, limits: Limits, secret: bytes) -> None:
        self.failure: BaseException | None = None
        self.ids = IdMint(secret)
        self.clock = SystemClock()
        self.limits = limits
        self.max_payload = limits.max_payload
        self.watcher = None
        self.services = catalog.services
        self.handler, self.definition = catalog.handler, catalog.definition
        self.loop = asyncio.get_running_loop()
        turns = self.turns = _Turns(self.loop, self.clock, self.label, lambda: None, self._failed)
        self.variables = turns.variables
        self.variables.run(inside.set, self)
        self.make_ready, self.run_now, self.call_soon, self.now_ms = (
            turns.make_ready,
            turns.run_now,
            turns.call_soon,
            turns.now_ms,
        )
        self.open: dict[int, Invocation] = {}
        self.waiting: dict[Any, Any] = {}
        self.leaving: set[Any] = set()
        self.lanes: dict[Any, Any] = {}

    def _failed(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def label(self, invocation: Invocation) -> str:
        return f"{invocation.address} ({self.ids.invocation(invocation.seq)})"

    def wake_at(self, due_ms: int, callback: Callable[[], None]) -> None:
        self.clock.call_at(due_ms, callback)

    def next_number(self) -> int:
        return 0

    def mark(self, invocation: Invocation) -> None: ...

    def write_state(self, invocation: Invocation, name: str, text: str | None) -> None: ...

    def write_behind(self, mailbox: Mailbox) -> None: ...

    def write_entry(self, invocation: Invocation, entry: Entry) -> None: ...

    def check_room(self, *_: Any, **__: Any) -> None: ...

    def under_way(self, caller: Invocation, target: HandlerDefinition, key: str) -> bool:
        return False

    # Called with each replay; a recorded command has its answer, or waits for it.
    wait_promise: Callable[..., Any] = staticmethod(_nothing)
    peek_promise: Callable[..., Any] = staticmethod(_nothing)
    complete_promise: Callable[..., Any] = staticmethod(_nothing)

    committer: Any = None
    waits: Callable[..., Any] = staticmethod(_never)
    add_timer: Callable[..., Any] = staticmethod(_never)
    start_step: Callable[..., Any] = staticmethod(_never)
    complete: Callable[..., Any] = staticmethod(_never)
    complete_awakeable: Callable[..., Any] = staticmethod(_never)
    attach: Callable[..., Any] = staticmethod(_never)
    cancel: Callable[..., Any] = staticmethod(_never)
    final: Callable[..., Any] = staticmethod(_never)
    headers_for: Callable[..., Any] = staticmethod(_never)
    accept: Callable[..., Any] = staticmethod(_never)
    called: Callable[..., Any] = staticmethod(_never)
    place_message: Callable[..., Any] = staticmethod(_never)
    hold_while: Callable[..., Any] = staticmethod(_never)
    unpin: Callable[..., Any] = staticmethod(_never)
    finish: Callable[..., Any] = staticmethod(_never)
    end: Callable[..., Any] = staticmethod(_never)
    attempt_failed: Callable[..., Any] = staticmethod(_never)
    pushed_back: Callable[..., Any] = staticmethod(_never)
    pause: Callable[..., Any] = staticmethod(_never)
    trace_mistake: Callable[..., Any] = staticmethod(_never)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A problem of an invocation: see `Finding` in actors.check.checking."""

    kind: str
    message: str
    index: int | None = None
    recorded: str | None = None
    asked: str | None = None


class _NewGround(ActorsError):
    """The handler has made a request that is not in its journal."""


_NEW_GROUND = _NewGround()


class Rehearsal(Attempt):
    """One replay. Life: `run` by turns until it is `over`, then closed. `misfit` is the first problem."""

    __slots__ = ("misfit", "over")

    def __init__(self, host: Host, invocation: Invocation, state: ObjectState) -> None:
        super().__init__(host, invocation, state)
        self.misfit: Misfit | None = None
        self.over = False

    def caught_up(self) -> bool:
        """Whether all recorded commands were requested."""
        return self._replay is not None and self._replay.expected() is None

    def may_stop(self) -> bool:
        """Whether the replay may end although the handler awaits something of asyncio: the journal says no more."""
        return self.caught_up() and not self.settling

    def unasked(self) -> Entry | None:
        return self._replay.expected() if self._replay is not None else None

    def found(self, misfit: Misfit | None) -> None:
        """The replay is over; only the first misfit counts, because later misfits may follow from it."""
        self.misfit = self.misfit or misfit
        self.over = True

    # --- where an attempt reaches beyond its journal ------------------------------------------------------------------------

    def run(self) -> None:
        if self.over:
            return
        super().run()
        self._look()

    def _look(self) -> None:
        """End the replay if it waits for something not durable, or lets the loop go first, and the journal has no more."""
        if (
            self.caught_up()
            and self._replay is not None
            and self._replay.completion() is None
            and (self._branches is None or self._branches.quiet)
        ):
            self.found(None)

    def record(
        self,
        kind: int,
        name: str | None = None,
        value: str | bytes | None = None,
        ref: int | None = None,
        before: str | None = None,
    ) -> Entry:
        self._stop_error = _NEW_GROUND
        raise AttemptEnded()

    def _blocked(self) -> None:
        self.found(None)

    def unreadable(self, index: int, codec: Codec | None, error: SerializationError) -> bool:
        journal = self.invocation.journal
        command = journal.command(index) if journal is not None else None
        recorded = journal.completed.get(index) if journal is not None else None
        value = recorded.value if recorded is not None else None
        self.misfit = self.misfit or Misfit("result", printable(error), index, f"{command!r}: {_short(value)}")
        return super().unreadable(index, codec, error)

    def _pause(self, error: ActorsError) -> None:
        if error is _NEW_GROUND:
            self.found(None)
        elif isinstance(error, DeterminismError):
            recorded, asked = _in_seconds(error.recorded), _in_seconds(error.asked)
            said = str(error).replace(error.recorded, recorded).replace(error.asked, asked)
            self.found(Misfit("journal", said, error.index, recorded, asked))
        else:
            self.found(Misfit("state", str(error)))

    def _raised(self, error: BaseException) -> None:
        if self._stop_error is not None:
            self._pause(self._stop_error)
        elif raised.terminal(error) is not None:
            self._settle()
        elif raised.interrupted(error):
            raise error
        elif (recorded := self.unasked()) is not None or self.invocation.stored_status == Status.BLOCKED:
            said = short_reason(error)
            self.found(
                Misfit(
                    "error",
                    f"The handler raises where it went on before: {said}",
                    recorded.idx if recorded is not None else None,
                    _in_seconds(repr(recorded)) if recorded is not None else "the handler waits",
                    f"raises {said}",
                )
            )
        else:
            self.found(None)  # when it failed, backed off or was interrupted, the handler had come no further than this

    def _returned(self, value: Any) -> None:
        if self._stop_error is not None:
            self._pause(self._stop_error)
        else:
            self._settle()

    def _settle(self) -> None:
        if self._replay is not None and (unfinished := self._not_asked_for()) is not None:
            self._pause(unfinished)
        else:
            self.found(None)

    def refuse_to_cancel(self) -> None:
        self._settle()  # a timeout of asyncio around a durable wait ends the invocation


class Replays:
    """Runs rehearsals, one after the other. `timeout_s` limits a replay that waits for something not durable."""

    def __init__(self, stage: Stage, timeout_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stage = stage
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._tasks = see_tasks(stage.loop)

    def close(self) -> None:
        self._tasks.release(self._stage.loop)

    def _opened(self, row: InvocationRow, journal: list[JournalRow]) -> Invocation:
        """The stored invocation. No work is begun again: each of its commands without an answer counts as under way."""
        invocation = restored(row, journal, self._stage.services, self._stage.ids)
        if invocation.journal is not None:
            invocation.work = {command.idx: _GIVEN for command in invocation.journal.commands}
        return invocation

    async def _over(self, attempt: Rehearsal) -> None:
        """Return when the replay is over: after a turn, or when the handler's tasks, and the asyncio work it awaits, are done."""
        deadline = self._monotonic() + self._timeout_s
        turns = 0
        while not attempt.over:
            await asyncio.sleep(0 if turns < PROMPT_TURNS else 0.005)
            turns += 1
            if self._stage.failure is not None:
                raise self._stage.failure
            if attempt.over or turns < PROMPT_TURNS:
                continue
            if attempt.may_stop():
                attempt.found(None)
            elif self._monotonic() > deadline:
                recorded = attempt.unasked()
                what = "its next recorded command" if recorded is not None else "its end"
                attempt.found(
                    Misfit(
                        "timeout",
                        f"The handler did not come to {what} within {self._timeout_s:g} s. It awaits "
                        "something that is not durable, such as asyncio.sleep.",
                        recorded.idx if recorded is not None else None,
                        _in_seconds(repr(recorded)) if recorded is not None else None,
                    )
                )


class Rehearsals(Replays):
    """Replays stored open invocations up to the end of their journals."""

    async def replay(
        self, definition: ServiceDefinition, row: InvocationRow, journal: Iterable[JournalRow], texts: dict[str, str]
    ) -> Misfit | None:
        """Replay one invocation of an object with the state `texts`. Returns the first misfit, or None."""
        stage = self._stage
        invocation = stage.open[row.seq] = self._opened(row, list(journal))
        try:
            state = ObjectState(definition, dict(texts))
            if invocation.journal is not None and not invocation.has(Flag.APART):
                state.catch_up(invocation.journal)
            attempt = Rehearsal(stage, invocation, state)
            try:
                stage.make_ready(attempt)  # the attempt runs in its own task, so it cannot run inside this task
                await self._over(attempt)
            finally:
                attempt.close()
                await all_ended(stage.leaving)
            return attempt.misfit
        finally:
            del stage.open[row.seq]


def _in_seconds(command: str) -> str:
    """The text of a command. A sleep is named by its milliseconds: sleep '1500' becomes sleep 1.5 s."""
    sleep = re.fullmatch(r"sleep '(\d+)'", command)
    return command if sleep is None else f"sleep {int(sleep[1]) / 1000:g} s"


def _short(value: Any) -> str:
    text = printable(value)
    return text if len(text) <= 200 else text[:197] + "..."
