"""One run of a handler's code: it steps the coroutine, replays the journal, records what is new.

An attempt is an asyncio task with its own implementation (asyncio documents `_enter_task` and `_leave_task` for that).
Not using asyncio.Task means that a handler which never blocks costs no task, no future and no turn of the loop, and
that nothing but the journal decides when a waiting handler goes on. Its *main line* is the coroutine of the handler;
what the code starts beside it are its `branches`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.attempt import raised
from actors.attempt.branches import Branches, tasks_are_seen
from actors.attempt.cleanup import CleanUp
from actors.attempt.commands import Commands
from actors.attempt.invocation import MISSING, invocation_of
from actors.attempt.ports import Host
from actors.attempt.upgrades import read, record_version, upgrade
from actors.errors import (
    ActorsError,
    AttemptEnded,
    DeterminismError,
    MailboxFull,
    MisusedFuture,
    SerializationError,
    StateDecodeError,
    TerminalError,
)
from actors.journal.entries import Entry
from actors.journal.journal import Journal
from actors.journal.replay import MigratedReplay, Replay
from actors.model.context import Context
from actors.model.futures import DurableFuture, Sleep, mark_seen
from actors.model.instances import set_attempt
from actors.model.object_state import ObjectState, refuse_changes
from actors.model.virtual_object import Served
from actors.serde.failures import failure_text
from actors.storage.records import Flag, Status

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation, Mailbox

log = logging.getLogger("actors")

_enter_task: Any = asyncio.tasks._enter_task
_leave_task: Any = asyncio.tasks._leave_task


# A global is read at half the cost of a class attribute.
_PENDING, _BLOCKED, _SUCCEEDED, _FAILED = Status.PENDING, Status.BLOCKED, Status.SUCCEEDED, Status.FAILED


class Attempt(Commands):
    """Life: made ready, run by the partition's turns until it blocks or ends, closed. It runs on one thread, in no task."""

    __slots__ = (
        "__weakref__",
        "_caller",
        "_cleanup",
        "_context",
        "_coroutine",
        "_foreign",
        "_instance",
        "_looked_into",
        "_variables",
        "_waiting",
        "scheduled",
    )

    def __init__(self, host: Host, invocation: Invocation, state: ObjectState) -> None:
        self.host = host
        self.invocation = invocation
        self.state = state
        self.ended = self.stepping = self.told = False
        self.snapshot = self._replay = self._futures = self._effects = self._placements = None
        self._throw = self._stop_error = self._branches = None
        self._looked_into: Insides | None = None
        self._cleanup: CleanUp | None = None
        self._refused = 0
        self.scheduled = True
        self._coroutine: Any = None
        self._context: Context | None = None
        self._instance: Served | None = None
        self._waiting: DurableFuture[Any] | None = None
        self._foreign: asyncio.Future[Any] | None = None  # of asyncio; or _NEXT_TURN
        self._outcome = None
        self._variables: contextvars.Context | None = None
        self._caller: Mailbox | None = None

    @property
    def context(self) -> Context:
        if self._context is None:
            self._context = Context(self)
        return self._context

    @property
    def begun(self) -> bool:
        """Whether the handler's first line may have run."""
        return self._coroutine is not None or self._outcome is not None

    # --- stepping -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Take the handler as far as it goes. Only the partition calls this."""
        self.scheduled = False
        if self.ended:
            return
        if self._outcome is not None:
            self._settle()
            return
        if self._stop_error is not None:  # a branch requested a command that does not match the journal
            self._pause(self._stop_error)
            return
        if self._coroutine is None:
            if not self._begin():
                return
        elif self._waiting is not None:
            if not self._show_until(self._waiting):
                self._rest()
                return
            self._waiting = None
            self.host.waiting.pop(self, None)
        elif self._foreign is not None:
            self._show_all()
            if self._throw is None:
                self._rest()
                return
            self._leave_foreign()
        else:
            return
        self._step()

    def _begin(self) -> bool:
        invocation = self.invocation
        handler = invocation.handler
        assert handler is not None
        journal = invocation.journal
        try:
            args = invocation.args if invocation.args is not None else handler.decode(invocation.args_text)
            if journal is not None:
                self._replay = Replay(journal)
            if invocation.shared:
                instance = self._reader(journal)
            else:
                if self.state.foreign:
                    upgrade(self.host, invocation, self.state, self.host.max_payload)
                if journal is not None and journal.migrated is not None:
                    self._replay = MigratedReplay(journal, self._caught_up)
                initial = None
                if journal is not None:
                    initial = journal.initial_state(self.state.stored, invocation.has(Flag.APART))
                instance = self.state.begin(initial)
        except SerializationError as error:
            self._pause(StateDecodeError(f"The stored arguments no longer fit the handler: {error}"))
            return False
        except StateDecodeError as error:
            self._pause(error)
            return False
        self._instance = instance
        if instance.__class__ is handler.service.cls:
            instance._actors_attempt = self  # type: ignore[attr-defined]
        else:
            set_attempt(instance, self)
        variables = self._variables = contextvars.copy_context()
        if self.host.watcher is not None:
            self.host.watcher.begins(invocation, variables)
        if handler.takes_context:
            variables.run(invocation_of.set, invocation)  # for others this would cost more than it gives
            self._coroutine = handler.function(instance, self.context, *args)
        else:
            self._coroutine = handler.function(instance, *args)
        return True

    def guard_state(self) -> None:
        """A step is about to run. From now on the instance refuses assignments made inside a step; a reader's instance
        refuses all assignments.
        """
        instance, handler = self._instance, self.invocation.handler
        if instance is not None and handler is not None and not self.invocation.shared:
            instance.__class__ = handler.service.guarded

    def _reader(self, journal: Journal | None) -> Served:
        recorded = journal.snapshot() if journal is not None else None
        assert self.invocation.handler is not None
        self.snapshot, instance = read(self.invocation.handler.service, self.invocation.key, self.state, recorded)
        return instance

    def _caught_up(self) -> None:
        """A replay that began with a migrated state has reached the end of its journal.

        The state it has produced is the object's state from now on. It equals the migrated current state, unless a
        migration changes what the handler has written since.
        """
        state = self.state
        if self.invocation.has(Flag.APART):
            return
        for name in {**state.stored, **state.texts}:
            text = state.texts.get(name)
            if text != state.stored.get(name):
                self.host.write_state(self.invocation, name, text)
        state.stored.clear()
        state.stored.update(state.texts)

    def _step(self) -> None:
        loop, coroutine = self.host.loop, self._coroutine
        run: Any = self._variables.run  # type: ignore[union-attr]
        while True:
            error = self._throw
            _enter_task(loop, self)
            self.stepping = True
            try:
                if error is None:
                    yielded = run(coroutine.send, None)
                else:
                    self._throw = None
                    yielded = run(coroutine.throw, error)
            except StopIteration as stop:
                self.stepping = False
                _leave_task(loop, self)
                self._returned(stop.value)
                return
            except BaseException as raised:
                self.stepping = False
                _leave_task(loop, self)
                self._raised(raised)
                return
            self.stepping = False
            _leave_task(loop, self)
            if self._stop_error is not None:
                self._pause(self._stop_error)
                return
            if self._branches is not None:
                self._branches.stirred()
            if not self._wait_for(yielded):
                return

    def _wait_for(self, yielded: Any) -> bool:
        """Whether the handler can go on at once after yielding this."""
        if isinstance(yielded, DurableFuture):
            try:
                self._record_changes()
            except TerminalError as error:
                self._throw = error
                return True
            except AttemptEnded:
                assert self._stop_error is not None
                self._pause(self._stop_error)
                return False
            if self._throw is not None or self._show_until(yielded):
                return True
            self._waiting = yielded
            self._rest()
            return False
        if getattr(yielded, "_asyncio_future_blocking", None):
            # A future of asyncio, awaited directly: allowed, but it is not durable and is awaited again on replay.
            yielded._asyncio_future_blocking = False
            if self._throw is not None:  # its own code has cancelled it
                yielded.cancel()
                return True
            self._foreign = yielded
            if self._branches is not None:
                self._branches.awaits(yielded)
            yielded.add_done_callback(self._on_foreign, context=self.host.variables)
        elif yielded is None:  # asyncio.sleep(0): behind what the loop has to do
            self._foreign = _NEXT_TURN
            self.host.call_soon(self._on_foreign, None)
        else:
            self._throw = RuntimeError(f"The handler awaited an object that asyncio cannot await: {yielded!r}")
            return True
        self._show_all()
        if self._throw is not None:
            self._leave_foreign()
            return True
        self._rest()
        return False

    def _leave_foreign(self) -> None:
        foreign, self._foreign = self._foreign, None
        if foreign is not None and foreign is not _NEXT_TURN:
            foreign.remove_done_callback(self._on_foreign)
            foreign.add_done_callback(mark_seen)  # otherwise gather reports it

    def _on_foreign(self, foreign: asyncio.Future[Any] | None) -> None:
        """What the main line awaited of asyncio is done. It goes on within this callback, as every task does."""
        if self._foreign is (foreign if foreign is not None else _NEXT_TURN) and not self.ended:
            self.host.run_now(self, self._go_on)

    def _go_on(self) -> None:
        if self.ended or self._foreign is None:
            return
        if self._branches is None:
            self._show_all()  # on a replay the awaited future may take longer, and these completions would come first
        self._foreign = None
        self._step()

    def _rest(self) -> None:
        """The main line waits. Unless the handler is about to go on, say how: it is blocked, or the code has changed."""
        branches = self._branches
        if branches is not None and not branches.at_rest():
            return
        if self._replay is not None and (recorded := self._replay.expected()) is not None:
            if self._replay.completion() is None:
                self._stuck(recorded)
            return
        if self._waiting is not None and (branches is None or branches.all_wait_durably()):
            self._blocked()
        else:
            self._holds_its_place()

    def _stuck(self, recorded: Entry) -> None:
        """A replay waits although the journal holds a command that it has not requested. If nothing else can arrive,
        the code has changed.
        """
        assert self._replay is not None
        if self._certain():
            self._pause(self._replay.stuck(recorded))
        else:
            self._holds_its_place()
            self.branches().warn_later(recorded)

    def _certain(self) -> bool:
        branches = self._branches
        if self._waiting is None and (branches is None or not branches.waits_durably(self._foreign, self._coroutine)):
            return False
        if branches is not None and branches.tasks:
            return bool(branches.all_wait_durably())
        return tasks_are_seen(self.host.loop)

    @property
    def settling(self) -> bool:
        """Whether it goes on as soon as its branches have come to rest."""
        return self._branches is not None and self._branches.settling

    def branches(self) -> Branches:
        if self._branches is None:
            self._branches = Branches(self)
            invocation_of.set(self.invocation)  # in the handler's own context: its code asks for a task
        return self._branches  # type: ignore[no-any-return]

    def wake(self) -> None:
        """Something happened that may let the handler go on."""
        if not self.scheduled and not self.ended:
            self.scheduled = True
            self.host.make_ready(self)

    def _blocked(self) -> None:
        invocation = self.invocation
        if invocation.work:
            self._holds_its_place()
            return
        if self not in self.host.waiting:
            self.host.waits(self)
        if self.ended:
            return
        if self.state.behind is not None and invocation.mailbox is not None:
            self.host.write_behind(invocation.mailbox)
        invocation.status = _BLOCKED
        if invocation.stored_status != _BLOCKED and invocation.dirty_in != self.host.committer.batch.number:
            self.host.mark(invocation)

    def _holds_its_place(self) -> None:
        """The invocation has begun and waits for work of this process. A reader of the file must not take it for a
        queued one.
        """
        if self.invocation.stored_status == _PENDING:
            self.host.mark(self.invocation)

    # --- the end ------------------------------------------------------------------------------------------------------

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
        able to undo all of them. With `keep` false they are dropped, and the partition undoes the earlier writes.
        Raises TerminalError, with nothing stored, if they are refused.
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
        if changes is not None and invocation.journal is not None:
            self._journal_last(invocation.journal, changes)
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

    # --- what asyncio, and libraries that look inside, ask of a task --------------------------------------------------------

    def _insides(self) -> Insides:
        if self._looked_into is None:
            self._looked_into = Insides()
        return self._looked_into

    def cancels_itself(self) -> bool:
        """Whether it is the handler's own code that is running: what that cancels, it cancels again on replay.

        Own code are the main line, its branches, and what is called when a branch ends, as a task group is. A timer is not:
        it goes off at a moment that no replay finds again.
        """
        if self.refuses:
            return True
        if self.runs() or (self._branches is not None and self._branches.reacting):
            return not _waited_too_long()
        return False

    def refuse_to_cancel(self) -> None:
        """End the invocation, in the next turn: the canceller may be going through a set of tasks that its end would change.

        Not raised in the handler: it could catch it and go on.
        """
        if self._stop_error is None:
            self._stop_error = MisusedFuture(
                "A timeout of asyncio or anyio tried to cancel a durable wait, at a moment that no replay could repeat. Use "
                "ctx.timeout(future, seconds) instead."
            )
            self.wake()

    def cancel(self, msg: Any = None) -> bool:
        """asyncio.timeout(), task groups and cancel scopes call this on the task they run in."""
        if self.ended:
            return self._cleanup is not None and self._cleanup.cancel(msg)
        if self.refuses:
            return True
        self._insides().cancels += 1
        if self._foreign is not None and self._foreign is not _NEXT_TURN:
            if self._foreign.cancel(msg):
                return True
        elif self._waiting is not None:
            if not self.cancels_itself():
                self.refuse_to_cancel()
                return True
            self._waiting = None
            self.host.waiting.pop(self, None)
            self._foreign = _NEXT_TURN
            self.host.call_soon(self._on_foreign, None)
        if self._throw is None:
            self._throw = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        return True

    def cancelling(self) -> int:
        return self._looked_into.cancels if self._looked_into is not None else 0

    def uncancel(self) -> int:
        insides = self._insides()
        if insides.cancels:
            insides.cancels -= 1
            if not insides.cancels and _UNCANCEL_FORGETS and isinstance(self._throw, asyncio.CancelledError):
                self._throw = None
        return insides.cancels

    def done(self) -> bool:
        """Task groups complain about what their children raise once this is so."""
        return self.ended and self._branches is None and self._cleanup is None

    def cancelled(self) -> bool:
        return False

    def result(self) -> Any:
        raise asyncio.InvalidStateError("An attempt has no result. Read the outcome of its invocation.")

    exception = result

    def get_coro(self) -> Any:
        return self._coroutine

    def get_context(self) -> contextvars.Context | None:
        return self._variables

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.host.loop

    def get_name(self) -> str:
        name = self._looked_into.name if self._looked_into is not None else None
        return self.invocation.address if name is None else name

    def set_name(self, value: object) -> None:
        self._insides().name = str(value)

    def get_stack(self, *, limit: int | None = None) -> list[Any]:
        frame = getattr(self._coroutine, "cr_frame", None)
        return [] if frame is None else [frame]

    def print_stack(self, *, limit: int | None = None, file: Any = None) -> None:
        for frame in self.get_stack():
            traceback.print_stack(frame, limit, file)

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None) -> None:
        if self.ended:
            self.host.loop.call_soon(fn, self, context=context)
        else:
            self._insides().callbacks.append((fn, context or contextvars.copy_context()))

    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int:
        insides = self._insides()
        before = len(insides.callbacks)
        insides.callbacks = [(one, context) for one, context in insides.callbacks if one != fn]
        return before - len(insides.callbacks)

    @property
    def _callbacks(self) -> list[Any]:
        return self._looked_into.callbacks if self._looked_into is not None else []

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self.host.loop

    @property
    def _coro(self) -> Any:
        return self._coroutine

    @property
    def _must_cancel(self) -> bool:
        return isinstance(self._throw, asyncio.CancelledError)

    @property
    def _fut_waiter(self) -> asyncio.Future[Any] | None:
        if self._cleanup is not None:
            return self._cleanup.awaited
        return None if self._foreign is _NEXT_TURN else self._foreign


class Insides:
    """Task attributes that few attempts need: callbacks, number of cancellations, clean-up, name."""

    __slots__ = ("callbacks", "cancels", "name")

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[[Any], object], contextvars.Context]] = []
        self.cancels = 0
        self.name: str | None = None

    def ended(self, attempt: Attempt) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback, context in callbacks:
            attempt.host.loop.call_soon(callback, attempt, context=context)


def _waited_too_long() -> bool:
    """Whether asyncio.wait_for is about to cancel because its time is up: on Python 3.11 it does so in the task itself."""
    frame: Any = sys._getframe(1)
    for _ in range(12):
        if frame is None:
            return False
        if frame.f_code is _CANCEL_AND_WAIT:
            waiter = frame.f_back.f_locals.get("waiter") if frame.f_back is not None else None
            return waiter is None or not waiter.cancelled()
        frame = frame.f_back
    return False


_CANCEL_AND_WAIT: Any = asyncio.tasks._cancel_and_wait.__code__  # type: ignore[attr-defined]
_UNCANCEL_FORGETS = sys.version_info >= (3, 13)
_NEXT_TURN: Any = object()  # stands for a future when the main line has let the loop go first
