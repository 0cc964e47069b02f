"""State of an older version meets a newer class: it is migrated before the first line of a handler sees it.

Promise: an object's stored state, the version it is of, and what an open invocation began with change together, in one
batch, or not at all. What cannot be migrated, or does not fit the class afterwards, raises StateDecodeError and changes
nothing, in memory or on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.errors import StateDecodeError
from actors.journal import Entry, unpacked_state
from actors.object_state import VERSION_NAME, ObjectState, materialize
from actors.virtual_object import VirtualObject

if TYPE_CHECKING:
    from actors.invocation import Invocation
    from actors.partition import Partition


class Upgrade:
    """The state of one object and of the exclusive invocation that holds it, in the version of the class.

    That invocation is the only open one that can have changed the object. What it began with is the current state with its
    writes undone, or what an upgrade before this one has recorded. Both are of the version they are stored in, so they are
    put together first and migrated then.
    """

    __slots__ = ("_before", "_initial", "_invocation", "_state", "_version", "stored")

    def __init__(self, invocation: Invocation, state: ObjectState) -> None:
        """Raises StateDecodeError."""
        assert invocation.handler is not None
        definition, journal = invocation.handler.service, invocation.journal
        self._invocation = invocation
        self._state = state
        self._version = definition.version
        self._before = dict(state.stored)
        self.stored = self._migrated(state.stored, state.version)
        self._initial: dict[str, str] | None = None
        if journal is not None and journal.undone():
            version = state.version if journal.migrated is None else journal.migrated.ref or 1
            self._initial = self._migrated(journal.initial_state(state.stored), version)

    def _migrated(self, texts: dict[str, str], version: int) -> dict[str, str]:
        assert self._invocation.handler is not None
        definition = self._invocation.handler.service
        where = f"{self._invocation.service}/{self._invocation.key}"
        migrated = definition.migrations.applied(texts, version, where)
        _checked(self._invocation, definition.cls, migrated, version)
        return migrated

    def write(self, partition: Partition) -> None:
        """Put all of it into the open batch, unless nothing is stored that has a version. Raises StateDecodeError."""
        invocation, state = self._invocation, self._state
        if not self._before and self._initial is None:
            return
        changed = {
            name: text
            for name in {**self._before, **self.stored}
            if (text := self.stored.get(name)) != self._before.get(name)
        }
        for name, text in changed.items():
            if text is not None and len(text) > partition.max_payload:
                raise StateDecodeError(
                    f"The state of {invocation.service}/{invocation.key} cannot be migrated to version {self._version}: "
                    f"{name!r} would take {len(text):,} characters; max_payload of the app allows {partition.max_payload:,}."
                )
        for name, text in changed.items():
            partition.write_state(invocation, name, text)
        state.renew(self.stored, self._version)
        partition.write_state(invocation, VERSION_NAME, str(self._version))
        if self._initial is not None:
            assert invocation.journal is not None
            entry = invocation.journal.migrate(self._initial, self._version, partition.now_ms())
            partition.write_entry(invocation, entry)


def record_version(partition: Partition, invocation: Invocation, state: ObjectState) -> None:
    """The first state of an object goes into the open batch: so does the version it is of."""
    assert invocation.handler is not None
    state.version, state.foreign = invocation.handler.service.version, False
    partition.write_state(invocation, VERSION_NAME, str(state.version))


def read(invocation: Invocation, state: ObjectState, recorded: Entry | None) -> tuple[dict[str, str], VirtualObject]:
    """The snapshot a shared handler reads, and its instance. Older ones are migrated in memory only.

    `recorded` is the snapshot of an earlier attempt, of the version it was taken at. Raises StateDecodeError.
    """
    assert invocation.handler is not None
    definition = invocation.handler.service
    if recorded is None:
        texts, version = state.stored, state.version
    else:
        texts, version = unpacked_state(recorded.value), recorded.ref or 1
    if version == definition.version:
        snapshot = dict(texts)
        return snapshot, materialize(definition, definition.reader, snapshot)
    snapshot = definition.migrations.applied(texts, version, f"{invocation.service}/{invocation.key}")
    return snapshot, _checked(invocation, definition.reader, snapshot, version)


def _checked(invocation: Invocation, cls: type[VirtualObject], texts: dict[str, str], version: int) -> VirtualObject:
    """An instance of migrated texts. Raises StateDecodeError if they do not fit the class."""
    assert invocation.handler is not None
    definition = invocation.handler.service
    try:
        return materialize(definition, cls, texts)
    except StateDecodeError as error:
        raise StateDecodeError(
            f"The state of {invocation.service}/{invocation.key} was migrated from version {version} to "
            f"{definition.version}, and does not fit then: {error} It is left as it is."
        ) from None
