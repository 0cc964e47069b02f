"""The cursor that replays a journal: what an attempt must ask for next, and what it may be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.errors import DeterminismError
from actors.journal.entries import WRITES, Entry, Kind, describe
from actors.journal.journal import Journal


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
