"""The state of one object in memory: the stored texts, and the instance that handlers work on.

Handlers assign plain attributes. What changed is found by comparing, at each durable point: the same
immutable object means unchanged, anything else is encoded and compared with the stored text.
"""

from __future__ import annotations

from typing import Any, cast

from actors.errors import SerializationError, StateDecodeError, StateWriteRefused, UndeclaredState
from actors.serde import ATOMS
from actors.virtual_object import FieldDefinition, ServiceDefinition, VirtualObject

_new = object.__new__


class ObjectState:
    """`stored` is what the database holds, or is about to: JSON by name, declared and undeclared.

    `texts` is what the running handler's writes are compared with. It is the same dict, except while an attempt replays
    from the state its invocation began with. `instance` may be ahead of both.
    """

    __slots__ = ("_definition", "_seen", "instance", "stored", "texts")

    def __init__(self, definition: ServiceDefinition | None, stored: dict[str, str]) -> None:
        # None if the app does not serve the class: then nothing runs, but completions still reach the journal.
        self._definition = cast(ServiceDefinition, definition)
        self.stored = stored
        self.texts = stored
        self.instance: VirtualObject | None = None
        self._seen: list[Any] = []  # each field's value when it was last compared

    def begin(self, initial: dict[str, str] | None) -> VirtualObject:
        """The instance an attempt works on, holding `initial`, or the stored state. Raises StateDecodeError."""
        if initial is not None:
            self.texts = initial
            self.instance = None
        instance = self.instance
        if instance is None:
            instance = self.instance = materialize(self._definition, self._definition.cls, self.texts)
            values = instance.__dict__
            self._seen = [values.get(field.name) for field in self._definition.fields]
        return instance

    def end(self) -> None:
        """The attempt is over and all it wrote is stored: the instance serves the next invocation."""
        self.texts = self.stored

    def discard(self) -> None:
        """The attempt is over and left the instance ahead of what is stored: the next one starts afresh."""
        self.texts = self.stored
        self.instance = None

    def put(self, name: str, text: str | None, replayed: bool) -> None:
        """Take over a recorded write; None deletes. A replayed one is in `stored` already."""
        for texts in (self.texts,) if replayed or self.texts is self.stored else (self.texts, self.stored):
            if text is None:
                texts.pop(name, None)
            else:
                texts[name] = text

    def changes(self) -> dict[str, str | None] | None:
        """New JSON text (None: deleted) by name, since the last call, in order of declaration. None if nothing changed.

        Raises SerializationError for a value that cannot be stored and UndeclaredState for an attribute that is not state.
        """
        assert self.instance is not None
        values = self.instance.__dict__
        fields = self._definition.fields
        changed: dict[str, str | None] | None = None
        if len(values) != len(fields):
            changed = self._deleted(values)
        seen = self._seen
        for position, field in enumerate(fields):
            name = field.name
            value = values.get(name, _ABSENT)
            if (value is seen[position] and type(value) in ATOMS) or value is _ABSENT:
                continue
            if changed is not None and name in changed:
                continue
            codec = field.codec
            try:
                text = codec.dump(value)
                before = self.texts.get(name, field.default_text)
                if before is None or not (text == before or codec.equal(text, before)):
                    if codec.dump is not codec.encode:
                        codec.verify(value, text)
                    if changed is None:
                        changed = {}
                    changed[name] = text
            except SerializationError as error:
                raise SerializationError(f"{self._definition.cls.__qualname__}.{name}: {error}") from None
            seen[position] = value
        return changed

    def _deleted(self, values: dict[str, Any]) -> dict[str, str | None] | None:
        by_name = self._definition.fields_by_name
        for name in values:
            if name not in by_name:
                raise UndeclaredState(
                    f"{self._definition.cls.__qualname__}.{name} was assigned but is not declared, so it would be lost. "
                    f"Declare it in the class body: {name}: {type(values[name]).__name__} = ..."
                )
        gone: dict[str, str | None] = {}
        for position, field in enumerate(self._definition.fields):
            if field.name not in values:
                if field.has_default:
                    values[field.name] = self._seen[position] = field.default()
                else:
                    self._seen[position] = None
                if field.name in self.texts:
                    gone[field.name] = None
        return gone or None


_ABSENT: Any = object()


def materialize(definition: ServiceDefinition, cls: type[VirtualObject], texts: dict[str, str]) -> VirtualObject:
    """An instance of `cls` holding `texts`, defaults for the rest. Raises StateDecodeError."""
    instance: VirtualObject = _new(cls)
    values = instance.__dict__
    for field in definition.fields:
        text = texts.get(field.name)
        if text is not None:
            values[field.name] = _decoded(definition, field, text)
        elif field.default_text is not None:
            values[field.name] = field.default()
    return instance


def _decoded(definition: ServiceDefinition, field: FieldDefinition, text: str) -> Any:
    try:
        return field.codec.decode(text)
    except SerializationError as error:
        raise StateDecodeError(
            f"The stored state of {definition.cls.__qualname__}.{field.name} no longer fits its type: {error}. "
            "Change the annotation back, or let it accept the stored form too."
        ) from None


def refuse_changes(definition: ServiceDefinition, instance: VirtualObject, texts: dict[str, str]) -> None:
    """Raise StateWriteRefused if a shared handler changed a container in place; assignments were refused at their line."""
    for field in definition.fields:
        value = instance.__dict__.get(field.name, _ABSENT)
        if value is _ABSENT or type(value) in ATOMS:
            continue
        before = texts.get(field.name, field.default_text)
        try:
            unchanged = before is not None and field.codec.equal(field.codec.dump(value), before)
        except SerializationError:
            unchanged = False
        if not unchanged:
            raise StateWriteRefused(
                f"{definition.cls.__qualname__}.{field.name} was changed in place in a shared handler; the change is not kept. "
                "Shared handlers only read: copy the value first, or use @handler."
            )
