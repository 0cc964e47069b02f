"""What a state knows of its containers: which were read, which were assigned, and the text of each."""

from __future__ import annotations

from typing import Any

from actors.model.decoding import decoded
from actors.model.definitions import ServiceDefinition
from actors.model.fields import FieldDefinition
from actors.serde.growing import KnownText

ENCODED: Any = object()  # a value that is not decoded yet


class Containers:
    """What a state knows of its fields whose values can change in place.

    `held` are those that the instance has not got yet: their texts (None: the default), and their values if they are decoded
    already. `given` tells whether the handler has got, or assigned, any. `fitting` are texts that are known to fit the class, and
    what they would be written as if that is another text. `loaded` is what values loaded from another text than they would be
    written as: an older class wrote it, for example. `known` are the large ones that a handler has changed, so that what it changes
    next need not be encoded as a whole: it ends with the invocation. The last two are None as long as they hold nothing.
    """

    __slots__ = ("_loaded", "fitting", "given", "held", "known")

    def __init__(self, fitting: dict[str, tuple[str, str | None]]) -> None:
        self.held: dict[str, tuple[str | None, Any]] = {}
        self.given = False
        self.fitting = fitting
        self._loaded: dict[str, str] | None = None
        self.known: dict[str, KnownText] | None = None

    def assigned(self, definition: ServiceDefinition, field: FieldDefinition) -> None:
        """A container that is held back was given another value: it is not handed out any more."""
        text, value = self.held.pop(field.name)
        if text is not None and field.codec.floats:
            self.has_loaded(field, text, decoded(definition, field, text) if value is ENCODED else value)

    def has_loaded(self, field: FieldDefinition, text: str | None, value: Any) -> None:
        """A container came from another text than it would be written as, if an int in it has become a float."""
        if text is not None and field.codec.floats and (again := field.codec.dump(value)) != text:
            self.loaded_as(field.name, again)

    def loaded_as(self, name: str, again: str) -> None:
        if self._loaded is None:
            self._loaded = {}
        self._loaded[name] = again

    def loaded_text(self, name: str) -> str | None:
        return self._loaded.get(name) if self._loaded is not None else None

    def forget_loaded(self, name: str) -> None:
        if self._loaded is not None:
            self._loaded.pop(name, None)

    def known_text(self, name: str, value: Any) -> str | None:
        """The text that restores `value`, if it is known without encoding the whole value."""
        assert self.known is not None
        known = self.known.get(name)
        if known is None:
            return None
        text = known.text_of(value)
        if text is None:
            del self.known[name]
        return text

    def remember(self, field: FieldDefinition, value: Any, text: str) -> None:
        """`text` was verified to restore `value`, a large one."""
        known = KnownText.of(field.codec, value, text)
        if known is not None:
            if self.known is None:
                self.known = {}
            self.known[field.name] = known
