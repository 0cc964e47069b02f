"""One invocation in memory, and the mailbox it stands in: two records that hold each other."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from actors.attempt.work import Work
from actors.errors import SerializationError
from actors.journal.journal import Journal
from actors.model.definitions import HandlerDefinition
from actors.model.futures import JournaledFuture
from actors.model.names import address
from actors.model.object_state import ObjectState
from actors.serde.failures import failure_error
from actors.storage.records import OWN_KEY, Flag, InvocationRow, Mode, Status

MISSING: Any = object()


class Running(Protocol):
    """The attempt of an invocation, as its engine knows it."""

    invocation: Invocation
    notified: bool  # of a cancellation
    scheduled: bool  # in the queue of those that can go on
    ended: bool

    @property
    def begun(self) -> bool:
        """Whether the handler's first line may have run."""
        ...

    @property
    def settling(self) -> bool:
        """Whether it goes on as soon as the tasks of its handler have come to rest."""
        ...

    def run(self) -> None:
        """Take the handler as far as it goes."""
        ...

    def wake(self) -> None:
        """Something happened that may let the handler go on."""
        ...

    def close(self) -> None:
        """Leave the handler where it is."""
        ...

    def future(self, index: int) -> JournaledFuture[Any] | None:
        """What the handler awaits, or may await, of the command with this index."""
        ...

    def replaying(self) -> bool:
        """Whether the handler's code is where an attempt before this one has been."""
        ...

    def unrecorded_wait(self) -> str | None:
        """The line of the handler's code that waits for something of asyncio, which nothing records; None if none does."""
        ...


class Extras:
    """What few invocations have, stored in columns that the others leave empty."""

    __slots__ = (
        "attempts",
        "failing_since_ms",
        "flags",
        "headers",
        "idempotency_key",
        "logged",
        "pushed_back_at",
        "reason",
        "restart_of",
    )

    def __init__(self) -> None:
        self.attempts = self.flags = 0
        self.headers: str | None = None
        self.reason: str | None = None
        self.failing_since_ms: int | None = None
        self.idempotency_key: str | None = None
        self.restart_of: int | None = None
        self.logged: set[object] | None = None  # in memory only: of which failures the log has the traceback
        self.pushed_back_at: int | None = None  # in memory only: length of its journal when it last met a full mailbox


