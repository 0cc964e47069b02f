"""The way in for transports: everything by name, and JSON text instead of objects.

Promise: what it returns is durable, and what it raises tells by itself whether the request or its invocation has failed: an
outcome is returned, also that of a failure; everything else is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from actors.app.figures import figures
from actors.app.operators import Operators
from actors.app.outcomes import Acceptance, BegunCall, Outcome, shown_failure
from actors.app.partitions import Partitions, done
from actors.app.stuck_keys import StuckKeys
from actors.attempt.invocation import Invocation, outcome_of
from actors.engine.histogram import Durations
from actors.engine.operating.gauges import Gauge
from actors.engine.partition import Partition
from actors.engine.waits.awakeables import Payload
from actors.errors import (
    ActorsError,
    AppNotRunning,
    NotReady,
    OutcomePending,
    PrivateHandler,
    TerminalError,
    UnknownHandler,
    UnknownInvocation,
    UnknownService,
    WrongKind,
)
from actors.journal.entries import Kind
from actors.model.definitions import HandlerDefinition, ServiceDefinition, key_for
from actors.model.message import Message
from actors.model.names import checked_key
from actors.model.options import Options, checked_idempotency_key
from actors.serde.failures import failure_error
from actors.storage.records import RUN, InvocationRow, Status

T = TypeVar("T")


class Gateway:
    """Requests of one app. Any number of requests may be under way; a cancelled request cancels no invocation.

    `recoveries` says how often the app was started again, `database` which file it uses.
    """

    def __init__(
        self, partitions: Partitions, operators: Operators, recoveries: Callable[[], int], database: Callable[[], str]
    ) -> None:
        self.partitions = partitions
        self.operators = operators
        self.cancel: Callable[[str], Awaitable[None]] = functools.partial(operators.operate, "cancel")
        self._recoveries = recoveries
        self._database = database
        self._stuck: tuple[Partition, StuckKeys] | None = None  # of the partition that was asked last

    @property
    def services(self) -> Mapping[str, ServiceDefinition]:
        return self.partitions.catalog.services

    @property
    def max_payload(self) -> int:
        """How many characters of JSON are accepted."""
        return self.partitions.limits.max_payload

    def running(self) -> bool:
        """Whether requests can be answered now."""
        partition = self.partitions.current
        return partition is not None and not partition.stopped

    def check_running(self) -> None:
        """Raises AppNotRunning."""
        self.partitions.running()

    def database(self) -> str:
        """The name of the file, without its folder; ":memory:" for a database in memory."""
        return os.path.basename(self._database())

    def target(self, service: str, key: str, handler: str) -> HandlerDefinition:
        """The handler. Raises UnknownService, UnknownHandler, BadKey, WrongKind, or PrivateHandler."""
        try:
            target = self.partitions.running().catalog.handler(service, handler)
        except UnknownHandler:
            known = self.services[service].handlers.values()
            public = ", ".join(sorted(one.name for one in known if not one.private)) or "none"
            raise UnknownHandler(f"{service} has no handler {handler[:100]!r}. Its handlers: {public}.") from None
        if target.private:
            raise PrivateHandler(
                f"{target.target} is private: other handlers may call it, requests from outside may not."
            )
        key_for(target, key)
        return target

    def figures(self) -> dict[str, tuple[str, str, float]]:
        """By name: "counter" or "gauge", the help text, and the current value. Empty while the app is not running."""
        partition = self.partitions.current
        return figures(partition, self._recoveries()) if partition is not None else {}

    def commit_durations(self) -> Durations | None:
        """How long commits took. None while the app does not run."""
        partition = self.partitions.current
        return partition.committer.durations if partition is not None else None

    async def gauges(self) -> list[Gauge]:
        """What the app is like now. Nothing while it does not run."""
        partition = self.partitions.current
        if partition is None or partition.stopped:
            return []
        if self._stuck is None or self._stuck[0] is not partition:
            self._stuck = partition, StuckKeys(self.operators.trouble, partition.loop)
        gauges, stuck = await asyncio.gather(partition.gauges.read(), self._stuck[1].gauge())
        return [*gauges, *([stuck] if stuck is not None else [])]

    # --- calls and sends --------------------------------------------------------------------------------------------------

    async def call(
        self,
        target: HandlerDefinition,
        key: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        headers: dict[str, str] | None,
        idempotency_key: str | None,
        accepted: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Accept a call and wait for its outcome. Raises BadArguments or whatever else refuses it.

        `accepted` receives the id of a call without an idempotency key at once.
        """
        if idempotency_key is None and not target.once:
            begun = self.begin_call(target, key, args, kwargs, headers)
            if accepted is not None:
                accepted(begun.partition.ids.invocation(begun.invocation.seq))
            try:
                with contextlib.suppress(ActorsError):
                    await begun.future
                return begun.outcome()
            except asyncio.CancelledError:
                begun.forget()
                raise
        text, values = target.encode(args, dict(kwargs))
        options = Options(0, headers, idempotency_key)
        place = functools.partial(self._place, target, key, text, values, options, waits=True)
        return await self._kept(place, self._outcome)

    def begin_call(
        self,
        target: HandlerDefinition,
        key: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        headers: dict[str, str] | None,
    ) -> BegunCall:
        """Accept a call without an idempotency key. What it raises refuses it, and then nothing has happened."""
        partition = self.partitions.of_key(target.service.name, key)
        text, values = target.encode(args, dict(kwargs))
        return BegunCall(partition, target, *partition.intake.accept_call(target, key, text, values, headers))

    async def send(
        self,
        target: HandlerDefinition,
        key: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        headers: dict[str, str] | None,
        idempotency_key: str | None,
        delay_ms: int,
    ) -> Acceptance:
        """Accept a message one way, durably. Raises BadArguments or whatever else refuses it."""
        partition = self.partitions.of_key(target.service.name, key)
        text, values = target.encode(args, dict(kwargs))
        options = Options(delay_ms, headers, idempotency_key)
        due_ms = partition.env.clock.due_ms(delay_ms) if delay_ms else None
        if idempotency_key is not None or target.once:
            seq, new = await self._place(target, key, text, values, options)
            return Acceptance(partition.ids.invocation(seq), new, due_ms if new else None)
        partition.intake.check_room(target, key, text, headers)
        seq = partition.ledger.next_number()
        headers = partition.intake.headers_for(headers, None)
        invocation = partition.intake.accept(target, key, text, values, headers, seq, None, None, delay_ms)
        due_ms = invocation.position if delay_ms else None
        await partition.intake.durable(invocation)
        return Acceptance(partition.ids.invocation(seq), True, due_ms)

    async def _place(
        self,
        target: HandlerDefinition,
        key: str,
        text: str,
        values: tuple[Any, ...] | None,
        options: Options,
        waits: bool = False,
    ) -> tuple[int, bool]:
        if options.idempotency_key is not None:
            checked_idempotency_key(options.idempotency_key)
        # In a task of its own: a client that hangs up must not stop other requests under the same key.
        placing = self.place(Message(target, key, text, values, options), waits)
        return await done(self.partitions.task(placing), repeatable=True)

    # --- outcomes ---------------------------------------------------------------------------------------------------------

    async def attach(self, id: str) -> Outcome:
        """Wait for the outcome of an invocation. Raises BadId or UnknownInvocation."""
        return await self._outcome(self.partitions.running().ids.read_invocation(id))

    async def output(self, id: str) -> Outcome | None:
        """The outcome, or None while there is none. Raises BadId or UnknownInvocation."""
        return await self._output(self.partitions.running().ids.read_invocation(id))

    async def find(self, service: str, key: str, handler: str, idempotency_key: str) -> str:
        """The id of the invocation that was accepted under an idempotency key. Raises UnknownInvocation, or as `target` does."""
        target = self.target(service, key, handler)
        return await self._find(target, key, checked_idempotency_key(idempotency_key))

    async def find_run(self, workflow: str, key: str) -> str:
        """The id of the run of a workflow. Raises UnknownInvocation, UnknownService, BadKey or WrongKind."""
        definition = self.services.get(workflow)
        if definition is None:
            raise UnknownService(f"No service {workflow[:100]!r} is served here.")
        run = next((target for target in definition.handlers.values() if target.once), None)
        if run is None:
            raise WrongKind(f"{workflow} is not a workflow, so it has no run.")
        return await self._find(run, checked_key(key), RUN)

    async def _find(self, target: HandlerDefinition, key: str, idempotency_key: str) -> str:
        self.partitions.running()
        return self.partitions.running().ids.invocation(await self.found(target, key, idempotency_key))

    async def _outcome(self, seq: int) -> Outcome:
        partition = self.partitions.running()
        try:
            await self.result(seq)
        except TerminalError:
            pass  # the outcome is read from its row; if there is none, that says so
        except OutcomePending:
            if partition.background.closing:  # asking again, by the id or under the key, does nothing twice
                raise AppNotRunning("The app was closed before this was answered. Try again when it runs.") from None
            raise
        found = await self._output(seq)
        if found is None:
            raise AppNotRunning("The app stopped during this request. Try again when it runs.")
        return found

    async def _output(self, seq: int) -> Outcome | None:
        partition = self.partitions.running()
        async with partition.committer.gated():
            if seq in partition.residents.open:
                return None
            await partition.committer.flushed()
            row = await partition.store.invocation(seq)
            if row is None:
                raise UnknownInvocation()
            if row.status < Status.SUCCEEDED:
                return None
            return self._of_row(row)

    def _of_row(self, row: InvocationRow) -> Outcome:
        partition = self.partitions.running()
        definition = self.services.get(row.service)
        handler = definition.handler(row.handler, row.idempotency_key == RUN) if definition is not None else None
        expires_ms = None
        if row.idempotency_key is not None and row.ended_ms is not None:
            kept_ms = self.partitions.limits.idempotency_retention_ms
            expires_ms = row.ended_ms + kept_ms if kept_ms is not None else None
        return Outcome(
            partition.ids.invocation(row.seq),
            row.outcome or "",
            shown_failure(partition, failure_error(row.outcome or "")) if row.status == Status.FAILED else None,
            handler.returns if handler is not None else None,
            expires_ms,
        )

    # --- invocations ------------------------------------------------------------------------------------------------------

    async def place(self, message: Message, waits: bool = False) -> tuple[int, bool]:
        """`waits` for a call, whose caller waits for its outcome."""
        partition = self.partitions.entered()

        def accept() -> Invocation:
            partition.intake.check_room(message.target, message.key, message.args_text, message.options.headers)
            if waits:
                partition.intake.check_in_flight()
            return partition.intake.accept_message(message, partition.ledger.next_number(), None)

        async with partition.committer.gated(changes=True) as gate:
            seq, new = await partition.placements.place(message, accept)
            gate.id = partition.ids.invocation(seq)
            return seq, new

    async def call_placed(self, message: Message) -> Any:
        """Call under an idempotency key: the value, or raises the failure."""
        return await self._kept(functools.partial(self.place, message, waits=True), self.result)

    async def _kept(
        self, place: Callable[[], Awaitable[tuple[int, bool]]], outcome: Callable[[int], Awaitable[T]]
    ) -> T:
        """The outcome of the invocation that a key stands for. Placed again if it was forgotten since it was found."""
        while True:
            seq, new = await place()
            try:
                return await outcome(seq)
            except UnknownInvocation:
                if new or await self.partitions.entered().store.invocation(seq) is not None:
                    raise  # what the invocation ended with

    async def result(self, seq: int) -> Any:
        partition = self.partitions.entered()
        partition.background.check_running()
        invocation = partition.residents.open.get(seq)
        if invocation is None:
            async with partition.committer.gated():
                await partition.committer.flushed()  # it may have ended in the batch that is still open
                row = await partition.store.invocation(seq)
                if row is None:
                    raise UnknownInvocation()
            if row.status >= Status.SUCCEEDED:
                definition = self.services.get(row.service)
                handler = definition.handler(row.handler, row.idempotency_key == RUN) if definition else None
                return outcome_of(handler, row.status, row.outcome)
            future: asyncio.Future[Any] = partition.loop.create_future()
            async with partition.pins.holding(seq) as restored:
                if restored is None:
                    return await self.result(seq)  # it ended meanwhile
                partition.background.check_running()
                _add_waiter(restored, future)
            return await future
        future = partition.loop.create_future()
        _add_waiter(invocation, future)
        return await future

    async def output_value(self, seq: int) -> Any:
        """The outcome, without waiting for it. Raises NotReady, or as `result` does."""
        partition = self.partitions.running()
        async with partition.committer.gated():
            if seq not in partition.residents.open:
                await partition.committer.flushed()
                row = await partition.store.invocation(seq)
                if row is None or row.status >= Status.SUCCEEDED:
                    return await self.result(seq)
            raise NotReady()

    async def made_awakeable(self, id: str) -> int:
        """The number of the invocation that made an awakeable. Raises BadId or UnknownInvocation."""
        partition, seq, _ = self.partitions.of_awakeable(id)
        async with partition.committer.gated():
            await partition.committer.flushed()
            if await partition.store.invocation(seq) is None:
                raise UnknownInvocation()
        return seq

    async def found(self, target: HandlerDefinition, key: str, under: str) -> int:
        """The number of the invocation that was accepted under an idempotency key, or of the run. Raises UnknownInvocation."""
        partition = self.partitions.entered()
        async with partition.committer.gated():
            await partition.committer.flushed()
            row = await partition.store.find(target.service.name, key, target.name, under)
            if row is None:
                raise UnknownInvocation("No invocation was accepted under this key, or it is no longer kept.")
            return row.seq

    # --- awakeables -------------------------------------------------------------------------------------------------------

    async def resolve(self, id: str, *, text: str | None = None, value: Any = None) -> None:
        """Complete an awakeable with a JSON text, or else with a value. Raises as `App.resolve_awakeable` does."""
        await self._complete(id, Payload(Kind.COMPLETED, value=value, text=text))

    async def reject(self, id: str, reason: str) -> None:
        """Make the handler that waits fail. Raises as `App.reject_awakeable` does."""
        await self._complete(id, Payload(Kind.FAILED, reason=reason))

    async def _complete(self, id: str, payload: Payload) -> None:
        self.partitions.running()
        partition, seq, index = self.partitions.of_awakeable(id)
        await partition.awakeables.complete(seq, index, payload)


def _add_waiter(invocation: Invocation, future: asyncio.Future[Any]) -> None:
    if invocation.waiters is None:
        invocation.waiters = []
    waiters = invocation.waiters
    waiters.append(future)

    def forget(future: asyncio.Future[Any]) -> None:
        if future.cancelled() and future in waiters:  # the caller has gone
            waiters.remove(future)

    future.add_done_callback(forget)
