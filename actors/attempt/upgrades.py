"""Migrates state of an older version before the first line of a handler sees it.

Promise: the stored state of an object, its version, and the initial state of an open invocation change together, in one batch,
or not at all. State that cannot be migrated, or does not fit the class afterwards, raises StateDecodeError and changes nothing,
in memory or on disk.
"""

from __future__ import annotations

from actors.attempt.invocation import Invocation
from actors.attempt.ports import Writes
from actors.journal.entries import Entry, unpacked_state
from actors.journal.journal import Journal
from actors.model.decoding import migrated
from actors.model.definitions import ServiceDefinition
from actors.model.object_state import VERSION_NAME, ObjectState
from actors.model.readers import reader_of
from actors.model.virtual_object import Served
from actors.storage.records import Flag


def upgrade(ledger: Writes, invocation: Invocation, state: ObjectState, longest: int) -> None:
    """Migrate an object to the version of its class, as part of the open batch, before an exclusive attempt begins.

    The invocation that begins holds the object: no other open invocation can have changed it. Its initial state is the current
    state with its writes undone, or the state that an earlier upgrade has recorded. Both are of the stored version, so the
    initial state is reconstructed first, and migrated then. Where a class has a history, the state before and after the migration
    is recorded in any case, as an initial state and its bases. `longest` is how many characters a value may take. Raises
    StateDecodeError.
    """
    assert invocation.handler is not None
    definition, journal = invocation.handler.service, invocation.journal
    initial: dict[str, str] | None = None
    bases: dict[str, str] = {}
    if journal is not None and journal.writes():
        version = state.version if journal.migrated is None else journal.migrated.ref or 1
        began = journal.initial_state(state.stored, invocation.has(Flag.APART))
        bases = began if definition.history else journal.bases_in(began)
        initial = migrated(definition, invocation.key, began, version, None)
    elif not state.stored:
        return  # there is no stored state; the first write will record the version
    if invocation.mailbox is not None:  # a rehearsal has no mailbox
        ledger.write_behind(invocation.mailbox)
    before = dict(state.stored)
    stored = migrated(definition, invocation.key, before, state.version, longest)
    if definition.history and initial is None:
        initial, bases = stored, before
    # Nothing fails from here on.
    state.renew(stored, definition.version)
    for name in {**before, **stored}:
        text = stored.get(name)
        if text != before.get(name):
            ledger.write_state(invocation, name, text)
    ledger.write_state(invocation, VERSION_NAME, str(definition.version))
    if initial is not None:
        if journal is None:
            journal = invocation.journal = Journal()
        ledger.write_entry(invocation, journal.migrate(initial, definition.version, ledger.now_ms(), bases))


def record_version(ledger: Writes, invocation: Invocation, state: ObjectState) -> None:
    """The first state of an object goes into the open batch: record its version there, too."""
    assert invocation.handler is not None
    state.version, state.foreign = invocation.handler.service.version, False
    ledger.write_state(invocation, VERSION_NAME, str(state.version))


def read(
    definition: ServiceDefinition, key: str, state: ObjectState, recorded: Entry | None
) -> tuple[dict[str, str], Served]:
    """The snapshot that a shared handler reads, and its instance. Older state is migrated in memory only.

    `recorded` is the snapshot of an earlier attempt, in the version at which it was taken. Raises StateDecodeError.
    """
    if recorded is None:
        texts, version = state.stored, state.version
    else:
        texts, version = unpacked_state(recorded.value), recorded.ref or 1
    if version == definition.version:
        snapshot = dict(texts)
    else:
        snapshot = migrated(definition, key, texts, version, None)
    return snapshot, reader_of(state, snapshot)
