"""The past of one object: its invocations in the order in which they had it, each with the state before and after it.

Read from the records alone as far as they have it (see `recorded`), else executed again from a known state (see `executed`).

Promise: a state that is shown was the state of the object then, as far as its records tell; a state that is not known comes with
the reason. Nothing is written, and no step is started. A change from outside shows only if a record has the text before it: an earlier write of
that name, or the beginning of the object. A change that was taken back leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from actors.check.effects import ABSENT, OTHER, Effect, Text, Texts, effect_of, left_nothing
from actors.check.recorded import Recorded
from actors.check.retrace import State
from actors.journal.entries import Entry
from actors.journal.ids import IdMint
from actors.storage.records import Flag, InvocationRow, JournalRow, KeptObject, Status

RECORDED, EXECUTED = "recorded", "executed"


@dataclass(frozen=True, slots=True)
class Moment:
    """The state at one moment. `how` it is known is RECORDED or EXECUTED. `why` it is not known, if `state` is None."""

    state: State | None
    how: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """An invocation that had the object to itself, with the state before and after it. `after` is not known while it is open."""

    row: InvocationRow
    journal: Sequence[JournalRow]
    before: Moment
    after: Moment


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one name. `before` and `after` are JSON texts, ABSENT without a value, or None if they are not known.
    The state after it is at `place` among the moments, or later.

    `by` made it at `at_ms`, with the journal entry at `position`, or with its outcome if there is no position. Without `by`, `cause`
    says what did: "outside"; "unrecorded", an invocation without a record, or something outside; "restart", "migration" or "run". It
    happened after `since_ms` and not after `at_ms`; None: not known, or now.
    """

    name: str
    before: Text
    after: Text
    place: int
    at_ms: int | None
    by: InvocationRow | None = None
    position: int | None = None
    cause: str = "written"
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A stretch of moments, from `first` to `last`, whose states are not known, with the reason for the last of them.

    It ends before `until_ms`, the time of a known state; None: now. `since_ms` is None if it reaches back to the beginning.
    """

    first: int
    last: int
    since_ms: int | None
    until_ms: int | None
    why: str


class Past:
    """Made by `past_of`. `moments` are the state before and after each of `rows`, in turns, and then the state now.

    `begun` says that the object is known to have had no state before the first of `rows`.
    """

    def __init__(
        self,
        service: str,
        key: str,
        kept: KeptObject,
        rows: Sequence[InvocationRow],
        effects: Sequence[Effect],
        begun: bool,
        ids: IdMint,
    ) -> None:
        self.service, self.key = service, key
        self.kept, self.rows, self.begun, self.ids = kept, rows, begun, ids
        self._effects = effects
        self._opaque = {effect.row.seq for effect in effects if effect.opaque is not None}
        now = State.stored(kept.state)
        if rows and rows[-1].status < Status.SUCCEEDED and not rows[-1].flags & Flag.APART:
            now.texts.update(effects[-1].continued(now.texts))
        self._recorded = Recorded(rows, effects, now, begun, 0 if begun else kept.oldest_ms)
        self.moments = [
            Moment(state, RECORDED) if state is not None else Moment(None, None, self._recorded.why(place))
            for place, state in enumerate(self._recorded.states)
        ]

    def named(self, row: InvocationRow) -> str:
        return f"{row.handler} ({self.ids.invocation(row.seq)})"

    @property
    def now(self) -> State:
        state = self.moments[-1].state
        assert state is not None
        return state

    # --- what was it ------------------------------------------------------------------------------------------------------

    @property
    def passages(self) -> list[Passage]:
        return [self._passage(index) for index in range(len(self.rows))]

    def passage(self, seq: int) -> Passage | None:
        """The invocation with this number. None for a number that is not among the kept exclusive invocations of the object.

        An invocation that has not begun, or left nothing, has no place in the order: then neither state is known.
        """
        for index, row in enumerate(self.rows):
            if row.seq == seq:
                return self._passage(index)
        for row in self.kept.rows:
            if row.seq == seq:
                ended = row.status >= Status.SUCCEEDED
                why = f"{self.named(row)} {'was ended before it had begun' if ended else 'has not begun'}"
                return Passage(row, self._journal(row), Moment(None, None, why), Moment(None, None, why))
        return None

    def is_recorded(self, row: InvocationRow) -> bool:
        """Whether the records have all that an invocation of `rows` wrote."""
        return row.seq not in self._opaque

    def is_set_back(self, place: int) -> bool:
        """Whether a restart may have set the state back there, to what an earlier invocation had found."""
        return not place % 2 and place // 2 < len(self.rows) and bool(self.rows[place // 2].flags & Flag.CONTINUES)

    def _passage(self, index: int) -> Passage:
        row = self.rows[index]
        after = self.moments[2 * index + 1]
        if row.status < Status.SUCCEEDED:
            after = Moment(None, None, f"{self.named(row)} has not ended")
        return Passage(row, self._journal(row), self.moments[2 * index], after)

    def _journal(self, row: InvocationRow) -> Sequence[JournalRow]:
        return self.kept.journal.get(row.seq, ())

    def at(self, ms: int) -> Moment:
        """The state at a time in ms since the epoch; if it changed in that millisecond, the state after the last change."""
        index = self.last_until(ms)
        if index is None:
            return self._at_first(ms)
        row = self.rows[index]
        if row.ended_ms is None or row.ended_ms > ms:
            return self._within(index, ms)
        after, following = self.moments[2 * index + 1], self.moments[2 * index + 2]
        if after.state is not None and after.state != following.state:
            why = following.why or f"the state was changed {self._between(2 * index + 1, 2 * index + 2)}"
            return Moment(None, None, why)
        return after

    def last_until(self, ms: int) -> int | None:
        """The last of `rows` that had ended, or had written, at a time."""
        return next((n for n in range(len(self.rows) - 1, -1, -1) if self._changes_at(n) <= ms), None)

    def _at_first(self, ms: int) -> Moment:
        if self.begun or ms >= self.kept.oldest_ms:
            return self.moments[0]
        return Moment(None, None, "invocations before the oldest that is kept may be forgotten")

    def _changes_at(self, index: int) -> float:
        """From when on the state may not be what it was before the invocation."""
        row, effect = self.rows[index], self._effects[index]
        times = [] if row.flags & Flag.APART else [self._written_ms(row, entry) for entry in effect.writes[:1]]
        if effect.migrated_ms is not None:
            times.append(max(effect.migrated_ms, row.accepted_ms))
        if row.ended_ms is not None:
            times.append(row.ended_ms)
        return min(times, default=float("inf"))

    def _written_ms(self, row: InvocationRow, entry: Entry) -> int:
        """When an invocation made a write. The entries that a restart has copied keep the times of the old invocation."""
        return max(entry.at_ms, row.accepted_ms)

    def _within(self, index: int, ms: int) -> Moment:
        """The state while an invocation had the object: with the writes that it had made by then."""
        before, effect = self.moments[2 * index], self._effects[index]
        if before.state is None:
            return before
        if effect.amid:
            return Moment(None, None, f"the state was migrated while {self.named(effect.row)} was under way")
        texts = dict((effect.initial or before.state).texts)
        apart = effect.row.flags & Flag.APART  # then its writes take effect with its outcome
        for written in effect.changes(self._found(index), self._recorded.later(2 * index + 1)):
            if not apart and self._written_ms(effect.row, written.entry) <= ms:
                _put(texts, written.entry.name or "", written.after)
        return Moment(State(texts, effect.version or before.state.version), before.how)

    def _found(self, index: int) -> Callable[[str], Text]:
        """What is known of the text of a name that an invocation found."""
        effect = self._effects[index]
        began = effect.initial if not effect.amid else None
        return Texts.of(began).get if began is not None else self._text(2 * index)

    def is_known(self, place: int, name: str) -> bool:
        """Whether the text of one name is known at a place, where the whole state may not be."""
        return self._text(place)(name) not in (None, OTHER)

    def _text(self, place: int) -> Callable[[str], Text]:
        """What is known of the text of a name at a place."""
        state = self.moments[place].state
        return Texts.of(state).get if state is not None else self._recorded.partly(place).get

    # --- what has changed -------------------------------------------------------------------------------------------------

    def changes(self) -> Iterator[Change]:
        """All known changes, in order."""
        since: int | None = None
        texts: dict[str, str] = {}
        unsure: set[str] = set()
        for place, moment in enumerate(self.moments):
            index = place // 2
            if place % 2 and self._effects[index].opaque is None:
                if since is not None:
                    yield from self._migrated(index, texts)
                for change in self._made(index):
                    yield change
                    if change.after is None:
                        unsure.add(change.name)
                    else:
                        _put(texts, change.name, change.after)
            if moment.state is None:
                continue
            if since is not None:
                yield from self._unwritten(since, place, texts, unsure)
            since, texts, unsure = place, dict(moment.state.texts), set()

    def unknown(self) -> Iterator[Unknown]:
        """The stretches of places where the state is not known, in order."""
        first: int | None = None
        for place, moment in enumerate(self.moments):
            if moment.state is None:
                first = place if first is None else first
            elif first is not None:
                why = self.moments[place - 1].why or ""
                yield Unknown(first, place - 1, self._not_before(first), self._not_after(place), why)
                first = None

    def _migrated(self, index: int, texts: dict[str, str]) -> Iterator[Change]:
        """What a migration has changed before an invocation wrote. `texts` become those after it."""
        row, effect = self.rows[index], self._effects[index]
        if effect.initial is None or effect.amid or effect.original is None:
            return
        for name in sorted({*texts, *effect.initial.texts}):
            before, after = texts.get(name, ABSENT), effect.initial.texts.get(name, ABSENT)
            if before != after:
                yield Change(name, before, after, 2 * index + 1, effect.migrated_ms, row, None, "migration")
        texts.clear()
        texts.update(effect.initial.texts)

    def _made(self, index: int) -> Iterator[Change]:
        row, effect = self.rows[index], self._effects[index]
        later = self._recorded.later(2 * index + 1)
        for written in effect.changes(self._found(index), later):
            at_ms = row.ended_ms if row.flags & Flag.APART else self._written_ms(row, written.entry)
            if written.before != written.after or written.before is None:
                yield Change(
                    written.entry.name or "",
                    written.before,
                    written.after,
                    2 * index + 1,
                    at_ms,
                    row,
                    written.entry.idx,
                )

    def _unwritten(self, since: int, place: int, texts: dict[str, str], unsure: set[str]) -> Iterator[Change]:
        """What is known to have changed between two places where the state is known, beside what was written."""
        now = self.moments[place].state
        assert now is not None
        index = place // 2
        for name in sorted({*texts, *now.texts} - unsure):
            before, after = texts.get(name, ABSENT), now.texts.get(name, ABSENT)
            if before == after:
                continue
            if place == since + 1 and place % 2 and self._effects[index].opaque is not None:
                yield Change(name, before, after, place, self.rows[index].ended_ms, self.rows[index])
            else:
                cause = self._cause(since, place)
                yield Change(
                    name, before, after, place, self._not_after(place), None, None, cause, self._not_before(since)
                )

    def _cause(self, since: int, place: int) -> str:
        between = range((since + 1) // 2, place // 2)  # the invocations in between
        if any(self._effects[index].opaque is not None for index in between):
            return "unrecorded"
        begins = self.rows[place // 2] if place // 2 < len(self.rows) else None
        then, now = self.moments[since].state, self.moments[place].state
        if then and now and then.version != now.version:
            return "migration"
        if begins is not None:
            effect = self._effects[place // 2]
            # With the state before a migration on record, a change before that state is none of the migration.
            if effect.initial is not None and (place % 2 or effect.original is None):
                return "migration"
        if begins is not None and place == since + 1 and not place % 2:
            if self._recorded.is_run(place // 2):
                return "run"
            if begins.flags & Flag.CONTINUES:
                return "restart"
        return "outside"

    def _between(self, since: int, place: int) -> str:
        cause = self._cause(since, place)
        return {"restart": "by a restart", "migration": "by a migration", "run": "by a new run"}.get(
            cause, "from outside"
        ) + ", at a moment that is not recorded"

    def _not_before(self, place: int) -> int | None:
        """A time at which the state of a place had been reached, at the latest."""
        if place % 2:
            return self.rows[place // 2].ended_ms
        return self.rows[place // 2 - 1].ended_ms if place else None

    def _not_after(self, place: int) -> int | None:
        """A time at which the state of a place was still there."""
        if place == len(self.moments) - 1:
            return None
        row = self.rows[place // 2]
        journal = self._journal(row)
        return journal[0].at_ms if journal and not place % 2 and not row.flags & Flag.CONTINUES else row.ended_ms


def past_of(kept: KeptObject, service: str, key: str, ids: IdMint, begun: bool = False) -> Past:
    """The past of an object from its records. `begun` says that none of its invocations was forgotten."""

    def named(row: InvocationRow) -> str:
        return f"{row.handler} ({ids.invocation(row.seq)})"

    rows: list[InvocationRow] = []
    for row in kept.rows:
        if row.status == Status.SCHEDULED or left_nothing(row, kept.journal.get(row.seq, ())):
            continue
        if row.status < Status.SUCCEEDED and rows and rows[-1].status < Status.SUCCEEDED:
            continue  # it waits for the first of these
        rows.append(row)
    effects = [effect_of(row, kept.journal.get(row.seq, ()), kept.recorded_from, named) for row in rows]
    return Past(service, key, kept, rows, effects, begun, ids)


def _put(texts: dict[str, str], name: str, text: Text) -> None:
    if isinstance(text, str):
        texts[name] = text
    else:
        texts.pop(name, None)
