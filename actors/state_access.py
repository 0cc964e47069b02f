"""State from outside of handlers: what an operator reads of an object, and changes.

Promise: a change is one step of the object, before or after each of its exclusive invocations and never inside one. It is
checked against the class, is in one batch, and is durable when it is acknowledged; whatever handler comes next sees all of it.

It is not queued, because there is no invocation that could stand in the mailbox for it: while an exclusive invocation is
between its first line and its outcome the object is busy, and that is said. One that has not begun, or whose attempts have
left nothing in its journal, finds the state when its next attempt begins: a change comes before it. So what is paused
because the state does not fit can be helped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from actors.attempt.upgrades import migrated
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
from actors.model.message import run_claim
from actors.model.names import check_name, checked_key
from actors.model.object_state import VERSION_NAME, materialize
from actors.serde import ANY
from actors.storage import RUN

if TYPE_CHECKING:
    from actors.attempt.invocation import Mailbox
    from actors.model.definitions import ServiceDefinition
    from actors.model.object_state import ObjectState
    from actors.partition import Partition


@dataclass(frozen=True, slots=True)
class StateInfo:
    """The durable state of one object: JSON text by name, declared and undeclared. What was never assigned is not there.

    `version` is that of the class it was written by. `tag` changes with every change; equal state has equal tags.
    """

    service: str
    key: str
    version: int
    texts: Mapping[str, str]
    tag: str

    @property
    def values(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {name: msgspec.json.decode(text) for name, text in self.texts.items()}


async def read_state(partition: Partition, definition: ServiceDefinition, key: str) -> StateInfo:
    """What is on the disk. Raises BadKey, or WrongKind for a Service."""
    _check_target(definition, key)
    mailbox = partition.known(definition.name, key)
    if mailbox is not None:
        partition.write_behind(mailbox)
    async with partition.committer.gated():
        await partition.committer.flushed()
        stored = await partition.store.state(definition.name, key)
    version = int(stored.pop(VERSION_NAME, 1))
    return _info(definition, key, version, stored)


async def patch_state(
    partition: Partition,
    definition: ServiceDefinition,
    key: str,
    changes: Mapping[str, str | None],
    if_tag: str | None = None,
    undeclared: bool = False,
) -> StateInfo:
    """Write JSON texts by name, None deletes; returns the state as it is then, durable.

    `changes` are checked before anything is read. With `if_tag` only a state with that tag is changed. Names that the class
    does not declare, and the object does not have, are refused unless `undeclared`. Raises ObjectBusy, StateChanged,
    CannotPatch, BadArguments, PayloadTooLarge, BadKey or WrongKind; then nothing has changed.
    """
    _check_target(definition, key)
    partition.check_key(key)
    texts = {name: _checked(partition, definition, name, text) for name, text in changes.items()}
    claims = [run_claim(definition.name, key)] if definition.kind == "workflow" else []
    async with partition.committer.gated(changes=True), partition.placements.alone(claims):
        if claims:
            await partition.committer.flushed()
            if await partition.store.find(definition.name, key, "", RUN) is None:
                raise CannotPatch(
                    f"The workflow {definition.name}/{key} has no run, so its state would not be kept. Run it first."
                )
        async with partition.loader.holding_objects([(definition.name, key)]) as (mailbox,):
            partition.check_running()
            changed = _apply(partition, definition, mailbox, texts, if_tag, undeclared)
        await partition.committer.acknowledged()
    return changed


def _check_target(definition: ServiceDefinition, key: str) -> None:
    if definition.kind == "service":
        raise WrongKind(f"{definition.name} is a Service, which has no state.")
    checked_key(key)


def _checked(partition: Partition, definition: ServiceDefinition, name: str, text: str | None) -> str | None:
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
    if len(text) > partition.max_payload:
        raise PayloadTooLarge(
            f"{definition.name}.{name} would take {len(text):,} characters; max_payload of the app allows "
            f"{partition.max_payload:,}."
        )
    return text


def _apply(
    partition: Partition,
    definition: ServiceDefinition,
    mailbox: Mailbox,
    changes: Mapping[str, str | None],
    if_tag: str | None,
    undeclared: bool,
) -> StateInfo:
    """All of it in one go, without an await: nothing can begin in between."""
    state = mailbox.state
    assert state is not None
    key = mailbox.key
    _check_idle(partition, mailbox)
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
    after = _fitting(partition, definition, key, state, before, changes)
    if after == before and not (state.foreign and after):
        return _info(definition, key, state.version, before)
    # Nothing fails from here on.
    batch = partition.committer.batch
    for name in {**before, **after}:
        if after.get(name) != before.get(name):
            batch.state[mailbox.service, key, name] = after.get(name)
    if state.foreign:
        batch.state[mailbox.service, key, VERSION_NAME] = str(definition.version)
    mailbox.written_in = batch.number  # until then it stays in memory: what would be loaded is older
    state.renew(after, definition.version)  # and no handler goes on with the instance before
    partition.touch()
    return _info(definition, key, definition.version, after)


def _check_idle(partition: Partition, mailbox: Mailbox) -> None:
    """Raises ObjectBusy if an exclusive invocation has begun that has not ended."""
    holder = mailbox.current
    if holder is None:
        return
    # `commands` alone would not do: a cancellation, or a migrated state, is of an invocation that has begun, too.
    begun = holder.attempt is not None and holder.attempt.begun
    if holder.ended:
        raise ObjectBusy(
            f"A step of {holder.address}, which has ended, is still being executed. Try again when it is over."
        )
    if begun or holder.work or (holder.journal is not None and holder.journal.size):
        raise ObjectBusy(
            f"{holder.address} ({partition.ids.invocation(holder.seq)}) holds the object. Try again when it has ended, or "
            "end it: cancel or kill."
        )


def _fitting(
    partition: Partition,
    definition: ServiceDefinition,
    key: str,
    state: ObjectState,
    before: dict[str, str],
    changes: Mapping[str, str | None],
) -> dict[str, str]:
    """The state with the changes, in the version of the class, which it fits. Raises CannotPatch."""
    try:
        after = (
            migrated(definition, key, before, state.version, partition.max_payload) if state.foreign else dict(before)
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


def _info(definition: ServiceDefinition, key: str, version: int, stored: Mapping[str, str]) -> StateInfo:
    texts = dict(sorted(stored.items()))
    told = msgspec.json.encode([version if texts else 0, texts])
    return StateInfo(definition.name, key, version, texts, hashlib.blake2b(told, digest_size=12).hexdigest())


def encoded(definition: ServiceDefinition, set: Mapping[str, Any], clear: Sequence[str]) -> dict[str, str | None]:
    """Values by name as their texts. Raises BadArguments."""
    changes: dict[str, str | None] = {}
    for name, value in set.items():
        field = definition.fields_by_name.get(name)
        try:
            changes[name] = (field.codec if field is not None else ANY).encode(value)
        except SerializationError as error:
            raise BadArguments(f"{definition.name}.{name}: {error.message}") from None
    return with_cleared(changes, clear)


def with_cleared(changes: dict[str, str | None], clear: Sequence[str]) -> dict[str, str | None]:
    """`changes`, and the names that are deleted. Raises BadArguments for one that is in both."""
    for name in clear:
        if changes.get(name) is not None:
            raise BadArguments(f"{name!r} is both set and cleared.")
        changes[name] = None
    return changes
