"""Durable records in SQLite: the only layer that knows the database.

It imports the standard library, aiosqlite, msgspec and itself, and makes one promise: a batch handed to
`SqliteStore.commit` is on disk as a whole, after every batch before it, or not at all.
"""

if __name__ != "actors.storage":  # a second copy of these modules would split the error classes
    raise ImportError("import this package as 'actors.storage'")

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
