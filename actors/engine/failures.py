"""The consequences of a failed attempt: the invocation backs off, is paused, or ends."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable

from actors.attempt.invocation import Extras, Invocation
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.timer_queue import RETRY
from actors.errors import (
    BadArguments,
    BadId,
    BadKey,
    DeadlockError,
    DefinitionError,
    InvocationCancelled,
    JournalTooLong,
    MisusedApp,
    MisusedFuture,
    PayloadTooLarge,
    RetriesExhausted,
    SerializationError,
    StateWriteRefused,
    TerminalError,
    UndeclaredState,
    UnknownHandler,
    UnknownService,
    UnsetState,
    WrongKind,
    code_suffix,
    short_reason,
    times,
)
from actors.model.raised import DEBUG_ATTEMPTS, MISTAKES, place_of, principal, programming_error, reason_of
from actors.model.retry import RetryPolicy
from actors.storage.records import Flag, Status

log = logging.getLogger("actors")

# The errors that a check of this package raises when a handler makes an invalid request.
CHECKS = (
    MisusedFuture,
    MisusedApp,
    SerializationError,
    DefinitionError,
    DeadlockError,
    BadArguments,
    UnknownService,
    UnknownHandler,
    WrongKind,
    BadKey,
    BadId,
    StateWriteRefused,
    UndeclaredState,
    UnsetState,
    PayloadTooLarge,
    JournalTooLong,
)
# The errors among them that refuse a call or a step.
REFUSALS = (DeadlockError, BadKey, PayloadTooLarge, SerializationError)


class Failures:
    """Decides and logs, and leaves the rest to `progress`. The wiring sets `add_timer`."""

    __slots__ = ("_committer", "_env", "_eviction", "_ledger", "_progress", "_residents", "add_timer")

    add_timer: Callable[[int, Invocation, int], None]

    def __init__(
        self,
        env: Env,
        residents: Residents,
        ledger: Ledger,
        committer: Committer,
        eviction: Eviction,
        progress: Progress,
    ) -> None:
        self._env = env
        self._residents = residents
        self._ledger = ledger
        self._committer = committer
        self._eviction = eviction
        self._progress = progress

    def step_failed(self, invocation: Invocation, index: int, error: BaseException) -> None:
        """A step without its own policy failed: the attempt fails, and the next attempt executes the step again."""
        if invocation.work is not None:
            invocation.work.pop(index, None)
        if invocation.attempt is not None:
            self.attempt_failed(invocation, error)

    def step_failed_again(self, invocation: Invocation, name: str, failed: int, delay_s: float, reason: str) -> None:
        """A step with its own policy failed, and will be tried again."""
        log.warning(
            "%s: step %s failed %s, next try in %.1f s.%s",
            self._env.label(invocation),
            name,
            times(failed),
            delay_s,
            _step_for_the_log(invocation, reason),
        )

    def step_given_up(self, invocation: Invocation, name: str, failed: int, reason: str) -> None:
        """A step with its own policy failed for the last time."""
        details = _step_for_the_log(invocation, reason)
        log.warning("%s: step %s failed for good, %s.%s", self._env.label(invocation), name, times(failed), details)

    def pushed_back(self, invocation: Invocation, error: TerminalError) -> None:
        """The handler sent a message to a full mailbox: the next attempt sends it again, when there may be room.

        A handler that sends faster than the receivers work meets this often. As long as each attempt gets further than the one
        before, these failures do not count: the retry policy is for failures that do not go away.
        """
        extras = invocation.more()
        size = invocation.journal.size if invocation.journal is not None else 0
        if extras.pushed_back_at is not None and size > extras.pushed_back_at:
            extras.attempts, extras.failing_since_ms = 0, None
        extras.pushed_back_at = size
        self.attempt_failed(invocation, error.with_traceback(None))  # the traceback would show only this runtime

    def attempt_failed(self, invocation: Invocation, error: BaseException) -> None:
        """A transient error: back off, or, when the policy is used up, give up as the policy says."""
        if self._ends_cancelled(invocation, reason_of(error)):
            return
        self._progress.close_attempt(invocation)
        extras = invocation.more()
        now = self._env.clock.now_ms()
        if extras.failing_since_ms is None:
            extras.failing_since_ms = now
        extras.attempts += 1
        self._env.counts.failed_attempts += 1
        reason = extras.reason = reason_of(error)
        handler = invocation.handler
        policy = (handler.retry if handler is not None else None) or self._env.retry
        if self.mistaken(extras.attempts, error):
            log.error(
                "%s failed for good because of a programming error.%s",
                self._env.label(invocation),
                _for_the_log(extras, error, reason),
            )
            self._progress.end(invocation, programming_error(error, reason))
            return
        if policy.exhausted(extras.attempts, now - extras.failing_since_ms):
            if policy.on_exhausted == "fail":
                self._fail_exhausted(invocation, extras, error, reason)
                return
            self.pause(
                invocation,
                f"Paused after {extras.attempts} failed attempt{'s' if extras.attempts > 1 else ''}. The last error:\n{reason}",
                error,
                f"Paused after {extras.attempts} failed attempt{'s' if extras.attempts > 1 else ''}. The last error:"
                + _for_the_log(extras, error, reason),
            )
            return
        delay_ms = policy.delay_ms(extras.attempts, self._env.rng)
        invocation.status = Status.BACKING_OFF
        self._ledger.mark(invocation)
        self._eviction.rests(invocation)
        self.add_timer(self._env.clock.due_ms(delay_ms), invocation, RETRY)
        log.warning(
            "%s: attempt %d%s failed, next in %.1f s.%s",
            self._env.label(invocation),
            extras.attempts,
            self._of_attempts(policy, error),
            delay_ms / 1000,
            _for_the_log(extras, error, reason),
        )

    def trace_mistake(self, invocation: Invocation, error: TerminalError) -> None:
        """A check of this package ends the invocation: the log, `describe` and the error itself name the place in the handler.

        An error that the handler raises on purpose is its answer, and so is a failure of a called object, or of a step.
        """
        if not isinstance(error, CHECKS):
            return
        if error._elsewhere and (error.location is not None or not isinstance(error, REFUSALS)):
            return
        frames = list(traceback.walk_tb(error.__traceback__))
        if frames and not _is_own(frames[-1][0].f_code.co_filename):
            return  # raised by the handler's own code
        location = error.location
        if location is None:
            location = next(
                (
                    f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
                    for frame, line in reversed(frames)
                    if not _is_own(frame.f_code.co_filename)
                ),
                None,
            )
        raised_there = location is not None
        if location is None and invocation.handler is not None:  # a mistake in its result or state: no line raises it
            code = getattr(invocation.handler.function, "__code__", None)
            if code is not None:
                location = f"{code.co_filename}:{code.co_firstlineno} in {code.co_name}"
        with contextlib.suppress(Exception):  # the class may not allow attributes to be set
            error.location = location
        reason = invocation.more().reason = reason_of(error) if raised_there else f"{location}: {short_reason(error)}"
        log.error(
            "%s failed because of a mistake at %s. %s%s",
            self._env.label(invocation),
            location,
            reason.rstrip(),
            code_suffix(error),
        )

    def mistaken(self, failed: int, error: BaseException) -> bool:
        """Whether to give up although the policy has attempts left: in an app with debug, mistakes are reported soon."""
        return self._env.debug and failed >= DEBUG_ATTEMPTS and isinstance(principal(error), MISTAKES)

    def _of_attempts(self, policy: RetryPolicy, error: BaseException) -> str:
        attempts = policy.max_attempts
        if self.mistaken(DEBUG_ATTEMPTS, error):
            attempts = DEBUG_ATTEMPTS if attempts is None else min(attempts, DEBUG_ATTEMPTS)
        return "" if attempts is None else f" of {attempts}"

    def _fail_exhausted(self, invocation: Invocation, extras: Extras, error: BaseException, reason: str) -> None:
        """End an invocation whose policy is used up."""
        attempts = extras.attempts
        log.error(
            "%s failed for good after %d attempts.%s",
            self._env.label(invocation),
            attempts,
            _for_the_log(extras, error, reason),
        )
        failure = RetriesExhausted(
            f"The handler failed {times(attempts)}; the last error was {short_reason(principal(error))}."
        )
        self._progress.end(invocation, failure)

    def pause(self, invocation: Invocation, reason: str, error: BaseException, logged: str | None = None) -> None:
        """Stop an invocation that a retry would not help. It keeps its key, so that no invocation behind it overtakes.

        `logged` replaces the reason in the log, where that is shorter.
        """
        if self._ends_cancelled(invocation, reason):
            return
        self._progress.close_attempt(invocation)
        self._progress.withdraw_steps(invocation)
        invocation.more().reason = reason
        invocation.status = Status.PAUSED
        self._env.counts.paused += 1
        self._residents.paused_here.add(invocation.seq)
        self._ledger.mark(invocation)
        self._eviction.rests(invocation)
        log.error(
            "%s is paused. It is tried again when it is resumed, or when the app starts again. %s%s",
            self._env.label(invocation),
            (reason if logged is None else logged).rstrip(),
            code_suffix(error),
        )
        if self._env.on_paused is not None:
            self._committer.gate(functools.partial(self._env.on_paused, invocation))

    def _ends_cancelled(self, invocation: Invocation, reason: str) -> bool:
        """Whether a cancelled invocation failed before its handler received the cancellation: then it ends instead."""
        if not invocation.has(Flag.CANCELLED) or (invocation.attempt is not None and invocation.attempt.notified):
            return False
        if invocation.journal is not None and not invocation.journal.cancelled:
            return False  # the invocation still waits for its calls, which are cancelled first
        invocation.more().reason = reason
        self._progress.end(invocation, InvocationCancelled())
        return True


def _step_for_the_log(invocation: Invocation, reason: str) -> str:
    """`_for_the_log` for the recorded error of a step, which is the text of its traceback."""
    lines = reason.rstrip().split("\n")
    frame = next((line for line in reversed(lines) if line.startswith('  File "')), "")
    return _once(invocation.more(), (frame, lines[-1].partition(":")[0]), reason, lines[-1])


# The folder of the whole package.
_OWN = os.path.dirname(os.path.abspath(sys.modules[TerminalError.__module__].__file__ or "")) + os.sep


def _is_own(path: str) -> bool:
    return path.startswith(_OWN)


def _for_the_log(extras: Extras, error: BaseException, reason: str) -> str:
    """The traceback when this invocation fails with an error for the first time in this process; after that, one line.

    See `place_of`.
    """
    return _once(extras, place_of(error), reason, short_reason(principal(error)))


def _once(extras: Extras, where: object, reason: str, short: str) -> str:
    logged = extras.logged = extras.logged if extras.logged is not None else set()
    if where not in logged:
        logged.add(where)
        return "\n" + reason.rstrip("\n")
    return " " + " ".join(short.split())[:500]
