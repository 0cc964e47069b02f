"""A handler against a journal that a test has written, or that `actors capture` has written for it.

Promise: no step is called, no message is sent and nothing is stored. The code of the handler decides by its arguments, the state
before it and the answers in the journal alone; where it requests something else than the journal holds, the test fails with the
message by which the runtime would pause it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.attempt.invocation import Invocation
from actors.check.rehearsal import Misfit, Stage
from actors.check.retrace import Retrace, Retraced, Retraces, State
from actors.errors import BadArguments, DeterminismError, SerializationError
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition, definition_of, key_for
from actors.model.handlers import Handler
from actors.model.limits import Limits
from actors.model.object_state import ObjectState
from actors.serde import packing
from actors.serde.failures import failure_of
from actors.storage.records import OWN_KEY, RUN, InvocationRow, Mode, Status
from actors.testing.entries import JournalEntry
from actors.testing.failures import WorldFailed
from actors.testing.given_journal import GivenJournal, Writing, text_of, texts_of

SECRET = bytes(32)  # of the ids in such tests


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a handler has ended: with an `outcome` or a `failure`, both as JSON values, and the `state` after it.

    `waits_for` names what a handler waits for that has not ended.
    """

    outcome: Any
    failure: dict[str, Any] | None
    state: dict[str, Any]
    waits_for: str | None


async def replayed(
    handler: Any,
    *,
    key: str = "",
    arguments: Sequence[Any] = (),
    before: Mapping[str, Any] | None = None,
    journal: Sequence[JournalEntry] = (),
    calls: Iterable[type] = (),
    cls: type | None = None,
    headers: Mapping[str, str] | None = None,
    version: int | None = None,
    seed: str | None = None,
    ended: bool = True,
    limits: Limits | None = None,
    timeout_s: float = 5.0,
) -> Replayed:
    """Run a handler, such as `Order.checkout`, against a journal: see `actors.testing.entries`.

    `before` is the state it begins with, JSON values by name, of the `version` of the class. `calls` are the other classes whose
    objects it addresses, `cls` is the class if the handler is inherited. `seed`, hexadecimal digits, gives the numbers of `ctx.random`.
    `ended=False` says that the handler had not ended: it may wait in the end. `timeout_s` limits a handler that awaits something
    that is not durable.

    Raises DeterminismError if the handler requests anything else than the journal holds, WorldFailed if it raises an error that is
    not terminal, BadArguments if `arguments`, `before`, `seed` or the journal are not valid.
    """
    target = _target(handler, cls)
    definition = target.service
    catalog = Catalog({one.name: one for one in [definition, *map(definition_of, calls)]})
    stage = Stage(catalog, limits or Limits(), SECRET)
    state = State(texts_of(before or {}), version if version is not None else definition.version)
    snapshot = state.texts if target.mode == Mode.SHARED else None
    given = Writing(stage.ids, state.version, snapshot).journal(journal)
    make = functools.partial(_Replay, given, _seed(seed))
    retraces = Retraces(stage, timeout_s, make=make)
    try:
        retraced = await retraces.retrace(definition, _row(target, key, arguments, headers, ended), given.rows, state)
    finally:
        retraces.close()
    return _result(retraced)


def _seed(digits: str | None) -> bytes | None:
    if digits is None:
        return None
    try:
        return bytes.fromhex(digits)
    except (TypeError, ValueError):
        raise BadArguments(f"replayed(seed={digits!r}) requires hexadecimal digits, two for each byte.") from None


class _Replay(Retrace):
    """A retrace whose journal must hold all writes, and whose steps may declare no types."""

    __slots__ = ("_given", "_seed")

    def __init__(
        self,
        given: GivenJournal,
        seed: bytes | None,
        host: Stage,
        invocation: Invocation,
        state: ObjectState,
        ends: bool,
        between: bool,
    ) -> None:
        super().__init__(host, invocation, state, ends, between)
        self._given = given
        self._seed = seed

    def step(self, name: str, function: Any, args: Any, kwargs: Any, codec: Any, retry: Any) -> Any:
        future = super().step(name, function, args, kwargs, codec, retry)
        if codec is None and future.command in self._given.raw and self.invocation.journal is not None:
            completion = self.invocation.journal.completed.get(future.command)
            if completion is not None:
                completion.value = packing.pack(self._given.raw[future.command])
        return future

    def generator(self) -> random.Random:
        return super().generator() if self._seed is None else random.Random(self._seed)

    def _end_with(self, status: int) -> None:
        recorded = dict(self.state.texts)
        super()._end_with(status)
        if self.texts is None or not self._given.rows or self.texts == recorded:
            return
        name = next(name for name in {**recorded, **self.texts} if recorded.get(name) != self.texts.get(name))
        asked = f"set state {name!r}" if name in self.texts else f"clear state {name!r}"
        self.found(Misfit("journal", f"The handler asks for {asked}, which is not in its journal.", None, None, asked))


def _target(handler: Any, cls: type | None) -> HandlerDefinition:
    if not isinstance(handler, Handler):
        raise BadArguments(f"replayed() requires a handler, such as Order.checkout, got {handler!r}.")
    owner = cls or handler.owner
    if owner is None:
        raise BadArguments(f"The class of {handler.name!r} is not known: pass cls=.")
    definition = definition_of(owner)
    target = definition.handlers.get(handler.name)
    if target is None:
        raise BadArguments(f"{definition.name} has no handler {handler.name!r}. Pass the class with cls=.")
    return target


def _row(
    target: HandlerDefinition, key: str, arguments: Sequence[Any], headers: Mapping[str, str] | None, ended: bool
) -> InvocationRow:
    key = key_for(target, key) or f"{OWN_KEY}1"
    args = text_of(list(arguments))
    try:
        target.decode(args)
    except SerializationError as error:
        raise BadArguments(str(error)) from None
    return InvocationRow(
        seq=1,
        service=target.service.name,
        key=key,
        handler=target.name,
        shared=target.mode,
        status=Status.SUCCEEDED if ended else Status.RUNNING,
        position=1,
        args=args,
        headers=text_of(dict(headers)) if headers else None,
        parent=None,
        parent_index=None,
        attempts=0,
        accepted_ms=0,
        ended_ms=None,
        outcome=None,
        reason=None,
        idempotency_key=RUN if target.once else None,
    )


def _result(retraced: Retraced) -> Replayed:
    misfit = retraced.misfit
    if misfit is not None:
        if misfit.kind == "journal":
            raise DeterminismError(misfit.message, misfit.index or 0, misfit.recorded or "", misfit.asked or "")
        raise WorldFailed(misfit.message)
    state = {name: msgspec.json.decode(text) for name, text in retraced.left.texts.items()}
    if retraced.outcome is None:
        return Replayed(None, None, state, retraced.waits_for or retraced.asks)
    status, text = retraced.outcome
    if status == Status.FAILED:
        return Replayed(None, failure_value(text), state, None)
    return Replayed(msgspec.json.decode(text), None, state, None)


def failure_value(text: str) -> dict[str, Any]:
    """A stored failure as clients receive it. The line of a mistake is left out, because it changes with the code."""
    failure = failure_of(text)
    value: dict[str, Any] = {"code": failure.code, "message": failure.message, "error": failure.error}
    if failure.metadata and "traceback" not in failure.metadata:
        value["metadata"] = failure.metadata
    return value