class Invocation:
    """Accepted once, executed in one or more attempts until it has an outcome.

    `handler` is None when the class no longer has it; such an invocation is paused. `value` is the outcome as an
    object when that object cannot change, so that a caller in this process needs no decoding. `key` is that of its mailbox;
    people know it by its `shown_key`.
    """

    __slots__ = (
        "accepted_ms",
        "args",
        "args_text",
        "attempt",
        "dirty_in",
        "ended_ms",
        "extras",
        "following",
        "handler",
        "handler_name",
        "journal",
        "key",
        "mailbox",
        "mode",
        "outcome",
        "parent",
        "parent_index",
        "position",
        "seq",
        "service",
        "shared",
        "status",
        "stored_status",
        "value",
        "waiters",
        "work",
    )

    def __init__(
        self,
        seq: int,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        accepted_ms: int,
    ) -> None:
        self.seq = self.position = seq
        self.service = target.service.name
        self.key = key
        self.handler_name = target.name
        self.handler: HandlerDefinition | None = target
        self.shared = target.shared
        self.mode = target.mode
        self.args_text = args_text
        self.args = args
        self.accepted_ms = accepted_ms
        self.status = Status.PENDING
        self.stored_status = -1
        self.dirty_in = 0
        self.extras: Extras | None = None
        self.parent: int | None = None
        self.parent_index: int | None = None
        self.ended_ms: int | None = None
        self.outcome: str | None = None
        self.value: Any = MISSING
        self.journal: Journal | None = None
        self.attempt: Running | None = None
        self.mailbox: Mailbox | None = None
        self.following: Invocation | None = None  # the next one in the mailbox
        # By index of the command. While there is any, the invocation counts as running: a crash ends the work, and only
        # another attempt starts it again. Of one that has ended: the steps that are still being executed.
        self.work: dict[int, Work] | None = None
        # Waiters for the durable outcome: futures of callers in this process.
        self.waiters: list[asyncio.Future[Any]] | None = None

    @property
    def recorded(self) -> bool:
        """Whether it has a row, on disk or in a batch on its way there."""
        return self.stored_status >= 0 or self.dirty_in > 0

    @classmethod
    def restored(cls, row: InvocationRow, handler: HandlerDefinition | None, journal: Journal | None) -> Invocation:
        self = cls.__new__(cls)
        self.seq, self.service, self.key, self.handler_name = row.seq, row.service, row.key, row.handler
        self.handler, self.shared, self.mode = handler, row.shared == Mode.SHARED, row.shared
        self.args_text, self.args = row.args, None
        self.accepted_ms, self.ended_ms = row.accepted_ms, row.ended_ms
        self.status = self.stored_status = row.status
        self.position, self.dirty_in = row.position, 0
        self.parent, self.parent_index = row.parent, row.parent_index
        self.outcome, self.value = row.outcome, MISSING
        self.extras = None
        if row.headers or row.attempts or row[15:] != _NO_EXTRAS:
            extras = self.extras = Extras()
            extras.headers, extras.attempts, extras.reason, extras.flags = (
                row.headers,
                row.attempts,
                row.reason,
                row.flags,
            )
            extras.failing_since_ms, extras.idempotency_key, extras.restart_of = (
                row.failing_since_ms,
                row.idempotency_key,
                row.restart_of,
            )
        self.journal = journal
        self.attempt = self.mailbox = self.following = self.work = self.waiters = None
        return self

    def more(self) -> Extras:
        """Its extras, to change one."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    def has(self, flag: int) -> bool:
        return self.extras is not None and bool(self.extras.flags & flag)

    @property
    def seed(self) -> int:
        """The number whose random numbers it draws: its own, unless its journal begins with that of another one."""
        extras = self.extras
        if extras is not None and extras.flags & Flag.CONTINUES and extras.restart_of is not None:
            return extras.restart_of
        return self.seq

    @property
    def attempts(self) -> int:
        """How many attempts have failed."""
        return self.extras.attempts if self.extras is not None else 0

    def plain_row(self) -> tuple[Any, ...]:
        """The PlainRow of this moment, as a bare tuple: one is made for each invocation of each batch."""
        return (
            self.seq,
            self.service,
            self.key,
            self.handler_name,
            self.mode,
            self.status,
            self.position,
            self.args_text,
            self.parent,
            self.parent_index,
            self.accepted_ms,
            self.ended_ms,
            self.outcome,
        )

    def row(self) -> tuple[Any, ...]:
        """The InvocationRow of this moment, for one with extras."""
        extras = self.extras
        assert extras is not None
        return (
            self.seq,
            self.service,
            self.key,
            self.handler_name,
            self.mode,
            self.status,
            self.position,
            self.args_text,
            extras.headers,
            self.parent,
            self.parent_index,
            extras.attempts,
            self.accepted_ms,
            self.ended_ms,
            self.outcome,
            extras.reason,
            extras.flags,
            extras.failing_since_ms,
            extras.idempotency_key,
            extras.restart_of,
        )

    @property
    def shown_key(self) -> str:
        """The key people know: that of a keyless service, which has a mailbox for each invocation, is empty."""
        return "" if self.mode == Mode.KEYLESS else self.key

    def begun(self, index: int) -> bool:
        """Whether a command has its answer, or this process is about to get it."""
        journal, work = self.journal, self.work
        return (
            index == 0 or (journal is not None and index in journal.completed) or (work is not None and index in work)
        )

    @property
    def address(self) -> str:
        """What names its handler in a text: `Order/o1/add`, of a service `Mailer/deliver`."""
        return address(self.service, self.shown_key, self.handler_name)

    @property
    def ended(self) -> bool:
        return self.status >= Status.SUCCEEDED

    def result(self) -> Any:
        """The returned value. Raises the TerminalError it has failed with, or SerializationError."""
        return self.value if self.value is not MISSING else outcome_of(self.handler, self.status, self.outcome)


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


def own_key(seq: int) -> str:
    """The key of an invocation of a keyless service: that of no object, in case the class has become one, or was one."""
    return f"{OWN_KEY}{seq}"


def changed_kind(service: str, mode: int) -> str:
    """Why an invocation of this mode cannot go on, now that its class is a Service, or is none any more."""
    return (
        f"{service} {'was' if mode == Mode.KEYLESS else 'was not'} a Service when this was accepted. Serve the "
        "class under another name, and keep serving the previous class until its invocations have ended."
    )


def outcome_of(handler: HandlerDefinition | None, status: int, outcome: str | None) -> Any:
    """A stored outcome: the value, or raises what the invocation failed with. Raises SerializationError if it does not decode."""
    if outcome is None:
        raise SerializationError("The outcome of this invocation is missing from the file.")
    if status == Status.FAILED:
        raise failure_error(outcome)
    if handler is None:
        raise SerializationError("The class of this invocation is not served any more, so its result type is unknown.")
    return handler.returns.decode(outcome)


_NO_EXTRAS = (None, 0, None, None, None)
