"""A retrace that tells a listener what its handler requests and is shown, in the order in which that happens.

Promise: telling changes nothing. A replay to a position ends before the first request and before the first answer beyond it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Protocol

from actors.attempt.attempt import Attempt
from actors.attempt.invocation import Invocation
from actors.check.rehearsal import Misfit, Stage
from actors.check.retrace import Retrace
from actors.errors import ActorsError, TerminalError
from actors.journal.entries import WRITES, Entry, Kind
from actors.model.definitions import HandlerDefinition
from actors.model.object_state import ObjectState
from actors.serde import Codec
from actors.tasks.origins import Origin, origin_of
from actors.tasks.places import place_of


class Listener(Protocol):
    """Hears of one replay."""

    def begins(self, handler: HandlerDefinition) -> None:
        """The first line of the handler comes next."""

    def requested(self, command: Entry, text: str | None, place: str | None) -> None:
        """The handler has requested a recorded command. `text` is the whole text of a write, `place` the line, `order.py:17`."""

    def shown(self, completion: Entry, command: Entry | None) -> None:
        """The handler is shown a completion, of this command."""

    def ends(self, reached: dict[str, str] | None) -> None:
        """The replay is over. `reached` is the state at the position to which it was to go."""

    def drawn(self) -> None:
        """The handler uses the random numbers of its context."""


class _Reached(ActorsError):
    """The replay has come to its position."""


_REACHED = _Reached()
STEP: Final = Attempt._step.__code__  # above it in a stack there is no code of the handler


class Narrated(Retrace):
    """A retrace with a listener. It ends at the position `to`, unless that is None."""

    __slots__ = ("_asked", "_listener", "_to")

    def __init__(
        self,
        listener: Listener,
        to: int | None,
        host: Stage,
        invocation: Invocation,
        state: ObjectState,
        ends: bool,
        between: bool,
    ) -> None:
        super().__init__(host, invocation, state, ends, between)
        self._listener = listener
        self._to = to
        self._asked = 0

    def found(self, misfit: Misfit | None) -> None:
        if not self.over:
            super().found(misfit)
            self._listener.ends(self._texts() if self._stop_error is _REACHED else None)

    def _texts(self) -> dict[str, str]:
        texts = dict(self.state.texts)
        try:
            changes = self.state.changes() or {}
        except TerminalError:  # a value that cannot be stored: the code has not come to where that is refused
            changes = {}
        for name, text in changes.items():
            if text is None:
                texts.pop(name, None)
            else:
                texts[name] = text
        return texts

    def _begin(self) -> bool:
        begun = super()._begin()
        if begun:
            self._listener.begins(self.handler)
        return begun

    def generator(self) -> Any:
        self._listener.drawn()
        return super().generator()

    # --- requests ---------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        super().flush()
        self._halt()

    def command(
        self, kind: int, name: str | None = None, value: str | bytes | None = None, codec: Codec | None = None
    ) -> Entry | None:
        entry = super().command(kind, name, value, codec)
        self._tell()
        return entry

    def matches_call(self, kind: int, target: Any, name: str, args_text: str) -> Entry | None:
        entry = super().matches_call(kind, target, name, args_text)
        self._tell()
        return entry

    def _write(self, name: str, text: str | None, write: Any, codec: Codec | None = None) -> None:
        self._halt()
        super()._write(name, text, write, codec)
        self._tell()

    def _record_changes(self) -> None:
        super()._record_changes()
        self._tell()  # a reader has come past its snapshot

    def _halt(self) -> None:
        """End the replay if the next recorded command is beyond the position to go to."""
        if self._to is None or self._replay is None:
            return
        recorded = self._replay.expected()
        if recorded is not None and recorded.idx > self._to:
            raise self._stop(_REACHED)

    def _pause(self, error: ActorsError) -> None:
        if error is _REACHED:
            self.found(None)
        else:
            super()._pause(error)

    def _tell(self) -> None:
        journal = self.invocation.journal
        if journal is None or self._replay is None:
            return
        place: str | None = None
        for entry in journal.commands[self._asked : self._replay.taken()]:
            self._asked += 1
            place = place or self._place()
            text = self.state.texts.get(entry.name or "") if entry.kind in WRITES and entry.kind != Kind.CLEAR else None
            self._listener.requested(entry, text, place)

    def _place(self) -> str | None:
        """The line of the user's code that is running, or that waits."""
        own = code_of(self.handler.function).co_filename
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not STEP:
            file = frame.f_code.co_filename
            if file == own or origin_of(file) is Origin.USERS:
                return f"{os.path.basename(file)}:{frame.f_lineno}"
            if frame.f_globals.get("__name__") == "asyncio.events":
                break  # a task of the handler goes on; what started the loop is not its code
            frame = frame.f_back
        return place_of(self._coroutine)

    # --- answers ----------------------------------------------------------------------------------------------------------

    def _show_next(self) -> bool:
        journal = self.invocation.journal
        if self._replay is not None:
            completion = self._replay.completion()
        else:
            completion = journal.completions[0] if journal is not None and journal.completions else None
        if completion is not None and self._to is not None and completion.idx > self._to:
            self._stop_error = _REACHED
            self.found(None)
            return False
        shown = super()._show_next()
        if shown and completion is not None and journal is not None:
            self._listener.shown(completion, journal.command(completion.ref or 0))
        return shown


def code_of(function: Callable[..., Any]) -> Any:
    """The code that a person has written for a handler: that of the function that decorators wrap."""
    seen: set[int] = set()
    while (wrapped := getattr(function, "__wrapped__", None)) is not None and id(function) not in seen:
        seen.add(id(function))
        function = wrapped
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
