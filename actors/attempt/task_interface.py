"""An attempt as a task: what asyncio, and libraries that look into the task they run in, ask of it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import traceback
from collections.abc import Callable
from typing import Any

from actors.attempt.cleanup import CleanUp
from actors.attempt.commands import Commands
from actors.attempt.invocation import Mailbox
from actors.model.context import Context
from actors.model.futures import DurableFuture, mark_seen
from actors.model.refusals import cancelled_by_timer
from actors.model.virtual_object import Served
from actors.tasks.timeouts import waited_too_long


class TaskInterface(Commands):
    """The part of an attempt that other code takes for an asyncio.Task.

    Who cancels a durable wait decides whether that is allowed: the handler's own code is, since a replay cancels again what
    that cancels; a timer is not.
    """

    __slots__ = (
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

    _caller: Mailbox | None
    _cleanup: CleanUp | None
    _context: Context | None
    _coroutine: Any
    _foreign: asyncio.Future[Any] | None  # of asyncio; or NEXT_TURN
    _instance: Served | None
    _looked_into: Insides | None
    _variables: contextvars.Context | None
    _waiting: DurableFuture[Any] | None
    scheduled: bool

    def _on_foreign(self, foreign: asyncio.Future[Any] | None) -> None:
        """What the main line awaited of asyncio is done."""
        raise NotImplementedError

    def _leave_foreign(self) -> None:
        foreign, self._foreign = self._foreign, None
        if foreign is not None and foreign is not NEXT_TURN:
            foreign.remove_done_callback(self._on_foreign)
            foreign.add_done_callback(mark_seen)  # otherwise gather reports it

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
            return not waited_too_long()
        return False

    def refuse_to_cancel(self) -> None:
        """End the invocation, in the next turn: the canceller may be going through a set of tasks that its end would change.

        Not raised in the handler: it could catch it and go on.
        """
        if self._stop_error is None:
            self._stop_error = cancelled_by_timer()
            self.wake()

    def cancel(self, msg: Any = None) -> bool:
        """asyncio.timeout(), task groups and cancel scopes call this on the task they run in."""
        if self.ended:
            return self._cleanup is not None and self._cleanup.cancel(msg)
        if self.refuses:
            return True
        self._insides().cancels += 1
        if self._foreign is not None and self._foreign is not NEXT_TURN:
            if self._foreign.cancel(msg):
                return True
        elif self._waiting is not None:
            if not self.cancels_itself():
                self.refuse_to_cancel()
                return True
            self._waiting = None
            self.host.waiting.pop(self, None)
            self._foreign = NEXT_TURN
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
        return None if self._foreign is NEXT_TURN else self._foreign


class Insides:
    """Task attributes that few attempts need: callbacks, number of cancellations, clean-up, name."""

    __slots__ = ("callbacks", "cancels", "name")

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[[Any], object], contextvars.Context]] = []
        self.cancels = 0
        self.name: str | None = None

    def ended(self, attempt: TaskInterface) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback, context in callbacks:
            attempt.host.loop.call_soon(callback, attempt, context=context)


_UNCANCEL_FORGETS = sys.version_info >= (3, 13)
NEXT_TURN: Any = object()  # stands for a future when the main line has let the loop go first
