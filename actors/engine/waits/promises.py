"""Durable promises: the first completion counts, and every waiter receives it, in memory or not.

Promise: the command that completes a promise, the completed promise and all its waiters are in one batch. So after a crash a
promise is open and all its waiters wait, or it is completed and all of them are notified.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from actors.attempt.invocation import Invocation
from actors.engine.background import Background
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.turns import Turns
from actors.engine.waits.revival import replayed
from actors.errors import BadArguments, PayloadTooLarge, PromiseCompleted, PromiseRejected, SerializationError
from actors.journal.entries import Kind
from actors.journal.journal import Journal
from actors.model.definitions import ServiceDefinition
from actors.model.object_state import ObjectState
from actors.serde import ANY, Codec, codec_named
from actors.serde.failures import failure_text
from actors.storage.records import ObjectRecord, Status


class Completion(NamedTuple):
    """`kind` is COMPLETED, with the value as JSON, or FAILED, with the failure."""

    kind: int
    text: str


Waiter = tuple[int, int]  # seq of an open invocation, index of its command


class WorkflowState(ObjectState):
    """The state of a workflow and its promises: `completed` by name, and the waiters of each open promise, by name.

    A waiter may have been evicted alone; it may also have ended. When the whole workflow is evicted, its waiters are found
    again in the journals of its open invocations, which are loaded with it.
    """

    __slots__ = ("completed", "waiters")

    def __init__(self, definition: ServiceDefinition, record: ObjectRecord) -> None:
        super().__init__(definition, record.state)
        self.completed = {
            row.name: Completion(Kind.FAILED if row.failed else Kind.COMPLETED, row.value) for row in record.promises
        }
        self.waiters: dict[str, set[Waiter]] = {}
        for seq, rows in record.journal.items():
            answered = {row.ref for row in rows if row.kind >= Kind.COMPLETED}
            for row in rows:
                if row.kind == Kind.PROMISE and row.idx not in answered:
                    self.waiters.setdefault(row.name or "", set()).add((seq, row.idx))


class Promises:
    """The requests of a workflow's handlers for its promises. The object is in memory: the handlers run on it."""

    def __init__(
        self,
        env: Env,
        residents: Residents,
        ledger: Ledger,
        turns: Turns,
        background: Background,
        pins: Pins,
        progress: Progress,
    ) -> None:
        self._limits = env.limits
        self._open = residents.open
        self._ledger = ledger
        self._turns = turns
        self._background = background
        self._pins = pins
        self._progress = progress

    def wait(self, invocation: Invocation, index: int, name: str) -> None:
        """Complete the command with the promise's completion, now or once there is one."""
        if invocation.begun(index):
            return
        state = _state(invocation)
        found = state.completed.get(name)
        if found is None:
            state.waiters.setdefault(name, set()).add((invocation.seq, index))
        else:
            self._progress.complete(invocation, index, *found)

    def peek(self, invocation: Invocation, index: int, name: str) -> None:
        """Complete the command with the current value."""
        if not invocation.begun(index):
            found = _state(invocation).completed.get(name)
            self._progress.complete(invocation, index, *(found or (Kind.COMPLETED, None)))

    def complete_for(self, caller: Invocation, index: int, name: str, kind: int, text: str, codec: Codec) -> None:
        """Complete a promise for a handler, whose own command is completed in the same batch."""
        if caller.begun(index):
            return
        wanted = Completion(Kind.COMPLETED, text)
        if kind == Kind.REJECT_PROMISE:
            reason, longest = ANY.decode(text), self._limits.max_failure
            if len(reason) > longest:
                refusal = PayloadTooLarge(
                    f"The reason takes {len(reason):,} characters; max_failure of the app allows {longest:,}. The promise "
                    "stays open."
                )
                self._progress.complete(caller, index, Kind.FAILED, failure_text(refusal))
                return
            wanted = Completion(Kind.FAILED, failure_text(PromiseRejected(reason or "rejected without a reason")))
        if self._unready(_state(caller), name, wanted):
            working = self._background.spawn(self._complete(caller, index, name, wanted, codec))
            self._progress.add_work(caller, index, working)
        else:
            self._complete_now(caller, index, name, wanted, codec)

    def ended(self, invocation: Invocation, journal: Journal) -> None:
        """The invocation has ended: it no longer waits for promises."""
        state = invocation.mailbox.state if invocation.mailbox is not None else None
        if isinstance(state, WorkflowState) and state.waiters:
            for entry in journal.commands:
                if entry.kind == Kind.PROMISE and entry.name in state.waiters:
                    _discard(state, entry.name, (invocation.seq, entry.idx))

    def _unready(self, state: WorkflowState, name: str, wanted: Completion) -> set[Waiter]:
        """The waiters that are not in memory, or without their code, unless their recorded type is known and accepts the value."""
        open_ones, found = self._open, set[Waiter]()
        for seq, index in state.waiters.get(name, ()):
            invocation = open_ones.get(seq)
            if invocation is None or (invocation.status in _ASKS and not _accepts(invocation, index, wanted)):
                found.add((seq, index))
        return found

    async def _complete(self, caller: Invocation, index: int, name: str, wanted: Completion, codec: Codec) -> None:
        """`_complete_now` after loading the waiters that are not ready. The caller's end cancels this."""
        async with contextlib.AsyncExitStack() as stack:
            requested: set[Waiter] = set()  # waiters that are held in memory; a waiter that is still missing has ended
            while unready := self._unready(_state(caller), name, wanted) - requested:
                requested |= unready
                await stack.enter_async_context(self._pins.holding_all(seq for seq, _ in unready))
                for seq, at in unready:
                    if (waiting := self._open.get(seq)) is not None:
                        await replayed(waiting, at, self._progress, self._turns)
            self._complete_now(caller, index, name, wanted, codec)

    def _complete_now(self, caller: Invocation, index: int, name: str, wanted: Completion, codec: Codec) -> None:
        """Without an await, so that everything is in one batch."""
        state = _state(caller)
        found = state.completed.get(name)
        refusal: PromiseCompleted | BadArguments | None = None
        waiting: list[tuple[Invocation, int]] = []
        if found is None:
            waiting = [(self._open[seq], at) for seq, at in sorted(state.waiters.get(name, ())) if seq in self._open]
            refusal = _refused_by(waiting, name, wanted)
        elif found.kind != wanted.kind or (found.text != wanted.text and not codec.equal(found.text, wanted.text)):
            refusal = PromiseCompleted(
                f"The promise {name!r} of {caller.service}/{caller.key} already has another completion. The first "
                "completion stands."
            )
        if refusal is not None:
            self._progress.complete(caller, index, Kind.FAILED, failure_text(refusal))
            return
        if found is None:
            state.completed[name] = wanted
            state.waiters.pop(name, None)
            self._store(caller, name, wanted)
            for invocation, at in waiting:
                self._progress.complete(invocation, at, *wanted)
        self._progress.complete(caller, index, Kind.COMPLETED, None)

    def _store(self, caller: Invocation, name: str, wanted: Completion) -> None:
        mailbox = caller.mailbox
        assert mailbox is not None
        # Without a run, the promise may be before its run, or after the end of it: the clean-up finds out.
        unclaimed = int(mailbox.current is None)
        failed = int(wanted.kind == Kind.FAILED)
        row = (caller.service, caller.key, name, failed, wanted.text, self._ledger.now_ms(), unclaimed)
        self._ledger.workflow(mailbox, ("completed", row))


