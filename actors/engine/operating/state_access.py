"""State from outside of handlers: operators read the state of an object, and change it.

Promise: a change is one step of the object, before or after each of its exclusive invocations and never inside one. It is
checked against the class, is in one batch, and is durable when it is acknowledged; the next handler sees all of it.

A change is not queued, because no invocation stands in the mailbox for it: while an exclusive invocation is between its first
line and its outcome, the object is busy, and the change is refused. An invocation that has not begun, or whose attempts have
left nothing in its journal, reads the state when its next attempt begins: a change comes before it. So an invocation that is
paused because the state does not fit can be helped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.attempt.invocation import Mailbox
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.waits.idempotency import Placements
from actors.errors import (
    BadArguments,
    CannotPatch,
    ObjectBusy,
    PayloadTooLarge,
    SerializationError,
    StateChanged,
    StateDecodeError,
    WrongKind,
)
from actors.model.decoding import materialize, migrated
from actors.model.definitions import ServiceDefinition
from actors.model.message import run_claim
from actors.model.names import check_name, checked_key
from actors.model.object_state import VERSION_NAME, ObjectState
from actors.serde import ANY
from actors.storage.port import Store
from actors.storage.records import RUN


@dataclass(frozen=True, slots=True)
class StateInfo:
    """The durable state of one object: JSON text by name, declared and undeclared. Names that were never assigned are missing.

    `version` is the version of the class that wrote it. `tag` changes with every change; equal state has equal tags.
    """

    service: str
    key: str
    version: int
    texts: Mapping[str, str]
    tag: str

    @property
    def values(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return {name: msgspec.json.decode(text) for name, text in self.texts.items()}


class StateAccess:
    """Reads and changes the state of objects that no handler holds."""

    def __init__(
        self,
        env: Env,
        store: Store,
        residents: Residents,
        ledger: Ledger,
        background: Background,
        committer: Committer,
        pins: Pins,
        intake: Intake,
        placements: Placements,
    ) -> None:
        self._ids = env.ids
        self._limits = env.limits
        self._store = store
        self._residents = residents
        self._ledger = ledger
        self._background = background
        self._committer = committer
        self._pins = pins
        self._intake = intake
        self._placements = placements

    async def read(self, definition: ServiceDefinition, key: str) -> StateInfo:
        """The state on disk. Raises BadKey, or WrongKind for a Service."""
        _check_target(definition, key)
        mailbox = self._residents.known(definition.name, key)
        if mailbox is not None:
            self._ledger.write_behind(mailbox)
        async with self._committer.gated():
            await self._committer.flushed()
            stored = await self._store.state(definition.name, key)
        version = int(stored.pop(VERSION_NAME, 1))
        return _info(definition, key, version, stored)

    async def patch(
        self,
        definition: ServiceDefinition,
        key: str,
        changes: Mapping[str, str | None],
        if_tag: str | None = None,
        undeclared: bool = False,
    ) -> StateInfo:
        """Write JSON texts by name, None deletes. Returns the changed state, durable.

        `changes` are checked before anything is read. With `if_tag` only a state with that tag is changed. Names that neither
        the class declares nor the object has are refused unless `undeclared`. Raises ObjectBusy, StateChanged, CannotPatch,
        BadArguments, PayloadTooLarge, BadKey or WrongKind; then nothing has changed.
        """
        _check_target(definition, key)
        self._intake.check_key(key)
        texts = {name: self._checked(definition, name, text) for name, text in changes.items()}
        claims = [run_claim(definition.name, key)] if definition.kind == "workflow" else []
        async with self._committer.gated(changes=True), self._placements.alone(claims):
            if claims:
                await self._committer.flushed()
                if await self._store.find(definition.name, key, "", RUN) is None:
                    raise CannotPatch(
                        f"The workflow {definition.name}/{key} has no run, so its state would not be kept. Run it first."
                    )
            async with self._pins.holding_objects([(definition.name, key)]) as (mailbox,):
                self._background.check_running()
                changed = self._apply(definition, mailbox, texts, if_tag, undeclared)
            await self._committer.acknowledged()
        return changed

    def _checked(self, definition: ServiceDefinition, name: str, text: str | None) -> str | None:
        """The text as a handler would have stored the value. Raises BadArguments or PayloadTooLarge."""
        check_name(name, "A change of state")
        if text is None:
            return None
        field = definition.fields_by_name.get(name)
        codec = field.codec if field is not None else ANY
        try:
            text = codec.encode(codec.decode(text))
        except SerializationError as error:
            raise BadArguments(f"{definition.name}.{name}: {error.message}") from None
        if len(text) > self._limits.max_payload:
            raise PayloadTooLarge(
                f"{definition.name}.{name} would take {len(text):,} characters; max_payload of the app allows "
                f"{self._limits.max_payload:,}."
            )
        return text

    def _apply(
        self,
        definition: ServiceDefinition,
        mailbox: Mailbox,
        changes: Mapping[str, str | None],
        if_tag: str | None,
        undeclared: bool,
    ) -> StateInfo:
        """Apply the whole change without an await, so that nothing can begin in between."""
        state = mailbox.state
        assert state is not None
        key = mailbox.key
        self._check_idle(mailbox)
        before = dict(state.stored)
        if if_tag is not None and if_tag != _info(definition, key, state.version, before).tag:
            raise StateChanged(f"The state of {definition.name}/{key} has changed since it was read. Read it again.")
        for name in changes:
            if (
                changes[name] is not None
                and name not in definition.fields_by_name
                and name not in before
                and not undeclared
            ):
                fields = ", ".join(definition.fields_by_name) or "none"
                raise BadArguments(
                    f"{definition.name} does not declare {name!r}, and this object has no such state. Declared: "
                    f"{fields}. Set undeclared to true if the name is meant for ctx.get."
                )
        after = self._fitting(definition, key, state, before, changes)
        if after == before and not (state.foreign and after):
            return _info(definition, key, state.version, before)
        # Nothing fails from here on.
        written = {name: after.get(name) for name in {**before, **after} if after.get(name) != before.get(name)}
        if state.foreign:
            written[VERSION_NAME] = str(definition.version)
        self._ledger.patch(mailbox, written)  # the object stays in memory until then: the stored state is older
        state.renew(after, definition.version)  # and no handler goes on with the previous instance
        return _info(definition, key, definition.version, after)

    def _check_idle(self, mailbox: Mailbox) -> None:
        """Raises ObjectBusy if an exclusive invocation has begun and has not ended."""
        holder = mailbox.current
        if holder is None:
            return
        # `commands` alone is not enough: an invocation with a cancellation, or a migrated state, has begun, too.
        begun = holder.attempt is not None and holder.attempt.begun
        if holder.ended:
            raise ObjectBusy(
                f"A step of {holder.address}, which has ended, is still being executed. Try again when it is over."
            )
        if begun or holder.work or (holder.journal is not None and holder.journal.size):
            raise ObjectBusy(
                f"{holder.address} ({self._ids.invocation(holder.seq)}) holds the object. Try again when it has ended, or "
                "end it: cancel or kill."
            )

    def _fitting(
        self,
        definition: ServiceDefinition,
        key: str,
        state: ObjectState,
        before: dict[str, str],
        changes: Mapping[str, str | None],
    ) -> dict[str, str]:
        """The state with the changes, in the version of the class, if it fits the class. Raises CannotPatch."""
        try:
            after = (
                migrated(definition, key, before, state.version, self._limits.max_payload)
                if state.foreign
                else dict(before)
            )
            for name, text in changes.items():
                if text is None:
                    after.pop(name, None)
                else:
                    after[name] = text
            materialize(definition, definition.cls, after)
        except StateDecodeError as error:
            raise CannotPatch(str(error)) from None
        return after


def _check_target(definition: ServiceDefinition, key: str) -> None:
    if definition.kind == "service":
        raise WrongKind(f"{definition.name} is a Service, which has no state.")
    checked_key(key)


def _info(definition: ServiceDefinition, key: str, version: int, stored: Mapping[str, str]) -> StateInfo:
    texts = dict(sorted(stored.items()))
    told = msgspec.json.encode([version if texts else 0, texts])
    return StateInfo(definition.name, key, version, texts, hashlib.blake2b(told, digest_size=12).hexdigest())


def encoded(definition: ServiceDefinition, set: Mapping[str, Any], clear: Sequence[str]) -> dict[str, str | None]:
    """The JSON texts of values, by name. Raises BadArguments."""
    changes: dict[str, str | None] = {}
    for name, value in set.items():
        field = definition.fields_by_name.get(name)
        try:
            changes[name] = (field.codec if field is not None else ANY).encode(value)
        except SerializationError as error:
            raise BadArguments(f"{definition.name}.{name}: {error.message}") from None
    return with_cleared(changes, clear)


def with_cleared(changes: dict[str, str | None], clear: Sequence[str]) -> dict[str, str | None]:
    """`changes`, with the names to delete. Raises BadArguments for a name that is in both."""
    for name in clear:
        if changes.get(name) is not None:
            raise BadArguments(f"{name!r} is both set and cleared.")
        changes[name] = None
    return changes
