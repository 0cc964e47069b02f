"""An attempt's dealings with its journal: commands are matched or recorded, completions shown in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from actors.attempt.completions import Completions
from actors.attempt.upgrades import record_version
from actors.errors import (
    ActorsError,
    AttemptEnded,
    JournalTooLong,
    PayloadTooLarge,
    SerializationError,
    StateDecodeError,
    TerminalError,
)
from actors.journal.entries import Entry, Kind, packed_state, taken
from actors.journal.journal import Journal, Write, after
from actors.journal.replay import Replay
from actors.model.futures import JournaledFuture
from actors.model.inside import inside_step
from actors.model.refusals import context_in_step, context_is_over, context_of_another, too_large
from actors.serde import ANY, Codec
from actors.storage.records import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.model.definitions import HandlerDefinition
    from actors.model.options import Options

STUBBORN = 3  # refusals that a closed handler may swallow

_CHANGE = Kind.CHANGE  # a global is read at half the cost of a class attribute
_NOTHING = Entry(0, 0, None, None, 0, None, 0)  # what a handler is given that swallows every AttemptEnded in a loop
_EMPTY = Journal()  # of an invocation that has recorded nothing yet
_inside_step = inside_step.get


class Recorder(Completions):
    """Receives what a handler requests through its context: matched with the journal, or recorded."""

    __slots__ = ()

    # --- commands -----------------------------------------------------------------------------------------------------

    def command(
        self,
        kind: int,
        name: str | None = None,
        value: str | bytes | None = None,
        codec: Codec | None = None,
    ) -> Entry | None:
        """The durable point before a command: state is recorded first, then the command is matched with the journal.

        The recorded entry, or None if the command is new and the caller must `record` it. Does not return, but raises
        AttemptEnded, if the attempt is over or the journal says otherwise.
        """
        if self._refused > STUBBORN:
            return _NOTHING
        self.flush()
        if self._replay is None:
            return None
        recorded = self._replay.expected()
        if recorded is None:
            return None
        if not _matches(recorded, kind, name, value, codec):
            raise self._stop(self._replay.mismatch(recorded, kind, name, value))
        self._replay.advance()
        return recorded

    def matches_call(self, kind: int, target: Any, name: str, args_text: str) -> Entry | None:
        """`command` for calls and sends, whose arguments are compared by the types of the callee."""
        if self._refused > STUBBORN:
            return _NOTHING
        self.flush()
        if self._replay is None or (recorded := self._replay.expected()) is None:
            return None
        value = recorded.value
        if recorded.kind == kind and recorded.name == name and value is None:  # refused: the mailbox was full
            self._replay.advance()
            return recorded
        if recorded.kind == kind and recorded.name == name and isinstance(value, str):
            try:
                if value == args_text or target.same_arguments(value, args_text):
                    self._replay.advance()
                    return recorded
            except SerializationError:
                pass  # the callee's types changed since: what is recorded is not what is asked
        raise self._stop(self._replay.mismatch(recorded, kind, name, args_text))

    def record(
        self,
        kind: int,
        name: str | None = None,
        value: str | bytes | None = None,
        ref: int | None = None,
        before: str | None = None,
    ) -> Entry:
        """Append a new command to the journal, in memory and in the open batch."""
        invocation = self.invocation
        journal = invocation.journal
        if journal is None:
            journal = invocation.journal = Journal()
        replay = self._replay
        if replay is None:
            replay = self._replay = Replay(journal)
        if self.snapshot is not None and not journal.commands and kind != Kind.SNAPSHOT:
            version = invocation.handler.service.version  # type: ignore[union-attr]
            self.record(Kind.SNAPSHOT, None, packed_state(self.snapshot), version if version > 1 else None)
        if value is not None and len(value) > self.host.max_payload:
            raise self._too_large(value, f"The record of {Kind.NAMES[kind]} {name or ''}")
        limits = self.host.limits
        if journal.size >= limits.max_journal or journal.bytes >= limits.max_journal_bytes:
            raise self._too_long(journal)
        if self._branches is not None and (unseen := replay.completion()) is not None:
            mark = journal.append(Kind.UNSEEN, None, None, unseen.idx, None, self.host.turns.turn_ms)
            self.host.write_entry(invocation, mark)
        entry = journal.append(kind, name, value, ref, before, self.host.turns.turn_ms)
        self.host.write_entry(invocation, entry)
        replay.advance()
        return entry

    def _too_large(self, value: str | bytes, what: str) -> PayloadTooLarge:
        return too_large(value, what, self.host.max_payload)

    def _too_long(self, journal: Journal) -> JournalTooLong:
        limits = self.host.limits
        if journal.size >= limits.max_journal:
            size = f"{journal.size:,} entries, the maximum (max_journal of the app)"
        else:
            size = f"{journal.bytes:,} bytes, the maximum (max_journal_bytes of the app)"
        return JournalTooLong(
            f"The journal of this invocation has {size}. Split the work: let the handler send itself a message "
            "and continue there. Results of steps count too: store large results elsewhere."
        )

    def expect(self, future: JournaledFuture[Any]) -> None:
        """`future` waits for the completion of the command with its index."""
        if self._futures is None:
            self._futures = {}
        self._futures[future.command] = future
        if not self.stepping and self._replay is not None and self._replay.completion() is not None:
            self.wake()  # a task of the handler's own asks: what is recorded may answer it at once

    def expect_placement(self, future: JournaledFuture[Any]) -> None:
        """`future` is done when the message of that command has become an invocation. The attempt does not end before
        that.
        """
        if self._placements is None:
            self._placements = {}
        self._placements[future.command] = future
        self.must_finish(future)

    def must_finish(self, future: JournaledFuture[Any]) -> None:
        """The invocation must not end before `future` is done, awaited or not."""
        if self._effects is None:
            self._effects = []
        self._effects.append(future)

    def flush(self) -> None:
        """Record what the handler changed in its state. Raises TerminalError for what cannot be stored."""
        if self.ended or self._stop_error is not None or self._outcome is not None:
            self._refuse()
        if not self.stepping and isinstance(asyncio.current_task(), Recorder):
            raise context_of_another()
        if _inside_step():
            raise context_in_step()
        self._record_changes()

    def _record_changes(self) -> None:
        if self.snapshot is not None:
            if (
                self._replay is not None
                and (first := self._replay.expected()) is not None
                and first.kind == Kind.SNAPSHOT
            ):
                self._replay.advance()
            return
        changes = self.state.changes()
        if changes is not None:
            new = self._replay is None or self._replay.expected() is None
            try:
                self._check_room(changes)  # a refusal is not recorded, so a replay must check again
                writes = self._written(changes) if new else {}
            except TerminalError:
                self.state._compare_all_anew()  # none of them is recorded; the handler may go on
                raise
            for name, text in changes.items():
                self._write(name, text, writes.get(name))

    def _check_room(self, changes: dict[str, str | None]) -> None:
        """Raise PayloadTooLarge before the first of these writes is recorded."""
        longest = self.host.max_payload
        for name, text in changes.items():
            if text is not None and len(text) > longest:
                raise self._too_large(text, f"The state {name!r}")

    def _written(self, changes: dict[str, str | None]) -> dict[str, Write]:
        """How these new writes will be recorded. Raises JournalTooLong if there is no room for all of them."""
        journal, texts, limits = self.invocation.journal or _EMPTY, self.state.texts, self.host.limits
        writes = {name: journal.written(name, texts.get(name), text) for name, text in changes.items()}
        size = sum(taken(name, write.value, write.before) for name, write in writes.items())
        if journal.size + len(writes) > limits.max_journal or journal.bytes + size > limits.max_journal_bytes:
            raise self._too_long(journal)
        return writes

    def _refuse(self) -> None:
        """Nothing is asked of this attempt any more."""
        if not self.runs():
            raise context_is_over()
        self._refused += 1
        raise AttemptEnded()

    @property
    def gave_up(self) -> bool:
        """Whether the handler swallows what should end it. Its next await never returns: only that ends such a loop."""
        return self._refused > STUBBORN

    def write(self, name: str, text: str | None, codec: Codec) -> None:
        """Record one state write, which `flush` does not see, as a command of its own; None deletes the name."""
        self._check_room({name: text})
        new = self._replay is None or self._replay.expected() is None
        self._write(name, text, self._written({name: text})[name] if new else None, codec)

    def _write(self, name: str, text: str | None, write: Write | None, codec: Codec | None = None) -> None:
        """`write` is how to record it if it is new, where that is known already."""
        replay, state = self._replay, self.state
        recorded = replay.expected() if replay is not None else None
        if recorded is None:
            kind, value, before = write or self._written({name: text})[name]
            apart = self._writes_apart()
            state.put(name, text, apart)
            version = self.invocation.handler.service.version  # type: ignore[union-attr]
            self.record(kind, name, value, version if version > 1 else None, before)
            if apart:
                return
            if kind == _CHANGE and state.postpones(name, len(value or ""), len(text or "")):
                return
            self.host.write_state(self.invocation, name, text)
            if state.foreign:
                record_version(self.host, self.invocation, state)
            return
        assert replay is not None
        field = self.invocation.handler.service.fields_by_name.get(name)  # type: ignore[union-attr]
        codec = codec or (field.codec if field is not None else ANY)
        kind = Kind.SET if text is not None else Kind.CLEAR
        recorded = self._whole(replay, recorded)
        if recorded.kind != kind or recorded.name != name or not _equal(recorded.value, text, codec):
            raise self._stop(replay.mismatch(recorded, kind, name, text))
        replay.advance()
        state.put(name, recorded.value, apart=True)  # type: ignore[arg-type]

    def _journal_last(self, journal: Journal, changes: Mapping[str, str | None]) -> None:
        """Record the last writes, with the outcome. No limit refuses them: there is at most one for each attribute."""
        invocation = self.invocation
        version = invocation.handler.service.version  # type: ignore[union-attr]
        for name, text in changes.items():
            kind, value, before = journal.written(name, self.state.texts.get(name), text)
            ref = version if version > 1 else None
            entry = journal.append(kind, name, value, ref, before, self.host.turns.turn_ms)
            self.host.write_entry(invocation, entry)

    def _not_asked_for(self) -> ActorsError | None:
        """The handler has ended: what is wrong if its journal holds more. The last writes are compared now; see `_journal_last`."""
        replay = self._replay
        assert replay is not None
        recorded = replay.expected()
        if recorded is not None and replay.only_writes():
            try:
                self._record_changes()
            except TerminalError:
                pass  # it is refused again, with the outcome
            except AttemptEnded:
                return self._stop_error
            recorded = replay.expected()
        return replay.unfinished(recorded) if recorded is not None else None

    def _writes_apart(self) -> bool:
        """Whether what it writes is in its journal alone until it succeeds. Whether it is so is settled by its first write."""
        invocation = self.invocation
        if invocation.has(Flag.APART):
            return True
        if not invocation.handler.atomic or (invocation.journal is not None and invocation.journal.writes()):  # type: ignore[union-attr]
            return False
        invocation.more().flags |= Flag.APART
        self.host.mark(invocation)
        return True

    def _whole(self, replay: Replay, recorded: Entry) -> Entry:
        """The same command with the whole text, if it is a state write that holds only what has changed."""
        if recorded.kind not in (Kind.SET, Kind.CLEAR, Kind.CHANGE):
            return recorded
        before = replay.base(recorded.name, self.state.texts)
        if recorded.kind != Kind.CHANGE:
            return recorded
        try:
            text = after(recorded, before)
        except StateDecodeError:  # it was made of another text: the code has written another one before
            return recorded
        return Entry(recorded.idx, Kind.SET, recorded.name, text, recorded.ref, None, recorded.at_ms)

    def check_final(self, error: TerminalError, target: HandlerDefinition, key: str, options: Options) -> None:
        """A message was refused: raise AttemptEnded, with nothing recorded, if there is to be another attempt to send it.

        A full mailbox is back-pressure: the sender backs off until there is room.
        """
        if self.host.final(error, self.invocation, target, key, options):
            return
        raise self._stop(error) from None

    def _stop(self, error: ActorsError) -> AttemptEnded:
        self._stop_error = error
        if not self.stepping:  # a task of the handler's own, which the main line may not wait for
            self.wake()
        return AttemptEnded()


def _matches(recorded: Entry, kind: int, name: str | None, value: str | bytes | None, codec: Codec | None) -> bool:
    """Whether a command is the recorded one. The type that an awakeable or a promise waits for may be another one by now.

    What counts is what it accepts, not what it is called: a completion that does not fit is met when it is shown.
    """
    if recorded.kind != kind:
        return False
    if kind == Kind.AWAKEABLE:
        return recorded.value == value
    return recorded.name == name and (kind == Kind.PROMISE or _equal(recorded.value, value, codec))


def _equal(recorded: str | bytes | None, asked: str | bytes | None, codec: Codec | None) -> bool:
    if recorded == asked:
        return True
    return codec is not None and isinstance(recorded, str) and isinstance(asked, str) and codec.equal(recorded, asked)
