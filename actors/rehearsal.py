"""A replay that does nothing: a handler is run against its journal until it asks for something new, waits or ends.

Promise: no step is started, no message is sent, and nothing is written. The code that replays is the runtime's own; only
what would reach beyond the journal is cut off here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from random import Random
from typing import Any

from actors.attempt import raised
from actors.attempt.attempt import Attempt
from actors.attempt.branches import see_tasks
from actors.attempt.invocation import Invocation, Mailbox
from actors.attempt.ports import Host
from actors.clock import SystemClock
from actors.errors import (
    ActorsError,
    AttemptEnded,
    DeterminismError,
    SerializationError,
    printable,
    short_reason,
)
from actors.journal.entries import Entry
from actors.journal.ids import IdMint
from actors.model.definitions import ServiceDefinition
from actors.model.limits import Limits
from actors.model.object_state import ObjectState
from actors.model.retry import RetryPolicy
from actors.partition import Partition
from actors.serde import Codec
from actors.storage import Flag, InvocationRow, JournalRow, Status
from actors.storage.port import Store

PROMPT_TURNS = 50  # of the loop, in which a handler's own tasks get as far as they can without waiting


class _Refusal(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a rehearsal runs no step")


class _Given:
    """Stands for the work that completes a recorded command, so that it is not begun."""

    def cancel(self) -> None: ...


_GIVEN = _Given()


class Stage(Partition):
    """A partition on which nothing takes effect: nothing enters its batch, and no timer, loader or step is ever asked for."""

    def __init__(self, services: dict[str, ServiceDefinition], store: Store, limits: Limits, secret: bytes) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(services, store, loop, SystemClock(), Random(0), _Refusal(), RetryPolicy(), limits, None, None)
        self.ids = self.host.ids = IdMint(secret)  # type: ignore[misc]

    def next_number(self) -> int:
        return 0

    def mark(self, invocation: Invocation) -> None: ...

    def write_state(self, invocation: Invocation, name: str, text: str | None) -> None: ...

    def write_behind(self, mailbox: Mailbox) -> None: ...

    def write_entry(self, invocation: Invocation, entry: Entry) -> None: ...


@dataclass(frozen=True, slots=True)
class Misfit:
    """What is wrong with an invocation: see `Finding` in actors.check."""

    kind: str
    message: str
    index: int | None = None
    recorded: str | None = None
    asked: str | None = None


class _NewGround(ActorsError):
    """The handler has asked for something that is not in its journal."""


_NEW_GROUND = _NewGround()


class Rehearsal(Attempt):
    """One replay. Life: `run` by turns until it is `over`, then closed. `misfit` is the first thing that did not fit."""

    __slots__ = ("misfit", "over")

    def __init__(self, host: Host, invocation: Invocation, state: ObjectState) -> None:
        super().__init__(host, invocation, state)
        self.misfit: Misfit | None = None
        self.over = False

    def caught_up(self) -> bool:
        """Whether all recorded commands were asked for."""
        return self._replay is not None and self._replay.expected() is None

    def unasked(self) -> Entry | None:
        return self._replay.expected() if self._replay is not None else None

    def found(self, misfit: Misfit | None) -> None:
        """It is over; only the first misfit counts, because others may follow from it."""
        self.misfit = self.misfit or misfit
        self.over = True

    # --- where an attempt reaches beyond its journal ------------------------------------------------------------------------

    def run(self) -> None:
        if self.over:
            return
        super().run()
        self._look()

    def _look(self) -> None:
        """Whether it waits for something that is not durable, or lets the loop go first, and the journal has no more to say."""
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
            self.found(None)  # it was not further than that when it failed, backed off or was interrupted

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


class Rehearsals:
    """Replays stored invocations, one after the other. `timeout_s` bounds one that waits for something not durable."""

    def __init__(self, stage: Stage, timeout_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stage = stage
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._tasks = see_tasks(stage.loop)

    def close(self) -> None:
        self._tasks.release(self._stage.loop)

    async def replay(
        self, definition: ServiceDefinition, row: InvocationRow, journal: Iterable[JournalRow], texts: dict[str, str]
    ) -> Misfit | None:
        """Replay one invocation of an object that holds `texts`; what does not fit, or None."""
        stage = self._stage
        invocation = stage.restore(row, list(journal))
        try:
            if invocation.journal is not None:
                # Nothing that was begun is begun again: each command without an answer counts as under way.
                invocation.work = {command.idx: _GIVEN for command in invocation.journal.commands}
            state = ObjectState(definition, dict(texts))
            if invocation.journal is not None and not invocation.has(Flag.APART):
                state.catch_up(invocation.journal)
            attempt = Rehearsal(stage.host, invocation, state)
            try:
                stage.make_ready(attempt)  # it is a task of its own, so it cannot be run inside of this one
                await self._over(attempt)
            finally:
                attempt.close()
                await stage.left()
            return attempt.misfit
        finally:
            del stage.open[row.seq]

    async def _over(self, attempt: Rehearsal) -> None:
        """Return when it is over: after a turn, or when the handler's own tasks, and what it awaits of asyncio, are done."""
        deadline = self._monotonic() + self._timeout_s
        turns = 0
        while not attempt.over:
            await asyncio.sleep(0 if turns < PROMPT_TURNS else 0.005)
            turns += 1
            if self._stage.failure is not None:
                raise self._stage.failure
            if attempt.over or turns < PROMPT_TURNS:
                continue
            if attempt.caught_up() and not attempt.settling:
                attempt.found(None)
            elif self._monotonic() > deadline:
                recorded = attempt.unasked()
                attempt.found(
                    Misfit(
                        "timeout",
                        f"The handler did not come to its next recorded command within {self._timeout_s:g} s. It awaits "
                        "something that is not durable, such as asyncio.sleep.",
                        recorded.idx if recorded is not None else None,
                        _in_seconds(repr(recorded)) if recorded is not None else None,
                    )
                )


def _in_seconds(command: str) -> str:
    """The text of a command, which for a sleep has its milliseconds as a name: sleep '1500' is sleep 1.5 s."""
    sleep = re.fullmatch(r"sleep '(\d+)'", command)
    return command if sleep is None else f"sleep {int(sleep[1]) / 1000:g} s"


def _short(value: Any) -> str:
    text = printable(value)
    return text if len(text) <= 200 else text[:197] + "..."
