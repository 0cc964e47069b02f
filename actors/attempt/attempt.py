"""One run of a handler's code: it steps the coroutine, replays the journal, records what is new.

An attempt is an asyncio task with its own implementation (asyncio documents `_enter_task` and `_leave_task` for that).
Not using asyncio.Task means that a handler which never blocks costs no task, no future and no turn of the loop, and
that nothing but the journal decides when a waiting handler goes on. Its *main line* is the coroutine of the handler;
what the code starts beside it are its `branches`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from actors.attempt.cleanup import CleanUp
from actors.attempt.current import invocation_of
from actors.attempt.ending import Ending
from actors.attempt.ports import Host
from actors.attempt.task_interface import NEXT_TURN, Insides
from actors.attempt.upgrades import read, upgrade
from actors.errors import (
    AttemptEnded,
    SerializationError,
    StateDecodeError,
    TerminalError,
)
from actors.journal.entries import Entry
from actors.journal.journal import Journal
from actors.journal.replay import MigratedReplay, Replay
from actors.model.context import Context
from actors.model.futures import DurableFuture
from actors.model.instances import set_attempt
from actors.model.object_state import ObjectState
from actors.model.virtual_object import Served
from actors.storage.records import Flag, Status
from actors.tasks.branches import Branches
from actors.tasks.factory import tasks_are_seen
from actors.tasks.places import place_of

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation, Mailbox


log = logging.getLogger("actors")

WARN_AFTER_MS = 30_000  # a replay waits that long for something that is not durable before the log says so

_enter_task: Any = asyncio.tasks._enter_task
_leave_task: Any = asyncio.tasks._leave_task


# A global is read at half the cost of a class attribute.
_PENDING, _BLOCKED = Status.PENDING, Status.BLOCKED


class Attempt(Ending):
    """Life: made ready, run by the partition's turns until it blocks or ends, closed. It runs on one thread, in no task."""

    __slots__ = ("__weakref__",)

    branches_class: ClassVar[type[Branches]] = Branches  # a test kit watches the tasks of handlers in a subclass

    def __init__(self, host: Host, invocation: Invocation, state: ObjectState) -> None:
        self.host = host
        self.invocation = invocation
        self.state = state
        self.ended = self.stepping = self.notified = False
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
        self._foreign: asyncio.Future[Any] | None = None  # of asyncio; or NEXT_TURN
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
        if self._branches is not None:
            # Evicted while its branches react, it would never go on. `_rest` lets it wait again.
            self.host.waiting.pop(self, None)
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
            self._foreign = NEXT_TURN
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

    def _on_foreign(self, foreign: asyncio.Future[Any] | None) -> None:
        """What the main line awaited of asyncio is done. It goes on within this callback, as every task does."""
        if self._foreign is (foreign if foreign is not None else NEXT_TURN) and not self.ended:
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
        if self._waits_durably() and (branches is None or branches.all_wait_durably()):
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
            self._warn_later(recorded)

    def _warn_later(self, recorded: Entry) -> None:
        """A replay waits for something outside and has not reached the recorded command. That may be right, so warn
        only after a while.
        """
        branches, host = self.branches(), self.host
        if branches.warned_of is not recorded:
            branches.warned_of = recorded
            host.wake_at(host.clock.now_ms() + WARN_AFTER_MS, functools.partial(self._warn, recorded))

    def _warn(self, recorded: Entry) -> None:
        if self.ended or self.expects is not recorded:
            return
        log.warning(
            "%s is being replayed and has waited %d s for something that is not durable, such as asyncio.sleep "
            "or an HTTP request. The next recorded command is entry %d, %r. If the code has changed, the handler "
            "may never reach it: then cancel or kill the invocation.",
            self.host.label(self.invocation),
            WARN_AFTER_MS // 1000,
            recorded.idx,
            recorded,
        )

    def _certain(self) -> bool:
        branches = self._branches
        if not self._waits_durably():
            return False
        if branches is not None and branches.tasks:
            return bool(branches.all_wait_durably())
        return tasks_are_seen(self.host.loop)

    def _waits_durably(self) -> bool:
        """Whether the main line waits for the journal, by itself or through its branches: a gather, a task group, `asyncio.wait`."""
        if self._waiting is not None:
            return True
        return self._branches is not None and self._branches.waits_durably(self._foreign, self._coroutine)

    @property
    def settling(self) -> bool:
        """Whether it goes on as soon as its branches have come to rest."""
        return self._branches is not None and self._branches.settling

    def branches(self) -> Branches:
        if self._branches is None:
            self._branches = self.branches_class(self, self.invocation.seed)
            invocation_of.set(self.invocation)  # in the handler's own context: its code asks for a task
        return self._branches

    def unrecorded_wait(self) -> str | None:
        return place_of(self._coroutine) if self._foreign is not None and not self.ended else None

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
