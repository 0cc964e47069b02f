"""Classes that tests derive from in another module: their annotations mean what they mean here."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

from actors import Context, VirtualObject, handler, shared

T = TypeVar("T")


@dataclasses.dataclass
class Entry:
    text: str


class Journal(VirtualObject):
    """Keeps entries."""

    entries: list[Entry] = []
    opened: bool = False

    @handler
    async def write(self, entry: Entry) -> int:
        self.entries.append(entry)
        return len(self.entries)

    @shared
    async def first(self) -> Entry | None:
        return self.entries[0] if self.entries else None


class Counts:
    """A mixin that is no object class itself."""

    count: int = 0

    @handler
    async def increase(self, ctx: Context, by: int = 1) -> int:
        self.count += by
        return self.count


class Keeps(Generic[T]):
    """A generic mixin."""

    kept: list[T]
    last: T | None = None

    @handler
    async def keep(self, item: T) -> list[T]:
        self.kept = [*self.__dict__.get("kept", []), item]
        self.last = item
        return self.kept


class Store(VirtualObject, Generic[T]):
    """A generic object class, to be derived from with a type."""

    value: T | None = None

    @handler
    async def put(self, value: T) -> T | None:
        before, self.value = self.value, value
        return before
