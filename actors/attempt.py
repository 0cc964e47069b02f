"""One run of a handler's code: it steps the coroutine, replays the journal, records what is new.

An attempt is a task of asyncio, of our own making (asyncio documents `_enter_task` and `_leave_task` for that). Not
using asyncio.Task means that a handler which never blocks costs no task, no future and no turn of the loop, and that
nothing but the journal decides when a waiting handler goes on.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any

from actors import failures
from actors.context import Context
from actors.errors import (
    ActorsError,
    AttemptEnded,
    DeterminismError,
    MailboxFull,
    MisusedFuture,
    SerializationError,
    StateDecodeError,
    TerminalError,
    failure_text,
)
from actors.futures import DurableFuture
from actors.invocation import MISSING
from actors.journal import Journal, MigratedReplay, Replay
from actors.object_state import ObjectState, refuse_changes
from actors.recorder import Recorder
from actors.storage import Flag, Status
from actors.upgrades import read, record_version, upgrade
from actors.virtual_object import Served

if TYPE_CHECKING:
    from actors.invocation import Invocation
    from actors.mailbox import Mailbox
    from actors.partition import Partition

log = logging.getLogger("actors")

_enter_task: Any = asyncio.tasks._enter_task
_leave_task: Any = asyncio.tasks._leave_task


# A global is read at half the cost of a class attribute.
_PENDING, _BLOCKED, _SUCCEEDED, _FAILED = Status.PENDING, Status.BLOCKED, Status.SUCCEEDED, Status.FAILED

TURNS_FOR_TASKS = 20  # of the loop, for a handler's own tasks to ask for what the journal holds


class Attempt(Recorder):
    """Life: made ready, run by the partition's turns until it blocks or ends, closed. It runs on one thread, in no task."""

    __slots__ = (
        "__weakref__",
        "_caller",
        "_context",
        "_coroutine",
        "_foreign",
        "_instance",
        "_outcome",
        "_suspicion",
        "_variables",
        "_waiting",
        "scheduled",
    )

    def __init__(self, partition: Partition, invocation: Invocation, state: ObjectState) -> None:
        self.partition = partition
        self.invocation = invocation
        self.state = state
        self.ended = self.stepping = self.told = self._closing = False
        self.snapshot = self._replay = self._futures = self._effects = self._placements = None
        self._throw = self._stop_error = None
        self._refused = self._suspicion = 0
        self.scheduled = True
        self._coroutine: Any = None
        self._context: Context | None = None
        self._instance: Served | None = None
        self._waiting: DurableFuture[Any] | None = None
        self._foreign: asyncio.Future[Any] | None = None
        self._outcome: tuple[int, str, Any] | None = None  # status, text, value
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

    def answered(self) -> bool:
        return self._outcome is not None

    # --- stepping -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Take the handler as far as it goes. Only the partition's turn calls this."""
        self.scheduled = False
        if self.ended:
            return
        if self._outcome is not None:
            self._settle()
            return
        if self._coroutine is None:
            if not self._begin():
                return
        elif self._waiting is not None:
            if not self._show_until(self._waiting):
                if not self._stuck():
                    self._blocked()
                return
            self._waiting = None
            self._suspicion = 0
            self.partition.residence.waiting.pop(self, None)
        elif self._foreign is not None and self._throw is None:
            self._show_all()
            if not self._foreign.done() and self._throw is None:
                return
            self._foreign.remove_done_callback(self._on_foreign)
            self._foreign = None
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
                    upgrade(self.partition, invocation, self.state)
                if journal is not None and journal.migrated is not None:
                    self._replay = MigratedReplay(journal, self._caught_up)
                initial = journal.initial_state(self.state.stored) if journal is not None else None
                instance = self.state.begin(initial)
        except SerializationError as error:
            self._pause(StateDecodeError(f"The stored arguments no longer fit the handler: {error}"))
            return False
        except StateDecodeError as error:
            self._pause(error)
            return False
        self._instance = instance
        instance._actors_attempt = self  # type: ignore[attr-defined]
        variables = self._variables = contextvars.copy_context()
        if self.partition.watcher is not None:
            self.partition.watcher.begins(invocation, variables)
        if handler.wants_context:
            self._coroutine = handler.function(instance, self.context, *args)
        else:
            self._coroutine = handler.function(instance, *args)
        return True

    def _reader(self, journal: Journal | None) -> Served:
        recorded = journal.snapshot() if journal is not None else None
        assert self.invocation.handler is not None
        self.snapshot, instance = read(self.invocation.handler.service, self.invocation.key, self.state, recorded)
        return instance

    def _caught_up(self) -> None:
        """A replay from a migrated state has come to its end: what it makes of that state is the object's from now on.

        It is what migrating the current state gave, unless a migration changes what the handler has written since.
        """
        state = self.state
        for name in {**state.stored, **state.texts}:
            text = state.texts.get(name)
            if text != state.stored.get(name):
                self.partition.write_state(self.invocation, name, text)
        state.stored.clear()
        state.stored.update(state.texts)

    def _step(self) -> None:
        loop = self.partition.loop
        send, throw = self._coroutine.send, self._coroutine.throw
        variables = self._variables
        assert variables is not None
        while True:
            error, self._throw = self._throw, None
            _enter_task(loop, self)
            self.stepping = True
            try:
                yielded = variables.run(send, None) if error is None else variables.run(throw, error)
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
            if self._show_until(yielded):
                return True
            self._waiting = yielded
            if not self._stuck():
                self._blocked()
            return False
        if getattr(yielded, "_asyncio_future_blocking", None):
            # A future of asyncio, awaited directly: allowed, but it is not durable and is awaited again on replay.
            yielded._asyncio_future_blocking = False
            self._foreign = yielded
            yielded.add_done_callback(self._on_foreign, context=self._variables)
            self._show_all()
            if self._throw is None:
                self._goes_on()
                return False
            yielded.remove_done_callback(self._on_foreign)
            self._foreign = None
            return True
        if yielded is None:  # asyncio.sleep(0): behind what the loop has to do
            self.partition.loop.call_soon(self.wake)
            return False
        self._throw = RuntimeError(f"The handler awaited something that is no awaitable of asyncio: {yielded!r}")
        return True

    def _stuck(self) -> bool:
        """Whether a replay waits although the journal holds a command it has not asked for: the code has changed.

        Unless tasks of the handler's own are about to ask: they get a few turns of the loop before that is said.
        """
        if self._replay is None or (recorded := self._replay.expected()) is None:
            return False
        self._suspicion += 1
        if self._suspicion > TURNS_FOR_TASKS:
            self._pause(self._replay.stuck(recorded))
        else:
            self.partition.loop.call_soon(self.wake)
        return True

    def wake(self) -> None:
        """Something happened that may let the handler go on."""
        if not self.scheduled and not self.ended:
            self.scheduled = True
            self.partition.make_ready(self)

    def _on_foreign(self, _: asyncio.Future[Any]) -> None:
        self.wake()

    def _blocked(self) -> None:
        invocation = self.invocation
        if invocation.work:
            self._goes_on()
            return
        if self not in self.partition.residence.waiting:
            self.partition.residence.waits(self)
        if self.ended:
            return
        invocation.status = _BLOCKED
        if invocation.stored_status != _BLOCKED and invocation.dirty_in != self.partition.committer.batch.number:
            self.partition.mark(invocation)

    def _goes_on(self) -> None:
        """It has begun, and waits for what this process does. Who looks at the file must not take it for one in a queue."""
        if self.invocation.stored_status == _PENDING:
            self.partition.mark(self.invocation)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _returned(self, value: Any) -> None:
        if self._stop_error is not None:
            self._pause(self._stop_error)
            return
        handler = self.invocation.handler
        assert handler is not None
        try:
            text = handler.returns.encode(value)
        except SerializationError as error:
            self._terminated(
                SerializationError(f"{handler.target} returned what its return type does not allow: {error}")
            )
            return
        if len(text) > self.partition.max_payload:
            self._terminated(self._too_large(text, f"The result of {handler.target}"))
            return
        self._outcome = (_SUCCEEDED, text, value)
        self._settle()

    def _raised(self, error: BaseException) -> None:
        if self._stop_error is not None:
            self._pause(self._stop_error)
        elif isinstance(error, TerminalError):
            self._terminated(error)
        else:
            failures.attempt_failed(self.partition, self.invocation, error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise error

    def _terminated(self, error: TerminalError) -> None:
        """Fail for good. What the handler wrote before stays, unless that is what cannot be stored."""
        self._outcome = (_FAILED, failure_text(error, self.partition.limits.max_failure), None)
        self._settle()

    def _settle(self) -> None:
        """Hand over the outcome and the last state changes together, in one batch.

        First everything must be in place that belongs into that batch: the effects the handler did not wait for, and
        the caller's journal, which may have to be loaded.
        """
        if self._effects is not None and not all(self._show_until(future) for future in self._effects):
            return
        invocation, partition = self.invocation, self.partition
        parent = invocation.parent
        if parent is not None and parent not in partition.open:
            partition.loader.spawn([parent], self._caller_loaded)
            return
        handler = invocation.handler
        assert self._outcome is not None and handler is not None
        status, text, value = self._outcome
        try:
            self._finish_writes(keep=status == _SUCCEEDED or not handler.atomic)
        except TerminalError as error:
            status, text = _FAILED, failure_text(error)
        except DeterminismError as error:
            self._pause(error)
            return
        self._over()
        if status != _SUCCEEDED or type(value) not in handler.returns.atoms:
            value = MISSING
        partition.finish(invocation, status, text, value)
        if self._caller is not None:
            partition.loader.unpin([self._caller])
            self._caller = None

    def _caller_loaded(self) -> None:
        invocation, partition = self.invocation, self.partition
        if self.ended or invocation.parent is None:
            return
        caller = partition.open.get(invocation.parent)
        if caller is None:
            invocation.parent = None  # it has ended: nobody waits any more
        elif caller.mailbox is not None and self._caller is None:
            self._caller = caller.mailbox  # it stays until it has its answer
            self._caller.pins += 1
        self.wake()

    def _finish_writes(self, keep: bool) -> None:
        """Store the last changes, without journal entries: they become durable together with the outcome.

        With `keep` false they are dropped: the partition undoes the earlier ones. Raises TerminalError, with nothing stored, if they are refused.
        """
        replay = self._replay
        if replay is not None and (recorded := replay.expected()) is not None:
            raise replay.unfinished(recorded)
        if self.snapshot is not None:
            assert self._instance is not None
            refuse_changes(self.invocation.handler.service, self._instance, self.snapshot)  # type: ignore[union-attr]
            return
        if not keep:
            self.state.discard()
            return
        try:
            changes = self.state.changes()
            if changes is not None:
                longest = self.partition.max_payload
                for text in changes.values():
                    if text is not None and len(text) > longest:
                        self._check_room(changes)
        except TerminalError:
            self.state.discard()
            raise
        state = self.state
        if changes is not None:
            invocation, stored = self.invocation, state.stored
            batch = self.partition.committer.batch
            for name, text in changes.items():
                if text is None:
                    stored.pop(name, None)
                else:
                    stored[name] = text
                batch.state[invocation.service, invocation.key, name] = text
            invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]
            if state.foreign:
                record_version(self.partition, invocation, state)
        state.texts = state.stored

    def stop_soon(self, turns: int = TURNS_FOR_TASKS) -> None:
        if self.ended or self._stop_error is None:
            return
        if turns:
            self.partition.loop.call_soon(self.stop_soon, turns - 1)
        else:
            self._pause(self._stop_error)

    def _pause(self, error: ActorsError) -> None:
        if isinstance(error, MailboxFull):
            failures.pushed_back(self.partition, self.invocation, error)
            return
        self.close()
        reason = str(error)
        if isinstance(error, DeterminismError) and self.invocation.has(Flag.CONTINUES):
            reason += (
                " It was restarted with a part of another one's journal: if it began with other state than that one, kill it, "
                "and restart with another keep=, or without."
            )
        failures.pause(self.partition, self.invocation, reason, error)

    def _over(self) -> None:
        """From now on nothing is asked of the handler. Cycles are cut here: the collector would find them late."""
        self.ended = True
        if self._waiting is not None:
            self.partition.residence.waiting.pop(self, None)
            self._waiting = None
        self._futures = self._effects = self._placements = self._context = None
        if self._instance is not None:
            self._instance._actors_attempt = None  # type: ignore[attr-defined]
            self._instance = None

    def close(self) -> None:
        """Leave the handler where it is. Its `finally` blocks run, but what they ask of the context has no effect."""
        if self.ended:
            return
        self._over()
        if not self.invocation.shared:  # a reader has an instance of its own, and may not have begun to read
            self.state.discard()
        coroutine, self._coroutine = self._coroutine, None
        if self._foreign is not None:
            self._foreign.remove_done_callback(self._on_foreign)
        if self._caller is not None:
            self.partition.loader.unpin([self._caller])
            self._caller = None
        if coroutine is None:
            return
        self._closing = True
        try:
            coroutine.close()
        except AttemptEnded:
            pass
        except BaseException as error:
            if isinstance(error, RuntimeError) and self.gave_up:
                _stubborn.append(coroutine)  # let go, it would be closed once more, with the same result
            log.exception("A handler raised while it was closed; the error has no effect on its invocation")
        finally:
            self._closing = False

    # --- what asyncio asks of the current task --------------------------------------------------------------------------

    def cancel(self, msg: Any = None) -> bool:
        """asyncio.timeout() and task groups call this on the task they run in."""
        if self.ended:
            return False
        if self._foreign is not None and self._foreign.cancel(msg):
            return True
        if self._waiting is not None:
            # Not raised in the handler: it could catch it and go on, at a moment that no replay finds again.
            misused = MisusedFuture(
                "A timeout or task group of asyncio tried to cancel a durable wait, which no replay could repeat. "
                "Use ctx.timeout(future, seconds) instead."
            )
            self.partition.end(self.invocation, misused)
            return True
        self._throw = asyncio.CancelledError()
        self.wake()
        return True

    def cancelling(self) -> int:
        return 0

    def uncancel(self) -> int:
        return 0

    def done(self) -> bool:
        return self.ended

    def cancelled(self) -> bool:
        return False

    def get_coro(self) -> Any:
        return self._coroutine

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.partition.loop

    def get_name(self) -> str:
        return self.invocation.address


_stubborn: list[Any] = []
