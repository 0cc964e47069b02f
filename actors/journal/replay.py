"""The cursor that replays a journal: the command that an attempt must request next, and the completions it may see."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.errors import DeterminismError
from actors.journal.entries import WRITES, Entry, Kind, describe
from actors.journal.journal import Journal


class Replay:
    """The cursor of an attempt over the journal: its place among the commands and its place among the completions."""

    __slots__ = ("_commands", "_completions", "_journal")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._commands = 0
        self._completions = 0

    def expected(self) -> Entry | None:
        """The recorded command that must come next, or None if the next command is new."""
        commands = self._journal.commands
        return commands[self._commands] if self._commands < len(commands) else None

    def taken(self) -> int:
        """How many commands were requested."""
        return self._commands

    def left(self, *, waiting: bool) -> None:
        """The attempt is over. Remember how far it came, so that the next attempt does not repeat its log records."""
        self._journal.passed = max(self._journal.passed, self._completions if waiting else self._completions - 1)

    def again(self) -> bool:
        """Whether an earlier attempt has reached this place; False where that is not known."""
        return self._commands < len(self._journal.commands) or self._completions <= self._journal.passed

    def only_writes(self) -> bool:
        """Whether all remaining recorded commands are state writes."""
        return all(entry.kind in WRITES for entry in self._journal.commands[self._commands :])

    def advance(self) -> None:
        """Move past the next command, which was matched or recorded."""
        self._commands += 1

    def completion(self) -> Entry | None:
        """The next completion to show. None if all were shown, or if the code must request the next command first."""
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
        """Move past the next completion, which was shown."""
        self._completions += 1

    def base(self, name: str | None, texts: Mapping[str, str]) -> str | None:
        """The text before the next recorded write of `name`, in the `texts` of this attempt. Call it once for each write."""
        return texts.get(name or "")

    def mismatch(self, recorded: Entry, kind: int, name: str | None, value: str | bytes | None) -> DeterminismError:
        """The error for a request that differs from the recorded command."""
        requested = describe(kind, name, value)
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was {recorded!r}; requested "
            f"now was {requested}. {_hint(recorded)}Handlers must take the same steps on each attempt: put random, "
            "timed or external work into ctx.run, and finish or cancel open invocations before you change the "
            "steps of a handler.",
            recorded.idx,
            repr(recorded),
            requested,
        )

    def unfinished(self, recorded: Entry) -> DeterminismError:
        """The error for a handler that ends before it has requested all recorded commands."""
        return DeterminismError(
            f"The code no longer fits the journal at entry {recorded.idx}: recorded was {recorded!r}; now the "
            f"handler has ended without requesting it. {_hint(recorded)}Handlers must take the same steps on each "
            "attempt: finish open invocations before you remove a step.",
            recorded.idx,
            repr(recorded),
            "the handler ended",
        )

    def stuck(self, recorded: Entry) -> DeterminismError:
        """The error for a handler that waits although it has not requested all recorded commands."""
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
    """The cursor for an invocation whose object was migrated while the invocation was open.

    `caught_up` is called once: when the code has requested all recorded commands, and the recorded writes were applied.
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
        """The text before the first write is of the older version; before each later write, it is the text after the previous write."""
        return self._bases.pop(name or "", None) or texts.get(name or "")
