"""What a shared handler reads: an instance over a snapshot of the state, which must not change."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from actors.errors import SerializationError, StateWriteRefused
from actors.model.decoding import ABSENT, decoded, materialize
from actors.model.definitions import ServiceDefinition
from actors.model.instances import values_of
from actors.model.object_state import ObjectState
from actors.model.virtual_object import Served
from actors.serde.exactness import ATOMS


class _Snapshot:
    """Holds back the containers of one reader, which shares nothing with anyone."""

    __slots__ = ("_definition", "_held")

    def __init__(self, definition: ServiceDefinition, held: dict[str, str | None]) -> None:
        self._definition = definition
        self._held = held

    def held_back(self, instance: Any) -> Container[str]:
        return self._held

    def hand_out(self, instance: Any, name: str) -> Any:
        field = self._definition.fields_by_name[name]
        text = self._held.pop(name)
        value = values_of(instance)[name] = field.default() if text is None else decoded(self._definition, field, text)
        return value

    def hand_out_all(self, instance: Any) -> None:
        for name in list(self._held):
            self.hand_out(instance, name)


def reader_of(state: ObjectState, texts: dict[str, str]) -> Served:
    """What a shared handler reads: an instance of its own that holds `texts`. Raises StateDecodeError."""
    definition, fitting = state._definition, state.containers.fitting if state.containers is not None else {}
    held = {
        name: texts.get(name)
        for name in definition.containers
        if (name in texts and name in fitting and fitting[name][0] == texts[name])
        or (name not in texts and definition.fields_by_name[name].has_default)
    }
    if not held:
        return materialize(definition, definition.reader, texts)
    instance = materialize(definition, definition.reader, texts, held)
    instance._actors_keeper = _Snapshot(definition, held)  # type: ignore[attr-defined]
    return instance


def refuse_changes(definition: ServiceDefinition, instance: Served, texts: dict[str, str]) -> None:
    """Raise StateWriteRefused if a shared handler changed a container in place; assignments were refused at their line."""
    for field in definition.fields:
        value = values_of(instance).get(field.name, ABSENT)
        if value is ABSENT or type(value) in ATOMS:
            continue
        before = texts.get(field.name, field.default_text)
        codec = field.codec
        try:
            text = codec.dump(value)
            unchanged = before is not None and (
                # Stored may be another text than it would be written as now: an older class wrote it, for example.
                codec.equal(text, before) or codec.equal(text, codec.dump(codec.decode(before)))
            )
        except SerializationError:
            unchanged = False
        if not unchanged:
            raise StateWriteRefused(
                f"{definition.cls.__qualname__}.{field.name} was changed in place in a shared handler; the change is not kept. "
                "Shared handlers only read: copy the value first, or use @handler."
            )
