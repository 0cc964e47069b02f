"""The port between a durable future and the attempt whose handler made it."""

from __future__ import annotations

from typing import Protocol

from actors.errors import SerializationError
from actors.serde import Codec


class FutureHost(Protocol):
    """An attempt: one run of a handler's code, as its futures see it."""

    stepping: bool  # while the handler's code runs

    @property
    def refuses(self) -> bool:
        """Whether requests through the context are refused."""
        ...

    @property
    def gave_up(self) -> bool:
        """Whether the handler swallows the exception that should end it. Then its next await never returns."""
        ...

    def on_main_line(self) -> bool:
        """Whether the running code is the handler itself, not a task that it has started."""
        ...

    def runs(self) -> bool:
        """Whether the running code belongs to this attempt: its main line, or a task that it has started."""
        ...

    def cancels_itself(self) -> bool:
        """Whether the handler's own code is running: a replay would repeat what it cancels."""
        ...

    def refuse_to_cancel(self) -> None:
        """End the invocation: a durable wait was cancelled at a moment that no replay could repeat."""
        ...

    def unreadable(self, index: int, codec: Codec | None, error: SerializationError) -> bool:
        """Whether a recorded completion does not fit because its declared type has changed. Then the attempt ends."""
        ...

    def answered_elsewhere(self, index: int) -> bool:
        """Whether the command is answered by code other than the handler's: a step, a call, an attachment."""
        ...

    def id_of_awakeable(self, index: int) -> str: ...
