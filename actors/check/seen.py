"""The states that one object had, in order, as its readers may have seen them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

from actors.check.retrace import State
from actors.storage.records import InvocationRow


class States:
    """The states that one object had, in order, for its readers: each with the times between which it may have been seen."""

    def __init__(self, first: State) -> None:
        self._texts = [first.texts]
        self._from_ms: list[float] = [float("-inf")]
        self._until_ms: list[float] = [float("inf")]
        self._position = [-1]
        self._whole = 0  # the last state between two invocations
        self._ordered = True  # whether the clock was never set back

    def add(self, between: Iterable[dict[str, str]], left: State, row: InvocationRow) -> None:
        """An exclusive invocation has ended, or is under way."""
        began_ms = self._from_ms[self._whole]
        for texts in between:
            if texts != self._texts[-1]:
                self._append(texts, began_ms, row.position)
        if left.texts == self._texts[-1] and self._whole == len(self._texts) - 1:
            return
        ended_ms = float("inf") if row.ended_ms is None else row.ended_ms
        self._ordered = self._ordered and ended_ms >= began_ms
        for place in range(self._whole, len(self._texts)):
            self._until_ms[place] = ended_ms
        self._append(left.texts, ended_ms, row.position)
        self._whole = len(self._texts) - 1

    def _append(self, texts: dict[str, str], from_ms: float, position: int) -> None:
        self._texts.append(texts)
        self._from_ms.append(from_ms)
        self._until_ms.append(float("inf"))
        self._position.append(position)

    def seen_by(self, reader: InvocationRow) -> Iterator[dict[str, str]]:
        """The states that a reader may have seen, the likeliest first: that after what was accepted before it."""
        first, last = 0, len(self._texts) - 1
        if self._ordered and reader.ended_ms is not None and reader.accepted_ms <= reader.ended_ms:
            first = bisect.bisect_left(self._until_ms, reader.accepted_ms)
            last = bisect.bisect_right(self._from_ms, reader.ended_ms) - 1
        likely = min(max(bisect.bisect_right(self._position, reader.position) - 1, first), last)
        for distance in range(last - first + 1):
            if likely + distance <= last:
                yield self._texts[likely + distance]
            if distance and likely - distance >= first:
                yield self._texts[likely - distance]

    def left_by(self, position: int) -> int:
        """The place of the state after the invocation at this position of the mailbox."""
        return bisect.bisect_right(self._position, position) - 1

    def before(self, position: int) -> int:
        """The place of the last state before the invocation at this position has written."""
        return bisect.bisect_left(self._position, position) - 1

    def from_to(self, first: int, last: int | None) -> Iterator[tuple[int, dict[str, str]]]:
        """The places from `first` to `last`, None for the end, with their states."""
        for place in range(first, len(self._texts) if last is None else last + 1):
            yield place, self._texts[place]
