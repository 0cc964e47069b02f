"""Whether requests look as if each had run alone: a search for an order of whole requests.

Just-in-time linearization, after G. Lowe, "Testing for linearizability", 2017: a request takes effect at one moment between its call and
its answer, and the search decides on that moment only when the answer forces it to. What an answered request has done and left is all
that a state of the search holds, so orders that lead to the same are tried once.

Promise: what is reported is explained by no order. A search that grows too large raises Undecided.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

MOST = 200_000  # executions of a request in the search

S = TypeVar("S", bound=Hashable)
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Undecided(Exception):
    """The search has grown too large. The message says in which way."""


class Specification(Protocol[S, R_contra]):
    """What whole requests do, one after the other."""

    def after(self, state: S, request: R_contra) -> Iterable[S]:
        """The states that the request may leave, executed alone in `state`, if it can end there as it has ended. None if it cannot."""
        ...

    def is_last(self, state: S) -> bool:
        """Whether the state in the end may be this one."""
        ...


@dataclass(frozen=True, slots=True)
class Asked(Generic[R]):
    """A request and two numbered moments. A request that is not `answered` may take effect at any time after its call, or not at all."""

    request: R
    called: int
    answered: int | None


@dataclass(slots=True)
class Broken(Generic[S, R]):
    """No order of whole requests explains this answer, or, without a `request`, the state in the end: orders lead to `last` only."""

    request: R | None
    last: list[S] = field(default_factory=list)


def unexplained(
    specification: Specification[S, R], first: S, asked: Sequence[Asked[R]], most: int = MOST
) -> Broken[S, R] | None:
    """None if an order of whole requests, which keeps to the time between answers and calls, explains all of them. Raises Undecided."""
    return _Search(specification, asked, most).run(first)


# How many events have been passed, the state, and which requests have taken effect and are not answered yet.
_Node = tuple[int, S, frozenset[int]]


class _Search(Generic[S, R]):
    def __init__(self, specification: Specification[S, R], asked: Sequence[Asked[R]], most: int) -> None:
        self._specification = specification
        self._asked = asked
        self._most = most
        self._tried = 0
        # Of two events of the same moment the call comes first.
        self._events = sorted(
            (moment, is_answer, number)
            for number, one in enumerate(asked)
            for is_answer, moment in ((False, one.called), (True, one.answered))
            if moment is not None
        )
        self._open = [self._open_at(at) for at in range(len(self._events) + 1)]

    def _open_at(self, at: int) -> list[int]:
        """The requests that are called before an event, and not answered before it: those that are answered first come first."""
        open_: set[int] = set()
        for _, is_answer, number in self._events[:at]:
            (open_.discard if is_answer else open_.add)(number)
        last = self._events[-1][0] + 1 if self._events else 0
        return sorted(open_, key=lambda number: (self._asked[number].answered or last, number))

    def run(self, first: S) -> Broken[S, R] | None:
        start: _Node[S] = (0, first, frozenset())
        furthest, last = 0, dict[S, None]()
        seen: set[_Node[S]] = {start}
        path = [self._next(start)]
        while path:
            node = next(path[-1], None)
            if node is None:
                path.pop()
                continue
            if node in seen:
                continue
            seen.add(node)
            at, state, _ = node
            furthest = max(furthest, at)
            if at == len(self._events):
                if self._specification.is_last(state):
                    return None
                last[state] = None
            path.append(self._next(node))
        if not self._events:
            return None if self._specification.is_last(first) else Broken(None, [first])
        if furthest == len(self._events):
            return Broken(None, list(last))
        return Broken(self._asked[self._events[furthest][2]].request)

    def _next(self, node: _Node[S]) -> Iterator[_Node[S]]:
        at, state, done = node
        answered: list[int] = []
        if at < len(self._events):
            _, is_answer, number = self._events[at]
            if not is_answer or number in done:
                yield at + 1, state, done - {number}
                return
            answered = [number]  # most often it takes effect next
        for number in [*answered, *(one for one in self._open[at] if one not in done and one not in answered)]:
            self._tried += 1
            if self._tried > self._most:
                raise Undecided(f"more than {self._most:,} tries")
            for after in self._specification.after(state, self._asked[number].request):
                yield at, after, done | {number}
