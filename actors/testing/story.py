"""What has happened in a world, in order, as lines that a person reads.

Promise: the same run tells the same story, byte for byte, in every process and on every version of Python. Nothing is formatted
before it is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgpack

from actors.attempt.invocation import Invocation
from actors.journal.entries import Kind
from actors.storage.records import Batch, Status

LONGEST = 70  # characters of arguments and results in a line
SHOWN = 40  # lines of a story in the report of a failing test
_PLAIN_STATUS, _PLAIN_OUTCOME = 5, 12  # columns of a plain row
_ROW_OUTCOME = 14

Event = tuple[int, str, tuple[Any, ...]]


class Story:
    """The events of one run: `tell` adds one, `lines` formats them. `now_ms` is the time in milliseconds since its beginning."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._events: list[Event] = []
        self._names: dict[int, str] = {}
        self._counts: Counter[str] = Counter()  # of invocations, by address

    def __len__(self) -> int:
        return len(self._events)

    def name_of(self, invocation: Invocation) -> str:
        """`Order/o1/checkout`, with the number of the invocation where the address alone does not tell it."""
        name = self._names.get(invocation.seq)
        if name is None:
            address = invocation.address
            self._counts[address] = count = self._counts[address] + 1
            name = self._names[invocation.seq] = f"{address} #{count}" if count > 1 else address
        return name

    def tell(self, kind: str, *what: Any) -> None:
        self._events.append((self._now_ms(), kind, what))

    def committed(self, number: int, batch: Batch, ending: str = "") -> None:
        """A commit, or a commit that did not happen, as `ending` says."""
        self._events.append((self._now_ms(), "commit", (number, batch, ending)))

    def lines(self, most: int | None = None) -> list[str]:
        """One line for each event. Of more than `most`, the first and the last ones."""
        events = self._events
        if most is None or len(events) <= most:
            return [self._line(event) for event in events]
        first = most // 2
        left_out = f"{'':8}…  {len(events) - most} more lines"
        return [
            *(self._line(event) for event in events[:first]),
            left_out,
            *(self._line(event) for event in events[first - most :]),
        ]

    def digest(self) -> str:
        """A hash of all lines: equal for two runs in which the same has happened."""
        digest = hashlib.sha256()
        for event in self._events:
            digest.update(self._line(event).encode())
        return digest.hexdigest()

    def _line(self, event: Event) -> str:
        at_ms, kind, what = event
        if kind == "commit":
            number, batch, ending = what
            said = "; ".join(self._facts(batch)) or "nothing but its own counters"
            return f"{_time(at_ms)}  commit     {number:<3} {said}" + (f"   {ending}" if ending else "")
        return f"{_time(at_ms)}  {kind:<10} {' '.join(_short(one) for one in what if one != '')}"

    def _facts(self, batch: Batch) -> Iterator[str]:
        for row in batch.plain:
            yield from self._of_row(row[0], row[1:4], row[_PLAIN_STATUS], row[_PLAIN_OUTCOME])
        for row in batch.invocations:
            yield from self._of_row(row[0], row[1:4], row[_PLAIN_STATUS], row[_ROW_OUTCOME])
        for seq, status, _, outcome in batch.ended:
            yield f"{self._names.get(seq, seq)} {Status.NAMES[status]}: {_short(outcome)}"
        names = sorted({name for _, _, name, _ in batch.state} | {name for _, _, name in batch.cleared})
        if names := [name for name in names if name]:
            yield f"state {', '.join(names)}"
        for row in batch.journal:
            yield _entry(row)
        if batch.purged:
            yield f"{len(batch.purged)} forgotten"

    def _of_row(self, seq: int, parts: tuple[str, str, str], status: int, outcome: str | None) -> Iterable[str]:
        service, key, handler = parts
        name = self._names.get(seq) or "/".join(part for part in (service, key, handler) if part and part[0] != "\x01")
        ended = f": {_short(outcome)}" if outcome is not None else ""
        yield f"{name} {Status.NAMES[status]}{ended}"


def _entry(row: tuple[Any, ...]) -> str:
    _, index, kind, name, ref, value = row[:6]
    if kind < Kind.COMPLETED:
        return f"{index} {Kind.NAMES.get(kind, 'entry')} {name or ''}".rstrip()
    if isinstance(value, bytes):  # the result of a step
        value = repr(msgpack.unpackb(value, strict_map_key=False))
    answer = f" {_short(value)}" if value is not None else ""
    words = {Kind.COMPLETED: "answer", Kind.FAILED: "failure", Kind.CANCELLED: "cancelled", Kind.PLACED: "placed"}
    return f"{index} {words[kind]}" + (f" of {ref}" if ref is not None else "") + answer


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _time(at_ms: int) -> str:
    """Milliseconds, and what is longer than a minute in a unit that is easier to read."""
    if at_ms < 60_000:
        return f"{at_ms:>6} ms"
    seconds, ms = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours:02}:{minutes:02}:{seconds:02}" + (f".{ms:03}" if ms else "")
    return f"day {days + 1} {clock}" if days else clock
