"""The functions given to `ctx.run`, between the gate that lets them start and the journal entry that ends them.

Promise: a step is executed only while its invocation may go on. Pause, cancel and kill stop new executions. An execution in a
thread cannot be stopped, so its result counts, and the next invocation of the key waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from actors.attempt.invocation import Invocation
from actors.attempt.work import StepWork
from actors.engine import left_steps
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.failures import Failures
from actors.engine.ledger import Ledger
from actors.engine.progress import Progress
from actors.engine.step_threads import Execution, StepThreads
from actors.errors import (
    InvocationCancelled,
    PayloadTooLarge,
    RetriesExhausted,
    SerializationError,
    TerminalError,
    short_reason,
    times,
)
from actors.journal.entries import Entry, Kind
from actors.journal.tries import Tries
from actors.model import raised
from actors.model.futures import mark_seen
from actors.model.inside import inside_step
from actors.model.raised import programming_error
from actors.model.result_types import is_async
from actors.model.retry import RetryPolicy
from actors.serde import Codec, packing
from actors.serde.failures import failure_text
from actors.storage.records import Flag, Status


class Steps:
    """Starts the steps of a partition, and knows those that are being executed."""

    __slots__ = (
        "background",
        "committer",
        "draining",
        "env",
        "executing",
        "failures",
        "ledger",
        "loop",
        "progress",
        "secret",
        "threads",
    )

    def __init__(
        self,
        env: Env,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        background: Background,
        committer: Committer,
        progress: Progress,
        failures: Failures,
        threads: StepThreads,
    ) -> None:
        self.env = env
        self.loop = loop
        self.ledger = ledger
        self.background = background
        self.committer = committer
        self.progress = progress
        self.failures = failures
        self.threads = threads
        self.executing: set[Step] = set()  # the steps whose functions are being executed, or wait for a thread
        self.draining = False  # no step begins any more
        self.secret = bytes(32)  # the secret of the file, which identifies it under any path

    def start(
        self,
        invocation: Invocation,
        index: int,
        function: Callable[[], Any],
        codec: Codec | None,
        policy: RetryPolicy | None,
    ) -> None:
        """Execute a step once everything before it is durable, unless an earlier attempt's execution still runs."""
        if invocation.work is None or index not in invocation.work:
            step = Step(self, invocation, index, function, codec, policy, contextvars.copy_context())
            self.progress.add_work(invocation, index, step)
            step.schedule()

    def stop(self) -> list[str]:
        """The app stops. The steps whose functions go on all the same."""
        self.threads.stop()
        return [str(step) for step in list(self.executing) if step.abandon()]


