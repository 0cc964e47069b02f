"""The journal of one invocation and the cursor that replays it. Pure: no clock, no random number, no I/O.

A journal is two ordered lists. *Commands* are what the handler asked for; *completions* are the answers,
in the order in which they became known. A handler is a function of those two lists alone:

* commands are matched one by one, in order;
* completions are shown to it one by one, in order, and only while none of its tasks can go on;
* on replay a completion is shown only when the code has asked for every command that it asked for before it was shown
  that completion.

Live or replayed, the same rule decides what the code sees and when, so a replay takes the same branches whatever the
timing was.

A state write holds what has changed: a long text that became another one as the difference of the two, and the text
before it only where no other entry holds it. The text of a name after each write follows from any of these: the text
before the first whole write, from which the differences lead both ways, or else the text that the last write has left.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import ClassVar, NamedTuple

import msgspec

from actors.differences import DifferentText, Fingerprint, difference, fingerprint, redone, unchanged_before, undone
from actors.errors import DeterminismError, StateDecodeError
from actors.storage import JournalRow


class Kind:
    """Entry kinds as stored. Those from COMPLETED on are completions: they tell the handler what became known."""

    UNSEEN = 0  # neither asked for nor an answer: see Journal.unseen
    SET = 1
    CLEAR = 2
    RUN = 3
    SLEEP = 4
    AWAKEABLE = 5
    CALL = 6
    SEND = 7
    RESOLVE = 8
    REJECT = 9
    NOW = 10
    SNAPSHOT = 11
    ATTACH = 12
    CANCEL = 13
    PROMISE = 14
    PEEK = 15
    RESOLVE_PROMISE = 16
    REJECT_PROMISE = 17
    CHANGE = 18
    MIGRATED = 19  # neither asked for nor an answer: see Journal.migrate
    COMPLETED = 20
    FAILED = 21
    CANCELLED = 22
    PLACED = 23

    NAMES: ClassVar[dict[int, str]] = {
        SET: "set state",
        CLEAR: "clear state",
        RUN: "run",
        SLEEP: "sleep",
        AWAKEABLE: "awakeable",
        CALL: "call",
        SEND: "send",
        RESOLVE: "resolve awakeable",
        REJECT: "reject awakeable",
        NOW: "now",
        SNAPSHOT: "snapshot",
        ATTACH: "attach",
        CANCEL: "cancel",
        PROMISE: "promise",
        PEEK: "peek at promise",
        RESOLVE_PROMISE: "resolve promise",
        REJECT_PROMISE: "reject promise",
        CHANGE: "change state",
        UNSEEN: "unseen",
        MIGRATED: "migrated",
        COMPLETED: "completed",
        FAILED: "failed",
        CANCELLED: "cancelled",
        PLACED: "placed",
    }


class Entry:
    """One journal row in memory. What `value` and `ref` hold depends on `kind`:

    ========== ===================== ======================== =============================
    kind       name                  value                    ref
    ========== ===================== ======================== =============================
    SET        field                 new JSON text            version of the class; None: 1
                                                              (`before`: the old text, unless an
                                                              entry before it is a SET or CLEAR too)
    CLEAR      field                 –                        the same
    CHANGE     field                 difference of the texts  the same (`before`: fingerprints of
                                                              the old and the new text)
    RUN        step name             –                        how often it failed by a policy of
                                                              its own (`before`: see `Tries`)
    SLEEP      duration in ms        –                        due, ms since the epoch
    AWAKEABLE  type                  timeout in ms            deadline, ms since the epoch
    CALL SEND  service/key/handler   arguments, JSON array    seq of the callee; None: PLACED tells
                                     (None: refused)          (`before`: the number that a SEND was
                                                              given before it was placed)
    ATTACH     invocation id         –                        seq of the invocation
    CANCEL     invocation id         –                        –
    RESOLVE    awakeable id          JSON text                –
    PROMISE    name of the promise   type, JSON text          –  (its handler waits for it)
    PEEK       name of the promise   –                        –
    RESOLVE_ and REJECT_PROMISE: as RESOLVE, with the promise's name
    NOW        –                     –                        ms since the epoch
    SNAPSHOT   –                     JSON of all state        version of that state; None: 1
    UNSEEN     –                     –                        index of a completion: the next entry was
                                                              asked for before that one was shown
    MIGRATED   –                     JSON of all state        version of that state (`before`: JSON of
                                                              the texts that a CHANGE was first made of)
    COMPLETED  –                     JSON text, or msgpack    index of the command
    FAILED     –                     failure as JSON          index of the command
    CANCELLED  –                     –                        –  (the invocation is to end)
    PLACED     –                     seq of the callee        index of a CALL or SEND that has an
                                                              idempotency key, or stood behind one
    ========== ===================== ======================== =============================
    """

    __slots__ = ("at_ms", "before", "idx", "kind", "name", "ref", "value")

    def __init__(
        self,
        idx: int,
        kind: int,
        name: str | None,
        value: str | bytes | None,
        ref: int | None,
        before: str | None,
        at_ms: int,
    ) -> None:
        self.idx = idx
        self.kind = kind
        self.name = name
        self.value = value
        self.ref = ref
        self.before = before
        self.at_ms = at_ms

    def __repr__(self) -> str:
        return describe(self.kind, self.name, self.value)


_idx = attrgetter("idx")
# A global is read at half the cost of a class attribute.
_CLEAR, _CHANGE = Kind.CLEAR, Kind.CHANGE
WRITES = frozenset((Kind.SET, Kind.CLEAR, Kind.CHANGE))
_CALL, _ATTACH, _COMPLETED, _CANCELLED, _PLACED = Kind.CALL, Kind.ATTACH, Kind.COMPLETED, Kind.CANCELLED, Kind.PLACED
_UNSEEN = Kind.UNSEEN


class Journal:
    """What is recorded of an open invocation. Grows only; `idx` counts from 1 over both lists."""

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
        self.waits: dict[int, int] = {}  # index of a CALL or ATTACH without one: seq of what it waits for
        self.cancelled = False
        # Index of a command: index of the first completion that had arrived but was not shown yet when the command was
        # requested, because the handler's tasks had not come to rest.
        self.unseen: dict[int, int] | None = None
        self.migrated: Entry | None = None  # the last one: the state the invocation began with, in a newer version
        # How many completions the furthest attempt was shown before it waited again; -1 before the first attempt.
        self.passed = -1
        self.size = 0
        self.bytes = 0  # of all texts and blobs in it
        self._writes: list[Entry] | None = None
        self._whole: set[str] | None = None  # names with a SET or CLEAR
        self._left: dict[str, Fingerprint] | None = None  # of the text of a name after its last CHANGE
        self.bases: dict[str, str] | None = None  # what CHANGEs from before a migration were first made of

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
        """The object's state was migrated while this invocation is open; `initial` is its initial state, migrated too.

        From now on the `before` texts of its writes are not used: they are of an older version. `bases` are the texts
        that its CHANGEs of that version start from.
        """
        self.bases = {**bases, **(self.bases or {})}
        before = packed_state(self.bases) if self.bases else None
        self.size += 1
        self.migrated = Entry(self.size, Kind.MIGRATED, None, packed_state(initial), version, before, at_ms)
        self.bytes += taken(None, self.migrated.value, before)
        return self.migrated

    def command(self, idx: int) -> Entry | None:
        place = bisect.bisect_left(self.commands, idx, key=_idx)
        found = self.commands[place] if place < len(self.commands) else None
        return found if found is not None and found.idx == idx else None

    def placed(self, idx: int) -> int | None:
        """The invocation that a CALL or SEND with an idempotency key became, once that is known."""
        for entry in self.completions:
            if entry.kind == Kind.PLACED and entry.ref == idx:
                return int(entry.value or 0)
        return None

    def written(self, name: str, before: str | None, text: str | None) -> Write:
        """How to record that state `name`, which was `before`, is `text` from now on; None means no value."""
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
        found: dict[str, list[Entry]] = {}
        for entry in self.writes():
            found.setdefault(entry.name or "", []).append(entry)
        return found

    def undone(self, current: Mapping[str, str]) -> dict[str, str | None]:
        """What this invocation found in each state value it has written; None where there was none.

        `current` is the state as its last writes have left it. Raises StateDecodeError if it is not, and has to be.
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
        """The texts that its last changes have left, by name, where `stored` holds one from before them: see ObjectState.behind."""
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
                    with contextlib.suppress(StateDecodeError):  # it is said of the invocation, when that is replayed
                        for entry in writes[place:]:
                            text = _changed(redone, text, entry)
                        found[name] = text
                    break
        return found

    def bases_in(self, initial: Mapping[str, str]) -> dict[str, str]:
        """What its changes were first made of, if it began with `initial`."""
        names = [name for name, writes in self.writes_by_name().items() if writes[0].kind == _CHANGE]
        return {name: initial[name] for name in names if name in initial}

    def initial_state(self, current: dict[str, str], apart: bool) -> dict[str, str]:
        """The object's state as it was when this invocation began: `current` with its own writes undone, unless those are `apart`.

        Raises StateDecodeError if `current` is not what it has left.
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
        """What must be written over `current` to make it the initial state again. Raises as `initial_state` does."""
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


_LONG = 200  # characters of a text from which on its difference to the one before is worth the fingerprints


def left(write: Entry, text: str | None) -> bool:
    """Whether `text` is what this write has left."""
    if write.kind != _CHANGE:
        return text == write.value
    return text is not None and fingerprint(text) == (write.before or "").rpartition(" ")[2]


def found_by(writes: Sequence[Entry], text: str | None) -> bool:
    """Whether `text` is what the first of these writes of one name was made of."""
    first = writes[0]
    if first.kind != _CHANGE:
        return text == first.before
    return text is not None and fingerprint(text) == (first.before or "").partition(" ")[0]


def after(write: Entry | JournalRow, before: str | None) -> str | None:
    """The text after a write, which found `before`. Raises StateDecodeError if it did not."""
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


def taken(name: str | None, value: str | bytes | None, before: str | None) -> int:
    """How many bytes the texts of an entry take."""
    size = 0
    if name is not None:
        size = len(name) if name.isascii() else len(name.encode())
    if value is not None:
        size += len(value) if value.__class__ is bytes or value.isascii() else len(value.encode())  # type: ignore[union-attr]
    if before is not None:
        size += len(before) if before.isascii() else len(before.encode())
    return size


class Replay:
    """One attempt's cursor over its journal: where it is among the commands, and among the completions."""

    __slots__ = ("_commands", "_completions", "_journal")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._commands = 0
        self._completions = 0

    def expected(self) -> Entry | None:
        """The recorded command that must come next, or None if the next command is new."""
        commands = self._journal.commands
        return commands[self._commands] if self._commands < len(commands) else None

    def left(self, *, waiting: bool) -> None:
        """The attempt is over. Remembers how far it came, so that the next attempt need not log it again."""
        self._journal.passed = max(self._journal.passed, self._completions if waiting else self._completions - 1)

    def again(self) -> bool:
        """Whether an attempt before this one has been here; False where that is not known."""
        return self._commands < len(self._journal.commands) or self._completions <= self._journal.passed

    def only_writes(self) -> bool:
        """Whether all that it must ask for is writes of state."""
        return all(entry.kind in WRITES for entry in self._journal.commands[self._commands :])

    def advance(self) -> None:
        """The next command was matched, or recorded."""
        self._commands += 1

    def completion(self) -> Entry | None:
        """The next completion to show, or None: all are shown, or the code has to ask for the next command first."""
        journal = self._journal
        if self._completions >= len(journal.completions):
            return None
        entry = journal.completions[self._completions]
        if self._commands < len(journal.commands):
            first = expected = journal.commands[self._commands].idx
            if journal.unseen is not None:
                first = journal.unseen.get(expected, expected)
            if entry.idx >= first:
                return None
        return entry

    def shown(self) -> None:
        """The next completion was shown."""
        self._completions += 1

    def base(self, name: str | None, texts: Mapping[str, str]) -> str | None:
        """What the next recorded write of `name` was made of; `texts` is the state of this attempt. Call it once for
        each write.
        """
        return texts.get(name or "")

    def mismatch(self, recorded: Entry, kind: int, name: str | None, value: str | bytes | None) -> DeterminismError:
        asked = describe(kind, name, value)
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was {recorded!r}; requested "
            f"now was {asked}. {_hint(recorded)}Handlers must take the same steps on each attempt: put random, "
            "timed or external work into ctx.run, and finish or cancel open invocations before you change the "
            "steps of a handler.",
            recorded.idx,
            repr(recorded),
            asked,
        )

    def unfinished(self, recorded: Entry) -> DeterminismError:
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was {recorded!r}; now the "
            f"handler has ended without requesting it. {_hint(recorded)}Handlers must take the same steps on each "
            "attempt: finish open invocations before you remove a step.",
            recorded.idx,
            repr(recorded),
            "the handler ended",
        )

    def stuck(self, recorded: Entry) -> DeterminismError:
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was {recorded!r}; now the "
            f"handler waits for something that no earlier entry completes. {_hint(recorded)}Handlers must take "
            "the same steps on each attempt.",
            recorded.idx,
            repr(recorded),
            "the handler waits for something else",
        )


