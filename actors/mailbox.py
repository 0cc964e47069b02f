"""The queue of one object and the one invocation that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.model.object_state import ObjectState

if TYPE_CHECKING:
    from actors.invocation import Invocation


class Mailbox:
    """One (service, key) in memory.

    Invariant: `current` is the only exclusive invocation between its first line and its outcome; it stays `current` while
    it waits, backs off or is paused. The rest wait in order of acceptance, linked from `first` to `last` by their
    `following`: a queue object for each busy key would cost more than the messages in it. While `state` is None the
    object is being loaded and everything accepted waits in `arrivals`.
    """

    __slots__ = (
        "arrivals",
        "current",
        "first",
        "gone",
        "key",
        "last",
        "length",
        "pins",
        "readers",
        "recent",
        "service",
        "state",
        "written_in",
    )

    def __init__(self, service: str, key: str) -> None:
        self.service = service
        self.key = key
        self.state: ObjectState | None = None
        self.current: Invocation | None = None
        self.first: Invocation | None = None
        self.last: Invocation | None = None
        self.length = 0  # how many are linked from `first`
        self.pins = 0  # how many are about to do something with it: it may not be evicted
        self.readers = 0  # shared invocations in memory
        self.arrivals: list[Invocation] | None = None
        self.gone: set[int] | None = None  # numbers of arrivals that ended before the object was loaded
        self.recent = True  # had a message since the loader last looked for something to evict
        self.written_in = 0  # number of the last batch that holds a change of this object

    def append(self, invocation: Invocation) -> None:
        if self.last is None:
            self.first = invocation
        else:
            self.last.following = invocation
        self.last = invocation
        self.length += 1

    def pop(self) -> Invocation | None:
        """The next in order, or None."""
        invocation = self.first
        if invocation is not None:
            self.length -= 1
            self.first, invocation.following = invocation.following, None
            if self.first is None:
                self.last = None
        return invocation

    def remove(self, invocation: Invocation) -> None:
        """Take one out of the queue, wherever it stands, or out of what waits for the object to be loaded."""
        if self.state is None:
            if self.arrivals is not None and invocation in self.arrivals:
                self.arrivals.remove(invocation)
                self.length -= 1
            if self.gone is None:
                self.gone = set()
            self.gone.add(invocation.seq)
            return
        before: Invocation | None = None
        waiting = self.first
        while waiting is not None and waiting is not invocation:
            before, waiting = waiting, waiting.following
        if waiting is None:
            return
        self.length -= 1
        if before is None:
            self.first = invocation.following
        else:
            before.following = invocation.following
        if self.last is invocation:
            self.last = before
        invocation.following = None
