"""The journal of one invocation and the cursor that replays it. Pure: no clock, no random number, no I/O.

A journal is two ordered lists. *Commands* are what the handler asked for; *completions* are the answers,
in the order in which they became known. A handler is a function of those two lists alone:

* commands are matched one by one, in order;
* completions are shown to it one by one, in order, and only while it waits.

Live or replayed, the same rule decides what the code sees and when, so a replay takes the same branches
whatever the timing was. The relative order of a command and a completion carries no meaning.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from operator import attrgetter
from typing import ClassVar

import msgspec

from actors.errors import DeterminismError, StateDecodeError
from actors.storage import JournalRow


class Kind:
    """Entry kinds as stored. Those from COMPLETED on are completions: they tell the handler what became known."""

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
                                                              (`before`: the old text)
    CLEAR      field                 –                        the same
    RUN        step name             –                        –
    SLEEP      duration in ms        –                        due, ms since the epoch
    AWAKEABLE  type                  timeout in ms            deadline, ms since the epoch
    CALL SEND  service/key/handler   arguments, JSON array    seq of the callee; None: refused
    ATTACH     invocation id         –                        seq of the invocation
    CANCEL     invocation id         –                        –
    RESOLVE    awakeable id          JSON text                –
    PROMISE    name of the promise   type, JSON text          –  (its handler waits for it)
    PEEK       name of the promise   –                        –
    RESOLVE_ and REJECT_PROMISE: as RESOLVE, with the promise's name
    NOW        –                     –                        ms since the epoch
    SNAPSHOT   –                     JSON of all state        version of that state; None: 1
    MIGRATED   –                     JSON of all state        version of that state
    COMPLETED  –                     JSON text, or msgpack    index of the command
    FAILED     –                     failure as JSON          index of the command
    CANCELLED  –                     –                        –  (the invocation is to end)
    PLACED     –                     seq of the callee        index of a CALL or SEND that has an
                                                              idempotency key
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
_CALL, _ATTACH, _COMPLETED, _CANCELLED, _PLACED = Kind.CALL, Kind.ATTACH, Kind.COMPLETED, Kind.CANCELLED, Kind.PLACED


class Journal:
    """What is recorded of an open invocation. Grows only; `idx` counts from 1 over both lists."""

    __slots__ = ("cancelled", "commands", "completed", "completions", "migrated", "size", "waits")

    def __init__(self) -> None:
        self.commands: list[Entry] = []
        self.completions: list[Entry] = []
        self.completed: dict[int, Entry] = {}  # index of a command: its completion
        self.waits: dict[int, int] = {}  # index of a CALL or ATTACH without one: seq of what it waits for
        self.cancelled = False
        self.migrated: Entry | None = None  # the last one: the state the invocation began with, in a newer version
        self.size = 0

    @classmethod
    def restored(cls, rows: list[JournalRow]) -> Journal:
        journal = cls()
        for row in rows:
            if row.kind == Kind.MIGRATED:
                entry = journal.migrate(unpacked_state(row.value), row.ref or 1, row.at_ms)
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
        if kind < _COMPLETED:
            self.commands.append(entry)
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
        else:
            self.completed[ref] = entry
            self.waits.pop(ref, None)
        return entry

    def migrate(self, initial: dict[str, str], version: int, at_ms: int) -> Entry:
        """The object's state was migrated while this invocation is open; `initial` is what it began with, migrated too.

        From now on the values before its writes count no more: they are of an older version.
        """
        self.size += 1
        self.migrated = Entry(self.size, Kind.MIGRATED, None, packed_state(initial), version, None, at_ms)
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

    def undone(self) -> dict[str, str | None]:
        """What this invocation found in each state value it has written; None where there was none."""
        found: dict[str, str | None] = {}
        for entry in self.commands:
            if entry.kind == Kind.SET or entry.kind == Kind.CLEAR:
                assert entry.name is not None
                found.setdefault(entry.name, entry.before)
        return found

    def initial_state(self, current: dict[str, str]) -> dict[str, str]:
        """The object's state as it was when this invocation began: `current` with its own writes undone."""
        if self.migrated is not None:
            return unpacked_state(self.migrated.value)
        initial = dict(current)
        for name, before in self.undone().items():
            if before is None:
                initial.pop(name, None)
            else:
                initial[name] = before
        return initial

    def rolled_back(self, current: dict[str, str]) -> dict[str, str | None]:
        """What must be written over `current` to make it the initial state again."""
        if self.migrated is None:
            return self.undone()
        initial = self.initial_state(current)
        return {name: initial.get(name) for name in {**current, **initial} if initial.get(name) != current.get(name)}

    def snapshot(self) -> Entry | None:
        first = self.commands[0] if self.commands else None
        return first if first is not None and first.kind == Kind.SNAPSHOT else None


class Replay:
    """One attempt's cursor over its journal: where it is among the commands, and among the completions."""

    __slots__ = ("_commands", "_completions", "_journal")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._commands = 0
        self._completions = 0

    def expected(self) -> Entry | None:
        """The recorded command the handler must ask for next, or None when what it asks for is new."""
        commands = self._journal.commands
        return commands[self._commands] if self._commands < len(commands) else None

    def advance(self) -> None:
        """The next command was matched, or recorded."""
        self._commands += 1

    def completion(self) -> Entry | None:
        """The next completion to show to the waiting handler, or None when all are shown."""
        completions = self._journal.completions
        return completions[self._completions] if self._completions < len(completions) else None

    def shown(self) -> None:
        """The next completion was shown."""
        self._completions += 1

    def mismatch(self, recorded: Entry, kind: int, name: str | None, value: str | bytes | None) -> DeterminismError:
        asked = describe(kind, name, value)
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was "
            f"{recorded!r}; asked for now was {asked}. {_hint(recorded)}"
            "Handlers must take the same steps on each attempt: put what is random, timed or external into ctx.run, "
            "and finish or cancel open invocations before changing the steps of a handler.",
            recorded.idx,
            repr(recorded),
            asked,
        )

    def unfinished(self, recorded: Entry) -> DeterminismError:
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was "
            f"{recorded!r}; now the handler ended without asking for it. {_hint(recorded)}"
            "Handlers must take the same steps on each attempt: finish open invocations before removing a step.",
            recorded.idx,
            repr(recorded),
            "the handler ended",
        )

    def stuck(self, recorded: Entry) -> DeterminismError:
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was "
            f"{recorded!r}; now the handler waits for something that no journal "
            f"entry completes before it. {_hint(recorded)}"
            "Handlers must take the same steps on each attempt.",
            recorded.idx,
            repr(recorded),
            "the handler waits for something else",
        )


def _hint(recorded: Entry) -> str:
    if recorded.kind != Kind.SET:
        return ""
    return f"If the function of a step assigns {recorded.name!r}, which no replay repeats: return the value, and assign it in the handler. "


class MigratedReplay(Replay):
    """The same for an invocation whose object was migrated meanwhile.

    `caught_up` is called once, when the code has asked for all that is recorded, and its writes were taken over.
    """

    __slots__ = ("_caught_up",)

    def __init__(self, journal: Journal, caught_up: Callable[[], None]) -> None:
        super().__init__(journal)
        self._caught_up: Callable[[], None] | None = caught_up

    def expected(self) -> Entry | None:
        entry = super().expected()
        if entry is None and self._caught_up is not None:
            caught_up, self._caught_up = self._caught_up, None
            caught_up()
        return entry


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
