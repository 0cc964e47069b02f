"""The queue of one object and the one invocation that holds it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from actors.object_state import ObjectState

if TYPE_CHECKING:
    from actors.invocation import Invocation


class Mailbox:
    """One (service, key) in memory.

    Invariant: `current` is the only exclusive invocation between its first line and its outcome; it stays `current` while
    it waits, backs off or is paused. `queue` holds the rest in order of acceptance. While `state` is None the object is
    being loaded and everything accepted waits in `arrivals`.
    """

    __slots__ = ("arrivals", "current", "key", "queue", "readers", "service", "state", "written_in")

    def __init__(self, service: str, key: str) -> None:
        self.service = service
        self.key = key
        self.state: ObjectState | None = None
        self.current: Invocation | None = None
        self.queue: deque[Invocation] | None = None
        self.readers = 0  # shared invocations in memory
        self.arrivals: list[Invocation] | None = None
        self.written_in = 0  # number of the last batch that holds a change of this object

    @property
    def idle(self) -> bool:
        return self.current is None and not self.readers and self.state is not None
