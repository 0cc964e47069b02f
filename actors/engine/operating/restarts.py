"""What a restart keeps of a journal: the commands up to a position, with their completions, under another name.

Promise: the handler of the new invocation, replayed over what is kept, takes the steps the old one took, and what those
did has been done once. Whatever would break that is refused, naming the highest position that does not:

* A call without its answer: the called invocation answers the old one.
* What was requested after the old one was notified of its cancellation: the new one is not cancelled.
* What came after the object was migrated under the old one: it began in another version of its class.
* A state write, if what the old one wrote is not as its journal says any more: because another invocation has written
  it since, or it was migrated. That would be lost, for with a kept write all
  the old one wrote goes back to what it was after the last kept command. And any state write while the object is busy,
  because what runs before the new invocation might write too.

Without a kept write, what the old one wrote goes back too, if it is as the old one left it and the object is idle.
Otherwise the new handler finds the state as it is now; if its first steps depend on what has changed since, they do not
fit what was kept, and it is paused.

Kept commands are not done again, apart from those that never had an answer: steps, attachments, completions of others'
awakeables begin anew with the replay, sleeps and deadlines get timers, awakeables stay open.
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
from actors.model.definitions import HandlerDefinition
from actors.model.object_state import ObjectState
from actors.storage.records import Flag, InvocationRow, JournalRow


def checked_keep(keep: int) -> int:
    """Raises BadArguments for what is not a position of a journal."""
    if type(keep) is not int or keep < 0:
        raise BadArguments(
            f"keep={keep!r}: restart requires a position of the journal as an int, from 0 (the input alone)."
        )
    return keep


class Prefix:
    """The entries that stay: all up to position `keep`, then the later completions of the commands among them.

    Raises BadArguments if the journal is not that long, CannotKeep if a command among them cannot be kept whatever the
    object's state is.
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
        ] = {}  # what the old one found in what it wrote, once `check_state` has passed
        # No command stands behind what is left out in between, so all of them keep their positions.
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
        """Whether state may have to go back to what it was: something is kept, and the old one has written."""
        return bool(self._commands and self._whole.writes())

    def _state(self) -> dict[str, str | None]:
        """What the object's state goes back to, by name, in JSON text; None for a name that is not set.

        All the old one wrote is then as it was after the last kept command: a handler takes its steps by what it finds. It
        stays as it is if nothing is kept but the input, or if it cannot go back and none of the kept commands writes.
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
        """The object is idle. Raises CannotKeep if a kept command writes state that is not as this invocation left it.

        An atomic one must have left it as it found it: only then can the new one, if it fails, put that back.
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
        """Give all of it to a new invocation that was accepted in this very step."""
        extras = invocation.more()
        extras.flags |= Flag.CONTINUES
        # What it draws from ctx.random must be what the one drew that has executed the first of these commands.
        extras.restart_of = self._row.restart_of if self._row.flags & Flag.CONTINUES else self._row.seq
        names = self._names(ids, invocation.seq)
        placed = {row.ref for row in self.entries if row.kind == Kind.PLACED}
        numbers: dict[int, str] = {}  # of messages that were not placed before the end: each restart may place its own
        for row in self.entries:
            if row.kind == Kind.SEND and row.ref is None and row.value and row.before and row.idx not in placed:
                number = ledger.next_number()
                names[ids.invocation(int(row.before))] = ids.invocation(number)
                numbers[row.idx] = str(number)
        journal = invocation.journal = Journal()
        old_texts, texts = dict(self._initial), dict(self._initial)
        for row in self.entries:
            kind, name, value, before = row.kind, _renamed_text(row.name, names), row.value, row.before
            if kind in WRITES:  # an id may lie across the ends of what has changed: what the texts were is renamed
                assert name is not None and row.name is not None
                text = old_texts[row.name] = after(row, old_texts[row.name])
                text = _renamed_text(text, names)
                kind, value, before = journal.written(name, texts.get(name), text)
                texts[name] = text
            else:
                value, before = _renamed(value, names), _renamed_text(numbers.get(row.idx, before), names)
            ref = row.ref
            if kind == Kind.RUN:
                ref = before = None  # how often the old one has failed: the new one has its policy before it
            ledger.write_entry(invocation, journal.append(kind, name, value, ref, before, row.at_ms))
        for entry in journal.commands:
            if (
                entry.kind in (Kind.SLEEP, Kind.AWAKEABLE)
                and entry.ref is not None
                and entry.idx not in journal.completed
            ):
                timers.add(entry.ref, invocation, entry.idx)
        handler = invocation.handler
        if handler is not None and handler.atomic:  # the state is as it was found, and stays so until the outcome
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
        """The ids the old handler had of itself, and what the new one has instead.

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
    if isinstance(value, bytes):  # msgpack: the new id is as long as the old one
        for old, new in names.items():
            value = value.replace(old.encode(), new.encode())
        return value
    return _renamed_text(value, names)


def _renamed_text(text: str | None, names: Mapping[str, str]) -> str | None:
    if text is not None and ("inv_1" in text or "prom_1" in text):
        for old, new in names.items():
            text = text.replace(old, new)
    return text
