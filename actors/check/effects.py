"""What the journal of one invocation says of the state of its object: what it found, what it left, and each change between.

Promise: every text is exact, or it is unknown. A journal that cannot be read says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import msgspec

from actors.check.retrace import State, may_be_imposed
from actors.errors import StateDecodeError
from actors.journal.differences import DifferentText, undone
from actors.journal.entries import Entry, Kind, unpacked_state
from actors.journal.journal import Journal, after, found_by, left
from actors.model.object_state import VERSION_NAME
from actors.storage.records import Flag, InvocationRow, JournalRow, Status


class Mark(Enum):
    """What may stand for a text: there was none; or there was another text than other places say."""

    ABSENT = 1
    OTHER = 2


ABSENT: Final = Mark.ABSENT
OTHER: Final = Mark.OTHER
Text = str | Mark | None  # None: not known


@dataclass(frozen=True, slots=True)
class Texts:
    """What is known of a state, by name. With `rest`, names that are not in `texts` are known to have no value."""

    texts: Mapping[str, Text]
    rest: bool

    @classmethod
    def of(cls, state: State) -> Texts:
        texts: dict[str, Text] = dict(state.texts)
        if texts:
            texts[VERSION_NAME] = str(state.version)
        return cls(texts, True)

    def get(self, name: str) -> Text:
        return self.texts.get(name, ABSENT if self.rest else None)

    @property
    def version(self) -> int | None:
        """The version of the class that wrote the texts, if a record says so."""
        version = self.texts.get(VERSION_NAME)
        return int(version) if isinstance(version, str) else None

    def having(self, texts: Mapping[str, Text]) -> Texts:
        return Texts({**self.texts, **texts}, self.rest) if texts else self

    def without(self, names: frozenset[str]) -> Texts:
        return self.having(dict.fromkeys(names))

    def state(self) -> State | None:
        """The whole state, or None if a part of it is not known."""
        texts: dict[str, str] = {}
        for name, text in self.texts.items():
            if name == VERSION_NAME or text is ABSENT:
                continue
            if not isinstance(text, str):
                return None
            texts[name] = text
        return State(texts, self.version or 1) if self.rest else None


@dataclass(frozen=True, slots=True)
class Written:
    """One recorded write: the journal entry, and the texts before and after it."""

    entry: Entry
    before: Text
    after: Text


@dataclass(slots=True)
class Effect:
    """What one exclusive invocation did to the state of its object.

    `opaque` is why that is not recorded, or None. `found` and `wrote` are the texts that its journal has itself: before the first,
    and after the last write of a name. If the state was migrated under it, `initial` is the state it began with, in the version of
    the class, and `original` that before the migration, if its class keeps a history; and it was `amid` its writes, or before them.
    """

    row: InvocationRow
    opaque: str | None = None
    journal: Journal | None = None
    writes: Sequence[Entry] = ()
    by_name: Mapping[str, list[Entry]] = field(default_factory=dict)
    version: int | None = None
    initial: State | None = None
    original: Mapping[str, str] | None = None
    amid: bool = False
    migrated_ms: int | None = None
    found: dict[str, Text] = field(default_factory=dict)
    wrote: dict[str, Text] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.by_name)

    def continued(self, stored: Mapping[str, str]) -> dict[str, str]:
        """The texts that its journal has and their rows have not yet. See `Journal.continued`."""
        return self.journal.continued(stored) if self.journal is not None and self.opaque is None else {}

    def kept(self, later: Texts) -> bool | None:
        """Whether its writes stayed in the state; None if that is not known. `later` is what is known of the state after it."""
        row = self.row
        if row.status == Status.SUCCEEDED or not self.by_name:
            return True
        if row.flags & Flag.APART:
            return False
        if row.status < Status.SUCCEEDED:
            return True
        # An invocation that began under a release without APART may have been rolled back: then the state is as it was found.
        known = [(writes, later.get(name)) for name, writes in self.by_name.items()]
        if all(text is not None and left(writes[-1], _plain(text)) for writes, text in known):
            return True
        if all(text is not None and found_by(writes, _plain(text)) for writes, text in known):
            return False
        return None

    def contradicted(self, earlier: Texts) -> frozenset[str]:
        """The names that its first writes found otherwise than `earlier` has them: they were changed from outside."""
        known = [(name, writes, earlier.get(name)) for name, writes in self.by_name.items()]
        return frozenset(
            name for name, writes, text in known if text is not None and not found_by(writes, _plain(text))
        )

    def before(self, later: Texts) -> Texts:
        """What was known before it, if `later` is what is known after it."""
        if self.kept(later) is False:
            return later.having(self.found)
        texts: dict[str, Text] = {}
        for name, writes in self.by_name.items():
            text = later.get(name)
            if name in self.found:
                texts[name] = self.found[name]
            elif isinstance(text, str) and left(writes[-1], text):
                texts[name] = _undone(text, writes)
            else:
                texts[name] = None
        return self._of_version(later.having(texts))

    def after(self, earlier: Texts, later: Texts) -> Texts:
        """What is known after it, if `earlier` is what was known before it. `later` is what is known backwards."""
        kept = self.kept(later)
        if kept is False:
            return earlier
        if kept is None:  # then its texts are no news of what came later, nor the other way round
            return earlier.having({name: None if later.get(name) is None else OTHER for name in self.by_name})
        if self.amid:
            return self._of_version(Texts(self.wrote, False))
        texts: dict[str, Text] = {}
        for name, writes in self.by_name.items():
            text, known = earlier.get(name), later.get(name)
            if name in self.wrote:
                texts[name] = self.wrote[name]
            elif isinstance(text, str) and found_by(writes, text):
                texts[name] = _redone(text, writes)
            else:
                texts[name] = OTHER if known is not None and not left(writes[-1], _plain(known)) else None
        return self._of_version(earlier.having(texts))

    def left_by(self, later: Texts) -> Mapping[str, Text]:
        """The texts after it that its journal has itself."""
        kept = self.kept(later)
        return self.wrote if kept else self.found if kept is False else {}

    def unfounded(self, earlier: Texts) -> Iterator[str]:
        """The names whose text before it was another one than is known onwards."""
        for name, writes in self.by_name.items():
            text = earlier.get(name)
            if not self.amid and name not in self.found and isinstance(text, str) and not found_by(writes, text):
                yield name

    def changes(self, before: Callable[[str], Text], later: Texts) -> Iterator[Written]:
        """Each write that stayed, in order. `before` gives the text of a name before the first write."""
        if self.kept(later) is False:
            return
        texts: dict[str, Text] = {}
        for entry in self.writes:
            assert entry.name is not None
            text = texts[entry.name] if entry.name in texts else before(entry.name)
            if entry.kind != Kind.CHANGE:
                new: Text = entry.value if isinstance(entry.value, str) else ABSENT
            else:
                new = _redone(text, [entry]) if isinstance(text, str) else None
            texts[entry.name] = new
            yield Written(entry, text, new)

    def _of_version(self, texts: Texts) -> Texts:
        return texts.having({VERSION_NAME: str(self.version)}) if self.version is not None else texts


def effect_of(
    row: InvocationRow, journal: Sequence[JournalRow], recorded_from: int | None, named: Callable[[InvocationRow], str]
) -> Effect:
    """What an exclusive invocation did. From the number `recorded_from` on, each invocation that changes state has a journal."""
    if not journal:
        unrecorded = row.status >= Status.SUCCEEDED and (recorded_from is None or row.seq < recorded_from)
        return Effect(row, f"{named(row)} may have changed the state without a record" if unrecorded else None)
    try:
        return _read(row, journal, recorded_from is not None and row.seq >= recorded_from)
    except (StateDecodeError, DifferentText, msgspec.MsgspecError, AssertionError, ValueError, TypeError):
        return Effect(row, f"the journal of {named(row)} is damaged")


def left_nothing(row: InvocationRow, journal: Sequence[JournalRow]) -> bool:
    """Whether an invocation was ended from outside before anything of it was stored. Then its place in the order says nothing."""
    return row.status >= Status.SUCCEEDED and not journal and may_be_imposed(row, journal)


def _read(row: InvocationRow, rows: Sequence[JournalRow], recorded: bool) -> Effect:
    journal = Journal.restored(list(rows))
    writes = journal.writes()
    for entry in writes:
        if not isinstance(entry.name, str) or (entry.kind != Kind.CLEAR and not isinstance(entry.value, str)):
            raise ValueError("a state write without its text")
    effect = Effect(row, None, journal, writes, journal.writes_by_name())
    if writes:
        effect.version = writes[-1].ref or 1
    migrated = journal.migrated
    if migrated is not None:
        effect.version = migrated.ref or 1
        effect.initial = State(unpacked_state(migrated.value), effect.version)
        effect.amid = bool(writes) and writes[0].idx < migrated.idx
        first_time = next(entry for entry in rows if entry.kind == Kind.MIGRATED)
        effect.migrated_ms = first_time.at_ms
        if recorded:
            effect.original = unpacked_state(first_time.before) if first_time.before is not None else {}
    for name, own in effect.by_name.items():
        if not effect.amid:
            first = next((place for place, entry in enumerate(own) if entry.kind != Kind.CHANGE), None)
            if first is not None:
                base = own[first].before
                effect.found[name] = _undone(base, own[:first]) if first else (ABSENT if base is None else base)
        since = 0 if migrated is None else migrated.idx
        last = next((n for n in range(len(own) - 1, -1, -1) if own[n].kind != Kind.CHANGE and own[n].idx > since), None)
        if last is not None:
            effect.wrote[name] = _redone(_value(own[last]), own[last + 1 :])
    return effect


def _value(entry: Entry) -> Text:
    return entry.value if isinstance(entry.value, str) else ABSENT


def _plain(text: Text) -> str | None:
    return text if isinstance(text, str) else None


def _redone(text: Text, changes: Sequence[Entry]) -> Text:
    for entry in changes:
        text = after(entry, text if isinstance(text, str) else None)
    return text


def _undone(text: str | None, changes: Sequence[Entry]) -> str:
    for entry in reversed(changes):
        text = undone(text or "", str(entry.value))
    return text or ""
