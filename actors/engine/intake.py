"""How messages get in: the check for room, their number, and their place in the mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from actors.attempt.invocation import Invocation, Mailbox, own_key
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.memory.loader import Loader
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.turns import Turns
from actors.engine.unanswered import unanswered
from actors.engine.watching import trace_headers
from actors.errors import AppNotRunning, BadKey, MailboxFull, Overloaded, PayloadTooLarge, WrongKind
from actors.journal.sends import RecordedSend
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition
from actors.model.message import Message
from actors.model.object_state import ObjectState
from actors.model.options import Options
from actors.serde.type_names import shortened
from actors.storage.errors import StorageError
from actors.storage.records import Flag, Mode, Status

_RUNNING, _PAUSED = Status.RUNNING, Status.PAUSED  # a global is read at half the cost of a class attribute

_KEYLESS = Mode.KEYLESS
_headers_text = msgspec.json.Encoder().encode


class Intake:
    """Accepts messages, as part of the open batch, and delivers them: from callers, handlers, timers and the disk.

    The wiring sets `deliver_later`, for a message whose time has not come.
    """

    __slots__ = (
        "_background",
        "_catalog",
        "_clock",
        "_committer",
        "_ids",
        "_ledger",
        "_limits",
        "_loader",
        "_max_in_flight",
        "_max_key",
        "_max_payload",
        "_max_pending",
        "_objects",
        "_open",
        "_progress",
        "_turns",
        "_watcher",
        "deliver_later",
    )

    deliver_later: Callable[[int, Invocation], None]  # due in ms

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        residents: Residents,
        ledger: Ledger,
        turns: Turns,
        background: Background,
        committer: Committer,
        loader: Loader,
        progress: Progress,
    ) -> None:
        limits = self._limits = env.limits
        self._max_payload = limits.max_payload
        self._max_pending = limits.max_pending
        self._max_key = limits.max_key
        self._max_in_flight = limits.max_in_flight
        self._clock = env.clock
        self._ids = env.ids
        self._watcher = env.watcher
        self._catalog = catalog
        self._open = residents.open
        self._objects = residents.objects
        self._ledger = ledger
        self._turns = turns
        self._background = background
        self._committer = committer
        self._loader = loader
        self._progress = progress

    def accept(
        self,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        headers: dict[str, str] | None,
        seq: int,
        parent: int | None,
        parent_index: int | None,
        delay_ms: int = 0,
        idempotency_key: str | None = None,
    ) -> Invocation:
        """Accept a message, as part of the open batch. `check_room` must have allowed it."""
        # Only a keyless service has no key: each of its invocations has a mailbox of its own.
        now_ms = self._turns.turn_ms if self._turns.in_turn else self._clock.now_ms()
        invocation = Invocation(seq, target, key or own_key(seq), args_text, args, now_ms)
        if seq + 1 != self._ledger.next:  # the number was drawn earlier: its place in the mailbox is the current one
            invocation.position = self._ledger.next_number()
        invocation.parent = parent
        invocation.parent_index = parent_index
        if headers:
            invocation.more().headers = _headers_text(headers).decode()
        if idempotency_key is not None:
            invocation.more().idempotency_key = idempotency_key
        self._open[seq] = invocation
        self._ledger.mark(invocation)
        if delay_ms:
            invocation.status = Status.SCHEDULED
            due_ms = invocation.position = self._clock.due_ms(delay_ms)  # not in a mailbox yet
            self.deliver_later(due_ms, invocation)
        else:
            self._enqueue(invocation)
        return invocation

    def next_number(self) -> int:
        return self._ledger.next_number()

    def accept_later(self, invocation: Invocation, due_ms: int) -> None:
        """Accept a message for a later time, until which it is not in a mailbox."""
        self._open[invocation.seq] = invocation
        self._ledger.mark(invocation)
        self.deliver_later(due_ms, invocation)

    async def durable(self, invocation: Invocation) -> None:
        """Return once the acceptance is durable. Raises the error of `unanswered` if the database fails."""
        try:
            await self._committer.flushed()
        except (StorageError, AppNotRunning) as error:
            refusal = unanswered(self._ids, invocation, error)
            if refusal is error:
                raise
            raise refusal from error

    def accept_message(
        self,
        message: Message,
        seq: int,
        caller: Invocation | None,
        parent: int | None = None,
        parent_index: int | None = None,
    ) -> Invocation:
        """`accept` for a message with an idempotency key."""
        options = message.options
        return self.accept(
            message.target,
            message.key,
            message.args_text,
            message.values,
            self.headers_for(options.headers, caller),
            seq,
            parent,
            parent_index if parent is not None else None,
            options.delay_ms,
            message.idempotency_key,
        )

    def recorded(self, send: RecordedSend, args_text: str) -> Message:
        """The message that an entry has kept. Raises UnknownService, UnknownHandler, or WrongKind."""
        was_run = send.number is None and send.idempotency_key is None
        target = self._catalog.handler(send.service, send.handler, was_run)
        if target.once != was_run or (target.mode == Mode.KEYLESS) != (not send.key):
            raise WrongKind(f"{send.service} is of another kind than when the message was sent.")
        return Message(target, send.key, args_text, None, Options(send.delay_ms, send.headers, send.idempotency_key))

    def headers_for(self, headers: dict[str, str] | None, caller: Invocation | None) -> dict[str, str] | None:
        """The headers for a message of this handler, or of a client: the trace context, unless the message brings its own."""
        if self._watcher is not None:
            inherited = self._watcher.headers(caller)
        else:
            inherited = trace_headers(caller) if caller is not None and caller.extras is not None else None
        if inherited is None or (headers is not None and "traceparent" in headers):
            return headers
        return {**inherited, **headers} if headers else inherited

    def deliver_scheduled(self, invocation: Invocation) -> None:
        """The time of a message has come: its place in the mailbox is behind the messages that wait there now."""
        invocation.status = Status.PENDING
        invocation.position = self._ledger.next_number()
        self._ledger.mark(invocation)
        self._enqueue(invocation)

    def check_room(
        self, target: HandlerDefinition, key: str, args_text: str, headers: dict[str, str] | None = None
    ) -> None:
        """Raise BadKey, MailboxFull or PayloadTooLarge if this message cannot be accepted."""
        if len(key) > self._max_key:
            self.check_key(key)
        if headers and (size := len(_headers_text(headers))) > self._limits.max_stored_headers:
            raise PayloadTooLarge(
                f"The headers for {target.target} take {size:,} bytes; max_stored_headers of the app allows "
                f"{self._limits.max_stored_headers:,}."
            )
        if len(args_text) > self._max_payload:
            raise PayloadTooLarge(
                f"The arguments of {target.target} are {len(args_text):,} characters of JSON; max_payload of the "
                f"app allows {self._max_payload:,}. Store large data elsewhere and pass a reference to it."
            )
        mailbox = self._objects[target.service.name].get(key)
        if mailbox is not None and mailbox.length >= self._max_pending and not target.shared:
            raise MailboxFull(
                f"{target.service.name}/{key} has {mailbox.length:,} messages waiting, the maximum (max_pending "
                "of the app). Try again later."
            )

    def accept_call(
        self,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        headers: dict[str, str] | None,
    ) -> tuple[Invocation, asyncio.Future[Any]]:
        """Accept a call from outside; the future receives its outcome once that is durable.

        No acknowledgement has been sent yet, so the row need not be written until a cold object is loaded, with which it then
        ends in one batch, and never if a shared handler only reads.
        """
        if self._background.stopped:
            self._background.check_running()
        mailbox = self._objects[target.service.name].get(key)
        if (
            (mailbox is not None and mailbox.length >= self._max_pending)
            or len(args_text) > self._max_payload
            or len(key) > self._max_key
            or headers
        ):
            self.check_room(target, key, args_text, headers)
        if len(self._open) >= self._max_in_flight:
            self.check_in_flight()
        seq = self._ledger.next
        if seq < self._ledger.reserve_at:
            self._ledger.next = seq + 1
        else:
            seq = self._ledger.next_number()
        invocation = Invocation(seq, target, key or own_key(seq), args_text, args, self._clock.now_ms())
        if self._watcher is not None:
            headers = self.headers_for(headers, None)
        if headers:
            invocation.more().headers = _headers_text(headers).decode()
        self._open[seq] = invocation
        future: asyncio.Future[Any] = self._turns.loop.create_future()
        invocation.waiters = [future]
        if mailbox is None or mailbox.state is None:
            self._enqueue(invocation)
            return invocation, future
        invocation.mailbox = mailbox
        if mailbox.current is None and not invocation.shared:  # _deliver and start, for the most frequent case
            mailbox.recent = True
            mailbox.current = invocation
            invocation.status = _RUNNING
            attempt = invocation.attempt = self._progress.attempt(self._progress.host, invocation, mailbox.state)
            self._turns.ready.append(attempt)
        else:
            self.deliver(mailbox, invocation)
        if not invocation.shared:
            batch = self._committer.batch
            invocation.dirty_in = batch.number
            batch.invocations.append(invocation)
            if not self._turns.scheduled:  # it waits behind another invocation: nothing else would write it
                self._turns.schedule()
        return invocation, future

    def check_key(self, key: str) -> None:
        """Raise BadKey if the key is too long."""
        if len(key) > self._max_key:
            raise BadKey(
                f"The key {shortened(key)} is {len(key):,} characters long; max_key of the app allows {self._max_key:,}."
            )

    def check_in_flight(self) -> None:
        """Raise Overloaded if a call from outside cannot be accepted."""
        if len(self._open) >= self._max_in_flight:
            raise Overloaded(
                f"{len(self._open):,} invocations are in flight, the maximum (max_in_flight of the app). Try again "
                "later."
            )

    def _own_mailbox(self, invocation: Invocation) -> Mailbox:
        """The mailbox of one invocation of a keyless service. It counts as loaded: nothing is stored for it.

        It is evicted when the invocation sleeps or has ended.
        """
        mailbox = Mailbox(invocation.service, invocation.key)
        mailbox.state = ObjectState(self._catalog.services.get(invocation.service), {})
        self._objects[invocation.service][invocation.key] = mailbox
        self._ledger.mark(invocation)  # without a load, nothing else would write the row
        return mailbox

    def _enqueue(self, invocation: Invocation) -> None:
        if invocation.mode == _KEYLESS and invocation.handler is not None:
            mailbox = self._own_mailbox(invocation)
        else:
            objects = self._objects.get(invocation.service)  # `mailbox`, for an object in memory
            known = objects.get(invocation.key) if objects is not None else None
            mailbox = known if known is not None else self._loader.mailbox(invocation.service, invocation.key)
        invocation.mailbox = mailbox
        if mailbox.state is None:
            if mailbox.arrivals is None:
                mailbox.arrivals = []
            mailbox.arrivals.append(invocation)
            mailbox.length += 1
        else:
            self.deliver(mailbox, invocation)

    def deliver(self, mailbox: Mailbox, invocation: Invocation) -> None:
        mailbox.recent = True
        if invocation.shared:
            mailbox.readers += 1
            if invocation.status != _PAUSED:
                self._progress.start(invocation)
        elif mailbox.current is None:
            mailbox.current = invocation
            if invocation.status != _PAUSED:
                self._progress.start(invocation)
        else:
            mailbox.append(invocation)
            if invocation.parent is not None or invocation.has(Flag.ATTACHED):
                self._loader.queued(invocation)
