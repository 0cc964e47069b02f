"""What only the process that runs the app knows: which line of code waits, which steps wait for a thread."""

from __future__ import annotations

from typing import Protocol

from actors.storage.records import InvocationRow


class Live(Protocol):
    """Facts of this moment. A command that reads the file from outside has none of them."""

    def unrecorded_wait(self, row: InvocationRow) -> str | None:
        """The line of the handler's code that waits for something of asyncio, which nothing records: `shop.py:17`."""
        ...

    def is_queued(self, row: InvocationRow, position: int) -> bool:
        """Whether the step at this position of the journal waits for a thread."""
        ...


class NotHere:
    """Of an app that runs in another process, or not at all."""

    def unrecorded_wait(self, row: InvocationRow) -> str | None:
        return None

    def is_queued(self, row: InvocationRow, position: int) -> bool:
        return False
