"""Work of this process that completes commands of an invocation."""

from __future__ import annotations

from typing import Protocol


class Work(Protocol):
    """Work of this process that completes a command: a step, or the completion of another invocation's awakeable."""

    def cancel(self) -> object: ...


class StepWork:
    """A step, which its invocation may have to wait for, or stop, without an answer."""

    __slots__ = ()

    def cancel(self) -> object:
        """The app stops. What is being executed goes on; see `Step.abandon`."""
        raise NotImplementedError

    def withdraw(self) -> bool:
        """No new execution: the invocation is paused. Whether one is under way; then its result still counts."""
        raise NotImplementedError

    def leave(self) -> bool:
        """The invocation has ended. Whether the function is still being executed."""
        raise NotImplementedError

    def told_cancelled(self) -> None:
        """The handler is notified of its cancellation: what it requested before is not tried again."""
        raise NotImplementedError
