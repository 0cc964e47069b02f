"""Causes: what keeps an invocation from going on, in words, and what frees it, the smallest loss first.

Pure: from a row, its pending command and the time to a text.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from actors.doctor.pending import Pending
from actors.doctor.tracebacks import error_line
from actors.journal.ids import IdMint
from actors.storage.records import Flag, InvocationRow, Mode

Code = Literal[
    "free",
    "app_stopped",
    "held",
    "retries_used_up",
    "code_changed",
    "cannot_go_on",
    "awakeable",
    "promise",
    "sleep",
    "scheduled",
    "backing_off",
    "step_failing",
    "step_running",
    "threads_busy",
    "unrecorded_wait",
    "running",
    "starting",
    "inconsistent",
]

# Who has to act for it to go on. The root of several waits is the first by this order, then the oldest.
PERSON: tuple[Code, ...] = (
    "inconsistent",
    "held",
    "retries_used_up",
    "code_changed",
    "cannot_go_on",
    "awakeable",
    "promise",
    "app_stopped",
)
TIME: tuple[Code, ...] = ("backing_off", "step_failing", "sleep", "scheduled")

_NO_FIT = "The code no longer fits the journal"
_USED_UP = "Paused after "


@dataclass(frozen=True, slots=True)
class Way:
    """A way out: the words of a command of `actors`, empty if no command does it, and what it does and loses."""

    command: tuple[str, ...]
    effect: str


@dataclass(frozen=True, slots=True)
class Cause:
    """`text` goes on after the name of the invocation: "is paused: ...". `detail` is an error, or what to know besides."""

    code: Code
    text: str
    detail: str = ""
    since_ms: int | None = None
    ways: tuple[Way, ...] = ()

    def rank(self) -> tuple[int, int]:
        """The order in which causes are named."""
        who = 0 if self.code in PERSON else 1 if self.code in TIME else 2
        return who, self.since_ms or 0

    def needs_a_person(self) -> bool:
        """Whether nothing goes on until a person acts."""
        return self.code in PERSON


FREE = Cause("free", "No invocation is open.")


class Causes:
    """Names causes at the time `now_ms`. `running` says whether an app runs on the file."""

    def __init__(self, ids: IdMint, now_ms: int, running: bool) -> None:
        self._ids = ids
        self._now_ms = now_ms
        self._running = running

    def paused(self, row: InvocationRow) -> Cause:
        """Of an invocation that is paused."""
        id, reason = self._ids.invocation(row.seq), (row.reason or "").strip()
        if row.flags & Flag.HELD:
            return Cause(
                "held",
                "is paused: a person paused it.",
                "" if reason.startswith("Paused by an operator") else error_line(reason),
                row.failing_since_ms or row.accepted_ms,
                (Way(("invocations", "resume", id), "goes on where it was. Loses nothing."), *self._ends(row)),
            )
        if reason.startswith(_USED_UP):
            since = row.failing_since_ms or row.accepted_ms
            failed = "attempt has failed" if row.attempts == 1 else f"{row.attempts:,} attempts have failed"
            return Cause(
                "retries_used_up",
                f"is paused: its {failed}, the first {self.ago(since)}.",
                error_line(reason),
                since,
                (
                    Way(
                        ("invocations", "resume", id),
                        "tries once more, now. Loses nothing: do it when the cause is fixed.",
                    ),
                    *self._ends(row),
                ),
            )
        if reason.startswith(_NO_FIT):
            return Cause(
                "code_changed",
                "is paused: its code no longer fits its journal.",
                reason.partition(" Handlers must")[0],
                row.accepted_ms,
                (
                    Way((), "Serve the former code again, or code that fits: `actors check` tells. Loses nothing."),
                    *self._ends(row, cancels=False),
                ),
            )
        return Cause(
            "cannot_go_on",
            "is paused: it cannot go on with the code that is served.",
            reason.partition("\n")[0],
            row.accepted_ms,
            (
                Way(("invocations", "resume", id), "tries again, when that is fixed. Loses nothing."),
                *self._ends(row, cancels=False),
            ),
        )

    def backing_off(self, row: InvocationRow, due_ms: int | None) -> Cause:
        """Of an invocation whose next attempt comes at `due_ms`."""
        since = row.failing_since_ms or row.accepted_ms
        id = self._ids.invocation(row.seq)
        return self._by_itself(
            row,
            "backing_off",
            f"has failed {_times(row.attempts)}, the first time {self.ago(since)}, and is tried again {self._then(due_ms)}.",
            since,
            Way((), "Wait: it is tried again by itself."),
            Way(("invocations", "resume", id), "tries now. Loses nothing."),
            Way(("invocations", "pause", id), "stops the attempts until it is resumed. Loses nothing."),
            detail=error_line((row.reason or "").strip()),
        )

    def waits(self, row: InvocationRow, wait: Pending) -> Cause:
        """Of an invocation that waits for this command, which is neither a call nor an attachment."""
        since = self.ago(wait.since_ms)
        if wait.waiting == "awakeable":
            awakeable = self._ids.awakeable(row.seq, wait.position)
            deadline = f", until {self.moment(wait.until_ms)}" if wait.until_ms is not None else ""
            return Cause(
                "awakeable",
                f"waits for an awakeable ({wait.name or 'any value'}) since {self.moment(wait.since_ms)}, {since}{deadline}.",
                awakeable,
                wait.since_ms,
                (
                    Way(("awakeables", "resolve", awakeable, "VALUE"), "is what it waits for. Loses nothing."),
                    Way(("awakeables", "reject", awakeable, "REASON"), "raises an error at its await."),
                    *self._ends(row),
                ),
            )
        if wait.waiting == "promise":
            return Cause(
                "promise",
                f'waits for the promise "{wait.name}" since {self.moment(wait.since_ms)}, {since}.',
                "",
                wait.since_ms,
                (
                    Way((), f"Call the handler of {row.service}/{row.key} that resolves it. Loses nothing."),
                    *self._ends(row),
                ),
            )
        if wait.waiting == "sleep":
            text, way = f"sleeps until {self.moment(wait.until_ms)}.", Way((), "Wait: it goes on by itself.")
            return self._by_itself(row, "sleep", text, wait.since_ms, way)
        tries = wait.tries
        if tries.failed:
            return self._by_itself(
                row,
                "step_failing",
                f"waits for its step {wait.name}, which has failed {_times(tries.failed)}, the first time {self.ago(tries.since_ms)}, "
                f"and is tried again {self._then(tries.next_ms)}.",
                tries.since_ms,
                Way((), "Wait: it is tried again by itself."),
                detail=error_line(tries.error.strip()),
            )
        text = f"executes its step {wait.name} since {self.moment(wait.since_ms)}, {since}."
        way = Way((), "Wait: a step takes as long as its function.")
        return self._by_itself(row, "step_running", text, wait.since_ms, way)

    def scheduled(self, row: InvocationRow) -> Cause:
        """Of an invocation that is for later."""
        text = f"is for later: it gets into the mailbox {self._then(row.position)}."
        return self._by_itself(row, "scheduled", text, row.accepted_ms, Way((), "Wait: it comes by itself."))

    def queued(self, row: InvocationRow, wait: Pending) -> Cause:
        """Of an invocation whose step waits for a thread."""
        text = f"waits for a thread for its step {wait.name} since {self.moment(wait.since_ms)}, {self.ago(wait.since_ms)}: all are busy."
        way = Way((), "Wait: it begins when another step has ended. App(executor=...) gives steps more threads.")
        return self._by_itself(row, "threads_busy", text, wait.since_ms, way)

    def running(self, row: InvocationRow, line: str | None = None) -> Cause:
        """Of an invocation whose code runs, or waits for something that is not durable: at this line, if that is known."""
        way = Way((), "Wait. What takes long belongs in ctx.run; what waits for others, in an awakeable.")
        if line is not None:
            text = f"waits at {line} for something that is not durable, such as asyncio.sleep or a lock."
            return self._by_itself(row, "unrecorded_wait", text, row.accepted_ms, way)
        text = "runs its code, or waits for something that is not durable, such as asyncio.sleep or a lock."
        return self._by_itself(row, "running", text, row.accepted_ms, way)

    def starting(self, row: InvocationRow) -> Cause:
        """Of an invocation that has nothing in front of it and has not begun."""
        text, way = f"was accepted {self.ago(row.accepted_ms)} and begins.", Way((), "Wait: it begins by itself.")
        return self._by_itself(row, "starting", text, row.accepted_ms, way)

    def inconsistent(self, row: InvocationRow, what: str) -> Cause:
        """Of a state that should not be."""
        return Cause(
            "inconsistent",
            f"{what}. That should not be: please report it, with `actors invocations show {self._ids.invocation(row.seq)}`.",
            "",
            row.accepted_ms,
            (
                Way((), "Restart the app: it reads the file anew. Loses nothing."),
                *self._ends(row, cancels=False),
            ),
        )

    def _by_itself(
        self, row: InvocationRow, code: Code, text: str, since_ms: int, *ways: Way, detail: str = ""
    ) -> Cause:
        """The cause of an invocation that goes on by itself. While no app runs, that is the cause."""
        if self._running:
            return Cause(code, text, detail, since_ms, (*ways, *self._ends(row)))
        return Cause(
            "app_stopped",
            "goes on when an app runs on this file: none does now.",
            error_line((row.reason or "").strip()),
            row.accepted_ms,
            (Way((), "Start the app. Loses nothing."),),
        )

    def _ends(self, row: InvocationRow, cancels: bool = True) -> tuple[Way, ...]:
        """The ways to end an invocation. A cancellation is of use only if its code can run."""
        id = self._ids.invocation(row.seq)
        told = "its caller gets the failure" if row.parent is not None else "its result is lost"
        behind = "" if row.shared != Mode.EXCLUSIVE else ", and the next invocation of the key begins"
        kill = Way(
            ("invocations", "kill", id),
            f"ends it without its code: {told}{behind}. State stays as of its last step.",
        )
        if not cancels or row.flags & Flag.CANCELLED:
            return (kill,)
        cancel = Way(("invocations", "cancel", id), f"lets it clean up and end: {told}{behind}.")
        return cancel, kill

    # --- times ----------------------------------------------------------------------------------------------------------------

    def ago(self, ms: int) -> str:
        """How long ago a moment was: `2 h 14 min ago`."""
        return f"{length(self._now_ms - ms)} ago"

    def _then(self, ms: int | None) -> str:
        if ms is None:
            return "at a time that is not known"
        return f"in {length(ms - self._now_ms)}" if ms > self._now_ms else "now"

    @staticmethod
    def moment(ms: int | None) -> str:
        """A moment in UTC, to the second."""
        if ms is None:
            return "a time that is not known"
        return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def length(ms: int) -> str:
    """A duration in its two largest units: `3 d 4 h`, `2 h 14 min`, `41 s`."""
    seconds = max(0, ms // 1000)
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    for place, (size, unit) in enumerate(units):
        if seconds >= size or size == 1:
            first, rest = divmod(seconds, size)
            more = rest // units[place + 1][0] if place + 1 < len(units) else 0
            return f"{first} {unit}" + (f" {more} {units[place + 1][1]}" if more else "")
    raise AssertionError("unreachable")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
