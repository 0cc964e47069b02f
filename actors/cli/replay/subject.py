"""One stored invocation as it is read from a file: its row, its journal, its class, and the state it began with.

Promise: the invocation and its journal are read at one moment. Where the state before it has to follow from the past of its object,
that is read afterwards, also at one moment: what came before the invocation is the same then. `watch` hears of each other invocation
that is executed to find that state, so that the caller can limit it.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.app.app import App
from actors.check.explanation import MOST_STATES
from actors.check.past import Past
from actors.check.reading import TIMEOUT_S, read_past
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraces, State, may_be_imposed, same_outcome
from actors.cli.past.watchdog import Watch
from actors.errors import ActorsError, UnknownInvocation
from actors.journal.entries import Kind, unpacked_state
from actors.journal.ids import IdMint
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.names import address
from actors.storage.records import RUN, Flag, InvocationRow, JournalRow, Mode, Status
from actors.storage.sqlite.reads import SqliteReads


class StateNotKnown(ActorsError):
    """The state that an invocation began with does not follow from the file."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An invocation to execute again. `before` is None where the state it began with is not known, for `reason`."""

    id: str
    row: InvocationRow
    journal: list[JournalRow]
    definition: ServiceDefinition
    before: State | None
    reason: str | None
    continues: str | None  # the id of the invocation whose journal it continues
    secret: bytes

    @property
    def handler(self) -> HandlerDefinition | None:
        return self.definition.handler(self.row.handler, self.row.idempotency_key == RUN)

    @property
    def name(self) -> str:
        """`Order/o-1/checkout`."""
        return f"{address(self.row.service, self.row.shown_key)}/{self.row.handler}"

    def began_with(self) -> State:
        """The state before it. Raises StateNotKnown."""
        if self.before is None:
            raise StateNotKnown(
                f"The state before {self.name} ({self.id}) is not known: {(self.reason or 'no reason').rstrip('.')}. "
                "Pass it with --state, as JSON or as the name of a file with JSON."
            )
        return self.before


async def read(
    reads: SqliteReads,
    secret: bytes,
    app: App,
    seq: int,
    texts: dict[str, str] | None = None,
    watch: Watch = lambda row: None,
) -> Subject:
    """The invocation with this number. `texts` are the state before it, if the caller knows that.

    Raises UnknownInvocation, UnknownService, UnknownHandler or StorageError.
    """
    async with reads.at_once():
        row = await reads.invocation(seq)
        if row is None:
            raise UnknownInvocation()
        journal = await reads.journal(row.seq)
    ids = IdMint(secret)
    definition = app.engine_options().catalog.handler(row.service, row.handler, row.idempotency_key == RUN).service
    continues = ids.invocation(row.restart_of) if row.flags & Flag.CONTINUES and row.restart_of is not None else None
    before: State | None = State()
    reason = None
    snapshot = journal[0] if journal and journal[0].kind == Kind.SNAPSHOT else None
    if snapshot is not None:
        before = State(unpacked_state(snapshot.value), snapshot.ref or 1)
    elif texts is not None:
        before = State(texts, definition.version)
    elif row.shared != Mode.KEYLESS:
        before, reason = await _before(reads, secret, app, row, watch)
    return Subject(ids.invocation(row.seq), row, journal, definition, before, reason, continues, secret)


async def _before(
    reads: SqliteReads, secret: bytes, app: App, row: InvocationRow, watch: Watch
) -> tuple[State | None, str | None]:
    """The state before an invocation, or why it is not known."""
    past = await read_past(reads, row.service, row.key, app, watch=watch)
    if row.shared == Mode.SHARED:
        return await _seen(secret, app, row, past, watch)
    passage = past.passage(row.seq)
    return (passage.before.state, passage.before.why) if passage is not None else (None, "it is not recorded")


async def _seen(
    secret: bytes, app: App, row: InvocationRow, past: Past, watch: Watch
) -> tuple[State | None, str | None]:
    """The state that a reader without a record has seen: the one that gives its stored answer, the likeliest first.

    A reader runs beside the invocations of its object, so what was accepted before it does not tell which state it was.
    """
    likely = 2 * sum(one.position < row.position for one in past.rows)
    places = sorted(range(len(past.moments)), key=lambda place: abs(place - likely))
    states = [state for place in places[:MOST_STATES] if (state := past.moments[place].state) is not None]
    if not states:
        return None, past.moments[likely].why
    if row.status < Status.SUCCEEDED or may_be_imposed(row, ()):
        return None, "it has read, and neither its journal nor an answer tells which state"
    options = app.engine_options()
    handler = options.catalog.handler(row.service, row.handler)
    retraces = Retraces(Stage(options.catalog, options.limits, secret), TIMEOUT_S, watch)
    try:
        for state in states:
            outcome = (await retraces.retrace(handler.service, row, [], state)).outcome
            if outcome is not None and same_outcome(outcome, row, handler.returns):
                return state, None
    finally:
        retraces.close()
    return None, f"it has read, and none of the {len(states):,} known states of the object gives its stored answer"
