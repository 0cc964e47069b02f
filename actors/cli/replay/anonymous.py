"""The ids in what is stored, replaced by ids that say nothing about the file and are valid in a test.

Promise: an id of the file becomes the id of the same number in the test, everywhere, so code that compares or reads ids goes the
same way. Texts that only look like ids stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from actors.errors import BadId
from actors.journal.ids import IdMint

_ID = re.compile(r"(?:inv_1[\w-]{27}|prom_1[\w-]{32})")


class Anonymous:
    """Replaces ids. The invocation itself gets the number 1, others the next numbers in the order in which they are met."""

    def __init__(self, file: IdMint, test: IdMint, seq: int) -> None:
        self._file = file
        self._test = test
        self._numbers = {seq: 1}

    def number(self, seq: int) -> int:
        """The number of an invocation in the test."""
        return self._numbers.setdefault(seq, len(self._numbers) + 1)

    def value(self, value: Any) -> Any:
        """A value with all ids in its texts replaced."""
        match value:
            case str():
                return _ID.sub(self._replaced, value)
            case dict():
                return {self.value(name): self.value(one) for name, one in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)([self.value(one) for one in value])
            case _:
                return value

    def _replaced(self, found: re.Match[str]) -> str:
        text = found[0]
        try:
            if text.startswith("inv_"):
                return self._test.invocation(self.number(self._file.read_invocation(text)))
            seq, index = self._file.read_awakeable(text)
            return self._test.awakeable(self.number(seq), index)
        except BadId:
            return text