class Step(StepWork):
    """One step of an invocation, not of an attempt.

    When an attempt ends while its step still runs, the next attempt waits for that same execution: a second one beside
    it could do the same side effect twice at the same time.

    Life: `schedule`; executed, perhaps several times by its own policy; answered, or `withdrawn`, after which it is
    executed no more. The next attempt makes another one, which goes on where the recorded `Tries` say.
    """

    __slots__ = (
        "_codec",
        "_execution",
        "_function",
        "_invocation",
        "_joined",
        "_policy",
        "_steps",
        "_variables",
        "executing",
        "index",
        "withdrawn",
    )

    def __init__(
        self,
        steps: Steps,
        invocation: Invocation,
        index: int,
        function: Callable[[], Any],
        codec: Codec | None,
        policy: RetryPolicy | None,
        variables: contextvars.Context,
    ) -> None:
        self._steps = steps
        self._invocation = invocation
        self.index = index
        self._function = function
        self._codec = codec
        self._policy = policy
        self._variables = variables
        self.executing: asyncio.Future[Any] | None = None  # done when the execution that is under way has ended
        self._execution: Execution | None = None  # the execution in a thread
        self._joined = False  # this execution was begun before the app was restarted
        self.withdrawn = False

    def __str__(self) -> str:
        return f"step {self._name()} of {self._steps.env.label(self._invocation)}"

    @property
    def seq(self) -> int:
        """The seq of its invocation."""
        return self._invocation.seq

    @property
    def status(self) -> str:
        """Of a step that is being executed: `queued` for a thread, or `running`."""
        return "queued" if self._execution is not None and not self._execution.begun else "running"

    # --- executing --------------------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Execute it once everything before it is durable; a step that has failed before waits for its next try."""
        policy = self._policy
        if policy is None or not (tries := self._tries()).failed:
            self._steps.committer.gate(self.start)
            return
        steps = self._steps
        if self._told_cancelled():
            steps.loop.call_soon(self._give_up_cancelled)  # the handler that asks for it is running
        elif policy.max_attempts is not None and tries.failed >= policy.max_attempts:  # by the policy of older code
            steps.loop.call_soon(self._give_up, tries)
        else:
            # Further off than the policy allows: the clock was ahead when that was planned.
            latest = steps.env.clock.due_ms(round(policy.max_interval * 1000))
            steps.progress.wake_at(min(tries.next_ms or 0, latest), self._due)

    def _due(self) -> None:
        if not self._over():
            self._steps.committer.gate(self.start)  # its last failure must be on disk, too

    def start(self) -> bool:
        """Run the function. Called once all it depends on is durable. Whether it has begun on the loop: it may be over soon."""
        steps = self._steps
        if self._over() or steps.draining or self._cancelled_meanwhile():
            return False
        try:
            left = left_steps.join(self._key(), steps.loop) if left_steps.some() else None
            if left is not None:
                self._join(left)
                return False
            function = self._function
            if steps.env.watcher is not None:
                function = steps.env.watcher.step(self._invocation, self.index, self._name(), function)
            # Each try begins with the variables of the handler, and no two threads can enter one context at once.
            variables = self._variables.copy() if self._policy is not None else self._variables
            if is_async(function):
                self._begun(steps.loop.create_task(_no_stop_async(function), context=variables))
            else:
                execution = Execution(self, function, steps.env.clock.now_ms())
                steps.threads.submit(execution, variables.run)
                self._execution = execution
                self._begun(asyncio.wrap_future(execution.job, loop=steps.loop))
        except Exception as error:  # arguments that do not fit, for example
            steps.loop.call_soon(self._failed, error)  # the handler that asked for it may still be running
        return self._execution is None and self.executing is not None

    def _join(self, job: left_steps.Job) -> None:
        """Wait for an execution that was begun before the app was started again, instead of beginning one beside it."""
        steps = self._steps
        self._joined = True
        if isinstance(job, asyncio.Task):
            self._begun(job)
            return
        self._execution = execution = Execution(self, self._function, steps.env.clock.now_ms())
        execution.begun, execution.job = True, job
        steps.threads.running.add(execution)
        self._begun(asyncio.wrap_future(job, loop=steps.loop))

    def _begun(self, executing: asyncio.Future[Any]) -> None:
        self.executing = executing
        self._steps.executing.add(self)
        executing.add_done_callback(self._done)

    # --- stopping ---------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """The app stops before it was executed."""
        self.withdrawn = True

    def abandon(self) -> bool:
        """The app stops during an execution. Returns whether the function goes on; then it is left for the next app
        that opens the file.

        If the app is closed an async function is cancelled; if the database has failed it goes on until the app runs again.
        """
        self.withdrawn = True
        executing, execution = self.executing, self._execution
        if executing is None:
            return False
        job: left_steps.Job
        if execution is not None:
            execution.withdraw()
            executing.cancel()  # its loop may be closed when the function ends
            job = execution.job
            if job.cancelled():  # it had waited for a thread
                return False
        else:
            assert isinstance(executing, asyncio.Task)
            job = executing
            if self._steps.background.closing or self._invocation.ended:
                job.cancel()
        left_steps.leave(self._key(), job)
        return not job.done()

    def _key(self) -> left_steps.Key:
        return self._steps.secret, self._invocation.seq, self.index

    def withdraw(self) -> bool:
        """No new execution. Whether one is under way; then its result still counts."""
        if self.executing is not None and (self._execution is None or not self._execution.withdraw()):
            return True
        self.withdrawn = True
        return False

    def leave(self) -> bool:
        """The invocation has ended. Returns whether the function is still running; an async function is cancelled,
        which may take time.
        """
        self.withdrawn = True
        if self.executing is None:
            return False
        if self._execution is None:
            return self.executing.cancel()
        return not self._execution.withdraw()

    def told_cancelled(self) -> None:
        """The handler is notified of a cancellation: what it requested before is not tried again."""
        if self.executing is None and self._policy is not None and (tries := self._tries()) and tries.failed:
            self._give_up_cancelled()

    def _command(self) -> Entry | None:
        journal = self._invocation.journal
        return journal.command(self.index) if journal is not None else None

    def _name(self) -> str:
        command = self._command()
        return (command.name or "") if command is not None else ""

    def _tries(self) -> Tries:
        command = self._command()
        return Tries.of(command.ref, command.before) if command is not None else Tries()

    def _over(self) -> bool:
        return self.withdrawn or self._invocation.ended or self._steps.background.stopped

    def _cancelled_meanwhile(self) -> bool:
        """Whether it has failed before and its invocation was cancelled since; then `told_cancelled` gives it up."""
        if not self._invocation.has(Flag.CANCELLED) or self._policy is None or not self._tries().failed:
            return False
        journal = self._invocation.journal
        assert journal is not None
        return not journal.cancelled or self._told_cancelled()

    def _told_cancelled(self) -> bool:
        """Whether the handler asked for it before it was told of its cancellation: what it asks for later is its own."""
        journal = self._invocation.journal
        if journal is None or not journal.cancelled:
            return False
        return self.index < next(entry.idx for entry in journal.completions if entry.kind == Kind.CANCELLED)

    # --- results ------------------------------------------------------------------------------------------------------------

    def _done(self, running: asyncio.Future[Any]) -> None:
        steps = self._steps
        execution, self._execution, self.executing = self._execution, None, None
        steps.executing.discard(self)
        if execution is not None:
            steps.threads.running.discard(execution)
        if self._over():
            mark_seen(running)
            steps.progress.step_left(self._invocation, self.index)
            return
        error = (
            asyncio.CancelledError("the step was cancelled from inside") if running.cancelled() else running.exception()
        )
        if self._joined and isinstance(error, asyncio.CancelledError):  # the app that had begun it was closed
            self._joined = False
            self.start()
            return
        if error is not None:
            self._failed(error)
            return
        try:
            value = running.result()
            if isinstance(value, CoroutineType):
                value.close()
                raise SerializationError(
                    "The step returned a coroutine. Pass ctx.run the async function itself, not a wrapper of it."
                )
            text = packing.pack(value) if self._codec is None else self._codec.encode(value)
            if len(text) > steps.env.limits.max_payload:
                raise PayloadTooLarge(
                    f"The step's result takes {len(text):,} characters; max_payload of the app allows "
                    f"{steps.env.limits.max_payload:,}. Let the step store the result elsewhere and return a "
                    "reference to it."
                )
        except TerminalError as refused:
            steps.progress.complete(self._invocation, self.index, Kind.FAILED, failure_text(refused))
            return
        except Exception as broken:  # a method of the value's own class, for example
            self._failed(broken)
            return
        steps.progress.complete(self._invocation, self.index, Kind.COMPLETED, text)

    def _failed(self, error: BaseException) -> None:
        if self._over():
            return
        steps, invocation = self._steps, self._invocation
        terminal = raised.terminal(error)
        if terminal is not None:
            steps.progress.complete(
                invocation, self.index, Kind.FAILED, failure_text(terminal, steps.env.limits.max_failure)
            )
            return
        policy = self._policy
        if policy is None:
            note = (
                f"Raised by the step {self._name()!r}. Only a TerminalError raised by a step can be caught in the "
                "handler."
            )
            with contextlib.suppress(Exception):  # of a class whose attributes cannot be set
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
            steps.failures.step_failed(invocation, self.index, error)
            return
        now = steps.env.clock.now_ms()
        tries = self._tries().once_more(now, raised.reason_of(error))
        steps.env.counts.failed_steps += 1
        if policy.exhausted(tries.failed, now - tries.since_ms):
            self._record(tries)
            self._give_up(tries, short_reason(raised.principal(error)))
            return
        if steps.failures.mistaken(tries.failed, error):
            self._record(tries)
            wrong = programming_error(error, tries.error)
            steps.failures.step_given_up(invocation, self._name(), tries.failed, tries.error)
            steps.progress.complete(
                invocation, self.index, Kind.FAILED, failure_text(wrong, steps.env.limits.max_failure)
            )
            return
        delay_ms = policy.delay_ms(tries.failed, steps.env.rng)
        next_ms = steps.env.clock.due_ms(delay_ms)
        self._record(tries.at(next_ms))
        steps.failures.step_failed_again(invocation, self._name(), tries.failed, delay_ms / 1000, tries.error)
        if invocation.status == Status.PAUSED:
            self.withdrawn = True
            steps.progress.work_ended(invocation, self.index)
        elif self._told_cancelled():
            self._give_up_cancelled()
        else:
            steps.progress.wake_at(next_ms, self._due)

    def _record(self, tries: Tries) -> None:
        command = self._command()
        if command is not None:
            tries.write(command)
            self._steps.ledger.write_tries(self._invocation, command)

    def _give_up(self, tries: Tries, last: str | None = None) -> None:
        if self._over():
            return
        last = tries.error.rstrip().rpartition("\n")[2] if last is None else last
        exhausted = RetriesExhausted(f"The step failed {times(tries.failed)}; the last error was {last}.")
        self._steps.failures.step_given_up(self._invocation, self._name(), tries.failed, tries.error)
        self._steps.progress.complete(self._invocation, self.index, Kind.FAILED, failure_text(exhausted))

    def _give_up_cancelled(self) -> None:
        if self._over():
            return
        stopped = InvocationCancelled(f"The step {self._name()} is not tried again: its invocation was cancelled.")
        self._steps.progress.complete(self._invocation, self.index, Kind.FAILED, failure_text(stopped))


async def _no_stop_async(function: Callable[[], Any]) -> Any:
    """The call is inside too: a coroutine made before the task runs would never be awaited if the task is cancelled
    first.
    """
    inside_step.set(True)
    try:
        return await function()
    except StopIteration as stop:
        raise RuntimeError("The step raised StopIteration.") from stop
    except (SystemExit, KeyboardInterrupt) as stop:  # asyncio would end the loop, and so the server
        raise raised.contained(stop, "The step") from stop