def _hint(recorded: Entry) -> str:
    if recorded.kind not in (Kind.SET, Kind.CHANGE):
        return ""
    return (
        f"If the function of a step assigns {recorded.name!r}, a replay does not repeat it: return the value from "
        "the step, and assign it in the handler. "
    )


class MigratedReplay(Replay):
    """The same for an invocation whose object was migrated meanwhile.

    `caught_up` is called once, when the code has asked for all that is recorded, and its writes were taken over.
    """

    __slots__ = ("_bases", "_caught_up")

    def __init__(self, journal: Journal, caught_up: Callable[[], None]) -> None:
        super().__init__(journal)
        self._bases = dict(journal.bases or {})
        self._caught_up: Callable[[], None] | None = caught_up

    def expected(self) -> Entry | None:
        entry = super().expected()
        if entry is None and self._caught_up is not None:
            caught_up, self._caught_up = self._caught_up, None
            caught_up()
        return entry

    def base(self, name: str | None, texts: Mapping[str, str]) -> str | None:
        """Of the first write it is of the older version; each later one was made of what the one before has left."""
        return self._bases.pop(name or "", None) or texts.get(name or "")


def describe(kind: int, name: str | None, value: str | bytes | None) -> str:
    text = Kind.NAMES[kind]
    if name is not None:
        text += f" {name!r}"
    if value is not None:
        shown = str(value)
        text += f" with {shown if len(shown) <= 200 else shown[:197] + '...'}"
    return text


_decoder = msgspec.json.Decoder(dict[str, str])


def packed_state(texts: dict[str, str]) -> str:
    """All state of an object, JSON by name, as one text."""
    return msgspec.json.encode(texts).decode()


def unpacked_state(text: str | bytes | None) -> dict[str, str]:
    """Raises StateDecodeError for what `packed_state` has not made."""
    try:
        return _decoder.decode(text or "")
    except msgspec.MsgspecError as error:
        raise StateDecodeError(f"The journal holds a state that cannot be read: {error}.") from None
