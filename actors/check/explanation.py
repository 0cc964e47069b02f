"""One object explained by the code of its class: all its invocations once more, in the order of its mailbox.

Each invocation is given the state that the one before it has left and the answers that its journal holds. Its outcome, its
requests, and the state in the end must be those that are stored.

Promise: what cannot be judged is named with the reason, and is never a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from actors.check.rehearsal import Misfit, Stage
from actors.check.retrace import Retraced, Retraces, State, may_be_imposed, same_outcome
from actors.check.seen import States
from actors.errors import StateDecodeError
from actors.journal.entries import WRITES, Kind, unpacked_state
from actors.journal.journal import Journal
from actors.model.definitions import ServiceDefinition
from actors.storage.records import OWN_KEY, RUN, Flag, InvocationRow, JournalRow, Mode, Status

Address = tuple[str, str]  # service and key

RETRACES_PER_TURN = 200  # then other callbacks of the loop get their turn
MOST_STATES = 1000  # in which the answer of one reader is looked for

# Misfits that say nothing about the code that ran then.
_UNJUDGED = frozenset(("handler", "state", "result", "timeout"))
# How the reason begins of an invocation that is paused because its code did not fit its journal: see `Replay.mismatch`.
_DIFFERED = "The code no longer fits the journal"
_NONE: list[JournalRow] = []


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A stored fact that the code does not give. `handler` and `invocation` name the invocation, unless it is about state alone."""

    service: str
    key: str
    handler: str | None
    invocation: str | None
    message: str

    def __str__(self) -> str:
        where = "/".join(part for part in (self.service, self.key, self.handler) if part)
        return f"{where}{f' ({self.invocation})' if self.invocation else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class Unjudged:
    """What was not judged, and why. The key is empty for a Service, and for all objects of a class."""

    service: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{'/'.join(part for part in (self.service, self.key) if part)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Known:
    """The state of an object after its invocations up to `position`: JSON texts by name, as the table of the state holds them."""

    position: int
    texts: Mapping[str, str]


@dataclass(slots=True)
class Explanation:
    """What the witness has seen. `known` is the state of each explained object after its last ended invocation.

    Give `known` to the next explanation of the same records to begin there: after other classes are served, or after state was
    changed from outside, with the changed texts.
    """

    invocations: int = 0
    findings: list[Unexplained] = field(default_factory=list)
    unjudged: list[Unjudged] = field(default_factory=list)
    known: dict[Address, Known] = field(default_factory=dict)
    misread: list[str] = field(default_factory=list)  # what readers have seen that the records do not hold

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings and not self.misread

    def __str__(self) -> str:
        count = len(self.findings)
        lines = [f"{self.invocations:,} invocations executed again; {count:,} finding{'' if count == 1 else 's'}."]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  not judged: {item}" for item in self.unjudged]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of one object: its invocations by position, their journals, and its rows of state."""

    rows: Sequence[InvocationRow]
    journal: Mapping[int, list[JournalRow]]
    state: Mapping[str, str]


class Explaining:
    """Explains objects, one after the other, into a report. `rows` are all stored invocations by number.

    `complete`: no ended invocation was forgotten. `one_release`: no older version of a class has executed any of them. `passed` is
    called with each explained exclusive invocation, and with the states before and after it.
    `states` are those that the objects in `wanted` had, from their beginning, as far as all of them are known.
    """

    def __init__(
        self,
        stage: Stage,
        retraces: Retraces,
        rows: Mapping[int, InvocationRow],
        known: Mapping[Address, Known],
        complete: bool,
        one_release: bool,
        wanted: Container[Address] = (),
        passed: Callable[[InvocationRow, State, State], None] | None = None,
    ) -> None:
        self.passed = passed
        self.report = Explanation()
        self.states: dict[Address, States] = {}
        self.wanted = wanted
        self.ids = stage.ids
        self.complete = complete
        self.one_release = one_release
        self.known = known
        self.rows = rows
        self._retraces = retraces
        self._row: InvocationRow | None = None  # the latest
        self._count = 0  # of retraces

    async def retrace(
        self,
        definition: ServiceDefinition,
        row: InvocationRow,
        journal: list[JournalRow],
        before: State,
        between: bool = False,
    ) -> Retraced:
        if row is not self._row:  # it may be tried with several states, one after the other
            self.report.invocations += 1
            self._row = row
        self._count += 1
        if self._count % RETRACES_PER_TURN == 0:
            await asyncio.sleep(0)
        return await self._retraces.retrace(definition, row, journal, before, between=between)

    async def explain(self, definition: ServiceDefinition, address: Address, stored: Stored) -> None:
        """Explain an object, or one invocation of a service."""
        one = _Object(self, definition, address, stored)
        await one.explain()

    def not_judged(self, address: Address, reason: str) -> None:
        service, key = address
        self.report.unjudged.append(Unjudged(service, "" if key.startswith(OWN_KEY) else key, reason))


class _Object:
    """One object, or one invocation of a service.

    `_state` is the state after the invocations so far; None once it is not known. `_holder` is the open invocation that holds the
    object. `_writers` are the invocations that wrote each name last.
    """

    def __init__(self, owner: Explaining, definition: ServiceDefinition, address: Address, stored: Stored) -> None:
        self._owner = owner
        self._definition = definition
        self._address = address
        self._journal = stored.journal
        self._rows = stored.state
        self._known = known = owner.known.get(address)
        after = known.position if known is not None else -1
        self._exclusive = [row for row in stored.rows if row.shared != Mode.SHARED and row.position > after]
        self._readers = [row for row in stored.rows if row.shared == Mode.SHARED and row.position > after]
        self._state: State | None = State.stored(known.texts) if known is not None else State()
        # Whether the code that ran was that of this version; of an older version's answers nothing is known.
        self._current = owner.one_release or definition.version == 1 or known is not None
        self._states = States(self._state) if self._readers or address in owner.wanted else None
        self._holder: InvocationRow | None = None
        self._writers: dict[str, InvocationRow] = {}
        restarted = {row.restart_of for row in self._exclusive if row.flags & Flag.CONTINUES}
        # By number of an invocation that others continue, by its first restart: with which state they began, and what they did.
        self._continued: dict[int, list[tuple[State, Retraced]]] = {seq: [] for seq in restarted if seq is not None}

    # --- what is said ---------------------------------------------------------------------------------------------------

    def _found(self, row: InvocationRow | None, message: str) -> None:
        service, key = self._address
        handler, id = (row.handler, self._owner.ids.invocation(row.seq)) if row is not None else (None, None)
        shown = "" if key.startswith(OWN_KEY) else key
        self._owner.report.findings.append(Unexplained(service, shown, handler, id, message))

    def _lost(self, reason: str) -> None:
        """The state is not known from here on."""
        self._state = None
        self._owner.not_judged(self._address, reason)

    def _differs(self, row: InvocationRow, message: str) -> None:
        """The invocation is not explained: a finding, if the code that ran was this code."""
        self._state = None
        if self._current:
            self._found(row, message)
        else:
            self._lost(f"an older version of the class may have executed {self._name(row)}: {message}")

    def _name(self, row: InvocationRow) -> str:
        return f"{row.handler} ({self._owner.ids.invocation(row.seq)})"

    # --- the order of the mailbox ---------------------------------------------------------------------------------------

    async def explain(self) -> None:
        if self._known is None and not self._owner.complete and not self._begins_known():
            self._state = None
            if self._exclusive or self._readers or self._rows:
                self._owner.not_judged(self._address, "invocations before the oldest that is kept may be forgotten")
        for row in self._exclusive:
            if row.status == Status.SCHEDULED:
                continue  # not in the mailbox yet
            if self._state is None and not self._is_run(row):
                continue
            # A run of a workflow begins without state: what an earlier run has left was forgotten.
            began = State() if self._is_run(row) else self._state
            assert began is not None
            await self._take(row, self._journal.get(row.seq, _NONE), began)
        if self._state is not None:
            self._compare(self._state)
        for row in self._readers:
            await self._read(row, self._journal.get(row.seq, _NONE))
        wanted = self._address in self._owner.wanted and self._known is None and self._owner.complete
        if wanted and self._state is not None and self._states is not None:
            self._owner.states[self._address] = self._states

    def _begins_known(self) -> bool:
        """Whether the state before the oldest kept invocation is known although others may be forgotten."""
        if self._definition.kind == "service":
            return True
        if not self._exclusive:
            return False
        first = self._exclusive[0]
        if self._is_run(first):
            return True  # a workflow is forgotten as a whole
        migrated = next((e for e in self._journal.get(first.seq, _NONE) if e.kind == Kind.MIGRATED), None)
        if migrated is None:
            return False
        self._state = State(unpacked_state(migrated.value), migrated.ref or 1)
        self._current = self._current or self._state.version == self._definition.version
        return True

    def _is_run(self, row: InvocationRow) -> bool:
        handler = self._definition.handler(row.handler, row.idempotency_key == RUN)
        return handler is not None and handler.once

    async def _take(self, row: InvocationRow, journal: list[JournalRow], before: State) -> None:
        """Execute one invocation again, and take over the state it leaves."""
        if not self._current and any(e.kind in WRITES and (e.ref or 1) == self._definition.version for e in journal):
            if before.texts:
                self._lost(f"an older version of the class may have executed what came before {self._name(row)}")
                return
            self._current = True
        if self._holder is not None:
            if row.status >= Status.SUCCEEDED and not may_be_imposed(row, journal):
                holder = self._name(self._holder)
                self._found(row, f"It has ended although {holder}, which came before it, holds the object.")
            return
        if row.status < Status.SUCCEEDED:
            self._holder = row
            if not journal:
                return  # nothing that it did is recorded
        self._check_answers(row, journal)
        retraced, problem, began = await self._retraced(row, journal, before)
        if problem is not None:
            if (doubt := doubt_of(retraced)) is not None:
                self._lost(f"{self._name(row)}: {doubt}")
            else:
                self._differs(row, problem)
            return
        if (row.status < Status.SUCCEEDED or retraced.imposed) and any(e.kind == Kind.MIGRATED for e in journal):
            self._lost(f"the state was migrated while {self._name(row)} was under way")
            return
        if row.seq in self._continued or (row.restart_of in self._continued and row.flags & Flag.CONTINUES):
            root = row.seq if row.seq in self._continued else row.restart_of
            assert root is not None
            self._continued[root].append((began, retraced))
        for name in retraced.wrote:
            self._writers[name] = row
        if self._states is not None:
            self._states.add([began.texts, *retraced.between], retraced.left, row)
        self._state = retraced.left
        if self._owner.passed is not None:
            self._owner.passed(row, began, retraced.left)
        if row.status >= Status.SUCCEEDED and self._definition.kind != "service":
            self._owner.report.known[self._address] = Known(row.position, retraced.left.rows())

    def _check_answers(self, row: InvocationRow, journal: list[JournalRow]) -> None:
        """The recorded answer of a call must be the outcome of the invocation that it became."""
        if row.flags & Flag.CONTINUES:
            return  # ids in the answers that it has kept were replaced
        calls = {entry.idx: entry.ref for entry in journal if entry.kind == Kind.CALL and entry.ref is not None}
        for entry in journal if calls else ():
            called = self._owner.rows.get(calls.get(entry.ref or 0, 0))
            if called is None or entry.kind not in (Kind.COMPLETED, Kind.FAILED):
                continue
            status = Status.SUCCEEDED if entry.kind == Kind.COMPLETED else Status.FAILED
            if (status, entry.value) != (called.status, called.outcome):
                recorded, stored = _answer(status, str(entry.value)), _answer(called.status, called.outcome or "")
                self._found(row, f"Its call of {self._name(called)} {recorded}, as recorded; that invocation {stored}.")

    async def _retraced(
        self, row: InvocationRow, journal: list[JournalRow], before: State
    ) -> tuple[Retraced, str | None, State]:
        """The invocation executed again, what does not fit, and the state it began with."""
        *others, last = self._starts(row, before)
        between = self._states is not None
        for start in others:
            retraced = await self._owner.retrace(self._definition, row, journal, start, between)
            if problem_of(row, retraced, self._definition) is None:
                return retraced, None, start
        retraced = await self._owner.retrace(self._definition, row, journal, last, between)
        return retraced, problem_of(row, retraced, self._definition), last

    def _starts(self, row: InvocationRow, before: State) -> list[State]:
        """The states that an invocation may have begun with. See `actors.engine.operating.restarts`.

        A restart that keeps a part of the journal sets the values that the old invocation wrote back to what they were, if
        they are still as it left them, and the object was idle.
        """
        if not row.flags & Flag.CONTINUES or row.restart_of not in self._continued:
            return [before]
        starts = []
        for began, old in reversed(self._continued[row.restart_of]):
            if all(before.texts.get(name) == old.left.texts.get(name) for name in old.wrote):
                texts = {name: text for name, text in before.texts.items() if name not in old.wrote}
                texts |= {name: text for name, text in began.texts.items() if name in old.wrote}
                starts.append(State(texts, before.version))
        return [*starts, before]

    # --- the end --------------------------------------------------------------------------------------------------------

    def _compare(self, state: State) -> None:
        """Compare the state that was found with the state on disk."""
        definition, (_, key) = self._definition, self._address
        if definition.kind == "service":
            return
        try:
            texts = self._on_disk().migrated(definition, key).texts
            ours = state.migrated(definition, key).texts
        except StateDecodeError as error:
            self._lost(str(error))
            return
        for name in sorted({*texts, *ours}):
            then, now = texts.get(name), ours.get(name)
            declared = definition.fields_by_name.get(name)
            if then == now or (then and now and declared is not None and declared.codec.equal(then, now)):
                continue
            row = self._writers.get(name)
            said = (
                f"The state {name!r} is {_short(then)} on disk. Executed again, in their order and with their recorded "
                f"answers, the invocations leave {_short(now)}."
            )
            if row is not None:
                said += f" This one wrote it last: {self._name(row)}."
            if self._current:
                self._found(row, said)
            else:
                self._lost(f"an older version of the class may have written the state. {said}")
            return

    def _on_disk(self) -> State:
        stored = State.stored(self._rows)
        journal = self._journal.get(self._holder.seq) if self._holder is not None else None
        if journal and self._holder is not None and not self._holder.flags & Flag.APART:
            stored.texts.update(Journal.restored(journal).continued(stored.texts))
        return stored

    # --- readers --------------------------------------------------------------------------------------------------------

    async def _read(self, row: InvocationRow, journal: list[JournalRow]) -> None:
        """A reader's answer must be that of a state which the object had meanwhile."""
        self._check_answers(row, journal)
        snapshot = next((entry for entry in journal[:1] if entry.kind == Kind.SNAPSHOT), None)
        if snapshot is not None:
            await self._read_snapshot(row, journal, snapshot)
        elif row.status < Status.SUCCEEDED or may_be_imposed(row, journal) or self._states is None:
            return
        elif self._state is not None:
            await self._read_some(row, journal, self._states)

    async def _read_snapshot(self, row: InvocationRow, journal: list[JournalRow], snapshot: JournalRow) -> None:
        texts, version = unpacked_state(snapshot.value), snapshot.ref or 1
        retraced = await self._owner.retrace(self._definition, row, journal, State(texts, version))
        problem = problem_of(row, retraced, self._definition)
        if problem is not None:
            if (doubt := doubt_of(retraced)) is not None:
                self._owner.not_judged(self._address, f"{self._name(row)}: {doubt}")
            elif version == self._definition.version:
                self._found(row, problem)
            return
        if self._state is None or self._states is None or version != self._definition.version:
            return
        if row.flags & Flag.CONTINUES:
            return  # a restart has kept the snapshot of an earlier invocation
        if not any(texts == seen for seen in self._states.seen_by(row)) and not self._before_known(row):
            self._found(row, f"It has read a state that the object did not have meanwhile: {_short(str(texts))}.")

    async def _read_some(self, row: InvocationRow, journal: list[JournalRow], states: States) -> None:
        tried, likeliest = 0, None
        version = self._definition.version
        for texts in states.seen_by(row):
            if tried == MOST_STATES:
                self._owner.not_judged(
                    self._address, f"{self._name(row)} may have seen one of more than {tried:,} states"
                )
                return
            tried += 1
            retraced = await self._owner.retrace(self._definition, row, journal, State(texts, version))
            problem = problem_of(row, retraced, self._definition)
            if problem is None:
                return
            if (doubt := doubt_of(retraced)) is not None:
                self._owner.not_judged(self._address, f"{self._name(row)}: {doubt}")
                return
            likeliest = likeliest or problem
        if self._before_known(row):
            return
        if self._current:
            many = f"in none of the {tried:,} states that it may have seen" if tried > 1 else "in the state it has seen"
            self._found(row, f"{likeliest} Its code gives the stored answer {many}.")

    def _before_known(self, row: InvocationRow) -> bool:
        """Whether the reader may have seen states from before those that are known."""
        first = self._exclusive[0].position if self._exclusive else None
        # An earlier run of a workflow may be purged, with its state, while its readers are kept.
        of_an_earlier_run = self._definition.kind == "workflow" and (first is None or row.position < first)
        if self._known is not None or of_an_earlier_run:
            self._owner.not_judged(self._address, f"{self._name(row)} may have seen a state that is not known any more")
            return True
        return False


def problem_of(row: InvocationRow, retraced: Retraced, definition: ServiceDefinition) -> str | None:
    """What does not fit between the stored invocation and what its code does now."""
    if retraced.misfit is not None:
        return _told(row, retraced.misfit)
    if retraced.imposed:
        return None
    if row.status < Status.SUCCEEDED:
        if row.status == Status.BLOCKED and (retraced.asks is not None or retraced.outcome is not None):
            now = f"asks for {retraced.asks}" if retraced.asks is not None else f"ends: {_answer(*retraced.outcome)}"  # type: ignore[misc]
            return f"It waits, as stored. Executed again with its recorded answers, the code {now}."
        if row.status == Status.PAUSED and (row.reason or "").startswith(_DIFFERED):
            return f"Executed again with the state before it, the code fits its journal. It is paused for this: {row.reason}"
        return None
    if retraced.outcome is None:
        return "It has ended. Executed again with its recorded answers, the code does not come to an end."
    status, text = retraced.outcome
    assert row.outcome is not None
    handler = definition.handler(row.handler, row.idempotency_key == RUN)
    if same_outcome(retraced.outcome, row, handler.returns if handler is not None else None):
        return None
    return (
        f"{row.handler}({_short(row.args[1:-1])}) {_answer(row.status, row.outcome)}, as stored. Executed again, with the "
        f"state before it and its recorded answers, it {_answer(status, text)}."
    )


def doubt_of(retraced: Retraced) -> str | None:
    """Why a difference proves nothing."""
    if retraced.misfit is not None and retraced.misfit.kind in _UNJUDGED:
        return retraced.misfit.message
    return retraced.unsure


def _told(row: InvocationRow, misfit: Misfit) -> str:
    stored = _answer(row.status, row.outcome) if row.outcome is not None else f"is {Status.NAMES[row.status]}"
    return f"{misfit.message} Stored: {row.handler}({_short(row.args[1:-1])}) {stored}."


def _answer(status: int, text: str) -> str:
    return f"{'answers' if status == Status.SUCCEEDED else 'fails with'} {_short(text)}"


def _short(text: str | None) -> str:
    if text is None:
        return "not set"
    return text if len(text) <= 200 else text[:197] + "..."
