"""State of an older version meets a newer class: it is migrated before the first line of a handler sees it.

Promise: an object's stored state, the version it is of, and what an open invocation began with change together, in one
batch, or not at all. What cannot be migrated, or does not fit the class afterwards, raises StateDecodeError and changes
nothing, in memory or on disk.
"""

from __future__ import annotations

from actors.attempt.invocation import Invocation
from actors.attempt.ports import Writes
from actors.errors import StateDecodeError
from actors.journal.entries import Entry, unpacked_state
from actors.model.decoding import how_to_fix, materialize
from actors.model.definitions import ServiceDefinition
from actors.model.object_state import VERSION_NAME, ObjectState
from actors.model.readers import reader_of
from actors.model.virtual_object import Served
from actors.storage.records import Flag


def upgrade(ledger: Writes, invocation: Invocation, state: ObjectState, longest: int) -> None:
    """Bring an object into the version of its class, as part of the open batch, before an exclusive attempt begins.

    The invocation that begins holds the object: no other open one can have changed it. What it began with is the current
    state with its writes undone, or what an upgrade before this one has recorded. Both are of the version they are stored
    in, so the initial state is put together first, and migrated then. `longest` is how many characters a value may take.
    Raises StateDecodeError.
    """
    assert invocation.handler is not None
    definition, journal = invocation.handler.service, invocation.journal
    initial: dict[str, str] | None = None
    bases: dict[str, str] = {}
    if journal is not None and journal.writes():
        version = state.version if journal.migrated is None else journal.migrated.ref or 1
        began = journal.initial_state(state.stored, invocation.has(Flag.APART))
        bases = journal.bases_in(began)
        initial = migrated(definition, invocation.key, began, version, None)
    elif not state.stored:
        return  # nothing has a version; the first write will
    if invocation.mailbox is not None:  # a rehearsal has none
        ledger.write_behind(invocation.mailbox)
    before = dict(state.stored)
    stored = migrated(definition, invocation.key, before, state.version, longest)
    # Nothing fails from here on.
    state.renew(stored, definition.version)
    for name in {**before, **stored}:
        text = stored.get(name)
        if text != before.get(name):
            ledger.write_state(invocation, name, text)
    ledger.write_state(invocation, VERSION_NAME, str(definition.version))
    if journal is not None and initial is not None:
        ledger.write_entry(invocation, journal.migrate(initial, definition.version, ledger.now_ms(), bases))


def record_version(ledger: Writes, invocation: Invocation, state: ObjectState) -> None:
    """The first state of an object goes into the open batch: so does the version it is of."""
    assert invocation.handler is not None
    state.version, state.foreign = invocation.handler.service.version, False
    ledger.write_state(invocation, VERSION_NAME, str(state.version))


def read(
    definition: ServiceDefinition, key: str, state: ObjectState, recorded: Entry | None
) -> tuple[dict[str, str], Served]:
    """The snapshot a shared handler reads, and its instance. What is older is migrated in memory only.

    `recorded` is the snapshot of an earlier attempt, of the version it was taken at. Raises StateDecodeError.
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


def migrated(
    definition: ServiceDefinition, key: str, texts: dict[str, str], version: int, longest: int | None
) -> dict[str, str]:
    """`texts`, of an object in `version`, in the version of the class, which they fit. Raises StateDecodeError.

    `longest` is how many characters a value that has changed may take.
    """
    where = f"{definition.name}/{key}"
    result = definition.migrations.applied(texts, version, where)
    for name, text in result.items():
        if longest is not None and len(text) > longest and text != texts.get(name):
            raise StateDecodeError(
                f"The state of {where} cannot be migrated from version {version} to {definition.version}: {name!r} would "
                f"take {len(text):,} characters; max_payload of the app allows {longest:,}. It is left as it is."
            )
    try:
        materialize(definition, definition.cls, result)
    except StateDecodeError as error:
        if version == definition.version:
            raise
        names = [step.name for start, step in sorted(definition.migrations.steps.items()) if start >= version]
        raise StateDecodeError(
            f"The state of {where} was migrated from version {version} to {definition.version}, and does not fit "
            f"then: {str(error).removesuffix(how_to_fix(definition))}Fix the migration {' or '.join(names)}; the "
            "state is left as it is."
        ) from None
    return result
