"""The state of one object as a handler on Restate works on it: each attribute is read from the journal when it is first touched.

Promise: what a handler writes is what the SQLite engine would write, but that an attribute that was never read is written without being
compared; an attribute that is not touched costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from actors.errors import SerializationError, TerminalError, UndeclaredState
from actors.model.decoding import ABSENT, decoded
from actors.model.definitions import ServiceDefinition
from actors.model.fields import FieldDefinition
from actors.model.instances import guarded_class, reader_class, values_of, worker_class
from actors.model.refusals import context_is_over
from actors.model.virtual_object import Served
from actors.serde.exactness import ATOMS
from actors.serde.type_names import type_name


class LazyClasses:
    """The classes of `self` in handlers of one class: each attribute is held back until it is read."""

    __slots__ = ("guarded", "reader", "worker")

    def __init__(self, definition: ServiceDefinition) -> None:
        if definition.kind == "service":
            self.worker: Any = definition.cls
            self.guarded: Any = definition.guarded
            self.reader: Any = definition.cls
            return
        self.worker = worker_class(definition.cls, definition.fields_by_name)
        self.guarded = guarded_class(self.worker)
        self.reader = reader_class(self.worker)


class LazyState:
    """State of one attempt. `read` asks the journal for the stored text of a name, None if nothing is stored.

    `texts` is what is known to be stored, with the handler's writes so far; None for nothing. `instance` may be ahead of it.
    """

    __slots__ = ("_complete", "_definition", "_held", "_read", "_seen", "instance", "texts")

    def __init__(self, definition: ServiceDefinition, cls: type[Served], read: Callable[[str], str | None]) -> None:
        self._definition = definition
        self._read = read
        self._held = set(definition.fields_by_name)
        self._seen: dict[str, Any] = {}  # each value when it was last compared
        self._complete = False
        self.texts: dict[str, str | None] = {}
        self.instance: Served = object.__new__(cls)
        if definition.fields:
            self.instance._actors_keeper = self  # type: ignore[attr-defined]

    # --- reading --------------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str | None:
        """The stored text of a name, declared or not."""
        if name not in self.texts:
            if self._complete:
                return None
            self.texts[name] = self._read(name)
        return self.texts[name]

    def know(self, texts: dict[str, str]) -> None:
        """These are all texts that are stored."""
        self.texts = dict(texts)
        self._complete = True

    def complete(self) -> None:
        """What is not in `texts` is not stored."""
        self._complete = True

    def stored(self) -> dict[str, str]:
        return {name: text for name, text in self.texts.items() if text is not None}

    def leave(self) -> None:
        """The attempt is over: code that still has the instance reads what was read before, and nothing else."""
        self._read = _refused
        self.instance = object.__new__(type(self.instance))

    # --- the keeper of the instance -----------------------------------------------------------------------------------------

    def held_back(self, instance: Any) -> Container[str]:
        names = self._definition.fields_by_name
        if instance is not self.instance:
            return names
        # What cannot change in place is handed out after a deletion, too: a default that was only read is not a change.
        return self._held | (names.keys() - self._definition.containers.keys())

    def hand_out(self, instance: Any, name: str) -> Any:
        """Read an attribute. Raises AttributeError if it has neither a value nor a default."""
        field = self._definition.fields_by_name[name]
        values = values_of(instance)
        if name in values:  # assigned before it was read, and about to be deleted
            self._held.discard(name)
            return values[name]
        deleted = instance is self.instance and name not in self._held
        if deleted and field.has_default:
            return field.default()
        text = None if deleted else self.text(name)
        if text is None and not field.has_default:
            self._held.discard(name)
            raise AttributeError(name)
        value = field.default() if text is None else decoded(self._definition, field, text)
        values[name] = value
        if instance is self.instance:
            self._held.discard(name)
            self._seen[name] = value
        return value

    def hand_out_all(self, instance: Any) -> None:
        for field in self._definition.fields:
            if field.name in self._held and (self.text(field.name) is not None or field.has_default):
                self.hand_out(instance, field.name)

    # --- writing --------------------------------------------------------------------------------------------------------

    def changes(self, check: Callable[[str, str], None]) -> dict[str, str | None]:
        """New JSON text (None: deleted) by name, since the last call, in order of declaration; the caller puts them into `texts`.

        Raises SerializationError for a value that cannot be stored, UndeclaredState for an attribute that is not state, and what
        `check` raises for a name and its new text. Then no change counts as taken: the next call finds all of them.
        """
        values = values_of(self.instance)
        definition = self._definition
        if not values and len(self._held) == len(definition.fields):
            return {}  # nothing was read, assigned or deleted
        changed: dict[str, str | None] = {}
        deleted: list[str] = []
        for name, value in values.items():
            if name not in definition.fields_by_name:
                self._refuse(name, value)
        for field in definition.fields:
            name = field.name
            if name in values:
                try:
                    text = self._changed(field, values)
                    if text is not None:
                        check(name, text)
                        changed[name] = text
                except TerminalError as error:
                    self._seen.clear()
                    if isinstance(error, SerializationError):
                        error = SerializationError(f"{definition.cls.__qualname__}.{name}: {error}")
                    raise error from None
            elif name not in self._held:
                deleted.append(name)
                if self.texts.get(name, ABSENT) is not None:
                    changed[name] = None
        for name in deleted:
            self._seen.pop(name, None)
            self._held.add(name)  # read again it has its default
            self.texts[name] = None
        return changed

    def _changed(self, field: FieldDefinition, values: dict[str, Any]) -> str | None:
        """The new text of an attribute; None if it has not changed."""
        name, codec = field.name, field.codec
        value, seen = values[name], self._seen.get(name, ABSENT)
        if value is seen and type(value) in ATOMS:
            return None
        text = codec.dump(value)
        known = name in self.texts or self._complete
        before = self.texts.get(name)
        if before is None and known:
            before = field.default_text
        same = before is not None and (text == before or (not codec.scalar and codec.equal(text, before)))
        if value is not seen or not same or codec.hidden:
            if codec.scalar:
                if codec.floats and type(value) is int:
                    value = values[name] = float(value)
            else:
                restored = codec.verify(value, text)
                if type(value) in ATOMS:
                    value = values[name] = restored
            self._seen[name] = value
        self._held.discard(name)
        return None if same else text

    def _refuse(self, name: str, value: Any) -> None:
        where = f"{self._definition.cls.__qualname__}.{name} was assigned"
        if self._definition.kind == "service":
            raise UndeclaredState(
                f"{where}, but a Service keeps nothing between its invocations. Use a variable, or a VirtualObject for what "
                "belongs to a key."
            )
        raise UndeclaredState(
            f"{where} but is not declared, so it would be lost. Declare it in the class body: {name}: "
            f"{type_name(type(value))} = ..."
        )


def _refused(name: str) -> str | None:
    raise context_is_over()
