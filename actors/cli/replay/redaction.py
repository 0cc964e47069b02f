"""Values that must not appear in a test, replaced everywhere by stand-ins.

Promise: no text or number that stood under a redacted name is left in a value, wherever else it stood, also within a longer text; and
equal values get equal stand-ins, so code that only passes them on goes the same way. Truth values and None stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any


class Redaction:
    """Collects what stands under the redacted names first, then replaces it."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._texts: dict[str, str] = {}
        self._numbers: dict[int | float, int | float] = {}
        self.met: set[str] = set()  # the names under which a value stood

    def collect(self, name: str, value: Any) -> None:
        """Look for values to redact in what stands under `name`."""
        if name in self._names:
            self.met.add(name)
            self._redact(value)
        self.search(value)

    def search(self, value: Any) -> None:
        """Look for redacted names inside of a value."""
        if isinstance(value, dict):
            for name, one in value.items():
                self.collect(str(name), one)
        elif isinstance(value, list | tuple | set | frozenset):
            for one in value:
                self.search(one)

    def _redact(self, value: Any) -> None:
        match value:
            case bool() | None:
                pass
            case str() if value:
                self._texts.setdefault(value, f"redacted-{len(self._texts) + 1}")
            case int():
                self._numbers.setdefault(value, 1_000_001 + len(self._numbers))
            case float():
                self._numbers.setdefault(value, 1_000_001.5 + len(self._numbers))
            case dict():
                for one in value.values():
                    self._redact(one)
            case list() | tuple() | set() | frozenset():
                for one in value:
                    self._redact(one)
            case _:
                pass

    def value(self, value: Any) -> Any:
        """A value with everything redacted that was collected."""
        match value:
            case bool() | None:
                return value
            case str():
                return self._text(value)
            case int() | float():
                return self._numbers.get(value, value)
            case dict():
                return {self.value(name): self.value(one) for name, one in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)([self.value(one) for one in value])
            case _:
                return value

    def _text(self, text: str) -> str:
        for secret in sorted(self._texts, key=len, reverse=True):  # a longer text may hold a shorter one
            text = text.replace(secret, self._texts[secret])
            escaped = json.dumps(secret)[1:-1]  # in a text that is JSON
            if escaped != secret:
                text = text.replace(escaped, self._texts[secret])
        for number, other in self._numbers.items():
            text = re.sub(rf"(?<![\w.]){re.escape(str(number))}(?!\w|\.\d)", str(other), text)
        return text
