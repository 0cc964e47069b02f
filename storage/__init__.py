"""Durable records in SQLite: the only layer that knows the database.

It imports the standard library, aiosqlite, msgspec and itself, and makes one promise: a batch handed to
`SqliteStore.commit` is on disk as a whole, after every batch before it, or not at all.
"""

if __name__ != "actors.storage":  # a second copy of these modules would split the error classes
    raise ImportError("import this package as 'actors.storage'")

import importlib
from typing import TYPE_CHECKING, Any

from actors.storage.errors import (
    ActorsError,
    DatabaseForeign,
    DatabaseInUse,
    DatabaseReplaced,
    DatabaseTooNew,
    DatabaseTooOld,
    LogElsewhere,
    OwnershipLost,
    StaleLog,
    StorageError,
    StorageFull,
)
from actors.storage.records import (
    OWN_KEY,
    RUN,
    Batch,
    Figures,
    Flag,
    InvocationRow,
    JournalRow,
    Mode,
    ObjectRecord,
    OpenedDatabase,
    PlaceRow,
    PromiseRow,
    RequestRow,
    Status,
    TimerRow,
)

if TYPE_CHECKING:
    from actors.storage.sqlite.store import SqliteStore
    from actors.storage.sqlite.visitor import Visitor

__all__ = [
    "ActorsError",
    "Batch",
    "DatabaseForeign",
    "DatabaseInUse",
    "DatabaseReplaced",
    "DatabaseTooNew",
    "DatabaseTooOld",
    "Figures",
    "Flag",
    "InvocationRow",
    "JournalRow",
    "Mode",
    "ObjectRecord",
    "OWN_KEY",
    "OpenedDatabase",
    "OwnershipLost",
    "PlaceRow",
    "RequestRow",
    "PromiseRow",
    "RUN",
    "SqliteStore",
    "LogElsewhere",
    "StaleLog",
    "Status",
    "StorageError",
    "StorageFull",
    "TimerRow",
    "Visitor",
]


# Loaded on first use: who reads records only does not load the driver.
_LATER = {"SqliteStore": "actors.storage.sqlite.store", "Visitor": "actors.storage.sqlite.visitor"}


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(module), name)
    return found
