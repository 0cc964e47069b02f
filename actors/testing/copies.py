"""Copies of the disk of a world, after its commits, for another process to judge.

Promise: however many commits a test makes, a bounded number of copies is kept: evenly spaced ones, and the last. No others are made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from actors.check.explanation import Address, Known
from actors.model.limits import Limits
from actors.model.virtual_object import Served

MOST = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where another process finds a class. `file` is that of its module, None if it has none."""

    module: str
    qualname: str
    file: str | None

    @classmethod
    def of(cls, served: type[Served]) -> Place:
        """The place of a class."""
        module = served.__module__
        return cls(module, served.__qualname__, getattr(sys.modules.get(module), "__file__", None))


@dataclass(frozen=True, slots=True)
class Copy:
    """A disk after a commit, and what `actors.testing.specification.explain` has to know about it."""

    commit: int
    image: bytes
    places: tuple[Place, ...]
    limits: Limits
    known: Mapping[Address, Known]
    changed: Collection[Address]
    complete: bool
    one_release: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What a fresh process is asked: to judge a copy with modules from these folders, in a given time."""

    copy: Copy
    folder: str
    path: list[str]
    within_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """`findings` are what the code does not explain, `skipped` says why a class was not judged, `died` how the judging process ended.

    `known` are the states that the objects have come to.
    """

    findings: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    died: str | None = None
    known: Mapping[Address, Known] = field(default_factory=dict)


class Copies:
    """The copies of one run. `commits` counts the commits offered."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._every = 1
        self._kept: list[Copy] = []
        self._last: Copy | None = None  # unless it is one of the kept ones
        self._make_last: Callable[[], Copy] | None = None
        self.commits = 0

    def add(self, make: Callable[[], Copy]) -> None:
        """A commit is done. `make` makes its copy, now, or in `complete` if it is still the last commit then."""
        self.commits += 1
        self._last, self._make_last = None, make
        if self.commits % self._every == 0:
            self._kept.append(make())
            self._make_last = None
            if len(self._kept) >= self._most:
                del self._kept[::2]
                self._every *= 2

    def complete(self) -> None:
        """Make the copy of the last commit: to be called before what is known of the disk goes beyond that commit."""
        if self._make_last is not None:
            self._last, self._make_last = self._make_last(), None

    def all(self) -> list[Copy]:
        """The copies to judge, in the order of their commits."""
        self.complete()
        return [*self._kept, *([self._last] if self._last is not None else [])]


@dataclass(frozen=True, slots=True)
class Looked:
    """What the judging of `disks` copies has shown. `notes` say what was not judged, and why."""

    disks: int
    finding: str | None
    notes: list[str]
