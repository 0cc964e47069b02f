"""What an attempt does with each command of its handler: matched with the journal, or recorded and begun."""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections.abc import Callable
from typing import Any

from actors.attempt.placed_message import PlacedMessage
from actors.attempt.recorder import Recorder
from actors.errors import TerminalError
from actors.journal.entries import Entry, Kind
from actors.journal.sends import RecordedSend, sent_number
from actors.model.calls import Call, InvocationHandle
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.futures import Awakeable, JournaledFuture, Sleep
from actors.model.message import Message
from actors.model.names import address
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.model.sent_messages import SentMessage
from actors.serde import ANY, Codec
from actors.serde.failures import failure_error, failure_text

_ANSWERED_ELSEWHERE = frozenset({Kind.CALL, Kind.ATTACH, Kind.RUN})


class Commands(Recorder):
    """`model.journaling.Journaling`, on a journal in a host."""

    __slots__ = ()

    # --- who ------------------------------------------------------------------------------------------------------------

    @property
    def handler(self) -> HandlerDefinition:
        handler = self.invocation.handler
        assert handler is not None
        return handler

    @property
    def key(self) -> str:
        return self.invocation.shown_key

    @property
    def invocation_id(self) -> str:
        return self.host.ids.invocation(self.invocation.seq)

    @property
    def headers(self) -> dict[str, str]:
        extras = self.invocation.extras
        text = extras.headers if extras is not None else None
        return json.loads(text) if text is not None else {}

    @property
    def reads_only(self) -> bool:
        return self.snapshot is not None

    def on_main_line(self) -> bool:
        return asyncio.current_task(self.host.loop) is self  # type: ignore[comparison-overlap]

    def generator(self) -> random.Random:
        return self.host.ids.random(self.invocation.seed)

    def definition(self, cls: type) -> ServiceDefinition:
        return self.host.definition(cls)

    def target(self, service: str, handler: str) -> HandlerDefinition:
        return self.host.handler(service, handler)

    def id_of_awakeable(self, index: int) -> str:
        return self.host.ids.awakeable(self.invocation.seq, index)

    def answered_elsewhere(self, index: int) -> bool:
        journal = self.invocation.journal
        command = journal.command(index) if journal is not None else None
        return command is not None and command.kind in _ANSWERED_ELSEWHERE

    # --- state ----------------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str | None:
        return (self.snapshot if self.snapshot is not None else self.state.texts).get(name)

    def names(self) -> list[str]:
        return sorted(self.snapshot if self.snapshot is not None else self.state.texts)

    def assign(self, name: str, value: Any) -> None:
        setattr(self.state.instance, name, value)

    def unassign(self, name: str) -> None:
        delattr(self.state.instance, name)

    # --- steps, time ----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        entry = self.command(Kind.NOW)
        if entry is None:
            entry = self.record(Kind.NOW, ref=self.read_clock())
        assert entry.ref is not None
        return entry.ref

    def read_clock(self) -> int:
        """The time that `now_ms` records, in milliseconds since 1970."""
        return self.host.clock.now_ms()

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        codec: Codec | None,
        retry: RetryPolicy | None,
    ) -> JournaledFuture[Any]:
        entry = self.command(Kind.RUN, name)
        if entry is None:
            entry = self.record(Kind.RUN, name)
            begun = False
        else:
            begun = self.invocation.begun(entry.idx)
        future: JournaledFuture[Any] = JournaledFuture(self, entry.idx, codec)
        self.expect(future)
        if not begun:
            bound = functools.partial(function, *args, **kwargs)
            self.guard_state()
            self.host.start_step(self.invocation, entry.idx, bound, codec, retry)
        return future

    def sleep(self, duration_ms: int) -> Sleep:
        entry = self.command(Kind.SLEEP, str(duration_ms))
        if entry is None:
            due = self.host.clock.due_ms(duration_ms)
            entry = self.record(Kind.SLEEP, str(duration_ms), ref=due)
            self.host.add_timer(due, self.invocation, entry.idx)
        future = Sleep(self, entry.idx)
        self.expect(future)
        return future

    # --- awakeables, promises, other invocations ------------------------------------------------------------------------

    def awakeable(self, codec: Codec, timeout_ms: int | None) -> Awakeable[Any]:
        asked = None if timeout_ms is None else str(timeout_ms)
        entry = self.command(Kind.AWAKEABLE, codec.name, asked)
        if entry is None:
            deadline = None if timeout_ms is None else self.host.clock.due_ms(timeout_ms)
            entry = self.record(Kind.AWAKEABLE, codec.name, asked, deadline)
            if deadline is not None:
                self.host.add_timer(deadline, self.invocation, entry.idx)
        future: Awakeable[Any] = Awakeable(self, entry.idx, codec)
        self.expect(future)
        return future

    def complete_awakeable(self, kind: int, id: str, text: str, codec: Codec) -> JournaledFuture[None]:
        seq, index = self.host.ids.read_awakeable(id)
        entry = self.command(kind, id, text, codec)
        if entry is None:
            entry = self.record(kind, id, text)
        future = self._effect(entry.idx)
        if not self.invocation.begun(entry.idx):
            self.host.complete_awakeable(self.invocation, entry.idx, seq, index, kind, text)
        return future

    def _effect(self, index: int) -> JournaledFuture[None]:
        """The future of a command that the invocation does not end before, awaited or not."""
        future: JournaledFuture[None] = JournaledFuture(self, index, None)
        self.expect(future)
        self.must_finish(future)
        return future

    def cancel_invocation(self, id: str) -> JournaledFuture[None]:
        seq = self.host.ids.read_invocation(id)
        entry = self.command(Kind.CANCEL, id)
        if entry is None:
            entry = self.record(Kind.CANCEL, id)
        future = self._effect(entry.idx)
        if not self.invocation.begun(entry.idx):
            self.host.cancel(self.invocation, entry.idx, seq)
        return future

    def attach(self, id: str, codec: Codec) -> JournaledFuture[Any]:
        seq = self.host.ids.read_invocation(id)
        entry = self.command(Kind.ATTACH, id)
        if entry is None:
            entry = self.record(Kind.ATTACH, id, ref=seq)
        future: JournaledFuture[Any] = JournaledFuture(self, entry.idx, codec)
        self.expect(future)
        if not self.invocation.begun(entry.idx):
            self.host.attach(self.invocation, entry.idx, seq)
        return future

    def wait_promise(self, promise: JournaledFuture[Any], name: str, codec: Codec) -> None:
        promise.command = self._of_promise(Kind.PROMISE, name, ANY.encode(codec.name), None)
        self.expect(promise)
        self.host.wait_promise(self.invocation, promise.command, name)

    def peek_promise(self, name: str, codec: Codec) -> JournaledFuture[Any]:
        index = self._of_promise(Kind.PEEK, name, None, None)
        future: JournaledFuture[Any] = JournaledFuture(self, index, codec)
        self.expect(future)
        self.host.peek_promise(self.invocation, index, name)
        return future

    def complete_promise(self, kind: int, name: str, text: str, codec: Codec) -> JournaledFuture[None]:
        index = self._of_promise(kind, name, text, codec)
        future = self._effect(index)
        self.host.complete_promise(self.invocation, index, name, kind, text, codec)
        return future

    def _of_promise(self, kind: int, name: str, value: str | None, codec: Codec | None) -> int:
        """The index of the command: the recorded one of a replay, or a new one."""
        entry = self.command(kind, name, value, codec)
        return (entry if entry is not None else self.record(kind, name, value)).idx

    # --- messages -------------------------------------------------------------------------------------------------------

    def call(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> Call[Any]:
        name = f"{target.service.name}/{key}/{target.name}" if key else address(target.service.name, target.name)
        if options.idempotency_key is not None or target.once:
            return self._keyed(Kind.CALL, Message(target, key, text, values, options), name)
        entry = self.matches_call(Kind.CALL, target, name, text)
        if entry is None:
            host, caller = self.host, self.invocation
            try:
                host.check_room(target, key, text, options.headers)
            except TerminalError as error:
                self.check_final(error, target, key, options)
                entry = self.record(Kind.CALL, name)
                host.complete(caller, entry.idx, Kind.FAILED, failure_text(error))
            else:
                if host.lanes and host.under_way(caller, target, key):
                    entry = self.record(Kind.CALL, name, text)
                    return self._placed(entry, Message(target, key, text, values, options))
                seq = host.next_number()
                entry = self.record(Kind.CALL, name, text, seq)
                headers = options.headers
                if host.watcher is not None or caller.extras is not None:
                    headers = host.headers_for(headers, caller)
                child = host.accept(target, key, text, values, headers, seq, caller.seq, entry.idx)
                if caller.extras is not None:
                    host.called(caller, child, self.notified)
        elif entry.ref is None and entry.value is not None:  # it waited for what was sent before it
            return self._placed(entry, Message(target, key, text, values, options))
        future: JournaledFuture[Any] = JournaledFuture(self, entry.idx, target.returns)
        self.expect(future)
        return future

    def send(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> InvocationHandle[Any]:
        name = f"{target.service.name}/{key}/{target.name}" if key else address(target.service.name, target.name)
        if options.delay_ms:
            name += f" after {options.delay_ms} ms"
        if options.idempotency_key is not None or target.once:
            return PlacedMessage(
                self.host.ids.invocation, self._keyed(Kind.SEND, Message(target, key, text, values, options), name)
            )
        entry = self.matches_call(Kind.SEND, target, name, text)
        if entry is None:
            host, sender = self.host, self.invocation
            try:
                host.check_room(target, key, text, options.headers)
            except TerminalError as error:  # recorded, so that a replay takes the same way
                self.check_final(error, target, key, options)
                self.record(Kind.SEND, name, before=failure_text(error))
                raise
            seq = host.next_number()
            if host.under_way(sender, target, key):
                entry = self.record(Kind.SEND, name, text, before=_recorded(target, key, options, seq))
            else:
                entry = self.record(Kind.SEND, name, text, seq)
                headers = host.headers_for(options.headers, sender)
                host.accept(target, key, text, values, headers, seq, None, None, options.delay_ms)
        number = entry.ref
        if number is None:
            if entry.value is None:
                raise failure_error(entry.before or "{}")
            self._placed(entry, Message(target, key, text, values, options))
            number = sent_number(entry.before) or 0
        return SentMessage(self.host.ids.invocation(number))

    def _keyed(self, kind: int, message: Message, name: str) -> JournaledFuture[Any]:
        """A call or send under an idempotency key: which invocation it becomes is found out outside the handler.

        The future of the call's answer, or for a send that of the invocation's number.
        """
        name += " once" if message.target.once else f" once as {message.idempotency_key!r}"
        entry = self.matches_call(kind, message.target, name, message.args_text)
        if entry is None:
            before = _recorded(message.target, message.key, message.options, None) if kind == Kind.SEND else None
            entry = self.record(kind, name, message.args_text, before=before)
        return self._placed(entry, message)

    def _placed(self, entry: Entry, message: Message) -> JournaledFuture[Any]:
        """The future of the answer to a recorded call that is placed beside the handler, or for a send that of its number."""
        placed: JournaledFuture[Any] = JournaledFuture(self, entry.idx, ANY)
        self.expect_placement(placed)
        journal = self.invocation.journal
        if not self.invocation.begun(entry.idx) and journal is not None and journal.placed(entry.idx) is None:
            number = sent_number(entry.before)
            self.host.place_message(self.invocation, entry.idx, entry.kind, message, self.notified, number)
        if entry.kind == Kind.SEND:
            return placed
        future: JournaledFuture[Any] = JournaledFuture(self, entry.idx, message.target.returns)
        self.expect(future)
        return future


def _recorded(target: HandlerDefinition, key: str, options: Options, number: int | None) -> str:
    """What a SEND records of a message that is placed later."""
    service = target.service.name
    return RecordedSend(
        number, service, target.name, key, options.idempotency_key, options.delay_ms, options.headers
    ).text()
