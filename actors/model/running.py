"""The port between a durable future and the attempt whose handler made it."""

from __future__ import annotations

from typing import Protocol

from actors.errors import SerializationError
from actors.serde import Codec


class Running(Protocol):
    """One run of a handler's code, as its futures know it."""

    stepping: bool  # while the handler's code runs

    @property
    def refuses(self) -> bool:
        """Whether requests through the context are refused."""
        ...

    @property
    def gave_up(self) -> bool:
        """Whether the handler swallows what should end it. Its next await never returns."""
        ...

    def on_main_line(self) -> bool:
        """Whether the running code is that of the handler itself, not of a task that it has started."""
        ...

    def runs(self) -> bool:
        """Whether the running code belongs to this attempt: its main line, or a task that it has started."""
        ...

    def cancels_itself(self) -> bool:
        """Whether it is the handler's own code that is running: a replay would cancel again what that cancels."""
        ...

    def refuse_to_cancel(self) -> None:
        """End the invocation: a durable wait was cancelled at a moment that no replay could repeat."""
        ...

    def unreadable(self, index: int, codec: Codec | None, error: SerializationError) -> bool:
        """Whether a recorded completion does not fit because its declared type has changed. Then the attempt ends."""
        ...

    def answered_elsewhere(self, index: int) -> bool:
        """Whether the command is one that other code than the handler's answers: a step, a call, an attachment."""
        ...

    def id_of_awakeable(self, index: int) -> str: ...

    def id_of(self, number: int) -> str:
        """The id of the invocation with that number."""
        ...
