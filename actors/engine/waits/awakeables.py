"""Completing awakeables from outside: the first completion counts, whether the waiter is in memory or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.attempt.invocation import Invocation
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.timers import Timers
from actors.engine.turns import Turns
from actors.engine.waits.revival import replayed
from actors.errors import (
    AwakeableCompleted,
    AwakeableRejected,
    BadArguments,
    DurableTimeout,
    PayloadTooLarge,
    SerializationError,
    TerminalError,
    UnknownAwakeable,
)
from actors.journal.entries import Kind
from actors.serde import ANY, Codec, codec_named, plain_codec, value_codec
from actors.serde.failures import failure_error, failure_text
from actors.storage.port import Store
from actors.storage.records import JournalRow

_UNKNOWN = "No open awakeable has this id. Its invocation has ended, or its record was removed; there is nothing left to complete."


class Payload:
    """A completion before the waiting type is known: a value, a JSON text, or the reason of a rejection."""

    __slots__ = ("kind", "reason", "text", "value")

    def __init__(self, kind: int, value: Any = None, text: str | None = None, reason: str | None = None) -> None:
        self.kind = kind
        self.value = value
        self.text = text
        self.reason = reason

    def encoded(self, codec: Codec | None) -> str:
        """The text to record. Raises BadArguments if the waiting type does not accept it."""
        if self.kind == Kind.FAILED:
            return failure_text(AwakeableRejected(self.reason or "rejected without a reason"))
        known = codec if codec is not None else value_codec(self.value)
        try:
            if self.text is None:
                return known.encode(self.value)
            return known.encode(
                known.decode(self.text)
            )  # one spelling, so that the same completion again is known as that
        except SerializationError as error:
            raise BadArguments(
                f"This awakeable waits for {known.name}: {error.message.rstrip('.')}. It stays open."
            ) from None


class Awakeables:
    """Completes awakeables, perhaps after a load; the completion itself is one step, in one batch with its cause."""

    def __init__(
        self,
        store: Store,
        env: Env,
        residents: Residents,
        turns: Turns,
        background: Background,
        committer: Committer,
        pins: Pins,
        progress: Progress,
        timers: Timers,
    ) -> None:
        self._store = store
        self._limits = env.limits
        self._open = residents.open
        self._turns = turns
        self._background = background
        self._committer = committer
        self._pins = pins
        self._progress = progress
        self._timers = timers

    async def complete(self, seq: int, index: int, payload: Payload) -> None:
        """Returns once the completion is durable. Raises UnknownAwakeable, AwakeableCompleted or BadArguments."""
        self._background.check_running()
        invocation = self._waiting(seq, index)
        if invocation is None:
            async with self._committer.gated(changes=True):
                await self.apply(seq, index, payload)
            return
        try:
            self._check_room(payload)
            self._apply_now(invocation, seq, index, payload)
        except TerminalError:
            await self._committer.flushed()  # as in `gated`
            raise
        await self._committer.acknowledged()

    def complete_for(self, caller: Invocation, command: int, seq: int, index: int, kind: int, text: str) -> None:
        """Complete an awakeable for a handler: the command of the handler is completed in the same batch."""
        if caller.work is not None and command in caller.work:
            return  # an earlier attempt has begun the completion
        if kind == Kind.RESOLVE:
            payload = Payload(Kind.COMPLETED, text=text)
        else:
            payload = Payload(Kind.FAILED, reason=ANY.decode(text))
        task = self._background.spawn(self._complete_for(caller, command, seq, index, payload))
        self._progress.add_work(caller, command, task)

    async def _complete_for(self, caller: Invocation, command: int, seq: int, index: int, payload: Payload) -> None:
        try:
            self._background.check_running()
            await self.apply(
                seq, index, payload, lambda: self._progress.complete(caller, command, Kind.COMPLETED, None)
            )
        except TerminalError as error:
            self._progress.complete(caller, command, Kind.FAILED, failure_text(error))

    async def apply(self, seq: int, index: int, payload: Payload, then: Callable[[], None] | None = None) -> None:
        """Complete an awakeable; the batch need not be durable yet. `then` is called in that batch. Raises like `complete`."""
        self._check_room(payload)
        invocation = self._waiting(seq, index)
        if invocation is not None:
            self._apply_now(invocation, seq, index, payload)
            if then is not None:
                then()
            return
        async with self._pins.holding(seq) as invocation:
            if invocation is not None:
                unknown = payload.kind == Kind.COMPLETED and not _type_is_known(invocation, index, payload)
                # While turns are held, the handler must have reached its wait before it is shown a completion that lets it go
                # on.
                if unknown or self._turns.held:
                    await replayed(invocation, index, self._progress, self._turns)
                if not invocation.ended:
                    self._apply_now(invocation, seq, index, payload)
                    if then is not None:
                        then()
                    return
        await self._check_ended(seq, index, payload)
        if then is not None:
            then()

    def _waiting(self, seq: int, index: int) -> Invocation | None:
        """The invocation, if the waiting type is known now: its handler is in memory, and says which type it waits for."""
        invocation = self._open.get(seq)
        if invocation is None or invocation.attempt is None or self._turns.held:
            return None
        return invocation if invocation.attempt.future(index) is not None else None

    def _check_room(self, payload: Payload) -> None:
        longest = self._limits.max_failure
        if payload.reason is not None and len(payload.reason) > longest:
            raise PayloadTooLarge(
                f"The reason takes {len(payload.reason):,} characters; max_failure of the app allows {longest:,}. The "
                "awakeable stays open."
            )

    def _apply_now(self, invocation: Invocation, seq: int, index: int, payload: Payload) -> None:
        codec: Codec | None = None
        if invocation.attempt is not None and (future := invocation.attempt.future(index)) is not None:
            codec = future.codec
        journal = invocation.journal
        command = journal.command(index) if journal is not None else None
        if journal is None or command is None or command.kind != Kind.AWAKEABLE:
            raise UnknownAwakeable(_UNKNOWN)
        if codec is None:  # no attempt is there to ask: the invocation sleeps, backs off or is paused
            codec = codec_named(command.name)
        text = payload.encoded(codec)
        completion = journal.completed.get(index)
        if completion is None:
            if len(text) > self._limits.max_payload and payload.kind == Kind.COMPLETED:
                raise PayloadTooLarge(
                    f"The value takes {len(text):,} characters of JSON; max_payload of the app allows "
                    f"{self._limits.max_payload:,}. The awakeable stays open."
                )
            if command.ref is not None:
                self._timers.cancel(command.ref, seq, index)  # its deadline
            self._progress.complete(invocation, index, payload.kind, text)
        else:
            _check_same(completion.kind, completion.value, payload.kind, text, codec)

    async def _check_ended(self, seq: int, index: int, payload: Payload) -> None:
        """A completion for an ended invocation: repeating the recorded completion is fine, any other is an error."""
        await self._committer.flushed()
        rows: list[JournalRow] = await self._store.journal(seq)
        if not any(row.idx == index and row.kind == Kind.AWAKEABLE for row in rows):
            raise UnknownAwakeable(_UNKNOWN)
        completion = next((row for row in rows if row.kind in (Kind.COMPLETED, Kind.FAILED) and row.ref == index), None)
        if completion is None:
            raise UnknownAwakeable(_UNKNOWN)
        codec = codec_named(next(row.name for row in rows if row.idx == index))
        try:
            text = payload.encoded(codec)
        except BadArguments:
            text = ""
        _check_same(completion.kind, completion.value, payload.kind, text, codec)


def _type_is_known(invocation: Invocation, index: int, payload: Payload) -> bool:
    """Whether the type that the awakeable waits for is known without its handler.

    A plain type that accepts the value is taken as recorded. If it refuses the value, the code decides: it may have changed.
    """
    command = invocation.journal.command(index) if invocation.journal is not None else None
    codec = plain_codec(command.name) if command is not None else None
    try:
        return codec is not None and bool(payload.encoded(codec))
    except BadArguments:
        return False


def _check_same(kind: int, value: Any, other_kind: int, other: str, codec: Codec | None) -> None:
    if kind == other_kind and (value == other or (codec is not None and codec.equal(value, other))):
        return
    if kind == Kind.FAILED and isinstance(failure_error(value), DurableTimeout):
        raise AwakeableCompleted(
            "The deadline of this awakeable has passed: its handler has gone on without an answer."
        )
    raise AwakeableCompleted("This awakeable already has another completion. The first completion stands.")
