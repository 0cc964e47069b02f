"""What the journals of one object tell of its states: before and after each of its invocations, without any code.

A journal has every state write of its invocation, with the text before it, so the states follow from the state on disk
backwards, and from a known beginning onwards. An invocation without a journal may have written without a record, unless its class
keeps its history.

Promise: a state is known, or it is not; never half of it. Where the two directions differ, state was changed in between without a
record, and the states there are not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from actors.check.effects import OTHER, Effect, Text, Texts
from actors.check.retrace import State
from actors.model.object_state import VERSION_NAME
from actors.storage.records import RUN, Flag, InvocationRow

_UNKNOWN_TEXTS: Final = Texts({}, False)


class Recorded:
    """The states of an object at `2 * len(rows) + 1` places: before and after each invocation, and now.

    `rows` are its exclusive invocations in their order, `effects` what is recorded of each of them. `begun` says that the object had
    no state before the first. `gap_before_ms`: an invocation that ended before then may be followed by a forgotten one.
    """

    def __init__(
        self,
        rows: Sequence[InvocationRow],
        effects: Sequence[Effect],
        now: State,
        begun: bool,
        gap_before_ms: int,
    ) -> None:
        self._rows = rows
        self._effects = effects
        self._gap_before_ms = gap_before_ms
        self._breaks: list[str | None] = [None] * (2 * len(rows) + 1)  # why nothing is known backwards
        self._later = self._backwards(now)
        self._earlier = self._onwards(begun)
        self._doubt()
        self.states = [self.partly(place).state() for place in range(len(self._later))]

    def why(self, place: int) -> str:
        """Why a state is not known: for the place of a state that is None."""
        reason = self._breaks[place]
        if reason is not None:
            return reason
        return (
            "the state changed between two invocations, at a moment that is not recorded: by an operator, a purged "
            "invocation or a migration"
        )

    # --- from the state on disk backwards ---------------------------------------------------------------------------------

    def _backwards(self, now: State) -> list[Texts]:
        rows, effects = self._rows, self._effects
        later = [_UNKNOWN_TEXTS] * (2 * len(rows) + 1)
        later[-1] = Texts.of(now)
        for index in range(len(rows) - 1, -1, -1):
            effect = effects[index]
            after, reason = later[2 * index + 2], self._breaks[2 * index + 2]
            if index + 1 < len(rows):
                after, reason = self._before_step(index + 1, after, reason)
            later[2 * index + 1], self._breaks[2 * index + 1] = after, reason
            if effect.opaque is not None:
                before, reason = _UNKNOWN_TEXTS, effect.opaque
            elif effect.initial is not None:
                before, reason = self._original(index) or Texts.of(effect.initial), None
            elif effect.version is not None and after.version not in (None, effect.version):
                before = effect.before(_UNKNOWN_TEXTS)
                reason = "the state was migrated to another version of its class later"
            else:
                before = effect.before(after)
                if reason is None and before.state() is None:
                    reason = "a state that was changed from outside later is recorded by its differences alone"
            later[2 * index], self._breaks[2 * index] = before, reason
            if self.is_run(index):
                later[2 * index], self._breaks[2 * index] = Texts({}, True), None
        return later

    def _before_step(self, index: int, texts: Texts, reason: str | None) -> tuple[Texts, str | None]:
        """What is known after the previous invocation, if `texts` are those with which invocation `index` began."""
        row, effect = self._rows[index], self._effects[index]
        if self.is_run(index):
            return _UNKNOWN_TEXTS, "the workflow was run again, and what its earlier run had left is forgotten"
        if effect.initial is not None and effect.original is None:
            return _UNKNOWN_TEXTS, "the state was migrated to another version of its class later"
        ended_ms = self._rows[index - 1].ended_ms
        if ended_ms is not None and ended_ms < self._gap_before_ms:
            return _UNKNOWN_TEXTS, "invocations that came later may be forgotten"
        names = self._set_back(row, index)
        if names is None:
            return _UNKNOWN_TEXTS, "a restart may have set the state back, to what a forgotten invocation had found"
        return (texts.without(names), reason) if names else (texts, reason)

    # --- from a known beginning onwards -----------------------------------------------------------------------------------

    def _onwards(self, begun: bool) -> list[Texts]:
        earlier = [_UNKNOWN_TEXTS] * (2 * len(self._rows) + 1)
        texts = Texts({}, True) if begun else _UNKNOWN_TEXTS
        for index, (row, effect) in enumerate(zip(self._rows, self._effects, strict=True)):
            texts = self._next_begins(index, row, effect, texts)
            if self.is_run(index):
                texts = Texts({}, True)
            elif effect.initial is not None:
                texts = self._original(index) or Texts.of(effect.initial)
            elif names := effect.contradicted(texts):
                texts = texts.without(names)
                for name in names:
                    self._forget_since_written(name, index, earlier)
            earlier[2 * index] = texts
            if effect.initial is not None:
                texts = Texts.of(effect.initial)
            if effect.opaque is not None:
                texts = _UNKNOWN_TEXTS
            elif effect.version is not None and texts.version not in (None, effect.version):
                texts = effect.after(_UNKNOWN_TEXTS, self._later[2 * index + 1])
            else:
                texts = effect.after(texts, self._later[2 * index + 1])
            earlier[2 * index + 1] = texts
        earlier[-1] = texts
        return earlier

    def _forget_since_written(self, name: str, index: int, earlier: list[Texts]) -> None:
        """It was changed from outside before invocation `index`, at a time that is not recorded."""
        for place in range(2 * index - 1, -1, -1):
            if place % 2 and name in self._effects[place // 2].by_name:
                return
            earlier[place] = earlier[place].having({name: OTHER})

    def _next_begins(self, index: int, row: InvocationRow, effect: Effect, texts: Texts) -> Texts:
        if index:
            ended_ms = self._rows[index - 1].ended_ms
            names = self._set_back(row, index)
            if names is None or (ended_ms is not None and ended_ms < self._gap_before_ms):
                return _UNKNOWN_TEXTS
            texts = texts.without(names)
        return texts

    def _original(self, index: int) -> Texts | None:
        """The state before the migration under an invocation, if that is recorded. The number of its version is not."""
        effect = self._effects[index]
        if effect.original is None:
            return None
        version = effect.version or 1
        versions = [other.version for other in self._effects[:index] if other.version is not None]
        return Texts.of(State(dict(effect.original), 1 if version <= 2 or not versions else versions[-1]))

    def is_run(self, index: int) -> bool:
        return self._rows[index].idempotency_key == RUN

    def _set_back(self, row: InvocationRow, index: int) -> frozenset[str] | None:
        """The names that a restart may have set back before the invocation began; None if they are not known."""
        if not row.flags & Flag.CONTINUES:
            return frozenset()
        names: set[str] = set()
        whole = False
        for other, effect in zip(self._rows[:index], self._effects[:index], strict=True):
            if other.seq == row.restart_of:
                whole = True
            if other.seq == row.restart_of or (other.flags & Flag.CONTINUES and other.restart_of == row.restart_of):
                names |= effect.names
        return frozenset(names) if whole else None

    # --- both together ----------------------------------------------------------------------------------------------------

    def _doubt(self) -> None:
        """Where a difference was made to another text than what is known onwards, that text is doubtful from where it was set."""
        for index, effect in enumerate(self._effects):
            for name in effect.unfounded(self._earlier[2 * index]):
                text = self._earlier[2 * index].get(name)
                for place in range(2 * index, -1, -1):
                    if self._earlier[place].get(name) != text or (place < 2 * index and name in self._pins(place)):
                        break
                    self._later[place] = self._later[place].having({name: OTHER})

    def _pins(self, place: int) -> Mapping[str, Text]:
        """The texts at a place that a journal has itself."""
        if place == 2 * len(self._rows):
            return {}
        effect = self._effects[place // 2]
        if effect.original is not None and place % 2 == 0:
            return effect.original
        return effect.found if place % 2 == 0 else effect.left_by(self._later[place])

    def partly(self, place: int) -> Texts:
        """What is known at a place, by name."""
        if place == 2 * len(self._rows):
            return self._later[place]
        earlier, later, pins = self._earlier[place], self._later[place], self._pins(place)
        version = self._effects[place // 2].version
        if self._effects[place // 2].original is not None and place % 2 == 0:
            version = later.version
        if earlier.version is not None and later.version is not None and earlier.version != later.version:
            # The texts of two versions say nothing of each other: those of the version that wrote here count.
            earlier, later = (texts if texts.version == version else _UNKNOWN_TEXTS for texts in (earlier, later))
        texts: dict[str, Text] = {}
        for name in {*earlier.texts, *later.texts} - {VERSION_NAME}:
            before, after = earlier.get(name), later.get(name)
            if name in pins:
                texts[name] = pins[name]
            elif before is None or after is None:
                texts[name] = after if before is None else before
            else:
                texts[name] = before if before == after else OTHER
        version = version or later.version or earlier.version
        if version is not None:
            texts[VERSION_NAME] = str(version)
        return Texts(texts, earlier.rest or later.rest)

    def later(self, place: int) -> Texts:
        """What is known at a place from later ones."""
        return self._later[place]