_ASKS = (Status.BLOCKED, Status.RUNNING)  # the code is there, or comes back: it requests the promise on its way


def _refused_by(waiting: Iterable[tuple[Invocation, int]], name: str, wanted: Completion) -> BadArguments | None:
    """The error for a value that a waiter's type refuses, or None."""
    if wanted.kind == Kind.FAILED:
        return None
    for invocation, index in waiting:
        codec = _waits_as(invocation, index)
        if codec is None:
            continue
        try:
            codec.decode(wanted.text)
        except SerializationError as error:
            return BadArguments(
                f"{invocation.address} waits for the promise {name!r} as {codec.name}: {error} It stays open."
            )
    return None


def _accepts(invocation: Invocation, index: int, wanted: Completion) -> bool:
    """Whether the waiter's code is there to say what it accepts, or its recorded type, which may have changed, accepts this."""
    codec = _waits_as(invocation, index)
    if codec is None or (invocation.attempt is not None and invocation.attempt.future(index) is not None):
        return codec is not None
    return _refused_by([(invocation, index)], "", wanted) is None


def _waits_as(invocation: Invocation, index: int) -> Codec | None:
    """The type the waiter waits for; None if this process does not know it."""
    future = invocation.attempt.future(index) if invocation.attempt is not None else None
    if future is not None:
        return future.codec
    command = invocation.journal.command(index) if invocation.journal is not None else None
    # No attempt is there to ask: the journal holds the name of the type.
    return codec_named(ANY.decode(str(command.value))) if command is not None else None


def _state(invocation: Invocation) -> WorkflowState:
    state = invocation.mailbox.state if invocation.mailbox is not None else None
    assert isinstance(state, WorkflowState)
    return state


def _discard(state: WorkflowState, name: str, waiter: Waiter) -> None:
    waiters = state.waiters[name]
    waiters.discard(waiter)
    if not waiters:
        del state.waiters[name]
