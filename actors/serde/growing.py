"""The text of a large list or dict that grows: only items added at its end are encoded. Pure.

Promise: `text_of(value)` returns the text that encoding the whole value would give, and that restores the value, or None. It
checks every item: each must be the same object that was encoded before, of an immutable type.
"""

from __future__ import annotations

from itertools import islice
from operator import is_
from typing import Any

from actors.errors import SerializationError
from actors.serde.codec import Codec
from actors.serde.exactness import ATOMS


class KnownText:
    """`text` belongs to a list or dict that held exactly the current items of `value`."""

    __slots__ = ("_codec", "_keys", "_kind", "_values", "text")

    def __init__(self, codec: Codec, value: Any, text: str) -> None:
        self._codec = codec
        self._kind = type(value)
        self._keys: list[Any] = list(value) if self._kind is dict else []
        self._values: list[Any] = list(_values(value))
        self.text = text

    @classmethod
    def of(cls, codec: Codec, value: Any, text: str) -> KnownText | None:
        """None if parts of the value must be encoded anew each time. `text` belongs to a value with at least one item."""
        return cls(codec, value, text) if codec.grows and ATOMS.issuperset(map(type, _values(value))) else None

    def text_of(self, value: Any) -> str | None:
        known = len(self._values)
        if type(value) is not self._kind or len(value) < known or not all(map(is_, self._values, _values(value))):
            return None
        if self._kind is dict and not all(map(is_, self._keys, value)):
            return None
        if len(value) > known:
            added = dict(islice(value.items(), known, None)) if self._kind is dict else value[known:]
            if not ATOMS.issuperset(map(type, _values(added))):
                return None
            try:
                text = self._codec.dump(added)
                self._codec.verify(added, text)
            except SerializationError:
                return None  # encoding the whole value will say where the fault is
            self._values += _values(added)
            if self._kind is dict:
                self._keys += added
            self.text = f"{self.text[:-1]},{text[1:]}"
        return self.text


def _values(value: Any) -> Any:
    return value.values() if type(value) is dict else value
