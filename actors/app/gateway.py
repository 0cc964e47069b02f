"""The way in for transports: everything by name, and JSON text instead of objects.

Promise: what it returns is durable, and what it raises tells by itself whether the request or its invocation has failed: an
outcome is returned, also that of a failure; everything else is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from actors.app.handles import done
from actors.app.overview import overview
from actors.engine.operating.state_access import StateInfo, with_cleared
from actors.engine.waits.awakeables import Payload
from actors.errors import (
    ActorsError,
    AppNotRunning,
    BadArguments,
    OutcomePending,
    PrivateHandler,
    ProgrammingError,
    SerializationError,
    TerminalError,
    UnknownHandler,
    UnknownInvocation,
    UnknownService,
    WrongKind,
    failure_error,
)
from actors.journal.entries import Kind
from actors.model.definitions import HandlerDefinition, key_for
from actors.model.message import Message
from actors.model.names import checked_key
from actors.model.options import Options, checked_idempotency_key
from actors.serde import Codec
from actors.storage.records import RUN, InvocationRow, Status

if TYPE_CHECKING:
    from actors.app.app import App
    from actors.attempt.invocation import Invocation
    from actors.engine.durations import Durations
    from actors.engine.operating.gauges import Gauge
    from actors.engine.partition import Partition
    from actors.model.definitions import ServiceDefinition

_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_array = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation has ended: `text` is the value as JSON, unless there is a `failure`.

    `codec` is that of the value, None if its class is not served any more. `expires_ms` is until when an outcome is kept that
    was asked for under an idempotency key.
    """

    id: str
    text: str
    failure: TerminalError | None
    codec: Codec | None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A message that was taken in: `new` unless its idempotency key was taken, `due_ms` if it is for later."""

    id: str
    new: bool
    due_ms: int | None


@dataclass(frozen=True, slots=True)
class BegunCall:
    """A call that was accepted. `future` is done once its outcome is durable."""

    partition: Partition
    target: HandlerDefinition
    invocation: Invocation
    future: asyncio.Future[Any]

    def forget(self) -> None:
        """The caller has gone; the call goes on."""
        self.future.cancel()
        waiters = self.invocation.waiters
        if waiters is not None and self.future in waiters:
            waiters.remove(self.future)

    def outcome(self) -> Outcome:
        """Of one whose future is done. Raises what has kept it from ending: OutcomePending, or AppNotRunning or a StorageError
        if nothing has happened."""
        invocation, codec = self.invocation, self.target.returns
        failure = self.future.exception()
        if failure is None:
            # Without one it was evicted while it waited, and ended as another object of this process.
            text = invocation.outcome if invocation.outcome is not None else codec.encode(self.future.result())
        elif isinstance(failure, TerminalError):
            text = ""
        else:
            raise failure
        return Outcome(self.partition.ids.invocation(invocation.seq), text, _shown(self.partition, failure), codec)


class Gateway:
    """Requests of one app. Any number of them may be under way; one that is cancelled cancels no invocation."""

    def __init__(self, app: App) -> None:
        self._app = app

    @property
    def services(self) -> Mapping[str, ServiceDefinition]:
        return self._app._services

    @property
    def app(self) -> App:
        """What operators ask for is asked of the app itself."""
        return self._app

    async def overview(self, id: str, after: int, limit: int) -> dict[str, Any]:
        """All that is known of an invocation, and its journal beyond position `after`. Raises BadId or UnknownInvocation."""
        return await overview(self._partition(), id, after, limit)

    async def patch_state(
        self, service: str, key: str, texts: dict[str, str], clear: list[str], if_tag: str | None, undeclared: bool
    ) -> StateInfo:
        """`App.patch_state` with values as JSON texts. Raises as that does."""
        app = self._app
        partition, definition = self._partition(), app._stateful(service)
        changes = with_cleared({**texts}, clear)
        return await done(app._task(partition.state.patch(definition, key, changes, if_tag, undeclared)))

    @property
    def max_payload(self) -> int:
        """How many characters of JSON are accepted."""
        return self._app._limits.max_payload

    def running(self) -> bool:
        """Whether requests can be answered now."""
        partition = self._app._partition
        return partition is not None and not partition.stopped

    def check_running(self) -> None:
        """Raises AppNotRunning."""
        self._partition()

    def _partition(self) -> Partition:
        partition = self._app._running()
        partition.background.check_running()
        return partition

    def target(self, service: str, key: str, handler: str) -> HandlerDefinition:
        """The handler. Raises UnknownService, UnknownHandler, BadKey, WrongKind, or PrivateHandler."""
        try:
            target = self._partition().catalog.handler(service, handler)
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
        partition = self._app._partition
        if partition is None:
            return {}
        counts, committer = partition.env.counts, partition.committer
        return {
            "actors_app_running": (
                "gauge",
                "1 while the app runs, 0 while it has stopped.",
                0 if partition.stopped else 1,
            ),
            "actors_app_recoveries": (
                "counter",
                "How often the app was started again after its database had failed.",
                self._app._recoveries.count,
            ),
            "actors_invocations_succeeded": ("counter", "Invocations that returned.", counts.succeeded),
            "actors_invocations_failed": ("counter", "Invocations that ended as a failure.", counts.failed),
            "actors_attempts_failed": ("counter", "Attempts that failed and are tried again.", counts.failed_attempts),
            "actors_steps_failed": (
                "counter",
                "Executions of steps that failed under a retry policy of their own.",
                counts.failed_steps,
            ),
            "actors_steps_waited_long": (
                "counter",
                "Executions of steps that waited for a thread for more than a second.",
                partition.step_threads.waited_long,
            ),
            "actors_steps_queued": ("gauge", "Steps that wait for a thread.", len(partition.step_threads.waiting())),
            "actors_steps_running": (
                "gauge",
                "Steps that are being executed, or wait for it.",
                len(partition.steps.executing),
            ),
            "actors_invocations_paused": ("counter", "Invocations that were paused.", counts.paused),
            "actors_commits": ("counter", "Transactions handed to the database.", committer.handed_over),
            "actors_invocations_in_memory": ("gauge", "Open invocations in memory.", len(partition.residents.open)),
            "actors_handlers_waiting": ("gauge", "Handlers in memory that wait.", len(partition.eviction.waiting)),
            "actors_invocations_kept": (
                "gauge",
                "Ended invocations kept, without those under a key.",
                partition.retention.count,
            ),
        }

    def commit_durations(self) -> Durations | None:
        """How long commits took. None while the app does not run."""
        partition = self._app._partition
        return partition.committer.durations if partition is not None else None

    async def gauges(self) -> list[Gauge]:
        """What the app is like now. Nothing while it does not run."""
        partition = self._app._partition
        return await partition.gauges.read() if partition is not None and not partition.stopped else []

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
        while True:
            options = Options(0, headers, idempotency_key)
            seq, new = await self._place(target, key, text, values, options, waits=True)
            try:
                return await self._outcome(seq)
            except UnknownInvocation:
                if new:
                    raise
                # It was forgotten since it was found: now its key is free.

    def begin_call(
        self,
        target: HandlerDefinition,
        key: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        headers: dict[str, str] | None,
    ) -> BegunCall:
        """Accept a call without an idempotency key. What it raises refuses it, and then nothing has happened."""
        partition = self._partition()
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
        partition = self._partition()
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
        app = self._app
        # In a task of its own: a client that hangs up must not stop other requests under the same key.
        placing = app._place(Message(target, key, text, values, options), waits)
        return await done(app._task(placing), repeatable=True)

    # --- outcomes ---------------------------------------------------------------------------------------------------------

    async def attach(self, id: str) -> Outcome:
        """Wait for the outcome of an invocation. Raises BadId or UnknownInvocation."""
        return await self._outcome(self._partition().ids.read_invocation(id))

    async def output(self, id: str) -> Outcome | None:
        """The outcome, or None while there is none. Raises BadId or UnknownInvocation."""
        return await self._output(self._partition().ids.read_invocation(id))

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
        partition = self._partition()
        async with partition.committer.gated():
            await partition.committer.flushed()
            row = await partition.store.find(target.service.name, key, target.name, idempotency_key)
            if row is None:
                raise UnknownInvocation("No invocation was accepted under this key, or it is no longer kept.")
            return partition.ids.invocation(row.seq)

    async def _outcome(self, seq: int) -> Outcome:
        partition = self._partition()
        try:
            await self._app._result(seq)
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
        partition = self._partition()
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
        partition = self._partition()
        definition = self.services.get(row.service)
        handler = definition.handler(row.handler, row.idempotency_key == RUN) if definition is not None else None
        expires_ms = None
        if row.idempotency_key is not None and row.ended_ms is not None:
            kept_ms = self._app._limits.idempotency_retention_ms
            expires_ms = row.ended_ms + kept_ms if kept_ms is not None else None
        return Outcome(
            partition.ids.invocation(row.seq),
            row.outcome or "",
            _shown(partition, failure_error(row.outcome or "")) if row.status == Status.FAILED else None,
            handler.returns if handler is not None else None,
            expires_ms,
        )

    # --- awakeables -------------------------------------------------------------------------------------------------------

    async def resolve(self, id: str, *, text: str | None = None, value: Any = None) -> None:
        """Complete an awakeable with a JSON text, or else with a value. Raises as `App.resolve_awakeable` does."""
        await self._complete(id, Payload(Kind.COMPLETED, value=value, text=text))

    async def reject(self, id: str, reason: str) -> None:
        """Make the handler that waits fail. Raises as `App.reject_awakeable` does."""
        await self._complete(id, Payload(Kind.FAILED, reason=reason))

    async def _complete(self, id: str, payload: Payload) -> None:
        partition = self._partition()
        seq, index = partition.ids.read_awakeable(id)
        await partition.awakeables.complete(seq, index, payload)


def arguments(target: HandlerDefinition, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments in a request's body. Raises BadArguments.

    One parameter takes the whole body as its value, several an object of their names, or an array; without a body all have
    their defaults. A parameter of type bytes takes the body as it is.
    """
    if target.arity == 1 and target.codecs[0].type is bytes:
        return (body,), {}
    if not body.strip():
        return (), {}
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadArguments(f"{target.target}: the body is not UTF-8: {error}.") from None
    if target.arity == 1:
        return (value_of(target, 0, text),), {}
    if target.arity == 0:
        if text.strip() in ("null", "{}", "[]"):
            return (), {}
        raise BadArguments(f"{target.target} takes no arguments: send an empty body.")
    try:
        if text.lstrip().startswith("["):
            values = _raw_array.decode(text)
            if len(values) <= target.arity:
                return tuple(value_of(target, place, bytes(raw).decode()) for place, raw in enumerate(values)), {}
            raise BadArguments(f"{target.target} takes {target.arity} arguments, the body holds {len(values)}.")
        named = _raw_object.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadArguments(
            f"{target.target} takes several arguments: send a JSON object of {', '.join(target.names)}, or an array. {error}."
        ) from None
    places = {name: place for place, name in enumerate(target.names)}
    unknown = [name for name in named if name not in places]
    if unknown:
        raise BadArguments(
            f"{target.target} has no parameter {unknown[0]!r}. Its parameters: {', '.join(target.names)}."
        )
    return (), {name: value_of(target, places[name], bytes(raw).decode()) for name, raw in named.items()}


def value_of(target: HandlerDefinition, place: int, text: str) -> Any:
    """The argument at this place, from JSON. Raises BadArguments."""
    try:
        return target.codecs[place].decode(text)
    except SerializationError as error:
        raise BadArguments(f"{target.target}: argument {target.names[place]!r}: {error.message}") from None


def _shown(partition: Partition, failure: TerminalError | None) -> TerminalError | None:
    """The failure as it goes out: tracebacks stay here, unless the app has debug now."""
    if isinstance(failure, ProgrammingError) and not partition.env.debug:
        return ProgrammingError(failure.message, failure.code)
    return failure
