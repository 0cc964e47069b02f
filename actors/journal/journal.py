"""The journal of one invocation. Pure: no clock, no random numbers, no I/O. `replay` has the cursor that replays it.

A journal is two ordered lists. *Commands* are the requests of the handler; *completions* are the answers, in the order in
which they became known. A handler is a function of these two lists alone:

* commands are matched one by one, in order;
* completions are shown to the handler one by one, in order, and only while none of its tasks can go on;
* on replay a completion is shown only when the code has made every request that it had made when the completion was first
  shown.

Live or replayed, the same rule decides what the code sees and when, so a replay takes the same branches whatever the
timing was.

A state write records the change: for a long text, the difference to the new text, and the old text only where no other entry
holds it. The text of a name after each write follows from the text before the first whole write, from which the differences
lead both ways, or, without a whole write, from the text after the last write.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from actors.errors import StateDecodeError
from actors.journal.differences import (
    DifferentText,
    Fingerprint,
    difference,
    fingerprint,
    redone,
    unchanged_before,
    undone,
)
from actors.journal.entries import WRITES, Entry, Kind, packed_state, taken, unpacked_state
from actors.storage.records import JournalRow

_idx = attrgetter("idx")
# A global is read at half the cost of a class attribute.
_CLEAR, _CHANGE = Kind.CLEAR, Kind.CHANGE
_CALL, _ATTACH, _COMPLETED, _CANCELLED, _PLACED = Kind.CALL, Kind.ATTACH, Kind.COMPLETED, Kind.CANCELLED, Kind.PLACED
_UNSEEN = Kind.UNSEEN
_PLAIN = frozenset((Kind.RUN, Kind.SLEEP, Kind.AWAKEABLE))  # commands that nothing else is kept of


class Journal:
    """The recorded entries of an open invocation. It only grows; `idx` counts from 1 over both lists."""

    __slots__ = (
        "_left",
        "_whole",
        "_writes",
        "bases",
        "bytes",
        "cancelled",
        "commands",
        "completed",
        "completions",
        "migrated",
        "passed",
        "size",
        "unseen",
        "waits",
    )

    def __init__(self) -> None:
        self.commands: list[Entry] = []
        self.completions: list[Entry] = []
        self.completed: dict[int, Entry] = {}  # index of a command: its completion
        self.waits: dict[int, int] = {}  # index of a CALL or ATTACH without a completion: seq of the awaited invocation
        self.cancelled = False
        # Index of a command: index of the first completion that had arrived but was not shown yet when the command was
        # requested, because the handler's tasks had not come to rest.
        self.unseen: dict[int, int] | None = None
        # The last MIGRATED entry: the invocation's initial state, in a newer version.
        self.migrated: Entry | None = None
        # How many completions the furthest attempt was shown before it waited again; -1 before the first attempt.
        self.passed = -1
        self.size = 0
        self.bytes = 0  # the size of all texts and blobs in the journal
        self._writes: list[Entry] | None = None
        self._whole: set[str] | None = None  # names with a SET or CLEAR
        self._left: dict[str, Fingerprint] | None = None  # by name: the text after the last CHANGE
        self.bases: dict[str, str] | None = None  # by name: the texts that CHANGEs from before a migration start from

    @classmethod
    def restored(cls, rows: list[JournalRow]) -> Journal:
        journal = cls()
        for row in rows:
            if row.kind == Kind.MIGRATED:
                bases = unpacked_state(row.before) if row.before is not None else {}
                entry = journal.migrate(unpacked_state(row.value), row.ref or 1, row.at_ms, bases)
            else:
                entry = journal.append(row.kind, row.name, row.value, row.ref, row.before, row.at_ms)
            assert entry.idx == row.idx, "a journal has no gaps"
        return journal

    def append(
        self,
        kind: int,
        name: str | None,
        value: str | bytes | None,
        ref: int | None,
        before: str | None,
        at_ms: int,
    ) -> Entry:
        self.size = idx = self.size + 1
        entry = Entry(idx, kind, name, value, ref, before, at_ms)
        if before is not None:
            self.bytes += taken(name, value, before)
        else:  # `taken`, for most entries
            if name is not None:
                self.bytes += len(name) if name.isascii() else taken(name, None, None)
            if value is not None:
                plain = value.__class__ is bytes or value.isascii()
                self.bytes += len(value) if plain else taken(None, value, None)
        if kind < _COMPLETED:
            if kind == _UNSEEN:
                assert ref is not None
                if self.unseen is None:
                    self.unseen = {}
                self.unseen[idx + 1] = ref
                return entry
            self.commands.append(entry)
            if kind in _PLAIN:
                return entry
            if kind <= _CLEAR:
                if self._whole is None:
                    self._whole = set()
                self._whole.add(name)  # type: ignore[arg-type]
            if kind in WRITES:
                if self._writes is None:
                    self._writes = []
                self._writes.append(entry)
            if kind in (_CALL, _ATTACH) and ref is not None:
                self.waits[idx] = ref
            return entry
        self.completions.append(entry)
        if kind == _CANCELLED:
            self.cancelled = True
            return entry
        assert ref is not None
        if kind == _PLACED:
            assert value is not None
            command = self.command(ref)
            if command is not None and command.kind == Kind.CALL:
                self.waits[ref] = int(value)
            return entry
        self.completed[ref] = entry
        if self.waits:
            self.waits.pop(ref, None)
        return entry

    def migrate(self, initial: dict[str, str], version: int, at_ms: int, bases: dict[str, str]) -> Entry:
        """Record that the object was migrated while this invocation is open; `initial` is the migrated initial state.

        From now on the `before` texts of the recorded writes are not used: they are of an older version. `bases` are the
        texts that the CHANGEs of that version start from.
        """
        self.bases = {**bases, **(self.bases or {})}
        before = packed_state(self.bases) if self.bases else None
        self.size += 1
        self.migrated = Entry(self.size, Kind.MIGRATED, None, packed_state(initial), version, before, at_ms)
        self.bytes += taken(None, self.migrated.value, before)
        return self.migrated

    def command(self, idx: int) -> Entry | None:
        commands = self.commands
        place = idx - 1  # where it is unless a completion came before it
        if not 0 <= place < len(commands) or commands[place].idx != idx:
            place = bisect.bisect_left(commands, idx, key=_idx)
        entry = commands[place] if place < len(commands) else None
        return entry if entry is not None and entry.idx == idx else None

    def placed(self, idx: int) -> int | None:
        """The seq of the invocation that a CALL or SEND with an idempotency key became. None if not known yet."""
        for entry in self.completions:
            if entry.kind == Kind.PLACED and entry.ref == idx:
                return int(entry.value or 0)
        return None

    def written(self, name: str, before: str | None, text: str | None) -> Write:
        """The entry that records the change of state `name` from `before` to `text`; None means no value."""
        whole = self._whole is not None and name in self._whole
        kept = None if whole else before
        if text is None:
            return Write(Kind.CLEAR, None, kept)
        if before is not None and len(text) > _LONG:
            changed = difference(before, text, (len(text) + len(kept or "")) // 2)
            if changed is not None:
                if self._left is None:
                    self._left = {}
                known = self._left.get(name)
                if known is None or known.text is not before:
                    known = self._left[name] = Fingerprint(before)
                old = known.value()
                known.changed(text, unchanged_before(changed))
                return Write(Kind.CHANGE, changed, f"{old} {known.value()}")
        return Write(Kind.SET, text, kept)

    def writes(self) -> Sequence[Entry]:
        """The commands that write state."""
        return self._writes or ()

    def writes_by_name(self) -> dict[str, list[Entry]]:
        by_name: dict[str, list[Entry]] = {}
        for entry in self.writes():
            by_name.setdefault(entry.name or "", []).append(entry)
        return by_name

    def undone(self, current: Mapping[str, str]) -> dict[str, str | None]:
        """Each state value that this invocation has written, as it was before the first write; None where it had no value.

        `current` is the state after the last writes. Raises StateDecodeError if it is not, and the texts follow from it only.
        """
        found: dict[str, str | None] = {}
        for name, writes in self.writes_by_name().items():
            first = next((place for place, entry in enumerate(writes) if entry.kind != _CHANGE), None)
            if first is None:
                text, later = current.get(name), writes
                if not left(writes[-1], text):
                    raise StateDecodeError(_not_as_left(name))
            else:
                text, later = writes[first].before, writes[:first]
            for entry in reversed(later):
                text = _changed(undone, text, entry)
            found[name] = text
        return found

    def continued(self, stored: Mapping[str, str]) -> dict[str, str]:
        """By name, the text after the last change, where `stored` has the text before some of the changes. See ObjectState.behind."""
        found: dict[str, str] = {}
        for name, writes in self.writes_by_name().items():
            text = stored.get(name)
            if text is None or left(writes[-1], text):
                continue
            known = fingerprint(text)
            for place in range(len(writes) - 1, -1, -1):
                if writes[place].kind != _CHANGE:
                    break  # a whole text is always stored along with its entry
                if (writes[place].before or "").partition(" ")[0] == known:
                    with contextlib.suppress(StateDecodeError):  # the replay of the invocation reports it
                        for entry in writes[place:]:
                            text = _changed(redone, text, entry)
                        found[name] = text
                    break
        return found

    def bases_in(self, initial: Mapping[str, str]) -> dict[str, str]:
        """By name, the texts that the changes of this invocation start from, if `initial` is its initial state."""
        names = [name for name, writes in self.writes_by_name().items() if writes[0].kind == _CHANGE]
        return {name: initial[name] for name in names if name in initial}

    def initial_state(self, current: dict[str, str], apart: bool) -> dict[str, str]:
        """The object's state when this invocation began: `current` with the invocation's writes undone, unless they are `apart`.

        Raises StateDecodeError if `current` is not the state after the last write.
        """
        if apart:
            return dict(current)
        if self.migrated is not None:
            return unpacked_state(self.migrated.value)
        initial = dict(current)
        for name, before in self.undone(current).items():
            if before is None:
                initial.pop(name, None)
            else:
                initial[name] = before
        return initial

    def rolled_back(self, current: dict[str, str]) -> dict[str, str | None]:
        """The values that turn `current` back into the initial state, None to delete. Raises StateDecodeError like `initial_state`."""
        if self.migrated is None:
            return self.undone(current)
        initial = self.initial_state(current, False)
        return {name: initial.get(name) for name in {**current, **initial} if initial.get(name) != current.get(name)}

    def snapshot(self) -> Entry | None:
        first = self.commands[0] if self.commands else None
        return first if first is not None and first.kind == Kind.SNAPSHOT else None


class Write(NamedTuple):
    """A state write to be recorded: the `kind`, `value` and `before` of its entry."""

    kind: int
    value: str | None
    before: str | None


_LONG = 200  # a text with more characters is worth recording as a difference, with two fingerprints


def left(write: Entry, text: str | None) -> bool:
    """Whether `text` is the text after this write."""
    if write.kind != _CHANGE:
        return text == write.value
    return text is not None and fingerprint(text) == (write.before or "").rpartition(" ")[2]


def found_by(writes: Sequence[Entry], text: str | None) -> bool:
    """Whether `text` is the text before the first of these writes, which are all of one name."""
    first = writes[0]
    if first.kind != _CHANGE:
        return text == first.before
    return text is not None and fingerprint(text) == (first.before or "").partition(" ")[0]


def after(write: Entry | JournalRow, before: str | None) -> str | None:
    """The text after a write to the text `before`. Raises StateDecodeError if the write was made to another text."""
    return _changed(redone, before, write) if write.kind == _CHANGE else write.value  # type: ignore[return-value]


def _changed(apply: Callable[[str, str], str], text: str | None, write: Entry | JournalRow) -> str:
    try:
        return apply(text or "", write.value)  # type: ignore[arg-type]
    except (DifferentText, msgspec.MsgspecError):
        raise StateDecodeError(_not_as_left(write.name)) from None


def _not_as_left(name: str | None) -> str:
    return (
        f"The state {name!r} differs from the value that the journal of this invocation has recorded: it was changed in the file. "
        "Put the value back, or kill the invocation."
    )
