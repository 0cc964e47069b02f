"""The progress of invocations: handlers are started, commands answered, outcomes recorded and passed on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from actors.attempt.attempt import Attempt
from actors.attempt.invocation import MISSING, Invocation, changed_kind
from actors.attempt.ports import Host
from actors.attempt.work import StepWork, Work
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.residents import Residents
from actors.engine.turns import Turns
from actors.errors import DefinitionError, TerminalError, UnknownHandler, UnknownService
from actors.journal.entries import Entry, Kind
from actors.journal.journal import Journal
from actors.model.catalog import Catalog
from actors.serde.failures import failure_text
from actors.storage.records import Flag, Mode, Status

log = logging.getLogger("actors")

# A global is read at half the cost of a class attribute.
_RUNNING, _BLOCKED, _PAUSED, _SUCCEEDED = Status.RUNNING, Status.BLOCKED, Status.PAUSED, Status.SUCCEEDED

_KEYLESS = Mode.KEYLESS


class Ended(Protocol):
    """Counts ended invocations; those with an idempotency key are counted separately."""

    count: int
    limit: float
    armed: bool  # whether the next sweep is arranged, or not needed

    def look(self) -> None: ...


class Progress:
    """Everything here happens within a turn, or between turns, without an await: in one batch.

    The wiring sets the callables above, once: see `partition`.
    """

    __slots__ = (
        "_background",
        "_catalog",
        "_clock",
        "_committer",
        "_counts",
        "_env",
        "_eviction",
        "_ledger",
        "_open",
        "_turns",
        "_watcher",
        "attempt",
        "begin_recorded",
        "calls_left",
        "clean_up",
        "finish_rare",
        "hold_while",
        "holding",
        "host",
        "pause",
        "retention",
        "sending",
        "stopping",
        "tell_cancelled",
        "undelivered",
    )

    host: Host  # the host of the attempts
    pause: Callable[[Invocation, str, BaseException], None]
    calls_left: Callable[[Invocation, int], bool]  # whether a call is open, apart from the answered call
    tell_cancelled: Callable[[Invocation], None]
    clean_up: Callable[[Invocation, Journal], None]  # for an ended invocation with a journal
    finish_rare: Callable[[Invocation], None]  # for an ended invocation with extras
    undelivered: Callable[[Invocation], None]  # for an invocation that has ended before its time
    retention: Ended
    begin_recorded: Callable[[Invocation], None]  # place what it has sent and no placement is under way for
    sending: Callable[[Iterable[Invocation]], list[asyncio.Task[None]]]  # the placements under way of these invocations
    hold_while: Callable[[Iterable[int], Callable[[], None]], None]
    holding: Callable[[int], AbstractAsyncContextManager[Invocation | None]]

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        residents: Residents,
        ledger: Ledger,
        turns: Turns,
        background: Background,
        committer: Committer,
        eviction: Eviction,
        attempt: type[Attempt] = Attempt,
    ) -> None:
        self._env = env
        self._catalog = catalog
        self._clock = env.clock
        self._counts = env.counts
        self._watcher = env.watcher
        self._open = residents.open
        self._ledger = ledger
        self._turns = turns
        self._background = background
        self._committer = committer
        self._eviction = eviction
        self.attempt = attempt  # the class of attempts
        self.stopping: set[int] = set()  # will end without their code, once their messages are placed

    def complete(self, invocation: Invocation, index: int, kind: int, value: str | bytes | None) -> None:
        """Record the answer to a command, once, and let the handler see it."""
        journal = invocation.journal
        if invocation.ended or journal is None or index in journal.completed:
            return
        if invocation.work is not None:
            invocation.work.pop(index, None)
        extras = invocation.extras
        if extras is not None and extras.flags & Flag.CANCELLED and not self.calls_left(invocation, index):
            self.tell_cancelled(invocation)  # before the answer of its last call
        turns = self._turns
        at_ms = turns.turn_ms if turns.in_turn else self._clock.now_ms()  # `now_ms`, for each step and awakeable
        self.tell(invocation, journal.append(kind, None, value, index, None, at_ms))

    def tell(self, invocation: Invocation, entry: Entry) -> None:
        """Store a completion just appended to the journal, and wake the handler if it waits."""
        self._ledger.write_entry(invocation, entry)
        status = invocation.status
        # An invocation that was woken for something else just now may still count as blocked on disk.
        if status == _BLOCKED or (status == _RUNNING and invocation.stored_status == _BLOCKED):
            invocation.status = _RUNNING
            self._ledger.mark(invocation)
            if invocation.attempt is None:
                self.start(invocation)
        if invocation.attempt is not None:
            invocation.attempt.wake()

    def withdraw_steps(self, invocation: Invocation) -> None:
        """The invocation is paused: execute its steps no more. A step that is being executed stays, for the next attempt."""
        for index, piece in list((invocation.work or {}).items()):
            if isinstance(piece, StepWork) and not piece.withdraw():
                self.work_ended(invocation, index)

    def step_left(self, invocation: Invocation, index: int) -> None:
        """A step has ended that was still executed when its invocation ended: the key goes on."""
        if invocation.ended and invocation.work is not None and not self._background.stopped:
            invocation.work.pop(index, None)
            if not invocation.work:
                self._pass_on(invocation)

    def add_work(self, invocation: Invocation, index: int, work: Work) -> None:
        """This process is about to complete a command of the invocation; `complete` ends that work."""
        if invocation.status == Status.BLOCKED or invocation.stored_status == Status.BLOCKED:
            invocation.status = Status.RUNNING  # a crash must wake the invocation
            self._ledger.mark(invocation)
        if invocation.work is None:
            invocation.work = {}
        invocation.work[index] = work

    def work_ended(self, invocation: Invocation, index: int) -> None:
        """The work for a command is done, although the command has no answer yet."""
        if invocation.work is not None:
            invocation.work.pop(index, None)
        if invocation.attempt is not None:
            invocation.attempt.wake()

    def place(self, caller: Invocation, index: int, seq: int) -> None:
        """Record which invocation a message with an idempotency key became."""
        journal = caller.journal
        if not caller.ended and journal is not None:
            self.tell(
                caller,
                journal.append(Kind.PLACED, None, str(seq), index, None, self._ledger.now_ms()),
            )

    def wake_at(self, due_ms: int, callback: Callable[[], None]) -> None:
        """Call back at `due_ms`, or when the clock is set back before. In memory only."""
        seen_ms = self._clock.now_ms()

        def check() -> None:
            if not self._background.stopped:
                if seen_ms <= self._clock.now_ms() < due_ms:
                    self._clock.call_at(due_ms, check)
                else:
                    callback()

        self._clock.call_at(due_ms, check)

    def start(self, invocation: Invocation) -> None:
        """Start an attempt of an invocation that holds its object, or reads it."""
        handler = invocation.handler
        if handler is None:
            self._pause_unknown(invocation)
            return
        if self._background.stopped or (self.stopping and invocation.seq in self.stopping):
            self._leave_to_recovery(invocation)
            return  # a resume, for example, was still loading the invocation when the app stopped
        invocation.status = _RUNNING
        assert invocation.mailbox is not None and invocation.mailbox.state is not None
        attempt = invocation.attempt = self.attempt(self.host, invocation, invocation.mailbox.state)
        turns = self._turns
        turns.ready.append(attempt)
        if not turns.scheduled:  # `make_ready`, for what each queued message passes
            turns.schedule()

    def _pause_unknown(self, invocation: Invocation) -> None:
        """Pause an invocation whose handler the app does not have."""
        reason = changed_kind(invocation.service, invocation.mode)
        try:
            if (self._catalog.handler(invocation.service, invocation.handler_name).mode == _KEYLESS) == (
                invocation.mode == _KEYLESS
            ):
                reason = (
                    invocation.extras.reason if invocation.extras is not None else None
                ) or reason  # see `restore`
        except (UnknownService, UnknownHandler) as error:
            reason = str(error)
        self.pause(invocation, reason, DefinitionError(reason))

    # --- how an invocation ends -------------------------------------------------------------------------------------------

    def end(self, invocation: Invocation, error: TerminalError) -> None:
        """Fail an invocation without its code. Its caller must be in memory. Invocations that it has sent to are spared."""
        self.close_attempt(invocation)
        if invocation.seq not in self.stopping:
            self.begin_recorded(invocation)
        if self.sending([invocation]):
            self._leave_to_recovery(invocation)
            self.stopping.add(invocation.seq)
            self._background.run(self._end_sent(invocation.seq, error))
            return
        if invocation.parent is not None and invocation.parent not in self._open:
            self._leave_to_recovery(invocation)
            both = [invocation.seq, invocation.parent]
            self.hold_while(both, functools.partial(self._end_loaded, invocation.seq, error))
            return
        self.finish(invocation, Status.FAILED, failure_text(error))

    def _leave_to_recovery(self, invocation: Invocation) -> None:
        """Its end is put off, or another task ends it. Its timer is gone, so after a crash recovery must start it."""
        if invocation.status == Status.BACKING_OFF:
            invocation.status = _RUNNING
            self._ledger.mark(invocation)

    async def _end_sent(self, seq: int, error: TerminalError) -> None:
        try:
            async with self.holding(seq) as invocation:
                if invocation is not None:
                    async with self.sent([invocation]):
                        if not invocation.ended:
                            self.end(invocation, error)
        finally:
            self.stopping.discard(seq)

    @contextlib.asynccontextmanager
    async def sent(self, senders: list[Invocation]) -> AsyncIterator[None]:
        """Stop the code of the senders, and wait until all their messages are placed. The block then ends the senders."""
        for sender in senders:
            if sender.seq not in self.stopping:
                self.begin_recorded(sender)
        self.stopping.update(sender.seq for sender in senders)
        try:
            if sending := self.sending(senders):
                for sender in senders:
                    self.close_attempt(sender)
                await asyncio.wait(sending)
                self._background.check_running()  # placements end too when the app stops, and have placed nothing then
            yield
        finally:
            self.stopping.difference_update(sender.seq for sender in senders)

    def _end_loaded(self, seq: int, error: TerminalError) -> None:
        invocation = self._open.get(seq)  # the invocation may have been evicted and loaded again
        if invocation is None:
            return
        if invocation.parent not in self._open:
            invocation.parent = None  # the caller has ended
        self.close_attempt(invocation)
        self.finish(invocation, Status.FAILED, failure_text(error))

    def close_attempt(self, invocation: Invocation) -> None:
        attempt, invocation.attempt = invocation.attempt, None
        if attempt is not None:
            attempt.close()

    def finish(self, invocation: Invocation, status: int, outcome: str, value: Any = MISSING) -> None:
        """Record the outcome and pass it on to all waiting callers; the mailbox goes on."""
        invocation.status = status
        invocation.outcome = outcome
        invocation.value = value
        invocation.attempt = None
        invocation.ended_ms = self._turns.turn_ms if self._turns.in_turn else self._clock.now_ms()
        mailbox = invocation.mailbox
        batch = self._committer.batch
        written_in = batch.number
        if invocation.shared and invocation.stored_status < 0 and not invocation.dirty_in:
            # A read leaves no row; its reply waits until the state it has read is durable.
            written_in = mailbox.written_in  # type: ignore[union-attr]
        else:
            retention, extras = self.retention, invocation.extras
            if extras is None or extras.idempotency_key is None or extras.flags & Flag.TICK:
                retention.count += 1
            if status == _SUCCEEDED:
                self._counts.succeeded += 1
            else:
                self._counts.failed += 1
            if self._watcher is not None:
                self._watcher.ended(invocation)
            if retention.count > retention.limit or not retention.armed:
                retention.look()
            if invocation.dirty_in != written_in:
                invocation.dirty_in = written_in
                batch.invocations.append(invocation)
                if not self._turns.scheduled:  # the invocation ended between turns: nothing else would write it
                    self._turns.schedule()
        if invocation.waiters is not None:
            if written_in == batch.number:
                batch.answers.append(invocation)
            else:
                for future in invocation.waiters:
                    self._committer.reply(future, invocation, True, written_in)
        del self._open[invocation.seq]
        if invocation.journal is not None:
            self.clean_up(invocation, invocation.journal)
        if invocation.parent is not None:
            parent, index = self._open.get(invocation.parent), invocation.parent_index
            if parent is not None and index is not None:
                self.complete(parent, index, Kind.COMPLETED if status == _SUCCEEDED else Kind.FAILED, outcome)
        if invocation.extras is not None:
            self.finish_rare(invocation)
        if mailbox is None:  # a message whose time has not come
            self.undelivered(invocation)
            return
        mailbox.written_in = written_in
        if mailbox.state is None:  # an arrival at an object that is being loaded
            mailbox.remove(invocation)
        elif invocation.shared:
            mailbox.readers -= 1
        elif mailbox.current is invocation:
            if invocation.work is not None:
                self._hold_key(invocation)
            elif mailbox.first is not None or invocation.mode == _KEYLESS:
                self._pass_on(invocation)
            else:
                mailbox.current = None
        else:
            mailbox.remove(invocation)

    def _pass_on(self, invocation: Invocation) -> None:
        """Start the next invocation of the mailbox."""
        mailbox = invocation.mailbox
        assert mailbox is not None
        invocation.work = None
        mailbox.current = None
        following = mailbox.pop()
        if following is not None:
            mailbox.current = following
            if following.status != _PAUSED:
                self.start(following)
        elif invocation.mode == _KEYLESS:
            self._eviction.over(mailbox)

    def _hold_key(self, invocation: Invocation) -> None:
        """An ended invocation still executes a step: the next invocation of the key waits for it, for a limited time."""
        steps = ", ".join(str(step) for step in (invocation.work or {}).values())
        grace_ms = self._env.limits.step_grace_ms

        def let_go() -> None:
            if invocation.work is not None:
                log.warning(
                    "%s is still being executed %g s after its invocation ended. The next invocation of the object starts "
                    "beside it now. Limits.step_grace sets how long it waits.",
                    steps,
                    grace_ms / 1000,
                )
                self._pass_on(invocation)

        log.info(
            "%s is still being executed after its invocation ended; the next invocation of the object waits for it.",
            steps,
        )
        self.wake_at(self._clock.due_ms(grace_ms), let_go)
