"""The part of a journal that a restart keeps: the commands up to a position, with their completions, under another name.

Promise: the handler of the new invocation, replayed over the kept part, takes the same steps as the old invocation, and these
steps have been executed once. A position that would break this promise is refused, with the highest position that works:

* A call without an answer: the called invocation answers the old invocation.
* A command that was requested after the old invocation was notified of its cancellation: the new invocation is not cancelled.
* Everything after a migration of the object under the old invocation, which began in another version of the class.
* A state write, if the values that the old invocation wrote differ from its journal: another invocation has written them since,
  or they were migrated. Those changes would be lost, because with a kept write all values that the old invocation wrote are set
  back to those after the last kept command.
* Any state write while the object is busy: earlier invocations might write too.

Without a kept write, the values that the old invocation wrote are set back too, if they are still as it left them and the
object is idle. Otherwise the new handler finds the current state; if its first steps depend on a later change, they do not fit
the kept part, and the invocation is paused.

Kept commands are not executed again, except for commands that never had an answer: steps, attachments and completions of
others' awakeables begin anew with the replay, sleeps and deadlines get timers, awakeables stay open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.attempt.invocation import Invocation
from actors.attempt.upgrades import record_version
from actors.engine.ledger import Ledger
from actors.engine.timers import Timers
from actors.errors import BadArguments, CannotKeep
from actors.journal.entries import WRITES, Kind, describe
from actors.journal.ids import IdMint
from actors.journal.journal import Journal, after, found_by, left
from actors.journal.sends import renumbered, sent_number
from actors.model.definitions import HandlerDefinition
from actors.model.object_state import ObjectState
from actors.storage.records import Flag, InvocationRow, JournalRow


def checked_keep(keep: int) -> int:
    """`keep`, if it is a position of a journal. Raises BadArguments."""
    if type(keep) is not int or keep < 0:
        raise BadArguments(
            f"keep={keep!r}: restart requires a position of the journal as an int, from 0 (the input alone)."
        )
    return keep


class Prefix:
    """The kept entries: all up to position `keep`, then the later completions of the commands among them.

    Raises BadArguments if the journal is shorter, CannotKeep if a command among them cannot be kept, whatever the state of the
    object.
    """

    def __init__(self, row: InvocationRow, journal: Sequence[JournalRow], keep: int) -> None:
        if keep > len(journal):
            end = f"ends at position {len(journal)}" if journal else "holds nothing but the input, position 0"
            raise BadArguments(f"keep={keep}: the journal of this invocation {end}.")
        self._row = row
        self._whole = Journal.restored(list(journal))
        self._commands = [entry for entry in self._whole.commands if entry.idx <= keep]
        self._keep = keep
        self._as_it_is = False
        self._initial: dict[
            str, str | None
        ] = {}  # the initial texts of the values that the old invocation wrote, once `check_state` has passed
        # No command comes after the omitted entries, so all commands keep their positions.
        self.entries = [
            entry
            for entry in journal
            if entry.kind != Kind.CANCELLED
            and (entry.idx <= keep or (entry.kind >= Kind.COMPLETED and entry.ref is not None and entry.ref <= keep))
        ]
        told_at = next((entry.idx for entry in journal if entry.kind == Kind.CANCELLED), len(journal) + 1)
        for entry in self._commands:
            if entry.idx in self._whole.waits and entry.kind == Kind.CALL:
                raise self._refusal(entry.idx, "is a call that had no answer yet")
            if entry.idx > told_at:
                raise self._refusal(entry.idx, "was requested after the invocation was notified of its cancellation")
        migrated_at = next((entry.idx for entry in journal if entry.kind == Kind.MIGRATED), len(journal) + 1)
        if migrated_at <= keep:
            raise self._refusal(migrated_at, "is where the object was migrated to another version of its class")

    def goes_back(self) -> bool:
        """Whether state may have to be set back: a command is kept, and the old invocation has written."""
        return bool(self._commands and self._whole.writes())

    def _state(self) -> dict[str, str | None]:
        """The values to set the state of the object back to, as JSON texts by name; None for a name that is not set.

        All values that the old invocation wrote are then as after the last kept command: the steps of a handler depend on the
        state it finds. Nothing is set back if only the input is kept, or if that is impossible and no kept command writes.
        """
        if self._as_it_is or not self._commands:
            return {}
        texts = dict(self._initial)
        for entry in self._commands:
            if entry.kind in WRITES:
                assert entry.name is not None
                texts[entry.name] = after(entry, texts[entry.name])
        return texts

    def check_busy(self) -> None:
        """The object is busy. Raises CannotKeep if a kept command writes state."""
        self._check_write("writes state, and the object is busy", " Or try again when it is idle.")

    def check_state(self, state: ObjectState, target: HandlerDefinition) -> None:
        """The object is idle. Raises CannotKeep if a kept command writes state that is not as the old invocation left it.

        An atomic invocation must have left it unchanged: only then can the new invocation, if it fails, restore it.
        """
        version = state.version if state.stored else target.service.version
        if any((entry.ref or 1) != version for entry in self._whole.writes()):
            self._check_write("writes state, and that has been migrated to another version of its class since")
        stored, atomic = state.stored, target.atomic
        for name, writes in self._whole.writes_by_name().items():
            text = stored.get(name)
            if not (found_by(writes, text) if atomic else left(writes[-1], text)):
                by = "its outcome" if atomic else "its outcome, or another invocation,"
                self._check_write(f"writes state, and {by} has changed {name!r} since")
            elif atomic:
                self._initial[name] = text
        if not (atomic or self._as_it_is):
            self._initial = self._whole.undone(stored)

    def _check_write(self, why: str, otherwise: str = "") -> None:
        for entry in self._commands:
            if entry.kind in WRITES:
                raise self._refusal(entry.idx, why, otherwise)
        self._as_it_is = True

    def copy(self, ledger: Ledger, timers: Timers, ids: IdMint, invocation: Invocation) -> None:
        """Copy the kept entries to a new invocation that was accepted in this very step."""
        extras = invocation.more()
        extras.flags |= Flag.CONTINUES
        # ctx.random must draw the numbers that were drawn when the first of these commands was executed.
        extras.restart_of = self._row.restart_of if self._row.flags & Flag.CONTINUES else self._row.seq
        names = self._names(ids, invocation.seq)
        placed = {row.ref for row in self.entries if row.kind == Kind.PLACED}
        numbers: dict[int, str] = {}  # of messages not placed before the end: each restart may place its own messages
        for row in self.entries:
            if row.kind == Kind.SEND and row.ref is None and row.value and row.idx not in placed:
                old = sent_number(row.before)
                if old is not None:
                    number = ledger.next_number()
                    names[ids.invocation(old)] = ids.invocation(number)
                    numbers[row.idx] = renumbered(row.before, number)
        journal = invocation.journal = Journal()
        old_texts, texts = dict(self._initial), dict(self._initial)
        for row in self.entries:
            kind, name, value, before = row.kind, _renamed_text(row.name, names), row.value, row.before
            if kind in WRITES:  # a changed part may cut through an id: rename in the whole texts
                assert name is not None and row.name is not None
                text = old_texts[row.name] = after(row, old_texts[row.name])
                text = _renamed_text(text, names)
                kind, value, before = journal.written(name, texts.get(name), text)
                texts[name] = text
            else:
                value, before = _renamed(value, names), _renamed_text(numbers.get(row.idx, before), names)
            ref = row.ref
            if kind == Kind.RUN:
                ref = before = None  # failures of the old invocation: the new invocation has its whole policy left
            ledger.write_entry(invocation, journal.append(kind, name, value, ref, before, row.at_ms))
        for entry in journal.commands:
            if (
                entry.kind in (Kind.SLEEP, Kind.AWAKEABLE)
                and entry.ref is not None
                and entry.idx not in journal.completed
            ):
                timers.add(entry.ref, invocation, entry.idx)
        handler = invocation.handler
        if handler is not None and handler.atomic:  # the state is as the handler found it, until the outcome
            if journal.writes():
                extras.flags |= Flag.APART
            return
        for name, text in self._state().items():
            assert invocation.mailbox is not None and invocation.mailbox.state is not None
            state = invocation.mailbox.state
            if state.foreign:  # the object has no state now
                record_version(ledger, invocation, state)
            stored, text = state.stored, _renamed_text(text, names)
            if stored.get(name) != text:
                ledger.write_state(invocation, name, text)
                if text is None:
                    del stored[name]
                else:
                    stored[name] = text

    def _names(self, ids: IdMint, seq: int) -> dict[str, str]:
        """The ids that the old handler knew of itself, and their replacements in the new invocation.

        A handler that stores its id, or sends the id of its awakeable, would otherwise not fit its own journal.
        """
        old = self._row.seq
        names = {ids.invocation(old): ids.invocation(seq)}
        for entry in self._commands:
            if entry.kind == Kind.AWAKEABLE:
                names[ids.awakeable(old, entry.idx)] = ids.awakeable(seq, entry.idx)
        return names

    def _refusal(self, index: int, why: str, otherwise: str = "") -> CannotKeep:
        entry = self._whole.command(index) or self._whole.migrated
        assert entry is not None
        what = describe(entry.kind, entry.name, None)
        return CannotKeep(
            f"keep={self._keep} cannot be done: entry {index}, {what}, {why}. The highest position that works is "
            f"{index - 1}.{otherwise}"
        )


def _renamed(value: str | bytes | None, names: Mapping[str, str]) -> str | bytes | None:
    if isinstance(value, bytes):  # msgpack: the new id is as long as the old id
        for old, new in names.items():
            value = value.replace(old.encode(), new.encode())
        return value
    return _renamed_text(value, names)


def _renamed_text(text: str | None, names: Mapping[str, str]) -> str | None:
    if text is not None and ("inv_1" in text or "prom_1" in text):
        for old, new in names.items():
            text = text.replace(old, new)
    return text
