"""The rows that travel between the runtime and the database, as plain tuples, and a batch of such rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Status:
    """The status of an invocation, as stored. All statuses below SUCCEEDED are open."""

    SCHEDULED = 0  # the delay has not passed: the invocation is not in the mailbox yet
    PENDING = 1  # in the mailbox
    RUNNING = 2  # code has work to do: recovery starts the invocation
    BLOCKED = 3  # waits for completions only: recovery leaves the invocation alone
    BACKING_OFF = 4  # the last attempt failed; a timer starts the next attempt
    PAUSED = 5  # stopped until a person acts: see `reason`
    SUCCEEDED = 6
    FAILED = 7

    NAMES = ("scheduled", "pending", "running", "blocked", "backing-off", "paused", "succeeded", "failed")


class Mode:
    """How an invocation relates to its object, as stored in the column `shared`."""

    EXCLUSIVE = 0
    SHARED = 1
    KEYLESS = 2  # of a service: the `key` is OWN_KEY and the invocation's number, so each has a mailbox of its own

    NAMES = ("exclusive", "shared", "keyless")


OWN_KEY = "\x01"  # begins the keys of invocations of keyless services; keys of objects never begin with it
RUN = ""  # the idempotency key of a workflow's run; all other idempotency keys are not empty


class InvocationRow(NamedTuple):
    seq: int
    service: str
    key: str
    handler: str
    shared: int
    status: int
    position: int
    args: str
    headers: str | None
    parent: int | None
    parent_index: int | None
    attempts: int
    accepted_ms: int
    ended_ms: int | None
    outcome: str | None
    reason: str | None
    flags: int = 0
    failing_since_ms: int | None = None
    idempotency_key: str | None = None
    restart_of: int | None = None

    @property
    def shown_key(self) -> str:
        """The key that users know; empty for an invocation of a keyless service."""
        return "" if self.shared == Mode.KEYLESS else self.key


class PlainRow(NamedTuple):
    """An invocation that never had headers, a failed attempt, a reason, flags, an idempotency key or a past life."""

    seq: int
    service: str
    key: str
    handler: str
    shared: int
    status: int
    position: int
    args: str
    parent: int | None
    parent_index: int | None
    accepted_ms: int
    ended_ms: int | None
    outcome: str | None


class EndedRow(NamedTuple):
    """The end of an invocation that an earlier batch holds, of which nothing else has changed."""

    seq: int
    status: int
    ended_ms: int
    outcome: str


class PlaceRow(NamedTuple):
    """Which object an open invocation belongs to."""

    seq: int
    service: str
    key: str
    shared: int
    status: int


class Flag:
    """Bits of `InvocationRow.flags`."""

    CANCELLED = 1  # cancellation was requested
    HELD = 2  # paused by an operator: stays paused when the app starts again
    ATTACHED = 4  # other invocations wait for its outcome: see the table `attachment`
    CONTINUES = 8  # the journal begins with that of `restart_of`, or of another restart of the same invocation
    APART = 32  # atomic, and has written state, which is only in its journal until the invocation succeeds
    TICK = 16  # placed by a schedule: has its own index, and is kept like an invocation without an idempotency key


class JournalRow(NamedTuple):
    invocation: int
    idx: int
    kind: int
    name: str | None
    ref: int | None
    value: str | bytes | None
    before: str | None
    at_ms: int


class PromiseRow(NamedTuple):
    """A completed durable promise of a workflow; an open promise has no row."""

    service: str
    key: str
    name: str
    failed: int
    value: str  # JSON text; the failure of a rejected promise
    completed_ms: int


class TimerRow(NamedTuple):
    due_ms: int
    seq: int
    invocation: int
    idx: int


class RequestRow(NamedTuple):
    """A request left by a command; `argument` is JSON text."""

    number: int
    operation: str
    target: str
    argument: str | None


@dataclass(slots=True)
class Batch:
    """One transaction: durable as a whole, or not at all."""

    number: int
    invocations: list[tuple[Any, ...]] = field(default_factory=list)  # InvocationRow, upserted by seq
    plain: list[tuple[Any, ...]] = field(default_factory=list)  # PlainRow, upserted by seq
    journal: list[tuple[Any, ...]] = field(default_factory=list)  # JournalRow, appended
    state: list[tuple[Any, ...]] = field(default_factory=list)  # (service, key, name, JSON text), upserted
    cleared: list[tuple[str, str, str]] = field(default_factory=list)  # (service, key, name)
    timers: list[tuple[int, int, int, int]] = field(default_factory=list)  # TimerRow
    fired: list[tuple[int, int]] = field(default_factory=list)  # (due_ms, seq) of timers that are over
    stopped: list[tuple[int, int, int]] = field(default_factory=list)  # (due_ms, invocation, idx) of cancelled timers
    attached: list[tuple[int, int, int]] = field(default_factory=list)  # (target, caller, idx of its command)
    detached: list[tuple[int, int, int]] = field(default_factory=list)
    purged: list[tuple[int]] = field(default_factory=list)  # (seq,) of ended invocations to forget
    reserve_to: int | None = None  # numbers below this are never given out again
    answered: list[tuple[str, int, int]] = field(default_factory=list)  # (answer, answered_ms, number) of requests
    workflows: list[WorkflowFact] = field(default_factory=list)  # take effect before all other rows, in this order
    tries: list[tuple[Any, ...]] = field(
        default_factory=list
    )  # (ref, before, invocation, idx) of steps that have failed
    ended: list[tuple[Any, ...]] = field(default_factory=list)  # EndedRow


WorkflowFact = tuple[str, tuple[Any, ...]]  # one of storage.database.WORKFLOW_FACTS and its parameters


@dataclass(slots=True)
class ObjectRecord:
    """Everything stored about one (service, key): its state and its open invocations in mailbox order."""

    state: dict[str, str] = field(default_factory=dict)
    invocations: list[InvocationRow] = field(default_factory=list)
    journal: dict[int, list[JournalRow]] = field(default_factory=dict)
    promises: list[PromiseRow] = field(default_factory=list)  # of a workflow, loaded with its object


@dataclass(slots=True)
class KeptObject:
    """Everything kept of one object: its state, and its exclusive invocations in mailbox order, ended ones too, with their journals.

    `recorded_from` is the number from which on its class keeps the history of state, None if it does not. `oldest_ms` is when the
    oldest kept invocation without an idempotency key ended: clean-up forgets in the order of ending, so others that ended before
    may be missing. Those with a key are taken to be kept as long at least, unless limits tell: see `actors.check.forgetting`.
    """

    rows: list[InvocationRow]
    journal: dict[int, list[JournalRow]]
    state: dict[str, str]
    recorded_from: int | None = None
    oldest_ms: int = 0


class Extent(NamedTuple):
    """How far the invocations of a file reach: the first number and when it was accepted, the last time, the last number."""

    first: int
    first_ms: int
    last_ms: int
    last: int


@dataclass(slots=True)
class OpenedDatabase:
    """The facts a process needs before it accepts its first message."""

    secret: bytes
    epoch: int
    next_number: int
    runnable: list[tuple[str, str]]  # objects that recovery must look at
    settled: list[int]  # ended invocations whose outcome has not reached an attached caller yet
    ended: int  # how many ended invocations are kept: ticks, and invocations without an idempotency key
    requests: list[RequestRow] = field(default_factory=list)  # to be executed before anything else


class Wanted(NamedTuple):
    """A search for invocations. `error` is contained in what they failed with, `text` in their keys, of the object or of idempotency.

    Both are compared without regard to case, for ASCII letters. Times are milliseconds since the epoch, of acceptance, the end
    excluded. With `roots` only those that no other invocation has called.
    """

    service: str | None = None
    key: str | None = None
    handler: str | None = None
    statuses: tuple[int, ...] = ()
    error: str | None = None
    text: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    roots: bool = False

    def needs_search(self) -> bool:
        """Whether no index leads to what is wanted, so that invocations are looked through."""
        return self.roots or any(one is not None for one in (self.error, self.text, self.from_ms, self.to_ms))


class Slice(NamedTuple):
    """A part of a search: what was found, the newest first; down to which number, 0 if there is nothing below; and when that
    number was accepted."""

    found: list[InvocationRow]
    down_to: int
    accepted_ms: int | None


class Figures(NamedTuple):
    """`open` is (service, status, how many, when the oldest pending invocation was accepted). Delayed messages do not
    count for that time."""

    open: list[tuple[str, int, int, int | None]]
    awakeables: dict[str, tuple[int, int]]  # how many are open, and since when the oldest is
    deepest: dict[str, int]  # messages in the fullest mailbox
    file_bytes: int | None  # None in memory
    log_bytes: int | None
    free_bytes: int | None = None  # on the disk of the file, where that is known
