"""Which traces an ended invocation may leave, and which it must not."""

from __future__ import annotations

import logging

from actors.attempt.invocation import Invocation
from actors.attempt.work import StepWork, Work
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.memory.residents import Residents
from actors.engine.operating.ticks import Ticks
from actors.engine.timer_queue import DELIVER
from actors.engine.timers import Timers
from actors.engine.waits.attachments import Attachments
from actors.engine.waits.promises import Promises
from actors.errors import StateDecodeError
from actors.journal.entries import Kind
from actors.journal.journal import Journal
from actors.storage.records import Flag, Mode, Status

log = logging.getLogger("actors")

_FAILED = Status.FAILED
_TIMED = frozenset((Kind.SLEEP, Kind.AWAKEABLE))  # the kinds of commands that may have a timer


class Teardown:
    """Hooks of `progress`, for the few ended invocations that leave something to clean up."""

    __slots__ = ("_attachments", "_env", "_ledger", "_promises", "_residents", "_ticks", "_timers")

    def __init__(
        self,
        env: Env,
        residents: Residents,
        ledger: Ledger,
        timers: Timers,
        attachments: Attachments,
        promises: Promises,
        ticks: Ticks,
    ) -> None:
        self._env = env
        self._residents = residents
        self._ledger = ledger
        self._timers = timers
        self._attachments = attachments
        self._promises = promises
        self._ticks = ticks

    def finish_rare(self, invocation: Invocation) -> None:
        """Notify the other parts of the end of an invocation with extras."""
        extras = invocation.extras
        assert extras is not None
        self._residents.paused_here.discard(invocation.seq)
        self._timers.cancel_retry(invocation.seq)
        if invocation.status == Status.SUCCEEDED:
            extras.reason = None
        if extras.flags & Flag.ATTACHED:
            self._attachments.ended(invocation.seq, invocation.status, invocation.outcome)
        if extras.flags & Flag.TICK:
            self._ticks.ended(invocation)

    def clean_up(self, invocation: Invocation, journal: Journal) -> None:
        """Stop everything that could still happen for an ended invocation: timers, work and waits."""
        work, invocation.work = invocation.work, None
        if work:
            invocation.work = self._cancel_work(invocation, journal, work)
        for entry in journal.commands:
            if entry.kind in _TIMED and entry.ref is not None and entry.idx not in journal.completed:
                self._timers.cancel(entry.ref, invocation.seq, entry.idx)
        if (
            invocation.status == _FAILED
            and invocation.handler is not None
            and invocation.handler.atomic
            and not invocation.has(Flag.APART)
        ):
            self._roll_back(invocation, journal)
        mailbox = invocation.mailbox
        # The check of `write_behind`, repeated here: few states are behind, and every call has a journal to clean up.
        if (
            mailbox is not None
            and mailbox.state is not None
            and mailbox.state.behind is not None
            and not invocation.shared
        ):
            self._ledger.write_behind(mailbox)
        if invocation.handler is not None and invocation.handler.service.kind == "workflow":
            self._promises.ended(invocation, journal)

    def _cancel_work(self, invocation: Invocation, journal: Journal, work: dict[int, Work]) -> dict[int, Work] | None:
        """Cancel the work of the invocation. Returns the steps that hold the key because they are still executed, or None."""
        left: dict[int, Work] = {}
        for index, piece in work.items():
            if not isinstance(piece, StepWork):
                piece.cancel()
            elif piece.leave() and invocation.mode == Mode.EXCLUSIVE:
                left[index] = piece
            command = journal.command(index)
            if invocation.status == Status.SUCCEEDED and command is not None and command.kind == Kind.RUN:
                log.warning(
                    "%s returned before its step %s was done, which was cut short. Await every ctx.run(...)",
                    self._env.label(invocation),
                    command.name,
                )
        return left or None

    def _roll_back(self, invocation: Invocation, journal: Journal) -> None:
        """Undo the state changes of an invocation that began under a release that did not keep its writes apart."""
        mailbox = invocation.mailbox
        assert mailbox is not None and mailbox.state is not None
        stored = mailbox.state.stored
        try:
            found = journal.rolled_back(stored)
        except StateDecodeError as error:  # the file was edited: the earlier state is unknown
            log.error(
                "The state of %s cannot be rolled back and stays as it is. %s", self._env.label(invocation), error
            )
            found = {}
        for name, text in found.items():
            if text is None:
                stored.pop(name, None)
            else:
                stored[name] = text
            self._ledger.write_state(invocation, name, text)
        mailbox.state.discard()

    def undelivered(self, invocation: Invocation) -> None:
        """A message that ends before its time is not delivered."""
        self._timers.cancel(invocation.position, invocation.seq, DELIVER)
