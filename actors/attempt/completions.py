"""The completions that an attempt shows its handler: in order, one by one, and only while nothing of the handler can go on."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.attempt.ports import Host
from actors.errors import (
    ActorsError,
    InvocationCancelled,
    SerializationError,
    StateDecodeError,
)
from actors.journal.entries import Entry, Kind
from actors.journal.replay import Replay
from actors.model.futures import DurableFuture, JournaledFuture
from actors.model.object_state import ObjectState
from actors.serde import ANY, Codec
from actors.tasks.branches import Branches, MainLine

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation

_COMPLETED = Kind.COMPLETED  # a global is read at half the cost of a class attribute


class Completions(MainLine):
    """The lowest storey of an attempt. `stepping` is true while the handler's code runs, `ended` once it must not run any more.

    `Attempt` sets all attributes: a constructor of its own would cost each message a call.
    """

    __slots__ = (
        "_branches",
        "_effects",
        "_futures",
        "_outcome",
        "_placements",
        "_refused",
        "_replay",
        "_stop_error",
        "_throw",
        "ended",
        "host",
        "invocation",
        "notified",
        "snapshot",
        "state",
        "stepping",
    )

    host: Host
    invocation: Invocation
    state: ObjectState
    ended: bool
    stepping: bool
    notified: bool  # of a cancellation
    snapshot: dict[str, str] | None  # what a shared handler reads
    _replay: Replay | None
    _futures: dict[int, JournaledFuture[Any]] | None
    _effects: list[JournaledFuture[Any]] | None
    _placements: dict[int, JournaledFuture[Any]] | None
    _throw: BaseException | None  # what the handler's next step raises
    _stop_error: ActorsError | None
    _outcome: tuple[int, str, Any] | None  # status, text, value
    _branches: Branches | None  # None before the first
    _refused: int

    def wake(self) -> None:
        """Something happened that may let the handler go on."""
        raise NotImplementedError

    def run(self) -> None:
        """Take the handler as far as it goes."""
        raise NotImplementedError

    def entered(self, variables: contextvars.Context, coroutine: Any, error: BaseException | None) -> Any:
        """One step of the clean-up of a closed handler."""
        raise NotImplementedError

    def cleaned_up(self) -> None:
        """The clean-up is over."""
        raise NotImplementedError

    @property
    def leaving(self) -> set[Any]:
        return self.host.leaving

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        self.host.call_soon(callback, *arguments)

    def rested(self) -> None:
        self.host.run_now(self, self.run)

    def guard_state(self) -> None:
        """A step is about to run: assignments made inside it are refused from now on."""
        raise NotImplementedError

    def cancels_itself(self) -> bool:
        """Whether it is the handler's own code that is running: what that cancels, it cancels again on replay."""
        raise NotImplementedError

    def refuse_to_cancel(self) -> None:
        """End the invocation: a durable wait was cancelled at a moment that no replay could repeat."""
        raise NotImplementedError

    def _show_until(self, future: DurableFuture[Any]) -> bool:
        """Show completions, one by one, until `future` is done. False if there are not enough of them yet.

        Between two of them, whatever the handler has started reacts to the first. A cancellation among them ends the wait
        too.
        """
        while not future._state:  # done() would count as a use of it
            if self._branches is not None and not self._branches.at_rest():
                return False
            if not self._show_next():
                return False
            if self._throw is not None:
                return True
        return True

    def _show_all(self) -> None:
        while self._throw is None:
            if self._branches is not None and not self._branches.at_rest():
                return
            if not self._show_next():
                return

    def _show_next(self) -> bool:
        replay = self._replay
        if replay is None:
            if self.invocation.journal is None:
                return False
            replay = self._replay = Replay(self.invocation.journal)  # all there is in it arrived from outside
        entry = replay.completion()
        if entry is None:
            return False
        if self._branches is not None:
            self._branches.shown()
        kind = entry.kind
        if kind == _COMPLETED and self._futures is not None and entry.ref is not None:
            known = self._futures.get(entry.ref)
            if known is not None:
                replay.shown()
                known._complete(entry)
                return True
        if kind == Kind.CANCELLED:
            self.notified = True
            if self._outcome is None:
                self._throw = InvocationCancelled()
        else:
            assert entry.ref is not None
            future = self._futures.get(entry.ref) if kind == Kind.FAILED and self._futures is not None else None
            if self._placements is not None and (kind == Kind.PLACED or kind == Kind.FAILED):
                placement = self._placements.get(entry.ref)
                if placement is not None:
                    placement._complete(entry)
                    future = placement if future is None else future
            if future is None:  # it answers a command that this replay has not reached yet
                return False
            if not future.done():
                future._complete(entry)
        replay.shown()
        return True

    @property
    def refuses(self) -> bool:
        """Whether requests through the context are refused."""
        return self.ended or self._stop_error is not None or self._outcome is not None

    @property
    def expects(self) -> Entry | None:
        """The recorded command that must come next; None if the next command is new."""
        return self._replay.expected() if self._replay is not None else None

    def runs(self) -> bool:
        """Whether the running code belongs to this attempt: its main line, or one of its tasks."""
        current: Any = asyncio.current_task(self.host.loop)
        return current is self or (self._branches is not None and self._branches.owns(current))

    def unreadable(self, index: int, codec: Codec | None, error: SerializationError) -> bool:
        """Whether a recorded completion does not fit because its declared type has changed. Then the attempt is to stop.

        A type that the handler's own code has declared wrongly is an error of the handler, and the same error in each attempt.
        """
        journal = self.invocation.journal
        command = journal.command(index) if journal is not None else None
        if command is None or codec is None:
            return False
        if command.kind == Kind.AWAKEABLE:
            changed = command.name != codec.name
        elif command.kind == Kind.PROMISE:
            changed = command.value != ANY.encode(codec.name)
        else:  # written by the type that is declared here
            changed = command.kind in (Kind.RUN, Kind.CALL)
        if changed:
            self._stop_error = StateDecodeError(
                f"The value recorded for {command!r} (journal entry {command.idx}) no longer fits its declared type: "
                f"{error.message.rstrip('.')}. Let the type accept the recorded value too, or kill the invocation."
            )
        return changed

    def replaying(self) -> bool:
        """Whether the handler's code is where an attempt before this one has been."""
        return self._replay is not None and self._replay.again()

    def future(self, index: int) -> JournaledFuture[Any] | None:
        return self._futures.get(index) if self._futures is not None else None
