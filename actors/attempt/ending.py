"""How an attempt ends: with the outcome of its invocation, paused, failed, or closed where it is."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

from actors.attempt.cleanup import CleanUp
from actors.attempt.invocation import MISSING
from actors.attempt.task_interface import TaskInterface
from actors.attempt.upgrades import record_version
from actors.errors import (
    ActorsError,
    DeterminismError,
    MailboxFull,
    MisusedFuture,
    SerializationError,
    TerminalError,
)
from actors.journal.journal import Journal
from actors.model import raised
from actors.model.futures import Sleep
from actors.model.instances import set_attempt
from actors.model.readers import refuse_changes
from actors.serde.failures import failure_text
from actors.storage.records import Flag, Status

log = logging.getLogger("actors")


_enter_task: Any = asyncio.tasks._enter_task
_leave_task: Any = asyncio.tasks._leave_task

# A global is read at half the cost of a class attribute.
_SUCCEEDED, _FAILED = Status.SUCCEEDED, Status.FAILED


class Ending(TaskInterface):
    """The last part of an attempt's life. An outcome and the last state changes are handed over together, in one batch."""

    __slots__ = ()

    def _returned(self, value: Any) -> None:
        if self._stop_error is not None:
            self._pause(self._stop_error)
            return
        self._coroutine = None
        handler = self.invocation.handler
        assert handler is not None
        try:
            text = handler.returns.encode(value)
        except SerializationError as error:
            self._terminated(
                SerializationError(f"{handler.target} returned a value that its return type does not allow: {error}")
            )
            return
        if len(text) > self.host.max_payload:
            self._terminated(self._too_large(text, f"The result of {handler.target}"))
            return
        if self._context is not None and self._context.slept:
            self._tell_unused()
        self._outcome = (_SUCCEEDED, text, value)
        self._settle()

    def _tell_unused(self) -> None:
        """The handler has returned: say how many of its sleeps let no time pass."""
        unused = sum(type(future) is Sleep and not future.used for future in (self._futures or {}).values())
        if unused:
            log.warning(
                "%s: ctx.sleep was called without await%s, so the handler did not wait. Write await before it.",
                self.invocation.address,
                f" {unused} times" if unused > 1 else "",
            )

    def _raised(self, error: BaseException) -> None:
        if self._stop_error is not None:
            self._pause(self._stop_error)
        elif (terminal := raised.terminal(error)) is not None:
            if terminal is not error:
                self.invocation.more().reason = raised.reason_of(error)  # the text of the whole exception group
            self._terminated(terminal)
        else:
            self.host.attempt_failed(self.invocation, error)
            if raised.interrupted(error):
                raise error

    def _terminated(self, error: TerminalError) -> None:
        """Fail for good. What the handler wrote before stays, unless that is what cannot be stored."""
        self.host.trace_mistake(self.invocation, error)
        self._outcome = (_FAILED, failure_text(error, self.host.limits.max_failure), None)
        self._settle()

    def _settle(self) -> None:
        """Hand over the outcome and the last state changes together, in one batch.

        First everything must be in place that belongs in that batch: the effects the handler did not wait for, and
        the caller's journal, which may have to be loaded.
        """
        if self._branches is not None:
            self._branches.end()
        replay = self._replay
        if replay is not None and replay.expected() is not None and (unfinished := self._not_asked_for()) is not None:
            self._pause(unfinished)
            return
        if self._effects is not None and not all(self._show_until(future) for future in self._effects):
            return
        invocation, host = self.invocation, self.host
        parent = invocation.parent
        if parent is not None and parent not in host.open:
            host.hold_while([parent], self._caller_loaded)
            return
        handler = invocation.handler
        assert self._outcome is not None and handler is not None
        status, text, value = self._outcome
        try:
            keep = status == _SUCCEEDED or not (handler.atomic or invocation.has(Flag.APART))
            self._finish_writes(keep)
        except TerminalError as error:
            host.trace_mistake(invocation, error)
            status, text = _FAILED, failure_text(error)
        self._over()
        if status != _SUCCEEDED or type(value) not in handler.returns.atoms:
            value = MISSING
        host.finish(invocation, status, text, value)
        if self._caller is not None:
            host.unpin([self._caller])
            self._caller = None

    def _caller_loaded(self) -> None:
        invocation, host = self.invocation, self.host
        if self.ended or invocation.parent is None:
            return
        caller = host.open.get(invocation.parent)
        if caller is None:
            invocation.parent = None  # the caller has ended
        elif caller.mailbox is not None and self._caller is None:
            self._caller = caller.mailbox  # it stays until it has its answer
            self._caller.pins += 1
        self.wake()

    def _finish_writes(self, keep: bool) -> None:
        """Store the last changes, which become durable together with the outcome.

        If the invocation has a journal they are recorded in it too: a restart that keeps part of the journal must be
        able to undo all of them. A class with a history records them in any case. With `keep` false they are dropped, and the
        partition undoes the earlier writes. Raises TerminalError, with nothing stored, if they are refused.
        """
        if self.snapshot is not None:
            assert self._instance is not None
            refuse_changes(self.invocation.handler.service, self._instance, self.snapshot)  # type: ignore[union-attr]
            return
        if not keep:
            self.state.discard()
            return
        state, invocation = self.state, self.invocation
        try:
            changes = state.changes()
            if changes is not None:
                longest = self.host.max_payload
                for text in changes.values():
                    if text is not None and len(text) > longest:
                        self._check_room(changes)
        except TerminalError:
            state.discard()
            raise
        if changes is not None:
            journal = invocation.journal
            if journal is None and invocation.handler.service.history:  # type: ignore[union-attr]
                journal = invocation.journal = Journal()
            if journal is not None:
                self._journal_last(journal, changes)
        if invocation.extras is not None and invocation.has(Flag.APART):
            changes = state.ahead(changes or {})
        if changes is not None:
            stored, batch = state.stored, self.host.committer.batch
            service, key, written = invocation.service, invocation.key, batch.state
            for name, text in changes.items():
                if text is None:
                    stored.pop(name, None)
                else:
                    stored[name] = text
                written[service, key, name] = text
            invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]
            if state.foreign:
                record_version(self.host, invocation, state)
        state.texts = state.stored
        if state.containers is not None:
            state.containers.known = None

    def _pause(self, error: ActorsError) -> None:
        if isinstance(error, MailboxFull):
            self.host.pushed_back(self.invocation, error)
            return
        if isinstance(error, MisusedFuture):
            self.host.end(self.invocation, error)
            return
        self.close()
        reason = str(error)
        if isinstance(error, DeterminismError) and self.invocation.has(Flag.CONTINUES):
            reason += (
                " It was restarted with part of another invocation's journal. If it began with other state than "
                "that invocation, kill it, and restart it with another keep= or without keep=."
            )
        self.host.pause(self.invocation, reason, error)

    def _over(self) -> None:
        """From now on nothing is asked of the handler. Cycles are cut here: the collector would find them late."""
        self.ended = True
        if self._waiting is not None:
            self.host.waiting.pop(self, None)
            self._waiting = None
        self._futures = self._effects = self._placements = self._context = None
        instance = self._instance
        if instance is not None:
            if instance.__class__ is self.invocation.handler.service.cls:  # type: ignore[union-attr]
                instance._actors_attempt = None  # type: ignore[attr-defined]
            else:
                set_attempt(instance, None)
            self._instance = None
        if self._branches is not None:
            self._branches.end()
        if self._looked_into is not None:
            self._looked_into.ended(self)

    def close(self) -> None:
        """Leave the handler where it is. Its `finally` blocks and context managers run; what they ask of the context is refused."""
        if self.ended:
            return
        if self._replay is not None:
            self._replay.left(waiting=self._waiting is not None)
        self._over()
        if not self.invocation.shared:  # a reader has an instance of its own, and may not have begun to read
            self.state.discard()
            if self.state.behind is not None and self.invocation.mailbox is not None:
                self.host.write_behind(self.invocation.mailbox)
        self._leave_foreign()
        if self._caller is not None:
            self.host.unpin([self._caller])
            self._caller = None
        coroutine = self._coroutine
        if coroutine is None or getattr(coroutine, "cr_frame", coroutine) is None:  # it has not begun, or has ended
            return
        assert self._variables is not None
        self._cleanup = cleanup = CleanUp(self, coroutine, self._variables)
        cleanup.begin()

    def entered(self, variables: contextvars.Context, coroutine: Any, error: BaseException | None) -> Any:
        """One step of its clean-up, which may be taken while another task runs."""
        loop = self.host.loop
        running: Any = asyncio.current_task(loop)
        if running is not None:
            _leave_task(loop, running)
        _enter_task(loop, self)
        self.stepping = True
        try:
            return variables.run(coroutine.send, None) if error is None else variables.run(coroutine.throw, error)
        finally:
            self.stepping = False
            _leave_task(loop, self)
            if running is not None:
                _enter_task(loop, running)

    def branches_ended(self) -> None:
        if self.ended:
            self._branches = None

    def cleaned_up(self) -> None:
        self._coroutine = self._cleanup = None
