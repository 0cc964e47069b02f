"""Group commit with an output gate.

Facts are appended to the open batch in the order in which they happen. One batch is committed at a time; the
next batch fills meanwhile. A reply that must not leave before its cause is durable is attached to the batch as a gate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from actors.attempt.invocation import MISSING, Invocation
from actors.engine.begun import Begun
from actors.engine.histogram import Durations
from actors.engine.unanswered import may_have_been_done, refuse
from actors.errors import AppNotRunning, TerminalError
from actors.storage.errors import StorageError
from actors.storage.records import Batch, Status

if TYPE_CHECKING:
    from actors.engine.clock import Clock
    from actors.storage.port import Store
    from actors.storage.records import WorkflowFact

# A global is read at half the cost of a class attribute.
_SCHEDULED, _SUCCEEDED = Status.SCHEDULED, Status.SUCCEEDED

TURNS_OF_PROMPT = (
    6  # of the loop: an async step runs, its result arrives, its handler goes on, who was answered asks again
)
PROMPT_MS = 1  # by the clock of the app: in a simulation what happens does not depend on the load of the machine


class OpenBatch:
    """Facts since the last hand-over. A fact that changes twice before it is handed over is written once."""

    __slots__ = (
        "answered",
        "answers",
        "attached",
        "detached",
        "fired",
        "gates",
        "invocations",
        "journal",
        "number",
        "purged",
        "replies",
        "reserve_to",
        "state",
        "stopped",
        "timers",
        "tries",
        "workflows",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.invocations: list[Invocation] = []
        self.journal: list[tuple[Any, ...]] = []
        self.state: dict[tuple[str, str, str], str | None] = {}
        self.timers: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        self.fired: list[tuple[int, int]] = []
        self.stopped: list[tuple[int, int, int]] = []
        self.attached: list[tuple[int, int, int]] = []
        self.detached: list[tuple[int, int, int]] = []
        self.purged: list[tuple[int]] = []
        self.reserve_to: int | None = None
        self.answered: list[tuple[str, int, int]] = []  # requests of a command line
        self.workflows: list[WorkflowFact] = []
        self.tries: dict[tuple[int, int], tuple[Any, ...]] = {}
        self.answers: list[Invocation] = []  # ended in this batch, with callers that wait
        # See Committer.reply.
        self.replies: list[tuple[asyncio.Future[Any], Invocation | None, bool | BaseException]] = []
        self.gates: list[Callable[[], object]] = []

    def empty(self) -> bool:
        return not (
            self.invocations
            or self.journal
            or self.state
            or self.timers
            or self.fired
            or self.stopped
            or self.attached
            or self.detached
            or self.purged
            or self.reserve_to
            or self.answered
            or self.workflows
            or self.tries
        )

    def sealed(self) -> Batch:
        """The rows of this moment. From now on the batch belongs to the disk."""
        state: list[tuple[Any, ...]] = []
        cleared: list[tuple[str, str, str]] = []
        for key, text in self.state.items():
            if text is not None:
                state.append((*key, text))
            else:
                cleared.append(key)
        plain: list[tuple[Any, ...]] = []
        ended: list[tuple[Any, ...]] = []
        rows: list[tuple[Any, ...]] = []
        for invocation in self.invocations:
            stored, status = invocation.stored_status, invocation.status
            invocation.stored_status = status
            if invocation.extras is not None:
                rows.append(invocation.row())
            elif stored > _SCHEDULED and status >= _SUCCEEDED:  # its place in the mailbox is in the file already
                ended.append((invocation.seq, status, invocation.ended_ms, invocation.outcome))
            else:
                plain.append(invocation.plain_row())
        return Batch(
            self.number,
            rows,
            plain,
            self.journal,
            state,
            cleared,
            list(self.timers.values()),
            self.fired,
            self.stopped,
            self.attached,
            self.detached,
            self.purged,
            self.reserve_to,
            self.answered,
            self.workflows,
            list(self.tries.values()),
            ended,
        )


class Committer:
    """Owns the open batch. `on_failure` is called if a commit fails, after which nothing is released, and for each gate that raises.

    A commit that failed may be in the file all the same, for example if only its fsync failed. So callers that wait for
    that batch get the result of `unanswered`; the open batch, which the store never received, is dropped.
    `on_handed_over` is called when the store has a batch: from then on its reads see it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[BaseException], None],
        on_handed_over: Callable[[], None],
        unanswered: Callable[[Invocation, BaseException], BaseException],
    ) -> None:
        self._store = store
        self._clock = clock
        self._loop = loop
        self._on_failure = on_failure
        self._on_handed_over = on_handed_over
        self._unanswered = unanswered
        self._writing: OpenBatch | None = None
        self._sealed: Batch | None = None
        self._task: asyncio.Task[None] | None = None
        self.batch = OpenBatch(1)
        self.handed_over = 0  # number of the last batch given to the store: reads see all of it
        self.failed: BaseException | None = None
        self._kicked = False  # whether `kick` is about to be called
        self.durations = Durations()  # of commits
        self._began = 0.0

    def unseen(self) -> list[OpenBatch]:
        """The batches that a read requested now would not see."""
        if self._writing is not None and self._writing.number > self.handed_over:
            return [self._writing, self.batch]
        return [self.batch]

    def reply(
        self, future: asyncio.Future[Any], about: Invocation, outcome: bool | BaseException, written_in: int
    ) -> None:
        """Answer a caller once batch `written_in` is durable: with the outcome of an invocation that has ended, if `outcome` is
        True; with None, if it is False; else with this error.
        """
        if written_in == self.batch.number:
            self.batch.replies.append((future, about, outcome))
        elif self._writing is not None and written_in == self._writing.number:
            self._writing.replies.append((future, about, outcome))
        else:
            _reply(future, about, outcome)

    def gate(self, callback: Callable[[], object]) -> None:
        """Call back once everything that has happened so far is durable. At once if it is.

        A callback returns True if it has started something that may end in a moment.
        """
        batch = self.batch
        if batch.journal or not batch.empty():  # most callbacks start steps, whose entries have just been written
            batch.gates.append(callback)
        elif self._writing is not None:
            self._writing.gates.append(callback)
        else:
            callback()

    def gated(self, *, changes: bool = False) -> Gated:
        """`async with`: the result or refusal of the block leaves it once everything it may depend on is durable.

        With `changes` a result speaks of what the block has changed, which may be in the file or not if the commit fails.
        """
        return Gated(self, changes)

    async def flushed(self) -> None:
        """Return once everything that has happened so far is durable. Raises the error of a failed commit."""
        if self.failed is not None:
            raise self.failed.with_traceback(None)  # raised often: each time would add to the traceback
        last = self.batch if not self.batch.empty() else self._writing
        if last is not None:
            future: asyncio.Future[None] = self._loop.create_future()
            last.replies.append((future, None, False))
            if self._writing is None and not self._kicked:  # else the open batch follows by itself
                # Not at once: what this turn of the loop still does belongs in the same batch.
                self._kicked = True
                self._loop.call_soon(self.kick)
            await future

    async def acknowledged(self, id: str | None = None) -> None:
        """`flushed`, for what the caller has changed: raises OutcomePending, since that may be in the file or not."""
        try:
            await self.flushed()
        except (StorageError, AppNotRunning) as error:
            raise may_have_been_done(error, id) from error

    def abandon(self, error: BaseException) -> None:
        """Drop the open batch: what the store was not given has not happened. A batch being written is answered when it is."""
        if self.failed is None:
            self.failed = error
            self._refuse(self.batch, error)

    async def settled(self) -> None:
        """Return once no batch is being written."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def kick(self) -> None:
        """Hand the open batch over, unless one is being written: then it follows."""
        self._kicked = False
        if self._writing is None and self.failed is None and not self.batch.empty():
            self._hand_over()
            # Not by way of the loop: its task factory looks for tasks of handlers.
            self._task = asyncio.Task(self._write(), loop=self._loop)

    def _hand_over(self) -> None:
        batch = self.batch
        self._writing = batch
        self.batch = OpenBatch(batch.number + 1)
        self._sealed = batch.sealed()

    async def _write(self) -> None:
        written: OpenBatch | None = None  # durable, and not acknowledged yet
        try:
            committing = self._begin()
            while True:
                await committing
                self.durations.add(perf_counter() - self._began)
                written = self._writing
                assert written is not None
                if written.gates:
                    self._store.verify()
                    if self._open_gates(written):
                        self._release(written)
                        await self._let_begin()
                if self.batch.empty() or self.failed is not None:
                    self._store.verify()
                    self._writing = self._sealed = None
                    self._release(written)
                    return
                # The next batch is on its way to the disk before the replies wake their waiters.
                self._hand_over()
                committing = self._begin()
                self._store.verify()
                self._release(written)
                written = None
        except BaseException as error:
            self._fail(error, written)
            if not isinstance(error, Exception):
                raise

    def _begin(self) -> Begun:
        """The commit of what was handed over has begun."""
        assert self._writing is not None and self._sealed is not None
        self._began = perf_counter()
        committing = Begun(self._store.commit(self._sealed))
        # Not before: a read that comes between would not see the batch.
        self.handed_over = self._writing.number
        self._on_handed_over()
        return committing

    def _release(self, batch: OpenBatch) -> None:
        answers, batch.answers = batch.answers, []
        replies, batch.replies = batch.replies, []  # what is added later is released by the next call
        for answered in answers:
            waiters, answered.waiters = answered.waiters, None
            value = answered.value
            for future in waiters or ():
                if value is MISSING:
                    _reply(future, answered, True)
                elif not future.done():
                    future.set_result(value)
        for future, about, outcome in replies:
            _reply(future, about, outcome)
        if batch.gates:
            self._open_gates(batch)

    def _open_gates(self, batch: OpenBatch) -> bool:
        """Returns whether something was started that may end in a moment."""
        gates, batch.gates = batch.gates, []
        prompt = False
        for gate in gates:
            try:
                prompt = gate() is True or prompt
            except Exception as error:  # the batch is on disk all the same
                self._on_failure(error)
        return prompt

    async def _let_begin(self) -> None:
        """Give the loop to what has just begun: what is over at once belongs in the next batch, not in the one after that.

        Else each short step waits for a commit that holds nothing of it: half as many calls in each, twice as many commits. Not for
        long: the disk is idle meanwhile.
        """
        until_ms = self._clock.now_ms() + PROMPT_MS
        for _ in range(TURNS_OF_PROMPT):
            await asyncio.sleep(0)
            if self._clock.now_ms() > until_ms:
                return

    def _fail(self, error: BaseException, written: OpenBatch | None) -> None:
        if not isinstance(error, StorageError):
            wrapped = AppNotRunning(
                f"The app stopped while it was writing ({error!r}). Start it again: it recovers from the file."
            )
            wrapped.__cause__ = error
            error = wrapped
        for batch in (written, self._writing):
            if batch is not None:
                self._refuse(batch, error)
        self.abandon(error)
        self._on_failure(error)

    def _refuse(self, batch: OpenBatch, error: BaseException) -> None:
        for future, about, _ in batch.replies:
            refuse(future, error if about is None else self._unanswered(about, error))
        for invocation in batch.answers:
            for future in invocation.waiters or ():
                refuse(future, self._unanswered(invocation, error))


class Gated:
    """Everything that has been applied, but not written, may be lost; an answer that speaks of it must not be there before.

    A refusal speaks of recorded facts as much as a result does: completed already, ended already, used with other arguments.
    `id`, of the invocation that the block has made or found, is what a caller attaches to if the commit of a change fails.
    """

    __slots__ = ("_changes", "_committer", "id")

    def __init__(self, committer: Committer, changes: bool) -> None:
        self._committer = committer
        self._changes = changes
        self.id: str | None = None

    async def __aenter__(self) -> Gated:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # Other errors mean that the app has stopped, or that the caller has gone.
        if error is None or isinstance(error, TerminalError):
            if error is None and self._changes:
                await self._committer.acknowledged(self.id)
            else:
                await self._committer.flushed()


def _reply(future: asyncio.Future[Any], about: Invocation | None, outcome: bool | BaseException) -> None:
    if future.done():
        return
    if not isinstance(outcome, bool):
        refuse(future, outcome)
        return
    if about is None or not outcome:
        future.set_result(None)
        return
    try:
        future.set_result(about.result())
    except Exception as error:
        # asyncio reports it at the end if it was never retrieved; the traceback would keep frames alive and delay that.
        future.set_exception(error.with_traceback(None))
